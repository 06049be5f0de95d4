"""What stays of an import: the row of its run, what alerts are told, when it gives up."""

from __future__ import annotations

from datetime import date

from sandbox import Fault, World
from sandbox.world import MATOMO_TOKEN
from tests.end_to_end.visit_runs import (
    asking_for,
    differences,
    last_run,
    open_runs,
    stored,
    truth,
    watermarks,
)
from tests.services.receiver import HOOK, Receiver

DAY, NEXT = date(2026, 11, 17), date(2026, 11, 18)
WORLD = World(
    sites=2, time_zones=("Europe/Paris", "Asia/Tokyo"), visits_per_day=6, actions_per_visit=2
)


def test_a_run_leaves_its_days_and_counts_in_the_history_and_pings_the_health_check(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs, Receiver() as receiver:
        runs.variables |= receiver.environment()
        runs.whole(*asking_for(DAY, NEXT))
        run = last_run(migrated_url)
        assert (run["job"], run["status"], run["failures"]) == ("visits", "complete", [])
        assert (run["window_from"], run["window_to"]) == (DAY, NEXT)
        counts = {"sites": 2, "days": 4, "visits": 24, "actions": 48, "cut_actions": 0}
        counts |= {"written": 48, "removed": 0}
        assert {name: run["counts"][name] for name in counts} == counts
        assert [what for what, _ in receiver.pings()] == ["/start", ""]

        runs.sandbox.faults.add(Fault("visits", "token_refused"))
        done = runs.run(*asking_for(DAY, NEXT))
        assert done.status == 1, done
        assert last_run(migrated_url)["status"] == "incomplete"
        [_, (what, body)] = receiver.pings()
        assert what == "/fail"
        assert "INCOMPLETE: visit log, 2026-11-17 to 2026-11-18" in body
        assert HOOK not in done.out


def test_a_refused_token_is_sent_no_more_than_by_the_requests_under_way(migrated_url: str) -> None:
    """21 refusals lock the machine out of Matomo for an hour."""
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        done = runs.run(MATOMO_API_TOKEN="sentinel-wrong-token", HTTP_ATTEMPTS="4")
        assert done.status == 1, done
        assert len(runs.sandbox.requests()) == 1
        assert last_run(migrated_url)["failures"][0]["kind"] == "credentials"
        runs.sandbox.records.clear()
        runs.sandbox.faults.add(Fault("visits", "token_refused"))
        done = runs.run("--from", "2026-10-01", HTTP_ATTEMPTS="4")
        assert done.status == 1, done
        refused = [r for r in runs.sandbox.requests() if r.source == "visits"]
        assert 1 <= len(refused) <= 4  # of 100 days, as many as are read at once
        assert "sentinel" not in done.out
        assert MATOMO_TOKEN not in done.out


def test_a_run_that_has_no_more_time_says_so_and_the_next_one_ends_it(migrated_url: str) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-19 12:00") as runs:
        runs.sandbox.faults.add(Fault("visits", "stall", site=2, days=(NEXT,)))
        done = runs.run(*asking_for(DAY, NEXT), RUN_DEADLINE="1.5")
        assert done.status == 1, done
        assert "RUN_DEADLINE" in done.out
        assert watermarks(migrated_url) == {1: NEXT, 2: DAY}
        run = last_run(migrated_url)
        assert run["status"] == "incomplete"
        assert [f["kind"] for f in run["failures"]] == ["interrupted"]
        runs.sandbox.faults.clear()
        runs.whole("--to", str(NEXT))
        assert differences(stored(migrated_url), truth(runs.sandbox, [1, 2], [DAY, NEXT])) == []
        assert watermarks(migrated_url) == {1: NEXT, 2: NEXT}
