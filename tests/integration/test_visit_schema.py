"""The tables that the migration's functions make are those that matomo-postgres makes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from storage.errors import DatabaseRefused, MissingRelation
from storage.visit_log import VisitLog
from tests.integration.tables import execute, migrate, rows
from tests.integration.visit_tables import (
    INDEXED,
    MONDAY,
    bounds,
    create,
    upstream_partitioned,
    upstream_standard,
)
from tests.services.postgres import PostgresServer
from tests.services.postgrest import create_roles

COLUMNS = """
select attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
where attrelid = %s::regclass and attnum > 0 order by attnum
"""
INDEXES = """
select indexname, substring(indexdef from 'btree \\((.*)\\)$') from pg_indexes
where schemaname = %s and tablename = %s and indexdef !~ 'UNIQUE'
"""
UNIQUE = (
    "select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = %s::regclass"
)
NAMES = [
    "20230301-01-initial",
    "20230301-02-indexes",
    "20250425-01-add-resolution",
    "20250715-01-weekly-partitioning",
    "20250908-01-convention-analysis-index",
    "20260407-01-ab-testing",
]
INSERT = "select insert_into_matomo_partitioned(%s, %s, '1', '7'{})".format(", null" * 39)


@pytest.fixture
def log(migrated_url: str) -> Iterator[VisitLog]:
    opened = VisitLog(migrated_url, 1)
    yield opened
    opened.close()


def unique(url: str, table: str) -> list[tuple[str, str]]:
    return [found for found in rows(url, UNIQUE, table) if found[1].startswith("UNIQUE")]


def test_the_standard_table_is_matomo_postgress_to_the_letter(
    log: VisitLog, migrated_url: str
) -> None:
    assert log.make_table("matomo", partitioned=False)
    create(migrated_url, f"create schema theirs; set search_path = theirs; {upstream_standard()}")
    ours, theirs = (rows(migrated_url, COLUMNS, f"{s}.matomo") for s in ("public", "theirs"))
    assert len(ours) == 43
    assert ours == theirs
    assert dict(rows(migrated_url, INDEXES, "public", "matomo")) == INDEXED
    assert unique(migrated_url, "matomo") == [("matomo_action_id_key", "UNIQUE (action_id)")]


def test_the_partitioned_table_is_matomo_postgress_without_its_row_trigger(
    log: VisitLog, migrated_url: str
) -> None:
    assert log.make_table("matomo_partitioned", partitioned=True)
    theirs = f"create schema theirs; set search_path = theirs; {upstream_partitioned()}"
    create(migrated_url, theirs)
    assert rows(migrated_url, COLUMNS, "matomo_partitioned") == rows(
        migrated_url, COLUMNS, "theirs.matomo_partitioned"
    )
    table = "matomo_partitioned"
    found = dict(rows(migrated_url, INDEXES, "public", table))
    assert found == {
        **{f"{name.removesuffix('_matomo')}_{table}": of for name, of in INDEXED.items()},
        f"idx_category_timestamp_{table}": "action_eventcategory, action_timestamp",
    }
    [(name, key)] = unique(migrated_url, table)
    assert (name, key) == (
        f"{table}_action_id_timestamp_unique",
        "UNIQUE (action_id, action_timestamp)",
    )
    assert rows(migrated_url, "select from pg_trigger where tgrelid = %s::regclass", table) == []
    assert bounds(migrated_url, table) == {}


def test_matomo_postgres_finds_its_six_migrations_done(log: VisitLog, migrated_url: str) -> None:
    log.make_table("matomo", partitioned=False)
    found = rows(migrated_url, "select name, timestamp from matomo_migration order by 2, 1")
    assert [name for name, _ in found] == NAMES
    assert all(at.endswith("Z") and len(at) == 24 for _, at in found)
    lock = rows(migrated_url, "select * from matomo_migration_lock")
    assert lock == [("migration_lock", 0)]


def test_matomo_postgres_can_go_on_with_the_partitioned_table(
    log: VisitLog, migrated_url: str
) -> None:
    log.make_table("matomo_partitioned", partitioned=True)
    for _ in range(2):
        execute(migrated_url, INSERT, "7_0", MONDAY)
    execute(migrated_url, "select create_weekly_partition_if_not_exists('matomo_partitioned', %s)",
            MONDAY.replace(day=30))  # fmt: skip
    assert rows(migrated_url, "select action_id, idvisit from matomo_partitioned") == [("7_0", "7")]
    assert list(bounds(migrated_url, "matomo_partitioned")) == [
        "matomo_partitioned_2026w47",
        "matomo_partitioned_2026w49",
    ]


def test_functions_that_serve_another_table_stay(log: VisitLog, migrated_url: str) -> None:
    log.make_table("first", partitioned=True)
    log.make_table("second", partitioned=True)
    execute(migrated_url, INSERT, "7_0", MONDAY)
    counts = "select (select count(*) from first), (select count(*) from second)"
    assert rows(migrated_url, counts) == [(1, 0)]


def test_a_table_that_is_there_is_left_alone(log: VisitLog, migrated_url: str) -> None:
    execute(migrated_url, "create table matomo (n int); create view seen as select 1")
    assert not log.make_table("matomo", partitioned=False)
    assert not log.make_table("public.matomo", partitioned=True)
    assert not log.make_table("seen", partitioned=False)
    assert rows(migrated_url, "select to_regclass('matomo_migration')") == [(None,)]


LONG = "é" * 25 + "a_table_name"  # 62 bytes


def test_a_second_table_in_the_schema_gets_all_indexes_too(
    log: VisitLog, migrated_url: str
) -> None:
    for name in ("matomo", "other", LONG, LONG + "s"):
        assert log.make_table(name, partitioned=False)
        found = rows(migrated_url, INDEXES, "public", name)
        assert sorted(of for _, of in found) == sorted(INDEXED.values())
        assert all(len(index.encode()) <= 63 for index, _ in found)
    named = dict(rows(migrated_url, INDEXES, "public", "other"))
    assert set(named) == {f"other_{name.removesuffix('_matomo')}" for name in INDEXED}


def test_a_name_too_long_for_two_bookkeeping_tables_gets_none(
    log: VisitLog, migrated_url: str
) -> None:
    log.make_table(LONG, partitioned=True)
    tables = "select tablename from pg_tables where schemaname = 'public' and tablename ~ '^é'"
    assert rows(migrated_url, tables) == [(LONG,)]


@pytest.mark.parametrize(
    ("destination", "schema", "name"),
    [
        ("other.matomo", "other", "matomo"),
        ("MyVisits", "public", "MyVisits"),
        ('a "quoted" name; --', "public", 'a "quoted" name; --'),
        ("a.b.c", "public", "a.b.c"),
        (".matomo", "public", ".matomo"),
        ("visit_stage", "public", "visit_stage"),
    ],
)
def test_any_name_is_made_and_found(
    destination: str, schema: str, name: str, log: VisitLog, migrated_url: str
) -> None:
    execute(migrated_url, "create schema other")
    with pytest.raises(MissingRelation):
        log.open_table(destination)
    assert log.make_table(destination, partitioned=True)
    table = log.open_table(destination)
    assert (table.schema, table.name, table.partitioned) == (schema, name, True)
    assert table.missing == ()
    assert log.make_partitions(table, [MONDAY.date()]) == 1


@pytest.mark.parametrize("destination", ["", "x" * 64, "nowhere.matomo", "é" * 32])
def test_a_name_that_cannot_be_is_refused(destination: str, log: VisitLog) -> None:
    with pytest.raises(DatabaseRefused) as caught:
        log.make_table(destination, partitioned=False)
    assert "DESTINATION_TABLE" in caught.value.mend


@pytest.mark.parametrize("through", ["url", "environment"])
def test_the_search_path_says_where_a_table_is(
    through: str, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(migrated_url, 'create schema "My Site"; create schema later')
    options = r'-c search_path="My\ Site",later,public'
    url = migrated_url
    if through == "url":
        url += f"&options={quote(options)}"
    else:
        monkeypatch.setenv("PGOPTIONS", options)
    log = VisitLog(url, 1)
    assert log.make_table("matomo", partitioned=False)
    assert log.open_table("matomo").schema == "My Site"
    log.close()
    monkeypatch.delenv("PGOPTIONS", raising=False)
    assert (
        rows(migrated_url, "select schemaname from pg_tables where tablename ~ '^matomo'")
        == [("My Site",)] * 3
    )
    indexes = rows(migrated_url, INDEXES, "My Site", "matomo")
    assert dict(indexes) == INDEXED  # the fixed names are free in each schema


def test_without_the_migration_it_says_to_migrate(database_url: str) -> None:
    log = VisitLog(database_url, 1)
    with pytest.raises(MissingRelation) as caught:
        log.make_table("matomo", partitioned=False)
    assert "aggregator.py migrate" in caught.value.mend
    log.close()


def test_on_supabase_new_tables_are_shut_and_elsewhere_open() -> None:
    secured = (
        "select count(*) filter (where relrowsecurity), count(*) from pg_class "
        "where relname ~ '^matomo' and relkind in ('r', 'p')"
    )
    with PostgresServer(18) as server:  # roles belong to a whole server
        url = server.create_database("plain")
        migrate(url)
        make_both(url)
        assert rows(url, secured) == [(0, 7)]
        url = server.create_database("supabase")
        create_roles(url)
        migrate(url)
        make_both(url)
        execute(url, INSERT, "7_0", MONDAY.replace(day=25))
        assert rows(url, secured) == [(8, 8)]
        callable_by_strangers = (
            "select proname from pg_proc where proname ~ 'visit_log|_matomo_|weekly' "
            "and (has_function_privilege('anon', oid, 'execute') "
            "or has_function_privilege('authenticated', oid, 'execute'))"
        )
        assert rows(url, callable_by_strangers) == []


def make_both(url: str) -> None:
    log = VisitLog(url, 1)
    log.make_table("matomo", partitioned=False)
    log.make_table("matomo_partitioned", partitioned=True)
    log.make_partitions(log.open_table("matomo_partitioned"), [MONDAY.date()])
    log.close()
