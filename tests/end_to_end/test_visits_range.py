"""Which days and sites a run reads, seen from Matomo: what was asked of it."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta

import pytest

from models import days_between
from sandbox import Fault, World
from storage.visit_log import VisitLog
from tests.end_to_end.visit_runs import (
    COULD_NOT_RUN,
    VisitRuns,
    asking_for,
    differences,
    last_run,
    open_runs,
    stored,
    truth,
    utc,
    versions,
    watermarks,
)
from tests.integration.tables import execute, rows
from tests.integration.visit_tables import upstream_standard

PARIS, TOKYO = 1, 2
WORLD = World(
    sites=3, time_zones=("Europe/Paris", "Asia/Tokyo", "UTC+3"), visits_per_day=6,
    actions_per_visit=2, matomo_hidden=frozenset({3}),
)  # fmt: skip


def day(text: str) -> date:
    """`11-20` of the year of these tests."""
    return date.fromisoformat(f"2026-{text}")


def days(first: str, last: str) -> set[date]:
    return set(days_between(day(first), day(last)))


def days_asked(runs: VisitRuns, site: int = PARIS) -> set[date]:
    """The days of a site that were asked for since the last time this was called."""
    asked = [r for r in runs.sandbox.requests() if r.source == "visits"]
    if site == PARIS:
        runs.sandbox.records.clear()
    return {r.days[0] for r in asked if r.days and r.sites == (site,)}


def test_a_first_run_reads_the_last_days_and_later_ones_go_on_where_it_stopped(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.variables["INITIAL_OFFSET"] = "3"
        runs.whole()
        assert days_asked(runs, TOKYO) == days("11-17", "11-20")
        assert days_asked(runs) == days("11-17", "11-20")
        assert watermarks(migrated_url) == {1: day("11-19"), 2: day("11-19")}
        runs.clock.set("2026-11-20 13:00")
        runs.whole()
        assert days_asked(runs) == {day("11-20")}
        # The last closed day is read once more, half a day after it was first complete.
        runs.clock.set("2026-11-21 02:00")
        runs.whole()
        assert days_asked(runs, TOKYO) == days("11-19", "11-21")
        assert days_asked(runs) == days("11-19", "11-21")
        # The machine was down for four days.
        runs.clock.set("2026-11-25 08:00")
        runs.whole()
        assert days_asked(runs) == days("11-20", "11-25")
        closed = days_between(day("11-17"), day("11-24"))
        expected = truth(runs.sandbox, [1, 2], closed)
        is_there = stored(migrated_url)
        assert differences({k: is_there[k] for k in expected if k in is_there}, expected) == []


@pytest.mark.parametrize(("first", "last"), [("11-18", "11-18"), ("11-17", "11-20")])
def test_a_day_that_failed_is_where_the_next_run_begins(
    first: str, last: str, migrated_url: str
) -> None:
    failed = days_between(day(first), day(last))
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.variables["INITIAL_OFFSET"] = "3"
        runs.sandbox.faults.add(Fault("visits", "http_500_html", site=PARIS, days=tuple(failed)))
        done = runs.run()
        assert done.status == 1, done
        assert watermarks(migrated_url) == {1: failed[0] - timedelta(days=1), 2: day("11-19")}
        told = [on for failure in last_run(migrated_url)["failures"] for on in failure["days"]]
        assert sorted(told) == list(map(str, failed))
        days_asked(runs)
        runs.sandbox.faults.clear()
        runs.clock.set("2026-11-22 12:00")  # as a first day, it would be 11-19 by now
        runs.whole()
        assert days_asked(runs) == days("11-17", "11-22")
        assert watermarks(migrated_url) == {1: day("11-21"), 2: day("11-21")}


def test_startdate_begins_a_first_run_and_every_run_where_it_is_forced(migrated_url: str) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.whole(STARTDATE="2026-11-10")
        assert days_asked(runs) == days("11-10", "11-20")
        runs.whole(STARTDATE="2026-11-01")
        assert days_asked(runs) == {day("11-20")}
        runs.whole(STARTDATE="2026-11-08", FORCE_STARTDATE="true")
        assert days_asked(runs) == days("11-08", "11-20")
        runs.whole(INITIAL_OFFSET="1", DESTINATION_TABLE="other")
        assert days_asked(runs) == days("11-19", "11-20")


def test_days_and_sites_of_the_command_line_are_read_and_no_watermark_skips_others(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.whole(*asking_for(day("11-12"), day("11-13")))
        assert days_asked(runs) == days("11-12", "11-13")
        runs.whole(*asking_for(day("11-16"), day("11-17")), "--matomo-site", str(TOKYO))
        assert (days_asked(runs, TOKYO), days_asked(runs)) == (days("11-16", "11-17"), set())
        assert watermarks(migrated_url) == {1: day("11-13"), 2: day("11-13")}
        runs.whole()
        assert days_asked(runs, TOKYO) == days("11-14", "11-20")
        assert days_asked(runs) == days("11-14", "11-20")


def test_a_look_at_one_day_does_not_let_the_first_real_run_begin_there(migrated_url: str) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.variables["STARTDATE"] = "2026-11-10"
        runs.whole(*asking_for(day("11-19")))
        assert days_asked(runs) == {day("11-19")}
        runs.whole()
        assert days_asked(runs) == days("11-10", "11-20")


def test_a_site_that_the_token_may_not_view_is_named_and_the_others_are_stored(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        done = runs.run(*asking_for(day("11-19")), MATOMO_SITE="3, 2")
        assert done.status == 1, done
        assert "may not view site 3" in done.out
        expected = truth(runs.sandbox, [TOKYO], [day("11-19")])
        assert differences(stored(migrated_url), expected) == []
        assert last_run(migrated_url)["failures"][0]["sites"] == [3]


def test_a_table_that_matomo_postgres_filled_is_read_from_two_days_before_its_newest_action(
    migrated_url: str,
) -> None:
    execute(migrated_url, upstream_standard())
    execute(
        migrated_url,
        "insert into matomo (action_id, idsite, idvisit, action_timestamp, action_title) values "
        "('7_0', '1', '7', '2026-11-12 09:00+00', 'kept'), "
        "('8_0', '2', '8', '2026-11-19 09:00+00', 'kept')",
    )
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.whole(STARTDATE="2026-01-01", INITIAL_OFFSET="3")
        assert days_asked(runs, TOKYO) == days("11-17", "11-20")
        assert days_asked(runs) == days("11-10", "11-20")
        # Visits that Matomo does not know are not touched.
        kept = rows(migrated_url, "select action_id from matomo where action_title = 'kept'")
        assert len(kept) == 2


def test_a_first_run_of_which_nothing_was_stored_is_begun_again_where_it_began(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.variables["INITIAL_OFFSET"] = "3"
        runs.sandbox.faults.add(Fault("visits", "http_500_html"))
        assert runs.run().status == 1
        runs.sandbox.faults.clear()
        days_asked(runs)
        runs.clock.set("2026-11-24 12:00")
        runs.whole()
        assert days_asked(runs) == days("11-17", "11-24")


@pytest.mark.parametrize("lose", ["truncate matomo", "drop table matomo", "delete from matomo"])
def test_a_table_that_lost_its_rows_is_filled_from_the_beginning(
    lose: str, migrated_url: str
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.variables["STARTDATE"] = "2026-11-14"
        runs.whole()
        expected = stored(migrated_url)
        execute(migrated_url, lose)
        done = runs.whole()
        assert differences(stored(migrated_url), expected) == []
        assert "filled again from where it began" in done.out


def test_the_visits_of_another_matomo_are_refused(migrated_url: str) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs:
        runs.whole(*asking_for(day("11-19")))
        number = len(runs.sandbox.requests())
        other = runs.sandbox.matomo_url.replace("127.0.0.1", "localhost")
        done = runs.run(MATOMO_API_URL=other)
        assert done.status == COULD_NOT_RUN, done
        assert "have the same action ids" in done.out
        assert len(runs.sandbox.requests()) == number


def test_real_utc_is_for_a_new_table_which_remembers_it_and_tells_the_autumn_hour_twice(
    migrated_url: str,
) -> None:
    autumn = date(2026, 10, 25)
    world = replace(WORLD, time_zones=("Europe/Paris",), sites=1, visits_per_day=2)
    with open_runs(migrated_url, world, "2026-10-27 12:00") as runs:
        log = runs.sandbox.visit_log
        moments = [utc("2026-10-25 00:30"), utc("2026-10-25 01:30")]  # 02:30 in summer, in winter
        visits = [log.add_visit(1, moment, actions=2, seconds_apart=300) for moment in moments]
        runs.whole(*asking_for(autumn), DESTINATION_TABLE="parity")
        runs.whole(*asking_for(autumn), "--true-utc")
        query = "select idvisit, min(action_timestamp) from {} where idvisit = any(%s) group by 1"
        ids = [str(visit) for visit in visits]
        real, shown = (
            dict(rows(migrated_url, query.format(name), ids)) for name in ("matomo", "parity")
        )
        assert [real[key] for key in ids] == moments
        assert [shown[key] for key in ids] == [utc("2026-10-25 02:30")] * 2
        # It is remembered, and all else is as it is otherwise.
        before = versions(migrated_url)
        done = runs.whole(*asking_for(autumn))
        assert "real UTC" in done.out
        assert versions(migrated_url) == before
        expected = truth(runs.sandbox, [1], [autumn])
        for key, row in stored(migrated_url).items():
            expected[key]["action_timestamp"] = row["action_timestamp"]
        assert differences(stored(migrated_url), expected) == []
        refused = runs.run("--true-utc", DESTINATION_TABLE="parity")
        assert refused.status == COULD_NOT_RUN, refused
        assert "wall clocks" in refused.out


def test_a_second_import_waits_for_the_first_or_says_that_it_is_under_way(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        open_runs(migrated_url, WORLD, "2026-11-20 12:00") as runs,
        closing(VisitLog(migrated_url, 1)) as other,
    ):
        runs.whole(*asking_for(day("11-18")))
        other.lock(other.open_table("matomo"), 1)
        monkeypatch.setattr("jobs.visits.LOCK_SECONDS", 1.0)
        done = runs.run(*asking_for(day("11-19")))
        assert done.status == COULD_NOT_RUN, done
        assert "another run is writing to public.matomo" in done.out
        monkeypatch.setattr("jobs.visits.LOCK_SECONDS", 30.0)
        ending = threading.Timer(0.3, other.close)
        ending.start()
        runs.whole(*asking_for(day("11-19")))
        ending.join()
        assert watermarks(migrated_url)[PARIS] == day("11-19")
