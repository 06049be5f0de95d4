"""What doctor reads of a database: the same from each kind, and of tables that are not ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from config import Settings
from jobs.doctor import Examination
from jobs.doctor_database import check_database, check_history, check_migrations, check_tables
from jobs.findings import Finding
from storage.errors import DatabaseRefused
from storage.postgres import PostgresDatabase
from storage.schema import Schema, Table
from tests.integration.databases import DAYS, KINDS, TABLES_OF_A_USER, OpenStore, Store
from tests.integration.tables import migrate
from tests.services.postgres import PostgresServer
from tests.services.postgrest import create_roles
from tests.unit.helpers import make_http

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
A_SECOND = timedelta(seconds=5)

OURS = {
    "sites": Table(
        {
            "id": "uuid", "domain": "text", "matomo_site_id": "integer", "gsc_account_id": "uuid",
            "gsc_property": "text", "status_deployment": "text",
        },
        frozenset({frozenset({"id"})}), True, (), (),
    ),
    "gsc_accounts": Table(
        {"id": "uuid", "oauth_refresh_token": "text"},
        frozenset({frozenset({"id"})}), True, (), (),
    ),
    "daily_analytics": Table(
        {
            "date": "date", "site_id": "uuid", "matomo_visits": "bigint", "gsc_clicks": "bigint",
            "gsc_impressions": "bigint", "updated_at": "timestamp with time zone",
        },
        frozenset({frozenset({"date", "site_id"})}), True, (), ("daily_analytics_updated_at",),
    ),
    "aggregator_runs": Table(
        {
            "id": "bigint", "job": "text", "started_at": "timestamp with time zone",
            "finished_at": "timestamp with time zone", "status": "text", "window_from": "date",
            "window_to": "date", "counts": "jsonb", "failures": "jsonb",
        },
        frozenset({frozenset({"id"})}), True, (), (),
    ),
}  # fmt: skip


KEYS_OF_THE_ROLLUP = {
    "analytics_events": {"id", "created_at"},
    "analytics_events_hourly_agg": {"project_id", "hour_bucket", "event_type", "event_label"},
    "analytics_events_daily_agg": {"project_id", "grain", "day", "event_type", "event_label"},
    "analytics_visitor_hour": {"project_id", "hour_bucket", "event_type"},
    "analytics_project_zones": {"project_id"},
    "analytics_rollup_state": {"only_row"},
}
"""Policies it has only where there are Supabase's roles: test_row_level_security names them."""


def check_schema_of_ours(schema: Schema | None) -> None:
    assert schema is not None
    assert {name: schema.tables[name] for name in OURS} == OURS
    for name, key in KEYS_OF_THE_ROLLUP.items():
        assert schema.tables[name].row_level_security
        assert schema.tables[name].unique_keys == frozenset({frozenset(key)})
    operations = ("delete", "insert", "truncate", "update")
    watched = tuple(f"analytics_rollup_{operation}" for operation in operations)
    assert schema.tables["analytics_events"].triggers == watched
    assert abs(schema.now - datetime.now(UTC)) < A_SECOND


def schema_of(store: Store) -> Schema:
    schema = store.database.read_schema()
    assert schema is not None
    return schema


def examination(store: Store) -> Examination:
    return Examination(Settings(), NOW, make_http(), store.database)


def looked_at(store: Store) -> list[Finding]:
    seen = examination(store)
    return [*check_database(seen), *check_tables(seen), *check_history(seen)]


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_each_postgres_tells_its_tables_alike(major: int) -> None:
    with PostgresServer(major) as server:
        url = server.create_database("mine")
        migrate(url)
        with opened(url) as database:
            check_schema_of_ours(database.read_schema())


@contextmanager
def opened(url: str) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(url, 1)
    try:
        yield database
    finally:
        database.close()


def test_each_kind_of_database_tells_its_tables_alike(store_of_ours: Store) -> None:
    check_schema_of_ours(store_of_ours.database.read_schema())


