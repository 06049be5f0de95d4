"""Who sees what of the rollup: proven through a real PostgREST, and as a role in SQL.

What strangers get at in any way at all is looked for in test_row_level_security.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.integration.hourly_callers import (
    CALLERS,
    MAY_SEE,
    PROJECTS,
    TABLES,
    fill,
    signed_in,
)
from tests.integration.strangers import DENIED, FOR_THE_SIGNED_IN, WITH_A_POLICY
from tests.integration.tables import execute, migrate, rows
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer

SINCE, UNTIL = "2026-05-30T22:10:00+00:00", "2026-06-04T00:00:00+00:00"
RANGE = {"from_at": SINCE, "to_at": UNTIL}
QUESTIONS: dict[str, dict[str, str]] = {
    "analytics_events_series": {**RANGE, "granularity": "4 hours"},
    "analytics_events_by_hour": RANGE,
    "analytics_events_by_day": RANGE,
    "analytics_events_by_label": {"in_type": "type 1", **RANGE},
    "analytics_events_totals": RANGE,
}
OURS = "c.relnamespace = 'public'::regnamespace and c.relname ~ '^analytics_'"
CALLS = "select calls from pg_stat_xact_user_functions where funcname = %s"
GIVE_ALL = "grant all on all tables in schema public to authenticated"


@pytest.fixture(scope="module")
def project(postgres: PostgresServer) -> Iterator[PostgrestServer]:
    """A project with the design's tables and no auth schema; no test here changes anything."""
    name = "hourly_project"
    url = postgres.create_database(name)
    with PostgrestServer(url, max_rows=10_000) as server:
        execute(url, TABLES)
        migrate(url)
        fill(url)
        server.reload_schema()
        yield server
    postgres.drop_database(name)


@pytest.fixture
def url(project: PostgrestServer, postgres: PostgresServer) -> str:
    return postgres.url("hourly_project")


def client(project: PostgrestServer, caller: str | None) -> httpx.Client:
    token = project.authenticated_key(CALLERS[caller]) if caller else project.anon_key
    headers = {"apikey": project.anon_key, "Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{project.url}/rest/v1", headers=headers)


def stored(url: str, table: str, projects: tuple[str, ...]) -> list[dict[str, Any]]:
    """The projects' rows as their owner sees them."""
    query = f"select to_jsonb(t) from public.{table} t where project_id = any (%s)"
    return ordered(row for (row,) in rows(url, query, list(projects)))


def ordered(found: Any) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: repr(sorted(row.items())))


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("table", WITH_A_POLICY)
def test_each_caller_reads_the_rows_of_their_projects_and_no_others(
    table: str, caller: str, project: PostgrestServer, url: str
) -> None:
    with client(project, caller) as asking:
        answer = asking.get(f"/{table}", headers={"Prefer": "count=exact"})
        others = asking.get(f"/{table}", params={"project_id": "eq.c", "select": "project_id"})
    seen = stored(url, table, MAY_SEE[caller])
    assert ordered(answer.json()) == seen
    assert answer.headers["Content-Range"].rpartition("/")[2] == str(len(seen))
    assert {row["project_id"] for row in seen} == set(MAY_SEE[caller])
    assert bool(others.json()) == ("c" in MAY_SEE[caller])


@pytest.mark.parametrize("caller", CALLERS)
def test_each_caller_is_told_of_their_projects_and_of_no_others(
    caller: str, project: PostgrestServer, url: str
) -> None:
    with client(project, caller) as asking:
        for function, arguments in QUESTIONS.items():
            for name in PROJECTS:
                asked = {"in_project": name, **arguments}
                named = ", ".join(f"{key} => '{value}'" for key, value in asked.items())
                told = rows(url, f"select to_jsonb(t) from public.{function}({named}) t")
                assert told
                answer = asking.post(f"/rpc/{function}", json=asked)
                expected = [row for (row,) in told] if name in MAY_SEE[caller] else []
                assert answer.json() == expected, (function, name)
        mine = asking.post("/rpc/analytics_projects_of_caller").json()
    assert mine is None if caller == "admin" else set(mine) == set(MAY_SEE[caller])


