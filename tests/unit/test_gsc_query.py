"""What Search Console is asked, and that an answer of another shape is never read as numbers."""

from __future__ import annotations

import copy
import json
from datetime import date, timedelta
from typing import Any

import pytest

from fetchers.errors import UnexpectedAnswer
from fetchers.gsc import (
    Clicks,
    get_gsc_data,
    list_properties,
    oldest_kept_day,
    parse_query,
    refuse_old_days,
)
from fetchers.gsc_property import Property
from tests.unit.google import FakeGoogle, OfflineClient
from tests.unit.helpers import REMOVED, days_from

FIRST, SECOND, THIRD, FOURTH = DAYS = days_from(date(2026, 11, 15), 4)
ANSWER: dict[str, Any] = {
    "rows": [
        {"keys": [str(FIRST)], "clicks": 5.0, "impressions": 100.0, "ctr": 0.05, "position": 7.5},
        {"keys": [str(SECOND)], "clicks": 0, "impressions": 3, "ctr": 0, "position": 40.0},
    ],
    "responseAggregationType": "byProperty",
    "metadata": {"firstIncompleteDate": str(THIRD)},
}

NO_DATA: dict[str, Any] = {"responseAggregationType": "byProperty"}


def test_rows_are_read_by_day_and_doubles_become_whole_numbers() -> None:
    rows, first_incomplete = parse_query(ANSWER, FIRST, FOURTH)
    assert rows == {FIRST: Clicks(5, 100), SECOND: Clicks(0, 3)}
    assert all(type(n) is int for row in rows.values() for n in (row.clicks, row.impressions))
    assert first_incomplete == THIRD


@pytest.mark.parametrize("answer", [NO_DATA, {**NO_DATA, "rows": []}])
def test_no_data_at_all_is_an_answer_without_rows(answer: dict[str, Any]) -> None:
    assert parse_query(answer, FIRST, FOURTH) == ({}, None)


@pytest.mark.parametrize(
    ("metadata", "boundary"),
    [
        ({"firstIncompleteDate": str(THIRD)}, THIRD),
        ({"first_incomplete_date": str(THIRD)}, THIRD),
        ({}, None),
        (None, None),
        ({"firstIncompleteHour": "x"}, None),
    ],
)
def test_the_boundary_is_read_in_both_spellings(metadata: object, boundary: date | None) -> None:
    assert parse_query({**ANSWER, "metadata": metadata}, FIRST, FOURTH)[1] == boundary


NO_COUNT: list[Any] = [REMOVED, None, "5", 5.5, -1, -0.5, True, [], {}, float("nan"), float("inf")]
NO_KEYS: list[Any] = [
    REMOVED,
    None,
    [],
    str(SECOND),
    5,
    [5],
    [None],
    ["2026-13-01"],
    ["15.11.2026"],
    [str(SECOND), "web"],
    [str(FIRST)],
    ["2026-11-14"],
    ["2026-11-19"],
]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("clicks", value) for value in NO_COUNT),
        *(("impressions", value) for value in NO_COUNT),
        *(("keys", value) for value in NO_KEYS),
    ],
    ids=repr,
)
def test_a_spoiled_field_of_a_row_spoils_the_answer(field: str, value: Any) -> None:
    answer = copy.deepcopy(ANSWER)
    if value is REMOVED:
        del answer["rows"][1][field]
    else:
        answer["rows"][1][field] = value
    with pytest.raises(UnexpectedAnswer):
        parse_query(answer, FIRST, FOURTH)


@pytest.mark.parametrize("field", ["ctr", "position"])
def test_rates_are_not_needed(field: str) -> None:
    answer = copy.deepcopy(ANSWER)
    del answer["rows"][0][field]
    assert parse_query(answer, FIRST, FOURTH) == parse_query(ANSWER, FIRST, FOURTH)


def test_an_empty_object_is_no_answer_and_makes_no_day_a_zero() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        parse_query({}, FIRST, FOURTH)
    assert caught.value.retry