def test_what_changed_in_the_tables_is_told(store_of_ours: Store) -> None:
    store_of_ours.execute(
        "alter table daily_analytics disable row level security; "
        "alter table daily_analytics disable trigger daily_analytics_updated_at; "
        "create policy b on gsc_accounts for select using (true); "
        "create policy a on gsc_accounts for select using (true); "
        "alter table sites add column note varchar(7), drop column gsc_property; "
        "create unique index on sites (domain, matomo_site_id) include (status_deployment); "
        "create unique index on sites (note) where note is not null; "
        "create unique index on sites (lower(note)); "
        "create unique index on sites (status_deployment, lower(note)); "
        "alter table daily_analytics drop constraint daily_analytics_pkey"
    )
    tables = schema_of(store_of_ours).tables
    assert not tables["daily_analytics"].row_level_security
    assert tables["daily_analytics"].triggers == ()
    assert tables["daily_analytics"].unique_keys == frozenset()
    assert tables["gsc_accounts"].policies == ("a", "b")
    assert tables["sites"].columns["note"] == "character varying(7)"
    assert "gsc_property" not in tables["sites"].columns
    # A partial index, or one over an expression, is no key that an upsert could name.
    keys = {frozenset({"id"}), frozenset({"domain", "matomo_site_id"})}
    assert tables["sites"].unique_keys == keys


def test_a_table_without_a_column_and_a_partitioned_one_are_tables_too(
    store_of_ours: Store,
) -> None:
    store_of_ours.execute(
        "create table bare (); create view seen as select 1 as one; "
        "create table parts (day date) partition by range (day)"
    )
    tables = schema_of(store_of_ours).tables
    assert tables["bare"].columns == {}
    assert tables["parts"].columns == {"day": "date"}
    assert "seen" not in tables


def test_views_that_go_past_row_level_security_are_told(store_of_ours: Store) -> None:
    store_of_ours.execute(
        "create view open as select id, id as again from gsc_accounts; "
        "create view asks with (security_invoker = on) as select id from gsc_accounts; "
        "create view asks_too with (security_invoker) as select id from gsc_accounts; "
        "create view says_no with (security_invoker = false) as select id from gsc_accounts; "
        "create materialized view copied as select oauth_refresh_token from gsc_accounts"
    )
    tables = schema_of(store_of_ours).tables
    assert tables["gsc_accounts"].open_views == ("copied", "open", "says_no")
    assert tables["sites"].open_views == ()


def test_without_the_function_there_is_no_schema(store_of_ours: Store) -> None:
    store_of_ours.execute("drop function aggregator_schema()")
    if store_of_ours.postgrest:
        store_of_ours.postgrest.reload_schema()
    assert store_of_ours.database.read_schema() is None


def test_another_function_of_that_name_is_refused_and_costs_nothing_else(
    store_of_ours: Store,
) -> None:
    store_of_ours.execute(
        "create or replace function aggregator_schema() returns jsonb language sql as "
        """$$ select '{"now": "2026-11-20 02:00:00", "tables": {}}'::jsonb $$"""
    )
    with pytest.raises(DatabaseRefused, match="another shape"):
        store_of_ours.database.read_schema()
    store_of_ours.add_sites(1)
    assert [f.status for f in looked_at(store_of_ours)].count("BLOCKED") == 0


def test_nobody_but_the_service_may_ask_for_the_tables(open_a_store: OpenStore) -> None:
    project = open_a_store("postgres", with_migrations=False)
    create_roles(project.url)
    migrate(project.url)
    with psycopg.connect(project.url) as connection:
        for role, may in (("anon", False), ("authenticated", False), ("service_role", True)):
            query = "select has_function_privilege(%s, 'public.aggregator_schema()', 'execute')"
            assert connection.execute(query, (role,)).fetchone() == (may,)


