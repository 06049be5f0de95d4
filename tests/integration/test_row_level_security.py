"""Nothing of ours is readable or writable through Supabase's REST API without the service key.

As on Supabase, anon and authenticated hold every privilege on every table of the schema public:
row level security alone stands between them and the refresh tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import jwt
import pytest

from tests.integration.databases import TABLES_OF_A_USER
from tests.integration.strangers import RELATIONS, TABLE_KINDS, WITH_A_POLICY, Stranger, plant
from tests.integration.tables import execute, migrate, rows
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer

# By default it is so on Supabase; whatever a migration takes away, an owner can give again.
GIFTS = "grant all on all tables in schema public to anon, authenticated"
STRANGERS = ("anon", "authenticated")

_numbers = itertools.count(1)


@contextmanager
def planted(postgres: PostgresServer, before: str = "") -> Iterator[tuple[PostgrestServer, str]]:
    """Supabase as it is before the first migration, then a user's tables, ours, and rows in all."""
    name = f"planted_{next(_numbers)}"
    url = postgres.create_database(name)
    with PostgrestServer(url) as server:
        if before:
            execute(url, before)
        migrate(url)
        plant(url)
        execute(url, GIFTS)
        server.reload_schema()
        yield server, url
    postgres.drop_database(name)


@pytest.fixture(scope="module", params=["", TABLES_OF_A_USER], ids=["ours", "of a user"])
def opened(
    request: pytest.FixtureRequest, postgres: PostgresServer
) -> Iterator[tuple[PostgrestServer, str]]:
    """No test changes anything in it: one is enough."""
    with planted(postgres, request.param) as both:
        yield both


@pytest.fixture
def project(opened: tuple[PostgrestServer, str]) -> PostgrestServer:
    return opened[0]


@pytest.fixture
def project_url(opened: tuple[PostgrestServer, str]) -> str:
    return opened[1]


def stranger(project: PostgrestServer, url: str, role: str) -> Stranger:
    token = project.anon_key if role == "anon" else project.authenticated_key("someone")
    return Stranger(project, url, token)


@pytest.mark.parametrize("role", STRANGERS)
def test_strangers_read_write_and_call_nothing(
    role: str, project: PostgrestServer, project_url: str
) -> None:
    tables = [name for name, kind, *_ in rows(project_url, RELATIONS) if kind in TABLE_KINDS]
    assert len(tables) >= 30
    for table in tables:  # else something other than row level security would protect it here
        privileges = "select, insert, update, delete"
        query = "select has_table_privilege(%s, %s, %s)"
        assert rows(project_url, query, role, f"public.{table}", privileges) == [(True,)]
    assert stranger(project, project_url, role).holes() == []


def test_every_table_of_public_has_row_level_security_and_three_have_a_policy(
    project_url: str,
) -> None:
    query = (
        "select relname from pg_class where relnamespace = 'public'::regnamespace "
        "and relkind in ('r', 'p') and not relrowsecurity"
    )
    assert rows(project_url, query) == []
    policies = "select tablename, policyname, cmd, permissive, roles::text[] from pg_policies"
    assert sorted(rows(project_url, policies)) == [
        (table, "Projects of the caller", "SELECT", "PERMISSIVE", ["authenticated"])
        for table in WITH_A_POLICY
    ]


# What a later migration could get wrong, and how the search names it: for whoever holds the anon
# key alone, and for somebody who is signed in.
HOLES = {
    "anon": {
        "a table without row level security": (
            "alter table public.sites disable row level security",
            "sites can be read",
        ),
        "a policy for everybody": (
            "create policy all_of_it on public.gsc_accounts for select using (true)",
            "gsc_accounts can be read",
        ),
        "a policy to write": (
            "create policy add on public.aggregator_runs for insert with check (true)",
            "aggregator_runs takes rows",
        ),
        "a policy to change": (
            "create policy seen on public.daily_analytics for select using (true);"
            "create policy change on public.daily_analytics for update using (true)",
            "daily_analytics yields to PATCH",
        ),
        "a view with its owner's eyes": (
            "create view public.tokens as select oauth_refresh_token from public.gsc_accounts",
            "tokens can be read",
        ),
        "a function with its owner's rights": (
            "create function public.wipe() returns void language sql security definer "
            "set search_path = '' as 'delete from public.daily_analytics'",
            "wipe() can be called",
        ),
        "a function that wants arguments": (
            "create function public.token_of(id text) returns text language sql security definer "
            "set search_path = '' as 'select oauth_refresh_token from public.gsc_accounts limit 1'",
            "token_of() can be called",
        ),
        "a default that tells": (
            "alter table public.sites alter domain set default '1//sentinel-token'",
            "the API's description holds",
        ),
        "a partition without row level security": (
            "alter table public.analytics_events_default disable row level security",
            "analytics_events_default can be read",
        ),
        "a reader that is anybody's": (
            "grant execute on function public.analytics_projects_of_caller() to anon",
            "analytics_projects_of_caller() is granted to anon",
        ),
    },
    "authenticated": {
        "a policy that shows too much": (
            "create policy all_of_it on public.analytics_events_daily_agg for select "
            "to authenticated using (true)",
            "analytics_events_daily_agg can be read",
        ),
        "a policy to add to what is shown": (
            "create policy add on public.analytics_events for insert to authenticated "
            "with check (true)",
            "analytics_events takes rows",
        ),
        "a policy on the queue": (
            "create policy look on public.analytics_rollup_dirty for select to authenticated "
            "using (true)",
            "analytics_rollup_dirty can be read",
        ),
        "a function that is the owner's alone": (
            "grant execute on function public.analytics_rollup_mark to authenticated",
            "analytics_rollup_mark() is granted to authenticated",
        ),
        "a reader that does not ask who calls": (
            "create or replace function public.analytics_events_totals(in_project text, "
            "from_at timestamptz, to_at timestamptz) returns table (total_events bigint, "
            "unique_visitors bigint, unique_sessions bigint) language sql security definer "
            "set search_path = '' as 'select count(*), 0::bigint, 0::bigint "
            "from public.analytics_events'",
            "analytics_events_totals() can be called",
        ),
    },
}


@pytest.mark.parametrize("role", STRANGERS)
def test_the_search_finds_every_kind_of_hole(role: str, postgres: PostgresServer) -> None:
    with planted(postgres) as (project, url):
        for statement, _ in HOLES[role].values():
            execute(url, statement)
        project.reload_schema()
        found = stranger(project, url, role).holes()
    missed = {
        hole: sentence
        for hole, (_, sentence) in HOLES[role].items()
        if not any(line.startswith(sentence) for line in found)
    }
    assert missed == {}, found


def test_a_token_that_supabase_has_not_signed_is_refused(project: PostgrestServer) -> None:
    forged = jwt.encode({"role": "service_role", "exp": 4102444800}, "x" * 64, algorithm="HS256")
    unsigned = jwt.encode({"role": "service_role", "exp": 4102444800}, "", algorithm="none")
    for token in (forged, unsigned, "sb_secret_guess"):
        answer = httpx.get(
            f"{project.url}/rest/v1/gsc_accounts",
            headers={"apikey": project.anon_key, "Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 401
        assert "sentinel" not in answer.text


@pytest.mark.parametrize("key", ["anon", "service"])
def test_other_schemas_are_not_served(key: str, project: PostgrestServer) -> None:
    token = project.anon_key if key == "anon" else project.service_key
    answer = httpx.get(
        f"{project.url}/rest/v1/schema_migrations",
        headers={"apikey": token, "Accept-Profile": "supabase_migrations"},
    )
    assert answer.status_code == 406