def test_nobody_is_denied_everything(project: PostgrestServer) -> None:
    with client(project, None) as asking:
        for table in WITH_A_POLICY:
            assert asking.get(f"/{table}").status_code in DENIED
        for function, arguments in QUESTIONS.items():
            answer = asking.post(f"/rpc/{function}", json={"in_project": "a", **arguments})
            assert answer.status_code in DENIED, function


INTERNAL = """
select proname, coalesce(to_jsonb(proargnames[:pronargs]), '[]')
from pg_proc where pronamespace = 'public'::regnamespace
  and (proname ~ '^analytics_' or proname = 'refresh_hourly') and not proname = any (%s)
"""


def test_not_even_an_admin_calls_what_only_the_rollup_calls(
    project: PostgrestServer, url: str
) -> None:
    internal = rows(url, INTERNAL, list(FOR_THE_SIGNED_IN))
    assert {"analytics_pieces", "analytics_rollup_mark", "refresh_hourly"} <= {
        n for n, _ in internal
    }
    with client(project, "admin") as asking:
        for function, arguments in internal:
            for body in ({}, dict.fromkeys(arguments)):
                answer = asking.post(f"/rpc/{function}", json=body)
                assert answer.status_code in (*DENIED, 404), (function, answer.text)
                assert answer.is_error, function


def test_by_default_supabases_roles_are_given_nothing_but_reading_three_tables(url: str) -> None:
    query = (
        "select c.relname, a.grantee::regrole::text, a.privilege_type from pg_class c, "
        f"aclexplode(c.relacl) a where {OURS} and c.relkind <> 'S' "
        "and a.grantee::regrole::text in ('anon', 'authenticated', '-') order by 1"
    )
    assert rows(url, query) == [(name, "authenticated", "SELECT") for name in WITH_A_POLICY]


@pytest.mark.parametrize("caller", ["admin", "stranger"])
def test_partitions_queue_state_and_sets_show_nothing_even_to_whom_they_are_granted(
    caller: str, url: str
) -> None:
    query = f"select c.relname from pg_class c where {OURS} and c.relkind in ('r', 'p', 'v', 'm')"
    others = [name for (name,) in rows(url, query) if name not in WITH_A_POLICY]
    kinds = {"default", "dirty", "state", "zones", "hour", "day", "returns"}
    assert kinds <= {name.rpartition("_")[2] for name in others}
    with signed_in(url, caller, GIVE_ALL) as connection:
        for name in others:
            count = sql.SQL("select count(*) from public.{}").format(sql.Identifier(name))
            assert connection.execute(count).fetchone() == (0,), name


def test_what_only_reads_cannot_be_written_by_anybody_who_is_signed_in(url: str) -> None:
    statements = (
        "insert into public.{0} select * from public.{0} limit 1",
        "insert into public.{0} (project_id) values ('a')",
    )
    for table in WITH_A_POLICY:
        for statement in statements:
            denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
            with signed_in(url, "admin", GIVE_ALL) as connection, denied:
                connection.execute(statement.format(table).encode())
        with signed_in(url, "admin", GIVE_ALL) as connection:
            for change in ("delete from public.{0}", "update public.{0} set event_type = 'x'"):
                assert connection.execute(change.format(table).encode()).rowcount == 0


@pytest.mark.parametrize("table", WITH_A_POLICY)
def test_the_projects_are_asked_for_once_per_query_not_once_per_row(table: str, url: str) -> None:
    query = f"select count(*) from public.{table}"
    with signed_in(url, "member", "set local track_functions = 'all'") as connection:
        plan = connection.execute(f"explain {query}".encode()).fetchall()
        [(seen,)] = connection.execute(query.encode()).fetchall()
        [(calls,)] = connection.execute(CALLS, ("analytics_projects_of_caller",)).fetchall()
    lines = [line for (line,) in plan]
    assert sum("InitPlan" in line and "Filter" not in line for line in lines) <= 2
    assert not [line for line in lines if "Filter" in line and "of_caller" in line]
    assert seen > 5
    assert 1 <= calls <= 2


