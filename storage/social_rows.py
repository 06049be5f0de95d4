"""Connections and snapshots as either database hands them over and takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Literal

from models import Connection, Snapshot
from storage.rows import parse_id

SOURCE = "social_media"
"""`analytics_snapshots.source` of everything that this program reads and writes there."""

Which = Literal["access", "refresh"]

CONNECTION = (
    *("id", "user_id", "platform", "account_id", "access_token_encrypted"),
    *("refresh_token_encrypted", "token_expires_at::text", "metadata::text"),
)
SNAPSHOT = (
    *("user_id", "platform", "account_id", "metric", "date", "value"),
    *("metadata::text", "updated_at::text"),
)
"""As text where one row may hold what a driver cannot read (infinity, a number of 5,000 digits):
it fails for all rows at once, and parsing here for that one."""

ORDER = ("date", "user_id", "platform", "account_id", "metric")
"""Of what is read: unique, where source is ours and post_id is NULL."""

NEEDED = ("user_id", "platform", "metric", "value")
"""A user's own table may allow NULL in these: such a row says nothing, and comes in no order."""

KEY = ("user_id", "platform", "source", "metric", "date", "post_id", "account_id")

SPACES = " \t\n\r\f\v"
"""Around a platform or an account they say nothing; the migration takes away the same ones."""

UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class UserId(str):
    """A uuid in capitals, as a column of text may have it; a column of uuids never has.

    It is the same user in small letters, and is written as it was read.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.lower(self) == (str.lower(other) if isinstance(other, UserId) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(str.lower(self))


def parse_connection(row: Mapping[str, Any]) -> Connection:
    """A connection from its row; what somebody else wrote into metadata may be no object."""
    return Connection(
        id=parse_id(row["id"]),
        user_id=_user(row["user_id"]),
        platform=_text(row["platform"]).strip(SPACES).lower(),
        account_id=_text(row["account_id"]).strip(SPACES),
        access_token=_text(row["access_token_encrypted"]),
        refresh_token=_text(row["refresh_token_encrypted"]),
        token_expires_at=_moment(row["token_expires_at"]),
        metadata=_object(row["metadata"]),
    )


def parse_snapshot(row: Mapping[str, Any]) -> Snapshot:
    """A snapshot from its row; whole numbers are integers, whatever type the column has."""
    return Snapshot(
        user_id=_user(row["user_id"]),
        platform=_text(row["platform"]),
        account_id=_text(row["account_id"]),
        metric=_text(row["metric"]),
        day=_day(row["date"]),
        value=plain_number(row["value"]),
        metadata=_object(row["metadata"]),
        updated_at=_moment(row["updated_at"]),
    )


def snapshot_record(row: Snapshot) -> dict[str, Any]:
    """A row as it is written, by column."""
    return {
        "user_id": row.user_id,
        "platform": row.platform,
        "source": SOURCE,
        "metric": row.metric,
        "value": plain_number(row.value),
        "date": row.day.isoformat(),
        "post_id": None,
        "account_id": row.account_id,
        "metadata": dict(row.metadata),
    }


def sorted_once(rows: Iterable[Snapshot]) -> list[Snapshot]:
    """The last row of each key, in an order that is always the same.

    Two runs that write the same rows then lock them in the same order; a key that comes twice in
    one statement would be refused.
    """
    by_key = {(r.user_id, r.platform, r.account_id, r.metric, r.day): r for r in rows}
    return [by_key[key] for key in sorted(by_key)]


def plain_number(value: Any) -> int | float:
    """5.0 is 5: a column of integers would refuse it, and answers differ in how they say it."""
    if isinstance(value, int):
        return value
    number = float(value)
    return int(value) if number.is_integer() else number


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _user(value: Any) -> str:
    text = _text(value)
    return UserId(text) if UUID.fullmatch(text) and text != text.lower() else text


def _day(value: Any) -> date:
    """Of a day; or of a moment, where a user's own column holds moments."""
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(value[:10])


def _object(text: Any) -> dict[str, Any]:
    """What somebody else wrote may be no object, or nothing that can be read."""
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _moment(text: Any) -> datetime | None:
    """A column without a time zone holds UTC. None: infinity too, and a year over 9999."""
    try:
        moment = datetime.fromisoformat(str(text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
