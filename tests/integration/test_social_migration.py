"""The migration of the social tables: made anew, or taken over from the design's, on every Postgres
from 15 on, with Supabase's roles and without them.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from storage.errors import DatabaseRefused
from tests.integration.tables import MIGRATIONS, execute, migrate, rows
from tests.integration.test_migrations import structure
from tests.services.postgres import PostgresServer
from tests.services.postgrest import create_roles

MIGRATION = MIGRATIONS / "20261121001200_social.sql"
KEY = ["account_id", "date", "metric", "platform", "post_id", "source", "user_id"]

# As design/social-collection.md has it, with what it leaves open filled in as most would.
DESIGN = """
create table public.platform_connections (
  id uuid primary key default gen_random_uuid(), user_id text not null, platform text not null,
  access_token_encrypted text, is_active boolean default true
);
create table public.analytics_snapshots (
  id uuid primary key default gen_random_uuid(), user_id text not null, platform text not null,
  source text not null, metric text not null, value numeric not null, date date not null,
  post_id text, metadata jsonb, created_at timestamptz default now(),
  unique (user_id, platform, source, metric, date, post_id)
);
"""
# The same with other types, no key, and the account noted with the connection.
OTHER_TYPES = """
create table public.platform_connections (
  id bigserial primary key, user_id uuid not null, platform varchar(20), account_id text,
  access_token_encrypted text not null, refresh_token_encrypted text, token_expires_at timestamp,
  is_active boolean not null default true, metadata json, note text default 'mine'
);
create table public.analytics_snapshots (
  id bigserial primary key, user_id uuid, platform varchar(20), source text, metric text,
  value double precision, date date, post_id bigint, metadata json, note text default 'mine'
);
"""
KINDS = ["", DESIGN, OTHER_TYPES]
USER = "00000000-0000-0000-0000-00000000000"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(major, marks=pytest.mark.xdist_group(f"postgres-{major}"))
        for major in (15, 18)  # test_migrations.py applies it to all
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


def unique_keys(url: str) -> list[tuple[list[str], bool]]:
    """Columns of each unique index of analytics_snapshots but the primary key, and whether NULL is
    the same as NULL."""
    query = (
        "select (select array_agg(a.attname::text order by a.attname) from pg_attribute a "
        "where a.attrelid = i.indrelid and a.attnum = any (i.indkey)), i.indnullsnotdistinct "
        "from pg_index i where i.indrelid = 'public.analytics_snapshots'::regclass "
        "and i.indisunique and not i.indisprimary"
    )
    return [(columns, same) for columns, same in rows(url, query)]


def add(url: str, *values: object, **more: object) -> None:
    """A row of the design: user's number, platform, metric, value, fetched_at; more columns."""
    user, platform, metric, value, fetched_at = values
    columns = {
        "user_id": f"{USER}{user}", "platform": platform, "source": "social_media",
        "metric": metric, "value": value, "date": "2026-11-18",
        "metadata": None if fetched_at is None else f'{{"fetched_at": "{fetched_at}"}}', **more,
    }  # fmt: skip
    places = ", ".join(["%s"] * len(columns))
    execute(
        url,
        f"insert into public.analytics_snapshots ({', '.join(columns)}) values ({places})",
        *columns.values(),
    )


def connect(url: str, user: int, platform: str, account_id: str | None) -> None:
    execute(
        url,
        "insert into public.platform_connections (user_id, platform, access_token_encrypted, "
        "account_id) values (%s, %s, 'sentinel', %s)",
        f"{USER}{user}", platform, account_id,
    )  # fmt: skip


def snapshots(url: str) -> list[tuple[object, ...]]:
    """(user's last digit, platform, account, metric, value), in order."""
    return rows(
        url,
        "select right(user_id::text, 1)::int, platform, account_id, metric, value::float "
        "from public.analytics_snapshots order by 1, 2, 3, 4, 5",
    )


