"""What is stored beside what the source says: one verdict a number, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from jobs.comparison import (
    DIFFERENT,
    EQUAL,
    MISSING,
    REVISED,
    UNKNOWN,
    Clock,
    as_failures,
    as_master,
    compare,
    count_verdicts,
    differences,
)
from jobs.daily_plan import make_plan
from models import Master, Site, StoredDay, Window
from storage.runs import StoredRun

DAY = date(2026, 11, 10)
NOW = datetime(2026, 11, 21, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOT_AHEAD = Clock()
PLAN = make_plan([Site(1, "a.test", 11)], [], Window(DAY, DAY))


def run_from(started_at: datetime, finished_at: datetime | None) -> StoredRun:
    return StoredRun(1, "daily", started_at, finished_at, "complete", DAY, DAY)


RUN = run_from(NOW, NOW + MINUTE)


def verdict(
    stored: int | None,
    source: int | None,
    updated_at: datetime | None = NOW,
    run: StoredRun | None = RUN,
    clock: Clock = NOT_AHEAD,
) -> str:
    master: Master = {} if source is None else {1: {DAY: {"matomo_visits": source}}}
    numbers = {"matomo_visits": stored, "gsc_clicks": None, "gsc_impressions": None}
    rows = [StoredDay(1, DAY, numbers, updated_at)]
    (number,) = compare(PLAN, master, rows, [run] if run else [], clock)
    assert (number.stored, number.source) == (stored, source)
    return number.verdict


@pytest.mark.parametrize(
    ("stored", "source", "expected"),
    [
        (5, 5, EQUAL),
        (0, 0, EQUAL),
        (None, 0, MISSING),
        (None, 7, MISSING),
        (5, 6, REVISED),
        (0, 6, REVISED),
        (6, 0, REVISED),
        (5, None, UNKNOWN),
        (None, None, UNKNOWN),
    ],
)
def test_zero_is_a_number_and_unknown_is_none(
    stored: int | None, source: int | None, expected: str
) -> None:
    assert verdict(stored, source) == expected


@pytest.mark.parametrize(
    ("updated_at", "expected"),
    [
        (NOW, REVISED),
        (NOW + MINUTE, REVISED),
        (NOW - timedelta(seconds=1), DIFFERENT),
        (NOW + MINUTE + timedelta(seconds=1), DIFFERENT),
        (None, DIFFERENT),
    ],
)
def test_a_number_that_no_run_has_written_is_different_without_reason(
    updated_at: datetime | None, expected: str
) -> None:
    assert verdict(5, 6, updated_at) == expected


def test_without_a_history_nothing_explains_a_difference() -> None:
    assert verdict(5, 6, run=None) == DIFFERENT


def test_a_run_under_way_may_have_written_it_just_now() -> None:
    assert verdict(5, 6, NOW + 5 * MINUTE, run_from(NOW, None)) == REVISED


def test_a_run_that_died_wrote_nothing_after_its_longest_time() -> None:
    died = run_from(NOW, NOW + timedelta(days=1))
    assert verdict(5, 6, NOW + timedelta(hours=5), died) == REVISED
    assert verdict(5, 6, NOW + timedelta(hours=7), died) == DIFFERENT
    assert verdict(5, 6, NOW + timedelta(hours=7), run_from(NOW, None)) == DIFFERENT


def test_a_run_of_other_days_vouches_for_no_number() -> None:
    other = replace(RUN, window_from=DAY - timedelta(days=9), window_to=DAY - timedelta(days=1))
    assert verdict(5, 6, run=other) == DIFFERENT


def test_a_database_whose_clock_is_wrong_is_understood() -> None:
    hour = timedelta(hours=1)
    assert verdict(5, 6, NOW + hour) == DIFFERENT
    assert verdict(5, 6, NOW + hour, clock=Clock(hour)) == REVISED
    assert verdict(5, 6, NOW - hour, clock=Clock(-hour)) == REVISED


def test_a_clock_is_trusted_as_far_as_it_was_measured() -> None:
    inexact = Clock(exact_to=timedelta(seconds=1))
    assert verdict(5, 6, NOW - timedelta(seconds=1), clock=inexact) == REVISED
    assert verdict(5, 6, NOW - timedelta(seconds=2), clock=inexact) == DIFFERENT


def test_a_site_without_a_row_misses_every_number_it_was_asked_for() -> None:
    site = Site(1, "a.test", 11, gsc_account_id=3)
    plan = make_plan([site], [], Window(DAY, DAY))
    master: Master = {1: {DAY: {"matomo_visits": 4, "gsc_clicks": 0, "gsc_impressions": 9}}}
    compared = list(compare(plan, master, [], [], NOT_AHEAD))
    assert count_verdicts(compared) == {
        EQUAL: 0, REVISED: 0, MISSING: 3, DIFFERENT: 0, UNKNOWN: 0,
    }  # fmt: skip
    assert as_master(differences(compared)) == master
    assert [
        (f.kind, f.source, f.sites, f.days)
        for f in as_failures(differences(compared), Window(DAY, DAY))
    ] == [
        (MISSING, "matomo", (1,), (DAY,)),
        (MISSING, "gsc", (1,), (DAY,)),
    ]


def test_what_is_equal_or_unknown_is_never_repaired() -> None:
    plan = make_plan([Site(1, "a.test", 11)], [], Window(DAY, DAY + timedelta(days=1)))
    numbers = {"matomo_visits": 4, "gsc_clicks": None, "gsc_impressions": None}
    rows = [StoredDay(1, DAY, numbers, NOW), StoredDay(1, DAY + timedelta(days=1), numbers, NOW)]
    compared = list(compare(plan, {1: {DAY: {"matomo_visits": 4}}}, rows, [], NOT_AHEAD))
    assert as_master(differences(compared)) == {}
