"""The run history: every job that fetches writes one row of `aggregator_runs` through this."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from config import InvalidSettings, Settings
from db import Database, open_database
from jobs.alerts import Alerts
from jobs.run_failures import WrongRequest, failure_of
from logs import printable, report
from models import Failure, SiteId, Window
from storage.errors import DatabaseError, DatabaseUnavailable, MissingRelation
from storage.runs import RunRecord
from summary import merge_failures

MARGIN = timedelta(hours=1)
"""A run on another machine counts as dead this long after its deadline."""

KEPT = timedelta(days=400)
"""How long a run stays in the history."""

DIED = Failure(
    kind="interrupted",
    source="run",
    message="the run died without a word (killed, or the machine went down)",
    mend="nothing to do for the nightly run: the next one reads the last days again; "
    "a backfill: run its days again with --gaps",
)

log = logging.getLogger("aggregator.runs")


@dataclass(slots=True)
class Run:
    """What a job reports of itself while it runs. No failures at the end: it is complete.

    window: its days, where they are not known before it begins. sources: what it asks. nightly: it
    asks for what a run of every night does. names: domains by site, for messages. summary: the
    final report's lines.
    """

    failures: list[Failure] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    window: Window | None = None
    sources: tuple[str, ...] = ()
    names: Mapping[SiteId, str] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)
    nightly: bool = True


@contextmanager
def recorded_run(
    database: Database,
    window: Window | None,
    settings: Settings,
    alerts: Alerts,
    *,
    keep: bool = True,
) -> Iterator[Run]:
    """Record a run of the job that `alerts` tells of: a row at the start, its outcome at the end,
    whatever ends it.

    Runs of the job that died are closed first, and runs older than 400 days are forgotten. The
    history never fails a run: where it cannot be kept, one warning says so.

    keep: False leaves no trace (a dry run).
    """
    run = Run()
    alerts.started()
    history = _History(database, alerts.job, alerts.started_at, kept=keep)
    history.close_dead_runs(settings.run_deadline_seconds)
    history.start(window)
    try:
        yield run
    except BaseException as error:
        run.failures.append(failure_of(error))
        history.finish("failed", run)
        if not isinstance(error, WrongRequest):
            alerts.ended("failed", run, database, history.keep_alerts)
        raise
    status = "incomplete" if run.failures else "complete"
    history.finish(status, run)
    alerts.ended(status, run, database, history.keep_alerts)
    history.forget_old_runs()


def record_failed_start(
    settings: Settings, alerts: Alerts, error: InvalidSettings, *, keep: bool
) -> None:
    """A run that its settings keep from beginning has a row too, where they name a database."""
    named = settings.supabase_service_key if settings.supabase_url else settings.database_url
    if not (keep and named):
        return
    once = replace(settings, http_attempts=1)
    with (
        suppress(InvalidSettings, DatabaseError),
        open_database(once) as database,
        recorded_run(database, None, settings, alerts),
    ):
        raise error


def report_run(run: Run) -> None:
    """Print the summary, its last line with the counts as fields."""
    for line in run.summary[:-1]:
        report(line)
    report(run.summary[-1], counts=run.counts, failures=len(merge_failures(run.failures)))


class _History:
    """Writes to aggregator_runs as long as that works."""

    def __init__(self, database: Database, job: str, started_at: datetime, *, kept: bool) -> None:
        self._database = database
        self._job = job
        self._started_at = started_at
        self._run_id: SiteId | None = None
        self._ended: RunRecord | None = None
        self._kept = kept

    def start(self, window: Window | None) -> None:
        record = RunRecord(
            status="running",
            job=self._job,
            started_at=self._started_at,
            window_from=window.first if window else None,
            window_to=window.last if window else None,
            counts={"process": _this_process()},
        )

        def insert() -> None:
            try:
                self._run_id = self._database.insert_run(record)
            except DatabaseUnavailable:
                # The row may be there though the answer was lost: then it is taken, not doubled.
                self._run_id = self._find_own_row() or self._database.insert_run(record)

        self._try(insert)

    def _find_own_row(self) -> SiteId | None:
        mine = {"process": _this_process()}
        open_runs = self._database.read_open_runs(self._job)
        return next((run_id for run_id, _, counts in open_runs if counts == mine), None)

    def finish(self, status: str, run: Run) -> None:
        failures = [_as_json(failure) for failure in merge_failures(run.failures, exact=True)]
        self._end_with(
            RunRecord(
                status=status,
                finished_at=datetime.now(UTC),
                window_from=run.window.first if run.window else None,
                window_to=run.window.last if run.window else None,
                counts=dict(run.counts),
                failures=failures,
            )
        )

    def keep_alerts(self, alerts: object) -> bool:
        """Keep the open alerts for the next run; whether that worked."""
        if self._run_id is None or self._ended is None:
            return False
        counts = {**(self._ended.counts or {}), "alerts": alerts}
        self._end_with(replace(self._ended, counts=counts))
        return self._kept

    def forget_old_runs(self) -> None:
        """Once a run is told: what cannot be deleted does no harm."""
        if not self._kept:
            return
        try:
            schema = self._database.read_schema()
            # A clock of ours that is wrong by a year must not delete a year of history.
            if schema is not None:
                self._database.delete_runs_before(min(schema.now, self._started_at) - KEPT)
        except DatabaseError as error:
            days = KEPT.days
            log.warning("runs older than %d days stay: %s -> %s", days, error.message, error.mend)

    def _close_as_failed(self, run_id: SiteId) -> None:
        record = RunRecord("failed", finished_at=self._started_at, failures=[_as_json(DIED)])
        self._database.update_run(run_id, record)

    def _end_with(self, record: RunRecord) -> None:
        run_id = self._run_id
        if run_id is not None:
            self._ended = record
            self._try(lambda: self._database.update_run(run_id, record))

    def close_dead_runs(self, deadline: float) -> None:
        """Open runs whose process is gone; of other machines, those long past their deadline."""

        def close() -> None:
            dead = {}
            for run_id, started_at, counts in self._database.read_open_runs(self._job):
                overdue = self._started_at - started_at > timedelta(seconds=deadline) + MARGIN
                if _has_died(counts, overdue=overdue):
                    dead[run_id] = f"{started_at:%F %T}"
                else:
                    log.warning("another run of this job is under way: %s", f"{started_at:%F %T}")
            # A process writes its end before it is gone: one that just ended is open no more.
            still_open = self._database.read_open_runs(self._job) if dead else []
            for run_id in [run_id for run_id, _, _ in still_open if run_id in dead]:
                self._close_as_failed(run_id)
                log.warning("the run of %s never ended: closed as failed", dead[run_id])

        self._try(close)

    def _try(self, write: Callable[[], None]) -> None:
        """The history never fails a run: one warning where it cannot be kept, then silence."""
        if not self._kept:
            return
        try:
            write()
        except MissingRelation:
            self._kept = False
            log.warning(
                "no run history: the table aggregator_runs is missing; "
                "supabase/migrations/20261121000100_aggregator_runs.sql adds it"
            )
        except DatabaseError as error:
            if isinstance(error, DatabaseUnavailable) and self._run_id is None:
                raise  # it cannot be read from either: say it once, as what ends the run
            self._kept = False
            log.warning("no run history: %s", error)


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _process_start(pid)}


def _has_died(counts: Any, *, overdue: bool) -> bool:
    """Whether an open run has no process any more. Elsewhere only its deadline can tell."""
    try:
        process = counts["process"]
        here = process["host"] == socket.gethostname()
        started = _process_start(int(process["pid"])) if here else None
        return started is None or started != process["started"] if here else overdue
    except (KeyError, TypeError, ValueError):  # not a row that this program wrote
        return overdue


def _process_start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: a later process may have the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _as_json(failure: Failure) -> dict[str, Any]:
    return {
        "kind": failure.kind,
        "source": failure.source,
        "account": failure.account,
        "message": printable(failure.message),
        "mend": printable(failure.mend),
        "count": len(failure.sites),
        "sites": list(failure.sites),
        "days": [day.isoformat() for day in failure.days],
    }
