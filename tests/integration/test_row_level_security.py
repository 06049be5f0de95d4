"""Nothing of ours is readable or writable through Supabase's REST API without the service key.

As on Supabase, anon and authenticated hold every privilege on every table of the schema public:
row level security alone stands between them and the refresh tokens.
"""

from __future__ import annotations

import httpx
import jwt
import pytest

from tests.integration.databases import TABLES_OF_A_USER
from tests.integration.strangers import RELATIONS, ROWS, TABLE_KINDS, Stranger
from tests.integration.tables import execute, migrate, rows
from tests.services.postgrest import PostgrestServer

# By default it is so on Supabase; whatever a migration takes away, an owner can give again.
GIFTS = "grant all on all tables in schema public to anon, authenticated"
STRANGERS = ("anon", "authenticated")


@pytest.fixture(params=["", TABLES_OF_A_USER], ids=["ours", "of a user"])
def project(
    request: pytest.FixtureRequest, database_url: str, postgrest: PostgrestServer
) -> PostgrestServer:
    """Supabase as it is before the first migration, then a user's tables, ours, and a row each."""
    if request.param:
        execute(database_url, request.param)
    migrate(database_url)
    execute(database_url, ROWS)
    execute(database_url, GIFTS)
    postgrest.reload_schema()
    return postgrest


def stranger(project: PostgrestServer, url: str, role: str) -> Stranger:
    token = project.anon_key if role == "anon" else project.authenticated_key("someone")
    return Stranger(project, url, token)


@pytest.mark.parametrize("role", STRANGERS)
def test_strangers_read_write_and_call_nothing(
    role: str, project: PostgrestServer, database_url: str
) -> None:
    tables = [name for name, kind, _ in rows(database_url, RELATIONS) if kind in TABLE_KINDS]
    assert len(tables) >= 4
    for table in tables:  # else something other than row level security would protect it here
        privileges = "select, insert, update, delete"
        query = "select has_table_privilege(%s, %s, %s)"
        assert rows(database_url, query, role, f"public.{table}", privileges) == [(True,)]
    assert stranger(project, database_url, role).holes() == []


def test_every_table_of_public_has_row_level_security_and_no_policy(
    project: PostgrestServer, database_url: str
) -> None:
    query = (
        "select relname from pg_class c where relnamespace = 'public'::regnamespace "
        "and relkind in ('r', 'p') and (not relrowsecurity or exists ("
        "select from pg_policy where polrelid = c.oid))"
    )
    assert rows(database_url, query) == []


# What a later migration could get wrong.
HOLES = {
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
        "create function public.wipe() returns void language sql security definer set search_path "
        "= '' as 'delete from public.daily_analytics'",
        "wipe() can be called",
    ),
    "a function that wants arguments": (
        "create function public.token_of(id text) returns text language sql security definer "
        "set search_path = '' as 'select oauth_refresh_token from public.gsc_accounts limit 1'",
        "token_of() can be called",
    ),
    "a default that tells": (
        "alter table public.sites alter domain set default '1//sentinel-token'",
        "description holds",
    ),
}


@pytest.mark.parametrize("hole", HOLES)
def test_the_search_finds_every_kind_of_hole(
    hole: str, postgrest: PostgrestServer, database_url: str
) -> None:
    migrate(database_url)
    execute(database_url, ROWS)
    statement, sentence = HOLES[hole]
    execute(database_url, f"{GIFTS}; {statement}")
    postgrest.reload_schema()
    found = stranger(postgrest, database_url, "anon").holes()
    assert any(sentence in line for line in found), found


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