def test_missing_tables_and_columns_are_told_from_those_that_are_there(
    store_of_ours: Store,
) -> None:
    database = store_of_ours.database
    assert not database.lacks_columns("sites", ("id", "domain", "gsc_property"))
    assert database.lacks_columns("sites", ("id", "nothing"))
    assert database.lacks_columns("nothing", ("id",))
    store_of_ours.execute('create table odd ("a b" int, "select" int)')
    if store_of_ours.postgrest:
        store_of_ours.postgrest.reload_schema()
    assert not database.lacks_columns("odd", ("select",))


def add_runs(store: Store, number: int, job: str = "daily", status: str = "complete") -> None:
    store.execute(
        "insert into aggregator_runs (job, started_at, finished_at, status, window_from, "
        "window_to, counts, failures) "
        "select %s, '2026-01-01'::timestamptz + n * interval '1 hour', null, %s, '2026-01-01', "
        "'2026-01-02', jsonb_build_object('n', n), '[{\"kind\": \"k\"}]' "
        "from generate_series(1, %s) n",
        job, status, number,
    )  # fmt: skip


def test_the_last_runs_are_read_newest_first_by_job_and_status(store_of_ours: Store) -> None:
    add_runs(store_of_ours, 4)
    add_runs(store_of_ours, 3, job="social", status="failed")
    add_runs(store_of_ours, 2, status="incomplete")
    read = store_of_ours.database.read_runs
    assert [run.counts["n"] for run in read(20)] == [4, 3, 3, 2, 2, 2, 1, 1, 1]
    # Of runs that began together the one that was written last comes first.
    assert [(r.job, r.status) for r in read(20)][3:6] == [
        ("daily", "incomplete"), ("social", "failed"), ("daily", "complete"),
    ]  # fmt: skip
    assert [run.counts["n"] for run in read(2, job="daily")] == [4, 3]
    assert [run.counts["n"] for run in read(9, job="daily", statuses=("incomplete",))] == [2, 1]
    both = read(20, statuses=("failed", "incomplete"))
    assert {(run.job, run.status) for run in both} == {
        ("social", "failed"), ("daily", "incomplete"),
    }  # fmt: skip
    assert read(20, job="nobody") == []
    [run] = read(1)
    assert run.started_at == datetime(2026, 1, 1, 4, tzinfo=UTC)
    assert (run.finished_at, run.failures) == (None, [{"kind": "k"}])
    assert (str(run.window_from), str(run.window_to)) == ("2026-01-01", "2026-01-02")
    assert [run.failures for run in read(2, failures=False)] == [None, None]


def test_runs_that_began_together_have_an_order_that_is_not_luck(store_of_ours: Store) -> None:
    for number in (7, 9, 8):
        store_of_ours.execute(
            "insert into aggregator_runs (id, job, started_at) overriding system value "
            "values (%s, 'daily', '2026-01-01')",
            number,
        )
    assert [run.id for run in store_of_ours.database.read_runs(9)] == [9, 8, 7]


def test_more_runs_than_the_servers_cap_are_read_whole(store_of_ours: Store) -> None:
    add_runs(store_of_ours, 2300)
    read = [run.counts["n"] for run in store_of_ours.database.read_runs(2200)]
    assert read == list(range(2300, 100, -1))
    assert len(store_of_ours.database.read_runs(5000)) == 2300


def test_old_runs_are_forgotten_and_no_others(store_of_ours: Store) -> None:
    add_runs(store_of_ours, 5)
    store_of_ours.database.delete_runs_before(datetime(2026, 1, 1, 3, tzinfo=UTC))
    assert [run.counts["n"] for run in store_of_ours.database.read_runs(9)] == [5, 4, 3]
    store_of_ours.database.delete_runs_before(datetime(2020, 1, 1, tzinfo=UTC))
    assert len(store_of_ours.database.read_runs(9)) == 3