@pytest.mark.parametrize("before", KINDS, ids=["new", "design", "other types"])
def test_it_runs_twice_and_changes_nothing_the_second_time(before: str, url: str) -> None:
    if before:
        execute(url, before)
        add(url, 1, "Instagram", "reach", 7, "2026-11-19T02:00:00Z")
    migrate(url)
    first = structure(url), snapshots(url)
    execute(url, MIGRATION.read_text())
    assert (structure(url), snapshots(url)) == first
    assert unique_keys(url) == [(KEY, True)]


def test_new_tables_are_those_of_the_contract(url: str) -> None:
    migrate(url)
    found = rows(
        url,
        "select table_name, column_name, data_type, is_nullable from information_schema.columns "
        "where table_name in ('platform_connections', 'analytics_snapshots') "
        "order by table_name desc, ordinal_position",
    )
    when = "timestamp with time zone"
    assert [row[1:] for row in found if row[0] == "platform_connections"] == [
        ("id", "uuid", "NO"), ("user_id", "text", "NO"), ("platform", "text", "NO"),
        ("account_id", "text", "YES"), ("access_token_encrypted", "text", "YES"),
        ("refresh_token_encrypted", "text", "YES"), ("token_expires_at", when, "YES"),
        ("is_active", "boolean", "NO"), ("metadata", "jsonb", "NO"),
        ("created_at", when, "NO"), ("updated_at", when, "NO"),
    ]  # fmt: skip
    assert [row[1:] for row in found if row[0] == "analytics_snapshots"] == [
        ("id", "bigint", "NO"), ("user_id", "text", "NO"), ("platform", "text", "NO"),
        ("source", "text", "NO"), ("metric", "text", "NO"), ("value", "numeric", "NO"),
        ("date", "date", "NO"), ("post_id", "text", "YES"), ("account_id", "text", "NO"),
        ("metadata", "jsonb", "NO"), ("created_at", when, "NO"), ("updated_at", when, "NO"),
    ]  # fmt: skip


def test_a_new_table_takes_the_type_of_its_users_from_the_other(url: str) -> None:
    execute(url, OTHER_TYPES.partition(";")[0])
    migrate(url)
    query = (
        "select data_type from information_schema.columns "
        "where table_name = 'analytics_snapshots' and column_name = 'user_id'"
    )
    assert rows(url, query) == [("uuid",)]


@pytest.mark.parametrize(
    "key",
    [
        "alter table {t} add constraint mine unique ({c}, post_id)",
        "alter table {t} add constraint mine unique nulls not distinct ({c}, post_id)",
        "create unique index mine on {t} ({c}, post_id)",
        "create unique index mine on {t} ({c}) where post_id is null",
        "create unique index mine on {t} ({c}, coalesce(post_id::text, ''))",
    ],
)
def test_every_form_of_the_designs_key_makes_room_for_the_accounts(key: str, url: str) -> None:
    execute(url, OTHER_TYPES)
    execute(url, "alter table public.analytics_snapshots add column account_id text")
    columns = "user_id, platform, source, metric, date"
    execute(url, key.format(t="public.analytics_snapshots", c=columns))
    execute(url, "create unique index others on public.analytics_snapshots (id, user_id)")
    execute(url, f"create unique index by_note on public.analytics_snapshots ({columns}, "
                 "coalesce(note, account_id))")  # fmt: skip
    execute(url, "alter table public.analytics_snapshots alter column note drop default")
    migrate(url)
    assert sorted(unique_keys(url)) == [
        (KEY, True), (sorted(columns.split(", ")), False), (["id", "user_id"], False),
    ]  # fmt: skip
    for account in ("one", "two"):
        add(url, 1, "instagram", "reach", 1, None, account_id=account)
    with pytest.raises(psycopg.errors.UniqueViolation):
        add(url, 1, "instagram", "reach", 2, None, account_id="two")


