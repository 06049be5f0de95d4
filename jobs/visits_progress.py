"""How far each site is: which watermark may be stored with the days that are stored."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from jobs.visits_plan import SitePlan
from models import Watermark


class Watermarks:
    """The watermarks of one run, by idSite. A day that failed, or was not asked for, holds its
    site's watermark back: the next run begins there."""

    def __init__(self, plans: Collection[SitePlan], now: datetime) -> None:
        self._marks = {plan.site.id: plan.watermark for plan in plans}
        self._first = {plan.site.id: plan.watermark.complete_through for plan in plans}
        self._complete: dict[int, set[date]] = defaultdict(set)
        self._now = now
        self._lock = threading.Lock()

    def all(self) -> dict[int, Watermark]:
        return dict(self._marks)

    def closed(self, site: int, day: date) -> Watermark:
        """A closed day was read whole and compared: the watermark to store with its last rows."""
        with self._lock:
            self._complete[site].add(day)
            mark = self._marks[site]
            if day == mark.complete_through:
                mark = replace(mark, verified_at=self._now)
            while (following := mark.complete_through + timedelta(days=1)) in self._complete[site]:
                mark = replace(mark, complete_through=following, verified_at=self._now)
            self._complete[site] = {d for d in self._complete[site] if d > mark.complete_through}
            self._marks[site] = mark
            return mark

    def hold(self, site: int, day: date) -> Watermark:
        """A day of which too little could be stored: the next run begins with it."""
        with self._lock:
            mark = self._marks[site]
            if day > self._first[site]:  # an older one was asked for by name, and failed by name
                through = min(mark.complete_through, day - timedelta(days=1))
                self._marks[site] = replace(mark, complete_through=through, verified_at=None)
            return self._marks[site]

    def read(self, site: int, last_action: float | None) -> Watermark:
        """An open day was read up to this last action."""
        with self._lock:
            mark = self._marks[site]
            if last_action is not None:
                moment = datetime.fromtimestamp(last_action, UTC)
                known = mark.read_until
                mark = replace(mark, read_until=max(known, moment) if known else moment)
                self._marks[site] = mark
            return mark
