"""What the service key may do where Supabase grants nothing by itself: what our migrations grant.

A project need not give new tables to the API's roles; the program must work there too, and this
is the whole of what it needs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import pytest

from config import Settings
from db import open_database, store_snapshots, upsert_daily_analytics
from models import Window
from storage.runs import RunRecord
from tests.integration.strangers import FOR_THE_SIGNED_IN, WITH_A_POLICY, plant
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
    "platform_connections": {
        "select",
        "update (access_token_encrypted)",
        "update (refresh_token_encrypted)",
        "update (token_expires_at)",
        "update (metadata)",
        "update (updated_at)",
    },
    "analytics_snapshots": {"select", "insert", "update"},
    "visit_log_tables": {"select", "insert", "update"},
    "visit_log_watermarks": {"select", "insert", "update", "delete"},
    "analytics_events": {"select", "insert", "update", "delete"},
    "analytics_project_zones": {"select", "insert", "update", "delete"},
    "analytics_rollup_state": {"select", "update"},
    "analytics_events_hourly_agg": {"select"},
    "analytics_events_daily_agg": {"select"},
    "analytics_visitor_hour": {"select"},
    "analytics_visitor_day": {"select"},
    "analytics_visitor_returns": {"select"},
    "analytics_rollup_dirty": {"select"},
    "analytics_rollup_dirty_days": {"select"},
    "analytics_rollup_dirty_returns": {"select"},
}
"""What the program does to each table; a new table is named here together with its grants."""


@pytest.fixture
def bare_project(database_url: str, postgrest: PostgrestServer) -> PostgrestServer:
    """A project whose new tables are granted to nobody: only our migrations' grants count."""
    execute(database_url, NO_GIFTS)
    migrate(database_url)
    plant(database_url)
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
SEQUENCES = """
select relname from pg_class where relnamespace = 'public'::regnamespace
  and case relkind when 'S' then has_sequence_privilege(%s, oid, 'usage, select, update') end
"""
OUR_ROUTINES = """
select proname, prorettype = 'trigger'::regtype, prosecdef, coalesce(proconfig, '{}'),
  has_function_privilege('anon', oid, 'execute'),
  has_function_privilege('authenticated', oid, 'execute'),
  has_function_privilege('service_role', oid, 'execute')
from pg_proc where pronamespace = 'public'::regnamespace
"""
WITH_THE_OWNERS_RIGHTS = {
    # who may not read the queue marks it, by changing events or zones
    *("analytics_rollup_mark_changes", "analytics_rollup_mark", "analytics_rollup_zone_changed"),
    # who may not read queue and sets is told what they come to
    *("analytics_projects_of_caller", "analytics_events_counted", "analytics_events_by_day"),
    *("analytics_pieces", "analytics_rollup_schedule"),
}
HARMLESS = {"analytics_rollup_hour"}
"""Reads nothing, and would not be inlined if it had settings."""


