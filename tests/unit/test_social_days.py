"""Which day a number belongs to, above all where clocks change: 2026-03-08 and 2026-11-01."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchers.social_days import (
    day_of_end_time,
    is_settled,
    last_linkedin_day,
    pacific_day,
    pacific_midnight,
    utc_midnight_ms,
)
from tests.unit.helpers import seldom

SPRING = date(2026, 3, 8)  # has 23 hours
AUTUMN = date(2026, 11, 1)  # has 25 hours
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("day", "begins"),
    [
        (date(2026, 3, 7), "2026-03-07T08:00:00Z"),
        (SPRING, "2026-03-08T08:00:00Z"),
        (date(2026, 3, 9), "2026-03-09T07:00:00Z"),
        (date(2026, 10, 31), "2026-10-31T07:00:00Z"),
        (AUTUMN, "2026-11-01T07:00:00Z"),
        (date(2026, 11, 2), "2026-11-02T08:00:00Z"),
    ],
)
def test_a_pacific_day_begins_at_midnight_there(day: date, begins: str) -> None:
    assert pacific_midnight(day) == at(begins).timestamp()


def test_the_sample_of_the_documentation_is_a_pacific_midnight() -> None:
    """Facts 2.4: paging windows across the change of 2020-03-08."""
    assert pacific_midnight(date(2020, 3, 7)) == 1583568000
    assert pacific_midnight(date(2020, 3, 9)) == 1583737200


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25), (date(2026, 11, 17), 24)])
def test_a_day_is_as_long_as_it_is(day: date, hours: int) -> None:
    assert pacific_midnight(day + DAY) - pacific_midnight(day) == hours * 3600


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-18T08:00:00+0000", date(2026, 11, 17)),
        ("2026-11-18T08:00:00Z", date(2026, 11, 17)),
        ("2026-11-18T08:00:00+00:00", date(2026, 11, 17)),
        ("2026-11-18T00:00:00-0800", date(2026, 11, 17)),
        ("2026-07-18T07:00:00+0000", date(2026, 7, 17)),
        ("2026-03-08T08:00:00+0000", date(2026, 3, 7)),
        ("2026-03-09T07:00:00+0000", SPRING),
        ("2026-03-10T07:00:00+0000", date(2026, 3, 9)),
        ("2026-11-01T07:00:00+0000", date(2026, 10, 31)),
        ("2026-11-02T08:00:00+0000", AUTUMN),
        ("2026-11-03T08:00:00+0000", date(2026, 11, 2)),
        ("2027-01-01T08:00:00+0000", date(2026, 12, 31)),
    ],
)
def test_end_time_ends_the_day_of_its_value(text: str, day: date) -> None:
    assert day_of_end_time(text) == day


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-18", "2026-11-18T08:00:00", "0001-01-01T00:00:00Z", "1794988800"],
)
def test_what_is_no_moment_has_no_day(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat"):
        day_of_end_time(text)


@seldom
@given(st.dates(date(2024, 1, 1), date(2030, 12, 31)))
def test_the_end_of_every_day_is_dated_by_that_day(day: date) -> None:
    ends = datetime.fromtimestamp(pacific_midnight(day + DAY), UTC)
    assert day_of_end_time(f"{ends:%Y-%m-%dT%H:%M:%S}+0000") == day
    assert pacific_day(ends) == day + DAY
    assert pacific_day(ends - timedelta(seconds=1)) == day


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-20T02:00:00Z", date(2026, 11, 19)),  # the design's hour: the day is not over
        ("2026-11-20T07:59:59Z", date(2026, 11, 19)),
        ("2026-11-20T08:00:00Z", date(2026, 11, 20)),
        ("2026-07-20T06:59:59Z", date(2026, 7, 19)),
        ("2026-07-20T07:00:00Z", date(2026, 7, 20)),
        ("2026-11-01T07:00:00Z", AUTUMN),
        ("2026-11-02T07:59:59Z", AUTUMN),
        ("2026-03-09T06:59:59Z", SPRING),
        ("2026-03-09T07:00:00Z", date(2026, 3, 9)),
    ],
)
def test_the_current_pacific_day(now: str, day: date) -> None:
    assert pacific_day(at(now)) == day
    assert pacific_day(at(now).astimezone(timezone(timedelta(hours=9)))) == day


@pytest.mark.parametrize(
    ("day", "settled_at"),
    [
        (date(2026, 11, 17), "2026-11-20T08:00:00Z"),
        (AUTUMN, "2026-11-04T08:00:00Z"),
        (date(2026, 10, 31), "2026-11-03T07:00:00Z"),  # 48 hours, though clocks say 47
        (SPRING, "2026-03-11T07:00:00Z"),
        (date(2026, 3, 7), "2026-03-10T08:00:00Z"),
    ],
)
def test_a_day_is_settled_48_real_hours_after_its_end(day: date, settled_at: str) -> None:
    assert is_settled(day, at(settled_at))
    assert not is_settled(day, at(settled_at) - timedelta(seconds=1))
    assert is_settled(day, at(settled_at) + timedelta(hours=24), hours=72)
    assert not is_settled(day, at(settled_at) + timedelta(hours=23, minutes=59), hours=72)


def test_another_zones_day_ends_elsewhere() -> None:
    assert is_settled(date(2026, 11, 17), at("2026-11-20T00:00:00Z"), zone=UTC)
    assert not is_settled(date(2026, 11, 17), at("2026-11-19T23:59:59Z"), zone=UTC)


def test_linkedins_days_are_utc_days_in_milliseconds() -> None:
    assert utc_midnight_ms(date(2022, 12, 11)) == 1670716800000  # the documentation's sample
    assert utc_midnight_ms(AUTUMN + DAY) - utc_midnight_ms(AUTUMN) == 86_400_000


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-11-20T00:00:00Z", date(2026, 11, 17)),  # ends 2026-11-18T00Z, 48 hours ago
        ("2026-11-19T23:59:59Z", date(2026, 11, 16)),
        ("2026-11-20T23:59:59Z", date(2026, 11, 17)),
        ("2026-11-19T16:00:00-08:00", date(2026, 11, 17)),
    ],
)
def test_linkedins_last_day_ended_48_hours_ago(now: str, last: date) -> None:
    assert last_linkedin_day(at(now)) == last
