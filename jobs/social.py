"""`aggregator.py social`: account metrics of every active connection into analytics_snapshots.

One task per connection, so that a failure is that connection's alone (docs/social.md). What is done
is stored user by user, while the others are still being asked.
"""

from __future__ import annotations

import argparse
import logging
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from config import Settings
from db import Database, StoredSnapshots, open_database, store_snapshots
from exit_status import COMPLETE, INCOMPLETE, SIGNAL_BASE
from fetchers.errors import (
    CredentialsError,
    FetchError,
    NeedsReauth,
    interrupted,
    outcome_of,
)
from fetchers.social import Collected
from jobs.alerts import Alerts
from jobs.progress import Advance, progress_bars
from jobs.recording import Run, recorded_run, report_run
from jobs.social_apis import SocialApis, fetch_connection, lane_of, open_social_apis
from jobs.social_plan import (
    SocialPlan,
    Work,
    choose_social_window,
    load_social_plan,
    token_digest,
)
from jobs.social_report import Report, log_user, report_start, show_changes
from jobs.social_rows import snapshots
from jobs.social_tokens import Store, Upkeep
from jobs.sources import open_http
from logs import printable
from models import Connection, SiteId, Snapshot
from stopping import Stop, stopped_by_signals
from storage.errors import DatabaseError
from summary import SOCIAL
from workers import Workers

MOST_THREADS = 256
"""Of each API. More than requests in flight: who waits for a throttled account must not hold up the
others."""

ROWS_AT_ONCE = 2000

log = logging.getLogger("aggregator.social")


