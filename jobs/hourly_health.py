"""What can be wrong with the hourly rollup: from what the database says to failures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from exit_status import COMPLETE, INCOMPLETE, SIGNAL_BASE
from jobs.recording import Run
from models import Failure
from stopping import Stop
from storage.rollup import CronJob, Difference, Health
from summary import count

SOURCE = "events"

FRESH_WITHIN = timedelta(hours=2)
"""After the newest hour is over: the design wants one within two hours of now."""

WAITS_AT_MOST = timedelta(hours=2)
"""A cron line that runs once an hour leaves marks for an hour."""

NAMED = 5

REFRESH = (
    "aggregator.py hourly; and see that pg_cron or a cron line runs it (docs/hourly-rollup.md)"
)


def health_failures(health: Health, jobs: Sequence[CronJob]) -> Iterator[Failure]:
    """Freshness, queue, triggers, pg_cron's jobs: one failure for each that is not well."""
    yield from _freshness(health)
    waits = health.oldest_mark
    if waits is not None and health.now - waits > WAITS_AT_MOST:
        queue = f"{count(health.dirty_hours, 'hour')} and {count(health.dirty_days, 'day')}"
        message = f"{queue} wait to be counted, the first since {_minute(waits)}"
        yield Failure("not ready", SOURCE, message, REFRESH)
    if health.unwatched:
        named = ", ".join(health.unwatched[:NAMED])
        message = f"changes of {named} go unseen: its triggers are not there, or switched off"
        mend = "select analytics_rollup_watch(); then aggregator.py hourly --all"
        yield Failure("settings", SOURCE, message, mend)
    for job in jobs:
        if not job.active:
            message = f"pg_cron's job {job.job} is switched off"
            mend = "select cron.alter_job(jobid, active := true) from cron.job where jobname = …"
            yield Failure("settings", SOURCE, message, mend)
        elif job.failures:
            message = (
                f"pg_cron's job {job.job} failed {count(job.failures, 'time')} in a row: "
                f"{' '.join((job.message or 'no message').split())[:200]}"
            )
            yield Failure("database", SOURCE, message, "mend what the message says; it runs again")


def _freshness(health: Health) -> Iterator[Failure]:
    newest = health.newest_hour
    if newest is None or health.now - newest <= FRESH_WITHIN + timedelta(hours=1):
        return  # nothing was ever counted: the queue tells whether something should have been
    event = health.newest_event
    if event is not None and event >= newest + timedelta(hours=1):
        message = f"the newest counted hour is {_minute(newest)}, the newest event {_minute(event)}"
        yield Failure("not ready", SOURCE, message, REFRESH)
        return
    hours = (health.now - newest - timedelta(hours=1)) // timedelta(hours=1)
    message = f"no event for {hours} hours: the newest hour with any is {_minute(newest)}"
    mend = "is whatever writes analytics_events at work? On quiet sites there is nothing to do"
    yield Failure("not ready", SOURCE, message, mend)


def difference_failures(differences: Sequence[Difference]) -> Iterator[Failure]:
    """Hours and days that are stored otherwise than their events are; a few by name."""
    together: dict[str, list[Difference]] = defaultdict(list)
    for found in differences:
        together[_minute(found.hour_bucket) if found.hour_bucket else str(found.day)].append(found)
    mend = "all is marked: aggregator.py hourly counts it again; if it comes back, report it"
    for when, projects in list(together.items())[:NAMED]:
        first = projects[0]
        numbers = f"{first.stored} events stored, {first.counted} counted"
        if first.stored == first.counted:
            numbers = f"{first.stored} events both times, and other visitors, types or labels"
        others = f" and {len(projects) - 1} more" if len(projects) > 1 else ""
        message = f"{when}, project {first.project_id}{others}: {numbers}"
        yield Failure("unexpected", SOURCE, message, mend)
    if len(together) > NAMED:
        more = count(len(together) - NAMED, "more hour or day differs", "more hours or days differ")
        yield Failure("unexpected", SOURCE, f"and {more}", mend)


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def describe(health: Health) -> str:
    """`nothing waits, newest hour 2026-11-21 18:00 UTC`."""
    waiting = health.dirty_hours + health.dirty_days
    waits = count(waiting, "hour or day waits", "hours and days wait") if waiting else "none waits"
    if health.newest_hour is None:
        return f"{waits}, nothing counted yet"
    return f"{waits}, newest hour {health.newest_hour.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def exit_status(run: Run, stop: Stop) -> int:
    """The exit status of shared contract.md."""
    if stop.signal is not None:
        return SIGNAL_BASE + stop.signal
    return INCOMPLETE if run.failures else COMPLETE