NO_ORDER = OTHER_TYPES.replace(
    "analytics_snapshots (\n  id bigserial primary key,", "analytics_snapshots ("
)


@pytest.mark.parametrize(
    "before", [*KINDS[1:], NO_ORDER], ids=["design", "other types", "no order"]
)
def test_of_a_number_that_is_there_twice_the_newest_stays(before: str, url: str) -> None:
    execute(url, before)
    times: dict[
        str, list[tuple[int, str | None]]
    ] = {  # in no order; the first digit of the value is that of the expected winner
        "offsets": [(20, "2026-11-19T03:00:00+02:00"), (11, "2026-11-19T02:00:00Z")],
        "no time": [(10, None), (21, "2026-11-19T02:00:00Z"), (22, None)],
        "garbage": [(20, "yesterday-ish"), (11, "2026-11-19 02:00:00"), (22, "2026-13-45T99:00")],
        "one": [(11, "2026-11-19T02:00:00Z")],
    }
    for metric, several in times.items():
        for value, fetched_at in several:
            add(url, 1, "facebook", metric, value, fetched_at)
    # Written in one moment: the later one in the table.
    for value in (30, 31):
        add(url, 1, "facebook", "same time", value, "2026-11-19T02:00:00Z")
    migrate(url)
    assert {row[3]: row[4] for row in snapshots(url)} == {
        "offsets": 11, "no time": 21, "garbage": 11, "one": 11, "same time": 31,
    }  # fmt: skip


def test_platforms_in_any_case_are_one(url: str) -> None:
    """The later row stays where no time says which, though the earlier one is rewritten."""
    execute(url, OTHER_TYPES)
    add(url, 1, "Instagram", "reach", 1, None)
    add(url, 1, "instagram", "reach", 2, None)
    add(url, 1, "FACEBOOK", "reach", 3, None)
    migrate(url)
    assert snapshots(url) == [(1, "facebook", "", "reach", 3), (1, "instagram", "", "reach", 2)]


def test_the_account_is_filled_in_where_there_can_be_no_doubt(url: str) -> None:
    execute(url, OTHER_TYPES)
    for user, platform, account_id in (
        (1, "Instagram", "ig-1"), (1, "facebook", "fb-1"), (2, "instagram", "ig-2"),
        (2, "instagram", "ig-3"), (3, "instagram", None),
    ):  # fmt: skip
        connect(url, user, platform, account_id)
    for user in (1, 2, 3, 4):
        add(url, user, "instagram", "reach", user, None)
    add(url, 1, "facebook", "views", 9, None)
    add(url, 1, "Facebook", "views", 8, "2026-11-19T02:00:00Z")
    migrate(url)
    assert snapshots(url) == [
        (1, "facebook", "fb-1", "views", 8), (1, "instagram", "ig-1", "reach", 1),
        (2, "instagram", "", "reach", 2), (3, "instagram", "", "reach", 3),
        (4, "instagram", "", "reach", 4),
    ]  # fmt: skip
    assert rows(url, "select distinct note from public.analytics_snapshots") == [("mine",)]


def test_numbers_of_posts_and_other_sources_stay_apart(url: str) -> None:
    execute(url, OTHER_TYPES)
    add(url, 1, "instagram", "reach", 1, None)
    add(url, 1, "instagram", "reach", 2, None, post_id=7)
    add(url, 1, "instagram", "reach", 3, None, source="ads")
    migrate(url)
    assert [row[4] for row in snapshots(url)] == [1, 2, 3]


