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


class _Lane(Generic[Result]):
    """Tasks that share threads, and how many of them there are."""

    def __init__(self) -> None:
        # Last in, first out: a split request goes down to its single cell before others begin,
        # so that a server which fails everything is found out after a few dozen requests.
        self.tasks: queue.LifoQueue[Callable[[], Result] | None] = queue.LifoQueue()
        self.started = 0
        self.open = 0


class Workers(Generic[Result]):
    """Runs tasks on `threads` threads. One thread owns it: that one submits and reads results.

    Tasks of another lane have threads of their own: where all of one lane wait, others go on.
    """

    def __init__(self, threads: int, stop: Stop) -> None:
        self._threads = threads
        self._stop = stop
        self._lanes: dict[str, _Lane[Result]] = {}
        # Not a SimpleQueue: its time-out never ends when a signal's handler outlasts it.
        self._done: queue.Queue[tuple[_Lane[Result], Result | None, BaseException | None]]
        self._done = queue.Queue()

    def submit(self, task: Callable[[], Result], lane: str = "") -> None:
        of_lane = self._lanes.setdefault(lane, _Lane())
        of_lane.open += 1
        of_lane.tasks.put(task)
        if of_lane.started < min(self._threads, of_lane.open):
            of_lane.started += 1
            threading.Thread(target=self._work, args=(of_lane,), daemon=True).start()

    def results(self) -> Iterator[Result]:
        """Each task's result as it comes, until none is left or the run must stop.

        Tasks may be submitted while iterating. An exception of a task is a bug and is raised here.
        """
        try:
            while any(lane.open for lane in self._lanes.values()):
                try:
                    lane, result, bug = self._done.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    if self._stop.is_set():
                        return
                    continue
                lane.open -= 1
                if bug is not None:
                    raise bug
                yield result  # type: ignore[misc]  # no bug, so it is a Result
        finally:
            for lane in self._lanes.values():
                for _ in range(lane.started):
                    lane.tasks.put(None)

    def _work(self, lane: _Lane[Result]) -> None:
        while (task := lane.tasks.get()) is not None:
            try:
                self._done.put((lane, task(), None))
            except BaseException as bug:
                self._done.put((lane, None, bug))


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
