"""What the events say: counts by bucket, type and label, with Python's own time zones.

Shares nothing with the migrations: events go to their buckets one by one, by the local date and
hour that each of them shows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)

Bucket = tuple[datetime, datetime]
"""[start, end) of a bucket, in UTC."""

Key = tuple[str | None, str | None]
"""(type, label); None where the grain knows none, or for a label that is NULL."""

Counts = tuple[int, int, int]
"""(events, different visitors, different sessions)."""


@dataclass(frozen=True, slots=True)
class Event:
    """A row of analytics_events. at: in UTC. The hashes are the database's, None for NULL."""

    type: str
    label: str | None
    visitor: str | None
    session: str | None
    at: datetime
    visitor_hash: int | None = None
    session_hash: int | None = None


def key_of(event: Event, grain: str) -> Key:
    """grain: 'project', 'type' or 'label'."""
    if grain == "project":
        return None, None
    of_type = shortened(event.type, 500)
    if grain == "type" or event.label is None:
        return of_type, None
    return of_type, shortened(event.label, 1500)


def shortened(words: str, bytes_at_most: int) -> str:
    """As the rollup keeps names that no index would take: the beginning, and a hash of all."""
    if len(words.encode()) <= bytes_at_most:
        return words
    digest = hashlib.md5(words.encode(), usedforsecurity=False).hexdigest()
    return f"{words[: bytes_at_most // 5]} ... {digest}"


def count(events: Iterable[Event]) -> Counts:
    events = list(events)
    return (
        len(events),
        len({event.visitor for event in events} - {None}),
        len({event.session for event in events} - {None}),
    )


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


@lru_cache(maxsize=100_000)
def first_moment(wall: datetime, zone: str) -> datetime:
    """When clocks of the zone show `wall` (naive) for the first time, or leap over it; in UTC."""
    here = ZoneInfo(zone)
    moments = [wall.replace(tzinfo=here, fold=fold).astimezone(UTC) for fold in (0, 1)]
    shown = [at for at in moments if at.astimezone(here).replace(tzinfo=None) == wall]
    return min(shown or moments[:1])


def day_start(day: date, zone: str) -> datetime:
    return first_moment(datetime.combine(day, time()), zone)


def bucket_of(at: datetime, granularity: str, zone: str) -> Bucket:
    """The whole bucket of a moment. granularity: 'hour', '4 hours', 'day' or 'week'."""
    if granularity == "hour":
        return hour_of(at), hour_of(at) + HOUR
    local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    midnight = datetime.combine(local.date(), time())
    if granularity == "4 hours":
        first, length = midnight + timedelta(hours=local.hour // 4 * 4), timedelta(hours=4)
    elif granularity == "day":
        first, length = midnight, timedelta(days=1)
    else:
        first, length = midnight - timedelta(days=local.weekday()), timedelta(days=7)
    return first_moment(first, zone), first_moment(first + length, zone)


def buckets(from_at: datetime, to_at: datetime, granularity: str, zone: str) -> Iterator[Bucket]:
    """All that touch [from_at, to_at), in order."""
    if granularity == "total":
        yield from_at, to_at
        return
    at = from_at
    while at < to_at:
        bucket = bucket_of(at, granularity, zone)
        yield bucket
        at = bucket[1]


def automatic(from_at: datetime, to_at: datetime) -> str:
    """The granularity that 'auto' means: a month of days at most, and clocks may go back in it."""
    for granularity, days in (("hour", 1), ("4 hours", 7), ("day", 31)):
        if to_at - from_at <= timedelta(days=days) + HOUR:
            return granularity
    return "week"


def series(
    events: Iterable[Event], stretch: Bucket, granularity: str, zone: str, grain: str
) -> dict[tuple[Bucket, Key], Counts]:
    """Counts in a stretch of time. Of the grain 'project', empty buckets are there as well."""
    found: dict[tuple[Bucket, Key], list[Event]] = defaultdict(list)
    if granularity == "auto":
        granularity = automatic(*stretch)
    if grain == "project":
        for bucket in buckets(*stretch, granularity, zone):
            found[bucket, (None, None)] = []
    for event in events:
        if stretch[0] <= event.at < stretch[1]:
            bucket = stretch if granularity == "total" else bucket_of(event.at, granularity, zone)
            found[bucket, key_of(event, grain)].append(event)
    return {place: count(of_place) for place, of_place in found.items()}
