"""Tokens, hosts, versions and queries: what the social stand-ins take, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import pytest
import requests
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from sandbox import Sandbox, SocialWorld, World
from sandbox.social_world import LINKEDIN_CLIENT_ID, LINKEDIN_CLIENT_SECRET
from sandbox.world import CLIENT_ID, CLIENT_SECRET
from tests.unit.social_sandbox import (
    BASES,
    DAY,
    ONE_DAY,
    SOCIAL,
    USUAL,
    ask,
    documented,
    insights,
    shape,
    statistics,
    totals,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(World(sites=3, accounts=1), social=SOCIAL) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


def test_a_page_is_read_with_its_own_token_alone(sandbox: Sandbox) -> None:
    response = ask(sandbox, "facebook", f"/v25.0/{SOCIAL.account_id(2)}?fields=access_token")
    page_token = response.json()["access_token"]
    assert page_token == SOCIAL.page_token(2)
    path = USUAL["facebook"]
    assert ask(sandbox, "facebook", path, page_token).status_code == 200
    for token, code in (
        (SOCIAL.page_token(6), 100),
        (SOCIAL.access_token(1), 190),
        (SOCIAL.access_token(3), 190),
        ("example", 190),
    ):
        error = ask(sandbox, "facebook", path, token).json()["error"]
        assert error["code"] == code


def test_each_login_of_instagram_has_its_own_host(sandbox: Sandbox) -> None:
    assert [SOCIAL.login_of(n) for n in (1, 5)] == ["instagram", "facebook"]
    for number, good, bad in ((1, "instagram", "facebook"), (5, "facebook", "instagram")):
        headers = {"Authorization": f"Bearer {SOCIAL.access_token(number)}"}
        path = insights("instagram", "reach", number=number)
        for host, status in ((good, 200), (bad, 400)):
            url = f"{sandbox.url}{BASES[host]}{path}"
            assert requests.get(url, headers=headers, timeout=5).status_code == status
    assert {(r.source, r.account) for r in sandbox.requests()} == {
        ("instagram", 1),
        ("instagram", 5),
    }


def test_an_old_version_is_served_by_the_oldest_one_there_is(sandbox: Sandbox) -> None:
    for version, served, has_views in (
        ("v18.0", "v21.0", False),
        ("v21.0", "v21.0", False),
        ("v22.0", "v22.0", True),
        ("v26.0", "v26.0", True),
    ):
        response = ask(sandbox, "instagram", totals("views", version=version))
        assert response.headers["facebook-api-version"] == served
        assert (response.status_code == 200) == has_views
    page = insights("facebook", "page_media_view", version="v23.0")
    assert ask(sandbox, "facebook", page).status_code == 400
    assert ask(sandbox, "instagram", totals("views", version="v99.0")).json()["error"]["code"] == (
        2500
    )


def test_a_followed_paging_link_and_a_token_in_a_url_are_noted(sandbox: Sandbox) -> None:
    answer = ask(sandbox, "instagram", USUAL["instagram"]).json()
    assert sandbox.social.leaks == []
    for link in (answer["paging"]["next"], answer["paging"]["previous"]):
        assert SOCIAL.access_token(1) in link
        assert requests.get(link, timeout=5).status_code == 400
    trap = f"/graph.instagram/paging-trap/v25.0/{SOCIAL.account_id(1)}/insights"
    assert urlsplit(answer["paging"]["next"]).path == trap
    assert sandbox.social.trapped == [trap, trap]
    assert sandbox.social.leaks == [f"GET {trap}"] * 2
    summary = requests.get(f"{sandbox.url}/sandbox/requests", timeout=5).json()
    assert (len(summary["leaks"]), len(summary["trapped"])) == (2, 2)
    assert summary["by_account"]["instagram"] == {"1": 3}


def test_an_instagram_token_is_exchanged_for_a_new_one(sandbox: Sandbox) -> None:
    path = "/refresh_access_token?grant_type=ig_refresh_token"
    token = ask(sandbox, "instagram", path).json()["access_token"]
    assert token != SOCIAL.access_token(1)
    assert ask(sandbox, "instagram", USUAL["instagram"], token).status_code == 200
    sandbox.social.tokens.revoke(SOCIAL.access_token(1))
    assert ask(sandbox, "instagram", path).json()["error"]["code"] == 190


def test_googles_client_reads_the_reports_of_a_channel(sandbox: Sandbox) -> None:
    credentials = Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=SOCIAL.refresh_token(3),
        token_uri=sandbox.token_url,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
    )
    options = {"api_endpoint": sandbox.environment()["YOUTUBE_API_ENDPOINT"]}
    with build("youtubeAnalytics", "v2", credentials=credentials, client_options=options) as client:
        answer = client.reports().query(
            ids=f"channel=={SOCIAL.account_id(3)}",
            startDate=str(DAY),
            endDate=str(DAY),
            metrics="views",
            dimensions="day",
        )
        rows = answer.execute()["rows"]
    assert rows == [[str(DAY), sandbox.social.numbers.get(3, "views", DAY)]]
    assert [(r.source, r.account) for r in sandbox.requests()] == [("token", 3), ("youtube", 3)]
    headers = {"Authorization": f"Bearer {credentials.token}"}
    url = f"{sandbox.url}/webmasters/v3/sites"
    assert requests.get(url, headers=headers, timeout=5).status_code == 401


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (statistics(), {}, 200),
        (statistics().replace("(", "%28").replace(")", "%29"), {}, 400),
        (statistics().replace("%3A", ":"), {}, 400),
        (statistics(), {"X-Restli-Protocol-Version": "1.0.0"}, 400),
        (statistics(), {"LinkedIn-Version": ""}, 400),
        (statistics(), {"LinkedIn-Version": "202511"}, 426),
        (statistics(), {"LinkedIn-Version": "202512"}, 200),
        (statistics(), {"LinkedIn-Version": "202612"}, 426),
        (statistics(last=date(2026, 11, 17)), {}, 200),
        (statistics(last=date(2026, 11, 18)), {}, 400),
        (statistics(first=date(2025, 11, 21)), {}, 200),
        (statistics(first=date(2025, 11, 20)), {}, 400),
        (statistics().replace(SOCIAL.account_id(4), SOCIAL.account_id(8)), {}, 403),
        (statistics("organizationBrandStatistics"), {}, 404),
        (statistics("organizationPageStatistics"), {}, 400),
        (statistics("organizationPageStatistics", finder="organization"), {}, 200),
    ],
)
def test_linkedin_takes_only_what_its_rules_allow(
    sandbox: Sandbox, path: str, headers: dict[str, str], status: int
) -> None:
    assert ask(sandbox, "linkedin", path, headers=headers).status_code == status


def test_a_version_of_linkedin_ends_on_its_day() -> None:
    clock = datetime(2026, 11, 15, 23, 59, tzinfo=UTC)
    world = SocialWorld(connections=4, now=lambda: clock)
    with Sandbox(World(sites=1, accounts=1), social=world) as sandbox:
        path, headers = statistics(), {"LinkedIn-Version": "202511"}
        assert ask(sandbox, "linkedin", path, headers=headers).status_code == 400  # too new a day
        path = statistics(first=DAY - 7 * ONE_DAY, last=DAY - 7 * ONE_DAY)
        assert ask(sandbox, "linkedin", path, headers=headers).status_code == 200
        clock = datetime(2026, 11, 16, tzinfo=UTC)
        assert ask(sandbox, "linkedin", path, headers=headers).status_code == 426


def test_linkedin_counts_whole_utc_days(sandbox: Sandbox) -> None:
    elements = ask(sandbox, "linkedin", statistics(last=DAY + ONE_DAY)).json()["elements"]
    starts = [element["timeRange"]["start"] / 1000 for element in elements]
    assert [datetime.fromtimestamp(start, UTC).isoformat() for start in starts] == [
        "2026-11-16T00:00:00+00:00",
        "2026-11-17T00:00:00+00:00",
    ]


def test_a_linkedin_refresh_token_gives_a_new_access_token(sandbox: Sandbox) -> None:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": SOCIAL.refresh_token(4),
        "client_id": LINKEDIN_CLIENT_ID,
        "client_secret": LINKEDIN_CLIENT_SECRET,
    }
    url = sandbox.environment()["LINKEDIN_TOKEN_URI"]
    answer = requests.post(url, data=form, timeout=5).json()
    assert shape(answer) == shape(documented("linkedin_token")["json"])
    assert ask(sandbox, "linkedin", USUAL["linkedin"], answer["access_token"]).status_code == 200
    form["refresh_token"] = SOCIAL.refresh_token(3)  # of YouTube
    assert requests.post(url, data=form, timeout=5).json()["error"] == "invalid_grant"
    form |= {"refresh_token": SOCIAL.refresh_token(4), "client_id": CLIENT_ID}
    assert requests.post(url, data=form, timeout=5).json()["error"] == "invalid_client"
    google = {**form, "client_secret": CLIENT_SECRET}
    refused = requests.post(sandbox.token_url, data=google, timeout=5).json()
    assert refused["error"] == "invalid_grant"
    google["refresh_token"] = SOCIAL.refresh_token(3)
    answer = requests.post(sandbox.token_url, data=google, timeout=5).json()
    assert shape(answer) == shape(documented("youtube_token")["json"])
