"""Postgres in trouble: an upsert is one transaction, and tried again as a whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import storage.postgres
import storage.postgres_calls
from models import Master, SiteId
from storage.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable
from storage.postgres import PostgresDatabase
from tests.integration.databases import DAYS, OpenStore, Store
from tests.integration.tables import execute, rows

Before = Callable[[psycopg.Connection[Any], int], None]


def two_groups(sites: Sequence[SiteId]) -> Master:
    """Numbers that take two statements: the first site has visits only."""
    both = {"matomo_visits": 1, "gsc_clicks": 2, "gsc_impressions": 3}
    return {sites[0]: {DAYS[0]: {"matomo_visits": 1}}, sites[1]: {DAYS[0]: both}}


@pytest.fixture
def before_each_statement(monkeypatch: pytest.MonkeyPatch) -> Callable[[Before], None]:
    """Lets a test do something on the program's own connection before its n-th upsert (from 1)."""

    def install(before: Before) -> None:
        real = storage.postgres._upsert
        calls = []

        def upsert(connection: psycopg.Connection[Any], *arguments: Any) -> None:
            calls.append(1)
            before(connection, len(calls))
            real(connection, *arguments)

        monkeypatch.setattr(storage.postgres, "_upsert", upsert)

    return install


def test_a_connection_cut_between_statements_leaves_no_half_and_is_made_again(
    over_psycopg: Store, before_each_statement: Callable[[Before], None]
) -> None:
    sites = over_psycopg.add_sites(2)
    seen: list[int] = []

    def cut(connection: psycopg.Connection[Any], call: int) -> None:
        if call == 2:
            pid = connection.info.backend_pid
            assert rows(over_psycopg.url, "select pg_terminate_backend(%s, 5000)", pid) == [(True,)]
            seen.append(over_psycopg.count("daily_analytics"))

    before_each_statement(cut)
    stored = over_psycopg.upsert(two_groups(sites))
    assert (stored.rows, stored.refused) == (2, [])
    assert seen == [0]
    assert over_psycopg.numbers() == {
        (sites[0], DAYS[0]): (1, None, None), (sites[1], DAYS[0]): (1, 2, 3),
    }  # fmt: skip


def test_a_connection_that_is_always_cut_ends_as_temporary_and_stores_nothing(
    over_psycopg: Store, before_each_statement: Callable[[Before], None]
) -> None:
    sites = over_psycopg.add_sites(2)

    def cut(connection: psycopg.Connection[Any], call: int) -> None:
        if call % 2 == 0:
            pid = connection.info.backend_pid
            execute(over_psycopg.url, "select pg_terminate_backend(%s, 5000)", pid)

    before_each_statement(cut)
    with pytest.raises(DatabaseUnavailable):
        over_psycopg.upsert(two_groups(sites))
    assert over_psycopg.numbers() == {}


def test_an_idle_connection_that_was_cut_is_made_again(over_psycopg: Store) -> None:
    sites = over_psycopg.add_sites(2)
    assert len(over_psycopg.database.read_sites()) == 2
    over_psycopg.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where application_name = 'analytics-aggregator' and datname = current_database()"
    )
    assert [site.id for site in over_psycopg.database.read_sites()] == sites


def test_a_serialization_failure_is_tried_again(
    open_a_store: OpenStore, quick_tries: None, before_each_statement: Callable[[Before], None]
) -> None:
    store = open_a_store(
        "postgres",
        before="do $$ begin execute format('alter database %I set "
        "default_transaction_isolation = serializable', current_database()); end $$",
    )
    sites = store.add_sites(2)
    store.upsert(two_groups(sites))

    def change(_: psycopg.Connection[Any], call: int) -> None:
        if call == 1:
            store.execute("update public.daily_analytics set matomo_visits = 9")

    before_each_statement(change)
    stored = store.upsert(two_groups(sites))
    assert stored.rows == 2
    assert {numbers[0] for numbers in store.numbers().values()} == {1}