@pytest.mark.parametrize(
    "answer",
    [
        {"rows": None},
        {"rows": 5},
        {"rows": "x"},
        {"rows": {"a": 1}},
        {"rows": [None]},
        {"rows": [[]]},
        {"metadata": "x"},
        {"metadata": [1]},
        {"metadata": {"firstIncompleteDate": "soon"}},
        {"metadata": {"firstIncompleteDate": 20261117}},
    ],
)
def test_an_answer_of_another_shape_is_unexpected(answer: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_query({**NO_DATA, **answer}, FIRST, FOURTH)


@pytest.mark.parametrize(
    ("today", "end"),
    [
        (FOURTH, FOURTH),
        (FOURTH + timedelta(1), FOURTH + timedelta(1)),
        (FOURTH + timedelta(10), FOURTH + timedelta(10)),
        (FOURTH + timedelta(11), FOURTH),
        (FOURTH + timedelta(400), FOURTH),
        (FOURTH - timedelta(1), FOURTH),
    ],
)
def test_a_recent_window_is_asked_up_to_today_and_an_old_one_is_not(today: date, end: date) -> None:
    google = FakeGoogle([(200, NO_DATA)])
    answer = get_gsc_data(
        OfflineClient(google), "sc-domain:a.test", [THIRD, FIRST, FOURTH], today=today
    )
    [body] = [json.loads(call["body"]) for call in google.api_calls]
    assert (body["startDate"], body["endDate"]) == (str(FIRST), str(end))
    assert answer.days == (FIRST, THIRD, FOURTH)


def test_one_request_asks_for_totals_by_date_of_the_property_as_it_is_listed() -> None:
    google = FakeGoogle([(200, ANSWER)])
    answer = get_gsc_data(
        OfflineClient(google), "https://www.a.test/", DAYS, today=FOURTH, search_type="image"
    )
    [call] = google.api_calls
    body = json.loads(call["body"])
    assert call["method"] == "POST"
    assert "/sites/https%3A%2F%2Fwww.a.test%2F/searchAnalytics/query" in call["uri"]
    del body["startDate"], body["endDate"]
    assert body == {
        "dimensions": ["date"],
        "type": "image",
        "dataState": "all",
        "aggregationType": "auto",
        "rowLimit": 25_000,
    }
    assert (dict(answer.rows), answer.first_incomplete) == parse_query(ANSWER, FIRST, FOURTH)


def test_rows_between_the_window_and_today_are_no_surprise() -> None:
    today = FOURTH + timedelta(5)
    row = {"keys": [str(today)], "clicks": 1, "impressions": 2}
    client = OfflineClient(FakeGoogle([(200, {**NO_DATA, "rows": [row]})]))
    assert get_gsc_data(client, "x", DAYS, today=today).rows == {today: Clicks(1, 2)}


@pytest.mark.parametrize(
    ("level", "verified"),
    [
        ("siteOwner", True),
        ("siteFullUser", True),
        ("siteRestrictedUser", True),
        ("SITE_OWNER", True),
        ("siteUnverifiedUser", False),
        ("SITE_UNVERIFIED_USER", False),
        ("SiteUnverifiedUser", False),
    ],
)
def test_an_unverified_property_is_known_in_each_spelling(level: str, verified: bool) -> None:
    entry = {"siteUrl": "sc-domain:a.test", "permissionLevel": level}
    client = OfflineClient(FakeGoogle([(200, {"siteEntry": [entry]})]))
    assert list_properties(client) == [Property("sc-domain:a.test", verified)]


def test_an_account_without_properties_has_no_list_in_its_answer() -> None:
    assert list_properties(OfflineClient(FakeGoogle([(200, {})]))) == []


GOOD = {"siteUrl": "sc-domain:a.test", "permissionLevel": "siteOwner"}


@pytest.mark.parametrize(
    "entries",
    [
        None,
        5,
        "x",
        {"siteUrl": "x"},
        [None],
        ["x"],
        [5],
        [GOOD, {"siteUrl": "x"}],
        [GOOD, {"permissionLevel": "siteOwner"}],
        [{**GOOD, "permissionLevel": 5}],
        [{**GOOD, "siteUrl": 5}],
        [{**GOOD, "siteUrl": None}],
    ],
    ids=repr,
)
def test_a_list_of_properties_of_another_shape_is_unexpected(entries: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        list_properties(OfflineClient(FakeGoogle([(200, {"siteEntry": entries})])))


def test_days_older_than_16_months_are_refused_and_the_others_kept() -> None:
    today = date(2026, 11, 20)
    oldest = oldest_kept_day(today)
    assert oldest == date(2025, 7, 22)
    before, after = oldest - timedelta(1), oldest + timedelta(1)
    kept, gone, error = refuse_old_days([before, oldest, after], today)
    assert (kept, gone) == ([oldest, after], [before])
    assert error is not None
    assert "16 months" in error.message
    assert str(oldest) in error.message
    assert "--source matomo" in error.mend
    assert refuse_old_days([oldest, after], today) == ([oldest, after], [], None)
    assert refuse_old_days([before], today)[:2] == ([], [before])
