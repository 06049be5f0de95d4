"""Doctor's look at Search Console: consents, properties, and each site's choice."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

import jobs.sources
from config import Settings
from fetchers.http import Http
from jobs.doctor_google import check_google
from jobs.findings import FAIL, OK, Finding
from models import GscAccount, Site
from stopping import Stop
from tests.unit.examinations import SETTINGS, examination, in_short, troubles
from tests.unit.google import Reply, error_body
from tests.unit.google_accounts import Google
from tests.unit.helpers import fernet_key, make_http

ACCOUNTS = [GscAccount(name, f"token-of-{name}") for name in ("g1", "g2")]
SITES = [Site(f"{a.id}-s{n}", f"s{n}.test", None, a.id) for a in ACCOUNTS for n in range(4)]
OF_G1, OF_G2 = (tuple(f"{name}-s{n}" for n in range(4)) for name in ("g1", "g2"))
INVALID_GRANT: Reply = (400, {"error": "invalid_grant", "error_description": "revoked"})
INVALID_CLIENT: Reply = (401, {"error": "invalid_client", "error_description": "Unauthorized"})


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Google:
    fake = Google()
    monkeypatch.setattr(jobs.sources, "get_google_client", fake.open)
    return fake


def check(
    sites: list[Site] | None = None,
    accounts: list[GscAccount] | None = None,
    *,
    settings: Settings = SETTINGS,
    http: Http | None = None,
) -> list[Finding]:
    return list(
        check_google(
            examination(
                sites=SITES if sites is None else sites,
                accounts=ACCOUNTS if accounts is None else accounts,
                settings=settings,
                http=http,
            )
        )
    )


def test_accounts_that_are_well_and_each_sites_choice(google: Google) -> None:
    found = check()
    assert [(f.status, f.message, f.account) for f in found if not f.detail] == [
        (OK, "consent is alive, 4 properties, 4 of 4 sites covered", "g1"),
        (OK, "consent is alive, 4 properties, 4 of 4 sites covered", "g2"),
    ]
    assert [(f.message, f.sites, f.account) for f in found if f.detail] == [
        (
            f"sc-domain:{site.domain} (the domain property of the host comes first)",
            (site.id,),
            site.gsc_account_id,
        )
        for site in SITES
    ]
    assert google.queries == 0


def listing(*urls: str, level: str = "siteOwner") -> Reply:
    return 200, {"siteEntry": [{"siteUrl": url, "permissionLevel": level} for url in urls]}


@pytest.mark.parametrize(
    ("listed", "override", "status", "words"),
    [
        (listing("https://s0.test/"), None, OK, "https://s0.test/ (the account lists none that"),
        (listing("http://www.s0.test/"), None, OK, "http://www.s0.test/ (the account lists none"),
        (listing("https://s0.test/", "sc-domain:s0.test"), None, OK, "sc-domain:s0.test (the dom"),
        (
            listing("https://s0.test/", "sc-domain:s0.test"), "https://s0.test/", OK,
            "https://s0.test/ (named in sites.gsc_property)",
        ),
        (listing("https://s0.test/"), "https://S0.test", FAIL, "is not among the account's"),
        (listing("sc-domain:else.test"), None, FAIL, "it sees sc-domain:else.test"),
        (listing("sc-domain:test"), None, FAIL, "which holds the parent domain's numbers"),
        (
            listing("sc-domain:s0.test", level="siteUnverifiedUser"), None, FAIL,
            "not verified for sc-domain:s0.test",
        ),
        ((200, {}), None, FAIL, "it sees none"),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_chosen_for_a_site_and_why(
    listed: Reply, override: str | None, status: str, words: str, google: Google
) -> None:
    google.rule = lambda _account, _url: listed
    _, choice = check([Site("s", "s0.test", None, "g1", override)])
    assert choice.status == status
    assert words in choice.message
    assert (choice.sites, choice.account) == (("s",), "g1")
    assert bool(choice.mend) == (status == FAIL)


def test_an_account_without_properties_covers_no_site(google: Google) -> None:
    google.rule = lambda account, _url: (200, {}) if account == "g1" else None
    found = check()
    assert found[0].message == "consent is alive, 0 properties, 0 of 4 sites covered"
    assert {site for f in troubles(found) for site in f.sites} == set(OF_G1)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "account g1 has no refresh token"),
        ("gAAAAA-of-another-key", "ENCRYPTION_KEY is not set"),
    ],
)
def test_a_token_that_cannot_be_used_costs_its_own_sites(
    token: str, words: str, google: Google
) -> None:
    [trouble] = troubles(check(accounts=[GscAccount("g1", token), ACCOUNTS[1]]))
    assert words in trouble.message
    assert (trouble.status, trouble.sites) == (FAIL, OF_G1)
    assert "g1" not in google.accounts


def test_a_token_under_another_key_is_named_and_never_shown(google: Google) -> None:
    stored = Fernet(fernet_key(3)).encrypt(b"1//sentinel-token").decode()
    settings = replace(SETTINGS, encryption_keys=(fernet_key(1), fernet_key(2)))
    accounts = [GscAccount("g1", stored), ACCOUNTS[1]]
    [trouble] = troubles(check(accounts=accounts, settings=settings))
    assert "cannot be decrypted" in trouble.message
    assert stored not in f"{trouble}"
    settings = replace(settings, encryption_keys=(*settings.encryption_keys, fernet_key(3)))
    plain = Fernet(fernet_key(3)).encrypt(b"token-of-g1").decode()
    assert troubles(check(accounts=[GscAccount("g1", plain), ACCOUNTS[1]], settings=settings)) == []


def test_an_account_that_no_row_holds_is_named(google: Google) -> None:
    [trouble] = troubles(check(accounts=ACCOUNTS[1:]))
    assert "account g1 is not in gsc_accounts" in trouble.message


def test_a_dead_consent_costs_its_own_sites_and_one_request(google: Google) -> None:
    google.tokens["g1"] = [INVALID_GRANT]
    [trouble] = troubles(check())
    assert (trouble.status, trouble.sites, trouble.account) == (FAIL, OF_G1, "g1")
    assert "consent" in trouble.mend
    assert len(google.accounts["g1"].token_calls) == 1


def test_a_wrong_client_is_no_accounts_failure(google: Google) -> None:
    google.tokens |= {"g1": [INVALID_CLIENT], "g2": [INVALID_CLIENT]}
    found = troubles(check())
    assert {(f.message, f.mend, f.account) for f in found} == {
        (found[0].message, found[0].mend, None)
    }
    assert {site for f in found for site in f.sites} == {*OF_G1, *OF_G2}


@pytest.mark.parametrize("reason", ["forbidden", "quotaExceeded", "accessNotConfigured"])
def test_a_list_that_is_refused_costs_its_own_sites(reason: str, google: Google) -> None:
    refusal = (403, error_body("no", reason))
    google.rule = lambda account, url: refusal if (account, url) == ("g2", "list") else None
    [trouble] = troubles(check())
    assert (trouble.status, trouble.sites) == (FAIL, OF_G2)


def test_sites_without_an_account_are_counted_and_not_asked_for(google: Google) -> None:
    found = check([Site("x", "x.test"), *SITES[:1]])
    assert in_short(found)[0] == (OK, "1 site without a Search Console account: not asked")
    assert set(google.accounts) == {"g1"}


@pytest.mark.parametrize("missing", ["google_client_id", "google_client_secret"])
def test_without_its_settings_google_is_not_asked(missing: str, google: Google) -> None:
    settings = replace(SETTINGS, **{missing: None})  # type: ignore[arg-type]
    assert check(settings=settings) == []
    assert google.accounts == {}


def test_accounts_that_cannot_be_read_are_the_databases_matter(google: Google) -> None:
    assert list(check_google(examination(sites=SITES, accounts=None))) == []
    assert google.accounts == {}


def test_accounts_that_time_ran_out_for_are_failures(
    google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_ever = threading.Event()

    def stalls(refresh_token: str, **more: object) -> object:
        if refresh_token == "token-of-g2":
            for_ever.wait()
        return google.open(refresh_token, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs.sources, "get_google_client", stalls)
    try:
        [lost] = troubles(check(http=make_http(Stop(0.5), attempts=1)))
    finally:
        for_ever.set()
    assert (lost.status, lost.sites, lost.account) == (FAIL, OF_G2, "g2")
