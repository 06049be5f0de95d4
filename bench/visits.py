"""The visit log: 20,000 visits of 5 actions from HTTP answers to committed rows, in both tables."""

from __future__ import annotations

import json
import os
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from bench import visit_parts as parts
from bench.processors import cpu_seconds
from bench.results import CouldNotRun, Row, seconds
from bench.runs import Bench, launch
from bench.servers import Api, running_sandbox
from fetchers.visit_answers import parse_page
from jobs.visit_rows import VisitRows
from sandbox import World

SITE = 3
"""Its visits have the fields of the recorded ones; sites 1 and 2 of the sandbox have plugins."""

ACTIONS = 5
VISITS, MANY_VISITS = 20_000, 100_000
DAY = datetime.now(UTC).date() - timedelta(days=5)
REPEATS = 3

NEW_ROWS, AGAIN_ROWS, PARTITIONED_ROWS = 14_000, 40_000, 10_000
OF_COPY = 0.45
PEAK_MB = 200


@dataclass(frozen=True, slots=True)
class Import:
    """One import. import_seconds: from the first request to the last commit."""

    rows: int
    import_seconds: float
    processor_seconds: float
    database_seconds: float
    sandbox_seconds: float
    peak_mb: float

    @property
    def speed(self) -> float:
        return self.rows / self.import_seconds

    def __str__(self) -> str:
        return f"{self.speed:,.0f} rows/s ({seconds(self.import_seconds)}, {self.peak_mb:.0f} MB)"

    def used(self) -> str:
        return (
            f"of {seconds(self.import_seconds)}: own CPU {seconds(self.processor_seconds)}, "
            f"database CPU {seconds(self.database_seconds)}, "
            f"sandbox CPU {seconds(self.sandbox_seconds)}"
        )


