"""One timed backfill: the rollup's through the command line, the design's as its one statement."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psycopg

from bench import hourly_design as design
from bench.hourly_server import at_rest, hourly_server, run_hourly
from bench.hourly_watch import EVERY_SECONDS, Seen, Watch
from bench.processors import cpu_seconds
from bench.results import seconds
from bench.runs import Bench

TABLES = (
    "analytics_events_hourly_agg",
    "analytics_events_daily_agg",
    "analytics_visitor_hour",
    "analytics_visitor_day",
)

SIZE = """
with tables as (
  select root as of_table from unnest(%(roots)s::regclass[]) as root union
  select relid from unnest(%(roots)s::regclass[]) as root, pg_partition_tree(root)
), parts as (
  select of_table from tables union
  select reltoastrelid from pg_class where oid in (select of_table from tables)
    and reltoastrelid <> 0
)
select sum(pg_relation_size(of_table) + pg_indexes_size(of_table))::bigint from parts
"""
"""Of rows, of what is stored beside them, and of indexes; not of the maps that vacuum keeps."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One backfill. bytes_before and bytes_after: of the tables that it writes."""

    events: int
    wall_seconds: float
    database_seconds: float
    program_mb: float
    seen: Seen
    bytes_before: int
    bytes_after: int

    @property
    def speed(self) -> float:
        return self.events / self.wall_seconds

    @property
    def longest_statement(self) -> float:
        """At most this: what was seen last may have gone on until just before the next look."""
        return self.seen.oldest_seconds + EVERY_SECONDS

    def __str__(self) -> str:
        return f"{self.speed:,.0f} events/s ({seconds(self.wall_seconds)})"

    def size(self) -> str:
        return f"{megabytes(self.bytes_before)} before, {megabytes(self.bytes_after)} after"

    def used(self) -> str:
        quarters = " ".join(f"{self.seen.peak_of_quarter(n):.0f}" for n in (1, 2, 3, 4))
        return (
            f"database CPU {seconds(self.database_seconds)} of {seconds(self.wall_seconds)} "
            f"({os.cpu_count()} processors); private memory of the backends, by quarters of the "
            f"run: {quarters} MB; of the program: {self.program_mb:.0f} MB"
        )


def hourly_fill(bench: Bench, url: str, *words: str) -> Fill:
    at_rest(url)
    before, database = _size(url, TABLES), cpu_seconds(hourly_server().pid)
    with Watch(url) as seen:
        took = run_hourly(bench, url, *words)
    return Fill(
        events=_count_events(url),
        wall_seconds=took["wall_seconds"],
        database_seconds=cpu_seconds(hourly_server().pid) - database,
        program_mb=took["peak_mb"],
        seen=seen,
        bytes_before=before,
        bytes_after=_size(url, TABLES),
    )


def design_fill(url: str) -> Fill:
    """As one statement without a time limit."""
    at_rest(url)
    table = (f"{design.SCHEMA}.analytics_events_hourly_agg",)
    before, database = _size(url, table), cpu_seconds(hourly_server().pid)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(design.SEARCH_PATH)
        with Watch(url) as seen:
            started = time.perf_counter()
            connection.execute(design.BACKFILL.encode())
            wall_seconds = time.perf_counter() - started
    return Fill(
        events=_count_events(url),
        wall_seconds=wall_seconds,
        database_seconds=cpu_seconds(hourly_server().pid) - database,
        program_mb=0.0,
        seen=seen,
        bytes_before=before,
        bytes_after=_size(url, table),
    )


def _count_events(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from analytics_events").fetchone()
        return int(row[0]) if row else 0


def _size(url: str, tables: tuple[str, ...]) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(SIZE, {"roots": list(tables)}).fetchone()
        return int(row[0] or 0) if row else 0


def megabytes(number: int) -> str:
    return f"{number / 2**20:,.0f} MB"
