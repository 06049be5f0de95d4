"""The rollup's migrations over what somebody has: nothing is lost and nothing doubled.

On every Postgres from 15 on, with Supabase's roles and without them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.conninfo import make_conninfo

from storage.errors import DatabaseRefused
from tests.integration import hourly_callers
from tests.integration.hourly_design import (
    AUTH,
    EVENTS,
    FILL,
    POLICIES,
    RUN,
    TABLE,
    differences,
    drain,
)
from tests.integration.tables import execute, migrate, rows
from tests.integration.test_migrations import structure
from tests.services.postgres import PostgresServer
from tests.services.postgrest import create_roles

ROLES = ("anon", "authenticated", "service_role", "authenticator")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(major, marks=pytest.mark.xdist_group(f"postgres-{major}"))
        for major in (15, 16, 17, 18)
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of its own for each version, which has none of Supabase's roles."""
    with PostgresServer(request.param) as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    yield server.create_database("fresh")
    server.drop_database("fresh")


@pytest.fixture
def supabase_url(server: PostgresServer, url: str) -> Iterator[str]:
    """The same with Supabase's roles, while the test runs."""
    create_roles(url)
    yield url
    server.drop_database("fresh")
    execute(server.url(), f"drop role {', '.join(ROLES)}")


# Rows of the design's table whose events are gone; of those without a label the newest counts.
GONE = """
insert into analytics_events_hourly_agg (project_id, event_type, event_label, hour_bucket,
  event_count, unique_visitors, unique_sessions, updated_at) values
  ('gone', 'x', null, '2025-12-01 10:00+00', 5, 3, 2, '2025-12-01 11:05+00'),
  ('gone', 'x', null, '2025-12-01 10:00+00', 7, 4, 3, '2025-12-01 12:05+00'),
  ('gone', 'x', null, '2025-12-01 10:00+00', 6, 3, 2, '2025-12-01 11:35+00'),
  ('gone', 'x', 'l', '2025-12-01 10:00+00', 1, 1, 1, '2025-12-01 12:05+00'),
  -- as a session in Asia/Kolkata truncates hours
  ('gone', 'x', 'half', '2025-12-02 10:30+00', 4, 2, 2, '2025-12-02 12:05+00'),
  ('gone', 'x', 'half', '2025-12-02 11:30+00', 3, 3, 1, '2025-12-02 13:05+00');
"""
KEPT = [
    ("half", "2025-12-02 10:00:00+00", 4, 2, 2),
    ("half", "2025-12-02 11:00:00+00", 3, 3, 1),
    ("l", "2025-12-01 10:00:00+00", 1, 1, 1),
    (None, "2025-12-01 10:00:00+00", 7, 4, 3),
]
GONE_ROWS = (
    "select event_label, hour_bucket::text, event_count, unique_visitors, unique_sessions "
    "from public.analytics_events_hourly_agg where project_id = 'gone' order by 1, 2"
)
KEYS = (
    "select distinct project_id, event_type, event_label, date_bin('1 hour', hour_bucket, "
    "timestamptz '2000-01-01 00:00+00') from public.analytics_events_hourly_agg"
)
THEIRS = """
create function public.analytics_track(what text) returns void language sql as '';
create role reporter; grant select on analytics_events_hourly_agg to reporter;
create policy theirs on analytics_events_hourly_agg for select to reporter using (
  exists (select from project p where p.project_id = analytics_events_hourly_agg.project_id));
"""
# What is theirs stays as it is: the events' own table, and a function that is called like ours.
RIGHTS_OF_OTHERS = """
select relname, relrowsecurity::text, (select array_agg(a order by a) from aclexplode(relacl) a
  where a.grantee::regrole::text <> 'service_role')::text, null
from pg_class where relname in ('analytics_events', 'analytics_events_id_seq')
union all select proname, '', proacl::text, null from pg_proc where proname = 'analytics_track'
union all select polname, '', '', pg_get_expr(polqual, polrelid) from pg_policy
where polrelid = 'public.analytics_events'::regclass order by 1
"""