def test_a_deadlock_is_tried_again(over_psycopg: Store) -> None:
    """The other session holds the second row and then asks for the first; ours is the victim."""
    sites = over_psycopg.add_sites(2)
    old: Master = {site: {DAYS[0]: {"matomo_visits": 1}} for site in sites}
    over_psycopg.upsert(old)
    lock = "update public.daily_analytics set gsc_clicks = 5 where site_id = %s"
    with psycopg.connect(over_psycopg.url) as other:
        other.execute("set deadlock_timeout = '20s'")
        other.execute(lock, (sites[1],))
        with in_background(lambda: over_psycopg.upsert(
            {site: {DAYS[0]: {"matomo_visits": 2}} for site in sites}
        )) as results:  # fmt: skip
            wait_until_it_waits(over_psycopg)
            other.execute(lock, (sites[0],))
            other.commit()
    assert [stored.rows for stored in results] == [2]
    assert over_psycopg.numbers() == {(site, DAYS[0]): (2, 5, None) for site in sites}


def test_two_upserts_at_once_are_both_stored(over_psycopg: Store) -> None:
    sites = over_psycopg.add_sites(200)
    databases = [PostgresDatabase(over_psycopg.url, 2) for _ in range(4)]

    def store(n: int, database: PostgresDatabase) -> None:
        metric = ("matomo_visits", "gsc_clicks")[n % 2]
        order = sites if n < 2 else sites[::-1]
        master: Master = {site: {day: {metric: n % 2} for day in DAYS} for site in order}
        one = Store(database, over_psycopg.url, None)
        assert one.upsert(master).rows == 2000

    threads = [
        threading.Thread(target=store, args=(n, database)) for n, database in enumerate(databases)
    ]
    for thread in threads:
        thread.start()
    for thread, database in zip(threads, databases, strict=True):
        thread.join()
        database.close()
    assert set(over_psycopg.numbers().values()) == {(0, 1, None)}
    assert len(over_psycopg.numbers()) == 2000


def test_a_statement_that_takes_too_long_is_tried_again(
    over_psycopg: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.postgres_calls, "STATEMENT_SECONDS", 1)
    [site] = over_psycopg.add_sites(1)
    with psycopg.connect(over_psycopg.url) as other:
        other.execute("lock table public.daily_analytics in access exclusive mode")
        with in_background(
            lambda: over_psycopg.upsert({site: {DAYS[0]: {"matomo_visits": 2}}})
        ) as results:
            wait_until_it_waits(over_psycopg)
            time.sleep(1.2)
            other.rollback()
    assert [stored.rows for stored in results] == [1]


def test_a_database_that_only_reads_is_refused_at_once(over_psycopg: Store) -> None:
    [site] = over_psycopg.add_sites(1)
    over_psycopg.execute(
        "do $$ begin execute format('alter database %I set default_transaction_read_only = on', "
        "current_database()); end $$"
    )
    with pytest.raises(DatabaseRefused) as caught:
        over_psycopg.upsert({site: {DAYS[0]: {"matomo_visits": 2}}})
    assert "read-only" in caught.value.message
    # Migrations cannot mend it, and could not be applied either.
    assert "migrate" not in caught.value.mend
    assert caught.value.mend


def test_a_role_that_may_not_write_is_told_which_one_may(over_psycopg: Store) -> None:
    [site] = over_psycopg.add_sites(1)
    over_psycopg.execute(
        "drop role if exists aggregator_reader; create role aggregator_reader login"
    )
    over_psycopg.execute("grant select on all tables in schema public to aggregator_reader")
    over_psycopg.execute("create policy reader on public.sites to aggregator_reader using (true)")
    reader = PostgresDatabase(over_psycopg.url.replace("postgres@", "aggregator_reader@", 1), 2)
    try:
        assert len(reader.read_sites()) == 1
        with pytest.raises(DatabaseError) as caught:
            Store(reader, "", None).upsert({site: {DAYS[0]: {"matomo_visits": 2}}})
    finally:
        reader.close()
        over_psycopg.execute("drop owned by aggregator_reader")
        over_psycopg.execute("drop role aggregator_reader")
    assert "denies access" in caught.value.message
    assert "role that owns the tables" in caught.value.mend


@contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run work on a thread while the block runs; its result is in the list afterwards."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    try:
        yield results
    finally:
        thread.join(30)


def wait_until_it_waits(store: Store) -> None:
    """Until the program's session waits for a lock of somebody else."""
    query = (
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
        "and application_name = 'analytics-aggregator' and datname = current_database()"
    )
    give_up_at = time.monotonic() + 10
    while rows(store.url, query) == [(0,)]:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
