"""A limit on calls that have none of their own: a server may send one byte a minute for ever."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TICK_SECONDS = 0.25


class Watchdog:
    """One thread for all calls: when one lasts too long, its connection is cut under it.

    The blocked call then ends with the connection's own error, in its own thread.
    """

    def __init__(self) -> None:
        self._watched: dict[object, tuple[float, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._started = False

    @contextmanager
    def limit(self, seconds: float, cut: Callable[[], None]) -> Iterator[None]:
        """Call `cut` from another thread if the block lasts longer than `seconds`."""
        key = object()
        with self._lock:
            self._watched[key] = (time.monotonic() + seconds, cut)
            if not self._started:
                self._started = True
                threading.Thread(target=self._watch, daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(key, None)

    def _watch(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                late = [k for k, (end, _) in self._watched.items() if end < time.monotonic()]
                cuts = [self._watched.pop(key)[1] for key in late]
            for cut in cuts:
                cut()


watchdog = Watchdog()
"""The one of this process."""


def cut_socket(fileno: int) -> None:
    """Shut a connection down without closing it under its owner."""
    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
