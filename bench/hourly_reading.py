"""The design's four UI patterns over 21 million aggregate rows, for the largest project."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median, quantiles
from typing import Any

import psycopg

from bench import hourly_design as design
from bench.hourly_events import LARGEST, Shape
from bench.hourly_filling import fill_design, fill_rollup
from bench.hourly_server import rolled_up_database
from bench.results import CouldNotRun, Row
from bench.runs import Bench

Connection = psycopg.Connection[Any]
Range = tuple[datetime, datetime]

SEED = 5
CALLS, DESIGN_CALLS, RAW_CALLS = 200, 50, 3
FASTER = 200
VISITORS_MOST_MS = 60

OURS = {
    1: "select * from analytics_events_by_hour(%(project)s, %(from_at)s, %(to_at)s)",
    2: "select * from analytics_events_by_day(%(project)s, %(from_at)s, %(to_at)s)",
    3: """
      select * from analytics_events_by_label(
        %(project)s, 'widget_visible', %(from_at)s, %(to_at)s)
    """,
    4: "select * from analytics_events_totals(%(project)s, %(from_at)s, %(to_at)s)",
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """most_ms: what 95 of 100 calls must stay below. hours: the shortest and the longest range.

    step: in hours; the UI asks for whole days, where it draws no single hours.
    """

    number: int
    name: str
    most_ms: float
    hours: tuple[int, int]
    step: int


DAY, MONTH = 24, 24 * 30

PATTERNS = (
    Pattern(1, "events by hour, 24 hours", 10, (DAY, DAY), 1),
    Pattern(2, "events by day and type, up to 30 days", 15, (7 * DAY, MONTH), DAY),
    Pattern(3, "events by label, up to 30 days", 10, (DAY, MONTH), DAY),
    Pattern(4, "totals, up to 30 days", 10, (DAY, MONTH), DAY),
)


def hourly_reading(bench: Bench) -> Iterator[Row]:
    """Ranges of random whole days (of hours in pattern 1); then, for information, such as begin and
    end at random hours, and at random instants.
    """
    url = rolled_up_database(bench)
    rows = fill_rollup(url)
    fill_design(url)
    dice = random.Random(SEED)
    with psycopg.connect(url, autocommit=True) as connection:
        _warm(connection)
        for pattern in PATTERNS:
            yield from _pattern_rows(connection, pattern, dice, rows)
        yield _visitors_row(connection, rows)


def _pattern_rows(
    connection: Connection, pattern: Pattern, dice: random.Random, rows: int
) -> Iterator[Row]:
    asked = [_whole(pattern.step, pattern, dice) for _ in range(CALLS)]
    hours = [_whole(1, pattern, dice) for _ in range(CALLS)]
    instants = [_instants(dice, found) for found in hours]
    own, own_at_hours, own_at_instants = (
        _times(connection, OURS[pattern.number], r) for r in (asked, hours, instants)
    )
    few = asked[:RAW_CALLS]
    _compare(connection, pattern, [*few, *hours[:RAW_CALLS], *instants[:RAW_CALLS]])
    raw = _times(connection, design.RAW[pattern.number], few)
    connection.execute(design.SEARCH_PATH)
    theirs = _times(connection, design.UI[pattern.number], asked[:DESIGN_CALLS])
    wrong = _wrong_uniques(connection, pattern, asked[0])
    connection.execute("reset search_path")
    factor = median(raw) / median(own[:RAW_CALLS])
    yield Row(
        f"UI pattern {pattern.number}, {pattern.name}; {rows:,} aggregate rows, largest project",
        f"p50 {median(own):.1f} ms, p95 {_p95(own):.1f} ms",
        f"p95 under {pattern.most_ms:.0f} ms, {FASTER} x the raw table",
        f"raw: {median(raw):,.0f} ms; the design's: p50 {median(theirs):.1f} ms, "
        f"p95 {_p95(theirs):.1f} ms{wrong}",
        factor,
        _p95(own) < pattern.most_ms and factor >= FASTER,
        f"between any two hours: p50 {median(own_at_hours):.1f} ms, p95 {_p95(own_at_hours):.1f} "
        f"ms; instants: {median(own_at_instants):.1f} and {_p95(own_at_instants):.1f} ms",
    )


def _visitors_row(connection: Connection, rows: int) -> Row:
    shape = Shape()
    whole = (shape.to_at - timedelta(days=min(30, shape.days)), shape.to_at)
    pattern = PATTERNS[3]
    _compare(connection, pattern, [whole])
    own = _times(connection, OURS[4], [whole] * CALLS)
    raw = _times(connection, design.RAW[4], [whole])
    return Row(
        f"unique visitors of {min(30, shape.days)} days, exact; {rows:,} aggregate rows",
        f"p50 {median(own):.1f} ms, p95 {_p95(own):.1f} ms",
        f"under {VISITORS_MOST_MS} ms",
        f"raw: {raw[0]:,.0f} ms",
        raw[0] / median(own),
        _p95(own) < VISITORS_MOST_MS,
    )


def _whole(step: int, pattern: Pattern, dice: random.Random) -> Range:
    """A range that begins and ends at a multiple of `step` hours."""
    shape = Shape()
    longest = min(pattern.hours[1], DAY * shape.days) // step
    length = step * dice.randint(min(pattern.hours[0] // step, longest), longest)
    start = step * dice.randint(0, (DAY * shape.days - length) // step)
    from_at = shape.from_at + timedelta(hours=start)
    return from_at, from_at + timedelta(hours=length)


def _instants(dice: random.Random, hours: Range) -> Range:
    """The same range with both ends up to an hour earlier."""
    from_at, to_at = (at - timedelta(microseconds=dice.randrange(3_600_000_000)) for at in hours)
    return from_at, to_at


def _times(connection: Connection, query: str, ranges: Sequence[Range]) -> list[float]:
    """Milliseconds of each, until the answer is there."""
    took = []
    for found in ranges:
        started = time.perf_counter()
        connection.execute(query.encode(), _values(found)).fetchall()
        took.append((time.perf_counter() - started) * 1000)
    return took


def _compare(connection: Connection, pattern: Pattern, ranges: Sequence[Range]) -> None:
    """The answers are the raw table's; rows of nothing do not count.

    Raises:
        CouldNotRun: one is not.
    """
    for found in ranges:
        own, raw = (
            Counter(_without_zeros(connection.execute(q.encode(), _values(found)).fetchall()))
            for q in (OURS[pattern.number], design.RAW[pattern.number])
        )
        if own != raw:
            raise CouldNotRun(
                f"pattern {pattern.number} from {found[0]} to {found[1]} differs from the raw "
                f"table: {list((own - raw).items())[:2]} for {list((raw - own).items())[:2]}"
            )


def _without_zeros(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [row for row in rows if any(isinstance(v, int) and v for v in row)]


def _wrong_uniques(connection: Connection, pattern: Pattern, found: Range) -> str:
    """How far off the design's visitors are, where it has any."""
    if pattern.number == 1:
        return ""
    column = {2: 3, 3: 2, 4: 1}[pattern.number]
    theirs, true = (
        sum(int(row[column]) for row in connection.execute(q.encode(), _values(found)))
        for q in (design.UI[pattern.number], design.RAW[pattern.number])
    )
    return f", its visitors {theirs / true:.1f} x the truth"


def _values(found: Range) -> dict[str, object]:
    return {"project": LARGEST, "from_at": found[0], "to_at": found[1]}


def _warm(connection: Connection) -> None:
    """Everything that is read lies in memory, and each function's plan is made."""
    shape = Shape()
    for queries in (OURS, design.RAW):
        for query in queries.values():
            connection.execute(query.encode(), _values((shape.from_at, shape.to_at))).fetchall()


def _p95(milliseconds: Sequence[float]) -> float:
    return quantiles(milliseconds, n=20)[-1]
