"""supabase/migrations/ on every Postgres from 15 on, with Supabase's roles and without them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from config import Settings
from db import open_database
from models import METRICS
from storage.errors import DatabaseRefused
from storage.migrations import apply_pending, find_migrations, read_status
from storage.postgres import PostgresDatabase
from storage.visit_log import Merged, VisitLog
from tests.integration.databases import DAYS, TABLES_OF_A_USER, Store
from tests.integration.strangers import DENIED
from tests.integration.tables import MIGRATIONS, execute, migrate, read_numbers, rows
from tests.integration.visit_tables import bounds, group, line, versions
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer, create_roles

OURS = (
    *("sites", "gsc_accounts", "daily_analytics", "aggregator_runs"),
    *("platform_connections", "analytics_snapshots"),
    *("visit_log_tables", "visit_log_watermarks"),
    *("analytics_events", "analytics_events_hourly_agg", "analytics_events_daily_agg"),
    *("analytics_visitor_hour", "analytics_visitor_day", "analytics_visitor_returns"),
    *("analytics_project_zones", "analytics_rollup_state", "analytics_rollup_dirty"),
    *("analytics_rollup_dirty_days", "analytics_rollup_dirty_returns"),
)
PARTITION = re.compile(r"_(default|y\d{4}m\d{2})$")

# Older still: no unique key, numbers missing, text ids, row level security off, a policy of theirs.
BARE_TABLES = """
create table public.gsc_accounts (id text primary key, oauth_refresh_token text);
create table public.sites (
  id text primary key, domain text, matomo_site_id int, gsc_account_id text,
  status_deployment text
);
create table public.daily_analytics (date date, site_id text, matomo_visits integer);
insert into public.sites values ('a', 'a.example', 1, null, 'deployed');
insert into public.daily_analytics values ('2026-11-01', 'a', 5);
create policy theirs on public.sites for select using (true);
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(major, marks=pytest.mark.xdist_group(f"postgres-{major}"))
        for major in (15, 16, 17, 18)
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of its own for each version: roles belong to a whole server."""
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    yield server.create_database("fresh")
    server.drop_database("fresh")


def structure(url: str) -> list[tuple[object, ...]]:
    """Everything of the schema public that a migration could change."""
    return rows(
        url,
        "select table_name, column_name, data_type, is_nullable, column_default, "
        "is_identity from information_schema.columns where table_schema = 'public' "
        "union all select tablename, indexname, indexdef, '', '', '' from pg_indexes "
        "where schemaname = 'public' "
        "union all select relname, relrowsecurity::text, '', '', '', '' from pg_class "
        "where relnamespace = 'public'::regnamespace "
        "union all select tgrelid::regclass::text, tgname, '', '', '', '' from pg_trigger "
        "union all select polrelid::regclass::text, polname, '', '', '', '' from pg_policy "
        "union all select oid::regprocedure::text, md5(prosrc), array_to_string(proconfig, ','), "
        "proacl::text, '', '' from pg_proc where pronamespace = 'public'::regnamespace "
        "union all select oid::regclass::text, relacl::text, pg_get_expr(relpartbound, oid), "
        "obj_description(oid), '', '' from pg_class where relnamespace = 'public'::regnamespace "
        "union all select conrelid::regclass::text, pg_get_constraintdef(oid), '', '', '', '' "
        "from pg_constraint where connamespace = 'public'::regnamespace "
        "order by 1, 2, 3",
    )


@pytest.mark.parametrize("before", ["", TABLES_OF_A_USER, BARE_TABLES], ids=["new", "user", "bare"])
def test_migrations_apply_twice_on_a_plain_database(before: str, url: str) -> None:
    if before:
        execute(url, before)
    migrate(url)
    first = structure(url), read_numbers(url)
    assert list(apply_pending(url, MIGRATIONS)) == []
    execute(url, "drop schema supabase_migrations cascade")
    migrate(url)  # the files themselves may run again over what they made
    assert (structure(url), read_numbers(url)) == first
    protected = rows(url, "select relname from pg_class where relrowsecurity")
    assert {PARTITION.sub("", name) for (name,) in protected} == set(OURS)


def test_the_program_can_work_on_tables_that_were_there_before(url: str) -> None:
    execute(url, BARE_TABLES)
    migrate(url)
    database = PostgresDatabase(url, 1)
    store = Store(database, url, None)
    assert [site.id for site in database.read_sites()] == ["a"]
    number = {"matomo_visits": 7, "gsc_clicks": 1, "gsc_impressions": 2}
    assert store.upsert({"a": dict.fromkeys(DAYS[:2], number)}).rows == 2
    assert store.numbers() == {("a", day): (7, 1, 2) for day in DAYS[:2]}
    before = store.updated_at()
    store.upsert({"a": {DAYS[0]: number | {"gsc_clicks": 5}}})
    moved = [cell for cell, at in store.updated_at().items() if at != before[cell]]
    assert moved == [("a", DAYS[0])]
    database.close()


def test_a_policy_of_the_users_own_stays(url: str) -> None:
    execute(url, BARE_TABLES)
    migrate(url)
    assert rows(url, "select polname from pg_policy") == [("theirs",)]


def test_the_trigger_moves_updated_at_only_with_a_value(url: str) -> None:
    migrate(url)
    execute(url, "insert into public.sites (domain) values ('a.example')")
    execute(
        url,
        "insert into public.daily_analytics (date, site_id, matomo_visits) "
        "select '2026-11-01', id, 5 from public.sites",
    )
    read = "select updated_at from public.daily_analytics"
    before = rows(url, read)
    execute(url, "update public.daily_analytics set matomo_visits = 5")
    execute(url, "update public.daily_analytics set updated_at = '2020-01-01'")
    assert rows(url, read) == before
    execute(url, "update public.daily_analytics set gsc_clicks = 0")
    assert rows(url, read) > before


def test_with_supabases_roles_only_the_service_key_sees_and_writes(url: str) -> None:
    create_roles(url)
    migrate(url)
    execute(url, "insert into public.gsc_accounts (oauth_refresh_token) values ('a-secret')")
    execute(url, "insert into public.sites (domain) values ('a.example')")
    with PostgrestServer(url) as postgrest:
        service = Settings(
            supabase_url=postgrest.url, supabase_service_key=postgrest.service_key, http_attempts=1
        )
        with open_database(service) as database:
            [site] = database.read_sites()
            assert len(database.read_gsc_accounts()) == 1
            store = Store(database, url, postgrest)
            assert store.upsert({site.id: {DAYS[0]: {"matomo_visits": 3}}}).rows == 1
        someone = {"Authorization": f"Bearer {postgrest.authenticated_key('someone')}"}
        for headers in ({}, someone):
            check_nothing_is_seen_or_written(postgrest, headers, str(site.id))
    assert rows(url, "select domain from public.sites") == [("a.example",)]
    assert list(read_numbers(url).values()) == [(3, None, None)]
    execute(url, "drop owned by anon, authenticated, service_role, authenticator cascade")


def check_nothing_is_seen_or_written(
    postgrest: PostgrestServer, headers: dict[str, str], site_id: str
) -> None:
    base = f"{postgrest.url}/rest/v1"
    with httpx.Client(base_url=base, headers={"apikey": postgrest.anon_key} | headers) as client:
        for table in OURS:
            seen = client.get(f"/{table}")
            assert seen.status_code in DENIED or seen.json() == []
            answer = client.delete(f"/{table}", params={"select": "*"})
            assert answer.status_code in (200, 204, 400, *DENIED)
        new_rows = {
            "sites": {"domain": "evil.example"},
            "gsc_accounts": {"oauth_refresh_token": "evil"},
            "daily_analytics": {"date": "2026-11-02", "site_id": site_id, "matomo_visits": 1},
            "aggregator_runs": {"job": "evil"},
            "platform_connections": {"user_id": "evil", "platform": "instagram"},
            "analytics_snapshots": {
                "user_id": "evil",
                "platform": "instagram",
                "source": "social_media",
                "metric": "reach",
                "value": 1,
                "date": "2026-11-02",
            },
        }
        for table, row in new_rows.items():
            assert client.post(f"/{table}", json=row).status_code in (401, 403)
        patch = {"matomo_visits": 999}
        client.patch("/daily_analytics", json=patch, params={"date": "gte.2000-01-01"})


def test_a_file_that_fails_leaves_nothing_of_itself_and_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "20260101000000_one.sql").write_text("create table one (n int);")
    (tmp_path / "20260102000000_two.sql").write_text(
        "create table two (n int); insert into two values (1); select no_such_function();"
    )
    (tmp_path / "20260103000000_three.sql").write_text("create table three (n int);")
    applied: list[str] = []
    with pytest.raises(DatabaseRefused) as caught:
        applied.extend(m.name for m in apply_pending(url, tmp_path))
    assert "20260102000000_two.sql" in caught.value.message
    assert "no_such_function" in caught.value.message
    assert "nothing of this file" in caught.value.mend
    tables = rows(url, "select tablename from pg_tables where schemaname = 'public'")
    assert tables == [("one",)]
    status = [(m.name, done) for m, done in read_status(url, tmp_path)]
    assert status == [("one", True), ("two", False), ("three", False)]

    (tmp_path / "20260102000000_two.sql").write_text("create table two (n int);")
    assert [m.name for m in apply_pending(url, tmp_path)] == ["two", "three"]


def test_two_migrate_at_once_apply_each_file_once(url: str) -> None:
    applied: list[str] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            applied.extend(migration.name for migration in apply_pending(url, MIGRATIONS))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(applied) == sorted(m.name for m in find_migrations(MIGRATIONS))


def test_status_of_an_empty_database_changes_nothing(url: str) -> None:
    assert {done for _, done in read_status(url, MIGRATIONS)} == {False}
    assert rows(url, "select 1 from pg_namespace where nspname = 'supabase_migrations'") == []


@pytest.mark.parametrize("partitioned", [False, True])
def test_the_visit_logs_tables_are_made_and_filled(partitioned: bool, url: str) -> None:
    migrate(url)
    log = VisitLog(url, 1)
    assert log.make_table("visits", partitioned=partitioned)
    table = log.open_table("visits")
    assert (table.partitioned, table.missing) == (partitioned, ())
    log.lock(table, 0)
    table_id = log.claim(table, "https://matomo.example/", true_utc=None).table_id
    lines = [line(7, action) for action in range(3)]
    assert log.merge(table, table_id, group(lines, [7])) == Merged(3, 0)
    before = versions(url, "visits")
    assert log.merge(table, table_id, group(lines, [7])) == Merged(0, 0)
    assert versions(url, "visits") == before
    fewer = [line(7, 0), line(7, 1, country="x")]
    assert log.merge(table, table_id, group(fewer, [7])) == Merged(1, 1)
    log.close()


def test_weeks_go_on_where_a_session_writes_times_as_no_other_reads_them(url: str) -> None:
    migrate(url)  # IST: India's time zone to the one, Israel's to the other
    log = VisitLog(f"{url}&options=-ctimezone%3DAsia/Kolkata%20-cdatestyle%3DGerman", 1)
    log.make_table("visits", partitioned=True)
    table = log.open_table("visits")
    for day in (16, 25, 16):
        log.make_partitions(table, [date(2026, 11, day)])
    log.close()
    weeks = [datetime(2026, 11, day, tzinfo=UTC) for day in (16, 23, 30)]
    assert list(bounds(url, "visits").values()) == [(weeks[0], weeks[1]), (weeks[1], weeks[2])]


def test_the_columns_that_hold_numbers_are_the_models(url: str) -> None:
    migrate(url)
    found = rows(
        url,
        "select column_name from information_schema.columns "
        "where table_name = 'daily_analytics' and data_type = 'bigint' order by ordinal_position",
    )
    assert tuple(name for (name,) in found) == METRICS
    assert urlsplit(url).path == "/fresh"
