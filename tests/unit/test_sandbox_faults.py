"""Each fault comes when it is asked for, and as the remote API would show it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from sandbox import Fault, Sandbox, World
from sandbox.faults import (
    CELL_KINDS,
    DELIVERY_KINDS,
    GOOGLE_KINDS,
    HTTP_KINDS,
    KINDS,
    MATOMO_KINDS,
    ROW_KINDS,
    Faults,
)
from sandbox.messages import Call, Source
from sandbox.seed import rows
from sandbox.world import CLIENT_ID, CLIENT_SECRET, MATOMO_TOKEN

WORLD = World(sites=5, accounts=1, today=lambda: date(2026, 11, 20))
DAY = date(2026, 11, 10)
HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(WORLD) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


def send(
    sandbox: Sandbox, method: str, path: str, body: str = "", headers: dict[str, str] = HEADERS
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body, without a client's own ideas of redirects and retries."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=2)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def fetch(sandbox: Sandbox, source: Source) -> tuple[int, dict[str, str], bytes]:
    """One ordinary request at the source, for sites 1 and 2 or for site 1, two days."""
    if source == "matomo":
        fields = {
            "method": "VisitsSummary.getVisits",
            "format": "JSON",
            "idSite": "1,2",
            "period": "day",
            "date": "2026-11-10,2026-11-11",
            "token_auth": MATOMO_TOKEN,
        }
        return send(sandbox, "POST", "/matomo/index.php?module=API", urlencode(fields))
    if source == "visits":
        fields = {
            "method": "Live.getLastVisitsDetails",
            "format": "JSON",
            "idSite": "1",
            "period": "day",
            "date": "2026-11-10",
            "token_auth": MATOMO_TOKEN,
        }
        return send(sandbox, "POST", "/matomo/index.php?module=API", urlencode(fields))
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": WORLD.refresh_token(1),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    answer = send(sandbox, "POST", "/token", urlencode(fields))
    if source == "token":
        return answer
    headers = {"Authorization": f"Bearer {json.loads(answer[2])['access_token']}"}
    if source == "sites":
        return send(sandbox, "GET", "/webmasters/v3/sites", headers=headers)
    site_url = quote(str(WORLD.property_of(1)), safe="")
    body = {"startDate": "2026-11-10", "endDate": "2026-11-11", "dimensions": ["date"]}
    path = f"/webmasters/v3/sites/{site_url}/searchAnalytics/query"
    return send(sandbox, "POST", path, json.dumps(body), headers)


def fetch_with(sandbox: Sandbox, source: Source, kind: str, **more: Any) -> Any:
    sandbox.faults.replace([Fault(source, kind, **more)])
    return json.loads(fetch(sandbox, source)[2])


@pytest.mark.parametrize("source", sorted(KINDS.keys() - {"consent"}))  # a page for people
def test_every_http_fault_is_known_by_its_status(sandbox: Sandbox, source: Source) -> None:
    for kind in HTTP_KINDS:
        sandbox.faults.replace([Fault(source, kind, seconds=7)])
        status, headers, body = fetch(sandbox, source)
        word = kind.replace("http_", "").split("_")[0]
        assert status == (int(word) if word.isdecimal() else 302 if kind == "redirect" else 200)
        assert (headers.get("Retry-After") == "7") == (kind == "http_429")
        assert (body == b"") == (kind in {"empty_200", "redirect"})
        assert (b"<html>" in body) == (
            "html" in kind or (kind == "http_429" and source in {"matomo", "visits"})
        )


@pytest.mark.parametrize("source", ["sites", "query"])
def test_every_google_fault_is_an_error_of_its_own(sandbox: Sandbox, source: Source) -> None:
    errors = [fetch_with(sandbox, source, kind)["error"] for kind in GOOGLE_KINDS]
    assert len({json.dumps(error) for error in errors}) == len(GOOGLE_KINDS)
    without_list = [error for error in errors if "errors" not in error]
    assert [error["details"][0]["reason"] for error in without_list] == ["RATE_LIMIT_EXCEEDED"]


def test_every_token_fault_names_itself(sandbox: Sandbox) -> None:
    for kind in ("invalid_grant", "invalid_client", "server_error"):
        assert fetch_with(sandbox, "token", kind)["error"] == kind


def test_every_fault_of_matomo_is_a_message(sandbox: Sandbox) -> None:
    for kind in MATOMO_KINDS:
        answer = fetch_with(sandbox, "matomo", kind, cells=3)
        assert answer["result"] == "error"
    assert "result" not in fetch_with(sandbox, "matomo", "too_many_cells", cells=4)


def test_a_spoiled_number_leaves_the_others_alone(sandbox: Sandbox) -> None:
    sound = json.loads(fetch(sandbox, "matomo")[2])
    known = sound["1"]["2026-11-10"]
    expected: dict[str, object] = {
        "unarchived": 0,
        "null_cell": None,
        "string_cell": str(known),
        "float_cell": 2.5,
        "negative_cell": -1,
        "empty_array_cell": [],
    }
    for kind in CELL_KINDS:
        spoiled = fetch_with(sandbox, "matomo", kind, site=1, days=(DAY,))
        assert spoiled["2"] == sound["2"]
        if kind == "missing_site":
            assert "1" not in spoiled
        elif kind == "missing_day":
            assert list(spoiled["1"]) == ["2026-11-11"]
        else:
            assert spoiled["1"] == {**sound["1"], "2026-11-10": expected[kind]}


def test_a_spoiled_row_leaves_the_others_alone(sandbox: Sandbox) -> None:
    sound = json.loads(fetch(sandbox, "query")[2])["rows"]
    for kind in ROW_KINDS:
        spoiled = fetch_with(sandbox, "query", kind, days=(DAY,))["rows"]
        assert spoiled[1] == sound[1]
        assert (
            spoiled[0]
            == {
                "wrong_day": {**sound[0], "keys": ["2026-11-08"]},
                "two_keys": {**sound[0], "keys": ["2026-11-10", "example"]},
                "null_clicks": {**sound[0], "clicks": None},
                "missing_clicks": {key: sound[0][key] for key in sound[0] if key != "clicks"},
            }[kind]
        )


@pytest.mark.parametrize("kind", sorted(DELIVERY_KINDS - {"slow"}))
def test_a_fault_in_the_delivery_withholds_the_answer(sandbox: Sandbox, kind: str) -> None:
    errors = {
        "drop": http.client.RemoteDisconnected,
        "cut": http.client.IncompleteRead,
        "stall": http.client.IncompleteRead,
    }
    if kind == "drip":
        fast = fetch(sandbox, "matomo")
        sandbox.faults.add(Fault("matomo", kind, seconds=0.0001))
        assert fetch(sandbox, "matomo") == fast
        return
    sandbox.faults.add(Fault("matomo", kind, seconds=0.1))
    with pytest.raises(errors[kind]):
        fetch(sandbox, "matomo")


@pytest.mark.parametrize(
    ("fault", "met"),
    [
        (Fault("matomo", "drop", nth=3), [3]),
        (Fault("matomo", "drop", times=2), [1, 2]),
        (Fault("matomo", "drop", share=0.25), [4, 8, 12]),
        (Fault("matomo", "drop", site=2, nth=1), [1]),
        (Fault("matomo", "drop", site=9), []),
        (Fault("matomo", "drop", days=(DAY,), nth=12), [12]),
        (Fault("matomo", "drop", days=(date(2026, 1, 1),)), []),
        (Fault("token", "drop"), []),
    ],
)
def test_a_fault_meets_the_requests_it_is_meant_for(fault: Fault, met: list[int]) -> None:
    faults = Faults()
    faults.add(fault)
    call = Call("matomo", (1, 2), None, (DAY, DAY))
    assert [count for count in range(1, 13) if faults.meeting(call)] == met


def test_a_misspelt_fault_is_refused() -> None:
    for value in (
        {"source": "matomo", "kind": "quota_exceeded_qps"},
        {"source": "matomo"},
        {"source": "query", "kind": "drop", "sites": 1},
    ):
        with pytest.raises(ValueError, match="fault"):
            Fault.from_json(value)


def test_the_numbers_vary_by_site_and_weekday_with_few_zero_days() -> None:
    world = World(sites=60)
    days = [date.fromordinal(DAY.toordinal() - ago) for ago in range(350)]
    for number in (world.visits, world.impressions):
        values = [number(site, day) for site in world.site_numbers for day in days]
        assert 0.025 < values.count(0) / len(values) < 0.035
    weekends = sum(world.visits(1, day) for day in days if day.weekday() >= 5)
    assert weekends / sum(world.visits(1, day) for day in days) < 2 / 7 * 0.8
    assert all(0 <= world.clicks(1, day) <= world.impressions(1, day) for day in days)


def test_the_seed_gives_each_site_its_account_and_number() -> None:
    accounts, sites = rows(World(sites=7, accounts=3))
    assert (accounts, sites) == rows(World(sites=7, accounts=3))
    assert [site["matomo_site_id"] for site in sites] == [1, 2, 3, 4, 5, 6, 7]
    assert sites[4]["gsc_account_id"] == accounts[1]["id"]
    assert accounts[1]["oauth_refresh_token"] == "sandbox-refresh-token-2"
