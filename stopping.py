"""When a run has to stop: a signal or its deadline. Everything that waits, waits here."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """Work that was not done because the run must stop; `signal` if one said so."""

    def __init__(self, message: str, signum: signal.Signals | None = None) -> None:
        super().__init__(message)
        self.signal = signum


class Stop:
    """Asked by every worker before a request, and slept on instead of `time.sleep`.

    A run without deadline and signals is `Stop()`.
    """

    def __init__(self, deadline_seconds: float | None = None) -> None:
        self._ends_at = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        self._requested = threading.Event()
        self.signal: signal.Signals | None = None

    def request(self, signum: signal.Signals) -> None:
        self.signal = signum
        self._requested.set()

    def remaining_seconds(self) -> float:
        """Seconds until the deadline, 0 once the run must stop; infinite without a deadline."""
        if self._requested.is_set():
            return 0.0
        if self._ends_at is None:
            return float("inf")
        return max(0.0, self._ends_at - time.monotonic())

    def is_set(self) -> bool:
        return self.remaining_seconds() <= 0

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake at once when the run must stop (the caller then asks `is_set`)."""
        self._requested.wait(min(seconds, self.remaining_seconds()))

    def error(self) -> Stopped:
        """What to say of the work that was not done."""
        if self.signal is not None:
            message = f"the run was stopped ({self.signal.name}) before this was fetched"
            return Stopped(message, self.signal)
        return Stopped("the run reached RUN_DEADLINE before this was fetched")


@contextmanager
def stopped_by_signals(stop: Stop) -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP end the run in order; a second one ends it at once.

    What is ignored already stays ignored: `nohup` means it.
    """

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        received = signal.Signals(signum)
        for known in before:  # a second one ends the process, even inside a call that never returns
            signal.signal(known, signal.SIG_DFL)
        stop.request(received)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {s: handler for s, handler in handlers.items() if handler is not signal.SIG_IGN}
    for signum in before:
        signal.signal(signum, on_signal)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