def test_a_partitioned_table_is_taken_over_too(url: str) -> None:
    execute(
        url,
        DESIGN.replace("id uuid primary key default gen_random_uuid(), user_id text not null, "
                       "platform text not null,\n  source", "user_id text, platform text, source")
        .replace("post_id)\n);", "post_id)\n) partition by range (date);")
        + "create table public.snapshots_2026 partition of public.analytics_snapshots "
        "for values from ('2026-01-01') to ('2027-01-01');"
        "create table public.snapshots_rest partition of public.analytics_snapshots default;",
    )  # fmt: skip
    assert rows(url, "select relkind from pg_class where relname = 'analytics_snapshots'") == [
        ("p",)
    ]
    for value in (1, 2):
        add(url, 1, "instagram", "reach", value, f"2026-11-19T0{value}:00:00Z")
        add(url, 1, "instagram", f"reach-{value}", value, None, date="2025-01-01")
    migrate(url)
    assert [row[3:] for row in snapshots(url)] == [("reach", 2), ("reach-1", 1), ("reach-2", 2)]
    assert unique_keys(url) == [(KEY, True)]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("create view public.platform_connections as select 1 as id", "is no table"),
        (
            "create table public.analytics_snapshots (id int, metric text)",
            "lacks date, platform, source, user_id, value",
        ),
    ],
)
def test_what_cannot_be_taken_over_is_named(before: str, said: str, url: str) -> None:
    execute(url, before)
    with pytest.raises(DatabaseRefused, match=said):
        migrate(url)


SNAPSHOTS = "public.analytics_snapshots"
COLUMNS = "user_id, platform, source, metric, date"
NO_KEY = DESIGN.replace(f",\n  unique ({COLUMNS}, post_id)", "")
NO_ID = "create table public.analytics_snapshots (user_id".join(
    NO_KEY.split(
        "create table public.analytics_snapshots (\n  id uuid primary key default "
        "gen_random_uuid(), user_id"
    )
)
LIKES = (
    "create table public.likes (snapshot uuid references public.analytics_snapshots (id) "
    "on delete cascade);"
)


def refuses(url: str, said: str, advice: str) -> None:
    """The migration stops, says why and all of its advice, and has changed nothing."""
    before = rows(url, f"select s::text from {SNAPSHOTS} s order by 1")
    with pytest.raises(DatabaseRefused) as caught:
        migrate(url)
    assert said in caught.value.message
    assert advice in caught.value.message
    assert rows(url, f"select s::text from {SNAPSHOTS} s order by 1") == before
    assert rows(url, "select to_regproc('public.mark_connection')") == [(None,)]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (f"primary key ({COLUMNS})", f"the primary key ({COLUMNS})"),
        (f"primary key ({COLUMNS}, post_id)", "the primary key ("),
    ],
)  # fmt: skip
def test_a_primary_key_without_room_for_the_accounts_is_named_with_the_way_out(
    key: str, said: str, url: str
) -> None:
    execute(url, NO_ID)
    execute(url, f"alter table {SNAPSHOTS} add constraint mine {key}")
    advice = (
        "alter table public.analytics_snapshots drop constraint mine, "
        "add number bigint generated always as identity primary key"
    )
    refuses(url, said, advice)
    execute(url, advice)
    migrate(url)
    assert unique_keys(url) == [(KEY, True)]


def test_a_replica_identity_without_room_for_the_accounts_is_named_with_the_way_out(
    url: str,
) -> None:
    execute(url, NO_KEY.replace("post_id text", "post_id text not null"))
    execute(url, f"create unique index mine on {SNAPSHOTS} ({COLUMNS}, post_id)")
    execute(url, f"alter table {SNAPSHOTS} replica identity using index mine")
    advice = "alter table public.analytics_snapshots replica identity full"
    refuses(url, "is its index mine (", advice)
    execute(url, advice)
    migrate(url)
    assert unique_keys(url) == [(KEY, True)]


def test_a_foreign_key_on_the_designs_key_is_named(url: str) -> None:
    execute(url, DESIGN)
    six = "a text, b text, c text, d text, e date, f text"
    execute(
        url,
        f"create table public.notes ({six}, constraint about foreign key (a, b, c, d, e, f) "
        f"references {SNAPSHOTS} ({COLUMNS}, post_id))",
    )
    refuses(url, "foreign key about of notes", "or drop it, then migrate again")
    execute(url, "alter table public.notes drop constraint about")
    migrate(url)


