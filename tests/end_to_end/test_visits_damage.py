"""Answers of Matomo that arrive whole and are wrong, and visits that it changes afterwards."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from sandbox import Fault, World
from tests.end_to_end.visit_runs import (
    VisitRuns,
    asking_for,
    differences,
    last_run,
    open_runs,
    stored,
    truth,
    versions,
    watermarks,
)
from tests.integration.tables import execute

DAY, NEXT = date(2026, 11, 17), date(2026, 11, 18)
WORLD = World(
    sites=2, time_zones=("Europe/Paris", "Asia/Tokyo"), visits_per_day=20, actions_per_visit=3
)
TABLES = [{}, {"PARTITIONED": "true"}]


def check(runs: VisitRuns, *days: date) -> None:
    expected = truth(runs.sandbox, WORLD.site_numbers, days)
    assert differences(stored(runs.database_url), expected) == []


def test_a_visit_that_matomo_left_out_of_a_closed_day_is_counted_and_comes_with_the_next_run(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        # Of the last page: any other would be too short, and so taken for the last one.
        lost = runs.sandbox.visit_log.visits(1, NEXT)[-1]["idVisit"]
        runs.sandbox.faults.add(Fault("visits", "lost_visit", site=1, visit=lost))
        done = runs.run(*asking_for(DAY, NEXT))
        assert done.status == 1, done
        said = "site 1, 2026-11-18: the visit log holds 19 visits, Matomo's report says 20"
        assert said in done.out
        assert watermarks(migrated_url) == {1: DAY, 2: NEXT}
        runs.sandbox.faults.clear()
        runs.whole("--to", str(NEXT))
        check(runs, DAY, NEXT)
        assert watermarks(migrated_url) == {1: NEXT, 2: NEXT}


def test_a_visit_that_was_missing_from_one_answer_alone_is_found_by_reading_again(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        runs.sandbox.faults.add(Fault("visits", "lost_visit", site=2, nth=1))
        runs.whole(*asking_for(NEXT))
        check(runs, NEXT)


def test_a_report_that_is_not_there_yet_is_no_difference_but_not_ready(migrated_url: str) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        runs.sandbox.faults.add(Fault("matomo", "unarchived", site=1, days=(NEXT,)))
        done = runs.run(*asking_for(DAY, NEXT))
        assert done.status == 1, done
        said = "site 1, 2026-11-18: the visit log holds 20 visits, Matomo's report says 0"
        assert said in done.out
        [failure] = last_run(migrated_url)["failures"]
        assert failure["kind"] == "not ready"
        assert "core:archive" in failure["mend"]
        check(runs, DAY, NEXT)  # it is stored all the same
        assert watermarks(migrated_url) == {1: DAY, 2: NEXT}
        runs.sandbox.faults.clear()
        runs.whole("--to", str(NEXT))
        assert watermarks(migrated_url) == {1: NEXT, 2: NEXT}


def test_a_visit_that_comes_twice_is_stored_once(migrated_url: str) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        runs.sandbox.faults.add(Fault("visits", "doubled_visit"))
        runs.whole(*asking_for(NEXT))
        check(runs, NEXT)


@pytest.mark.parametrize(
    ("kind", "said", "rows_kept"),
    [
        ("no_actions", "has no actionDetails", 0),
        ("empty_actions", "has no actionDetails", 0),
        ("no_timestamp", "action 1 of visit {} has no timestamp", 2),
        ("broken_visit", "of the answer is no visit", 0),
    ],
)
def test_a_visit_that_cannot_be_read_is_named_and_costs_itself_alone(
    kind: str, said: str, rows_kept: int, migrated_url: str
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        bad = runs.sandbox.visit_log.visits(1, NEXT)[10]["idVisit"]
        runs.sandbox.faults.add(Fault("visits", kind, site=1, visit=bad))
        done = runs.run(*asking_for(NEXT))
        assert done.status == 1, done
        [failure] = last_run(migrated_url)["failures"]
        assert said.format(bad) in failure["message"]
        assert (failure["sites"], failure["days"]) == ([1], ["2026-11-18"])
        expected = truth(runs.sandbox, WORLD.site_numbers, [NEXT])
        of_it = {key for key in expected if key.startswith(f"{bad}_")}
        is_there = stored(migrated_url)
        kept = is_there.keys() & of_it
        assert len(kept) == rows_kept
        others = {key: row for key, row in expected.items() if key not in of_it - kept}
        assert differences(is_there, others) == []
        # No later run waits for it.
        assert watermarks(migrated_url) == {1: NEXT, 2: NEXT}


def test_nul_characters_are_removed(migrated_url: str) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        visit = runs.sandbox.visit_log.visits(1, NEXT)[3]["idVisit"]
        runs.sandbox.faults.add(Fault("visits", "nul", site=1, visit=visit))
        runs.whole(*asking_for(NEXT))
        expected = truth(runs.sandbox, WORLD.site_numbers, [NEXT])
        spoiled = expected[f"{visit}_0"]
        spoiled["action_title"] = f"nulin {spoiled['action_title']}"
        assert differences(stored(migrated_url), expected) == []


def test_a_visit_that_the_database_refuses_is_named_and_costs_itself_alone(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        runs.whole(*asking_for(DAY))
        bad = runs.sandbox.visit_log.visits(1, NEXT)[10]["idVisit"]
        execute(migrated_url, f"alter table matomo add check (idvisit <> '{bad}')")
        done = runs.run(*asking_for(NEXT))
        assert done.status == 1, done
        [failure] = last_run(migrated_url)["failures"]
        assert failure["message"].startswith(f"visit {bad} was not stored: ")
        expected = truth(runs.sandbox, WORLD.site_numbers, [DAY, NEXT])
        others = {k: row for k, row in expected.items() if row["idvisit"] != str(bad)}
        assert differences(stored(migrated_url), others) == []
        assert watermarks(migrated_url) == {1: NEXT, 2: NEXT}


@pytest.mark.parametrize("table", TABLES, ids=["standard", "partitioned"])
def test_renumbered_actions_leave_no_old_rows_on_open_and_on_closed_days(
    table: dict[str, str], migrated_url: str
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-18 12:00") as runs:
        log = runs.sandbox.visit_log
        runs.variables |= {"STARTDATE": str(DAY), **table}
        runs.whole()
        open_day = log.visits(1, NEXT)[-1]
        closed_day = log.visits(1, DAY)[5]
        shortened = log.visits(2, DAY)[6]
        for visit in (open_day, closed_day):
            middle = (visit["firstActionTimestamp"] + visit["lastActionTimestamp"]) // 2
            log.add_action(1, visit["idVisit"], datetime.fromtimestamp(middle, UTC), "event")
        log.remove_action(2, shortened["idVisit"], 0)
        runs.whole()
        expected = truth(runs.sandbox, [1], [NEXT]) | truth(runs.sandbox, [2], [NEXT])
        of_day = "idvisit in ({})".format(
            ", ".join(f"'{v['idVisit']}'" for site in (1, 2) for v in log.visits(site, NEXT))
        )
        assert differences(stored(migrated_url, where=of_day), expected) == []
        runs.clock.set("2026-11-19 12:00")
        done = runs.whole(*asking_for(DAY, NEXT))
        check(runs, DAY, NEXT)
        assert "removed" in done.out
        before = versions(migrated_url)
        runs.whole(*asking_for(DAY, NEXT))
        assert versions(migrated_url) == before
