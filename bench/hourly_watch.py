"""Watches a database while something runs in it: the age of statements, the memory of backends."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psycopg

EVERY_SECONDS = 0.2

ACTIVE = """
select pid, (extract(epoch from clock_timestamp() - query_start))::float8, backend_type
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and state = 'active'
  and backend_type in ('client backend', 'parallel worker')
"""

HOURS_WAIT = "select exists (select from public.analytics_rollup_dirty)"

MEGABYTE = 1024
"""In the kilobytes of /proc/PID/status."""


@dataclass(slots=True)
class Seen:
    """oldest_seconds: the longest that a statement was seen at work (EVERY_SECONDS apart).

    memory: seconds since the start, and private memory of all backends at work, in MB: what
    they share with each other (shared_buffers) is not counted. hours_seconds: until the last of the
    marked hours was counted.
    """

    oldest_seconds: float = 0.0
    hours_seconds: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)

    @property
    def peak_mb(self) -> float:
        return max((mb for _, mb in self.memory), default=0.0)

    def peak_of_quarter(self, number: int) -> float:
        """The peak of the first (1) to the last (4) quarter of the time."""
        end = self.memory[-1][0] if self.memory else 0.0
        low, high = (number - 1) / 4 * end, number / 4 * end
        return max((mb for at, mb in self.memory if low <= at <= high), default=0.0)


class Watch:
    """with Watch(url) as seen: ... ; seen is complete after the block."""

    def __init__(self, url: str) -> None:
        self._seen = Seen()
        self._over = threading.Event()
        self._connection = psycopg.connect(url, autocommit=True)
        self._thread = threading.Thread(target=self._look, name="watch")

    def __enter__(self) -> Seen:
        self._thread.start()
        return self._seen

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._connection.close()

    def _look(self) -> None:
        started = time.perf_counter()
        while not self._over.wait(EVERY_SECONDS):
            total = 0.0
            for pid, age, kind in self._connection.execute(ACTIVE).fetchall():
                total += _private_mb(pid)
                if kind == "client backend":
                    self._seen.oldest_seconds = max(self._seen.oldest_seconds, age)
            passed = time.perf_counter() - started
            self._seen.memory.append((passed, total))
            if self._connection.execute(HOURS_WAIT).fetchone() == (True,):
                self._seen.hours_seconds = passed + EVERY_SECONDS


def _private_mb(pid: int) -> float:
    """RssAnon of a process; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields.get("RssAnon", "0 kB").split()[0]) / MEGABYTE
