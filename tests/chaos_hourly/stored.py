"""What is stored and not marked as stale, beside the events of the same snapshot."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from tests.chaos_hourly import oracle
from tests.chaos_hourly.oracle import HOUR, Event

Rows = set[tuple[Hashable, ...]]

EVENTS = """
select event_type, event_label, visitor_id, session_id, created_at,
  hashtextextended(visitor_id, 0), hashtextextended(session_id, 0)
from analytics_events where project_id = %s
"""
ZONE = "select time_zone from analytics_project_zones where project_id = %s"
STALE_HOURS = """
select distinct hour_bucket from analytics_rollup_dirty
where project_id is null or project_id = %s
"""
STALE_DAYS = "select distinct day from analytics_rollup_dirty_days where project_id = %s"
HOURS = """
select hour_bucket, event_type, event_label, event_count, unique_visitors, unique_sessions
from analytics_events_hourly_agg where project_id = %s
"""
HOUR_SETS = """
select hour_bucket, event_type, visitors, sessions from analytics_visitor_hour
where project_id = %s
"""
DAYS = """
select day, grain, event_type, event_label, event_count, unique_visitors, unique_sessions
from analytics_events_daily_agg where project_id = %s
"""
DAY_SETS = """
select day, grain, event_type, event_label, visitors, sessions from analytics_visitor_day
where project_id = %s
"""
COMPACTED = "select compacted_before from analytics_rollup_state where isfinite(compacted_before)"


@dataclass(slots=True)
class Snapshot:
    """A project in one snapshot. compacted_before: of earlier hours nothing has to be stored."""

    project: str
    zone: str
    events: list[Event]
    stale_hours: set[datetime]
    stale_days: set[date]
    compacted_before: datetime | None
    hours: Rows
    hour_sets: Rows
    days: Rows
    day_sets: Rows
    compared: Counter[str] = field(default_factory=Counter)

    def differences(self) -> Iterator[str]:
        """Stored rows that are not what the events make, though nothing marks them."""
        yield from self._compare("hour", self.hours, set(self._right_hours()))
        yield from self._compare("hour set", self.hour_sets, set(self._right_hour_sets()))
        yield from self._compare("day", self.days, set(self._right_days()))
        yield from self._compare("day set", self.day_sets, set(self._right_day_sets()))

    def made_of(self, first: datetime, after: datetime) -> str:
        """What an answer about [first, after) has to be put together from."""
        zone = ZoneInfo(self.zone)
        within = [e.at for e in self.events if first <= e.at < after]
        days = {at.astimezone(zone).date() for at in within}
        hours = {oracle.hour_of(at) for at in within}
        clean_days = sum(self._day_is_trusted(day) for day in days)
        stale = len(hours & self.stale_hours)
        if not clean_days:
            return "no clean day" if days else "nothing"
        return "clean days and stale hours" if stale else "clean days"

    def _compare(self, what: str, stored: Rows, right: Rows) -> Iterator[str]:
        trusted = self._day_is_trusted if what.startswith("day") else self._hour_is_trusted
        stored = {row for row in stored if trusted(row[0])}
        right = {row for row in right if trusted(row[0])}
        self.compared[f"{what} rows"] += len(right)
        if stored != right:
            missing, too_much = sorted(map(str, right - stored)), sorted(map(str, stored - right))
            yield (
                f"stored {what} of {self.project!r} ({self.zone})\n"
                f"  missing: {missing[:4]}\n  instead: {too_much[:4]}"
            )

    def _hour_is_trusted(self, hour: Any) -> bool:
        old = self.compacted_before is not None and hour < self.compacted_before
        return hour not in self.stale_hours and not old

    def _day_is_trusted(self, day: Any) -> bool:
        first = oracle.day_start(day, self.zone)
        after = oracle.day_start(day + timedelta(days=1), self.zone)
        return day not in self.stale_days and not any(
            first - HOUR < hour < after for hour in self.stale_hours
        )

    def _by_hour(self, grain: str) -> Iterator[tuple[Any, list[Event]]]:
        return _groups((oracle.hour_of(e.at), *oracle.key_of(e, grain), e) for e in self.events)

    def _by_day(self) -> Iterator[tuple[Any, list[Event]]]:
        zone = ZoneInfo(self.zone)
        for grain in ("project", "type", "label"):
            yield from _groups(
                (e.at.astimezone(zone).date(), grain, *oracle.key_of(e, grain), e)
                for e in self.events
            )

    def _right_hours(self) -> Iterator[tuple[Hashable, ...]]:
        for place, events in self._by_hour("label"):
            yield (*place, *oracle.count(events))

    def _right_hour_sets(self) -> Iterator[tuple[Hashable, ...]]:
        for (hour, of_type, _), events in self._by_hour("type"):
            yield hour, of_type, *_sets(events)

    def _right_days(self) -> Iterator[tuple[Hashable, ...]]:
        for place, events in self._by_day():
            yield (*place, *oracle.count(events))

    def _right_day_sets(self) -> Iterator[tuple[Hashable, ...]]:
        for place, events in self._by_day():
            yield (*place, *_sets(events))


def take(connection: psycopg.Connection[Any], project: str) -> Snapshot:
    """What the transaction's snapshot shows of a project."""

    def rows(query: str, *parameters: str) -> Sequence[tuple[Any, ...]]:
        return connection.execute(query.encode(), parameters).fetchall()

    return Snapshot(
        project,
        zone=next((zone for (zone,) in rows(ZONE, project)), "UTC"),
        events=[Event(*row) for row in rows(EVENTS, project)],
        stale_hours={hour for (hour,) in rows(STALE_HOURS, project)},
        stale_days={day for (day,) in rows(STALE_DAYS, project)},
        compacted_before=next((at for (at,) in rows(COMPACTED)), None),
        hours=_hashable(rows(HOURS, project)),
        hour_sets=_hashable(rows(HOUR_SETS, project)),
        days=_hashable(rows(DAYS, project)),
        day_sets=_hashable(rows(DAY_SETS, project)),
    )


def _sets(events: Iterable[Event]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    events = list(events)
    return (
        tuple(sorted({e.visitor_hash for e in events if e.visitor_hash is not None})),
        tuple(sorted({e.session_hash for e in events if e.session_hash is not None})),
    )


def _hashable(rows: Iterable[tuple[Any, ...]]) -> Rows:
    return {tuple(tuple(v) if isinstance(v, list) else v for v in row) for row in rows}


def _groups(
    rows: Iterable[tuple[Any, ...]],
) -> Iterator[tuple[tuple[Any, ...], list[Event]]]:
    """By everything but the event, which comes last."""
    found: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
    for *place, event in rows:
        found[tuple(place)].append(event)
    yield from found.items()
