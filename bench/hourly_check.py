"""Whether the aggregates are those of the events: a fast wrong result is worthless.

Says it with SQL of its own, not with the rollup's functions.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from bench.results import CouldNotRun

SAMPLE_HOURS, SAMPLE_DAYS = 24, 2

TOTALS = """
select
  (select count(*) from analytics_events),
  (select sum(event_count) from {})
"""

HOURS = "select distinct hour_bucket from {} order by hour_bucket"

HOUR = """
with counted as (
  select project_id, event_type, event_label, count(*),
    count(distinct visitor_id), count(distinct session_id)
  from analytics_events
  where created_at >= %(at)s and created_at < %(at)s + interval '1 hour' group by 1, 2, 3
), stored as (
  select project_id, event_type, event_label, event_count, unique_visitors, unique_sessions
  from {} where hour_bucket = %(at)s
)
select count(*) from (
  (table counted except all table stored) union all (table stored except all table counted)
) differ
"""

DAY = """
with counted as (
  select project_id, event_type, event_label, count(*) as events,
    count(distinct visitor_id) as visitors, count(distinct session_id) as sessions,
    case when grouping(event_type) = 1 then 'project'
      when grouping(event_label) = 1 then 'type' else 'label' end as grain
  from analytics_events
  where created_at >= %(day)s::date::timestamp at time zone 'UTC'
    and created_at < (%(day)s::date + 1)::timestamp at time zone 'UTC'
  group by project_id, rollup (event_type, event_label)
), stored as (
  select project_id, event_type, event_label, event_count, unique_visitors, unique_sessions, grain
  from analytics_events_daily_agg where day = %(day)s
)
select count(*) from (
  (table counted except all table stored) union all (table stored except all table counted)
) differ
"""


def check_hourly(url: str, table: str = "analytics_events_hourly_agg") -> None:
    """All events are counted once, and a sample of hours is right, row by row.

    Raises:
        CouldNotRun: it is not so.
    """
    name = sql.Identifier(*table.split("."))
    with psycopg.connect(url) as connection:
        found = connection.execute(sql.SQL(TOTALS).format(name)).fetchone()
        if found is None or found[0] != found[1]:
            raise CouldNotRun(f"{table} does not count all events once: {found}")
        hours = [hour for (hour,) in connection.execute(sql.SQL(HOURS).format(name))]
        for hour in hours[:: max(1, len(hours) // SAMPLE_HOURS)]:
            _expect_none(connection, sql.SQL(HOUR).format(name), {"at": hour}, table)


def check_daily(url: str) -> None:
    """Of a sample of days, every row of the three grains is right.

    Raises:
        CouldNotRun: it is not so, or there are no days.
    """
    with psycopg.connect(url) as connection:
        query = "select distinct day from analytics_events_daily_agg order by day"
        days = [day for (day,) in connection.execute(query)]
        if not days:
            raise CouldNotRun("there are no daily rows")
        for day in days[len(days) // 2 :][:SAMPLE_DAYS]:
            _expect_none(connection, sql.SQL(DAY), {"day": day}, "analytics_events_daily_agg")


def _expect_none(
    connection: psycopg.Connection[Any],
    query: sql.SQL | sql.Composed,
    parameters: dict[str, object],
    table: str,
) -> None:
    row = connection.execute(query, parameters).fetchone()
    if row != (0,):
        raise CouldNotRun(f"{row and row[0]} rows of {table} differ from the events: {parameters}")
