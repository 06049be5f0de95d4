"""Rows on their way to the table: a bounded queue, and one thread that stores what comes out."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Protocol

from fetchers.visit_answers import shorten
from jobs.visit_rows import VisitRows
from jobs.visits_day import PROBLEMS_NAMED, DayRead
from jobs.visits_plan import SOURCE
from jobs.visits_progress import Watermarks
from models import Failure, Watermark
from storage.errors import DatabaseError, RowsRefused
from storage.visit_log import Group, VisitLog
from storage.visit_table import VisitTable

GROUP_ROWS = 10_000
"""Rows of one transaction, about: more bring nothing (bench, visits), and each waits for all."""

GROUP_BYTES = 16 * 1024 * 1024

QUEUED_PAGES = 6
"""Pages, or parts of them, that wait to be stored: this bounds memory."""

REFUSED_AT_MOST = 0.1
"""Part of a day's visits that may be refused for reasons of their own."""

REFUSED_MEND = "see the database's message; the other visits are stored. Once that is mended"

IDLE_SECONDS = 0.25
"""What came in is stored when nothing more has come for this long."""

DAY = 86_400
EPOCH = date(1970, 1, 1)

log = logging.getLogger("aggregator.visits")


TURN_SECONDS = 0.0005


@contextmanager
def quick_turns() -> Iterator[None]:
    """Let threads take turns at once: the one that stores has little to do between two waits for
    the database, and would wait 5 ms each time for those that render. A third faster (bench)."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass(slots=True)
class StoredDays:
    """What the thread has done. written: new or changed rows; error: why it stored no more."""

    written: int = 0
    removed: int = 0
    failures: list[Failure] = field(default_factory=list)
    error: DatabaseError | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """The table, locked by this run, and the connection that writes it. true_utc: how it keeps
    action_timestamp."""

    visit_log: VisitLog
    table: VisitTable
    table_id: int
    true_utc: bool


Page = tuple[date, list[VisitRows]]


class Told(Protocol):
    """Who is told of what is stored, and then of each day that is stored to its end."""

    def visits_stored(self, visits: Iterable[tuple[date, VisitRows]]) -> None: ...
    def ended(self, read: DayRead) -> None: ...


class Storing:
    """One thread that stores; `put` and `end` are called by those that read."""

    def __init__(self, destination: Destination, marks: Watermarks, told: Told) -> None:
        self._to = destination
        self._marks = marks
        self._told = told
        self._queue: queue.Queue[Page | DayRead | None] = queue.Queue(QUEUED_PAGES)
        self._bug: BaseException | None = None
        self._finished = False
        self._refused: Counter[tuple[int, date]] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.stored = StoredDays()
        self._thread.start()

    def put(self, day: date, rows: list[VisitRows]) -> None:
        """Hand over a page; waits while too many are waiting."""
        if rows:
            self._offer((day, rows))

    def end(self, read: DayRead) -> None:
        """All pages of this day have been handed over."""
        self._offer(read)

    def finish(self) -> StoredDays:
        """Wait until everything is stored.

        Raises:
            Whatever bug ended the thread.
        """
        self._offer(None)
        self._thread.join()
        self._finished = True  # threads that a stop left behind may still read
        if self._bug is not None:
            raise self._bug
        return self.stored

    def is_over(self) -> bool:
        """Whether nothing more will be stored."""
        return self._bug is not None or self.stored.error is not None or self._finished

    def _offer(self, item: Page | DayRead | None) -> None:
        while not self.is_over():
            try:
                self._queue.put(item, timeout=IDLE_SECONDS)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        try:
            self._store_all()
        except DatabaseError as error:
            self.stored.error = error
        except BaseException as bug:
            self._bug = bug

    def _store_all(self) -> None:
        group = _Collected()
        while True:
            try:
                item = self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                group = self._store(group)
                continue
            if item is None:
                self._store(group)
                return
            group.add(item)
            if group.rows >= GROUP_ROWS or group.bytes >= GROUP_BYTES:
                group = self._store(group)

    def _store(self, group: _Collected) -> _Collected:
        """Store what was collected, with the watermarks of the days that it ends."""
        if not (group.visits or group.ended):
            return group
        marks: dict[int, Watermark] = {}
        for read in group.ended:
            if read.complete:
                marks[read.site] = self._marks.closed(read.site, read.day)
            elif not read.failed:
                marks[read.site] = self._marks.read(read.site, read.last_action)
        marks |= self._held_back(group.ended)
        if not self._merge(list(group.visits.values()), marks):
            self._merge([], marks | self._held_back(group.ended))
        self._told.visits_stored(group.visits.values())
        for read in group.ended:
            self._told.ended(read)
        return _Collected()

    def _merge(self, visits: Sequence[tuple[date, VisitRows]], marks: dict[int, Watermark]) -> bool:
        """Store all at once; where some are refused, halve until those are alone, and leave the
        watermarks for later: then it is False."""
        try:
            group = make_group([rows for _, rows in visits], marks)
            merged = self._to.visit_log.merge(self._to.table, self._to.table_id, group)
            self.stored.written += merged.written
            self.stored.removed += merged.removed
            return True
        except RowsRefused as error:
            if not visits:
                raise
            if len(visits) == 1:
                self._refuse(*visits[0], error)
                return False
            middle = len(visits) // 2
            self._merge(visits[:middle], {})
            self._merge(visits[middle:], {})
            return False

    def _held_back(self, ended: Iterable[DayRead]) -> dict[int, Watermark]:
        """A single visit that is refused would be every time: it is named, and no run waits for it.
        Where many are, the reason is another one, and the day is read again once it is mended."""
        marks = {}
        for read in ended:
            refused = self._refused[read.site, read.day]
            if read.complete and refused > REFUSED_AT_MOST * max(read.visits, 1) + 1:
                message = f"the database refused {refused} of {read.visits} visits of this day"
                read.fail(RowsRefused.kind, message, f"{REFUSED_MEND}, the next run reads it again")
                read.failed = True
                marks[read.site] = self._marks.hold(read.site, read.day)
        return marks

    def _refuse(self, day: date, rows: VisitRows, error: RowsRefused) -> None:
        site = int(rows.id_site) if rows.id_site.isdecimal() else 0
        self._refused[site, day] += 1
        if self._refused[site, day] <= PROBLEMS_NAMED:
            message = f"visit {shorten(rows.id_visit)} was not stored: {error.message}"
            mend = (
                f"{REFUSED_MEND}: aggregator.py visits --matomo-site {site} --from {day} --to {day}"
            )
            self.stored.failures.append(Failure(error.kind, SOURCE, message, mend, (site,), (day,)))


class _Collected:
    """Visits of one group, the last version of each, and the days that end with it."""

    def __init__(self) -> None:
        self.visits: dict[tuple[str, str], tuple[date, VisitRows]] = {}
        self.rows = self.bytes = 0
        self.ended: list[DayRead] = []

    def add(self, item: Page | DayRead) -> None:
        if isinstance(item, DayRead):
            self.ended.append(item)
            return
        day, visits = item
        for rows in visits:
            self.visits[rows.id_site, rows.id_visit] = (day, rows)
            self.rows += rows.rows
            self.bytes += len(rows.lines)


def make_group(visits: Sequence[VisitRows], marks: dict[int, Watermark]) -> Group:
    """Rendered visits, each once, as they are stored together."""
    return Group(
        lines=[rows.lines for rows in visits],
        rows=sum(rows.rows for rows in visits),
        whole_visits=[(rows.id_site, rows.id_visit) for rows in visits if rows.whole],
        part_visits=[(rows.id_site, rows.id_visit) for rows in visits if not rows.whole],
        days=_utc_days(visits),
        watermarks=marks,
    )


def _utc_days(visits: Iterable[VisitRows]) -> set[date]:
    """The days of all actions: a partition must be there for each."""
    numbers: set[int] = set()
    for rows in visits:
        first, last = int(rows.first_second // DAY), int(rows.last_second // DAY)
        numbers |= rows.odd_days or {*range(first, last + 1)}
    return {EPOCH + timedelta(days=number) for number in numbers}
