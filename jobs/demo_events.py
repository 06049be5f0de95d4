"""The demo's events: made up, counted by `hourly`; and why unique counts are never summed."""

from __future__ import annotations

from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table

import cli
from config import Settings
from jobs.alerts import Alerts
from jobs.hourly import refresh_events
from storage.postgres_calls import connect

PROJECT = "shop"
DAYS, EVENTS, LATE = 3, 20_000, 300

FILL = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, created_at)
select (array['shop', 'blog', 'docs'])[1 + n %% 3],
  'visitor ' || n / 6 * 7919 %% 241 + n / 4000 * 40,
  'session ' || n / 6 * 7919 %% 241 || ', ' || n / 1000,
  (array['impression', 'impression', 'interaction'])[1 + n / 3 %% 3],
  (array['widget', 'banner', null])[1 + n / 9 %% 3], %s + n * %s / %s
from generate_series(0, %s - 1) as n
"""

MIDNIGHT = "date_trunc('day', now(), 'UTC')"
FIRST_DAY = f"{MIDNIGHT} - interval '{DAYS} days'"
SINCE_MIDNIGHT = f"least(now() - {MIDNIGHT}, interval '2 hours')"

ALL_OF_THEM = "truncate public.analytics_events"
WHOLE_DAYS = FILL % (FIRST_DAY, f"interval '{DAYS} days'", EVENTS, EVENTS)
TODAY = FILL % ("now()", f"-{SINCE_MIDNIGHT}", LATE, LATE)
LATE_ONES = FILL % (FIRST_DAY, "interval '2 hours'", LATE, LATE)

HOURLY_ROWS = f"""
(select sum(h.unique_visitors) from public.analytics_events_hourly_agg h
 where h.project_id = '{PROJECT}' and h.hour_bucket >= {FIRST_DAY} and h.hour_bucket < {MIDNIGHT}
"""
NUMBERS = f"""
select d.day::text, d.event_type, d.total_events, d.unique_visitors, {HOURLY_ROWS}
  and h.event_type = d.event_type and (h.hour_bucket at time zone 'UTC')::date = d.day)
from public.analytics_events_by_day('{PROJECT}', {FIRST_DAY}, {MIDNIGHT}) d
union all
select 'all of them', '', t.total_events, t.unique_visitors, {HOURLY_ROWS})
from public.analytics_events_totals('{PROJECT}', {FIRST_DAY}, {MIDNIGHT}) t
order by 1, 2
"""


def show_events(console: Console, settings: Settings, conninfo: str, now: datetime) -> list[int]:
    """Count made-up events, then those that come late; the exit status of each run."""
    statuses = []
    for title, statements in (
        ("Events: aggregator.py hourly", (ALL_OF_THEM, WHOLE_DAYS, TODAY)),
        (f"{LATE} events come late: aggregator.py hourly", (LATE_ONES,)),
    ):
        console.rule(title)
        with connect(conninfo) as connection, connection.transaction():
            for statement in statements:
                connection.execute(statement.encode())
        asked = cli.parse_arguments(["hourly"])
        statuses.append(refresh_events(asked, settings, now, Alerts(settings, "hourly", now)))
    console.print(events_table(conninfo))
    return statuses


def events_table(conninfo: str) -> Table:
    """Visitors of each day and type of one project, and what a sum would make of them."""
    caption = f"project {PROJECT}: who comes in three hours is one visitor of the day"
    table = Table(box=box.SIMPLE, caption=caption)
    for name in ("day", "type"):
        table.add_column(name, no_wrap=True)
    for name in ("events", "unique visitors", "summed up, wrong"):
        table.add_column(name, justify="right")
    with connect(conninfo) as connection:
        for day, event_type, *numbers in connection.execute(NUMBERS.encode()):
            table.add_row(day, event_type, *(f"{number:,}" for number in numbers))
    return table
