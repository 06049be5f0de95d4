"""Reads are whole: past the server's silent cap of 1,000 rows, in an order that is unique."""

from __future__ import annotations

import logging

import pytest

from models import GscAccount, Site, Window
from tests.integration.databases import DAYS, TABLES_OF_A_USER, OpenStore, Store

ALL = Window(DAYS[0], DAYS[-1])


@pytest.mark.parametrize("ids", ["uuid", "integer"])
@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_2500_sites_are_all_read_and_only_the_deployed(
    kind: str, ids: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=TABLES_OF_A_USER if ids == "integer" else "")
    store.add_sites(400, status="draft")
    deployed = store.add_sites(2500)
    store.add_sites(3, status="deleted")
    read = store.database.read_sites()
    assert [site.id for site in read] == deployed


def test_a_site_is_read_with_all_that_a_run_needs(store: Store) -> None:
    store.execute("insert into public.gsc_accounts (oauth_refresh_token) values ('a-token')")
    store.execute(
        "insert into public.sites (domain, matomo_site_id, gsc_account_id, gsc_property, "
        "status_deployment) select 'Example.com', 7, id, 'sc-domain:example.com', 'deployed' "
        "from public.gsc_accounts"
    )
    store.execute(
        "insert into public.sites (domain, gsc_property, status_deployment) "
        "values ('plain.example', '', 'deployed')"
    )
    [account] = store.database.read_gsc_accounts()
    assert account == GscAccount(account.id, "a-token")
    known, plain = sorted(store.database.read_sites(), key=lambda site: site.domain)
    assert known == Site(known.id, "Example.com", 7, account.id, "sc-domain:example.com")
    assert plain == Site(plain.id, "plain.example", None, None, None)
    assert type(known.id) is type(account.id)


def test_1500_accounts_are_all_read(store: Store) -> None:
    store.execute(
        "insert into public.gsc_accounts (oauth_refresh_token) "
        "select 'token-' || n from generate_series(1, 1500) n"
    )
    read = store.database.read_gsc_accounts()
    assert {account.refresh_token for account in read} == {f"token-{n}" for n in range(1, 1501)}


def test_no_sites_at_all_is_an_empty_list(store: Store) -> None:
    store.add_sites(5, status="draft")
    assert store.database.read_sites() == []
    assert store.database.read_gsc_accounts() == []
    assert list(store.database.read_days(ALL)) == []


def test_days_are_read_whole_across_pages_that_end_within_a_day(store: Store) -> None:
    sites = store.add_sites(250)
    store.execute(
        "insert into public.daily_analytics (date, site_id, matomo_visits, gsc_clicks) "
        "select '2026-11-01'::date + d, id, d, null "
        "from public.sites, generate_series(-1, 10) d"
    )
    read = list(store.database.read_days(ALL))
    expected = {(site, day): (day - DAYS[0]).days for site in sites for day in DAYS}
    assert len(read) == 2500
    assert {(row.site_id, row.day): row.numbers["matomo_visits"] for row in read} == expected
    assert all(row.numbers["gsc_clicks"] is None for row in read)


def test_days_of_some_sites_are_read_alone(store: Store) -> None:
    sites = store.add_sites(30)
    wanted = sites[3:20]
    store.execute(
        "insert into public.daily_analytics (date, site_id, matomo_visits) "
        "select '2026-11-01'::date + d, id, 5 from public.sites, generate_series(0, 9) d"
    )
    read = list(store.database.read_days(Window(DAYS[2], DAYS[4]), wanted))
    assert len(read) == 17 * 3
    assert {(row.site_id, row.day) for row in read} == {(s, d) for s in wanted for d in DAYS[2:5]}


@pytest.mark.parametrize("max_rows", [1, 7])
def test_a_server_with_a_smaller_cap_is_read_whole_too(
    max_rows: int, open_a_store: OpenStore
) -> None:
    store = open_a_store("rest", max_rows=max_rows)
    sites = store.add_sites(16)
    store.upsert({site: {day: {"matomo_visits": 1} for day in DAYS[:2]} for site in sites})
    assert [site.id for site in store.database.read_sites()] == sites
    read = [(row.day, row.site_id) for row in store.database.read_days(ALL)]
    assert sorted(read) == sorted({(day, site) for site in sites for day in DAYS[:2]})


TABLES_WITHOUT_OURS = (
    TABLES_OF_A_USER
    + """
create unique index on public.daily_analytics (date, site_id);
"""
)


@pytest.mark.parametrize("kind", ["postgres", "embedded", "rest"])
def test_tables_without_gsc_property_work_and_say_so_once(
    kind: str, open_a_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_a_store(kind, before=TABLES_WITHOUT_OURS, with_migrations=False)
    sites = store.add_sites(3)
    with caplog.at_level(logging.WARNING, "aggregator"):
        read = store.database.read_sites()
    assert [(site.id, site.gsc_property) for site in read] == [(site, None) for site in sites]
    [warning] = caplog.messages
    assert "gsc_property" in warning
    assert "supabase/migrations/20261121000000_daily_analytics.sql" in warning
    stored = store.upsert({site: {DAYS[0]: {"matomo_visits": 3}} for site in sites})
    assert stored.rows == 3
