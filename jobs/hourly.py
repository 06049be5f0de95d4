"""`aggregator.py hourly`: counts analytics_events by hour and day, wherever something changed.

The work is done by refresh_hourly() in the database (docs/hourly-rollup.md), which pg_cron can call
with no Python at all. This calls it until nothing waits, and says so.
"""

from __future__ import annotations

import argparse
import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from config import Settings
from db import open_rollups, postgres_url
from exit_status import COMPLETE, INCOMPLETE, SIGNAL_BASE
from jobs.alerts import Alerts
from jobs.hourly_health import SOURCE, difference_failures, health_failures
from jobs.progress import Advance, progress_bars, silent
from jobs.recording import Run, recorded_run, report_run
from models import Failure, Window
from stopping import Stop, stopped_by_signals
from storage.errors import DatabaseError
from storage.rollup import Health, Rollup
from summary import count, failure_lines
from workers import Workers, interruptible

REFRESHERS = 2
"""Connections that count side by side: a small Supabase has two processors."""

AT_ONCE = 48
CALL_SECONDS = 5.0
"""How long one call goes on taking up hours: a signal waits for no more than that."""

IDLE_SECONDS = 90.0
"""Nothing got done for so long: another refresh holds what is left, or it cannot be counted."""

SAMPLE_HOURS = 24

ARCHIVE_AFTER = timedelta(days=90)

log = logging.getLogger("aggregator.hourly")


def refresh_events(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Mark what is asked for, then count everything that waits.

    Returns:
        The exit status of shared contract.md.

    Raises:
        DatabaseError: before anything was counted.
    """
    stop = Stop(settings.run_deadline_seconds)
    with (
        stopped_by_signals(stop),
        open_rollups(settings, 1 + REFRESHERS) as (database, (first, *rollups)),
        recorded_run(database, asked_days(arguments), settings, alerts) as run,
    ):
        run.sources = (SOURCE,)
        run.nightly = not (arguments.all or arguments.first)
        if not run.nightly:
            marked = interruptible(partial(first.mark, arguments.first, arguments.after), stop)
            log.info("%s marked to be counted again", count(marked, "hour"))
        shown = arguments.log_format == "text" and not arguments.quiet
        with progress_bars(wanted=shown) as bars:
            drain = Drain(stop)
            for what in ("Events, hours", "Events, closed days"):  # hours that changed mark days
                drain.since = first.clock()
                drain.left = first.left(drain.since)
                log.info("%s: %d to count", what, drain.left)
                drain.advance = bars.bar(what, drain.left)
                drain.run(rollups)
        run.failures += drain.failures()
        run.counts |= {"counted": drain.done, "left": drain.left}
        run.summary = summary_lines(run, drain, first.health(), now)
    return end(run, stop)


def check_events(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Compare a random sample with the events, and look at freshness, queue and pg_cron.

    What differs is marked, so that the next refresh mends it.
    """
    stop = Stop(settings.run_deadline_seconds)
    with (
        stopped_by_signals(stop),
        open_rollups(settings, 1) as (database, (rollup,)),
        recorded_run(database, None, settings, alerts) as run,
    ):
        run.sources = (SOURCE,)
        health, jobs = rollup.health(), rollup.jobs()
        differences = interruptible(partial(rollup.check, SAMPLE_HOURS), stop)
        rollup.repair(differences)
        different = {(found.hour_bucket, found.day) for found in differences}
        run.failures += [*health_failures(health, jobs), *difference_failures(differences)]
        run.counts |= {"sample_hours": SAMPLE_HOURS, "different": len(different)}
        head = f"events, as of {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        run.summary = [
            *(f"{f.source}: {f.message} -> {f.mend}" for f in run.failures),
            f"{'INCOMPLETE' if run.failures else 'COMPLETE'}: {head}: {describe(health)}; "
            f"{len(different)} of a sample of {SAMPLE_HOURS} hours, and of days, differ",
        ]
    return end(run, stop)