@pytest.mark.parametrize(
    ("max_rows", "stored", "cap"),
    [(1000, 2000, 1000), (1000, 1000, None), (7, 30, 7), (1_000_000, 2500, None), (1000, 0, None)],
)
def test_the_cap_of_rest_is_seen_where_more_rows_are_stored(
    max_rows: int, stored: int, cap: int | None, open_a_store: OpenStore
) -> None:
    store = open_a_store("rest", max_rows=max_rows)
    store.add_sites(1)
    store.execute(
        "insert into daily_analytics (date, site_id) "
        "select '2000-01-01'::date + n, id from sites, generate_series(1, %s) n",
        stored,
    )
    assert store.database.row_cap() == cap


@pytest.mark.parametrize("kind", ["postgres", "embedded"])
def test_postgres_itself_has_no_cap(kind: str, open_a_store: OpenStore) -> None:
    assert open_a_store(kind).database.row_cap() is None


def messages(findings: list[Finding], status: str) -> str:
    return "\n".join(f"{f.message} -> {f.mend}" for f in findings if f.status == status)


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_own_tables_with_our_migrations_are_right(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=TABLES_OF_A_USER)
    store.add_sites(3)
    found = looked_at(store)
    assert {f.status for f in found} == {"ok"}, found
    assert schema_of(store).tables["sites"].columns["id"] == "integer"


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_own_tables_without_ours_are_told_what_is_missing(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=TABLES_OF_A_USER, with_migrations=False)
    store.add_sites(3)
    found = looked_at(store)
    advice = messages(found, "advice")
    assert "table sites has no column gsc_property -> run `aggregator.py migrate`" in advice
    assert "table aggregator_runs is missing -> run `aggregator.py migrate`" in advice
    assert "aggregator_schema() is not there -> run `aggregator.py migrate`" in advice
    assert messages(found, "BLOCKED") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_without_any_of_our_tables_is_told_of_all(
    kind: str, open_a_store: OpenStore
) -> None:
    found = looked_at(open_a_store(kind, with_migrations=False))
    blocked = messages(found, "BLOCKED")
    for table in ("sites", "gsc_accounts", "daily_analytics"):
        assert f"table {table} is missing -> run `aggregator.py migrate`" in blocked
    assert "table aggregator_runs is missing" in messages(found, "advice")


@pytest.mark.parametrize("kind", ["postgres", "embedded"])
def test_pending_migrations_are_named(kind: str, open_a_store: OpenStore) -> None:
    store = open_a_store(kind)
    seen = examination(store)
    seen.settings = Settings(database_url=store.url)
    assert messages(list(check_migrations(seen)), "ok").startswith("all migrations are applied")
    store.execute(
        "delete from supabase_migrations.schema_migrations where version >= '20261121000200'"
    )
    advice = messages(list(check_migrations(seen)), "advice")
    assert "not applied: 20261121000200_trust.sql, 20261121000300" in advice
    store.execute("drop schema supabase_migrations cascade")
    assert "20261121000000_daily_analytics.sql" in messages(list(check_migrations(seen)), "advice")


def test_a_column_that_is_denied_is_no_missing_one(over_psycopg: Store) -> None:
    over_psycopg.execute(
        "do $$ begin if to_regrole('stranger') is null then create role stranger login; end if; "
        "end $$; grant select (id) on sites to stranger"
    )
    with opened(over_psycopg.url.replace("postgres@", "stranger@")) as database:
        assert not database.lacks_columns("sites", ("id",))
        with pytest.raises(DatabaseRefused, match="denies access"):
            database.lacks_columns("sites", ("domain",))


def test_days_stay_readable_beside_all_that(store_of_ours: Store) -> None:
    [site] = store_of_ours.add_sites(1)
    store_of_ours.upsert({site: {DAYS[0]: {"matomo_visits": 3}}})
    assert {f.status for f in looked_at(store_of_ours)} == {"ok"}
    assert store_of_ours.numbers() == {(site, DAYS[0]): (3, None, None)}
