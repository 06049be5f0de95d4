"""The refresh that runs every minute: a dirty hour of 60,000 events, and nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median, quantiles
from typing import Any

import psycopg

from bench import hourly_design as design
from bench.hourly_check import check_hourly
from bench.hourly_events import EVENTS
from bench.hourly_server import rolled_up_database
from bench.results import CouldNotRun, Row, seconds
from bench.runs import Bench

Connection = psycopg.Connection[Any]

DENSE_EVENTS = 60_000
REPEATS = 9
IDLE_CALLS = 200
DIRTY_MOST, IDLE_MOST = 1.0, 0.010

BUSIEST = """
select date_bin('1 hour', created_at, '2000-01-01 00:00+00') as hour, count(*)
from analytics_events group by 1
order by abs(count(*) - %s), 1 limit %s
"""

LATE_EVERYWHERE = """
insert into analytics_events (project_id, visitor_id, session_id, event_type, created_at)
select distinct project_id, gen_random_uuid()::text, gen_random_uuid()::text, 'click',
  %(hour)s::timestamptz + interval '59 min 59.9 s'
from analytics_events
where created_at >= %(hour)s and created_at < %(hour)s::timestamptz + interval '1 hour'
"""

RUNNING_HOUR = """
insert into analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, event_data, created_at)
select project_id, visitor_id, session_id, event_type, event_label, event_data,
  date_trunc('hour', now())
    + (created_at - %(hour)s::timestamptz)
    * (extract(epoch from now() - date_trunc('hour', now())) / 3600)::float8
from analytics_events
where created_at >= %(hour)s and created_at < %(hour)s::timestamptz + interval '1 hour'
limit %(rows)s
"""


def hourly_refresh(bench: Bench) -> Iterator[Row]:
    """The hours nearest to 60,000 events, one by one."""
    url = rolled_up_database(bench)
    with psycopg.connect(url, autocommit=True) as connection:
        _drain(connection)
        hours = connection.execute(BUSIEST, [DENSE_EVENTS, REPEATS]).fetchall()
        theirs = _design_times(connection, [hour for hour, _ in hours])
        late, days = zip(*(_late_events(connection, hour) for hour, _ in hours), strict=True)
        fresh = [_fresh_hour(connection, hour) for hour, _ in hours]
        idle = _idle(connection)
    check_hourly(url)
    events = round(median(events for _, events in hours))
    baseline = f"the design's two hours, {seconds(median(theirs))}"
    for what, took, binds in (
        ("the running hour, all events new", fresh, ""),
        (
            "a past hour, one late event in each project",
            late,
            f"its closed day, counted again after it: {seconds(median(days))}",
        ),
    ):
        yield Row(
            f"refresh of {what}; {events:,} events",
            f"{seconds(median(took))}, at most {seconds(max(took))} of {len(took)}",
            f"under {seconds(DIRTY_MOST)}",
            baseline,
            median(theirs) / median(took),
            max(took) < DIRTY_MOST,
            binds,
        )
    p95 = quantiles(idle, n=20)[-1]
    yield Row(
        f"refresh with nothing dirty, {EVENTS:,} events rolled up",
        f"{median(idle) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms of {len(idle)}",
        f"under {IDLE_MOST * 1000:.0f} ms",
        baseline,
        median(theirs) / median(idle),
        p95 < IDLE_MOST,
    )


def _fresh_hour(connection: Connection, hour: datetime) -> float:
    """The events of an hour happen again in the running one, which had none."""
    connection.execute(RUNNING_HOUR, {"hour": hour, "rows": DENSE_EVENTS})
    took = _one_hour(connection)
    connection.execute("delete from analytics_events where created_at >= date_trunc('hour', now())")
    _drain(connection)
    return took


def _late_events(connection: Connection, hour: datetime) -> tuple[float, float]:
    """Of the hour, and of its day."""
    connection.execute(LATE_EVERYWHERE, {"hour": hour})
    return _one_hour(connection), _drain(connection)


def _one_hour(connection: Connection) -> float:
    """The call that counts one dirty hour again."""
    connection.execute("checkpoint")
    started = time.perf_counter()
    hours, _ = _call(connection, max_hours=1)
    took = time.perf_counter() - started
    if hours != 1:
        raise CouldNotRun("the refresh found no dirty hour")
    return took


def _drain(connection: Connection) -> float:
    """Refresh until nothing is left over; how long it took."""
    started = time.perf_counter()
    for _ in range(100):
        _, left_over = _call(connection)
        if not left_over:
            return time.perf_counter() - started
    raise CouldNotRun("the refresh does not come to an end")


def _idle(connection: Connection) -> list[float]:
    took = []
    for _ in range(IDLE_CALLS):
        started = time.perf_counter()
        found = _call(connection)
        took.append(time.perf_counter() - started)
        if found != (0, 0):
            raise CouldNotRun(f"there was something to refresh: {found}")
    return took


def _call(connection: Connection, max_hours: int = 48) -> tuple[int, int]:
    """Hours and days done, and what is left over."""
    row = connection.execute(f"call refresh_hourly({max_hours})".encode()).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _design_times(connection: Connection, hours: list[datetime]) -> list[float]:
    """Its hourly job for the same hours, each with the hour before it."""
    for statements in (design.TABLE, design.INDEXES, design.SEARCH_PATH):
        connection.execute(statements.encode())
    took = []
    for hour in hours:
        started = time.perf_counter()
        connection.execute(design.INCREMENTAL.encode(), {"now": hour + timedelta(hours=1)})
        took.append(time.perf_counter() - started)
    connection.execute("reset search_path")
    connection.execute("drop schema design cascade")
    return took
