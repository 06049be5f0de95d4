"""Who asks for the rollup's numbers: the design's four tables, and five callers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.integration.tables import execute, rows

TABLES = """
create table public.admin_users (user_id uuid);
create table public.account (id uuid, user_id uuid);
create table public.project (project_id text, account_id uuid);
create table public.account_collaborator (account_id uuid, user_id uuid);
alter table public.admin_users enable row level security;
alter table public.account enable row level security;
alter table public.project enable row level security;
alter table public.account_collaborator enable row level security;
"""
CALLERS = {
    "admin": "00000000-0000-4000-8000-00000000000a",
    "member": "00000000-0000-4000-8000-00000000000b",
    "collaborator": "00000000-0000-4000-8000-00000000000c",
    "stranger": "00000000-0000-4000-8000-00000000000d",
}
"""The `sub` of their tokens; there is a fifth, who has none."""

PROJECTS = ("a", "b", "c")
MAY_SEE = {"admin": PROJECTS, "member": ("a",), "collaborator": ("b",), "stranger": ()}

# Project c is of an account that nobody here has to do with. A project may lack its id.
RIGHTS = f"""
insert into public.admin_users values ('{CALLERS["admin"]}');
insert into public.account values
  ('00000000-0000-4000-8000-0000000000a1', '{CALLERS["member"]}'),
  ('00000000-0000-4000-8000-0000000000a2', '00000000-0000-4000-8000-00000000000e'),
  ('00000000-0000-4000-8000-0000000000a3', null);
insert into public.project values
  ('a', '00000000-0000-4000-8000-0000000000a1'), (null, '00000000-0000-4000-8000-0000000000a1'),
  ('b', '00000000-0000-4000-8000-0000000000a2'), (null, '00000000-0000-4000-8000-0000000000a2'),
  ('c', '00000000-0000-4000-8000-0000000000a3'), ('d', null);
insert into public.account_collaborator values
  ('00000000-0000-4000-8000-0000000000a2', '{CALLERS["collaborator"]}'), (null, null),
  ('00000000-0000-4000-8000-0000000000a1', null), (null, '{CALLERS["stranger"]}');
"""
EVENTS = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, created_at)
select project, 'v' || n % 7, 's' || n % 11, 'type ' || n % 2,
  case when n % 3 > 0 then 'label ' || n % 3 end,
  timestamptz '2026-05-30 22:10+00' + n * interval '23 min'
from unnest(array['a', 'b', 'c']) project, generate_series(1, 150) n
"""


def fill(url: str) -> None:
    """Rights, counted events of all projects, and late ones that are not counted yet."""
    execute(url, RIGHTS)
    execute(url, EVENTS)
    execute(url, "call public.refresh_hourly(1000)")
    execute(url, EVENTS.replace("23 min", "31 min").replace("'v'", "'late '"))
    [(dirty,)] = rows(url, "select count(*) from public.analytics_rollup_dirty")
    assert dirty


@contextmanager
def signed_in(url: str, caller: str, before: str = "") -> Iterator[psycopg.Connection[Any]]:
    """A transaction as PostgREST makes it for a token, after `before` as the owner; undone."""
    claims = json.dumps({"sub": CALLERS[caller], "role": "authenticated"})
    with psycopg.connect(url) as connection:
        if before:
            connection.execute(before.encode())
        connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        connection.execute("set local role authenticated")
        yield connection
        connection.rollback()
