"""Real UTC from a site's wall clock, also in the hours that happen twice or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.wall_clock import true_seconds
from tests.unit.helpers import seldom
from tests.unit.visit_copy import recorded_visits

PARIS = ZoneInfo("Europe/Paris")
ZONES = {
    "live_la_day_dst": ZoneInfo("America/Los_Angeles"),
    "live_tokyo_day": ZoneInfo("Asia/Tokyo"),
    "live_day_asc": UTC,
}


def seconds(text: str) -> float:
    """A time of 2026-10-25, when clocks in Paris go back from 03:00 to 02:00 at 01:00 UTC."""
    return datetime.fromisoformat(f"2026-10-25T{text}+00:00").timestamp()


def times(walls: str, first: str | None = None, last: str | None = None) -> list[str]:
    """Wall clock times of one visit in Paris as UTC, all as HH:MM."""
    found = true_seconds(
        [seconds(wall) for wall in walls.split()],
        PARIS,
        seconds(first) if first else None,
        seconds(last) if last else None,
    )
    return [f"{datetime.fromtimestamp(second, UTC):%H:%M}" for second in found]


@pytest.mark.parametrize("name", ZONES)
def test_recorded_actions_begin_and_end_with_their_visit(name: str) -> None:
    visits = recorded_visits(name)
    for visit in visits:
        first, last = visit["firstActionTimestamp"], visit["lastActionTimestamp"]
        walls = [action["timestamp"] for action in visit["actionDetails"]]
        for bounds in ((first, last), (None, None)):
            found = true_seconds(walls, ZONES[name], *bounds)
            assert (found[0], found[-1]) == (first, last), visit["idVisit"]
    assert len(visits) >= 9


def test_outside_the_hour_that_happens_twice_the_zone_alone_decides() -> None:
    assert times("01:59 03:00", "05:00", "05:00") == ["23:59", "02:00"]


AMBIGUOUS = {
    # what decides: (wall clock, visit's first and last moment in UTC, UTC)
    "nothing: the earlier": ("02:30", None, None, ["00:30"]),
    "the beginning": ("02:30", "01:30", None, ["01:30"]),
    "the beginning, for all that follow": (
        "02:10 02:20 02:59",
        "01:10",
        "01:59",
        ["01:10", "01:20", "01:59"],
    ),
    "the end": ("02:10 02:50", "00:10", "00:50", ["00:10", "00:50"]),
    "the end, which is the last action's": ("02:10 02:55", "00:10", "01:55", ["00:10", "01:55"]),
    "not the end, which is a later sign of life": (
        "02:10 02:20",
        "00:10",
        "01:30",
        ["00:10", "00:20"],
    ),
    "the order": ("02:50 02:10 02:50", "00:50", "02:00", ["00:50", "01:10", "01:50"]),
    "the order, against the end": ("02:50 02:10", None, "00:55", ["00:50", "01:10"]),
    "the order, with nothing else": (
        "01:50 02:40 02:20 03:10",
        None,
        None,
        ["23:50", "00:40", "01:20", "02:10"],
    ),
    "the nearer, just after the end": ("02:40", "00:20", "00:39", ["00:40"]),
    "the nearer, just after a late end": ("02:40", "01:20", "01:39", ["01:40"]),
    "the nearer, just before the beginning": ("02:40", "01:41", "01:50", ["01:40"]),
    "the same moment twice": ("02:40 02:40", "01:40", "01:40", ["01:40", "01:40"]),
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_the_hour_that_happens_twice_is_decided_by(what: str) -> None:
    walls, first, last, expected = AMBIGUOUS[what]
    assert times(walls, first, last) == expected


def test_a_time_that_was_skipped_is_read_by_the_clock_before() -> None:
    skipped = datetime(2026, 3, 29, 2, 30, tzinfo=UTC).timestamp()
    expected = datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp()
    assert true_seconds([skipped], PARIS) == [expected]
    assert true_seconds([skipped], PARIS, expected - 7200, expected - 3600) == [expected]


@pytest.mark.parametrize(
    ("zone", "wall", "expected"),
    [
        (timezone(timedelta(hours=3)), "12:00:00", "09:00:00"),
        (timezone(timedelta(hours=-9, minutes=-30)), "12:00:00", "21:30:00"),
        (ZoneInfo("Asia/Kathmandu"), "12:00:30.5", "06:15:30.5"),
        (UTC, "12:00:00", "12:00:00"),
    ],
    ids=str,
)
def test_fixed_offsets_and_odd_zones(zone: tzinfo, wall: str, expected: str) -> None:
    assert true_seconds([seconds(wall)], zone) == [seconds(expected)]


def test_a_change_of_half_an_hour_at_a_minute_after_midnight() -> None:
    """Lord Howe puts its clock back by 30 minutes; St. John's did so at 00:01 until 2011."""
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    wall = datetime(2026, 4, 5, 1, 45, tzinfo=UTC).timestamp()
    early = datetime(2026, 4, 4, 14, 45, tzinfo=UTC).timestamp()
    assert true_seconds([wall, wall - 60], lord_howe) == [early, early + 29 * 60]
    st_johns = ZoneInfo("America/St_Johns")
    wall = datetime(2010, 11, 7, 0, 0, 30, tzinfo=UTC).timestamp()
    assert true_seconds([wall], st_johns) == [wall + 2.5 * 3600]


@given(
    st.integers(int(seconds("00:00")) - 4000, int(seconds("00:00")) + 12000),
    st.lists(st.integers(0, 900), max_size=8),
)
@seldom
def test_a_visit_over_the_change_is_found_as_it_was_where_its_pauses_are_short(
    start: int, pauses: list[int]
) -> None:
    """Not all can be: after an hour's silence the clock shows the same as after none."""
    moments = [float(start)]
    for pause in pauses:
        moments.append(moments[-1] + pause)
    walls = [m + (7200 if m < seconds("01:00") else 3600) for m in moments]
    found = true_seconds(walls, PARIS, moments[0], moments[-1])
    assert found == sorted(found)
    assert (found[0], found[-1]) == (moments[0], moments[-1])
    assert {abs(f - m) for f, m in zip(found, moments, strict=True)} <= {0.0, 3600.0}
    if moments[-1] - moments[0] < 3600:
        assert found == moments
