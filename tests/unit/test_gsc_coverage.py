"""Which sites a new account covers, and the SQL that links them."""

from __future__ import annotations

import logging

import pytest

from fetchers.gsc_property import Property
from jobs.connect_gsc import check_same_account
from jobs.gsc_coverage import find_coverage, link_statement, report_coverage
from jobs.run_failures import CannotRun
from logs import REPORT
from models import Site, SiteId

LISTED = [
    Property("sc-domain:mine.test"),
    Property("https://www.new.test/"),
    Property("sc-domain:unverified.test", verified=False),
    Property("sc-domain:others.test"),
    Property("http://named.test/"),
]
MINE = Site(1, "mine.test", gsc_account_id=7)
GONE = Site(2, "gone.test", gsc_account_id=7)
UNVERIFIED = Site(3, "unverified.test", gsc_account_id=7)
MISNAMED = Site(4, "no host/at all", gsc_account_id=7)
NEW = Site(5, "new.test")
NAMED = Site(6, "elsewhere.test", gsc_property="http://named.test/")
NOT_MINE = Site(7, "foreign.test")
NOT_VERIFIED = Site(8, "unverified.test")
OTHERS = Site(9, "others.test", gsc_account_id=8)
SITES = [MINE, GONE, UNVERIFIED, MISNAMED, NEW, NAMED, NOT_MINE, NOT_VERIFIED, OTHERS]


def test_sites_of_this_account_and_of_none_are_looked_at() -> None:
    coverage = find_coverage(SITES, 7, LISTED)
    assert coverage.covered == [
        (MINE, "sc-domain:mine.test"),
        (NEW, "https://www.new.test/"),
        (NAMED, "http://named.test/"),
    ]
    assert [site for site, _ in coverage.denied] == [GONE, UNVERIFIED, MISNAMED]
    assert coverage.to_link == [NEW, NAMED]


def test_what_is_not_covered_is_said_with_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(REPORT, "aggregator"):
        report_coverage(7, LISTED, find_coverage(SITES, 7, LISTED))
    said = "  unverified.test: the account is not verified for sc-domain:unverified.test"
    assert said in caplog.messages
    assert "  new.test  https://www.new.test/  (not linked yet)" in caplog.messages
    assert "  mine.test  sc-domain:mine.test" in caplog.messages
    assert caplog.messages[-1] == ("update public.sites set gsc_account_id = 7 where id in (5, 6);")


def test_each_reason_not_to_cover_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    sites = [GONE, Site(10, "gone-too.test", gsc_account_id=7), NEW]
    with caplog.at_level(REPORT, "aggregator"):
        report_coverage(7, LISTED, find_coverage(sites, 7, LISTED))
    assert [line for line in caplog.messages if line.startswith("  gone.test, gone-too.test: ")]


def test_sites_of_another_account_that_are_seen_too_tell_which_to_renew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(REPORT, "aggregator"):
        report_coverage(7, LISTED, find_coverage([OTHERS], 7, LISTED))
    other = OTHERS.gsc_account_id
    assert f"Linked to account {other} already: 1 site that it sees." in caplog.messages
    assert any(f"connect-gsc --account {other}" in line for line in caplog.messages)


def test_a_consent_that_covers_none_of_the_accounts_sites_replaces_no_token() -> None:
    with pytest.raises(CannotRun, match="covers none of the 1 site of account 7"):
        check_same_account([GONE, NEW], 7, LISTED)
    check_same_account([GONE, Site(11, "mine.test", gsc_account_id=7)], 7, LISTED)
    check_same_account([NEW, OTHERS], 7, [])


def test_an_account_that_covers_nothing_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(REPORT, "aggregator"):
        report_coverage(7, [], find_coverage([NEW, OTHERS], 7, []))
    assert caplog.messages == [
        "The account sees 0 properties and covers 0 sites; "
        "none of the sites without an account is among them"
    ]


@pytest.mark.parametrize(
    ("account", "ids", "lines"),
    [
        (7, [1], ["update public.sites set gsc_account_id = 7 where id in (1);"]),
        ("a", ["x'y"], ["update public.sites set gsc_account_id = 'a' where id in ('x''y');"]),
        (
            7,
            [1, 2, 3],
            [
                "update public.sites set gsc_account_id = 7 where id in (",
                "  1, 2,",
                "  3",
                ");",
            ],
        ),
    ],
    ids=range(3),
)
def test_the_statement_names_account_and_sites(
    account: SiteId, ids: list[SiteId], lines: list[str]
) -> None:
    assert link_statement(account, [Site(site, "x.test") for site in ids]) == lines


def test_reports_go_out_at_the_level_of_reports() -> None:
    assert REPORT > logging.WARNING