@pytest.mark.parametrize("granularity", ["hour", "total"])
def test_a_reader_asks_for_the_projects_once_however_many_hours_it_reads(
    granularity: str, url: str
) -> None:
    query = "select count(*) from public.analytics_events_series('a', %s, %s, %s)"
    with signed_in(url, "member", "set local track_functions = 'all'") as connection:
        connection.execute(query, (SINCE, UNTIL, granularity))
        [(calls,)] = connection.execute(CALLS, ("analytics_projects_of_caller",)).fetchall()
    assert 1 <= calls <= 2


DESIGN_TABLES = ("admin_users", "account", "project", "account_collaborator")
LESS = {
    **{f"no {table}": f"drop table public.{table}" for table in DESIGN_TABLES},
    "none of them": f"drop table {', '.join(f'public.{table}' for table in DESIGN_TABLES)}",
    "a project table of another kind": "alter table public.project rename project_id to id",
    "an account table of another kind": "alter table public.account rename user_id to owner",
}


@pytest.mark.parametrize("less", LESS)
def test_without_the_designs_tables_nobody_sees_more_and_nothing_fails(less: str, url: str) -> None:
    totals = "select total_events from public.analytics_events_totals(%s, %s, %s)"
    for caller in CALLERS:
        with signed_in(url, caller, LESS[less]) as connection:
            for table in WITH_A_POLICY:
                query = f"select distinct project_id from public.{table}"
                seen = {name for (name,) in connection.execute(query.encode())}
                assert seen <= set(MAY_SEE[caller])
                assert not seen or less != "none of them"
            for name in set(PROJECTS) - set(MAY_SEE[caller]):
                assert connection.execute(totals, (name, SINCE, UNTIL)).fetchall() == []


# What somebody who is signed in could try who may see nothing.
def test_neither_headers_nor_arguments_make_somebody_else_of_a_caller(
    project: PostgrestServer,
) -> None:
    admin = CALLERS["admin"]
    headers = {
        "request.jwt.claim.sub": admin,
        "request.jwt.claims": f'{{"sub": "{admin}"}}',
        "X-Request-Jwt-Claims": f'{{"sub": "{admin}"}}',
        "Role": "service_role",
        "Prefer": "params=single-object",
        "Cookie": f"sub={admin}; role=service_role",
    }
    asked = {"in_project": "a", **RANGE}
    with client(project, "stranger") as asking:
        assert asking.get("/analytics_events_daily_agg", headers=headers).json() == []
        assert asking.post("/rpc/analytics_events_totals", json=asked).json() == []
        for more in ("sub", "role", "request.jwt.claims", "request.jwt.claim.sub"):
            answer = asking.post(
                "/rpc/analytics_events_totals", json={**asked, more: admin}, headers=headers
            )
            assert answer.is_error or answer.json() == []
            answer = asking.get("/analytics_events_daily_agg", params={more: f"eq.{admin}"})
            assert answer.is_error or answer.json() == []


@pytest.mark.parametrize("claims", ["", "{}", '{"sub": null}', '{"sub": ""}', '{"sub": "x"}'])
def test_a_token_without_a_user_shows_nothing(claims: str, url: str) -> None:
    with signed_in(url, "stranger") as connection:
        connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        for table in WITH_A_POLICY:
            count = f"select count(*) from public.{table}"
            assert connection.execute(count.encode()).fetchone() == (0,)


SHADOWS = """
create table public.done (by name, what text); grant insert on public.done to public;
create function pg_temp.evil(what anyelement) returns boolean language plpgsql as $$
begin
  insert into public.done values (current_user, what::pg_catalog.text);
  return true;
end $$;
create temp table admin_users as select '{sub}'::uuid as user_id;
create temp table account as select gen_random_uuid() as id, '{sub}'::uuid as user_id;
create temp table project as select p as project_id, a.id as account_id
from account a, unnest(array['a', 'b', 'c']) p;
create temp table analytics_events_hourly_agg as select 'a' as project_id;
create temp table pg_roles as select 'authenticated'::name as rolname, true as rolsuper;
create temp table changed_rows as select 'c' as project_id, timestamptz '2026-05-31' as created_at;
grant all on admin_users, account, project, pg_roles, changed_rows, analytics_events_hourly_agg
  to public;
"""
TYPES = (
    *("text", "name", "jsonb", "timestamptz", "date", "regclass", "tstzrange", "tstzmultirange"),
    *("bool", "int4", "int8"),
)
DOMAIN = "create domain pg_temp.{0} as pg_catalog.{0} check (pg_temp.evil(value))"


