"""What holds of two runs at once, of which either may have stored last."""

from __future__ import annotations

from tests.end_to_end.chaos.evidence import Evidence
from tests.end_to_end.chaos.invariants import check, fresh_search, fresh_visits

STATUS = {0: "complete", 1: "incomplete", 2: "failed"}


def check_together(evidence: Evidence, statuses: list[int]) -> None:
    """All sentences that do not need a run alone, and each history row on its own."""
    check(evidence)
    problems = [*_rows_match(evidence, statuses), *_cells_match(evidence)]
    assert not problems, "\n".join([*problems, str(evidence.plan), evidence.outcome.out])


def _rows_match(e: Evidence, statuses: list[int]) -> list[str]:
    """One row for each run, and each says how that run ended."""
    calm = not e.database_met and not e.plan.is_slow and not e.wanted.impossible
    told = sorted(row.status for row in e.rows)
    ended = sorted(STATUS.get(status, str(status)) for status in statuses)
    if len(told) > 2 or (calm and told != ended):
        return [f"two runs ended {ended}, and the history says {told}"]
    return []


def _cells_match(e: Evidence) -> list[str]:
    """What a run does not name as missing was said to one of them, and is stored."""
    found = []
    for row in e.rows:
        if row.status not in ("complete", "incomplete"):
            continue
        refused = row.cells("database", e.site_of)
        for source, fresh in (("matomo", fresh_visits), ("gsc", fresh_search)):
            missing = row.cells(source, e.site_of) | refused
            for cell in e.wanted.of(source) - missing:
                if cell[0] not in e.deleted and not fresh(e, cell):
                    found.append(f"{source} of {cell}: {e.after.get(cell)} is not as said")
    return found
