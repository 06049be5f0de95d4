"""The tables as doctor checks them, from the database's own aggregator_schema()."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.errors import MIGRATE, DatabaseRefused


@dataclass(frozen=True, slots=True)
class Table:
    """columns: type by name. unique_keys: the sets of columns that are unique together.

    writable: whether the role that asks may insert and update. open_views: views that show its rows
    whatever its row level security says.
    """

    columns: Mapping[str, str]
    unique_keys: frozenset[frozenset[str]]
    row_level_security: bool
    policies: tuple[str, ...]
    triggers: tuple[str, ...]
    open_views: tuple[str, ...] = ()
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of schema public by name, the database's clock, and whether it only reads."""

    now: datetime
    tables: Mapping[str, Table]
    only_reads: bool = False


def parse_schema(answer: Any) -> Schema:
    """What aggregator_schema() answers.

    Raises:
        DatabaseRefused: it is of another shape.
    """
    try:
        tables = {
            name: Table(
                columns=dict(table["columns"] or {}),
                writable=bool(table["writable"]),
                unique_keys=frozenset(frozenset(key) for key in table["unique_keys"]),
                row_level_security=bool(table["row_level_security"]),
                policies=tuple(table["policies"]),
                triggers=tuple(table["triggers"]),
                open_views=tuple(table["open_views"]),
            )
            for name, table in answer["tables"].items()
        }
        now = datetime.fromisoformat(answer["now"])
        if now.tzinfo is None:
            raise ValueError("a clock without a time zone")
        return Schema(now, tables, bool(answer["only_reads"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DatabaseRefused(
            "aggregator_schema() answers in another shape than this version's", mend=MIGRATE
        ) from None