def granted(url: str, role: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for relation, privilege in rows(url, GRANTED.replace("$1", f"'{role}'")):
        found.setdefault(relation, set()).add(privilege)
    return found


def test_our_migrations_grant_the_service_what_the_program_needs_and_nobody_else_anything(
    bare_project: PostgrestServer, database_url: str
) -> None:
    assert granted(database_url, "service_role") == NEEDED
    assert granted(database_url, "authenticated") == {table: {"select"} for table in WITH_A_POLICY}
    assert granted(database_url, "anon") == {}
    for role in ("anon", "authenticated"):
        assert rows(database_url, SEQUENCES, role) == []


@pytest.mark.parametrize("with_gifts", [True, False])
def test_functions_are_for_the_service_or_for_triggers_and_few_borrow_rights(
    with_gifts: bool, database_url: str, postgrest: PostgrestServer
) -> None:
    if not with_gifts:
        execute(database_url, NO_GIFTS)
    migrate(database_url)
    found = rows(database_url, OUR_ROUTINES)
    assert {name for name, _, borrows, *_ in found if borrows} == WITH_THE_OWNERS_RIGHTS
    for_callers = {name for name, trigger, *_, may, _ in found if may and not trigger}
    assert for_callers == set(FOR_THE_SIGNED_IN)
    for name, of_a_trigger, borrows_rights, settings, anybody, signed_in, service in found:
        # Unless pg_temp is named, types of the caller's own session come before pg_catalog's.
        last = "search_path=pg_catalog, pg_temp" in settings
        assert last or not borrows_rights, name
        # One without a path of its own has its caller's: that of the owner, or of one of these.
        others = anybody or signed_in or service
        assert last or 'search_path=""' in settings or not others or name in HARMLESS, name
        hourly = name.startswith("analytics_") or name == "refresh_hourly"
        assert of_a_trigger or not anybody, name
        assert of_a_trigger or service == (not hourly or name in FOR_THE_SIGNED_IN), name


ACCOUNT, NUMBER, RUN = {"oauth_refresh_token": "1//new"}, {"matomo_visits": 8}, {"job": "daily"}
EVENT = {"project_id": "p", "event_type": "x", "created_at": "2026-11-01"}
ZONE = {"project_id": "p", "time_zone": "Asia/Kolkata"}
CONNECTION = {"user_id": "u", "platform": "linkedin"}
SNAPSHOT = {
    **CONNECTION, "source": "social_media", "metric": "m", "value": 1, "date": "2026-11-19",
}  # fmt: skip
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
    ("platform_connections", "GET", None, True),
    ("platform_connections", "POST", CONNECTION, False),
    ("platform_connections", "PATCH", {"metadata": {"needs_reauth": {}}}, True),
    ("platform_connections", "PATCH", {"account_id": "another"}, False),
    ("platform_connections", "PATCH", {"is_active": False}, False),
    ("platform_connections", "DELETE", None, False),
    ("analytics_snapshots", "GET", None, True),
    ("analytics_snapshots", "POST", SNAPSHOT, True),
    ("analytics_snapshots", "PATCH", {"value": 8}, True),
    ("analytics_snapshots", "DELETE", None, False),
    ("visit_log_tables", "GET", None, True),
    ("visit_log_tables", "DELETE", None, False),
    ("analytics_events", "POST", EVENT, True),
    ("analytics_events", "PATCH", {"event_label": "new"}, True),
    ("analytics_events", "GET", None, True),
    ("analytics_events_hourly_agg", "GET", None, True),
    ("analytics_events_hourly_agg", "PATCH", {"event_count": 0}, False),
    ("analytics_events_daily_agg", "DELETE", None, False),
    ("analytics_rollup_dirty", "GET", None, True),
    ("analytics_rollup_dirty", "DELETE", None, False),
    ("analytics_project_zones", "POST", ZONE, True),
    ("analytics_project_zones", "DELETE", None, True),
    ("analytics_rollup_state", "PATCH", {"compact_after": "90 days"}, True),
    ("analytics_rollup_state", "DELETE", None, False),
    ("analytics_events", "DELETE", None, True),
]
SOME_COLUMN = {
    "daily_analytics": "date",
    "analytics_rollup_state": "only_row",
    "analytics_rollup_dirty": "hour_bucket",
    "analytics_project_zones": "time_zone",
    **dict.fromkeys(("analytics_events_hourly_agg", "analytics_events_daily_agg"), "event_type"),
}
"""Where it is not `id`."""


def test_over_the_api_the_service_may_do_what_is_granted_and_no_more(
    bare_project: PostgrestServer, database_url: str
) -> None:
    """With the opaque key and with the JWT that it stands for."""
    for key in (bare_project.secret_key, bare_project.service_key):
        execute(database_url, "delete from public.analytics_snapshots where metric = 'm'")
        headers = {"apikey": key, "Authorization": f"Bearer {key}", "Prefer": "return=minimal"}
        with httpx.Client(base_url=f"{bare_project.url}/rest/v1", headers=headers) as service:
            for table, method, body, allowed in DONE:
                some = SOME_COLUMN.get(table, "id")
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
        [connection] = database.read_connections()
        assert database.renew_connection_token(
            connection.id, connection.access_token, "sentinel-new", None, None
        )
        database.mark_connection(connection.id, {"reason": "r"})
        [snapshot] = database.read_snapshots(Window(date(2026, 11, 19), date(2026, 11, 19)))
        changed = [replace(snapshot, value=8), replace(snapshot, metric="views")]
        assert store_snapshots(database, changed).rows == 2
        assert [row.value for row in database.read_snapshots(Window(snapshot.day, snapshot.day))]
        run = database.insert_run(RunRecord(status="running", job="daily"))
        database.update_run(run, RunRecord(status="complete"))
        assert database.read_open_runs("daily")
    assert len(read_numbers(database_url)) == 2
