"""What the storing thread makes of pages and ends of days; its database is a list of groups."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from fetchers.matomo_visits import MatomoSite
from jobs import visits_store
from jobs.visit_rows import VisitRows
from jobs.visits_day import DayRead
from jobs.visits_plan import SitePlan
from jobs.visits_progress import Watermarks
from jobs.visits_store import QUEUED_PAGES, Destination, StoredDays, Storing
from models import Watermark, Window
from storage.errors import DatabaseError, DatabaseUnavailable, RowsRefused
from storage.visit_log import Group, Merged
from storage.visit_table import VisitTable

BEFORE, DAY, NEXT = date(2026, 11, 17), date(2026, 11, 18), date(2026, 11, 19)
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TABLE = VisitTable("public", "matomo", 1, True, ())


class Groups:
    """Stands in for VisitLog: keeps groups, refuses those with a bad visit in them."""

    def __init__(
        self, bad: tuple[bytes, ...] = (), before: Callable[[Group], None] = lambda _: None
    ) -> None:
        self.bad, self.before = bad, before
        self.merged: list[Group] = []

    def merge(self, _table: VisitTable, _table_id: int, group: Group) -> Merged:
        self.before(group)
        if any(line in self.bad for line in group.lines):
            raise RowsRefused("a row breaks a rule")
        self.merged.append(group)
        return Merged(group.rows, 0)

    @property
    def lines(self) -> list[bytes]:
        return [line for group in self.merged for line in group.lines]


class Stored:
    """A storing thread over such a database."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        site = MatomoSite(1, "One", "UTC", UTC)
        plan = SitePlan(site, Window(DAY, NEXT), Watermark(BEFORE), resumed=False)
        self.days: list[tuple[date, int]] = []
        self.visits = 0
        to = Destination(groups, TABLE, 5, true_utc=False)  # type: ignore[arg-type]
        self.storing = Storing(to, Watermarks([plan], NOW), self)

    def visits_stored(self, visits: Iterable[tuple[date, VisitRows]]) -> None:
        self.visits += len(list(visits))

    def ended(self, read: DayRead) -> None:
        self.days.append((read.day, len(self.groups.merged)))

    def finish(self) -> StoredDays:
        return self.storing.finish()


def rows(visit: int, version: str = "", first: float = NOON, last: float = NOON) -> VisitRows:
    return VisitRows("1", str(visit), f"{visit}{version}\n".encode(), 1, first, last, True)


def read(day: date = DAY, *, closed: bool = True, failed: bool = False) -> DayRead:
    return DayRead(1, day, closed, visits=1, last_action=NOON, failed=failed)


