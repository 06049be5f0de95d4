"""Runs the cases and prints one table: python -m bench [case ...].

Exit status 0 even where a target is missed; 1 where a case could not run or gave wrong numbers.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import psycopg

from bench.doctor import doctor
from bench.hourly import hourly_backfill
from bench.hourly_chaos import hourly_chaos
from bench.hourly_ingest import hourly_ingest
from bench.hourly_reading import hourly_reading
from bench.hourly_refresh import hourly_refresh
from bench.many_sites import many_sites
from bench.nightly import backfill, nightly
from bench.results import CouldNotRun, Row, print_table, seconds
from bench.runs import Bench, program_copy
from bench.servers import running_postgres
from bench.social import social
from bench.upsert import upsert_postgres, upsert_rest
from bench.visits import visits, visits_memory
from storage.errors import DatabaseError

CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "nightly": nightly,
    "backfill": backfill,
    "many-sites": many_sites,
    "doctor": doctor,
    "upsert": upsert_postgres,
    "upsert-rest": upsert_rest,
    "visits": visits,
    "visits-memory": visits_memory,
    "hourly-backfill": hourly_backfill,
    "hourly-ingest": hourly_ingest,
    "hourly-refresh": hourly_refresh,
    "hourly-reading": hourly_reading,
    "hourly-chaos": hourly_chaos,
    "social": social,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen cases, all by default."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Benchmarks, each beside its baseline."
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of: {', '.join(CASES)}")
    chosen = parser.parse_args(argv).cases or list(CASES)
    if unknown := [name for name in chosen if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server stays behind
    title = f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the first case"
    with running_postgres() as postgres, program_copy() as program:
        rows, problems = run_cases(chosen, Bench(postgres, program))
    print_table(rows, title)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def run_cases(names: Sequence[str], bench: Bench) -> tuple[list[Row], list[str]]:
    """All rows, and one problem for each case that could not run."""
    rows: list[Row] = []
    problems = []
    for name in names:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        started = time.perf_counter()
        try:
            rows += CASES[name](bench)
        except (CouldNotRun, DatabaseError, psycopg.Error, OSError, RuntimeError) as error:
            problems.append(f"{name} could not run: {error}")
        print(seconds(time.perf_counter() - started), file=sys.stderr)
    return rows, problems


if __name__ == "__main__":
    sys.exit(main())
