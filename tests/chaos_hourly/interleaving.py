"""Holds a session at a chosen point of a statement while others go on: races, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

import psycopg

from tests.chaos_hourly import questions
from tests.chaos_hourly.reading import ask
from tests.chaos_hourly.stored import Snapshot

Connection = psycopg.Connection[Any]

REFRESH = "call refresh_hourly(100000, '1 min')"
PATIENCE_SECONDS = 20.0

KINDS = (
    ("hour", "project"),
    ("4 hours", "type"),
    ("day", "project"),
    ("day", "label"),
    ("week", "project"),
    ("total", "label"),
)
"""Of questions: enough to read every table and every kind of mark."""

GATE = """
create or replace function chaos_gate() returns trigger language plpgsql as $$
begin
  if current_setting('chaos.held', true) = 'yes' then
    perform pg_catalog.pg_advisory_xact_lock_shared(4242);
  end if;
  return null;
end
$$
"""
TRIGGER = (
    "create or replace trigger chaos_gate before {} on {} "
    "for each statement execute function chaos_gate()"
)
WAITING = "select exists (select from pg_locks where pid = %s and not granted)"


class Stage:
    """Connections to one migrated database, in autocommit, closed at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stack = ExitStack()
        self._pool = ThreadPoolExecutor()

    def __enter__(self) -> Self:
        self.control = self.connect()
        self.control.execute(GATE.encode())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._pool.shutdown()

    def connect(self, **settings: str) -> Connection:
        connection = self._stack.enter_context(psycopg.connect(self.url, autocommit=True))
        connection.execute("set statement_timeout = '30s'")
        for name, value in settings.items():
            connection.execute("select set_config(%s, %s, false)", (name, value))
        return connection

    @contextmanager
    def held(
        self, statement: str, *, before: str, table: str
    ) -> Iterator[tuple[Connection, Future[Any]]]:
        """`statement` comes as far as its first `before` (insert, ...) on `table`.

        Its snapshot is older than the block, its commit younger. It goes on when the block ends.
        """
        session = self.connect()
        session.execute("set chaos.held = 'yes'")
        self.control.execute(TRIGGER.format(before, table).encode())
        self.control.execute("select pg_advisory_lock(4242)")
        done = self.start(session, statement)
        try:
            self.wait_until_it_waits(session)
            yield session, done
        finally:
            self.control.execute("select pg_advisory_unlock(4242)")
        done.exception(PATIENCE_SECONDS)

    def start(self, session: Connection, statement: str) -> Future[Any]:
        """Run a statement on a thread; the row that it returns."""

        def run() -> Any:
            cursor = session.execute(statement.encode())
            return cursor.fetchone() if cursor.description else None

        return self._pool.submit(run)

    def wait_until_it_waits(self, session: Connection) -> None:
        """For a lock.

        Raises:
            TimeoutError: it does not.
        """
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up_at:
            row = self.control.execute(WAITING, (session.info.backend_pid,)).fetchone()
            if row == (True,):
                return
            time.sleep(0.005)
        raise TimeoutError("it went through, or never came so far")

    def refresh(self) -> tuple[int, int]:
        """Another refresh, now: (done, left over)."""
        row = self.control.execute(REFRESH.encode()).fetchone()
        assert row is not None
        return row[0], row[1]

    def marked_hours(self) -> int:
        query = "select count(distinct hour_bucket) from analytics_rollup_dirty"
        row = self.control.execute(query).fetchone()
        return int(row[0]) if row else 0

    def add(self, *moments: datetime, project: str = "p", **columns: str | None) -> None:
        """One event each. columns: visitor_id, session_id, event_type, event_label."""
        add(self.control, *moments, project=project, **columns)

    def expect_exact(self, day: date, project: str = "p") -> None:
        """What is stored, and answers around a day, are what the events make at this moment."""
        expect_exact(self.control, day, project)

    def expect_exact_after_refresh(self, day: date, project: str = "p") -> None:
        self.expect_exact(day, project)
        for _ in range(5):  # hours mark days, days mark what comes after them
            if self.refresh()[1] == 0:
                break
        else:
            raise AssertionError("something waits for ever")
        self.expect_exact(day, project)


def add(
    connection: Connection, *moments: datetime, project: str = "p", **columns: str | None
) -> None:
    values = {"visitor_id": "v", "session_id": "s", "event_type": "t", "event_label": None}
    values |= columns
    for moment in moments:
        connection.execute(
            "insert into analytics_events (project_id, visitor_id, session_id, event_type, "
            "event_label, created_at) values (%s, %s, %s, %s, %s, %s)",
            (project, *values.values(), moment),
        )


def expect_exact(connection: Connection, day: date, project: str = "p") -> None:
    """Raises AssertionError with everything that is not."""

    def asked(snapshot: Snapshot) -> Iterator[questions.Question]:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        first, after = midnight - timedelta(days=3), midnight + timedelta(days=4)
        for granularity, grain in KINDS:
            yield questions.series_of(project, first, after, granularity, grain)
        yield questions.by_day(project, first, after)
        yield questions.totals(project, first + timedelta(minutes=17), after)

    _, differences = ask(connection, project, asked)
    assert not differences, "\n".join(differences)


def utc(day: date, clock: str) -> datetime:
    """`utc(day, "10:59")`."""
    hour, minute = map(int, clock.split(":"))
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
