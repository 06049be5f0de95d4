"""Writers, refreshers, readers and a killer on threads, each with connections of its own."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.chaos_hourly.events import PROJECTS, QUIET, Chance
from tests.chaos_hourly.reading import ask_all, compare_once
from tests.chaos_hourly.server import MortalServer
from tests.chaos_hourly.writing import copy_events, write

PHASE_SECONDS, PAUSE_SECONDS = 4.0, 2.0
"""Of each phase writers rest for a while: else no day would ever be clean."""

DRAIN_CALLS = 200
LONGEST_ANSWER = "20s"
COULD_NOT_COUNT = "HR001"
MOST_DIFFERENCES = 20

Connection = psycopg.Connection[Any]
Step = Callable[[Connection], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how much of each, and how restless. pace: seconds between a thread's steps.

    kill_every: seconds from one kill -9 to the next; None: never. last_questions: to each project,
    after the end.
    """

    seconds: float
    seed: int
    writers: int = 5
    refreshers: int = 3
    readers: int = 3
    pace: float = 0.02
    patience: float = 2.0
    kill_every: float | None = 30.0
    last_questions: int = 100


@dataclass(slots=True)
class Report:
    """What happened. compared: answers and rows beside what is right; differences: what was wrong.

    unexpected: errors that no kill, cancellation or deadlock explains.
    """

    done: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    after_the_end: int = 0
    """Of the differences, those found after the last refresh."""

    def findings(self) -> str:
        """Nothing if all held."""
        return "\n\n".join([*self.differences, *self.unexpected][:MOST_DIFFERENCES])


class Machine:
    """One run over one database."""

    def __init__(self, server: MortalServer, database: str, plan: Plan) -> None:
        self.report = Report()
        self._server = server
        self._database = database
        self._plan = plan
        self._now = datetime.now(UTC)
        self._over = threading.Event()
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def run(self) -> Report:
        with self._connection() as connection:
            copy_events(connection, self._chance("first").events(1500))
            drain(connection)
        threads = [
            threading.Thread(target=self._work, args=(f"{name} {number}", make), name=name)
            for name, number_of, make in (
                ("writer", self._plan.writers, self._writer),
                ("refresher", self._plan.refreshers, self._refresher),
                ("reader", self._plan.readers, self._reader),
            )
            for number in range(number_of)
        ]
        for thread in threads:
            thread.start()
        self._wait_and_kill()
        self._over.set()
        for thread in threads:
            thread.join()
        self._compare_at_the_end()
        return self.report

    def _writer(self, chance: Chance) -> Step:
        def step(connection: Connection) -> None:
            if (time.monotonic() - self._began) % PHASE_SECONDS < PAUSE_SECONDS:
                time.sleep(0.1)
                return
            tally: Counter[str] = Counter()
            write(connection, chance, tally, self._plan.patience)
            self._note(done=tally)
            time.sleep(chance.uniform(0, 2 * self._plan.pace))

        return step

    def _refresher(self, chance: Chance) -> Step:
        def step(connection: Connection) -> None:
            limit = chance.choice(("0",) * 8 + ("20ms", "100ms"))
            connection.execute(f"set statement_timeout = '{limit}'".encode())
            connection.execute(
                "call refresh_hourly(%s, %s::interval)",
                (chance.choice((3, 10, 48, 500)), chance.choice(("1 ms", "50 ms", "5 s"))),
            )
            self._note(done=("refreshed",))
            time.sleep(chance.uniform(0, self._plan.pace))

        return step

    def _reader(self, chance: Chance) -> Step:
        def step(connection: Connection) -> None:
            connection.execute(f"set statement_timeout = '{LONGEST_ANSWER}'".encode())
            compared, differences = compare_once(connection, chance)
            self._note(compared=compared, differences=differences)
            time.sleep(chance.uniform(0, 4 * self._plan.pace))

        return step

    def _work(self, name: str, make: Callable[[Chance], Step]) -> None:
        step = make(self._chance(name))
        while not self._over.is_set():
            try:
                with self._connection() as connection:
                    while not self._over.is_set():
                        self._guarded(step, connection)
            except psycopg.OperationalError as error:  # killed, or not up yet
                self._note(refused=(_kind(error),))
                time.sleep(0.1)

    def _guarded(self, step: Step, connection: Connection) -> None:
        """Lost connections are for the caller."""
        try:
            step(connection)
        except psycopg.Error as error:
            if connection.broken:
                raise psycopg.OperationalError(f"lost: {error}") from error
            self._note(refused=(_kind(error),))
            if not _is_expected(error):
                self._note(unexpected=(traceback.format_exc(),))
        except Exception:
            self._note(unexpected=(traceback.format_exc(),))
            self._over.set()

    def _wait_and_kill(self) -> None:
        chance = self._chance("killer")
        ends_at = self._began + self._plan.seconds
        while not self._over.is_set() and (left := ends_at - time.monotonic()) > 0:
            every = self._plan.kill_every
            if every is None or left < every / 2:
                self._over.wait(left)
                return
            self._over.wait(min(left, chance.uniform(0.5, 1.5) * every))
            if chance.yes(0.5):
                self._server.kill_backend(chance.randrange(100))
                self._note(done=("kill -9 of a session",))
            else:
                self._server.kill()
                self._note(done=("kill -9 of the server",))

    def _compare_at_the_end(self) -> None:
        before = len(self.report.differences)
        self._server.wait()
        with self._connection() as connection:
            drain(connection)
            for project in (*PROJECTS, QUIET):
                chance = self._chance(f"last {project}")
                compared, differences = ask_all(
                    connection, project, chance, self._plan.last_questions
                )
                self._note(compared=compared, differences=differences)
        self.report.after_the_end = len(self.report.differences) - before

    def _note(
        self,
        done: Iterable[str] = (),
        compared: Iterable[str] = (),
        refused: Iterable[str] = (),
        differences: Iterable[str] = (),
        unexpected: Iterable[str] = (),
    ) -> None:
        with self._lock:
            self.report.done.update(done)
            self.report.compared.update(compared)
            self.report.refused.update(refused)
            self.report.differences += differences
            self.report.unexpected += unexpected

    def _chance(self, name: str) -> Chance:
        return Chance(f"{self._plan.seed} {name}", self._now)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        url = self._server.url(self._database)
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            yield connection


def drain(connection: Connection) -> None:
    """Refresh until nothing waits.

    Raises:
        RuntimeError: something waits for ever.
    """
    left = None
    for _ in range(DRAIN_CALLS):
        left = connection.execute("call refresh_hourly(1000, '20 s')").fetchone()
        if left is not None and left[1] == 0:
            return
    raise RuntimeError(f"what is left does not get less: {left}")


def _kind(error: psycopg.Error) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:90] if str(error) else ''}"


def _is_expected(error: psycopg.Error) -> bool:
    """A deadlock, a change that came first, a statement's time limit, a server that goes.

    A refresh that could not count an hour (HR001) is not, unless that was a deadlock's doing.
    """
    if error.sqlstate == COULD_NOT_COUNT:
        return "deadlock" in str(error)
    return isinstance(error, psycopg.OperationalError)
