"""Each asked cell of an answer is a whole number or a failure of its own, never a made-up zero."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from fetchers.errors import UnexpectedAnswer
from fetchers.matomo_answers import parse_visits
from fetchers.results import Fetched
from tests.unit.helpers import DAY, REMOVED, days_from, known_cells, missed_cells, recorded

HOST = "matomo.test"
DAYS = days_from(DAY, 3)
SITES = (1, 2, 12)
SPOILED: list[Any] = [None, "5", 5.0, 5.5, -1, True, False, [], {}, [5], {"value": 5}, "", "0"]

ONE: dict[str, Any] = json.loads(recorded("vs_getVisits_one_range").body)
MANY: dict[str, Any] = json.loads(recorded("vs_getVisits_many_range").body)


def spoiled(value: Any) -> Iterator[tuple[tuple[int, date], dict[str, Any]]]:
    """The recorded answer with each cell in turn replaced or removed."""
    for site in SITES:
        for day in DAYS:
            payload = copy.deepcopy(MANY)
            if value is REMOVED:
                del payload[str(site)][str(day)]
            else:
                payload[str(site)][str(day)] = value
            yield (site, day), payload


@pytest.mark.parametrize("value", [REMOVED, *SPOILED], ids=repr)
def test_each_spoiled_cell_is_missed_alone(value: Any) -> None:
    whole = known_cells(_parse(MANY))
    for cell, payload in spoiled(value):
        parsed = _parse(payload)
        assert known_cells(parsed) == {c: n for c, n in whole.items() if c != cell}
        assert missed_cells(parsed).keys() == {cell}
        assert isinstance(missed_cells(parsed)[cell], UnexpectedAnswer)


@pytest.mark.parametrize("value", [REMOVED, *SPOILED], ids=repr)
def test_each_spoiled_day_of_a_single_site_is_missed_alone(value: Any) -> None:
    for day in DAYS:
        payload = {**ONE, str(day): value}
        if value is REMOVED:
            del payload[str(day)]
        parsed = parse_visits(payload, [1], DAYS, HOST)
        assert missed_cells(parsed).keys() == {(1, day)}
        assert len(known_cells(parsed)) == 2


@pytest.mark.parametrize("value", [REMOVED, None, [], {}, 5, "x", True], ids=repr)
def test_a_site_without_days_is_missed_whole_and_alone(value: Any) -> None:
    """Other Matomo calls answer [] for an empty site; this one must not be read as zeros."""
    for site in SITES:
        payload = {**MANY, str(site): value}
        if value is REMOVED:
            del payload[str(site)]
        parsed = _parse(payload)
        assert missed_cells(parsed).keys() == {(site, day) for day in DAYS}
        assert len(known_cells(parsed)) == 6


def test_the_message_tells_a_missing_number_from_a_wrong_one() -> None:
    said = {
        str(value): str(
            missed_cells(parse_visits({**ONE, str(DAY): value}, [1], [DAY], HOST))[1, DAY]
        )
        for value in (None, "5")
    }
    assert said == {
        "None": "matomo.test: the number of visits is missing in the answer",
        "5": "matomo.test: the number of visits is no whole number in the answer",
    }


@pytest.mark.parametrize("payload", [None, [], [{}], "x", 5, 5.5, True])
def test_visits_that_are_no_object_are_unexpected(payload: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_visits(payload, SITES, DAYS, HOST)


def test_cells_that_were_not_asked_for_are_left_alone() -> None:
    parsed = parse_visits({**MANY, "99": {str(DAY): 7}}, [1, 2], [DAY], HOST)
    assert known_cells(parsed) == {(1, DAY): 15, (2, DAY): 12}
    assert parsed.missed == []


def test_one_site_may_also_come_under_its_number() -> None:
    parsed = parse_visits({"1": ONE}, [1], DAYS, HOST)
    assert known_cells(parsed) == {(1, day): ONE[str(day)] for day in DAYS}


def test_the_numbers_of_one_site_are_not_taken_for_several() -> None:
    parsed = parse_visits(ONE, [1, 2], DAYS, HOST)
    assert parsed.values == {}
    assert len(missed_cells(parsed)) == 6


@pytest.mark.parametrize("number", [0, 1, 2**31, 10**15])
def test_any_whole_number_is_taken_as_it_is(number: int) -> None:
    assert known_cells(parse_visits({str(DAY): number}, [1], [DAY], HOST)) == {(1, DAY): number}


def _parse(payload: object) -> Fetched[int, int]:
    return parse_visits(payload, SITES, DAYS, HOST)
