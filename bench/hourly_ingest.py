"""What the triggers cost whoever writes events: two databases that differ in nothing else."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from statistics import median

import psycopg

from bench.hourly_events import LARGEST, Shape, generate
from bench.hourly_server import at_rest, drop_database, migrated_database
from bench.processors import cpu_seconds
from bench.results import CouldNotRun, Row, seconds
from bench.runs import Bench

Connection = psycopg.Connection[tuple[object, ...]]

WITH, WITHOUT = "hourly_ingest", "hourly_ingest_plain"

ROWS = 100_000
REPEATS = 11
SINGLE_ROWS = 600
BULK_MOST, SINGLE_MOST = 1.15, 1.25

COLUMNS = "project_id, visitor_id, session_id, event_type, event_label, event_data, created_at"

BULK = """
insert into analytics_events ({columns}) select {columns} from {source} order by id limit {rows}
"""

ORDERS = {"in order of arrival": "staged", "in random order": "shuffled"}

SHUFFLED = f"""
create table shuffled as
  select row_number() over (order by md5(id::text)) as id, {COLUMNS} from staged
"""

SINGLE = """
insert into analytics_events (project_id, visitor_id, session_id, event_type, event_label)
values (%s, %s, %s, 'widget_visible', %s)
"""

NO_TRIGGERS = """
do $$
declare
  it record;
begin
  for it in select tgrelid::regclass as of_table, tgname from pg_trigger
    where tgname like 'analytics_rollup_%' and tgparentid = 0
  loop
    execute format('drop trigger %I on %s', it.tgname, it.of_table);
  end loop;
end
$$
"""


def hourly_ingest(_bench: Bench) -> Iterator[Row]:
    """Inserts in turn with and without triggers, so that the machine's moods meet both."""
    urls = [_prepare(name) for name in (WITH, WITHOUT)]
    with psycopg.connect(urls[1], autocommit=True) as connection:
        connection.execute(NO_TRIGGERS.encode())
    _check_triggers(urls)
    for order, source in ORDERS.items():
        statement = BULK.format(columns=COLUMNS, source=source, rows=ROWS)
        yield _bulk_row(urls, order, statement)
    yield _single_row(urls, "on", SINGLE_MOST)
    yield _single_row(urls, "off", None)
    for name in (WITH, WITHOUT):
        drop_database(name)


def _bulk_row(urls: Sequence[str], order: str, statement: str) -> Row:
    took: list[list[float]] = [[], []]
    processor: list[list[float]] = [[], []]
    for turn in range(REPEATS):
        for side in (0, 1) if turn % 2 else (1, 0):
            _empty(urls[side])
            wall_seconds, processor_seconds = _time_bulk(urls[side], statement)
            took[side].append(wall_seconds)
            processor[side].append(processor_seconds)
    _check_marked(urls[0])
    own, plain = map(median, took)
    own_cpu, plain_cpu = map(median, processor)
    return Row(
        f"insert of {ROWS:,} events of 3 days {order}, with triggers",
        f"{own / plain:.2f} x ({seconds(own)})",
        f"at most {BULK_MOST} x without",
        f"without: {seconds(plain)} (medians of {REPEATS})",
        plain / own,
        own <= BULK_MOST * plain,
        f"backend's CPU {own_cpu / plain_cpu:.2f} x ({seconds(own_cpu)})",
    )


def _single_row(urls: Sequence[str], synchronous: str, most: float | None) -> Row:
    took: list[list[float]] = [[], []]
    connections = [psycopg.connect(url, autocommit=True) for url in urls]
    try:
        for connection in connections:
            connection.execute(f"set synchronous_commit = {synchronous}".encode())
        for turn in range(SINGLE_ROWS):
            for side in (0, 1) if turn % 2 else (1, 0):
                took[side].append(_time_single(connections[side], turn))
    finally:
        for connection in connections:
            connection.close()
    own, plain = map(median, took)
    return Row(
        f"commit of a single event with triggers, synchronous_commit {synchronous}",
        f"{own / plain:.2f} x ({own * 1000:.2f} ms)",
        f"at most {most} x without" if most else "",
        f"without: {plain * 1000:.2f} ms (medians of {SINGLE_ROWS}, in turn)",
        plain / own,
        own <= most * plain if most else None,
    )


def _prepare(name: str) -> str:
    """The migrations' own table of events, empty; as many events as are inserted, beside it."""
    url = migrated_database(name)
    with psycopg.connect(url, autocommit=True) as connection:
        generate(connection, "staged", Shape(events=round(1.02 * ROWS), days=3))
        connection.execute(SHUFFLED.encode())
        connection.execute("vacuum (freeze, analyze) staged, shuffled")
    return url


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate analytics_events")
        connection.execute("truncate analytics_rollup_dirty")
    at_rest(url)


def _time_bulk(url: str, statement: str) -> tuple[float, float]:
    """Seconds until it is committed, and the backend's processor time."""
    with psycopg.connect(url, autocommit=True) as connection:
        # The first use in a session reads catalogues and compiles: once a connection, not a row.
        connection.execute("select count(*) from staged")
        backend = connection.info.backend_pid
        started, before = time.perf_counter(), cpu_seconds(backend)
        inserted = connection.execute(statement.encode()).rowcount
        took = time.perf_counter() - started, cpu_seconds(backend) - before
    if inserted != ROWS:
        raise CouldNotRun(f"{inserted:,} rows were inserted, not {ROWS:,}")
    return took


def _time_single(connection: Connection, number: int) -> float:
    ids = [f"{random.getrandbits(128):032x}" for _ in range(2)]
    values = [LARGEST, *ids, f"label-{number % 20:02}"]
    started = time.perf_counter()
    connection.execute(SINGLE, values)
    return time.perf_counter() - started


def _check_triggers(urls: Sequence[str]) -> None:
    """One database has the triggers and the other has none."""
    query = "select count(*) from pg_trigger where tgname like 'analytics_rollup_%'"
    counts = []
    for url in urls:
        with psycopg.connect(url) as connection:
            row = connection.execute(query.encode()).fetchone()
            counts.append(int(str(row[0])) if row else 0)
    if not counts[0] or counts[1]:
        raise CouldNotRun(f"triggers with and without: {counts}")


def _check_marked(url: str) -> None:
    """Every hour with an event is marked."""
    query = """
      select count(*) from (
        select distinct date_bin('1 hour', created_at, '2000-01-01 00:00+00') from analytics_events
        except select hour_bucket from analytics_rollup_dirty
      ) missing
    """
    with psycopg.connect(url) as connection:
        if connection.execute(query).fetchone() != (0,):
            raise CouldNotRun("inserted events are not marked")
