"""A pool of threads: whole results, bugs raised, and a stop that waits for nobody."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from stopping import Stop, Stopped
from workers import Workers, interruptible


def test_every_task_has_its_result() -> None:
    workers: Workers[int] = Workers(4, Stop())
    for n in range(100):
        workers.submit(partial(pow, n, 2))
    assert sorted(workers.results()) == [n * n for n in range(100)]
    assert list(workers.results()) == []


def test_without_tasks_there_are_no_results_and_no_threads() -> None:
    before = threading.active_count()
    assert list(Workers[int](4, Stop()).results()) == []
    assert threading.active_count() == before


def test_a_task_may_be_submitted_while_results_are_read() -> None:
    workers: Workers[int] = Workers(2, Stop())
    workers.submit(lambda: 5)
    seen = []
    for n in workers.results():
        seen.append(n)
        if n:
            workers.submit(partial(int, n - 1))
    assert seen == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(("threads", "tasks", "running"), [(3, 12, 3), (16, 2, 2), (1, 5, 1)])
def test_as_many_run_at_once_as_there_are_threads(threads: int, tasks: int, running: int) -> None:
    counts, lock, now = [], threading.Lock(), 0

    def task() -> None:
        nonlocal now
        with lock:
            now += 1
            counts.append(now)
        time.sleep(0.01)
        with lock:
            now -= 1

    workers: Workers[None] = Workers(threads, Stop())
    for _ in range(tasks):
        workers.submit(task)
    assert len(list(workers.results())) == tasks
    assert max(counts) == running


def test_the_task_submitted_last_is_begun_first() -> None:
    """A split request goes down to its single cell before others begin."""
    order: list[int] = []
    gate = threading.Event()
    workers: Workers[None] = Workers(1, Stop())
    workers.submit(lambda: (gate.wait(5), None)[1])
    time.sleep(0.02)
    for n in range(3):
        workers.submit(partial(order.append, n))
    gate.set()
    list(workers.results())
    assert order == [2, 1, 0]


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError("x"), SystemExit(3), KeyboardInterrupt()], ids=repr
)
def test_a_bug_in_a_task_is_raised_where_results_are_read(bug: BaseException) -> None:
    def task() -> None:
        raise bug

    workers: Workers[None] = Workers(2, Stop())
    workers.submit(task)
    with pytest.raises(type(bug)) as caught:
        list(workers.results())
    assert caught.value is bug


@pytest.mark.parametrize("ended_by", ["signal", "deadline"])
def test_a_stop_leaves_a_stalled_task_behind_at_once(ended_by: str) -> None:
    stop, stalled = Stop(0.15 if ended_by == "deadline" else None), threading.Event()
    workers: Workers[str] = Workers(2, stop)
    workers.submit(lambda: str(stalled.wait(10)))
    workers.submit(lambda: "quick")
    if ended_by == "signal":
        threading.Timer(0.05, stop.request, [signal.SIGTERM]).start()
    began = time.monotonic()
    assert list(workers.results()) == ["quick"]
    assert time.monotonic() - began < 1
    stalled.set()


def test_results_that_are_there_are_handed_out_even_after_a_stop() -> None:
    stop = Stop()
    workers: Workers[int] = Workers(4, stop)
    for n in range(4):
        workers.submit(partial(int, n))
    time.sleep(0.05)
    stop.request(signal.SIGINT)
    assert sorted(workers.results()) == [0, 1, 2, 3]


def test_threads_end_with_the_results() -> None:
    before = threading.active_count()
    workers: Workers[int] = Workers(8, Stop())
    for n in range(20):
        workers.submit(partial(int, n))
    list(workers.results())
    assert _soon(lambda: threading.active_count() <= before)


def test_an_interruptible_task_answers_or_raises_as_if_called() -> None:
    assert interruptible(lambda: 5, Stop()) == 5
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, Stop())


def test_a_stop_need_not_wait_for_an_interruptible_task() -> None:
    stop, stalled = Stop(), threading.Event()
    threading.Timer(0.05, stop.request, [signal.SIGINT]).start()
    began = time.monotonic()
    with pytest.raises(Stopped, match="SIGINT"):
        interruptible(lambda: stalled.wait(10), stop)
    assert time.monotonic() - began < 1
    stalled.set()


def _soon(fact: Callable[[], bool]) -> bool:
    for _ in range(100):
        if fact():
            return True
        time.sleep(0.01)
    return False


def test_where_all_of_one_lane_wait_another_goes_on() -> None:
    workers: Workers[bool | None] = Workers(1, Stop())
    released = threading.Event()
    workers.submit(partial(released.wait, 10), "held")
    workers.submit(released.set, "free")
    assert list(workers.results()) == [None, True]