def collect_social(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Ask every active connection's platform for its days, and store what it says.

    Returns:
        The exit status of shared contract.md.

    Raises:
        CannotRun, DatabaseError: before anything was fetched.
    """
    window = choose_social_window(arguments, settings, now)
    stop = Stop(settings.run_deadline_seconds)
    http = open_http(settings, stop)
    with (
        stopped_by_signals(stop),
        open_database(settings) as database,
        recorded_run(database, window, settings, alerts, keep=not arguments.dry_run) as run,
    ):
        plan = load_social_plan(database, arguments, window, settings)
        run.sources = (*sorted({c.platform for c in plan.known}), SOCIAL)
        run.nightly = plan.levels and not arguments.connections
        run.names = plan.names
        report_start(plan)
        report = Report(plan, window, now)
        shown = arguments.log_format == "text" and not arguments.quiet
        with progress_bars(wanted=shown) as bars:
            apis = open_social_apis(settings, http)
            lock = threading.Lock()
            collection = _Collection(
                plan=plan,
                apis=apis,
                database=database,
                using_database=lock,
                upkeep=Upkeep(apis, settings.encryption_keys, _locked(database, lock), now),
                stop=stop,
                now=now,
                report=report,
                advance=bars.bar("Connections", len(plan.work)),
                dry_run=arguments.dry_run,
            )
            collection.run()
        if arguments.dry_run:
            show_changes(collection.rows, database)
        run.failures += report.failures
        run.counts |= report.counts()
        run.summary = report.lines(run)
    report_run(run)
    return _exit_status(run, stop)


def _exit_status(run: Run, stop: Stop) -> int:
    if stop.signal is not None:
        return SIGNAL_BASE + stop.signal
    return INCOMPLETE if run.failures else COMPLETE


@dataclass(frozen=True, slots=True)
class _Done:
    work: Work
    outcome: Collected | FetchError


@dataclass(slots=True)
class _Collection:
    """State of one run. Workers ask the platforms; the thread that calls `run` stores and counts.

    rows: those of a dry run, which stores none.
    """

    plan: SocialPlan
    apis: SocialApis
    database: Database
    stop: Stop
    now: datetime
    report: Report
    advance: Advance
    dry_run: bool
    using_database: threading.Lock
    upkeep: Upkeep
    rows: list[Snapshot] = field(default_factory=list)
    _open: dict[SiteId, Work] = field(default_factory=dict)
    _left: Counter[str] = field(default_factory=Counter)
    _finished: dict[str, list[tuple[Connection, Collected]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _waiting: list[tuple[str, list[Snapshot]]] = field(default_factory=list)

    def run(self) -> None:
        for connection, error in self.plan.failed:
            self.report.fail(connection, error)
        self._open = {item.connection.id: item for item in self.plan.work}
        self._left = Counter(item.connection.user_id for item in self.plan.work)
        workers: Workers[_Done] = Workers(MOST_THREADS, self.stop)
        # The last is taken first: users come in the order of the table.
        for item in reversed(self.plan.work):
            workers.submit(partial(self._ask, item), lane_of(item.connection.platform))
        for done in workers.results():
            self._take(done)
        for item in list(self._open.values()):
            self._take(_Done(item, interrupted(self.stop)))
        for connection, refusal in self.upkeep.store_the_rest():
            self.report.lose_token(connection, refusal)
        self._store()

    def _ask(self, item: Work) -> _Done:
        """Runs on a worker: the token's upkeep, then everything of one connection."""

        def collected() -> Collected:
            if self.stop.is_set():
                raise interrupted(self.stop)
            if not self.dry_run:
                self.upkeep.renew_if_due(item)
            found = self._fetch(item)
            refused = any(isinstance(error, CredentialsError) for error in found.errors)
            if refused and not self.dry_run and self.upkeep.renew_refused(item):
                return self._fetch(item)
            return found

        return _Done(item, outcome_of(collected))

    def _fetch(self, item: Work) -> Collected:
        plan = self.plan
        return fetch_connection(item, plan.days, self.apis, self.now, levels=plan.levels)

    def _take(self, done: _Done) -> None:
        """Note what became of a connection; store a user's rows once all of theirs are done."""
        connection = done.work.connection
        if self._open.pop(connection.id, None) is None:
            return
        outcome = done.outcome
        collected = Collected(errors=[outcome]) if isinstance(outcome, FetchError) else outcome
        for error in collected.errors:
            self.report.fail(connection, error)
        self.report.note(connection, collected)
        self._mark(done.work, collected)
        self.advance(1)
        user = connection.user_id
        self._finished[user].append((connection, collected))
        self._left[user] -= 1
        if not self._left[user]:
            version = self.apis.version_of
            rows = [
                row
                for of_user, got in self._finished[user]
                for row in snapshots(of_user, got, version(of_user.platform), self.now)
            ]
            self._waiting.append((user, rows))
            if sum(len(rows) for _, rows in self._waiting) >= ROWS_AT_ONCE:
                self._store()

    def _store(self) -> None:
        waiting, self._waiting = self._waiting, []
        rows = [row for _, of_user in waiting for row in of_user]
        if self.dry_run:
            self.rows += rows
        elif rows:
            self._store_rows(rows)
        for user, _ in waiting:
            log_user(user, self._finished.pop(user), self.report, stored=not self.dry_run)

    def _store_rows(self, rows: list[Snapshot]) -> None:
        try:
            with self.using_database:
                stored = store_snapshots(self.database, rows)
        except DatabaseError as error:
            stored = StoredSnapshots(refused=[(key, (), error) for key in _accounts_of(rows)])
        for (user, platform, account), days, refusal in stored.refused:
            for connection in self.plan.connections:
                if (connection.user_id, connection.platform, connection.account_id) == (
                    user,
                    platform,
                    account,
                ):
                    self.report.refuse(connection, days, refusal)
        self.report.stored += stored.rows

    def _mark(self, work: Work, collected: Collected) -> None:
        """Remember a refused token until it changes; forget it once another one works."""
        if self.dry_run:
            return
        connection = work.connection
        refused = next((e for e in collected.errors if isinstance(e, NeedsReauth)), None)
        marked = connection.metadata.get("needs_reauth") is not None
        works = not any(isinstance(error, CredentialsError) for error in collected.errors)
        if refused is None and not (marked and works and collected.values):
            return
        mark = None
        if refused is not None:
            mark = {
                "since": f"{self.now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "reason": printable(refused.message),
                "token": token_digest(work.account),
            }
        try:
            with self.using_database:
                self.database.mark_connection(connection.id, mark)
        except DatabaseError as error:
            log.warning("connection %s could not be marked: %s", connection.id, error.message)


def _locked(database: Database, lock: threading.Lock) -> Store:
    """Workers store renewed tokens while the run's own thread stores rows."""

    def renew(
        connection: SiteId, old: str, new: str, ends_at: datetime, refresh: str | None
    ) -> bool:
        with lock:
            return database.renew_connection_token(connection, old, new, ends_at, refresh)

    return renew


def _accounts_of(rows: list[Snapshot]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((row.user_id, row.platform, row.account_id) for row in rows))
