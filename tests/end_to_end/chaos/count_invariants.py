"""What holds after each run of `hourly`, beside what holds after each run of any job."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from tests.end_to_end.chaos.counts import Count, Counted, Write, a_count
from tests.end_to_end.chaos.invariants import no_bug, no_secret_is_shown
from tests.end_to_end.chaos.plans import Plan
from tests.end_to_end.chaos.program import COULD_NOT_RUN
from tests.end_to_end.chaos.stage import Stage
from tests.end_to_end.chaos.stores import COUNT_KINDS, HOURS, DatabaseFault

SUMMARY = re.compile(r"Counted (\d+) hours? (?:or|and) days?(?:; .*)?\.")

Problems = Iterator[str]


def check_count(e: Counted) -> None:
    """Raises AssertionError with everything that does not hold and what was printed."""
    problems = [f"{rule.__name__}: {found}" for rule in RULES for found in rule(e)]
    if problems:
        shown = "\n".join(problems[:20])
        raise AssertionError(f"{shown}\n--- {e.plan}\n--- printed\n{e.outcome.out}")


def check_count_refused_over_rest(e: Counted) -> None:
    """REST cannot do it: that is said, and nothing but the history has changed."""
    for rule in (no_bug, no_secret_is_shown):
        assert not list(rule(e)), e.outcome.out
    assert e.outcome.status == COULD_NOT_RUN, e.outcome.out
    assert "DATABASE_URL is missing" in e.outcome.out
    assert e.daily[0] == e.daily[1]


def what_is_wrong_is_marked(e: Counted) -> Problems:
    """Every hour and closed day is as its events are, or waits to be counted again."""
    yield from (f"wrong for good: {row}" for row in e.unmarked)


def complete_is_said_only_of_what_is_counted(e: Counted) -> Problems:
    if e.outcome.status == 0 and not e.during:
        yield from (f"complete, and {row}" for row in e.different)
        if e.left:
            yield f"complete, and {e.left} wait"


def nobody_else_is_concerned(e: Counted) -> Problems:
    if e.daily[0] != e.daily[1]:
        yield "daily_analytics changed"
    if e.asked:
        yield f"sources were asked: {e.asked}"


def status_and_history_agree(e: Counted) -> Problems:
    """Exit status, last line and history tell the same story, and no failure is without cause."""
    if e.killed or not e.alone:
        return
    row, status = e.finished, e.outcome.status
    disturbed = e.database_met or e.stopped or e.plan.deadline_seconds < 1
    if status != 0 and not disturbed:
        yield f"exit status {status}, and nothing was in its way"
    if len(e.rows) > 1:
        yield f"{len(e.rows)} rows in the history for one run"
    if row is None:
        if not disturbed or (status in (0, 1) and "no run history" not in e.outcome.out):
            yield "no finished row in the history"
        return
    expected = {0: "complete", 1: "incomplete", COULD_NOT_RUN: "failed"}.get(status)
    if expected and row.status != expected:
        yield f"exit status {status}, and the history says {row.status}"
    if (row.status == "complete") != (not row.failures):
        yield f"{row.status} with {len(row.failures)} failures"
    if status in (0, 1) and _counted(e) != row.counts.get("counted"):
        yield f"the last line says {_counted(e)}, the history {row.counts}"


def _counted(e: Counted) -> int | None:
    last = e.outcome.out.rstrip("\n").rpartition("\n")[2]
    if last.startswith("{"):
        last = str(json.loads(last).get("message", ""))
    found = SUMMARY.fullmatch(last)
    return int(found[1]) if found else None


RULES: list[Callable[[Counted], Problems]] = [
    no_bug,
    what_is_wrong_is_marked,
    complete_is_said_only_of_what_is_counted,
    nobody_else_is_concerned,
    status_and_history_agree,
    no_secret_is_shown,
]


def check_count_recovery(stage: Stage) -> None:
    """One run without faults: the aggregates are what the events are."""
    counted = a_count(stage, Count(Plan()))
    check_count(counted)
    stage.forget_own_open_runs()
    assert counted.outcome.status == 0, counted.outcome.out
    assert not counted.different, counted.different
    assert not counted.left


def run_each_count_database_fault(stage: Stage) -> None:
    """A count for each kind of fault of the database, and one after it that makes it good."""
    at = {"wire_cut": 30, "wire_cut_after": 30}
    for kind in COUNT_KINDS:
        fault = DatabaseFault(kind, at.get(kind, 1), 2, HOURS)
        counted = a_count(stage, Count(Plan(database=fault), (Write("insert"), Write("move"))))
        check_count(counted)
        assert counted.database_met, kind
        stage.forget_own_open_runs()
        check_count_recovery(stage)