def test_a_number_twice_is_not_merged_where_somebody_refers_to_it(url: str) -> None:
    """A cascade would take the user's own rows along."""
    execute(url, DESIGN + LIKES)
    for value in (1, 2):
        add(url, 1, "instagram", "reach", value, f"2026-11-19T0{value}:00:00Z")
    execute(url, f"insert into public.likes select id from {SNAPSHOTS} where value = 1")
    refuses(url, "rows of likes refer (likes_snapshot_fkey)", "delete them, then migrate again")
    execute(url, f"update public.likes set snapshot = (select id from {SNAPSHOTS} where value = 2)")
    migrate(url)
    assert [row[4] for row in snapshots(url)] == [2]
    assert rows(url, "select count(*) from public.likes") == [(1,)]


def test_metadata_that_are_text_are_read_and_what_is_no_json_is_named(url: str) -> None:
    execute(url, NO_KEY.replace("metadata jsonb", "metadata text"))
    for value in (2, 1):
        add(url, 1, "instagram", "reach", value, f"2026-11-19T0{value}:00:00Z")
    add(url, 1, "instagram", "views", 3, None, metadata="by hand")
    refuses(url, "no JSON in 1 row(s)", "then migrate again")
    execute(url, f"update {SNAPSHOTS} set metadata = '{{}}' where metadata = 'by hand'")
    migrate(url)
    assert [row[3:] for row in snapshots(url)] == [("reach", 2), ("views", 3)]


@pytest.mark.parametrize(
    ("by", "said"),
    [("created_at", "by created_at, which"), ("(extract(year from date))", "by an expression,")],
)
def test_a_table_that_is_divided_otherwise_is_named(by: str, said: str, url: str) -> None:
    execute(
        url,
        NO_ID.replace("now()\n);", f"now()\n) partition by range ({by});")
        + "create table public.rest partition of public.analytics_snapshots default;",
    )
    assert rows(url, "select relkind from pg_class where relname = 'analytics_snapshots'") == [
        ("p",)
    ]
    refuses(url, f"is partitioned {said}", "(by date, say), then migrate again")


@pytest.mark.parametrize(
    "taken",
    [
        "create table public.analytics_snapshots_key (id int)",
        f"alter table {SNAPSHOTS} add constraint analytics_snapshots_key check (value >= 0)",
        "create sequence public.analytics_snapshots_date_idx",
    ],
)
def test_a_name_that_is_taken_is_left_to_its_owner(taken: str, url: str) -> None:
    execute(url, DESIGN)
    execute(url, taken)
    migrate(url)
    assert unique_keys(url) == [(KEY, True)]
    execute(url, MIGRATION.read_text())
    assert unique_keys(url) == [(KEY, True)]


def test_ids_that_nobody_gives_are_made(url: str) -> None:
    without = "id uuid primary key, user_id text not null, platform text not null,\n  source"
    execute(url, DESIGN.replace(without.replace("key,", "key default gen_random_uuid(),"), without))
    migrate(url)
    add(url, 1, "instagram", "reach", 1, None)
    add(url, 1, "instagram", "views", 1, None)
    assert rows(url, f"select count(distinct id) from {SNAPSHOTS}") == [(2,)]


@pytest.mark.parametrize("kind", ["smallint", "integer", "bigint"])
def test_a_column_of_whole_numbers_makes_room_for_fractions(kind: str, url: str) -> None:
    execute(url, DESIGN.replace("value numeric", f"value {kind}"))
    add(url, 1, "instagram", "reach", 7, None)
    migrate(url)
    add(url, 1, "linkedin", "engagement", 0.25, None)
    assert [row[4] for row in snapshots(url)] == [7, 0.25]


