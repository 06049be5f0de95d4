"""The Search Console half of the nightly run: what one failure costs, account by account."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

import jobs.sources
from config import Settings
from fetchers.gsc import Clicks
from jobs.daily_gsc import SearchConsoleResult, fetch_search_console
from jobs.daily_plan import make_plan
from jobs.progress import Bars, silent
from models import GscAccount, Site, Window
from tests.unit.google import Reply, error_body
from tests.unit.google_accounts import Google
from tests.unit.helpers import InstantStop, days_from, make_http

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TODAY = date(2026, 11, 20)
DAYS = days_from(date(2026, 11, 15), 4)
WINDOW = Window(DAYS[0], DAYS[-1])
ACCOUNTS = [GscAccount(name, f"token-of-{name}") for name in ("g1", "g2", "g3")]
SITES = [
    Site(f"{account.id}-s{n}", f"s{n}.test", None, account.id)
    for account in ACCOUNTS
    for n in range(4)
]
BOUNDARY = DAYS[2]


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    fake = Google()
    monkeypatch.setattr(jobs.sources, "get_google_client", fake.open)
    return fake  # type: ignore[return-value]


def fetch(
    sites: list[Site] | None = None,
    accounts: list[GscAccount] | None = None,
    window: Window = WINDOW,
    *,
    stop: InstantStop | None = None,
    concurrency: int = 16,
) -> SearchConsoleResult:
    plan = make_plan(
        SITES if sites is None else sites, ACCOUNTS if accounts is None else accounts, window
    )
    settings = Settings(google_client_id="i", google_client_secret="s", concurrency=concurrency)
    return fetch_search_console(plan, settings, make_http(stop, attempts=2), NOW, Bars(silent))


def test_each_site_gets_its_values_zeros_and_waiting_days(google: Google) -> None:
    result = fetch()
    assert result.failures == []
    assert result.sites == len(SITES)
    assert result.numbers == {
        site.id: {DAYS[0]: Clicks(3, 30), DAYS[1]: Clicks(0, 0)} for site in SITES
    }
    assert result.waiting == {site.id: list(DAYS[2:]) for site in SITES}


def test_an_account_is_opened_once_and_a_property_asked_once(google: Google) -> None:
    fetch()
    assert google.accounts.keys() == {"g1", "g2", "g3"}
    for account in google.accounts.values():
        assert len(account.token_calls) == 1
        assert sorted(account.asked) == [f"sc-domain:s{n}.test" for n in range(4)]


def test_sites_of_one_property_share_its_request(google: Google) -> None:
    twin = Site("twin", "other.test", None, "g1", "sc-domain:s0.test")
    result = fetch([SITES[0], twin])
    assert google.queries == 1
    assert result.numbers["twin"] == result.numbers["g1-s0"] != {}


def test_a_dead_account_is_one_failure_and_its_sites_are_not_tried(google: Google) -> None:
    google.tokens["g2"] = [(400, {"error": "invalid_grant", "error_description": "revoked"})]
    result = fetch()
    [failure] = result.failures
    assert (failure.kind, failure.account) == ("credentials", "g2")
    assert failure.sites == tuple(f"g2-s{n}" for n in range(4))
    assert failure.days == DAYS
    assert google.accounts["g2"].asked == []
    assert result.sites == 8


def test_a_wrong_client_of_ours_is_no_accounts_failure(google: Google) -> None:
    google.tokens = {name: [(401, {"error": "invalid_client"})] for name in ("g1", "g2", "g3")}
    result = fetch()
    assert {(f.kind, f.account, f.message) for f in result.failures} == {
        ("settings", None, "Google does not accept our OAuth client (invalid_client)")
    }
    assert {site for f in result.failures for site in f.sites} == {site.id for site in SITES}
    assert google.queries == 0


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((403, error_body("load quota exceeded", "quotaExceeded")), "temporary"),
        ((403, error_body("no sufficient permission for site", "forbidden")), "permission"),
        ((400, error_body("bad", "badRequest")), "unexpected answer"),
        ((500, "x"), "temporary"),
        (TimeoutError(), "temporary"),
        ((200, {"rows": [{"keys": ["2020-01-01"]}]}), "unexpected answer"),
    ],
    ids=repr,
)
def test_what_concerns_one_property_costs_no_other(google: Google, reply: Reply, kind: str) -> None:
    google.rule = lambda account, url: (
        reply if (account, url) == ("g1", "sc-domain:s2.test") else None
    )
    result = fetch()
    [failure] = result.failures
    assert (failure.kind, failure.sites, failure.days) == (kind, ("g1-s2",), DAYS)
    assert result.sites == len(SITES) - 1
    assert "g1-s2" not in result.numbers


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((403, error_body("Daily Limit Exceeded", "dailyLimitExceeded")), "temporary"),
        ((403, error_body("API has not been used", "accessNotConfigured")), "permission"),
        (
            (403, error_body("insufficient scopes", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")),
            "credentials",
        ),
        ((401, error_body("Invalid Credentials", "authError")), "credentials"),
    ],
    ids=repr,
)
def test_what_ends_an_account_is_not_asked_again_and_costs_no_other_account(
    google: Google, reply: Reply, kind: str
) -> None:
    sites = [Site(f"s{n}", f"s{n % 4}.test", None, "g1", None) for n in range(4)] + SITES[4:]
    google.rule = lambda account, url: reply if account == "g1" and url != "list" else None
    result = fetch(sites, concurrency=1)
    assert {f.kind for f in result.failures} == {kind}
    assert {f.account for f in result.failures} == {"g1"}
    assert {site for f in result.failures for site in f.sites} == {f"s{n}" for n in range(4)}
    assert len(google.accounts["g1"].asked) <= 2
    assert result.sites == 8


def test_a_list_of_properties_that_fails_fails_its_account(google: Google) -> None:
    google.rule = lambda account, url: (503, "x") if (account, url) == ("g3", "list") else None
    [failure] = fetch().failures
    assert (failure.kind, failure.account, len(failure.sites)) == ("temporary", "g3", 4)


def test_a_site_without_property_is_a_failure_of_its_own(google: Google) -> None:
    result = fetch([*SITES, Site("x", "unknown.test", None, "g1"), Site("y", "a b", None, "g1")])
    assert {(f.kind, f.sites) for f in result.failures} == {
        ("permission", ("x",)),
        ("settings", ("y",)),
    }
    assert {f.account for f in result.failures} == {"g1"}
    assert result.sites == len(SITES)


@pytest.mark.parametrize(
    ("token", "said"), [(None, "is not in gsc_accounts"), ("", "no refresh token")]
)
def test_an_account_without_token_is_not_opened(
    google: Google, token: str | None, said: str
) -> None:
    accounts = [*ACCOUNTS[:2], *([] if token is None else [GscAccount("g3", token)])]
    [failure] = fetch(accounts=accounts).failures
    assert said in failure.message
    assert failure.account == "g3"
    assert google.accounts.keys() == {"g1", "g2"}


def test_days_older_than_16_months_are_refused_and_the_others_fetched(google: Google) -> None:
    oldest = TODAY - timedelta(days=486)
    result = fetch(SITES[:1], window=Window(oldest - timedelta(days=2), oldest + timedelta(days=1)))
    [failure] = result.failures
    assert (failure.kind, failure.account) == ("settings", None)
    assert failure.days == (oldest - timedelta(days=2), oldest - timedelta(days=1))
    assert result.numbers["g1-s0"].keys() == {oldest, oldest + timedelta(days=1)}


def test_days_that_are_all_too_old_open_no_account(google: Google) -> None:
    fetch(window=Window(date(2024, 1, 1), date(2024, 1, 2)))
    assert google.accounts == {}


def test_a_stop_leaves_the_unasked_sites_as_interrupted(google: Google) -> None:
    stop = InstantStop()

    def rule(_account: str, url: str) -> Reply | None:
        if url != "list":
            stop.request(signal.SIGTERM)
        return None

    google.rule = rule
    result = fetch(stop=stop, concurrency=1)
    failed = {site for f in result.failures for site in f.sites}
    assert failed | result.numbers.keys() == {site.id for site in SITES}
    assert not failed & result.numbers.keys()
    assert {f.kind for f in result.failures} == {"interrupted"}
    assert google.queries == 1


def test_every_cell_is_known_waiting_or_failed_and_never_two_of_them(google: Google) -> None:
    google.tokens["g2"] = [(400, {"error": "invalid_grant"})]
    google.rule = lambda _account, url: (500, "x") if url.endswith("s1.test") else None
    result = fetch()
    cells = [
        *((site, day) for site, days in result.numbers.items() for day in days),
        *((site, day) for site, days in result.waiting.items() for day in days),
        *((site, day) for f in result.failures for site in f.sites for day in f.days),
    ]
    assert sorted(cells, key=str) == sorted(((s.id, d) for s in SITES for d in DAYS), key=str)
