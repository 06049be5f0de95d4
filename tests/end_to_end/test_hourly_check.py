"""`hourly --check` and doctor: a wrong number, stale hours, a queue, and triggers that are off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.doctor_hourly import check_events
from tests.end_to_end.event_runs import (
    counted,
    different,
    fill,
    hourly,
    last_run,
    open_process,
    versions,
)
from tests.integration.tables import execute, rows
from tests.unit.examinations import SETTINGS, examination, in_short

HOUR = "(select min(hour_bucket) from analytics_events_hourly_agg)"
DAY = "(select min(day) from analytics_events_daily_agg)"
ONE = f"hour_bucket = {HOUR} and project_id = 'p1'"

OF_AN_HOUR = {
    "a number": f"update analytics_events_hourly_agg set event_count = event_count + 7 where {ONE}",
    "unique visitors": "update analytics_events_hourly_agg set unique_visitors = 99 where " + ONE,
    "unique sessions": "update analytics_events_hourly_agg set unique_sessions = 99 where " + ONE,
    "no rows": f"delete from analytics_events_hourly_agg where {ONE}",
    "a row of nothing": (
        "insert into analytics_events_hourly_agg (project_id, event_type, hour_bucket, "
        f"event_count, unique_visitors, unique_sessions) values ('p1', 'none', {HOUR}, 1, 1, 1)"
    ),
    "another label": f"update analytics_events_hourly_agg set event_label = 'other' where {ONE} "
    "and event_label = 'label 1' and event_type = 'type 0'",
}
OF_A_DAY = {
    f"{what} of a {grain}": f"update analytics_events_daily_agg set {what} = {what} + 7 "
    f"where grain = '{grain}' and project_id = 'p1' and day = {DAY}"
    for grain, what in (
        ("project", "event_count"),
        ("project", "unique_visitors"),
        ("type", "unique_sessions"),
        ("label", "event_count"),
    )
} | {
    "no rows at all": "delete from analytics_events_daily_agg "
    f"where project_id = 'p1' and day = {DAY}",
    "no labels": "delete from analytics_events_daily_agg "
    f"where project_id = 'p1' and day = {DAY} and grain = 'label'",
}


def few_hours(url: str) -> None:
    """Few enough that a sample holds them all: three of a closed day, and the last three."""
    fill(url, "yesterday", "3 hours", 90)
    fill(url, "now", "-2 hours", 60)
    counted(url)


def test_a_wrong_number_is_found_and_marked_and_the_next_run_mends_it(migrated_url: str) -> None:
    few_hours(migrated_url)
    before = versions(migrated_url)
    well = hourly(migrated_url, "--check")
    assert well.status == 0, well
    assert "0 of a sample of 24 hours, and of days, differ" in well.out
    assert versions(migrated_url) == before
    for kind, plants in (("00:00 UTC, project p1", OF_AN_HOUR), (", project p1", OF_A_DAY)):
        for name, plant in plants.items():
            execute(migrated_url, plant)
            assert different(migrated_url), name
            done = hourly(migrated_url, "--check")
            assert done.status == 1, (name, done)
            assert kind in done.out, (name, done)
            assert last_run(migrated_url)[2] == {"sample_hours": 24, "different": 1}, name
            mended = hourly(migrated_url)
            assert (mended.status, different(migrated_url)) == (0, []), (name, mended)
    assert hourly(migrated_url, "--check").status == 0


UNWELL = {
    "hours that nobody counts": (
        "delete from analytics_rollup_dirty",
        "the newest counted hour is",
    ),
    "an old mark": (
        "update analytics_rollup_dirty set marked_at = now() - interval '3 hours'",
        "wait to be counted, the first since",
    ),
    "a trigger that is off": (
        "alter table analytics_events disable trigger analytics_rollup_insert",
        "changes of public.analytics_events go unseen",
    ),
    "a partition's triggers that are off": (
        "alter table analytics_events_default disable trigger all",
        "changes of public.analytics_events_default go unseen",
    ),
    "nothing to count": (
        "delete from analytics_events where created_at > date_trunc('day', now()) - "
        "interval '1 day' + interval '4 hours'; call refresh_hourly()",
        "no event for",
    ),
}


@pytest.mark.parametrize("name", UNWELL)
def test_each_thing_that_is_not_well_is_one_line_of_check_and_of_doctor(
    name: str, migrated_url: str
) -> None:
    fill(migrated_url, "yesterday", "3 hours", 30)
    if name != "hours that nobody counts":
        fill(migrated_url, "now", "-2 hours", 60)
    counted(migrated_url)
    if name in ("hours that nobody counts", "an old mark"):
        fill(migrated_url, "now", "0 seconds", 3)
    statement, words = UNWELL[name]
    for part in statement.split("; "):
        execute(migrated_url, part)
    done = hourly(migrated_url, "--check")
    lines = done.out.splitlines()
    assert (done.status, len(lines)) == (1, 2), done
    assert lines[0].startswith("events: ")
    assert words in lines[0]
    assert " -> " in lines[0]
    assert lines[1].startswith("INCOMPLETE: events, as of ")
    job, status, counts, [failure] = last_run(migrated_url)
    assert (job, status, counts["different"]) == ("hourly-check", "incomplete", 0)
    assert failure["message"] in lines[0]
    settings = replace(SETTINGS, database_url=migrated_url)
    found = in_short(check_events(examination(settings=settings)))
    assert [message for status, message in found if status == "FAIL"] == [failure["message"]]


def test_doctor_and_the_run_history_tell_of_the_rollup(program: Path, migrated_url: str) -> None:
    settings = replace(SETTINGS, database_url=migrated_url)
    seen = examination(settings=settings)
    assert list(check_events(seen)) == [], "events are optional"
    few_hours(migrated_url)
    assert in_short(check_events(seen)) == [("ok", "counted by hour and day; none waits")]
    execute(migrated_url, "delete from aggregator_runs")
    fill(migrated_url, "now", "0 seconds", 3)
    [(_, waiting), (advice, nobody)] = in_short(check_events(seen))
    assert waiting == "counted by hour and day; 1 hour or day waits to be counted"
    assert (advice, nobody[:38]) == ("advice", "nothing counts new events by itself: n")
    execute(migrated_url, f"update analytics_events_hourly_agg set event_count = 99 where {ONE}")
    with open_process(program, migrated_url) as events:
        done = events.run("hourly", "--check", "--log-format", "json")
        assert (done.status, done.err) == (1, ""), done
        assert '"different": 1' in done.last_line
        done = events.run("hourly")
        assert done.status == 0, done
        shown = events.run("runs", "--failed")
        assert "hourly-check" in shown.out, shown
        assert "project p1" in shown.out
        done = events.run("doctor")
    assert "ok       events    counted by hour and day; none waits\n" in done.out
    assert "the last run of hourly-check (" in done.out
    execute(migrated_url, "alter table analytics_visitor_day disable row level security")
    assert [status for status, _ in in_short(check_events(seen))] == ["ok", "advice", "advice"]
    execute(migrated_url, "drop table analytics_rollup_state")
    assert list(check_events(seen)) == [], "doctor says which migrations are pending"
    down = "postgresql://postgres@127.0.0.1:1/x"
    seen = examination(settings=replace(settings, database_url=down, http_attempts=1))
    [(status, message)] = in_short(check_events(seen))
    assert status == "FAIL"
    assert "no connection" in message
    assert rows(migrated_url, "select count(*) from analytics_events") == [(153,)]