def test_nothing_of_a_callers_own_session_takes_the_place_of_what_the_owner_means(
    url: str,
) -> None:
    """Temporary types come before pg_catalog's wherever a search_path does not say otherwise."""
    shadows = SHADOWS.format(sub=CALLERS["stranger"]) + ";".join(map(DOMAIN.format, TYPES))
    insert = "create policy add on public.analytics_events for insert to authenticated with check "
    path = "; set local search_path = pg_temp, public"
    adding = f"; grant all on all tables in schema public to authenticated; {insert} (true)"
    with signed_in(url, "stranger", shadows + adding + path) as connection:
        assert connection.execute("select public.analytics_projects_of_caller()").fetchone() == (
            [],
        )
        for table in WITH_A_POLICY:
            count = f"select count(*) from public.{table}"
            assert connection.execute(count.encode()).fetchone() == (0,)
        for function, arguments in QUESTIONS.items():
            asked = {"in_project": "a", **arguments}
            named = ", ".join(f"{key} => '{value}'" for key, value in asked.items())
            call = f"select count(*) from public.{function}({named})"
            assert connection.execute(call.encode()).fetchone() == (0,)
        connection.execute(
            "insert into public.analytics_events (id, project_id, event_type, created_at) "
            "values (0, 'a', 'x', '2026-05-31 05:00+00')"
        )
        connection.execute("reset role")
        found = connection.execute("select distinct by, what from public.done").fetchall()
        assert [row for row in found if row[0] != "authenticated"] == []


@pytest.mark.parametrize(
    "wish",
    [
        "set local role postgres",
        "set local session authorization postgres",
        "select set_config('role', 'postgres', true)",
        "select set_config('session_authorization', 'postgres', true)",
        "alter role authenticated bypassrls",
        "alter table public.analytics_events disable row level security",
        "grant postgres to authenticated",
    ],
)
def test_a_role_of_supabases_becomes_nobody_who_sees_everything(wish: str, url: str) -> None:
    with psycopg.connect(make_conninfo(url, user="authenticator")) as connection:
        connection.execute("set local role authenticated")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(wish.encode())
        assert connection.execute("select public.analytics_projects_of_caller()").fetchone() == (
            [],
        )


def test_whoever_may_add_events_marks_their_hours_without_a_right_to_the_queue(url: str) -> None:
    allow = (
        "create policy add on public.analytics_events for insert to anon with check (true); "
        "grant insert on public.analytics_events to anon; "
        "grant usage on sequence public.analytics_events_id_seq to anon; "
        "delete from public.analytics_rollup_dirty"
    )
    with signed_in(url, "stranger", allow) as connection:
        connection.execute("set local role anon")
        connection.execute(
            "insert into public.analytics_events (project_id, event_type, created_at) "
            "values ('a', 'x', '2026-05-31 05:59:59.999999+00')"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("select * from public.analytics_rollup_dirty")
        connection.execute("reset role")
        query = "select project_id, hour_bucket::text from public.analytics_rollup_dirty"
        assert connection.execute(query).fetchall() == [("a", "2026-05-31 05:00:00+00")]


OPEN_VIEWS = """
select distinct v.relname from pg_class v
join pg_rewrite r on r.ev_class = v.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
join pg_class t on t.oid = d.refobjid and t.relname ~ '^analytics_'
where v.relnamespace = 'public'::regnamespace and (v.relkind = 'm' or v.relkind = 'v'
  and not coalesce(v.reloptions::text ~ 'security_invoker=(on|true)', false))
"""


def test_no_view_of_ours_goes_past_row_level_security(url: str) -> None:
    assert rows(url, OPEN_VIEWS) == []
    with psycopg.connect(url) as connection:
        connection.execute("create view public.open as select * from public.analytics_events")
        assert connection.execute(OPEN_VIEWS).fetchall() == [("open",)]
        connection.rollback()
