"""100,000 rows through db.upsert_daily_analytics, over psycopg and over Supabase's REST API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import psycopg

from bench.numbers import check_stored, true_master
from bench.processors import children_cpu_seconds, cpu_seconds
from bench.results import CouldNotRun, Row, median_run, seconds
from bench.runs import Bench, describe_parts
from bench.servers import empty, fill
from config import Settings
from db import Database, group_rows, upsert_daily_analytics
from models import Master, SiteId, days_between
from sandbox import World
from storage.postgres import PostgresDatabase
from storage.rows import Row as StoredRow

WORLD = World(sites=1_000, accounts=5)
FIRST_DAY = date(2026, 1, 1)
DAYS = days_between(FIRST_DAY, FIRST_DAY + timedelta(days=99))
ROWS = WORLD.sites * len(DAYS)
REPEATS = 5
SINGLE_ROWS = 300
"""Rows that the baseline of REST sends one by one."""

TABLE, BARE_TABLE = "public.daily_analytics", "public.without_foreign_key"

OF_COPY = 0.5
REST_ROWS_PER_SECOND = 10_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Duration of one write and the processor time of whoever took part."""

    wall_seconds: float
    own_seconds: float
    database_seconds: float
    postgrest_seconds: float

    @property
    def rows_per_second(self) -> float:
        return ROWS / self.wall_seconds

    def __str__(self) -> str:
        return f"{self.rows_per_second:,.0f} rows/s ({seconds(self.wall_seconds)})"

    def binds(self) -> str:
        return describe_parts(
            {
                "own CPU": self.own_seconds,
                "database CPU": self.database_seconds,
                "PostgREST CPU": self.postgrest_seconds,
            }
        )


def upsert_postgres(bench: Bench) -> Iterator[Row]:
    """Beside one COPY of the same rows into the same table, its keys and references included."""
    url = bench.postgres.new_database("upsert")
    fill(url, WORLD)
    master = true_master(WORLD, DAYS)
    ((metrics, rows),) = group_rows(master, _rows_wanted(master)).items()
    database = PostgresDatabase(url, attempts=1)
    bare_copies, copies, fresh, again = [], [], [], []
    for _ in range(REPEATS):
        _make_bare_table(url)
        bare_copies.append(_time(bench, url, lambda: _copy(url, BARE_TABLE, metrics, rows)))
        copies.append(_time(bench, url, lambda: _copy(url, TABLE, metrics, rows)))
        fresh.append(_time(bench, url, lambda: _upsert(database, master)))
        again.append(_time(bench, None, lambda: _upsert(database, master)))
        check_stored(url, WORLD, DAYS)
    database.close()
    copy, bare, first, second = map(median_run, (copies, bare_copies, fresh, again))
    share = copy.wall_seconds / first.wall_seconds
    yield Row(
        f"upsert of {ROWS:,} new rows, psycopg",
        str(first),
        f"at least {OF_COPY} of COPY's speed",
        f"COPY: {copy}; into a table without the foreign key: {bare}",
        share,
        share >= OF_COPY,
        first.binds(),
    )
    yield Row(
        f"upsert of {ROWS:,} rows that are there already, psycopg",
        str(second),
        "",
        f"COPY: {copy}",
        copy.wall_seconds / second.wall_seconds,
        None,
        second.binds(),
    )


def upsert_rest(bench: Bench) -> Iterator[Row]:
    """Through a real PostgREST; the gateway before it is the tests' and counts as own CPU."""
    from storage.rest import SupabaseDatabase
    from tests.services.postgrest import PostgrestServer

    url = bench.postgres.new_database("upsert_rest")
    fill(url, WORLD)
    master = true_master(WORLD, DAYS)
    fresh, again, single = [], [], []
    with PostgrestServer(url) as server:
        timeout = Settings().http_timeout_seconds
        database = SupabaseDatabase(
            server.url, server.service_key, attempts=1, timeout_seconds=timeout
        )
        for _ in range(REPEATS):
            single.append(_time(bench, url, lambda: _upsert_singly(database, master)))
            fresh.append(_time(bench, url, lambda: _upsert(database, master)))
            again.append(_time(bench, None, lambda: _upsert(database, master)))
            check_stored(url, WORLD, DAYS)
            server.proxy.requests.clear()
        database.close()
    one_by_one = SINGLE_ROWS / median_run(single).wall_seconds
    for what, runs in (("new rows", fresh), ("rows that are there already", again)):
        timing = median_run(runs)
        judged = runs is fresh
        yield Row(
            f"upsert of {ROWS:,} {what}, REST",
            str(timing),
            f"at least {REST_ROWS_PER_SECOND:,} rows/s" if judged else "",
            f"a request a row: {one_by_one:,.0f} rows/s ({SINGLE_ROWS} timed)",
            timing.rows_per_second / one_by_one,
            timing.rows_per_second >= REST_ROWS_PER_SECOND if judged else None,
            timing.binds(),
        )


def _time(bench: Bench, url_to_empty: str | None, write: Callable[[], None]) -> Timing:
    """Time one write; given a URL, into an empty table."""
    if url_to_empty:
        empty(url_to_empty)
    before = _clocks(bench)
    write()
    return Timing(*(after - b for after, b in zip(_clocks(bench), before, strict=True)))


def _clocks(bench: Bench) -> tuple[float, float, float, float]:
    return (
        time.perf_counter(),
        time.process_time(),
        cpu_seconds(bench.postgres.pid),
        children_cpu_seconds(),
    )


def _upsert(database: Database, master: Master) -> None:
    stored = upsert_daily_analytics(database, master, _rows_wanted(master))
    if stored.rows != ROWS or stored.refused:
        raise CouldNotRun(f"{stored.rows} of {ROWS} rows were stored")


def _upsert_singly(database: Database, master: Master) -> None:
    ((metrics, rows),) = group_rows(master, _rows_wanted(master)).items()
    for row in rows[:SINGLE_ROWS]:
        database.upsert_rows(metrics, [row])


def _make_bare_table(url: str) -> None:
    """The same columns and primary key; `like` leaves the foreign key and the trigger out."""
    with psycopg.connect(url) as connection:
        connection.execute(f"drop table if exists {BARE_TABLE}".encode())
        connection.execute(f"create table {BARE_TABLE} (like {TABLE} including all)".encode())


def _copy(url: str, table: str, metrics: Sequence[str], rows: Sequence[StoredRow]) -> None:
    """The fastest way in: rows ready in a list, no conflict possible, one transaction."""
    columns = ", ".join(("date", "site_id", *metrics))
    with (
        psycopg.connect(url) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({columns}) from stdin".encode()) as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _rows_wanted(master: Master) -> dict[SiteId, list[date]]:
    return dict.fromkeys(master, DAYS)