def visits(bench: Bench) -> Iterator[Row]:
    """New rows and unchanged rows, standard and partitioned, beside COPY and beside row by row."""
    rows = VISITS * ACTIONS
    with day_of(VISITS) as api:
        pages = parts.fetch_pages(api, SITE, DAY, VISITS)
        lines = parts.render(pages)
        limits = _limits(bench, api, pages, lines)
        new, again, in_partitions = [], [], []
        for number in range(REPEATS):
            url = bench.postgres.new_database(f"visits_{number}")
            new.append(_import(bench, api, url, rows))
            again.append(_import(bench, api, url, rows, "matomo"))
            in_partitions.append(_import(bench, api, url, rows, "weekly", PARTITIONED="true"))
    first, second, third = (
        sorted(runs, key=lambda run: run.import_seconds)[len(runs) // 2]
        for runs in (new, again, in_partitions)
    )
    copy, single = limits["COPY with all indexes"], limits["row by row"]
    what = f"visit log, {VISITS:,} visits x {ACTIONS} actions"
    yield Row(
        f"{what}, new rows, standard table with all indexes",
        str(first),
        f"at least {NEW_ROWS:,} rows/s, under {PEAK_MB} MB",
        f"row by row, as matomo-postgres: {single:,.0f} rows/s ({parts.SINGLE_ROWS:,} timed)",
        first.speed / single,
        first.speed >= NEW_ROWS and first.peak_mb < PEAK_MB,
        _binding(first, limits, "merge, new rows"),
    )
    yield Row(
        "share of COPY into the same table",
        f"{first.speed / copy:.2f}",
        f"at least {OF_COPY}",
        f"COPY, nothing else: {copy:,.0f} rows/s",
        first.speed / copy,
        first.speed / copy >= OF_COPY,
    )
    yield Row(
        f"{what}, again, nothing changed",
        str(second),
        f"at least {AGAIN_ROWS:,} rows/s",
        f"new rows: {first.speed:,.0f} rows/s",
        second.speed / first.speed,
        second.speed >= AGAIN_ROWS,
        _binding(second, limits, "merge, unchanged rows"),
    )
    yield Row(
        f"{what}, new rows, partitioned",
        str(third),
        f"at least {PARTITIONED_ROWS:,} rows/s",
        f"standard: {first.speed:,.0f} rows/s",
        third.speed / first.speed,
        third.speed >= PARTITIONED_ROWS,
        _binding(third, limits, "merge, new rows, partitioned"),
    )


def visits_memory(bench: Bench) -> Iterator[Row]:
    """One day of five times as many visits takes no more memory."""
    with day_of(MANY_VISITS) as api:
        url = bench.postgres.new_database("visits_many")
        run = _import(bench, api, url, MANY_VISITS * ACTIONS)
    with day_of(VISITS) as api:
        url = bench.postgres.new_database("visits_few")
        few = _import(bench, api, url, VISITS * ACTIONS)
    yield Row(
        f"visit log, {MANY_VISITS:,} visits x {ACTIONS} actions in one day",
        str(run),
        f"under {PEAK_MB} MB, flat",
        f"{VISITS:,} visits: {few.peak_mb:.0f} MB",
        few.peak_mb / run.peak_mb,
        run.peak_mb < PEAK_MB,
        run.used(),
    )


@contextmanager
def day_of(number: int) -> Iterator[Api]:
    """A sandbox with one site and this many visits a day, made before they are asked for."""
    world = World(
        sites=SITE,
        accounts=1,
        time_zones=("Europe/Paris",),
        visits_per_day=number,
        actions_per_visit=ACTIONS,
    )
    with running_sandbox(world, 0) as api:
        change = [{"do": "warm", "site": SITE, "days": [str(DAY)]}]
        address = f"{api.environment['GOOGLE_API_ENDPOINT']}/sandbox/visits"
        urllib.request.urlopen(address, json.dumps(change).encode(), timeout=600).close()
        yield api


def _import(
    bench: Bench, api: Api, url: str, rows: int, table: str = "matomo", **variables: str
) -> Import:
    with tempfile.TemporaryDirectory(prefix="bench-visits-") as folder:
        report = Path(folder) / "report.json"
        command = ["-m", "bench.visit_import", str(report), "--matomo-site", str(SITE)]
        command += ["--from", str(DAY), "--to", str(DAY)]
        before = cpu_seconds(bench.postgres.pid), cpu_seconds(api.pid)
        environment = {**api.environment, **variables, "DATABASE_URL": url}
        took = launch(command, {**environment, "DESTINATION_TABLE": table})
        database, sandbox = cpu_seconds(bench.postgres.pid), cpu_seconds(api.pid)
        timed = json.loads(report.read_text())
    _check(url, table, rows)
    return Import(
        rows=rows,
        **timed,
        database_seconds=database - before[0],
        sandbox_seconds=sandbox - before[1],
        peak_mb=took["peak_mb"],
    )


def _check(url: str, table: str, rows: int) -> None:
    with psycopg.connect(url) as connection:
        query = f"select count(*), count(distinct idvisit) from {table}".encode()
        found = connection.execute(query).fetchone()
    if found != (rows, rows // ACTIONS):
        raise CouldNotRun(f"{found} rows and visits are stored, not {rows} and {rows // ACTIONS}")


def _limits(
    bench: Bench, api: Api, pages: Sequence[bytes], lines: Sequence[VisitRows]
) -> dict[str, float]:
    """Rows per second of each step alone."""
    rows = sum(visit.rows for visit in lines)
    url = bench.postgres.new_database("visits_limits")
    parts.merge(url, "limit_table", [], partitioned=False)
    parts.merge(url, "single_table", [], partitioned=False)
    rate = parts.rows_per_second
    found = {
        "server": rate(rows, lambda: parts.fetch_pages(api, SITE, DAY, VISITS)),
        "parse": rate(rows, lambda: [parse_page(page) for page in pages]),
        "parse and transform": rate(rows, lambda: parts.render(pages)),
        "merge, new rows": rate(rows, lambda: parts.merge(url, "a", lines, partitioned=False)),
        "merge, unchanged rows": rate(
            rows, lambda: parts.merge(url, "a", lines, partitioned=False)
        ),
        "merge, new rows, partitioned": rate(
            rows, lambda: parts.merge(url, "b", lines, partitioned=True)
        ),
        "COPY with all indexes": rate(
            rows, lambda: parts.copy_with_indexes(url, "limit_table", lines)
        ),
    }
    found["row by row"] = rate(
        parts.SINGLE_ROWS, lambda: parts.insert_singly(url, "single_table", "a")
    )
    return found


def _binding(run: Import, limits: dict[str, float], merge: str) -> str:
    """The steps alone, slowest first: the first one binds, unless they share processors."""
    steps = {name: limits[name] for name in ("server", "parse", "parse and transform", merge)}
    ordered = sorted(steps.items(), key=lambda step: step[1])
    alone = ", ".join(f"{name} {speed:,.0f}" for name, speed in ordered)
    binds = (
        "database"
        if ordered[0][0] == merge
        else "own work"
        if "parse" in ordered[0][0]
        else "server"
    )
    return f"{binds}. Each alone, rows/s: {alone}; {run.used()} ({os.cpu_count()} processors)"
