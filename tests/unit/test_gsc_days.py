"""The four states of a Search Console day: final, provisional, true zero, not published."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchers.gsc import Clicks, PropertyAnswer, pacific_today, published_until, settle_days
from tests.unit.helpers import days_from, seldom

TODAY = date(2026, 11, 20)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def answer(
    rows: Collection[int], boundary: int | None, asked: Collection[int] = ()
) -> PropertyAnswer:
    """Days are given as days before today."""
    return PropertyAnswer(
        tuple(sorted(ago(n) for n in asked)),
        {ago(n): Clicks(n, 10 * n) for n in rows},
        None if boundary is None else ago(boundary),
    )


@pytest.mark.parametrize(
    ("rows", "boundary", "run_until", "states"),
    [
        # asked: 5, 4, 3, 2 days ago. v: a value, 0: a true zero, -: not published
        ([5, 4, 3, 2], 3, 4, "vvvv"),  # final, final, provisional, provisional
        ([5, 4], 3, 4, "vv--"),  # rows up to the boundary
        ([5], 3, 4, "v0--"),  # no row before the boundary: a zero
        ([], 3, 4, "00--"),  # no rows at all, but a boundary
        ([5, 2], 3, 4, "v00v"),  # published out of order: a newer row proves older days
        ([3], 3, 4, "00v-"),  # the boundary day itself may have a provisional value
        ([], 1, 4, "0000"),
        ([], 6, 4, "----"),  # its own boundary counts, not the run's newer one
        ([5, 4], 2, 6, "vv0-"),  # its own boundary counts, not the run's older one
        ([], None, 6, "----"),  # without a boundary of its own, the run's counts
        ([], None, 5, "0---"),
        ([], None, 4, "00--"),
        ([], None, 2, "0000"),
        ([5], None, 4, "v0--"),
        ([4], None, 6, "0v--"),  # its newest row proves more than the run's boundary
        ([1], 3, 4, "0000"),  # a row of an unasked, newer day
    ],
)
def test_a_day_has_one_of_four_states(
    rows: list[int], boundary: int | None, run_until: int, states: str
) -> None:
    asked = (5, 4, 3, 2)
    known, waiting = settle_days(answer(rows, boundary, asked), ago(run_until))
    found = ""
    for n in asked:
        day = ago(n)
        found += "-" if day in waiting else "v" if known[day] == Clicks(n, 10 * n) else "0"
        assert day in waiting or known[day] in (Clicks(n, 10 * n), Clicks(0, 0))
    assert found == states


@pytest.mark.parametrize(
    ("answers", "until"),
    [
        ([], 4),  # nothing known: more than three days old
        ([([], None)], 4),
        ([([], 3)], 4),  # the day before the boundary
        ([([], 3), ([], 2)], 3),  # the newest boundary of the run
        ([([], 2), ([], 3)], 3),
        ([([5], 3), ([1], None)], 4),  # a boundary counts more than another property's rows
        ([([2, 5], None)], 2),  # without a boundary, the newest day with data
        ([([5], None), ([3], None)], 3),
        ([([9], None)], 4),  # old rows do not take back what three days prove
        ([([], 8)], 9),  # a boundary may lie far back
    ],
)
def test_the_run_knows_until_when_data_are_published(
    answers: list[tuple[list[int], int | None]], until: int
) -> None:
    assert published_until((answer(*a) for a in answers), TODAY) == ago(until)


def test_days_more_than_three_pacific_days_old_count_as_published() -> None:
    silent = answer([], None, asked=(5, 4, 3, 2))
    known, waiting = settle_days(silent, published_until([silent], TODAY))
    assert list(known) == [ago(5), ago(4)]
    assert waiting == [ago(3), ago(2)]


@given(
    asked=st.sets(st.integers(0, 12), min_size=1),
    rows=st.sets(st.integers(0, 12)),
    boundary=st.none() | st.integers(-1, 13),
    until=st.integers(-1, 14),
)
@seldom
def test_known_and_waiting_days_are_exactly_the_asked_ones(
    asked: set[int], rows: set[int], boundary: int | None, until: int
) -> None:
    known, waiting = settle_days(answer(rows, boundary, asked), ago(until))
    assert sorted([*known, *waiting]) == sorted(ago(n) for n in asked)
    assert all(known[ago(n)] == Clicks(n, 10 * n) for n in asked & rows)
    assert all(known[day] == Clicks(0, 0) for day in known if (TODAY - day).days not in rows)
    assert not waiting or not known or max(known) < min(waiting)


@pytest.mark.parametrize(
    ("now", "day"),
    [
        (datetime(2026, 11, 20, 7, 59, tzinfo=UTC), date(2026, 11, 19)),
        (datetime(2026, 11, 20, 8, 0, tzinfo=UTC), date(2026, 11, 20)),
        (datetime(2026, 7, 20, 6, 59, tzinfo=UTC), date(2026, 7, 19)),
        (datetime(2026, 7, 20, 7, 0, tzinfo=UTC), date(2026, 7, 20)),
        # clocks go back on 2026-11-01 at 09:00 UTC and forward on 2026-03-08 at 10:00 UTC
        (datetime(2026, 11, 1, 6, 59, tzinfo=UTC), date(2026, 10, 31)),
        (datetime(2026, 11, 1, 7, 0, tzinfo=UTC), date(2026, 11, 1)),
        (datetime(2026, 11, 2, 7, 59, tzinfo=UTC), date(2026, 11, 1)),
        (datetime(2026, 11, 2, 8, 0, tzinfo=UTC), date(2026, 11, 2)),
        (datetime(2026, 3, 8, 7, 59, tzinfo=UTC), date(2026, 3, 7)),
        (datetime(2026, 3, 9, 6, 59, tzinfo=UTC), date(2026, 3, 8)),
        (datetime(2026, 3, 9, 7, 0, tzinfo=UTC), date(2026, 3, 9)),
        (datetime(2026, 11, 20, 16, 59, tzinfo=timezone(timedelta(hours=9))), date(2026, 11, 19)),
    ],
)
def test_today_is_the_day_in_california(now: datetime, day: date) -> None:
    assert pacific_today(now) == day


def test_a_night_run_does_not_take_yesterday_for_published() -> None:
    """At 02:00 UTC Search Console is still on the day before: three days are counted from there."""
    today = pacific_today(datetime(2026, 11, 20, 2, 0, tzinfo=UTC))
    silent = PropertyAnswer(days_from(date(2026, 11, 14), 4), {}, None)
    _, waiting = settle_days(silent, published_until([silent], today))
    assert waiting == [date(2026, 11, 16), date(2026, 11, 17)]
