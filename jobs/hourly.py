"""`aggregator.py hourly`: counts analytics_events by hour and day, wherever something changed.

The work is done by refresh_hourly() in the database (docs/hourly-rollup.md), which pg_cron can call
with no Python at all. This calls it until nothing waits, and says so.
"""

from __future__ import annotations

import argparse
import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from config import Settings
from db import open_rollups
from jobs.alerts import Alerts
from jobs.hourly_health import SOURCE, describe, exit_status
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

ROUNDS = ("Hours of events", "Days that changed", "Who returned")
"""Hours that changed mark their days, and days that changed mark who returned on them."""

SHORTEST_PAUSE = 0.1
IDLE_SECONDS = 90.0
"""Nothing got done for so long: another refresh holds what is left, or it cannot be counted."""

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
        for table in first.health().unwatched:
            log.warning(
                "changes of %s went unseen: its triggers are made again, and all is counted", table
            )
        interruptible(first.upkeep, stop)
        if not run.nightly:
            marked = interruptible(
                partial(first.mark, arguments.first, arguments.after, days_too=not arguments.all),
                stop,
            )
            log.info("%s marked to be counted again", count(marked, "hour"))
            if not marked:
                log.warning("no hour has events or rows there, or they are archived (frozen)")
        shown = arguments.log_format == "text" and not arguments.quiet
        with progress_bars(wanted=shown) as bars:
            drain = Drain(stop)
            for what in ROUNDS:
                if not drain.begin(first):
                    break
                log.info("%s: %d to count", what, drain.left)
                drain.advance = bars.bar(what, drain.left)
                drain.run(rollups)
        run.failures += drain.failures()
        run.counts |= {"counted": drain.done, "left": drain.left}
        run.summary = summary_lines(run, drain, health_of(first), now)
    report_run(run)
    return exit_status(run, stop)


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
    _over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, rollup: Rollup) -> bool:
        """Take what waits now for what is to be done; False where it cannot be said.

        Raises:
            DatabaseError: nothing was counted yet.
        """
        try:
            self.since = rollup.clock()
            self.left = rollup.left(self.since)
        except DatabaseError as error:
            if not self.done:
                raise
            self.left, self.error = max(1, self.left), error
            return False
        return not self.stop.is_set()

    def run(self, rollups: list[Rollup]) -> None:
        """Each connection on a thread of its own, until all agree that they are through."""
        if not self.left:
            return
        workers: Workers[None] = Workers(len(rollups), self.stop)
        for rollup in rollups:
            workers.submit(partial(self._work, rollup))
        for _ in workers.results():
            pass
        with self._lock:  # what a stop leaves behind adds nothing to what is told
            self._over = self.stop.is_set()

    def failures(self) -> list[Failure]:
        if not self.left:
            return []
        if self.error is not None:
            return [Failure(self.error.kind, SOURCE, self.error.message, self.error.mend)]
        if self.idle:
            message = "another refresh holds what is left"
            return [Failure("temporary", SOURCE, message, "run it again")]
        mend = "run it again: it goes on where it stopped; or raise RUN_DEADLINE"
        return [Failure("interrupted", SOURCE, "what is left waits for the next run", mend)]

    def _work(self, rollup: Rollup) -> None:
        quiet, pause = Stop(IDLE_SECONDS), SHORTEST_PAUSE
        while not (self.stop.is_set() or quiet.is_set()):
            error = None
            try:
                rollup.refresh(AT_ONCE, CALL_SECONDS)
            except DatabaseError as refused:
                error = refused
            try:
                left = rollup.left(self.since)
            except DatabaseError as gone:
                left, error = self.left, gone
            progress = self._note(left, error)
            if not self.left:
                return
            if progress:
                quiet, pause = Stop(IDLE_SECONDS), SHORTEST_PAUSE
            elif error is not None:
                return
            else:
                self.stop.sleep(pause)
                pause = min(1.0, 2 * pause)
        self.idle = quiet.is_set()

    def _note(self, left: int, error: DatabaseError | None) -> bool:
        """What is left after a call, and how it ended; whether anything went forward."""
        with self._lock:
            if self._over:
                return False
            progress = left < self.left
            self.advance(max(0, self.left - left))
            self.done += max(0, self.left - left)
            self.left = min(left, self.left)
            if error is not None or progress:
                self.error = error
            return progress


def health_of(rollup: Rollup) -> Health | None:
    """None where the database is gone by now: what was counted is stored all the same."""
    try:
        return rollup.health()
    except DatabaseError as error:
        log.warning("%s", error.message)
        return None


def summary_lines(run: Run, drain: Drain, health: Health | None, now: datetime) -> list[str]:
    """The final report."""
    head = "INCOMPLETE" if run.failures else "COMPLETE"
    return [
        f"{head}: events by hour and day, as of {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        *failure_lines(run.failures, {}),
        *([""] if run.failures else []),
        f"Counted {count(drain.done, 'hour or day', 'hours and days')}"
        f"{f'; {describe(health)}' if health else ''}.",
    ]
