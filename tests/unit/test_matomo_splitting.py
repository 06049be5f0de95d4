"""A request that is too much for the server is split until only what cannot be had is missing."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from datetime import date

import pytest

from fetchers.errors import Overloaded, Temporary
from fetchers.matomo import (
    Batch,
    plan_batches,
)
from fetchers.matomo_health import FAILED_REQUESTS_IN_A_ROW, FAILURES_WITHOUT_ANSWER
from tests.unit.helpers import (
    DAY,
    FakeMatomo,
    InstantStop,
    Reply,
    Rule,
    days_from,
    error_reply,
    fetch_from,
    json_reply,
    known_cells,
    make_http,
    missed_cells,
)

DAYS = days_from(DAY, 4)
SITES = tuple(range(1, 21))
WANTED = dict.fromkeys(SITES, DAYS)
CELLS = {(site, day) for site in SITES for day in DAYS}
TOO_MUCH = error_reply(500, "Allowed memory size of 134217728 bytes exhausted")

Cell = tuple[int, date]


def poisoned(cells: Collection[Cell], reply: Reply) -> Rule:
    """Whatever touches one of these cells fails."""

    def rule(sites: tuple[int, ...], days: tuple[date, ...]) -> Reply | None:
        return reply if any(s in sites and d in days for s, d in cells) else None

    return rule


@pytest.mark.parametrize("reply", [TOO_MUCH, TimeoutError(), (504, {}, "gateway")], ids=repr)
@pytest.mark.parametrize("cell", [(1, DAYS[0]), (12, DAYS[2]), (20, DAYS[3])])
def test_only_the_poisoned_cell_of_a_request_is_missed(reply: Reply, cell: Cell) -> None:
    matomo = FakeMatomo(SITES, poisoned([cell], reply))
    fetched = fetch_from(matomo, WANTED)
    assert missed_cells(fetched).keys() == {cell}
    assert isinstance(missed_cells(fetched)[cell], Overloaded)
    assert known_cells(fetched).keys() == CELLS - {cell}


def test_a_large_request_is_split_at_once_and_a_single_cell_is_tried_again() -> None:
    matomo, stop = FakeMatomo(SITES, poisoned([(3, DAY)], TOO_MUCH)), InstantStop()
    fetch_from(matomo, WANTED, http=make_http(stop, attempts=3))
    tries = [asked for asked in matomo.asked if 3 in asked[0] and DAY in asked[1]]
    assert [(len(sites), len(days)) for sites, days in tries] == [
        (20, 4),
        (10, 4),
        (5, 4),
        (3, 4),
        (1, 4),
        (1, 2),
        (1, 1),
        (1, 1),
        (1, 1),
    ]
    assert len(stop.slept) == 2
    assert len(matomo.asked) < 25


def test_a_cell_that_answers_at_the_second_try_is_known() -> None:
    failures = iter([TOO_MUCH])

    def rule(sites: tuple[int, ...], days: tuple[date, ...]) -> Reply | None:
        return next(failures, None) if len(sites) == len(days) == 1 else None

    fetched = fetch_from(FakeMatomo([7], rule), {7: [DAY]})
    assert (len(known_cells(fetched)), fetched.missed) == (1, [])


@pytest.mark.parametrize("bad_sites", [(4, 5), (1, 10, 20), (6, 7, 8), tuple(range(1, 8))])
def test_a_few_bad_sites_do_not_make_the_server_count_as_down(bad_sites: tuple[int, ...]) -> None:
    cells = [(site, day) for site in bad_sites for day in DAYS]
    fetched = fetch_from(FakeMatomo(SITES, poisoned(cells, TOO_MUCH)), WANTED)
    assert missed_cells(fetched).keys() == set(cells)
    assert known_cells(fetched).keys() == CELLS - set(cells)


@pytest.mark.parametrize("bad_sites", [(4, 5), (1, 10, 20)])
def test_sites_that_answer_503_do_not_make_the_server_count_as_down(
    bad_sites: tuple[int, ...],
) -> None:
    cells = [(site, day) for site in bad_sites for day in DAYS]
    matomo = FakeMatomo(SITES, poisoned(cells, (503, {}, "busy")))
    fetched = fetch_from(matomo, WANTED, sites_per_request=1)
    assert missed_cells(fetched).keys() == set(cells)
    assert known_cells(fetched).keys() == CELLS - set(cells)


@pytest.mark.parametrize("reply", [TOO_MUCH, (503, {}, "down"), TimeoutError()], ids=repr)
@pytest.mark.parametrize("sites_per_request", [1, 50])
def test_a_server_that_goes_down_is_given_up_after_a_bounded_number_of_requests(
    reply: Reply, sites_per_request: int
) -> None:
    """It answers the list of sites once, and nothing from then on."""
    sites = range(1, 2001)
    matomo = FakeMatomo(sites)

    def rule(_sites: tuple[int, ...], _days: tuple[date, ...]) -> Reply:
        matomo.refuse_list = True
        return reply

    matomo.rule = rule
    fetched = fetch_from(matomo, dict.fromkeys(sites, DAYS), sites_per_request=sites_per_request)
    assert len(missed_cells(fetched)) == 8000
    assert all(isinstance(error, Temporary) for error in missed_cells(fetched).values())
    assert len(matomo.requests) < 300


def test_the_server_is_looked_at_only_after_some_failures_in_a_row() -> None:
    cells = [(site, DAY) for site in SITES[: FAILED_REQUESTS_IN_A_ROW - 1]]
    matomo = FakeMatomo(SITES, poisoned(cells, (503, {}, "busy")))
    fetch_from(matomo, dict.fromkeys(SITES, DAYS[:1]), sites_per_request=1)
    assert len(matomo.requests) - len(matomo.asked) == 1  # the list of sites at the start


def test_an_unexpected_answer_is_neither_split_nor_tried_again() -> None:
    matomo = FakeMatomo(SITES, lambda *_: json_reply(200, []))
    fetched = fetch_from(matomo, WANTED)
    assert len(matomo.asked) == 1
    assert missed_cells(fetched).keys() == CELLS


@pytest.mark.parametrize(("sites", "days"), list(itertools.product((1, 2, 3, 50), (1, 2, 5))))
def test_halves_are_smaller_and_make_up_the_whole(sites: int, days: int) -> None:
    batch = Batch(tuple(range(sites)), days_from(DAY, days))
    halves = batch.halves()
    cells = [(s, d) for half in halves for s in half.sites for d in half.days]
    if sites == days == 1:
        assert halves == []
        return
    assert sorted(cells) == sorted((s, d) for s in batch.sites for d in batch.days)
    assert all(half.sites and half.days for half in halves)
    assert len(halves) == 2


def test_sites_that_want_the_same_span_share_requests() -> None:
    asked = {1: DAYS, 2: DAYS, 3: DAYS[1:], 4: [DAYS[0], DAYS[3]], 5: [DAYS[1], DAYS[3]]}
    assert plan_batches(asked, 50) == [Batch((1, 2, 4), DAYS), Batch((3, 5), DAYS[1:])]


@pytest.mark.parametrize(
    ("sites", "days", "per_request", "requests"),
    [
        (198, 4, 50, 4),
        (198, 480, 50, 64),
        (1, 31, 50, 1),
        (1, 32, 50, 2),
        (3, 1, 1, 3),
        (0, 4, 50, 0),
    ],
)
def test_the_number_of_requests_is_small(
    sites: int, days: int, per_request: int, requests: int
) -> None:
    asked = dict.fromkeys(range(sites), days_from(DAY, days))
    assert len(plan_batches(asked, per_request)) == requests


def test_a_matomo_that_lists_sites_but_has_no_reports_is_given_up() -> None:
    matomo = FakeMatomo(SITES, lambda _sites, _days: TOO_MUCH)
    fetched = fetch_from(matomo, WANTED)
    assert missed_cells(fetched).keys() == CELLS
    assert len(matomo.asked) < 4 * FAILURES_WITHOUT_ANSWER + 40


def test_a_matomo_that_asks_for_fewer_requests_is_not_asked_more() -> None:
    matomo = FakeMatomo(SITES, lambda _sites, _days: (429, {"retry-after": "30"}, "slow down"))
    wanted = dict.fromkeys(SITES, days_from(DAY, 200))
    fetched = fetch_from(matomo, wanted, http=make_http(attempts=2))
    assert not fetched.values
    assert len(matomo.asked) <= 2 * 4 + 4


@pytest.mark.parametrize("status", [502, 503])
def test_a_report_that_breaks_the_server_is_split_and_a_maintenance_page_is_not(
    status: int,
) -> None:
    matomo = FakeMatomo(SITES, poisoned([(3, DAY)], (status, {}, "<html>")))
    fetched = fetch_from(matomo, WANTED, http=make_http(attempts=2))
    assert len(missed_cells(fetched)) == (1 if status == 502 else len(CELLS))