def test_a_view_that_keeps_the_numbers_whole_is_no_reason_to_stop(url: str) -> None:
    execute(url, DESIGN.replace("value numeric", "value bigint"))
    execute(url, f"create view public.totals as select sum(value) from {SNAPSHOTS}")
    migrate(url)
    add(url, 1, "instagram", "reach", 7, None)
    assert rows(url, f"select pg_typeof(value)::text from {SNAPSHOTS}") == [("bigint",)]
    heard: list[str] = []
    with psycopg.connect(url) as connection:
        connection.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
        connection.execute(MIGRATION.read_bytes())
    assert any("value stays a column of whole numbers" in said for said in heard)


def test_spaces_and_the_spelling_of_a_user_do_not_part_rows_from_their_account(url: str) -> None:
    execute(url, NO_KEY)
    user = "abcdef00-0000-0000-0000-000000000001"
    execute(url, "alter table public.platform_connections add column account_id text")
    execute(
        url,
        "insert into public.platform_connections (user_id, platform, account_id) "
        "values (%s, E' Instagram\\n', E'\\tig-1 ')",
        user.upper(),
    )
    add(url, 1, " INSTAGRAM\t", "reach", 1, "2026-11-19T01:00:00Z", user_id=user)
    add(url, 1, "instagram", "reach", 2, "2026-11-19T02:00:00Z", user_id=user)
    migrate(url)
    assert snapshots(url) == [(1, "instagram", "ig-1", "reach", 2)]


def test_spaces_around_an_account_that_is_stored_already_go_too(url: str) -> None:
    execute(url, NO_KEY + f"alter table {SNAPSHOTS} add column account_id text")
    add(url, 1, "instagram", "reach", 1, "2026-11-19T01:00:00Z", account_id=" 17841\r\n")
    add(url, 1, "instagram", "reach", 2, "2026-11-19T02:00:00Z", account_id="17841")
    add(url, 1, "facebook", "reach", 3, None, account_id="\v")
    migrate(url)
    assert snapshots(url) == [
        (1, "facebook", "", "reach", 3),
        (1, "instagram", "17841", "reach", 2),
    ]


@pytest.mark.parametrize("theirs", ["source = 'ads'", "post_id = '7'"])
def test_rows_of_other_writers_are_updated_as_without_this_program(theirs: str, url: str) -> None:
    execute(url, DESIGN)
    migrate(url)
    add(url, 1, "instagram", "reach", 5, "2026-11-19T02:00:00Z")
    execute(url, f"update {SNAPSHOTS} set {theirs}")
    changed = """updated_at = '2020-01-01', metadata = '{"fetched_at": "2027"}'"""
    execute(url, f"update {SNAPSHOTS} set {changed}")
    query = f"select extract(year from updated_at)::int, metadata ->> 'fetched_at' from {SNAPSHOTS}"
    assert rows(url, query) == [(2020, "2027")]
    [(before,)] = rows(url, f"select xmin::text from {SNAPSHOTS}")
    execute(url, f"update {SNAPSHOTS} set value = value")
    assert rows(url, f"select xmin::text from {SNAPSHOTS}") != [(before,)]


def test_existing_row_level_security_is_left_as_it_is(url: str) -> None:
    execute(url, DESIGN)
    execute(url, "alter table public.platform_connections enable row level security")
    execute(url, "create policy theirs on public.platform_connections using (true)")
    migrate(url)
    query = "select relrowsecurity from pg_class where relname = %s"
    assert rows(url, query, "platform_connections") == [(True,)]
    assert rows(url, query, "analytics_snapshots") == [(False,)]
    assert ("theirs",) in rows(url, "select polname from pg_policy")


def test_an_index_of_the_users_own_by_date_serves_as_well(url: str) -> None:
    execute(url, DESIGN + "create index mine on public.analytics_snapshots (date, platform);")
    migrate(url)
    names = rows(url, "select indexname from pg_indexes where tablename = 'analytics_snapshots'")
    assert ("mine",) in names
    assert ("analytics_snapshots_date_idx",) not in names


