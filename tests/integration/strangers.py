"""What somebody without the service key gets at through the REST API, looked for in every way.

Everything that is asked for comes from the catalog, so that whatever a later migration adds is
looked at too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from tests.integration.tables import execute, rows
from tests.services.postgrest import PostgrestServer

ROWS = """
with account as (
  insert into public.gsc_accounts (oauth_refresh_token) values ('1//sentinel-token') returning id
), site as (
  insert into public.sites (domain, matomo_site_id, gsc_account_id, status_deployment)
  select 'sentinel.example', 7, id, 'deployed' from account returning id
)
insert into public.daily_analytics (date, site_id, matomo_visits)
select date '2026-11-19', id, 7 from site;
with kept as (
  insert into public.visit_log_tables (table_schema, table_name, table_oid, server, true_utc)
  values ('public', 'matomo', 7, 'https://sentinel.example', false) returning id
)
insert into public.visit_log_watermarks (table_id, idsite, complete_through)
select id, 7, date '2026-11-19' from kept;
insert into public.aggregator_runs (job, failures) values ('daily', '[{"site": "sentinel-site"}]');
insert into public.analytics_project_zones values ('sentinel-project', 'Asia/Kolkata');
insert into public.platform_connections (user_id, platform, account_id, access_token_encrypted)
values ('sentinel-user', 'instagram', 'sentinel-account', 'sentinel-access-token');
insert into public.analytics_snapshots (user_id, platform, source, metric, value, date)
values ('sentinel-user', 'instagram', 'social_media', 'reach', 7, '2026-11-19');
"""
# One in each month that has a partition, and one in a month that never gets one.
EVENTS = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, event_data, created_at)
select 'sentinel-project', 'sentinel-visitor', 'sentinel-session', 'sentinel', 'sentinel-label',
  jsonb '{"of": "sentinel"}', moment
from generate_series(-1, 3) n, cast(now() + make_interval(months => n) as timestamptz) moment
union all
select 'sentinel-project', 'sentinel-visitor', null, 'sentinel', null, null, '1999-01-01'
"""
RETURNS = """
insert into public.analytics_rollup_dirty_returns (project_id, grain, day)
values ('sentinel-project', 'project', '1999-01-01')
"""
RELATIONS = """
select c.relname, c.relkind::text, coalesce(
  (select jsonb_agg(a.attname order by a.attnum) from pg_attribute a
   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     and a.attidentity <> 'a' and a.attgenerated = ''), '[]'), c.relispartition
from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r','p','v','m','f')
order by c.relname
"""
REFERENCES = """
select distinct child.relname, parent.relname
from pg_constraint k join pg_class child on child.oid = k.conrelid
join pg_class parent on parent.oid = k.confrelid
where k.contype = 'f' and child.relnamespace = 'public'::regnamespace order by 1, 2
"""
ROUTINES = """
select p.proname, p.prorettype::regtype::text, coalesce(to_jsonb(p.proargnames[:p.pronargs]), '[]')
from pg_proc p where p.pronamespace = 'public'::regnamespace order by 1
"""
TABLE_KINDS = ("r", "p")
SENTINEL = "sentinel"
"""Part of everything that a test plants in the tables."""

DENIED = (401, 403)

WITH_A_POLICY = (
    *("analytics_events", "analytics_events_daily_agg", "analytics_events_hourly_agg"),
)
"""Whoever is signed in reads rows of these: those of their projects."""

FOR_THE_SIGNED_IN = {
    **dict.fromkeys(
        (
            *("analytics_events_series", "analytics_events_counted", "analytics_events_totals"),
            *("analytics_events_by_hour", "analytics_events_by_day", "analytics_events_by_label"),
            "analytics_projects_of_caller",
        ),
        "[]",
    ),
    "analytics_rollup_hour": '"2026-11-01T00:00:00+00:00"',
}
"""Functions that look at their caller themselves, or at nothing: what they say to a stranger."""

ASKED = {
    "in_project": "sentinel-project",
    "in_type": "sentinel",
    "from_at": "1990-01-01",
    "to_at": "2090-01-01",
    "granularity": "total",
    "of_grain": "project",
    "by_type": "false",
    "by_label": "false",
    "only_type": "sentinel",
    "uniques": "both",
    "moment": "2026-11-01",
}
"""Arguments that functions take, about what is planted."""

PLANNED = ("planned", "estimated")


def plant(url: str) -> None:
    """Something in every table and every partition: counted events, and events not yet counted."""
    execute(url, ROWS)
    execute(url, EVENTS)
    execute(url, "call public.refresh_hourly(1000)")
    execute(url, EVENTS)
    execute(url, RETURNS)


