"""A pool of threads whose results come back as they are ready, and which a stop can leave behind.

`concurrent.futures` joins its threads at exit, so one stalled request could hold the process
for a minute after SIGTERM. These threads are daemons: a stopped run stores and ends at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from stopping import Stop

Result = TypeVar("Result")

POLL_SECONDS = 0.1
"""How long a stop may go unnoticed while waiting for a result."""


class Workers(Generic[Result]):
    """Runs tasks on `threads` threads. One thread owns it: that one submits and reads results."""

    def __init__(self, threads: int, stop: Stop) -> None:
        self._threads = threads
        self._stop = stop
        # Last in, first out: a split request goes down to its single cell before others begin,
        # so that a server which fails everything is found out after a few dozen requests.
        self._tasks: queue.LifoQueue[Callable[[], Result] | None] = queue.LifoQueue()
        # Not a SimpleQueue: its time-out never ends when a signal's handler outlasts it.
        self._done: queue.Queue[tuple[Result | None, BaseException | None]] = queue.Queue()
        self._started = 0
        self._open = 0

    def submit(self, task: Callable[[], Result]) -> None:
        self._open += 1
        self._tasks.put(task)
        if self._started < min(self._threads, self._open):
            self._started += 1
            threading.Thread(target=self._work, daemon=True).start()

    def results(self) -> Iterator[Result]:
        """Each task's result as it comes, until none is left or the run must stop.

        Tasks may be submitted while iterating. An exception of a task is a bug and is raised here.
        """
        try:
            while self._open:
                try:
                    result, bug = self._done.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    if self._stop.is_set():
                        return
                    continue
                self._open -= 1
                if bug is not None:
                    raise bug
                yield result  # type: ignore[misc]  # no bug, so it is a Result
        finally:
            for _ in range(self._started):
                self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._done.put((task(), None))
            except BaseException as bug:
                self._done.put((None, bug))


def interruptible(task: Callable[[], Result], stop: Stop) -> Result:
    """Call `task` so that a stop need not wait for it.

    Raises:
        Stopped: the run must stop. And whatever the task raises.
    """
    workers: Workers[Result] = Workers(1, stop)
    workers.submit(task)
    for result in workers.results():
        return result
    raise stop.error()
