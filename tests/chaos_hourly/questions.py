"""What readers ask: each function of the rollup, over random stretches, and what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.chaos_hourly import oracle
from tests.chaos_hourly.events import RECENT_DAYS, TYPES, Chance
from tests.chaos_hourly.oracle import Event

Answer = Counter[tuple[Hashable, ...]]
"""Rows, in any order."""

LONGEST_DAYS = {"hour": 3, "4 hours": 10, "day": 35, "week": 120, "auto": 50, "total": 60}
SINCE_EVER = (datetime(1960, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
FAR = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Question:
    """Of one project. right: the rows that its events make, given its time zone."""

    name: str
    query: str
    parameters: tuple[object, ...]
    stretch: tuple[datetime, datetime]
    right: Callable[[Sequence[Event], str], Answer]

    def __str__(self) -> str:
        return f"{self.query} {tuple(str(value) for value in self.parameters)}"


def random_question(chance: Chance, project: str, zone: str) -> Question:
    """Any of the five functions."""
    if chance.yes(0.7):
        return series(chance, project, zone)
    first, after = stretch(chance, zone, chance.choice(("hour", "day")))
    kind = chance.choice((by_hour, by_day, by_label, totals))
    if kind is by_label:
        return by_label(project, chance.choice(TYPES), first, after)
    if kind is totals:
        return totals(project, *stretch(chance, zone, "total"))
    return by_hour(project, first, after) if kind is by_hour else by_day(project, first, after)


def series(chance: Chance, project: str, zone: str) -> Question:
    granularity = chance.choice(("auto", "hour", "4 hours", "day", "day", "week", "total", "total"))
    grain = chance.choice(("project", "project", "type", "label"))
    return series_of(project, *stretch(chance, zone, granularity), granularity, grain)


def series_of(
    project: str, first: datetime, after: datetime, granularity: str, grain: str
) -> Question:
    def right(events: Sequence[Event], zone: str) -> Answer:
        found = oracle.series(events, (first, after), granularity, zone, grain)
        return Counter((*bucket, *key, *counts) for (bucket, key), counts in found.items())

    return Question(
        f"series {granularity} {grain}",
        "select * from analytics_events_series(%s, %s, %s, %s, %s, %s)",
        (project, first, after, granularity, grain == "type", grain == "label"),
        (first, after),
        right,
    )


def by_hour(project: str, first: datetime, after: datetime) -> Question:
    def right(events: Sequence[Event], zone: str) -> Answer:
        found = oracle.series(events, (first, after), "hour", zone, "project")
        return Counter((start, counts[0]) for ((start, _), _), counts in found.items())

    query = "select * from analytics_events_by_hour(%s, %s, %s)"
    return Question("by_hour", query, (project, first, after), (first, after), right)


def by_day(project: str, first: datetime, after: datetime) -> Question:
    def right(events: Sequence[Event], zone: str) -> Answer:
        found = oracle.series(events, (first, after), "day", zone, "type")
        return Counter(
            (start.astimezone(ZoneInfo(zone)).date(), key[0], *counts)
            for ((start, _), key), counts in found.items()
        )

    query = "select * from analytics_events_by_day(%s, %s, %s)"
    return Question("by_day", query, (project, first, after), (first, after), right)


def by_label(project: str, of_type: str, first: datetime, after: datetime) -> Question:
    def right(events: Sequence[Event], zone: str) -> Answer:
        of_this = [event for event in events if event.type == of_type and event.label is not None]
        found = oracle.series(of_this, (first, after), "total", zone, "label")
        return Counter((key[1], *counts[:2]) for (_, key), counts in found.items())

    query = "select * from analytics_events_by_label(%s, %s, %s, %s)"
    return Question("by_label", query, (project, of_type, first, after), (first, after), right)


def totals(project: str, first: datetime, after: datetime) -> Question:
    def right(events: Sequence[Event], zone: str) -> Answer:
        found = oracle.series(events, (first, after), "total", zone, "project")
        return Counter(found.values())

    query = "select * from analytics_events_totals(%s, %s, %s)"
    return Question("totals", query, (project, first, after), (first, after), right)


def stretch(chance: Chance, zone: str, granularity: str) -> tuple[datetime, datetime]:
    """[first, after): often whole local days or hours; rarely everything since ever."""
    if granularity == "total" and chance.yes(0.01):
        return SINCE_EVER
    longest = timedelta(days=LONGEST_DAYS[granularity])
    length = longest * chance.random() ** 2
    after = chance.moment()
    if abs(after - chance.now) > FAR or chance.yes(0.6):
        after = chance.now + timedelta(days=chance.uniform(-RECENT_DAYS, 2))
    first = after - length
    align = chance.choice(("day", "day", "hour", "not"))
    if align == "day":
        ends = [oracle.bucket_of(at, "day", zone) for at in (first, after)]
        return ends[0][0], ends[1][1]
    if align == "hour":
        return oracle.hour_of(first), oracle.hour_of(after) + oracle.HOUR
    return first, max(after, first + timedelta(microseconds=1))


def difference(question: Question, right: Answer, told: Answer) -> str:
    """What is wrong with an answer; nothing if it is right."""
    if right == told:
        return ""
    missing, too_much = sorted(map(str, right - told)), sorted(map(str, told - right))
    return f"{question}\n  missing: {missing[:6]}\n  instead: {too_much[:6]}"


def told(rows: Sequence[tuple[Any, ...]]) -> Answer:
    return Counter(map(tuple, rows))