@dataclass
class Stranger:
    """One who holds the anon key, and perhaps a signed-in user's token beside it."""

    postgrest: PostgrestServer
    url: str
    token: str
    found: list[str] = field(default_factory=list)

    def holes(self) -> list[str]:
        """A sentence for everything that could be read, written or called; none is the aim."""
        before = contents(self.url)
        headers = {
            "apikey": self.postgrest.anon_key,
            "Authorization": f"Bearer {self.token}",
        }
        with httpx.Client(base_url=f"{self.postgrest.url}/rest/v1", headers=headers) as self.client:
            for relation, kind, columns, of_another in rows(self.url, RELATIONS):
                if of_another:  # PostgREST takes nothing by a partition's own name
                    self._see_nothing(relation, f"/{relation}", "*")
                    continue
                self._read(relation)
                if kind in TABLE_KINDS:
                    self._write(relation, columns, before[relation])
            for child, parent in rows(self.url, REFERENCES):
                self._see_nothing(f"{child} with {parent}", f"/{child}", f"*,{parent}(*)")
                self._see_nothing(f"{parent} with {child}", f"/{parent}", f"*,{child}(*)")
            for routine, returns, arguments in rows(self.url, ROUTINES):
                self._call(routine, returns, arguments)
            self._read_the_description()
        after = contents(self.url)
        self.found += [f"{name} was changed" for name in before if before[name] != after[name]]
        return self.found

    def _note(self, wrong: bool, sentence: str) -> None:
        if wrong:
            self.found.append(sentence)

    def _see_nothing(self, what: str, path: str, select: str, **headers: str) -> None:
        answer = self.client.get(path, params={"select": select}, headers=headers)
        # Rows may be hidden (200 and none of them) or the table denied.
        nothing = answer.status_code in DENIED or (answer.status_code == 200 and not answer.json())
        self._note(not nothing, f"{what} can be read: {answer.status_code} {answer.text[:80]}")

    def _read(self, relation: str) -> None:
        self._see_nothing(relation, f"/{relation}", "*")
        # What a query is expected to find is told to whoever a policy is for.
        planned = () if self._role == "authenticated" and relation in WITH_A_POLICY else PLANNED
        for count in ("exact", *planned):
            answer = self.client.head(f"/{relation}", headers={"Prefer": f"count={count}"})
            number = answer.headers.get("Content-Range", "*/0").rpartition("/")[2]
            self._note(number != "0", f"{relation}: {number} rows are told by count={count}")
        lines = self.client.get(f"/{relation}", headers={"Accept": "text/csv"})
        self._note(lines.is_success and bool(lines.text.strip()), f"{relation} can be read as CSV")

    def _write(self, table: str, columns: list[str], stored: list[dict[str, Any]]) -> None:
        assert stored, f"{table} holds nothing that could be found: fill it in the test"
        row = {name: stored[0][name] for name in columns}
        for wish in ("return=representation", "return=minimal", "resolution=merge-duplicates"):
            answer = self.client.post(f"/{table}", json=row, headers={"Prefer": wish})
            # A row that is there already would be refused as a duplicate (409) by an open table.
            self._note(
                answer.status_code not in DENIED,
                f"{table} takes rows ({wish}): {answer.status_code} {answer.text[:80]}",
            )
        every = {columns[0]: "not.is.null"}
        for method, body in (("PATCH", row), ("DELETE", None)):
            answer = self.client.request(
                method, f"/{table}", params=every, json=body,
                headers={"Prefer": "return=representation,count=exact"},
            )  # fmt: skip
            nothing = answer.status_code in DENIED or (answer.is_success and answer.json() == [])
            self._note(not nothing, f"{table} yields to {method}: {answer.text[:80]}")

    def _call(self, routine: str, returns: str, arguments: list[str]) -> None:
        """Trigger functions are for everybody to execute, and can be called by nobody."""
        harmless = FOR_THE_SIGNED_IN.get(routine)
        for body in ({}, {name: ASKED.get(name, "x") for name in arguments}):
            answer = self.client.post(f"/rpc/{routine}", json=body)
            expected = self._role == "authenticated" and answer.text == harmless
            self._note(
                answer.is_success and not expected,
                f"{routine}() can be called: it returns {answer.text[:80]}",
            )
        if returns not in ("trigger", "event_trigger"):
            for role in ("anon",) if harmless else ("anon", "authenticated"):
                for allowed in self._may_execute(role, routine):
                    self._note(allowed, f"{routine}() is granted to {role}")

    @property
    def _role(self) -> str:
        role: str = jwt.decode(self.token, options={"verify_signature": False})["role"]
        return role

    def _may_execute(self, role: str, routine: str) -> Iterator[bool]:
        query = (
            "select has_function_privilege(%s, oid, 'execute') from pg_proc "
            "where proname = %s and pronamespace = 'public'::regnamespace"
        )
        for (allowed,) in rows(self.url, query, role, routine):
            yield allowed

    def _read_the_description(self) -> None:
        """The root says which tables there are and what their columns are called, no more."""
        told = self.client.get("/").text
        self._note(SENTINEL in told, "the API's description holds what a table does")


def contents(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, as a superuser sees them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for relation, kind, *_ in rows(url, RELATIONS):
        if kind in TABLE_KINDS:
            query = f'select to_jsonb(t) from public."{relation}" t order by to_jsonb(t)::text'
            found[relation] = [row for (row,) in rows(url, query)]
    return found