@pytest.fixture(autouse=True)
def one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine too, everything that a test hands over is one group."""
    monkeypatch.setattr(visits_store, "IDLE_SECONDS", 5.0)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch, one_group: None) -> None:
    """Every page is a group."""
    monkeypatch.setattr(visits_store, "GROUP_ROWS", 1)
    monkeypatch.setattr(visits_store, "IDLE_SECONDS", 0.05)


def test_of_a_visit_that_comes_twice_in_a_group_the_last_version_is_stored() -> None:
    """One COPY with a key twice would be refused as a whole."""
    to = Stored(Groups())
    to.storing.put(DAY, [rows(1, " old"), rows(2)])
    to.storing.put(DAY, [rows(1, " new")])
    assert to.finish().written == 2
    assert to.groups.lines == [b"1 new\n", b"2\n"]
    assert to.groups.merged[0].whole_visits == [("1", "1"), ("1", "2")]


def test_a_refused_visit_is_found_by_halving_and_the_watermark_comes_last() -> None:
    to = Stored(Groups(bad=(b"6\n",)))
    to.storing.put(DAY, [rows(number) for number in range(8)])
    to.storing.end(read())
    stored = to.finish()
    assert sorted(to.groups.lines) == sorted(f"{n}\n".encode() for n in range(8) if n != 6)
    [failure] = stored.failures
    assert failure.message == "visit 6 was not stored: a row breaks a rule"
    assert (failure.sites, failure.days) == ((1,), (DAY,))
    assert [bool(group.watermarks) for group in to.groups.merged][:-1] == [False] * (
        len(to.groups.merged) - 1
    )
    assert to.groups.merged[-1].watermarks[1].complete_through == DAY
    assert to.days == [(DAY, len(to.groups.merged))]  # told once all of it is stored


def test_where_the_last_visit_is_the_refused_one_the_watermark_is_stored_without_it() -> None:
    to = Stored(Groups(bad=(b"1\n",)))
    to.storing.put(DAY, [rows(0), rows(1)])
    to.storing.end(read())
    to.finish()
    assert [(g.lines, len(g.watermarks)) for g in to.groups.merged] == [([b"0\n"], 0), ([], 1)]


def test_a_day_that_failed_holds_the_watermark_and_its_rows_are_stored(small_groups: None) -> None:
    to = Stored(Groups())
    to.storing.put(DAY, [rows(1)])
    to.storing.end(read(failed=True))
    to.storing.put(NEXT, [rows(2)])
    to.storing.end(read(NEXT))
    to.finish()
    assert to.groups.lines == [b"1\n", b"2\n"]
    marks = [group.watermarks[1] for group in to.groups.merged if group.watermarks]
    assert {mark.complete_through for mark in marks} == {BEFORE}


def test_days_that_end_in_another_order_move_the_watermark_together(small_groups: None) -> None:
    to = Stored(Groups())
    for day in (NEXT, DAY):
        to.storing.put(day, [rows(day.day)])
        to.storing.end(read(day))
        to.storing.put(day, [rows(100 + day.day)])
    to.finish()
    through = [g.watermarks[1].complete_through for g in to.groups.merged if g.watermarks]
    assert through == [BEFORE, NEXT]


def test_an_open_day_moves_only_where_the_next_run_reads_on() -> None:
    to = Stored(Groups())
    to.storing.put(DAY, [rows(1)])
    to.storing.end(read(closed=False))
    to.finish()
    [group] = to.groups.merged
    expected = Watermark(BEFORE, None, datetime.fromtimestamp(NOON, UTC))
    assert group.watermarks == {1: expected}


def test_a_group_names_every_day_that_its_visits_touch() -> None:
    to = Stored(Groups())
    to.storing.put(DAY, [rows(1, first=NOON - 86_400, last=NOON + 2 * 86_400)])
    wrong = replace(rows(2, first=0, last=NOON), odd_days=frozenset({0, int(NOON // 86_400)}))
    to.storing.put(DAY, [wrong])  # one of its times is 1970
    to.finish()
    [group] = to.groups.merged
    assert group.days == {date(1970, 1, 1), *(BEFORE + timedelta(days=n) for n in range(4))}


def test_groups_are_closed_when_they_are_large_and_when_nothing_more_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visits_store, "GROUP_ROWS", 4)
    monkeypatch.setattr(visits_store, "IDLE_SECONDS", 0.02)
    to = Stored(Groups())
    for number in range(0, 6, 2):
        to.storing.put(DAY, [rows(number), rows(number + 1)])
    wait_until(lambda: len(to.groups.lines) == 6)
    assert [group.rows for group in to.groups.merged] == [4, 2]
    to.finish()


def test_a_database_that_fails_ends_the_run_and_nobody_waits_for_it(small_groups: None) -> None:
    def fail(_: Group) -> None:
        raise DatabaseUnavailable("no connection")

    to = Stored(Groups(before=fail))
    for number in range(4 * QUEUED_PAGES):
        to.storing.put(DAY, [rows(number)])
    to.storing.end(read())
    stored = to.finish()
    assert isinstance(stored.error, DatabaseError)
    assert to.storing.is_over()
    assert (to.days, stored.written) == ([], 0)


def test_a_bug_in_the_thread_is_raised_where_the_run_is_told(small_groups: None) -> None:
    def fail(_: Group) -> None:
        raise ZeroDivisionError

    to = Stored(Groups(before=fail))
    to.storing.put(DAY, [rows(1)])
    with pytest.raises(ZeroDivisionError):
        to.finish()


def test_pages_wait_until_there_is_room_for_them(small_groups: None) -> None:
    """Else the memory of a fast Matomo's day would grow with the day."""
    may_store = threading.Event()

    def wait(_: Group) -> None:
        assert may_store.wait(10)

    to = Stored(Groups(before=wait))
    handed_over: list[int] = []

    def read_pages() -> None:
        for number in range(3 * QUEUED_PAGES):
            to.storing.put(DAY, [rows(number)])
            handed_over.append(number)

    reader = threading.Thread(target=read_pages)
    reader.start()
    wait_until(lambda: len(handed_over) == QUEUED_PAGES + 1)  # one is being stored
    time.sleep(0.05)
    assert len(handed_over) == QUEUED_PAGES + 1
    may_store.set()
    reader.join()
    assert to.finish().written == 3 * QUEUED_PAGES


def wait_until(happened: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < give_up_at
        time.sleep(0.002)
