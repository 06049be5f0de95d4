"""One run at a time writes to a table, and what is remembered of the table is never wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from models import Watermark
from storage.errors import DatabaseRefused, TableBusy
from storage.visit_log import Remembered, VisitLog
from storage.visit_table import VisitTable
from tests.integration.tables import execute, rows
from tests.integration.visit_tables import MONDAY, SERVER, create, group, line, stored

DONE = Watermark(date(2026, 11, 15), MONDAY, datetime(2026, 11, 16, 8, 59, tzinfo=UTC))


@pytest.fixture
def log(migrated_url: str, quick_tries: None) -> Iterator[VisitLog]:
    opened = VisitLog(migrated_url, 3)
    opened.make_table("matomo", partitioned=False)
    yield opened
    opened.close()


@pytest.fixture
def second(migrated_url: str, quick_tries: None) -> Iterator[VisitLog]:
    """Another run."""
    opened = VisitLog(migrated_url, 3)
    yield opened
    opened.close()


@pytest.fixture
def table(log: VisitLog) -> VisitTable:
    return log.open_table("matomo")


def filled(log: VisitLog, table: VisitTable, *, true_utc: bool | None = None) -> int:
    """One row and one watermark; the id of the table."""
    claim = log.claim(table, SERVER, true_utc=true_utc)
    log.merge(table, claim.table_id, group([line(7, 0)], [7], watermarks={1: DONE}))
    return claim.table_id


def kill_others(url: str) -> None:
    """What a lost network, a restart or an administrator does to every connection."""
    execute(
        url,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where pid <> pg_backend_pid() and datname = current_database()",
    )


def test_a_new_table_is_remembered_with_its_server(log: VisitLog, table: VisitTable) -> None:
    assert log.recall(table) is None
    claim = log.claim(table, SERVER, true_utc=None)
    assert (claim.true_utc, claim.forgotten) == (False, False)
    assert log.recall(table) == Remembered(claim.table_id, SERVER, true_utc=False, filled=False)
    assert log.claim(table, SERVER, true_utc=None) == claim


def test_watermarks_come_back_as_they_were_written(log: VisitLog, table: VisitTable) -> None:
    table_id = filled(log, table)
    later = Watermark(date(2026, 11, 16))
    log.merge(table, table_id, group([], watermarks={2: later, 1: DONE}))
    assert log.read_watermarks(table_id) == {1: DONE, 2: later}
    log.merge(table, table_id, group([], watermarks={1: later}))
    assert log.read_watermarks(table_id) == {1: later, 2: later}
    assert not log.claim(table, SERVER, true_utc=None).forgotten
    assert log.read_watermarks(table_id) == {1: later, 2: later}


def test_another_servers_visits_are_refused_and_a_new_address_can_be_told(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    filled(log, table)
    with pytest.raises(DatabaseRefused) as caught:
        log.claim(table, "https://o'ther.example/", true_utc=None)
    assert SERVER in caught.value.message
    assert "DESTINATION_TABLE" in caught.value.mend
    execute(migrated_url, caught.value.mend[caught.value.mend.index("update ") :])
    assert not log.claim(table, "https://o'ther.example/", true_utc=None).forgotten


def test_an_empty_table_takes_any_server(log: VisitLog, table: VisitTable) -> None:
    log.claim(table, SERVER, true_utc=None)
    other = log.claim(table, "https://other.example/", true_utc=None)
    server = "https://other.example/"
    assert log.recall(table) == Remembered(other.table_id, server, true_utc=False, filled=False)


def test_true_utc_begins_with_an_empty_table_and_stays(log: VisitLog, table: VisitTable) -> None:
    filled(log, table, true_utc=True)
    assert log.claim(table, SERVER, true_utc=None).true_utc
    assert log.claim(table, SERVER, true_utc=True).true_utc
    with pytest.raises(DatabaseRefused) as caught:
        log.claim(table, SERVER, true_utc=False)
    assert "run with --true-utc" in caught.value.mend


def test_true_utc_is_refused_where_wall_clocks_are_stored(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    create(migrated_url, "insert into matomo (action_id) values ('7_0')")  # matomo-postgres did
    with pytest.raises(DatabaseRefused) as caught:
        log.claim(table, SERVER, true_utc=True)
    assert "run without --true-utc" in caught.value.mend
    assert log.recall(table) is None  # nothing is half done
    assert not log.claim(table, SERVER, true_utc=None).true_utc
    with pytest.raises(DatabaseRefused):
        log.claim(table, SERVER, true_utc=True)


@pytest.mark.parametrize("refilled", [False, True])
def test_watermarks_of_a_table_made_anew_are_void(
    refilled: bool, log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    table_id = filled(log, table, true_utc=True)
    execute(migrated_url, "drop table matomo")
    log.make_table("matomo", partitioned=False)
    if refilled:
        execute(migrated_url, "insert into matomo (action_id) values ('9_0')")
    new = log.open_table("matomo")
    known = log.recall(new)
    assert known is not None
    assert not known.filled
    claim = log.claim(new, "https://other.example/", true_utc=None)
    assert (claim.table_id, claim.true_utc, claim.forgotten) == (table_id, False, True)
    assert log.read_watermarks(table_id) == {}


def test_the_import_of_an_emptied_table_begins_again_where_it_once_began(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    table_id = filled(log, table, true_utc=True)
    [(site, first)] = log.read_watermarks(table_id).items()
    later = Watermark(first.complete_through + timedelta(days=3), MONDAY, MONDAY)
    log.merge(table, table_id, group([], [], watermarks={site: later}))
    assert not log.claim(table, SERVER, true_utc=None).forgotten
    execute(migrated_url, "truncate matomo")
    claim = log.claim(table, SERVER, true_utc=None)
    assert (claim.true_utc, claim.forgotten) == (True, True)
    assert log.read_watermarks(table_id) == {site: Watermark(first.complete_through)}
    assert not log.claim(table, SERVER, true_utc=None).forgotten


@pytest.mark.parametrize("name", ["matomo", "visits"])
def test_a_table_that_was_renamed_or_restored_still_holds_real_utc(
    name: str, log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    filled(log, table, true_utc=True)
    execute(migrated_url, "create table copy (like matomo including all)")
    execute(migrated_url, "insert into copy select * from matomo")
    [(said,)] = rows(migrated_url, "select obj_description('matomo'::regclass)")
    execute(migrated_url, f"drop table matomo; alter table copy rename to {name}")
    execute(migrated_url, f"comment on table {name} is '{said}'")  # as pg_dump keeps it
    again = log.open_table(name)
    assert log.claim(again, SERVER, true_utc=None).true_utc
    assert log.claim(again, SERVER, true_utc=True).true_utc


def test_watermarks_of_an_emptied_table_are_void_for_another_matomo(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    table_id = filled(log, table, true_utc=True)
    execute(migrated_url, "truncate matomo")
    assert log.claim(table, "https://other.example/", true_utc=None).forgotten
    assert log.read_watermarks(table_id) == {}


def test_the_newest_action_is_each_sites_own(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    execute(
        migrated_url,
        "insert into matomo (action_id, idsite, action_timestamp) values "
        "('a', '1', '2026-11-16 09:00+00'), ('b', '1', '2026-11-16 12:00+02'), "
        "('c', '2', '2026-11-17 09:00+00'), ('d', '1', 'infinity'), ('e', '1', null), "
        "('f', null, '2026-11-18')",
    )
    assert log.newest_action(table, 1) == datetime(2026, 11, 16, 10, tzinfo=UTC)
    assert log.newest_action(table, 2) == datetime(2026, 11, 17, 9, tzinfo=UTC)
    assert log.newest_action(table, 3) is None


def test_a_second_run_waits_for_the_table_and_then_says_it_is_busy(
    log: VisitLog, second: VisitLog, table: VisitTable
) -> None:
    log.lock(table, 0)
    began = time.monotonic()
    with pytest.raises(TableBusy) as caught:
        second.lock(table, 0.2)
    assert 0.2 <= time.monotonic() - began < 5
    assert "public.matomo" in caught.value.message
    second.lock(replace(table, oid=table.oid + 1), 0)  # another table is free


def test_a_second_run_gets_the_table_when_the_first_ends(
    log: VisitLog, second: VisitLog, table: VisitTable
) -> None:
    log.lock(table, 0)
    log.lock(table, 0)  # it has it already
    waiting = threading.Thread(target=lambda: second.lock(table, 20))
    waiting.start()
    log.close()
    waiting.join(5)
    assert not waiting.is_alive()
    with pytest.raises(TableBusy):
        log.lock(table, 0)


def test_the_lock_keeps_no_vacuum_and_no_pooler_waiting(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    log.lock(table, 0)
    [held] = rows(
        migrated_url,
        "select state, backend_xid, backend_xmin from pg_stat_activity join pg_locks l using (pid) "
        "where locktype = 'advisory' and l.database = "
        "(select oid from pg_database where datname = current_database())",
    )
    assert held == ("idle in transaction", None, None)


def test_a_run_goes_on_after_its_connections_were_lost(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    log.lock(table, 0)
    table_id = filled(log, table)
    kill_others(migrated_url)
    assert log.merge(table, table_id, group([line(8, 0)], [8])).written == 1
    assert stored(migrated_url, "matomo") == ["7_0", "8_0"]


def test_a_run_that_lost_its_lock_writes_nothing_once_another_has_taken_over(
    log: VisitLog, second: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    log.lock(table, 0)
    table_id = filled(log, table)
    kill_others(migrated_url)
    second.lock(table, 0)
    second.claim(table, SERVER, true_utc=None)
    newer = line(7, 0, country="fresh")
    second.merge(table, table_id, group([newer], [7]))
    stale = group([line(7, 0, country="stale")], [7], watermarks={1: DONE, 5: DONE})
    with pytest.raises(TableBusy) as caught:
        log.merge(table, table_id, stale)
    assert "another run has taken over" in caught.value.message
    assert stored(migrated_url, "matomo", "country") == ["fresh"]
    assert set(log.read_watermarks(table_id)) == {1}


def test_taking_over_waits_for_the_merge_that_is_under_way(
    log: VisitLog, second: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    table_id = filled(log, table)
    with psycopg.connect(migrated_url) as blocker:
        blocker.execute("update matomo set country = 'locked'")
        lines = group([line(7, 0, country="new")], [7])
        merging = threading.Thread(target=log.merge, args=(table, table_id, lines))
        merging.start()
        _wait_for_locks(migrated_url, 1)
        claiming = threading.Thread(
            target=second.claim, args=(table, SERVER), kwargs={"true_utc": None}
        )
        claiming.start()
        _wait_for_locks(migrated_url, 2)
        blocker.rollback()
    merging.join(5)
    claiming.join(5)
    assert not merging.is_alive()
    assert not claiming.is_alive()
    assert stored(migrated_url, "matomo", "country") == ["new"]


def test_without_a_claim_nothing_is_written(
    log: VisitLog, table: VisitTable, migrated_url: str
) -> None:
    table_id = filled(log, table)
    assert log.merge(table, table_id, group([line(8, 0)], [8])).written == 1
    stranger = VisitLog(migrated_url, 1)
    with pytest.raises(KeyError):  # without a claim nothing is written: a bug
        stranger.merge(table, table_id, group([line(9, 0)], [9]))
    stranger.close()
    assert stored(migrated_url, "matomo") == ["7_0", "8_0"]


def _wait_for_locks(url: str, number: int) -> None:
    query = (
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
        "and datname = current_database()"
    )
    end = time.monotonic() + 10
    while rows(url, query) != [(number,)]:
        assert time.monotonic() < end
