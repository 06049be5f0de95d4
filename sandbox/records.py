"""What the sandbox was asked: one record for each request, and how many were in flight at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from sandbox.messages import Call, Request, Source
from sandbox.social_world import PLATFORMS


@dataclass(frozen=True)
class Record:
    """One answered request; status 0: the connection was closed instead. The path has no query.

    sites: the numbers asked for; days: first and last; at: seconds of time.monotonic() on arrival.
    """

    source: Source
    method: str
    path: str
    sites: tuple[int, ...]
    account: int | None
    days: tuple[date, date] | None
    status: int
    at: float


class Records:
    """The records in the order of the answers, and the maxima in flight; thread-safe.

    A request is in flight until its answer is on its way: counted until after the last byte, a
    client's next request would overlap with its previous one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[Record] = []
        self._now: Counter[str] = Counter()
        self._most: Counter[str] = Counter()

    def begin(self, call: Call) -> float:
        """Counts a request in; returns its time of arrival."""
        with self._lock:
            for key in (call.source, "total"):
                self._now[key] += 1
                self._most[key] = max(self._most[key], self._now[key])
        return time.monotonic()

    def end(self, request: Request, call: Call, status: int, at: float) -> None:
        record = Record(
            call.source,
            request.method,
            request.path,
            call.sites,
            call.account,
            call.days,
            status,
            at,
        )
        with self._lock:
            self._records.append(record)
            self._now[call.source] -= 1
            self._now["total"] -= 1

    def all(self) -> list[Record]:
        with self._lock:
            return list(self._records)

    def most_in_flight(self) -> dict[str, int]:
        """The maximum for each source, and in "total"."""
        with self._lock:
            return dict(self._most)

    def clear(self) -> None:
        """Forgets the records and maxima; what is in flight now stays counted."""
        with self._lock:
            self._records.clear()
            self._most = +self._now

    def summary(self) -> dict[str, object]:
        """Counts for GET /sandbox/requests."""
        records = self.all()
        return {
            "total": len(records),
            "by_source": _count(record.source for record in records),
            "by_status": _count(f"{record.source} {record.status}" for record in records),
            "by_site": {
                source: _count(
                    site for record in records if record.source == source for site in record.sites
                )
                for source in ("matomo", "visits", "query")
            },
            "by_account": {
                source: _count(record.account for record in records if record.source == source)
                for source in ("token", "sites", "query", *PLATFORMS)
            },
            "most_in_flight": self.most_in_flight(),
        }


def _count(keys: Iterable[object]) -> dict[str, int]:
    return dict(Counter(str(key) for key in keys))
