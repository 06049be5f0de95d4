"""What `aggregator.py social` says: the log and the summary of the user's design, and failures."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from db import Database
from fetchers.errors import FetchError, Interrupted, Temporary
from fetchers.social import Collected
from jobs.recording import Run
from jobs.social_plan import NO_KEY, NONE_READABLE, SocialPlan, reconnect
from jobs.social_tokens import expires_soon, expiry_line
from logs import printable, report
from models import Connection, Failure, SiteId, Snapshot, Window
from storage.errors import DatabaseError
from storage.social_rows import plain_number
from summary import SOCIAL, count, describe_days, failure_lines, merge_failures

RULE, THIN_RULE = "=" * 80, "─" * 80
CHANGES_SHOWN = 100
SOON_NAMED = 10

NEXT_RUN = (
    "nothing to do if the next run is complete: it reads the last days again; "
    "days before those: run them again with --from and --to"
)

OF_NO_PLATFORM = {NONE_READABLE, NO_KEY}
"""What is wrong with our own key is one failure, whatever the platforms of its connections."""

log = logging.getLogger("aggregator.social")


def report_start(plan: SocialPlan) -> None:
    """What the run is about."""
    users = len({connection.user_id for connection in plan.known})
    for line in (RULE, "DAILY ANALYTICS COLLECTION STARTED", RULE):
        log.info(line)
    log.info("Found %s with active connections", count(users, "user"))
    platforms = Counter(connection.platform for connection in plan.unknown)
    for platform, number in sorted(platforms.items()):
        log.warning(
            "%s of %s: this program knows no such platform, they are left out",
            count(number, "connection"),
            printable(platform) or "no platform",
        )


@dataclass(slots=True)
class Report:
    """What is counted while the run goes on, and the lines at its end.

    rejected: connections of which the database did not take every row.
    """

    plan: SocialPlan
    window: Window
    now: datetime
    failures: list[Failure] = field(default_factory=list)
    failed: dict[SiteId, str] = field(default_factory=dict)
    rejected: set[SiteId] = field(default_factory=set)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    waiting: dict[str, dict[date, int]] = field(default_factory=lambda: defaultdict(Counter))
    stored: int = 0
    began: float = field(default_factory=time.monotonic)

    def fail(self, connection: Connection, error: FetchError) -> None:
        """A failure of this connection. Those with the same text are told of as one."""
        self.failed.setdefault(connection.id, error.message)
        mend = error.mend
        if isinstance(error, Temporary | Interrupted) and mend == error.default_mend:
            mend = NEXT_RUN
        source = SOCIAL if error.message in OF_NO_PLATFORM else connection.platform
        self.failures.append(Failure(error.kind, source, error.message, mend, (connection.id,)))

    def refuse(self, connection: Connection, days: Sequence[date], error: DatabaseError) -> None:
        """Rows of this connection that the database did not take."""
        self.failed.setdefault(connection.id, error.message)
        self.rejected.add(connection.id)
        self.failures.append(
            Failure(error.kind, SOCIAL, error.message, error.mend, (connection.id,), tuple(days))
        )

    def lose_token(self, connection: Connection, error: DatabaseError) -> None:
        """The platform gave a new token, and it could not be stored."""
        message = f"its renewed token could not be stored: {error.message}"
        self.failed.setdefault(connection.id, message)
        mend = f"{error.mend}; if it is refused then: {reconnect(connection.platform)}"
        self.failures.append(
            Failure(error.kind, connection.platform, message, mend, (connection.id,))
        )

    def note(self, connection: Connection, collected: Collected) -> None:
        """What is no failure. Of an account that failed nobody knows what it would have had."""
        self.refused.update((connection.platform, name) for name in collected.refused)
        for day in collected.waiting if not collected.errors else ():
            self.waiting[connection.platform][day] += 1

    def counts(self) -> dict[str, object]:
        known = self.plan.known
        users = {connection.user_id for connection in known}
        unlucky = {connection.user_id for connection in known if connection.id in self.failed}
        return {
            "users": len(users),
            "users_successful": len(users - unlucky),
            "platforms": len(known),
            "platforms_successful": len(known) - len(self.failed),
            "stored": self.stored,
        }

    def lines(self, run: Run) -> list[str]:
        """The final report: how it ended, what is good to know, the design's summary, failures."""
        counts = self.counts()
        head, failures = f"COMPLETE: {self.window}", []
        if run.failures:
            of_all = f"{len(self.failed)} of {count(len(self.plan.known), 'connection')}"
            reasons = count(len(merge_failures(run.failures)), "reason")
            head = f"INCOMPLETE: {of_all} failed, {reasons}"
            failures = failure_lines(run.failures, run.names)
        return [
            head,
            *self._notes(),
            RULE,
            "DAILY ANALYTICS COLLECTION COMPLETED",
            RULE,
            f"Date: {self.window.last}",
            f"Duration: {time.monotonic() - self.began:.2f}s",
            f"Users: {counts['users_successful']}/{counts['users']} successful",
            f"Platforms: {counts['platforms_successful']}/{counts['platforms']} successful",
            f"Total Metrics Inserted: {self.stored}",
            *failures,
        ]

    def _notes(self) -> list[str]:
        """What is no failure, and good to know."""
        lines = [
            f"{platform} does not know {name} (any more): left out for {count(number, 'account')}"
            for (platform, name), number in sorted(self.refused.items())
        ]
        for platform, days in sorted(self.waiting.items()):
            accounts = count(max(days.values()), "account")
            when = describe_days(sorted(days))
            lines.append(f"{platform} has not published {when} yet ({accounts})")
        renewed = {work.connection.id: work.connection for work in self.plan.work}
        known = [renewed.get(connection.id, connection) for connection in self.plan.connections]
        soon = [connection for connection in known if expires_soon(connection, self.now)]
        lines += [expiry_line(connection) for connection in soon[:SOON_NAMED]]
        if len(soon) > SOON_NAMED:
            lines.append(f"... and {len(soon) - SOON_NAMED} more tokens that end within 7 days")
        return [printable(line) for line in lines]


