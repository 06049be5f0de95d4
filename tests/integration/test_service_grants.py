"""What the service key may do where Supabase grants nothing by itself: what our migrations grant.

A project need not give new tables to the API's roles; the program must work there too, and this
is the whole of what it needs.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import httpx
import pytest

from config import Settings
from db import open_database, upsert_daily_analytics
from storage.runs import RunRecord
from tests.integration.strangers import ROWS
from tests.integration.tables import execute, migrate, read_numbers, rows
from tests.services.postgrest import PostgrestServer

NO_GIFTS = "; ".join(
    f"alter default privileges in schema public revoke all on {what} "
    "from anon, authenticated, service_role"
    for what in ("tables", "sequences", "routines")
)

NEEDED = {
    "sites": {"select"},
    "gsc_accounts": {"select", "insert (oauth_refresh_token)", "update (oauth_refresh_token)"},
    "daily_analytics": {"select", "insert", "update"},
    "aggregator_runs": {"select", "insert", "update", "delete"},
    "visit_log_tables": {"select", "insert", "update"},
    "visit_log_watermarks": {"select", "insert", "update", "delete"},
}
"""What the program does to each table; a new table is named here together with its grants."""


@pytest.fixture
def bare_project(database_url: str, postgrest: PostgrestServer) -> PostgrestServer:
    """A project whose new tables are granted to nobody: only our migrations' grants count."""
    execute(database_url, NO_GIFTS)
    migrate(database_url)
    execute(database_url, ROWS)
    postgrest.reload_schema()
    return postgrest


GRANTED = """
select c.relname, lower(a.privilege_type)
from pg_class c, aclexplode(c.relacl) a
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and a.grantee = to_regrole($1)
union all
select c.relname, lower(a.privilege_type) || ' (' || t.attname || ')'
from pg_class c join pg_attribute t on t.attrelid = c.oid, aclexplode(t.attacl) a
where c.relnamespace = 'public'::regnamespace and a.grantee = to_regrole($1)
"""
OUR_ROUTINES = """
select proname, prorettype = 'trigger'::regtype, prosecdef, proconfig,
  has_function_privilege('anon', oid, 'execute')
  or has_function_privilege('authenticated', oid, 'execute'),
  has_function_privilege('service_role', oid, 'execute')
from pg_proc where pronamespace = 'public'::regnamespace
"""


def granted(url: str, role: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for relation, privilege in rows(url, GRANTED.replace("$1", f"'{role}'")):
        found.setdefault(relation, set()).add(privilege)
    return found


def test_our_migrations_grant_the_service_what_the_program_needs_and_nobody_else_anything(
    bare_project: PostgrestServer, database_url: str
) -> None:
    assert granted(database_url, "service_role") == NEEDED
    assert granted(database_url, "anon") == granted(database_url, "authenticated") == {}


@pytest.mark.parametrize("with_gifts", [True, False])
def test_functions_are_for_the_service_or_for_triggers_and_borrow_no_rights(
    with_gifts: bool, database_url: str, postgrest: PostgrestServer
) -> None:
    if not with_gifts:
        execute(database_url, NO_GIFTS)
    migrate(database_url)
    found = rows(database_url, OUR_ROUTINES)
    assert found
    for name, of_a_trigger, borrows_rights, settings, for_strangers, for_the_service in found:
        assert not borrows_rights, name
        assert 'search_path=""' in (settings or ()), name
        assert of_a_trigger or (for_the_service and not for_strangers), name


ACCOUNT, NUMBER, RUN = {"oauth_refresh_token": "1//new"}, {"matomo_visits": 8}, {"job": "daily"}
DONE: list[tuple[str, str, dict[str, Any] | None, bool]] = [
    # table, method, body, whether it is allowed
    ("sites", "GET", None, True),
    ("sites", "POST", {"domain": "new.example"}, False),
    ("sites", "PATCH", {"domain": "new.example"}, False),
    ("sites", "DELETE", None, False),
    ("gsc_accounts", "GET", None, True),
    ("gsc_accounts", "POST", ACCOUNT, True),
    ("gsc_accounts", "PATCH", ACCOUNT, True),
    ("gsc_accounts", "PATCH", {"id": "00000000-0000-0000-0000-000000000007"}, False),
    ("gsc_accounts", "DELETE", None, False),
    ("daily_analytics", "GET", None, True),
    ("daily_analytics", "PATCH", NUMBER, True),
    ("daily_analytics", "DELETE", None, False),
    ("aggregator_runs", "GET", None, True),
    ("aggregator_runs", "POST", RUN, True),
    ("aggregator_runs", "PATCH", RUN, True),
    ("aggregator_runs", "DELETE", None, True),
    ("visit_log_tables", "GET", None, True),
    ("visit_log_tables", "DELETE", None, False),
]


def test_over_the_api_the_service_may_do_what_is_granted_and_no_more(
    bare_project: PostgrestServer,
) -> None:
    """With the opaque key and with the JWT that it stands for."""
    for key in (bare_project.secret_key, bare_project.service_key):
        headers = {"apikey": key, "Authorization": f"Bearer {key}", "Prefer": "return=minimal"}
        with httpx.Client(base_url=f"{bare_project.url}/rest/v1", headers=headers) as service:
            for table, method, body, allowed in DONE:
                some = "date" if table == "daily_analytics" else "id"
                answer = service.request(
                    method,
                    f"/{table}",
                    params={} if method == "POST" else {some: "not.is.null"},
                    json=body,
                )
                expected = answer.is_success if allowed else answer.status_code == 403
                assert expected, f"{method} {table} {body}: {answer.status_code} {answer.text}"


def test_the_program_works_with_nothing_but_these_grants(
    bare_project: PostgrestServer, database_url: str
) -> None:
    settings = Settings(supabase_url=bare_project.url, supabase_service_key=bare_project.secret_key)
    with open_database(settings) as database:
        [site] = database.read_sites()
        assert [account.id for account in database.read_gsc_accounts()] == [site.gsc_account_id]
        days = {date(2026, 11, 19): {"matomo_visits": 8}, date(2026, 11, 20): {"gsc_clicks": 1}}
        assert upsert_daily_analytics(database, {site.id: days}, {site.id: list(days)}).rows == 2
        run = database.insert_run(RunRecord(status="running", job="daily"))
        database.update_run(run, RunRecord(status="complete"))
        assert database.read_open_runs("daily")
    assert len(read_numbers(database_url)) == 2
