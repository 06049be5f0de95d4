"""Made-up events, runs of `aggregator.py hourly`, and what the rollup must hold then.

What is expected is counted anew in SQL, from the events alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cli
from config import examine_settings
from jobs.alerts import Alerts
from jobs.hourly import refresh_events
from jobs.hourly_care import check_events
from jobs.run_failures import CannotRun
from sandbox import Sandbox, World
from sandbox.world import utc_now
from storage.errors import DatabaseError
from tests.end_to_end.night import Night
from tests.end_to_end.visit_runs import Ran, collected_log
from tests.integration.tables import execute, rows

COULD_NOT_RUN = 2

FILL = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, created_at)
select 'p' || n %% 3, nullif('v' || n * 7 %% 19, 'v0'), 's' || n / 4, 'type ' || n %% 2,
  nullif('label ' || n %% 5, 'label 0'),
  %s::timestamptz + n * %s::interval / %s
from generate_series(0, %s - 1) n
"""

DIFFERENCES = """
with events as (
  select project_id, event_type, event_label, visitor_id, session_id,
    date_bin('1 hour', created_at, '2000-01-01 00:00+00') as hour,
    (created_at at time zone 'UTC')::date as day
  from public.analytics_events
), counted as (
  select 'hour' as what, hour::text as at, project_id, event_type, event_label,
    count(*) as n, count(distinct visitor_id) as visitors, count(distinct session_id) as sessions
  from events group by hour, project_id, event_type, event_label
  union all
  select case grouping(event_type, event_label) when 3 then 'project' when 1 then 'type'
      else 'label' end, day::text, project_id, event_type, event_label,
    count(*), count(distinct visitor_id), count(distinct session_id)
  from events where day < (now() at time zone 'UTC')::date
  group by day, project_id, rollup (event_type, event_label)
), stored as (
  select 'hour', hour_bucket::text, project_id, event_type, event_label, event_count,
    unique_visitors, unique_sessions
  from public.analytics_events_hourly_agg
  union all
  select grain, day::text, project_id, event_type, event_label, event_count,
    unique_visitors, unique_sessions
  from public.analytics_events_daily_agg
)
select 'not stored', * from (table counted except all table stored) as missing
union all
select 'not counted', * from (table stored except all table counted) as wrong
"""
DIFFERENT = DIFFERENCES + "order by 2, 3, 4, 1 limit 5"
UNMARKED = f"""
select * from ({DIFFERENCES}) as d (how, what, at, project_id, type, label, n, visitors, sessions)
where not exists (
    select from public.analytics_rollup_dirty m
    where coalesce(m.project_id, d.project_id) = d.project_id
      and case when what = 'hour' then m.hour_bucket = at::timestamptz
          else (m.hour_bucket at time zone 'UTC')::date = at::date end)
  and not exists (
    select from public.analytics_rollup_dirty_days m
    where what <> 'hour' and m.project_id = d.project_id and m.day = at::date)
limit 5
"""
"""What differs though nothing says that it is to be counted again: wrong for good."""


UNCOUNTABLE = """
create function planted() returns trigger language plpgsql as
$$ begin raise exception 'planted'; end $$;
create trigger planted before insert on public.analytics_events_hourly_agg
  for each statement execute function planted();
select public.analytics_rollup_mark();
"""
COUNTABLE = "drop trigger planted on public.analytics_events_hourly_agg; drop function planted"


def fill(url: str, first: str, lasting: str = "1 day", number: int = 240) -> None:
    """So many events of three projects, evenly over that time."""
    execute(url, FILL, first, lasting, number, number)


def different(url: str) -> list[tuple[Any, ...]]:
    """Hours and closed days that are stored otherwise than their events are: the first five."""
    return rows(url, DIFFERENT)


def left(url: str) -> int:
    """How much waits to be counted."""
    [(number,)] = rows(url, "select public.analytics_rollup_left()")
    return int(number)


def versions(url: str) -> set[tuple[Any, ...]]:
    """Which transaction wrote each row last, and when it says that its numbers changed."""
    tables = ("events_hourly_agg", "events_daily_agg")
    query = " union all ".join(
        f"select '{name}', ctid::text, xmin::text, updated_at::text from public.analytics_{name}"
        for name in tables
    )
    return set(rows(url, query))


def last_run(url: str) -> tuple[str, str, dict[str, Any], list[dict[str, Any]]]:
    """Job, status, counts and failures of the newest row of the run history."""
    query = "select job, status, counts, failures from public.aggregator_runs order by id"
    found = rows(url, f"{query} desc limit 1")
    job, status, counts, failures = found[0]
    return job, status, counts, failures


def hourly(url: str, *words: str, **variables: str) -> Ran:
    """One run in this process, without its `alerting`; FAILED begins the line of one that could
    not run."""
    settings, problems = examine_settings(
        {"DATABASE_URL": url, "HTTP_ATTEMPTS": "1", **variables}, None, ("postgres",)
    )
    assert not problems, problems
    arguments = cli.parse_arguments(["hourly", *words])
    now = utc_now()
    job, work = ("hourly-check", check_events) if arguments.check else ("hourly", refresh_events)
    with collected_log() as lines:
        try:
            status = work(arguments, settings, now, Alerts(settings, job, now))
        except (CannotRun, DatabaseError) as error:
            status = COULD_NOT_RUN
            lines.append(f"FAILED {error.message} -> {error.mend}")
    return Ran(status, "\n".join(lines))


def counted(url: str, *words: str) -> Ran:
    """A run that must be complete, after which all is as the events are."""
    done = hourly(url, *words)
    assert done.status == 0, done
    assert different(url) == []
    assert left(url) == 0
    return done


@contextmanager
def open_process(program: Path, url: str, **variables: str) -> Iterator[Night]:
    """Runs of the program as a process; the sandbox is there to be asked nothing."""
    with Sandbox(World(sites=1)) as sandbox:
        yield Night(program, sandbox, url, {"PATH": os.defpath, "DATABASE_URL": url, **variables})
        assert sandbox.requests() == []
