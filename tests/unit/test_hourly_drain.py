"""Draining: several connections call refresh_hourly() until nothing waits, or nothing moves."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from jobs.hourly import Drain
from stopping import Stop
from storage.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable
from storage.rollup import Rollup
from tests.unit.helpers import InstantStop

SINCE = datetime(2026, 11, 21, 12, tzinfo=UTC)
GONE = DatabaseUnavailable("the connection is gone")
UNCOUNTABLE = DatabaseRefused("1 could not be counted, the first: 2026-11-20 14:00")

Step = int | DatabaseError
"""What a call of refresh_hourly() does: how many hours it counts, or what it fails with."""


class Queue:
    """Hours that wait, for all connections together. stuck: so many can never be counted."""

    def __init__(self, waiting: int, stuck: int = 0) -> None:
        self.waiting = waiting
        self.stuck = stuck
        self.calls = 0
        self.asked: set[datetime | None] = set()
        self.lock = threading.Lock()

    def take(self, at_most: int) -> int:
        with self.lock:
            self.calls += 1
            done = min(at_most, self.waiting - self.stuck)
            self.waiting -= done
            return done


class FakeRollup(Rollup):
    """A connection to the queue; `steps` say what its calls do, at the end as the queue says."""

    def __init__(self, queue: Queue, *steps: Step, then: Callable[[], None] = lambda: None) -> None:
        super().__init__("no server", 1)
        self._queue = queue
        self._steps: Iterator[Step] = iter(steps)
        self._then = then

    def refresh(self, at_most: int, seconds: float) -> int:
        step = next(self._steps, at_most)
        done = self._queue.take(step if isinstance(step, int) else 0)
        self._then()
        if isinstance(step, DatabaseError):
            raise step
        return done

    def left(self, since: datetime | None = None) -> int:
        self._queue.asked.add(since)
        return self._queue.waiting


class PartlyFailing(FakeRollup):
    """As the procedure does: what can be counted is stored, and it fails at its end."""

    def refresh(self, at_most: int, seconds: float) -> int:
        self._queue.take(at_most)
        raise UNCOUNTABLE


def drained(queue: Queue, *rollups: FakeRollup, stop: Stop | None = None) -> Drain:
    drain = Drain(stop or InstantStop(60), since=SINCE, left=queue.waiting)
    drain.run([*rollups])
    return drain


@pytest.fixture
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.hourly.IDLE_SECONDS", 0.05)


def test_where_nothing_waits_nobody_is_asked() -> None:
    queue = Queue(0)
    drain = drained(queue, FakeRollup(queue))
    assert (queue.calls, drain.done, drain.failures()) == (0, 0, [])


@pytest.mark.parametrize("waiting", [1, 48, 49, 1000])
@pytest.mark.parametrize("connections", [1, 3])
def test_everything_that_waits_is_counted(waiting: int, connections: int) -> None:
    queue = Queue(waiting)
    drain = drained(queue, *(FakeRollup(queue) for _ in range(connections)))
    assert (drain.done, drain.left, queue.waiting) == (waiting, 0, 0)
    assert drain.failures() == []
    assert queue.asked == {SINCE}, "marks that come later are the next run's"


def test_progress_adds_up_to_what_waited_however_the_connections_take_turns() -> None:
    queue, steps = Queue(300), list[int]()
    drain = Drain(InstantStop(60), left=queue.waiting, advance=steps.append)
    drain.run([FakeRollup(queue, *[7] * 50) for _ in range(3)])
    assert sum(steps) == 300
    assert min(steps) >= 0


def test_what_becomes_more_meanwhile_is_no_step_back() -> None:
    queue, steps = Queue(100), list[int]()
    more = iter([30])

    def grow() -> None:
        queue.waiting += next(more, 0)

    drain = Drain(InstantStop(60), left=queue.waiting, advance=steps.append)
    drain.run([FakeRollup(queue, 10, then=grow)])
    assert min(steps) >= 0
    assert sum(steps) == 100
    assert (drain.left, drain.failures()) == (0, [])


@pytest.mark.usefixtures("soon_idle")
def test_what_another_refresh_holds_is_waited_for_and_then_said() -> None:
    queue, stop = Queue(10, stuck=3), InstantStop(60)
    drain = drained(queue, FakeRollup(queue), FakeRollup(queue), stop=stop)
    assert drain.done == 7
    assert stop.slept, "it does not ask again at once"
    [failure] = drain.failures()
    assert (failure.kind, failure.mend) == ("temporary", "run it again")
    assert failure.message == "another refresh holds what is left"


@pytest.mark.usefixtures("soon_idle")
def test_as_long_as_anything_moves_it_is_not_given_up() -> None:
    queue = Queue(8)
    drain = drained(queue, FakeRollup(queue, *[0, 1] * 8, then=lambda: time.sleep(0.015)))
    assert (drain.done, drain.failures()) == (8, [])


def test_an_error_without_any_progress_ends_it_and_is_what_there_is_to_say() -> None:
    queue = Queue(10)
    drain = drained(queue, *(FakeRollup(queue, *[GONE] * 20) for _ in range(2)))
    assert queue.calls < 20
    [failure] = drain.failures()
    assert (failure.kind, failure.source, failure.message) == (
        "temporary", "events", "the connection is gone",
    )  # fmt: skip


def test_a_connection_that_breaks_leaves_the_work_to_the_others() -> None:
    queue = Queue(200)
    drain = drained(queue, FakeRollup(queue, *[GONE] * 20), FakeRollup(queue))
    assert (drain.done, drain.failures()) == (200, [])


@pytest.mark.parametrize("connections", [1, 2])
def test_what_cannot_be_counted_stops_nothing_else_and_is_named(connections: int) -> None:
    queue = Queue(200, stuck=1)
    drain = drained(queue, *(PartlyFailing(queue) for _ in range(connections)))
    assert queue.waiting == 1
    assert drain.done == 199
    [failure] = drain.failures()
    assert "2026-11-20 14:00" in failure.message


def test_an_error_that_was_overcome_does_not_hide_why_it_ended() -> None:
    queue, stop = Queue(100), InstantStop()
    drain = Drain(stop, left=queue.waiting, error=GONE)
    drain.run([FakeRollup(queue, 5, then=lambda: stop.request(signal.SIGTERM))])
    [failure] = drain.failures()
    assert failure.kind == "interrupted"


def test_a_signal_ends_it_between_two_calls() -> None:
    queue, stop = Queue(100), InstantStop()
    rollup = FakeRollup(queue, 10, then=lambda: stop.request(signal.SIGTERM))
    drain = drained(queue, rollup, stop=stop)
    [failure] = drain.failures()
    assert failure.kind == "interrupted"
    assert (queue.calls, queue.waiting) == (1, 90)


def test_a_signal_does_not_wait_for_a_call_that_goes_on() -> None:
    queue, stop, end = Queue(100), Stop(), threading.Event()

    def go_on() -> None:
        end.wait(10)

    rollup = FakeRollup(queue, 0, then=go_on)
    threading.Timer(0.05, stop.request, [signal.SIGTERM]).start()
    began = time.monotonic()
    drain = drained(queue, rollup, stop=stop)
    end.set()
    assert time.monotonic() - began < 2
    [failure] = drain.failures()
    assert failure.kind == "interrupted"


def test_the_deadline_leaves_the_rest_for_the_next_run() -> None:
    queue = Queue(10**9)
    slow = FakeRollup(queue, *[1] * 1000, then=lambda: time.sleep(0.01))
    drain = drained(queue, slow, stop=Stop(0.1))
    [failure] = drain.failures()
    assert failure.kind == "interrupted"
    assert "RUN_DEADLINE" in failure.mend
    assert queue.calls < 100
