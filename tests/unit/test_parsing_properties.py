"""Whatever JSON a source sends: a number that it said, or a failure with a kind; never a bug."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fetchers.errors import FetchError, UnexpectedAnswer
from fetchers.gsc import list_properties, parse_query
from fetchers.gsc_property import Properties, Property, choose_property
from fetchers.http import Answer
from fetchers.matomo import DAYS_PER_REQUEST, plan_batches
from fetchers.matomo_answers import parse_answer, parse_viewable_sites, parse_visits
from tests.unit.google import FakeGoogle, OfflineClient
from tests.unit.helpers import days_from, known_cells, missed_cells, seldom

DAYS = days_from(date(2026, 11, 5), 3)
SITES = (1, 2, 12)
KNOWN_WORDS = [
    *map(str, SITES),
    *map(str, DAYS),
    *("result", "error", "message", "rows", "keys", "clicks", "impressions", "metadata"),
    *("firstIncompleteDate", "siteEntry", "siteUrl", "permissionLevel", "sc-domain:a.test"),
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 50)
    | st.floats()
    | st.sampled_from(KNOWN_WORDS)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KNOWN_WORDS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)
cell_maps = st.dictionaries(st.sampled_from(list(map(str, DAYS))), scalars)
visit_tables = (
    st.dictionaries(st.sampled_from(list(map(str, SITES))), cell_maps | scalars) | cell_maps
)
rows = st.lists(
    st.dictionaries(
        st.sampled_from(["keys", "clicks", "impressions"]),
        st.lists(st.sampled_from(list(map(str, DAYS))), max_size=2) | scalars,
    ),
    max_size=3,
)


@given(values | visit_tables, st.sampled_from([SITES, SITES[:1]]))
@seldom
def test_every_asked_cell_is_a_number_of_the_answer_or_missed(
    payload: Any, sites: tuple[int, ...]
) -> None:
    try:
        parsed = parse_visits(payload, sites, DAYS, "m.test")
    except UnexpectedAnswer:
        return
    known, missed = known_cells(parsed), missed_cells(parsed)
    assert known.keys() | missed.keys() == {(site, day) for site in sites for day in DAYS}
    assert not known.keys() & missed.keys()
    for (site, day), number in known.items():
        of_site = payload.get(str(site), payload)
        assert type(number) is int
        assert number >= 0
        assert of_site[str(day)] is number


@given(values)
@seldom
def test_any_payload_is_a_set_of_sites_or_unexpected(payload: Any) -> None:
    try:
        sites = parse_viewable_sites(payload, "m.test")
    except UnexpectedAnswer:
        return
    assert sites == set(payload)
    assert all(type(site) is int for site in sites)


@given(
    st.sampled_from([200, 302, 401, 403, 404, 418, 429, 500, 503]),
    st.sampled_from(["application/json", "text/html", ""]),
    values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20),
    st.text(max_size=20) | st.sampled_from(["https://m.test/index.php", "/login"]),
)
@seldom
def test_any_http_answer_is_its_json_or_a_failure(
    status: int, content_type: str, body: bytes, location: str
) -> None:
    headers = {"content-type": content_type, "location": location, "retry-after": location}
    try:
        payload = parse_answer(Answer(status, headers, body), "m.test")
    except FetchError:
        return
    assert (status, content_type) == (200, "application/json")
    assert json.dumps(payload) == json.dumps(json.loads(body))


@given(
    st.dictionaries(st.sampled_from(KNOWN_WORDS), values) | st.fixed_dictionaries({"rows": rows})
)
@seldom
def test_any_answer_to_a_query_is_rows_of_asked_days_or_unexpected(answer: dict[str, Any]) -> None:
    try:
        found, boundary = parse_query(answer, DAYS[0], DAYS[-1])
    except FetchError:
        return
    assert set(found) <= set(DAYS)
    assert boundary is None or type(boundary) is date
    for row in answer.get("rows", []):
        clicks = found[date.fromisoformat(row["keys"][0])]
        assert (clicks.clicks, clicks.impressions) == (row["clicks"], row["impressions"])
    assert len(found) == len(answer.get("rows", []))


@given(st.just([{"siteUrl": "x", "permissionLevel": "y"}]) | values)
@seldom
def test_any_list_of_properties_is_usable_or_unexpected(entries: Any) -> None:
    client = OfflineClient(FakeGoogle([(200, {"siteEntry": entries})]))
    try:
        properties = list_properties(client)
        choose_property("a.test", None, Properties(properties))
    except FetchError:
        return
    assert [p.url for p in properties] == [entry["siteUrl"] for entry in entries]


@given(st.text(max_size=30), st.lists(st.text(max_size=30).map(Property), max_size=3))
@seldom
def test_any_domain_has_a_listed_property_or_a_failure(
    domain: str, properties: list[Property]
) -> None:
    try:
        url = choose_property(domain, None, Properties(properties))
    except FetchError:
        return
    assert url in {p.url for p in properties}


@given(
    st.dictionaries(
        st.integers(1, 40),
        st.sets(st.integers(0, 80), min_size=1).map(sorted),
        max_size=12,
    ),
    st.integers(1, 7),
)
@seldom
def test_batches_cover_each_wanted_cell_once_and_nothing_outside_its_span(
    wanted: dict[int, list[int]], sites_per_request: int
) -> None:
    start = date(2026, 1, 1).toordinal()
    asked = {site: [date.fromordinal(start + n) for n in days] for site, days in wanted.items()}
    batches = plan_batches(asked, sites_per_request)
    cells = [(site, day) for batch in batches for site in batch.sites for day in batch.days]
    assert len(cells) == len(set(cells))
    assert set(cells) == {
        (site, day)
        for site, days in asked.items()
        for day in days_from(days[0], (days[-1] - days[0]).days + 1)
    }
    assert {(site, day) for site, days in asked.items() for day in days} <= set(cells)
    for batch in batches:
        assert 1 <= len(batch.sites) <= sites_per_request
        assert batch.days == days_from(batch.days[0], len(batch.days))
        assert len(batch.days) <= DAYS_PER_REQUEST
