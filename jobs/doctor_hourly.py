"""Doctor's look at the hourly rollup of events: freshness, queue, triggers, pg_cron's jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from db import open_rollups
from jobs.doctor_database import open_tables
from jobs.findings import ADVICE, FAIL, OK, Finding
from jobs.hourly_health import health_failures
from storage.errors import DatabaseError, DatabaseRefused, MissingRelation
from summary import count

if TYPE_CHECKING:
    from jobs.doctor import Examination

AREA = "events"
UNATTENDED = timedelta(hours=2)
TABLES = (
    "analytics_events",
    "analytics_events_hourly_agg",
    "analytics_events_daily_agg",
    "analytics_visitor_hour",
    "analytics_visitor_day",
)


def check_events(seen: Examination) -> Iterator[Finding]:
    """Whether the rollup is up to date; nothing where there are no events. Read-only."""
    if not seen.settings.database_url:
        return  # events are optional, and are not counted through REST
    try:
        # A connection of its own: other checks use the common one at the same time.
        with open_rollups(seen.settings, 1) as (database, (rollup,)):
            health, jobs = rollup.health(), rollup.jobs()
            last = database.read_runs(1, job="hourly", failures=False)
            checks = database.read_runs(1, job="hourly-check", failures=False)
            schema = database.read_schema()
    except MissingRelation:
        return  # check_migrations says what is pending
    except DatabaseRefused as error:  # a role that only looks; whoever counts is another
        yield Finding(ADVICE, AREA, f"not looked at: {error.message}", error.mend)
        return
    except DatabaseError as error:
        yield Finding(FAIL, AREA, error.message, error.mend)
        return
    if health.newest_hour is None and health.newest_event is None:
        return
    found = [Finding(FAIL, AREA, f.message, f.mend) for f in health_failures(health, jobs)]
    yield from found
    if not found:
        waiting = health.dirty_hours + health.dirty_days
        waits = f"{count(waiting, 'hour or day waits', 'hours and days wait')} to be counted"
        yield Finding(OK, AREA, f"counted by hour and day; {waits if waiting else 'none waits'}")
    recent = any(seen.now - run.started_at < UNATTENDED for run in last)
    if not jobs and not recent:
        message = "nothing counts new events by itself: no job of pg_cron, no recent run"
        mend = "select analytics_rollup_schedule(); or a cron line: aggregator.py hourly"
        yield Finding(ADVICE, AREA, message, mend)
    yield from open_tables(AREA, TABLES, schema, seen)
    for run in [*last, *checks]:
        if run.status not in ("complete", "running"):
            message = f"the last run of {run.job} ({run.started_at:%F %H:%M}) ended {run.status}"
            yield Finding(ADVICE, AREA, message, "aggregator.py runs --failed")
