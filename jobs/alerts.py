"""Tells of runs that nobody watches: pings a health check, and writes to a webhook when it must.

No alert target fails a run: one that does not answer, or is gone, is a warning.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from config import HOME, Settings
from db import Database
from fetchers.alert_targets import Ping, ping, send_message
from fetchers.errors import FetchError
from jobs.alert_rules import (
    FAILED,
    LASTING_RUNS,
    STALE,
    Alert,
    Decision,
    Outcome,
    as_json,
    decide,
    from_json,
    undelivered,
)
from jobs.run_failures import WrongRequest, failure_of
from models import Failure
from storage.errors import DatabaseError
from storage.runs import StoredRun
from summary import count, failure_lines, noun_of

if TYPE_CHECKING:
    from jobs.recording import Run

RUNS_READ = 500
MEMORY = HOME / ".state" / "alerts.json"
"""Where alerts are remembered while the database cannot be written: by job."""

NAMED = 8
"""Failures in one message: so many are read, and fit."""

OF_ANY_RUN = ("database", "run")
"""Sources that every run asks, whatever else it was asked for."""

log = logging.getLogger("aggregator.alerts")


class Alerts:
    """What is told of one run of a job. `wanted` is False where somebody is watching."""

    def __init__(
        self,
        settings: Settings,
        job: str,
        now: datetime,
        *,
        wanted: bool = True,
        memory: Path = MEMORY,
    ) -> None:
        self._healthcheck = settings.healthcheck_url if wanted else None
        self._webhook = settings.alert_webhook_url if wanted else None
        self.job = job
        self.started_at = now
        self._memory = memory
        self._target_days_ago = settings.target_days_ago
        self.told = False

    def started(self) -> None:
        self._ping("start", f"{self.job} started on {socket.gethostname()}")

    def ended(
        self, status: str, run: Run, database: Database | None, remember: Callable[[object], bool]
    ) -> None:
        """Tell how the run ended. `remember` keeps the open alerts in the run's row, if it can."""
        self.told = True
        body = "\n".join(run.summary or [f"FAILED: {self.job}", *failure_lines(run.failures, {})])
        self._ping("success" if status == "complete" else "fail", body)
        if self._webhook is None:
            return
        known, last_complete = self._recall(database)
        sources = (*run.sources, *OF_ANY_RUN)
        outcome = Outcome(
            status, run.failures, sources, self.started_at, last_complete, nightly=run.nightly
        )
        decision = decide(known, outcome)
        alerts = decision.alerts
        if decision and not self._send(message(self.job, decision, run)):
            alerts = undelivered(known, decision)
        kept_in_row = remember(as_json(alerts))
        if not kept_in_row:  # what has ended must stay ended, whatever an older row says
            open_now = {alert.key for alert in alerts}
            ended = (alert for alert in known if alert.key not in open_now)
            alerts = [*alerts, *(replace(a, runs={}, told=(), over=True) for a in ended)]
        self._write_memory([] if kept_in_row else alerts)

    def _ping(self, what: Ping, body: str) -> None:
        if self._healthcheck is not None:
            url = self._healthcheck
            self._try("the health check (HEALTHCHECK_URL)", lambda: ping(url, what, body))

    def _send(self, text: str) -> bool:
        assert self._webhook is not None
        url = self._webhook
        return self._try("the webhook (ALERT_WEBHOOK_URL)", lambda: send_message(url, text))

    def _try(self, name: str, tell: Callable[[], None]) -> bool:
        try:
            tell()
        except FetchError as error:
            log.warning("%s was not told: %s -> %s", name, error.message, error.mend)
            return False
        return True

    def _recall(self, database: Database | None) -> tuple[list[Alert], datetime | None]:
        """The open alerts, and when a run was last complete (or the first began)."""
        alerts, last_complete = {}, None
        if database is not None:
            try:
                runs = database.read_runs(RUNS_READ, job=self.job, failures=False)
                complete = database.read_runs(
                    RUNS_READ, job=self.job, statuses=("complete",), failures=False
                )
                # One that seems to begin later had a wrong clock, and would stay the newest.
                runs, complete = (
                    [run for run in found if run.started_at <= self.started_at]
                    for found in (runs, complete)
                )
            except DatabaseError as error:
                log.warning("alerts go by this run alone: %s", error.message)
            else:
                alerts = {alert.key: alert for alert in newest_alerts(runs)}
                last_complete = last_complete_at(complete, runs, self._target_days_ago)
        for alert in self._read_memory():
            row = alerts.get(alert.key)
            alerts[alert.key] = joined(row, alert) if row else alert
        return list(alerts.values()), last_complete

    def _read_memory(self) -> list[Alert]:
        return from_json(self._load_memory().get(self.job))

    def _load_memory(self) -> dict[str, object]:
        try:
            kept = json.loads(self._memory.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _write_memory(self, alerts: list[Alert]) -> None:
        """The alerts of this job beside those of others; no file where there is nothing to keep."""
        kept = self._load_memory()
        if not alerts and self.job not in kept:
            return
        kept = {**kept, self.job: as_json(alerts)}
        beside = self._memory.with_suffix(f".{os.getpid()}")
        try:
            self._memory.parent.mkdir(mode=0o700, exist_ok=True)
            beside.write_text(json.dumps(kept))
            beside.replace(self._memory)
        except OSError as error:
            log.warning("alerts may be told again: %s cannot be written (%s)", self._memory, error)


@contextmanager
def alerting(
    settings: Settings, job: str, now: datetime, *, wanted: bool = True
) -> Iterator[Alerts]:
    """Tell that a run failed where it ends before it could tell so itself.

    What a person asked for wrongly is answered on their terminal, and nobody else is told.
    """
    from jobs.recording import Run

    alerts = Alerts(settings, job, now, wanted=wanted)
    try:
        yield alerts
    except BaseException as error:
        if not alerts.told and not isinstance(error, WrongRequest | KeyboardInterrupt):
            run = Run(failures=[failure_of(error)])
            alerts.ended("failed", run, None, lambda _alerts: False)
        raise


def joined(row: Alert, kept: Alert) -> Alert:
    """One alert that both the history and the file know: nobody is told twice."""
    if kept.over:
        return kept
    days = [day for day in (row.told_on, kept.told_on) if day]
    runs = {site: max(row.runs.get(site, 0), number) for site, number in kept.runs.items()}
    told = tuple(site for site in sorted({*row.told, *kept.told}) if site in runs)
    return replace(kept, runs=runs, told=told, told_on=max(days, default=None))


def newest_alerts(runs: list[StoredRun]) -> list[Alert]:
    """The alerts of the run that ended last and kept any: one that died has none."""
    ended = [run for run in runs if "alerts" in run.counts]
    last = max(ended, key=lambda run: run.finished_at or run.started_at, default=None)
    return from_json(last.counts["alerts"]) if last else []


def last_complete_at(
    complete: list[StoredRun], runs: list[StoredRun], target_days_ago: int
) -> datetime | None:
    """When a nightly run was last complete; if none ever was, when the first of `runs` began."""
    nights = [run for run in complete if run.is_nightly(target_days_ago)]
    ends = [run.finished_at or run.started_at for run in nights]
    return max(ends) if ends else min((run.started_at for run in runs), default=None)


def message(job: str, decision: Decision, run: Run) -> str:
    """One message of everything there is to tell, the worst first."""
    lines = [f"analytics-aggregator, {job} on {socket.gethostname()}"]
    lines += [f"recovered: {_name(alert)}" for alert in decision.recovered[:NAMED]]
    if len(decision.recovered) > NAMED:
        lines.append(f"and {len(decision.recovered) - NAMED} more recovered")
    if decision.stale_since is not None:
        lines.append(f"no complete run since {decision.stale_since:%Y-%m-%d %H:%M} UTC")
    if run.summary:
        lines += ["this run:", run.summary[0]]
        if not run.summary[-1].startswith(" "):  # else the failures are last, which follow here
            lines.append(run.summary[-1])
    if decision.failed:
        lines += ["", "FAILED", *_told(decision.failed, run)]
    if decision.lasting:
        lines += ["", f"failing for {LASTING_RUNS} runs or more", *_told(decision.lasting, run)]
    return "\n".join(lines)


def _told(failures: list[Failure], run: Run) -> list[str]:
    """The failures, as many as a message holds; where the others are."""
    lines = [line for line in failure_lines(failures[:NAMED], run.names) if line]
    more = len(failures) - NAMED
    return [*lines, f"and {more} more -> aggregator.py runs --failed"] if more > 0 else lines


def _name(alert: Alert) -> str:
    """`gsc, account 7c2c: credentials`, as it was told."""
    if alert.what == STALE:
        return "a run was complete again"
    if alert.what == FAILED:
        return f"runs can begin again (it was: {alert.source}, {alert.kind})"
    whose = f"{alert.source}, account {alert.account}" if alert.account else alert.source
    return f"{whose}: {alert.kind} (of {count(len(alert.told), noun_of(alert.source))})"
