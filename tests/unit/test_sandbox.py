"""The sandbox answers as the recorded Matomo 5.0.2 and as facts/gsc.md says of Search Console."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from sandbox import Fault, Sandbox, World
from sandbox.world import CLIENT_ID, CLIENT_SECRET, MATOMO_TOKEN

RESPONSES = Path(__file__).parents[1] / "responses" / "matomo"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TODAY = date(2026, 11, 20)
# The sites and rights of the recorded viewer.
WORLD = World(
    sites=15,
    accounts=2,
    matomo_hidden=frozenset({6, 7, 8, 9, 10, 11, 15}),
    unverified=frozenset({3}),
    parent_only=frozenset({4}),
    no_property=frozenset({5}),
    without_boundary=frozenset({7}),
    today=lambda: TODAY,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(WORLD) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    shared.latency_seconds = 0.0
    return shared


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    """Google's own client with the refresh token of account 1."""
    credentials = Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=WORLD.refresh_token(1),
        token_uri=sandbox.token_url,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
    )
    options = {"api_endpoint": sandbox.google_url}
    with build("searchconsole", "v1", credentials=credentials, client_options=options) as built:
        yield built


def recorded(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((RESPONSES / f"{name}.json").read_text())
    return loaded


def replay(sandbox: Sandbox, request: dict[str, str]) -> requests.Response:
    """Sends a recorded request; where the recording asked for all metrics, for visits."""

    def adapted(text: str) -> str:
        text = text.replace("VisitsSummary.get&", "VisitsSummary.getVisits&")
        for owner in ("SUPERUSER", "VIEWER"):
            text = text.replace(f"${owner}_TOKEN", MATOMO_TOKEN)
        return text

    url = sandbox.matomo_url.rstrip("/") + adapted(request["path"])
    body = adapted(request.get("body", ""))
    return requests.request(
        request["method"], url, data=body, headers=FORM, timeout=5, allow_redirects=False
    )


def shape(value: Any) -> Any:
    """Keys and messages as they are; of numbers the type only."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return type(value) if isinstance(value, int) else value


def assert_like_recorded(response: requests.Response, expected: dict[str, Any]) -> None:
    assert response.status_code == expected["status"]
    assert response.headers["Content-Type"] == expected["headers"]["Content-Type"]
    if "json" in expected:
        assert shape(response.json()) == shape(expected["json"])
    elif "<html>" in expected["text"]:
        heading = expected["text"].split("<h2>")[-1].split("</h2>")[0]
        title = expected["text"].split("<title>")[1].split("</title>")[0]
        assert title in response.text
        assert heading in response.text or heading == expected["text"]
    else:
        assert response.text == expected["text"]


@pytest.mark.parametrize(
    "name",
    [
        "vs_getVisits_many_range",
        "vs_getVisits_many",
        "vs_getVisits_one_range",
        "vs_getVisits_one",
        "auth_version_wrong_token_post",
        "auth_version_wrong_token_get",
        "auth_version_none",
        "vs_post_params_in_query_wrong_token_body",
        "vs_mix_noaccess_range",
        "sites_viewids",
        "err_format_missing",
        "err_format_invalid",
        "err_unknown_method",
        "err_bad_date",
    ],
)
def test_an_answer_has_the_recorded_shape(sandbox: Sandbox, name: str) -> None:
    expected = recorded(name)
    assert_like_recorded(replay(sandbox, expected["request"]), expected)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("blocked_ip_good_token_get", "login_blocked"),
        ("down_db_get", "database_down"),
        ("blocked_ip_good_token_post", "login_blocked"),
        ("down_db_post", "database_down"),
        ("login_allowlist_post", "ip_not_allowed"),
        ("down_maintenance_post", "http_503_html"),
        ("force_ssl_post", "redirect"),
    ],
)
def test_a_fault_of_matomo_has_the_recorded_shape(sandbox: Sandbox, name: str, kind: str) -> None:
    sandbox.faults.add(Fault("matomo", kind))
    expected = recorded(name)
    assert_like_recorded(replay(sandbox, expected["request"]), expected)


def matomo(sandbox: Sandbox, method: str, token: str = MATOMO_TOKEN, **more: str) -> Any:
    fields = {"method": method, "format": "JSON", "token_auth": token, **more}
    url = f"{sandbox.matomo_url}index.php?module=API"
    return requests.post(url, data=fields, timeout=5).json()


def visits(sandbox: Sandbox, sites: str, days: str) -> Any:
    return matomo(sandbox, "VisitsSummary.getVisits", idSite=sites, period="day", date=days)


def test_the_visits_are_those_of_the_world_and_zero_in_days_to_come(sandbox: Sandbox) -> None:
    answer = visits(sandbox, "1,2", "2026-11-19,2026-11-21")
    for site in (1, 2):
        days = [date(2026, 11, 19), date(2026, 11, 20)]
        expected = {str(day): WORLD.visits(site, day) for day in days}
        assert answer[str(site)] == {**expected, "2026-11-21": 0}


def test_site_ids_are_cut_at_100_without_a_word() -> None:
    with Sandbox(World(sites=125)) as sandbox:
        method = "SitesManager.getSitesIdWithAtLeastViewAccess"
        assert matomo(sandbox, method) == list(range(1, 101))
        assert matomo(sandbox, method, filter_limit="-1") == list(range(1, 126))
        assert matomo(sandbox, method, token="") == []


def test_form_fields_beyond_1000_are_not_read(sandbox: Sandbox) -> None:
    fields = [
        ("module", "API"),
        *[(f"x{number}", "1") for number in range(999)],
        ("format", "JSON"),
        ("method", "API.getMatomoVersion"),
    ]
    response = requests.post(sandbox.matomo_url, data=fields, timeout=5)
    assert response.headers["Content-Type"].startswith("text/xml")


def test_21_wrong_tokens_lock_the_right_one_out_until_unblocked(sandbox: Sandbox) -> None:
    for _ in range(21):
        assert "provided token" in matomo(sandbox, "API.getMatomoVersion", "wrong")["message"]
    assert "Too many failed logins" in matomo(sandbox, "API.getMatomoVersion")["message"]
    sandbox.unblock()
    assert matomo(sandbox, "API.getMatomoVersion") == {"value": "5.0.2"}


def ask(client: Any, site: int, state: str = "all", days: int = 6) -> dict[str, Any]:
    body = {
        "startDate": str(TODAY - timedelta(days=days)),
        "endDate": str(TODAY),
        "dimensions": ["date"],
        "dataState": state,
    }
    query = client.searchanalytics().query(siteUrl=WORLD.property_of(site), body=body)
    answer: dict[str, Any] = query.execute()
    return answer


def test_googles_client_lists_the_properties_of_an_account(client: Any) -> None:
    entries = client.sites().list().execute()["siteEntry"]
    listed = {entry["siteUrl"]: entry["permissionLevel"] for entry in entries}
    assert listed == dict(WORLD.properties_of(1))
    assert listed["https://www.site-0003.example/"] == "siteUnverifiedUser"
    assert not [site_url for site_url in listed if "site-0005" in site_url]
    assert WORLD.property_of(4) == "sc-domain:site-0004.example"
    assert WORLD.domain(4) == "blog.site-0004.example"


def test_googles_client_meets_the_four_states_of_a_day(sandbox: Sandbox, client: Any) -> None:
    silent = TODAY - timedelta(days=4)
    sandbox.set_number("clicks", 1, silent, 0)
    sandbox.set_number("impressions", 1, silent, 0)
    answer = ask(client, 1)
    found = {date.fromisoformat(row["keys"][0]): row for row in answer["rows"]}
    assert answer["metadata"] == {"firstIncompleteDate": "2026-11-18"}
    assert silent not in found
    assert WORLD.search_state(silent) == "final"
    assert TODAY not in found
    assert WORLD.search_state(TODAY) == "unpublished"
    for day_ago, state in ((5, "final"), (2, "provisional"), (1, "provisional")):
        day = TODAY - timedelta(days=day_ago)
        assert WORLD.search_state(day) == state
        assert found[day]["clicks"] == WORLD.clicks(1, day)
        assert found[day]["impressions"] == WORLD.impressions(1, day)


def test_final_data_leave_the_incomplete_days_out(client: Any) -> None:
    answer = ask(client, 1, state="final")
    assert max(row["keys"][0] for row in answer["rows"]) < "2026-11-18"
    assert "metadata" not in answer
    assert "metadata" not in ask(client, 7)


def test_no_data_at_all_is_an_answer_without_rows(client: Any) -> None:
    assert ask(client, 1, state="final", days=0) == {"responseAggregationType": "byProperty"}


def query(sandbox: Sandbox, site_url: str, token: str | None = None) -> requests.Response:
    if token is None:
        fields = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "grant_type": "refresh_token",
            "refresh_token": WORLD.refresh_token(1),
        }
        token = requests.post(sandbox.token_url, data=fields, timeout=5).json()["access_token"]
    url = f"{sandbox.google_url}/webmasters/v3/sites/{site_url}/searchAnalytics/query"
    body = {"startDate": "2026-11-10", "endDate": "2026-11-12", "dimensions": ["date"]}
    return requests.post(url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=5)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("site-0001.example", "http://site-0001.example/"),
        ("https%3A%2F%2Fwww.site-0003.example%2F", "https://www.site-0003.example/"),
        ("https%3A%2F%2Fsite-0002.example%2F", "https://site-0002.example/"),
    ],
)
def test_a_bare_unverified_or_foreign_property_is_forbidden(
    sandbox: Sandbox, asked: str, named: str
) -> None:
    response = query(sandbox, asked)
    error = response.json()["error"]
    assert response.status_code == 403
    assert error["errors"][0]["reason"] == "forbidden"
    assert f"sufficient permission for site '{named}'. See also:" in error["message"]


def test_an_unknown_access_token_is_refused(sandbox: Sandbox) -> None:
    response = query(sandbox, "sc-domain%3Asite-0001.example", "made-up")
    assert response.status_code == 401
    assert response.json()["error"]["errors"][0]["reason"] == "authError"


def test_the_records_tell_sites_days_status_and_requests_in_flight(sandbox: Sandbox) -> None:
    sandbox.latency_seconds = 0.2
    threads = [
        threading.Thread(target=visits, args=(sandbox, f"{site},1", "2026-11-01,2026-11-03"))
        for site in (2, 3, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = sandbox.requests()[0]
    assert (record.source, record.status, record.path) == ("matomo", 200, "/matomo/index.php")
    assert record.days == (date(2026, 11, 1), date(2026, 11, 3))
    assert sorted(each.sites for each in sandbox.requests()) == [(1, 2), (1, 3), (1, 4)]
    assert sandbox.records.most_in_flight() == {"matomo": 3, "total": 3}


def test_another_process_drives_the_sandbox_over_http(sandbox: Sandbox) -> None:
    def control(name: str, value: Any) -> int:
        return requests.post(f"{sandbox.url}/sandbox/{name}", json=value, timeout=5).status_code

    day = "2026-11-06"
    assert control("faults", [{"source": "matomo", "kind": "result_error", "times": 1}]) == 200
    number = {"metric": "visits", "site": 1, "day": day, "value": 4711}
    assert control("numbers", [number]) == 200
    assert visits(sandbox, "1", day)["result"] == "error"
    assert visits(sandbox, "1", day) == {"value": 4711}
    summary = requests.get(f"{sandbox.url}/sandbox/requests", timeout=5).json()
    assert summary["by_site"]["matomo"] == {"1": 2}
    assert control("faults", [{"source": "matomo", "kind": "no such kind"}]) == 400
    assert control("reset", None) == 200
    assert visits(sandbox, "1", day) == {"value": WORLD.visits(1, date(2026, 11, 6))}


def test_the_end_of_the_sandbox_closes_kept_connections() -> None:
    with Sandbox(WORLD) as sandbox, requests.Session() as session:
        session.get(f"{sandbox.url}/sandbox/requests", timeout=5)
        sandbox.faults.add(Fault("matomo", "stall"))
        waiting = threading.Thread(target=assert_cut_off, args=(sandbox,))
        waiting.start()
        while waiting.is_alive() and not sandbox.requests():
            time.sleep(0.01)
    waiting.join(timeout=2)
    assert not waiting.is_alive()


def assert_cut_off(sandbox: Sandbox) -> None:
    with pytest.raises(requests.RequestException):
        visits(sandbox, "1", "2026-11-06")