def log_user(
    user: str,
    finished: Iterable[tuple[Connection, Collected]],
    report: Report,
    *,
    stored: bool,
) -> None:
    """What became of one user's connections, as the design shows it."""
    for line in (THIN_RULE, f"Processing user: {printable(user)}", THIN_RULE):
        log.info(line)
    for connection, collected in finished:
        platform = connection.platform
        log.info("  Collecting %s metrics...", platform)
        if (why := report.failed.get(connection.id)) is not None:
            log.warning("    ❌ %s: %s", platform, printable(why))
        if why is None or (collected.values and connection.id not in report.rejected):
            done = "Inserted" if stored else "Read"
            log.info("    ✅ %s: %s %s", platform, done, count(len(collected.values), "metric"))


def show_changes(rows: Iterable[Snapshot], database: Database) -> None:
    """What a dry run would have changed, one line per number."""
    rows = list(rows)
    days = [row.day for row in rows]
    stored = {}
    if days:
        for row in database.read_snapshots(Window(min(days), max(days))):
            stored[_key(row)] = plain_number(row.value)
    rows.sort(key=_key)
    changes = [row for row in rows if stored.get(_key(row)) != plain_number(row.value)]
    for row in changes[:CHANGES_SHOWN]:
        old = stored.get(_key(row), "unknown")
        report(
            f"would change {row.platform} {printable(row.user_id)}/{printable(row.account_id)} "
            f"{row.day}: {row.metric} {old} -> {plain_number(row.value)}"
        )
    if len(changes) > CHANGES_SHOWN:
        report(f"... and {len(changes) - CHANGES_SHOWN} more")
    report(f"dry run: {count(len(changes), 'number')} would change, nothing was written")


def _key(row: Snapshot) -> tuple[str, str, str, str, date]:
    return (row.user_id, row.platform, row.account_id, row.metric, row.day)
