"""analytics_events as text: what the archive stores of each column, and what is hashed of a row.

One expression per column serves the copy and the checksum, so that both sides of a comparison hold
the very same text: integers in decimal, times as microseconds since 1970, floating point numbers as
their bits, everything else as Postgres shows it in a session with SETTINGS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

SETTINGS = """
set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local intervalstyle = 'postgres';
set local bytea_output = 'hex';
set local extra_float_digits = 1;
set local row_security = off -- rather no row at all than fewer of them
"""

_AS_TEXT: dict[str, LiteralString] = {
    "float4": "('x' || encode(float4send({0}), 'hex'))::bit(32)::integer::text",
    "float8": "('x' || encode(float8send({0}), 'hex'))::bit(64)::bigint::text",
    "timestamp": "((extract(epoch from {0}) * 1000000)::bigint)::text",
    "timestamptz": "((extract(epoch from {0}) * 1000000)::bigint)::text",
}
KINDS = ("int2", "int4", "int8", "bool", *_AS_TEXT)
"""Types that the archive keeps as such; all others are text there."""

_COLUMNS = """
select a.attname::text as name,
  case when b.typname = any (%s) then b.typname else 'text' end as kind
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
where a.attrelid = 'public.analytics_events'::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""


class Sum(NamedTuple):
    """So many rows, and the exact sum of their numbers (`number_of`): in whatever order."""

    rows: int
    check: int


@dataclass(frozen=True, slots=True)
class Column:
    """kind: the name of its Postgres type as far as it is one of KINDS, else "text"."""

    name: str
    kind: str

    def as_text(self) -> sql.Composed:
        pattern = _AS_TEXT.get(self.kind, "{0}::text")
        return sql.SQL(pattern).format(sql.Identifier(self.name))


def read_columns(connection: psycopg.Connection[Any]) -> tuple[Column, ...]:
    """Every column of analytics_events, in its order."""
    with connection.cursor(row_factory=class_row(Column)) as cursor:
        return tuple(cursor.execute(_COLUMNS, (list(KINDS),)).fetchall())


def texts(columns: Sequence[Column]) -> sql.Composed:
    """What a SELECT lists to give each column as text, under its own name."""
    return sql.SQL(", ").join(
        sql.SQL("{} as {}").format(column.as_text(), sql.Identifier(column.name))
        for column in columns
    )


def digest_of(columns: Sequence[Column]) -> sql.Composed:
    """The expression for a row's SHA-256, as bytea.

    Of "5:hello-3:abc": each value after its length in characters, a NULL as a dash. No value can
    look like two others, nor an empty text like NULL.
    """
    names = [sql.Identifier(f"c{n}") for n in range(len(columns))]
    return sql.SQL("(select sha256(convert_to({}, 'UTF8')) from (select {} offset 0) as r)").format(
        sql.SQL(" || ").join(
            sql.SQL("coalesce(length({0}) || ':' || {0}, '-')").format(name) for name in names
        ),
        sql.SQL(", ").join(
            sql.SQL("{} as {}").format(column.as_text(), name)
            for column, name in zip(columns, names, strict=True)
        ),
    )


def number_of(columns: Sequence[Column]) -> sql.Composed:
    """The expression for the first 8 bytes of that digest, as a signed bigint."""
    return sql.SQL("('x' || encode(substr({}, 1, 8), 'hex'))::bit(64)::bigint").format(
        digest_of(columns)
    )


HOUR = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def within(hour: int) -> sql.Composed:
    """The condition for events of an hour, which is counted since 1970."""
    first = EPOCH + hour * HOUR
    return between(first, first + HOUR)


def between(first: datetime, after: datetime) -> sql.Composed:
    return sql.SQL("created_at >= {} and created_at < {}").format(
        sql.Literal(first), sql.Literal(after)
    )