def archive_events(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Months of events that ended 90 days ago (or up to --to) into Parquet files, then out of the
    database.

    Raises:
        CannotRun, DatabaseError: before anything was archived.
    """
    from jobs.hourly_archive import archive_months

    stop = Stop(settings.run_deadline_seconds)
    before: date = (arguments.after or now - ARCHIVE_AFTER).date()
    with (
        stopped_by_signals(stop),
        postgres_url(settings) as conninfo,
        open_rollups(settings, 0) as (database, _),
        recorded_run(database, None, settings, alerts) as run,
    ):
        run.sources, run.nightly = (SOURCE,), False
        archived = archive_months(
            conninfo, Path(arguments.archive), before, now, say=log.info, stop=stop
        )
        events = sum(month.rows for month in archived.months)
        run.failures += archived.failures
        run.counts |= {"months": len(archived.months), "events": events}
        head = "INCOMPLETE" if run.failures else "COMPLETE"
        run.summary = [
            f"{head}: {count(len(archived.months), 'month')} of events that ended before {before}",
            *failure_lines(run.failures, {}),
            f"Archived {count(events, 'event')} into {arguments.archive}.",
        ]
    return end(run, stop)


def asked_days(arguments: argparse.Namespace) -> Window | None:
    """The UTC days that --from and --to name."""
    if arguments.first is None:
        return None
    last = arguments.after - timedelta(microseconds=1)
    return Window(arguments.first.date(), last.date())


@dataclass(slots=True)
class Drain:
    """Calls refresh_hourly() until nothing is left of what was marked up to `since`.

    Marks that come later are the next run's: a table that is written to all day always has some.
    """

    stop: Stop
    since: datetime = datetime.max
    left: int = 0
    advance: Advance = field(default=silent("", 0))
    done: int = 0
    error: DatabaseError | None = None
    idle: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, rollups: list[Rollup]) -> None:
        """Each connection on a thread of its own, until all agree that they are through."""
        if not self.left:
            return
        workers: Workers[None] = Workers(len(rollups), self.stop)
        for rollup in rollups:
            workers.submit(partial(self._work, rollup))
        for _ in workers.results():
            pass

    def failures(self) -> list[Failure]:
        if not self.left:
            return []
        left = count(self.left, "hour or day waits", "hours and days wait")
        if self.error is not None:
            return [Failure(self.error.kind, SOURCE, self.error.message, self.error.mend)]
        if self.idle:
            message = f"{left}, and another refresh holds them"
            return [Failure("temporary", SOURCE, message, "run it again")]
        mend = "run it again: it goes on where it stopped; or raise RUN_DEADLINE"
        return [Failure("interrupted", SOURCE, f"{left} for the next run", mend)]

    def _work(self, rollup: Rollup) -> None:
        quiet = Stop(IDLE_SECONDS)
        while not (self.stop.is_set() or quiet.is_set()):
            try:
                done, error = rollup.refresh(AT_ONCE, CALL_SECONDS), None
            except DatabaseError as refused:
                done, error = 0, refused
            progress = self._note(done, rollup.left(self.since), error)
            if not self.left:
                return
            if progress:
                quiet = Stop(IDLE_SECONDS)
            elif error is not None:
                return
            else:
                self.stop.sleep(1.0)
        self.idle = quiet.is_set()

    def _note(self, done: int, left: int, error: DatabaseError | None) -> bool:
        """Add to what all connections have done; whether anything went forward."""
        with self._lock:
            progress = left < self.left
            self.advance(max(0, self.left - left))
            self.done += done
            self.left = min(left, self.left)
            self.error = error if error is not None else self.error
            return progress or done > 0


def summary_lines(run: Run, drain: Drain, health: Health, now: datetime) -> list[str]:
    """The final report."""
    head = "INCOMPLETE" if run.failures else "COMPLETE"
    return [
        f"{head}: events by hour and day, as of {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        *failure_lines(run.failures, {}),
        *([""] if run.failures else []),
        f"Counted {count(drain.done, 'hour or day', 'hours and days')}; {describe(health)}.",
    ]


def describe(health: Health) -> str:
    """`nothing waits, newest hour 2026-11-21 18:00 UTC`."""
    waiting = health.dirty_hours + health.dirty_days
    waits = count(waiting, "hour or day waits", "hours and days wait") if waiting else "none waits"
    if health.newest_hour is None:
        return f"{waits}, no events yet"
    return f"{waits}, newest hour {health.newest_hour.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def end(run: Run, stop: Stop) -> int:
    """Print the report; the exit status."""
    report_run(run)
    if stop.signal is not None:
        return SIGNAL_BASE + stop.signal
    return INCOMPLETE if run.failures else COMPLETE