def test_the_designs_table_is_taken_over_and_no_row_is_lost(
    server: PostgresServer, supabase_url: str
) -> None:
    url = supabase_url
    for part in (AUTH, hourly_callers.TABLES, EVENTS, TABLE, POLICIES, FILL, RUN, RUN, GONE, RUN):
        execute(url, part)
    execute(url, THEIRS)
    keys, theirs = set(rows(url, KEYS)), rows(url, RIGHTS_OF_OTHERS)
    migrate(url)
    assert keys == set(rows(url, KEYS))
    assert rows(url, GONE_ROWS) == KEPT
    assert rows(url, RIGHTS_OF_OTHERS) == theirs
    before = structure(url)
    execute(url, "drop schema supabase_migrations cascade")
    migrate(url)
    assert structure(url) == before
    drain(url)
    assert rows(url, GONE_ROWS) == KEPT
    assert differences(url, "hourly", "project_id <> 'gone'") == []
    assert differences(url, "daily") == []
    assert rows(url, WHO_READS) == [
        ("Projects of the caller", ["authenticated"]),
        ("theirs", ["reporter"]),
    ]
    may = "select has_table_privilege('reporter', 'public.analytics_events_hourly_agg', 'select')"
    assert rows(url, may) == [(True,)]
    check_that_gone_hours_are_told(url)
    execute(url, "drop owned by reporter; drop role reporter")


WHO_READS = (
    "select policyname, roles::text[] from pg_policies "
    "where tablename = 'analytics_events_hourly_agg' order by 1"
)


def check_that_gone_hours_are_told(url: str) -> None:
    """Counts are known; unique ones only where a stored row is the whole answer."""
    query = "select event_count, unique_visitors, unique_sessions from "
    series = "analytics_events_series('gone', '2025-12-01 10:00+00', '2025-12-01 11:00+00'"
    assert rows(url, f"{query} {series}, 'hour')") == [(8, None, None)]
    labels = f"{query} {series}, 'hour', by_label => true) order by event_count"
    assert rows(url, labels) == [(1, 1, 1), (7, 4, 3)]
    totals = "select * from analytics_events_totals('gone', '2025-12-01 10:00', '2025-12-02 12:00')"
    assert rows(url, totals) == [(15, None, None)]


