"""What holds after each import of the visit log, beside what holds after each run of any job."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta

from tests.end_to_end.chaos.imports import Imported, became_due
from tests.end_to_end.chaos.invariants import (
    limits_are_kept,
    no_bug,
    no_secret_is_shown,
    what_was_refused_is_not_asked_again,
)
from tests.end_to_end.chaos.program import COULD_NOT_RUN
from tests.end_to_end.chaos.visits_said import Version

SUMMARY = re.compile(
    r"Read (\d+) site-days? of \d+ sites?: (\d+) visits, (\d+) actions\. "
    r"Stored (\d+) new or changed rows in \S+?(?:, (\d+) removed)?\."
)
NOTHING: Version = frozenset()

Problems = Iterator[str]


def check_import(e: Imported) -> None:
    """Raises AssertionError with everything that does not hold and what was printed."""
    problems = [f"{rule.__name__}: {found}" for rule in RULES for found in rule(e)]
    if problems:
        shown = "\n".join(problems[:20])
        raise AssertionError(
            f"{shown}\n--- {e.profile}\n--- {e.plan}\n--- printed\n{e.outcome.out}"
        )


def check_refused_over_rest(e: Imported) -> None:
    """REST cannot do it: that is said, nobody is asked, nothing but the history has changed."""
    for rule in (no_bug, no_secret_is_shown):
        assert not list(rule(e)), e.outcome.out
    assert e.outcome.status == COULD_NOT_RUN, e.outcome.out
    assert "DATABASE_URL is missing" in e.outcome.out
    assert not e.asked
    assert e.daily[0] == e.daily[1]
    statuses = [row.status for row in e.rows]
    assert statuses == ([] if e.plan.ask.sites else ["failed"]), statuses


def rows_are_the_logs(e: Imported) -> Problems:
    """What is stored of a visit was said at some time, all of it at once; what changed, now."""
    for visit in e.before.keys() | e.after.keys():
        old, new = e.before.get(visit, NOTHING), e.after.get(visit, NOTHING)
        if new == old:
            continue
        if not new:
            yield f"visit {visit} is gone"
        elif not e.said.allows(visit, old, new):
            yield f"visit {visit}: {sorted(new)}, and {e.said.versions.get(visit)} was said"


def the_other_job_is_untouched(e: Imported) -> Problems:
    if e.daily[0] != e.daily[1]:
        yield "daily_analytics changed"


def complete_days_lack_nothing(e: Imported) -> Problems:
    """A watermark moves over days alone that were asked for, are over, and are in the table."""
    for site in e.moved:
        mark, asked = e.marks[site], e.wanted.get(site)
        if asked is None:
            yield f"the watermark of site {site}, which was not asked for, moved to {mark}"
            continue
        if mark < asked.oldest:
            yield f"the watermark of site {site} went back to {mark}"
        passed = (asked.base + timedelta(days=n) for n in range(1, (mark - asked.base).days + 1))
        for day in set(passed) - set(asked.closed):
            yield f"the watermark of site {site} passed {day}, which was not to be read whole"
    due = became_due(e)
    for visit, version in due.items():
        if not _is_stored(e, visit, version) and not _is_excused(e, visit):
            yield f"visit {visit} of a complete day is not stored as it is: {e.after.get(visit)}"
    for visit in e.due - e.after.keys():
        yield f"visit {visit} of a day that was complete is gone"


def _is_stored(e: Imported, visit: int, version: Version) -> bool:
    """As the log has it; or as it was said in this run, when a NUL changed the texts."""
    now = e.after.get(visit)
    return now is not None and (now == version or now in e.said.versions.get(visit, ()))


def _is_excused(e: Imported, visit: int) -> bool:
    """Spoiled by the source, or refused by the database: named, if the run had the time to."""
    fault = e.plan.database
    refused = fault is not None and fault.kind == "row_refused" and e.database_met
    return visit in e.said.parts or (refused and (e.killed or f"visit {visit} was" in _told(e)))


def _told(e: Imported) -> str:
    return e.outcome.out + "".join(row.text for row in e.rows)


def complete_is_said_only_of_complete_imports(e: Imported) -> Problems:
    """Exit status 0: every closed day that was asked for is in the table as the log has it."""
    if e.outcome.status != 0 or not e.alone:
        return
    for (site, day), visits in e.log.items():
        for visit, version in visits.items():
            if not _is_stored(e, visit, version) and visit not in e.upset:
                yield f"{site}, {day}: visit {visit} is {e.after.get(visit)}, not {version}"
    for site, asked in e.wanted.items():
        newest = max(asked.closed, default=date.min)
        if min(asked.days, default=date.max) <= asked.base + timedelta(days=1) and (
            e.marks.get(site, date.min) < newest
        ):
            yield f"the watermark of site {site} is {e.marks.get(site)}, {newest} was complete"


def what_was_spoiled_is_named(e: Imported) -> Problems:
    """A visit without actions and the like costs itself alone, and is told of."""
    if not _is_calm(e):
        return
    for visit, cell in e.said.to_name.items():
        if visit in e.log.get(cell, {}) and visit not in e.upset and e.outcome.status != 1:
            yield f"visit {visit} was spoiled, and the exit status is {e.outcome.status}"


def status_and_history_agree(e: Imported) -> Problems:
    """Exit status, last line and history tell the same story, and no failure is without cause."""
    if e.killed or not e.alone:
        return
    row, status = e.finished, e.outcome.status
    disturbed = e.met or e.fired or not _is_calm(e)
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
    if status in (0, 1):
        names = ("days", "visits", "actions", "written", "removed")
        told = tuple(row.counts.get(name, 0) for name in names)
        if _summary(e) != told:
            yield f"the last line says {_summary(e)}, the history {told}"


def _is_calm(e: Imported) -> bool:
    """Neither the database, nor time, nor a signal was in the way."""
    return not (e.database_met or e.plan.is_slow or e.stopped or e.plan.deadline_seconds < 1)


def _summary(e: Imported) -> tuple[int, ...] | None:
    last = e.outcome.out.rstrip("\n").rpartition("\n")[2]
    if last.startswith("{"):
        last = str(json.loads(last).get("message", ""))
    found = SUMMARY.fullmatch(last)
    return tuple(int(number or 0) for number in found.groups()) if found else None


RULES: list[Callable[[Imported], Problems]] = [
    no_bug,
    rows_are_the_logs,
    the_other_job_is_untouched,
    complete_days_lack_nothing,
    complete_is_said_only_of_complete_imports,
    what_was_spoiled_is_named,
    status_and_history_agree,
    no_secret_is_shown,
    what_was_refused_is_not_asked_again,
    limits_are_kept,
]
