"""Ten minutes of writers, refreshes, kill -9 and readers: how many answers were not the events'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.results import CouldNotRun, Row
from bench.runs import Bench

if TYPE_CHECKING:
    from tests.chaos_hourly.machine import Report

SECONDS = float(os.environ.get("BENCH_CHAOS_SECONDS") or 600)
SEED = int(os.environ.get("BENCH_CHAOS_SEED") or 5)


def hourly_chaos(bench: Bench) -> Iterator[Row]:
    """A correctness figure among the timed ones.

    BENCH_CHAOS_SECONDS: how long; BENCH_CHAOS_SEED: which random run. Readers compare with what
    Python makes of the events that the same snapshot shows.
    """
    # The servers and the oracle are the tests'.
    from tests.chaos_hourly.machine import Machine, Plan
    from tests.chaos_hourly.server import MortalServer
    from tests.integration.tables import migrate

    with MortalServer() as server:
        migrate(server.create_database("chaos"))
        report = Machine(server, "chaos", Plan(SECONDS, SEED)).run()
    if report.unexpected:
        raise CouldNotRun(f"the chaos stumbled:\n{report.unexpected[0]}")
    yield _row(report)


def _row(report: Report) -> Row:
    answers = sum(n for kind, n in report.compared.items() if kind.startswith("answers from"))
    clean = sum(n for kind, n in report.compared.items() if kind.startswith("answers from clean"))
    stored = sum(n for kind, n in report.compared.items() if kind.endswith("rows"))
    kills = sum(n for kind, n in report.done.items() if kind.startswith("kill"))
    events = sum(n for kind, n in report.done.items() if kind not in NOT_WRITTEN) - kills
    during = len(report.differences) - report.after_the_end
    return Row(
        f"hourly rollup, {SECONDS:.0f} s of writers, delayed commits, rollbacks, "
        f"{report.done['refreshed']:,} refreshes, {kills} x kill -9",
        f"{during} differences, {report.after_the_end} after the last refresh",
        "0 differences, 0 after the last refresh",
        f"{answers:,} answers and {stored:,} stored rows beside the events in the same snapshot",
        met=not report.differences,
        binds=f"{events:,} changes; {clean:,} answers from clean days; {first_line(report)}",
    )


NOT_WRITTEN = ("refreshed", "rolled back")


def first_line(report: Report) -> str:
    """Of the first difference, if there is one."""
    return report.differences[0][:300] if report.differences else f"seed {SEED}"