# Tables of a user's own, which have what is needed and more; and the indexes that they lack.
SHAPES = {
    "new": ("", 0),
    "plain": (
        """
create table public.analytics_events (
  event_type varchar(40) not null, created_at timestamp not null default now(), id uuid primary key
  default gen_random_uuid(), session_id integer, visitor_id uuid, project_id uuid not null,
  event_label varchar, tenant int not null default 1, event_data json
);
create index mine on public.analytics_events (created_at desc);
""",
        1,
    ),
    "by day": (
        """
create table public.analytics_events (
  id bigserial, project_id text not null, visitor_id text, session_id text, event_type text,
  event_label text, created_at timestamptz not null, primary key (project_id, created_at, id)
) partition by range (created_at);
create table public.analytics_events_20260510 partition of public.analytics_events
  for values from ('2026-05-10') to ('2026-05-11');
create table public.analytics_events_default partition of public.analytics_events default;
create index on public.analytics_events using brin (created_at);
""",
        1,
    ),
    "by project": (
        """
create table public.analytics_events (
  id bigserial, project_id text not null, visitor_id text, session_id text, event_type text,
  event_label text, created_at timestamptz
) partition by list (project_id);
create table public.analytics_events_default partition of public.analytics_events default;
create index on public.analytics_events (created_at, project_id);
create index on public.analytics_events (project_id, created_at desc, id);
""",
        0,
    ),
}
INDEXES = "select count(*) from pg_indexes where tablename = 'analytics_events'"
PARTS = (
    "select relid::regclass::text from pg_partition_tree('analytics_events') where level > 0 "
    "order by 1"
)
TOTALS = (
    "analytics_events_totals('00000001-0000-4000-8000-000000000000', '2026-05-01', '2026-06-01')"
)
LEADING = """
select array(select pg_get_indexdef(indexrelid, k, true) from generate_series(1, 2) k)
from pg_index where indrelid = 'public.analytics_events'::regclass and indpred is null
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_events_of_any_shape_are_counted_where_they_are(shape: str, url: str) -> None:
    made, lacking = SHAPES[shape]
    if made:
        execute(url, made + FILL)
        indexes, parts = rows(url, INDEXES), rows(url, PARTS)
    migrate(f"{url}&options=-ctimezone%3DAsia/Kolkata")
    if made:
        assert rows(url, INDEXES) == [(indexes[0][0] + lacking,)]
        assert rows(url, PARTS) == parts
        marked = "select count(distinct hour_bucket), count(project_id) from analytics_rollup_dirty"
        assert rows(url, marked) == [(31, 0)]
    else:
        execute(url, FILL)
    led = [tuple(columns) for (columns,) in rows(url, LEADING)]
    assert sum(first.startswith("created_at") for first, _ in led) >= 1
    before = structure(url)
    execute(url, "drop schema supabase_migrations cascade")
    migrate(url)
    assert structure(url) == before
    drain(url)
    execute(url, FILL.replace("9 min", "10 min"))
    project = "00000001-0000-4000-8000-000000000000"
    total = (
        f"select total_events from analytics_events_totals('{project}', '2026-05-01', '2026-06-01')"
    )
    assert rows(url, total) == [(200,)]
    drain(url)
    assert differences(url, "hourly") == []
    assert differences(url, "daily") == []
    assert rows(url, total) == [(200,)]


def test_an_owner_who_is_no_superuser_migrates_counts_and_reads(
    server: PostgresServer, url: str
) -> None:
    execute(url, "create role owner login; alter database fresh owner to owner")
    owner = make_conninfo(url, user="owner")
    migrate(owner)
    execute(owner, FILL)
    drain(owner)
    assert differences(owner, "hourly") == differences(owner, "daily") == []
    assert rows(owner, f"select * from {TOTALS}") == [(100, 9, 17)]
    assert rows(owner, "select public.analytics_rollup_upkeep()::text") == [("",)]
    server.drop_database("fresh")
    execute(server.url(), "drop role owner")


HOUR_OF_DESIGN = """
insert into public.analytics_events_hourly_agg
  (project_id, event_type, hour_bucket, event_count) values
"""
DESIGNED = EVENTS + TABLE + FILL + RUN
REFUSED = {
    "a view reads the table": (
        f"{DESIGNED} create view chart as select * from public.analytics_events_hourly_agg",
        "chart",
    ),
    "a view of a view": (
        f"{DESIGNED} create view chart as select * from public.analytics_events_hourly_agg; "
        "create materialized view page as select * from chart",
        "chart",
    ),
    "a key refers to the table": (
        f"{DESIGNED} create table notes (of bigint references analytics_events_hourly_agg (id))",
        "notes",
    ),
    "a function's body is bound to the table": (
        f"{DESIGNED} create function chart() returns bigint begin atomic "
        "select count(*) from public.analytics_events_hourly_agg; end",
        "chart",
    ),
    "the table tells platforms apart": (
        f"{DESIGNED} alter table public.analytics_events_hourly_agg add platform text",
        "platform",
    ),
    "the table is a materialized view": (
        f"{EVENTS} create materialized view public.analytics_events_hourly_agg as "
        "select project_id, count(*) from public.analytics_events group by 1",
        "analytics_events_hourly_agg is no table",
    ),
    "the events are a view": (
        f"{EVENTS} alter table public.analytics_events rename to events; "
        "create view public.analytics_events as select * from events",
        "analytics_events is no table",
    ),
    "the events have no label": (
        f"{EVENTS} alter table public.analytics_events drop event_label",
        "event_label",
    ),
    "the events' time is a text": (
        f"{EVENTS} alter table public.analytics_events alter created_at drop default, "
        "alter created_at type text",
        "created_at is no time",
    ),
}
WHAT_THERE_IS = """
select c.relname, c.relkind::text, c.relacl::text, a.attname, a.atttypid::regtype::text, t.tgname
from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
  left join pg_trigger t on t.tgrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relname ~ '^(analytics|chart|page|notes|events)'
