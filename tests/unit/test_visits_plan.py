"""Which days of which sites an import of the visit log reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from config import Settings
from fetchers.matomo_visits import MatomoSite, parse_zone
from jobs.run_failures import CannotRun, WrongRequest
from jobs.visits_plan import (
    Request,
    SitePlan,
    check_dates,
    choose_sites,
    is_closed,
    plan_site,
    rounds,
)
from jobs.visits_progress import Watermarks
from models import Watermark, Window

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
TODAY = date(2026, 11, 21)
YESTERDAY = date(2026, 11, 20)


def site(number: int = 1, zone: str = "UTC") -> MatomoSite:
    return MatomoSite(number, f"Site {number}", zone, parse_zone(zone))


def request(
    first: date | None = None, last: date | None = None, now: datetime = NOW, **settings: Any
) -> Request:
    return Request(first, last, Settings(**settings), now)


def days(
    asked: Request,
    watermark: Watermark | None = None,
    newest: datetime | None = None,
    zone: str = "UTC",
) -> tuple[date, date] | None:
    plan = plan_site(site(zone=zone), asked, watermark, newest)
    return (plan.window.first, plan.window.last) if plan else None


def plan_of(asked: Request, watermark: Watermark | None = None, zone: str = "UTC") -> SitePlan:
    plan = plan_site(site(zone=zone), asked, watermark, None)
    assert plan is not None
    return plan


MARK = Watermark(date(2026, 11, 10), NOW - timedelta(days=10))
START = date(2026, 1, 1)


@pytest.mark.parametrize(
    ("asked", "watermark", "newest", "first"),
    [
        (request(date(2026, 6, 1)), MARK, None, date(2026, 6, 1)),
        (request(), MARK, None, date(2026, 11, 10)),
        (request(start_date=START), MARK, None, date(2026, 11, 10)),
        (request(start_date=START, force_start_date=True), MARK, None, START),
        (request(force_start_date=True), MARK, None, date(2026, 11, 18)),
        (request(force_start_date=True), None, NOW, date(2026, 11, 18)),
        (request(start_date=START), None, None, START),
        (request(start_date=START), None, datetime(2026, 9, 3, 1, tzinfo=UTC), date(2026, 9, 1)),
        (request(), None, NOW, date(2026, 11, 18)),  # never fewer than INITIAL_OFFSET days
        (request(), None, None, date(2026, 11, 18)),
        (request(initial_offset_days=30), None, None, date(2026, 10, 22)),
        (request(initial_offset_days=0), None, None, TODAY),
    ],
)
def test_a_run_begins_where_the_first_of_these_says(
    asked: Request, watermark: Watermark | None, newest: datetime | None, first: date
) -> None:
    assert days(asked, watermark, newest) == (first, TODAY)


def test_the_last_closed_day_is_read_again_once_and_not_by_every_run_of_an_hour() -> None:
    old, fresh = NOW - timedelta(hours=13), NOW - timedelta(hours=2)
    assert days(request(), Watermark(YESTERDAY, old)) == (YESTERDAY, TODAY)
    assert days(request(), Watermark(YESTERDAY, fresh)) == (TODAY, TODAY)
    # A first watermark is of nothing that was read.
    assert days(request(), Watermark(YESTERDAY)) == (TODAY, TODAY)


def test_today_is_that_of_the_site() -> None:
    late = datetime(2026, 11, 21, 23, tzinfo=UTC)
    assert days(request(now=late), zone="Asia/Tokyo") == (date(2026, 11, 19), date(2026, 11, 22))
    early = datetime(2026, 11, 21, 1, tzinfo=UTC)
    assert days(request(now=early), zone="America/Los_Angeles") == (date(2026, 11, 17), YESTERDAY)


def test_days_to_come_are_not_read() -> None:
    assert days(request(YESTERDAY, date(2027, 1, 1))) == (YESTERDAY, TODAY)
    assert days(request(date(2026, 11, 22))) is None
    with pytest.raises(WrongRequest, match="2026-11-23"):
        check_dates(request(date(2026, 11, 23)))
    check_dates(request(TODAY))


def test_a_last_day_alone_ends_the_run_there() -> None:
    assert days(request(None, date(2026, 11, 12)), MARK) == (date(2026, 11, 10), date(2026, 11, 12))
    assert days(request(None, date(2026, 3, 1)), MARK) == (date(2026, 3, 1), date(2026, 3, 1))


def test_a_first_run_remembers_that_nothing_is_complete_before_its_first_day() -> None:
    plan = plan_of(request())
    assert plan.watermark == Watermark(date(2026, 11, 17))


def test_the_day_that_is_read_again_is_complete_no_longer_until_that_worked() -> None:
    old = Watermark(YESTERDAY, NOW - timedelta(hours=13), NOW)
    before = Watermark(date(2026, 11, 19), None, NOW)
    assert plan_of(request(), old).watermark == before
    # ... and the next run begins with it, and not one day before.
    assert days(request(), before) == (YESTERDAY, TODAY)
    assert plan_of(request(None, date(2026, 3, 1)), old).watermark == old


def test_a_watermark_of_days_to_come_is_that_of_a_wrong_clock() -> None:
    assert days(request(), Watermark(TODAY, NOW)) == (date(2026, 11, 18), TODAY)
    assert plan_of(request(), Watermark(TODAY, NOW)).watermark == Watermark(date(2026, 11, 17))


def test_a_site_that_came_while_no_run_was_is_read_from_its_beginning() -> None:
    others = date(2026, 11, 10)
    new = replace(site(), created=date(2026, 11, 13))
    plan = plan_site(new, request(), None, None, others)
    assert plan is not None
    assert plan.window == Window(date(2026, 11, 13), TODAY)
    old = plan_site(replace(site(), created=date(2020, 1, 1)), request(), None, None, others)
    assert old is not None
    assert old.window.first == date(2026, 11, 11)
    unknown = plan_site(site(), request(), None, None, others)
    assert unknown is not None
    assert unknown.window.first == date(2026, 11, 18)


def test_a_startdate_to_come_is_refused() -> None:
    with pytest.raises(CannotRun, match="STARTDATE"):
        check_dates(request(start_date=date(2062, 1, 1)))


def test_a_gap_is_never_skipped_unless_startdate_is_forced() -> None:
    later = plan_of(request(date(2026, 11, 19)), MARK)
    forced = plan_of(request(start_date=date(2026, 11, 19), force_start_date=True), MARK)
    back = plan_of(request(start_date=START, force_start_date=True), MARK)
    assert later.watermark == MARK
    assert forced.watermark == Watermark(date(2026, 11, 18))
    assert back.watermark == MARK
    assert plan_of(request(force_start_date=True), MARK).watermark == MARK


def test_an_open_day_is_read_from_before_the_last_known_action_and_a_closed_one_whole() -> None:
    read_until = datetime(2026, 11, 21, 6, tzinfo=UTC)
    plan = plan_of(request(), Watermark(date(2026, 11, 19), NOW, read_until))
    assert plan.asked(TODAY, NOW).after == datetime(2026, 11, 21, 4, tzinfo=UTC).timestamp() - 1
    yesterday = plan.asked(YESTERDAY, NOW)
    assert yesterday.after == yesterday.begins - 1
    whole = plan_of(request(TODAY), Watermark(date(2026, 11, 19), NOW, read_until))
    assert whole.asked(TODAY, NOW).after == whole.asked(TODAY, NOW).begins - 1


def test_a_day_is_closed_an_hour_after_its_end_at_the_site() -> None:
    plan = plan_of(request(), zone="America/New_York")
    asked = plan.asked(YESTERDAY, NOW)  # ends at 05:00 UTC
    assert not is_closed(asked, datetime(2026, 11, 21, 5, 59, tzinfo=UTC))
    assert is_closed(asked, datetime(2026, 11, 21, 6, tzinfo=UTC))


def test_sites_that_cannot_be_read_are_named_and_cost_no_other() -> None:
    known = {1: site(1), 2: site(2, "Mars/Olympus"), 3: site(3)}
    chosen, failures = choose_sites(known, (3, 2, 99))
    assert [s.id for s in chosen] == [3]
    assert {(f.kind, f.sites) for f in failures} == {("permission", (99,)), ("settings", (2,))}
    assert "Mars/Olympus" in failures[-1].message
    assert [s.id for s in choose_sites(known, ())[0]] == [1, 3]
    with pytest.raises(CannotRun):
        choose_sites({}, ())


def test_a_long_run_goes_in_parts_of_31_days_oldest_first() -> None:
    old = plan_of(request(date(2026, 9, 1), date(2026, 9, 20)))
    long = plan_of(request(date(2026, 9, 10)))
    parts = list(rounds([old, long]))
    assert [window for window, _ in parts] == [
        Window(date(2026, 9, 1), date(2026, 10, 1)),
        Window(date(2026, 10, 2), date(2026, 11, 1)),
        Window(date(2026, 11, 2), TODAY),
    ]
    assert [len(plans) for _, plans in parts] == [2, 1, 1]


def marks_of(watermark: Watermark, first: date = date(2026, 11, 11)) -> Watermarks:
    plan = SitePlan(site(), Window(first, TODAY), watermark, resumed=True)
    return Watermarks([plan], NOW)


def test_a_watermark_moves_over_complete_days_without_a_gap_in_whatever_order() -> None:
    marks = marks_of(MARK)
    assert marks.closed(1, date(2026, 11, 12)).complete_through == date(2026, 11, 10)
    assert marks.closed(1, date(2026, 11, 11)) == Watermark(date(2026, 11, 12), NOW)
    assert marks.closed(1, date(2026, 11, 14)).complete_through == date(2026, 11, 12)


def test_a_day_read_long_after_or_before_moves_no_watermark() -> None:
    marks = marks_of(MARK)
    assert marks.closed(1, date(2026, 3, 1)) == MARK
    assert marks.closed(1, date(2026, 11, 19)) == MARK
    again = marks.closed(1, date(2026, 11, 10))
    assert again == Watermark(date(2026, 11, 10), NOW)


def test_a_day_that_is_held_back_is_where_the_next_run_begins() -> None:
    marks = marks_of(MARK)
    marks.closed(1, date(2026, 11, 11))
    marks.closed(1, date(2026, 11, 12))
    assert marks.hold(1, date(2026, 11, 12)) == Watermark(date(2026, 11, 11))
    assert marks.closed(1, date(2026, 11, 13)).complete_through == date(2026, 11, 11)
    assert marks.hold(1, date(2026, 3, 1)).complete_through == date(2026, 11, 11)


def test_an_open_day_moves_the_cursor_forward_alone() -> None:
    marks = marks_of(MARK)
    later, earlier = NOW.timestamp(), NOW.timestamp() - 60
    assert marks.read(1, later) == Watermark(MARK.complete_through, MARK.verified_at, NOW)
    assert marks.read(1, earlier).read_until == NOW
    assert marks.read(1, None).read_until == NOW
