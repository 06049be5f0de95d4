"""Zeros of every site after busy days are Matomo's word for "not archived", and are not stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import pytest

from jobs.zero_guard import Visits, all_zero_days, find_unarchived_days, known_visits
from models import SiteId, StoredDay, Window
from tests.unit.helpers import days_from

DAY = date(2026, 11, 19)
FIVE = range(1, 6)
TEN = range(1, 11)


def before(days: int) -> date:
    return DAY - timedelta(days=days)


class Stored:
    """What the database knows, and for which weeks it was asked."""

    def __init__(
        self, sites: Iterable[SiteId] = (), days: Iterable[date] = (), visits: int = 3
    ) -> None:
        self.known = {site: dict.fromkeys(days, visits) for site in sites}
        self.windows: list[Window] = []

    def __call__(self, week: Window) -> Mapping[SiteId, Mapping[date, int]]:
        self.windows.append(week)
        return {
            site: {day: n for day, n in days.items() if week.first <= day <= week.last}
            for site, days in self.known.items()
        }


def zeros(sites: Iterable[SiteId], days: Iterable[date] = (DAY,)) -> Visits:
    return {site: dict.fromkeys(days, 0) for site in sites}


@pytest.mark.parametrize("n", range(1, 8))
def test_zeros_of_all_after_five_busy_sites_within_seven_days_are_not_believed(n: int) -> None:
    unarchived = find_unarchived_days(zeros(TEN), Stored(FIVE, [before(n)]))
    assert unarchived.keys() == {DAY}
    assert "every site it answered for (10), and 5 sites" in unarchived[DAY].message
    assert "core:archive" in unarchived[DAY].mend
    assert "--accept-zeros" in unarchived[DAY].mend


def test_four_busy_sites_are_too_few_to_tell() -> None:
    assert find_unarchived_days(zeros(TEN), Stored(range(1, 5), [before(1)])) == {}


def test_sites_that_were_busy_on_different_days_of_the_week_count_together() -> None:
    stored = Stored()
    stored.known = {site: {before(site): 1} for site in FIVE}
    assert find_unarchived_days(zeros(TEN), stored).keys() == {DAY}


def test_one_site_with_a_visit_proves_that_the_day_was_archived() -> None:
    visits = zeros(TEN) | {10: {DAY: 1}}
    assert find_unarchived_days(visits, Stored(TEN, [before(1)])) == {}


def test_sites_that_never_had_visits_may_have_none() -> None:
    assert find_unarchived_days(zeros(TEN), Stored(TEN, [before(1)], visits=0)) == {}
    assert find_unarchived_days(zeros(TEN), Stored()) == {}


def test_busy_days_fetched_in_this_run_count_as_well_as_stored_ones() -> None:
    days = days_from(before(3), 4)
    visits: Visits = {site: {day: 0 if day == DAY else 5 for day in days} for site in FIVE}
    assert find_unarchived_days(visits, Stored()).keys() == {DAY}


def test_stored_and_fetched_sites_are_counted_together() -> None:
    visits: Visits = zeros(FIVE)
    for site in (1, 2, 3):
        visits[site][before(1)] = 5
    assert find_unarchived_days(visits, Stored([4, 5], [before(2)])).keys() == {DAY}
    assert find_unarchived_days(visits, Stored([4], [before(2)])) == {}


def test_a_fetched_number_counts_in_place_of_the_stored_one() -> None:
    visits: Visits = {site: {before(1): 0, DAY: 0} for site in FIVE}
    visits[6] = {before(1): 1}  # the day before was archived, and quiet
    assert find_unarchived_days(visits, Stored(FIVE, [before(1)])) == {}


def test_a_busy_site_counts_even_if_it_was_not_asked_today() -> None:
    assert find_unarchived_days(zeros([99]), Stored(FIVE, [before(1)])).keys() == {DAY}


def test_ids_of_another_type_are_the_same_sites() -> None:
    stored = Stored(map(str, FIVE), [before(1)])
    assert find_unarchived_days(zeros(FIVE), stored).keys() == {DAY}


def test_every_day_of_an_outage_within_the_window_is_withheld() -> None:
    outage = days_from(before(3), 4)
    assert find_unarchived_days(zeros(TEN, outage), Stored(TEN, [before(4)])).keys() == set(outage)


def test_a_window_longer_than_a_week_without_archives_is_withheld_to_its_end() -> None:
    outage = days_from(before(19), 20)
    assert find_unarchived_days(zeros(TEN, outage), Stored(TEN, [before(20)])).keys() == set(outage)


@pytest.mark.parametrize("outage_days", [8, 14, 30, 55])
def test_an_outage_of_many_nights_is_not_believed_in_the_end(outage_days: int) -> None:
    """Nothing was stored meanwhile: "the week before" is the last of which anything is known."""
    assert find_unarchived_days(zeros(TEN), Stored(TEN, [before(outage_days)])).keys() == {DAY}


def test_a_quiet_week_ends_the_search_for_busy_ones() -> None:
    stored = Stored(TEN, [before(10)])
    for site in TEN:
        stored.known[site][before(2)] = 0  # accepted zeros
    assert find_unarchived_days(zeros(TEN), stored) == {}


def test_the_day_after_an_outage_is_believed() -> None:
    visits = zeros(TEN, [before(1)])
    for site in TEN:
        visits[site][DAY] = 4
    assert find_unarchived_days(visits, Stored(TEN, [before(2)])).keys() == {before(1)}


def test_the_database_is_asked_only_where_a_day_is_in_doubt_and_boundedly() -> None:
    stored = Stored()
    find_unarchived_days({site: {DAY: 1} for site in TEN}, stored)
    assert stored.windows == []
    find_unarchived_days(zeros(TEN), stored)
    assert len(stored.windows) <= 8
    assert stored.windows[0] == Window(before(7), before(1))
    assert all(len(week) == 7 for week in stored.windows)


@pytest.mark.parametrize("answering", [1, 4, 200])
def test_a_day_is_in_doubt_however_few_sites_answered(answering: int) -> None:
    assert all_zero_days(zeros(range(answering))) == [DAY]
    assert all_zero_days({**zeros(range(answering)), "busy": {DAY: 1}}) == []


def test_days_without_any_answer_are_not_in_doubt() -> None:
    assert all_zero_days({}) == []
    assert all_zero_days({site: {} for site in TEN}) == []


def test_unknown_stored_numbers_are_left_out_and_zeros_are_not() -> None:
    rows = [
        StoredDay("a", DAY, {"matomo_visits": None, "gsc_clicks": 1, "gsc_impressions": 2}),
        StoredDay(
            "a", before(1), {"matomo_visits": 0, "gsc_clicks": None, "gsc_impressions": None}
        ),
        StoredDay("b", DAY, {"matomo_visits": 7, "gsc_clicks": None, "gsc_impressions": None}),
    ]
    assert known_visits(rows) == {"a": {before(1): 0}, "b": {DAY: 7}}