order by 1, a.attnum
"""


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_taken_over_is_refused_and_left_as_it_is(
    reason: str, database_url: str
) -> None:
    made, named = REFUSED[reason]
    execute(database_url, made)
    before = rows(database_url, WHAT_THERE_IS)
    with pytest.raises(DatabaseRefused, match=named) as caught:
        migrate(database_url)
    assert "20261121000500_hourly_tables.sql was not applied" in caught.value.message
    assert rows(database_url, WHAT_THERE_IS) == before


STORED_HOURS = (
    "select to_char(hour_bucket, 'MM-DD HH24'), event_count "
    "from public.analytics_events_hourly_agg order by hour_bucket"
)


def hours(*moments: str, count: int) -> str:
    """Rows of the design's table."""
    return HOUR_OF_DESIGN + ", ".join(f"('p', 'x', '{at}+00', {count})" for at in moments) + ";"


def events(*moments: str) -> str:
    values = ", ".join(f"('p', 'x', '{at}')" for at in moments)
    return (
        f"insert into public.analytics_events (project_id, event_type, created_at) values {values};"
    )


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp"])
def test_hours_whose_events_are_gone_are_kept_whatever_zone_the_migration_runs_in(
    kind: str, zone: str, database_url: str
) -> None:
    """The first event came at 10:20 UTC; one with a wrong clock does not make the rest known."""
    old = [f"2026-04-{day} 23:00" for day in range(10, 20)]
    old += [f"2026-05-01 0{hour}:00" for hour in range(10)]
    new = [f"2026-05-01 {hour}:20" for hour in range(10, 20)]
    execute(database_url, EVENTS.replace("timestamptz", kind) + TABLE)
    execute(database_url, "set timezone = 'UTC'; " + events("1970-01-01", *new))
    execute(database_url, hours(*old, count=7) + hours(*(n[:-2] + "00" for n in new), count=9))
    migrate(f"{database_url}&options=-ctimezone%3D{zone}")
    drain(database_url)
    stored = dict(rows(database_url, STORED_HOURS))
    assert {at: stored[at] for at in (moment[5:13] for moment in old)} == {
        moment[5:13]: 7 for moment in old
    }
    # The hour of the first event may have lost some of its own: it is kept as well.
    assert {stored[moment[5:13]] for moment in new[2:]} == {1}
    assert len(stored) == len(old) + len(new) + (kind == "")


PROJECT_IDS = {
    "integer": "7",
    "char(5)": "ab",
    "varchar(5)": "ab",
    "theirs.pid": "ab",
    "uuid": "00000000-0000-4000-8000-00000000000A",
}


@pytest.mark.parametrize("kind", PROJECT_IDS)
def test_project_ids_of_any_type_are_counted_and_found(kind: str, database_url: str) -> None:
    project = PROJECT_IDS[kind]
    theirs = "create schema theirs; create domain theirs.pid as text check (value <> '');"
    execute(database_url, theirs + EVENTS.replace("project_id text", f"project_id {kind}"))
    migrate(f"{database_url}&options=-csearch_path%3Dtheirs,public")
    execute(
        database_url,
        "insert into public.analytics_events (project_id, visitor_id, event_type, created_at) "
        "select %s, v, 'x', '2026-05-10 10:20+00' from unnest(array['v1', 'v2', 'v2']) v",
        project,
    )
    question = "select * from analytics_events_totals(%s, '2026-05-10', '2026-05-10 11:00')"
    for _ in range(2):
        assert rows(database_url, question, project) == [(3, 2, 0)]
        drain(database_url)
    assert rows(database_url, "select 1 from public.analytics_events_hourly_agg") == [(1,)]