def test_updated_at_moves_with_the_value_alone(url: str) -> None:
    """And a number that is fetched again and the same is no update at all."""
    migrate(url)
    add(url, 1, "instagram", "reach", 5, "2026-11-19T02:00:00Z")
    read = "select xmin::text, updated_at, metadata ->> 'fetched_at' from analytics_snapshots"
    set_ = "update public.analytics_snapshots set "
    [before] = rows(url, read)

    def fetched(at: int, more: str = "") -> str:
        return f'metadata = \'{{"fetched_at": "2026-11-2{at}"{more}}}\''

    for nothing in (
        fetched(1), f"value = 5.0, {fetched(2)}", "value = 5", "updated_at = '2020-01-01'",
        f"updated_at = '2020-01-01', {fetched(3)}",
    ):  # fmt: skip
        execute(url, set_ + nothing)
        assert rows(url, read)[0][1:] == before[1:], nothing
    for nothing in (fetched(1), f"value = 5.0, {fetched(2)}", "value = 5"):
        [still] = rows(url, read)
        execute(url, set_ + nothing)
        assert rows(url, read) == [still], nothing
    execute(url, set_ + fetched(4, ', "data_state": "final"'))
    [(_, updated_at, fetched_at)] = rows(url, read)
    assert (updated_at, fetched_at) == (before[1], "2026-11-24")
    execute(url, set_ + f"value = 6, {fetched(5)}")
    assert rows(url, read)[0][1] > before[1]


def test_a_change_of_another_column_of_the_users_own_is_kept(url: str) -> None:
    execute(url, OTHER_TYPES)
    execute(
        url,
        "alter table public.analytics_snapshots "
        "add column twice double precision generated always as (value * 2) stored",
    )
    migrate(url)
    add(url, 1, "instagram", "reach", 5, "2026-11-19T02:00:00Z")
    execute(url, "update public.analytics_snapshots set note = 'checked'")
    assert rows(url, "select note, twice from public.analytics_snapshots") == [("checked", 10)]
    [(before,)] = rows(url, "select xmin::text from public.analytics_snapshots")
    execute(url, """update public.analytics_snapshots set metadata = '{"fetched_at": "2027"}'""")
    assert rows(url, "select xmin::text from public.analytics_snapshots") == [(before,)]


@pytest.mark.parametrize("before", KINDS, ids=["new", "design", "other types"])
def test_the_functions_are_for_the_service_key_alone(before: str, url: str) -> None:
    create_roles(url)
    if before:
        execute(url, before)
    migrate(url)
    found = rows(
        url,
        "select proname, has_function_privilege('anon', oid, 'execute'), "
        "has_function_privilege('authenticated', oid, 'execute'), "
        "has_function_privilege('service_role', oid, 'execute') from pg_proc "
        "where proname in "
        "('replace_connection_token', 'renew_connection_token', 'mark_connection')",
    )
    assert {row[1:] for row in found} == {(False, False, True)}
    assert len(found) == 3
    execute(url, "drop owned by anon, authenticated, service_role, authenticator cascade")


def test_the_designs_questions_have_answers(url: str) -> None:
    migrate(url)
    for user in (1, 2):
        add(url, user, "instagram", "reach", 5, "2026-11-19T02:00:00Z", date="today")
    assert rows(
        url,
        "select platform, metric, count(*) as user_count, sum(value) as total_value "
        "from analytics_snapshots where date = current_date group by platform, metric",
    ) == [("instagram", "reach", 2, 10)]
    [(platform, users, _)] = rows(
        url,
        "select platform, count(distinct user_id) as users_with_data, "
        "max(date) as last_collection_date from analytics_snapshots "
        "where date >= current_date - interval '7 days' group by platform",
    )
    assert (platform, users) == ("instagram", 2)


def test_it_is_plain_ascii() -> None:
    assert MIGRATION.read_text().isascii()
