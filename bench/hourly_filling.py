"""Fills the hourly table up to 21 million rows with a past that has no events.

The hours before the generated events, 100 groups of each project and hour: what the readers are
asked for stays what the rollup counted.
"""

from __future__ import annotations

import os
from typing import Any

import psycopg

from bench import hourly_design as design
from bench.hourly_events import EVENTS, LABELS, PROJECTS, TYPES, Shape

AGGREGATES = int(os.environ.get("BENCH_AGGREGATES", str(EVENTS * 21 // 20)))
"""Rows of the hourly table: 21 million beside 20 million events."""

PER_HOUR = PROJECTS * len(TYPES) * LABELS

FILL = """
insert into analytics_events_hourly_agg
  (project_id, event_type, event_label, hour_bucket, event_count, unique_visitors, unique_sessions)
select 'project-' || lpad(project::text, 3, '0'), type, 'label-' || lpad(label::text, 2, '0'),
  %(before)s::timestamptz - hour * interval '1 hour',
  1 + abs(hashint4(project * label + hour)) %% 30, 1 + label %% 5, 1 + label %% 4
from generate_series(1, %(hours)s) hour, generate_series(1, %(projects)s) project,
  unnest(%(types)s::text[]) type, generate_series(1, %(labels)s) label
"""

FILL_DAYS = """
insert into analytics_events_daily_agg
  (project_id, day, grain, event_type, event_label, event_count, unique_visitors, unique_sessions)
select project_id, (hour_bucket at time zone 'UTC')::date,
  case when grouping(event_type) = 1 then 'project'
    when grouping(event_label) = 1 then 'type' else 'label' end,
  event_type, event_label, sum(event_count), sum(unique_visitors), sum(unique_sessions)
from analytics_events_hourly_agg where hour_bucket < %(before)s
group by 1, 2, rollup (event_type, event_label)
on conflict do nothing
"""


def fill_rollup(url: str) -> int:
    """Add what is missing; how many rows the hourly table has then."""
    before = Shape().from_at.replace(hour=0)
    with psycopg.connect(url, autocommit=True) as connection:
        oldest = connection.execute("select min(hour_bucket) from analytics_events_hourly_agg")
        row = oldest.fetchone()
        before = min(before, row[0]) if row and row[0] else before
        missing = AGGREGATES - count(connection, "analytics_events_hourly_agg")
        hours = max(0, round(missing / PER_HOUR))
        if hours:
            values = {"before": before, "hours": hours, "projects": PROJECTS}
            values |= {"types": list(TYPES), "labels": LABELS}
            query = "select analytics_rollup_make_months(%s - %s * interval '1 hour', %s)"
            connection.execute(query, [before, hours, before])
            connection.execute(FILL, values)
            connection.execute("set work_mem = '256MB'")
            connection.execute(FILL_DAYS, {"before": before})
        connection.execute("vacuum (analyze) analytics_events_hourly_agg")
        connection.execute("vacuum (analyze) analytics_events_daily_agg")
        return count(connection, "analytics_events_hourly_agg")


def fill_design(url: str) -> None:
    """The design's table with the same rows and its indexes.

    As it would have become, but for the rows that it doubles where the label is NULL.
    """
    columns = (
        "project_id, event_type, event_label, hour_bucket, "
        "event_count, unique_visitors, unique_sessions"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(design.TABLE.encode())
        connection.execute(
            f"insert into design.analytics_events_hourly_agg ({columns}) "
            f"select {columns} from public.analytics_events_hourly_agg "
            "order by hour_bucket".encode()
        )
        connection.execute(design.INDEXES.encode())
        connection.execute("vacuum (analyze) design.analytics_events_hourly_agg")


def count(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute(f"select count(*) from {table}".encode()).fetchone()
    return int(row[0]) if row else 0
