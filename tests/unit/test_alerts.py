"""What the history says for the alerts: which are open, and when a run was last complete."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jobs.alert_rules import FAILED, Alert, as_json
from jobs.alerts import last_complete_at, newest_alerts
from storage.runs import StoredRun

NOW = datetime(2026, 11, 21, 2, tzinfo=UTC)
DAY = timedelta(days=1)
RUN = StoredRun(1, "daily", NOW, NOW + timedelta(minutes=1), "complete", None, None)
ALERT = Alert(FAILED, "run", "settings", runs={"": 1})


def test_the_last_complete_run_is_the_one_that_ended_last() -> None:
    earlier = replace(RUN, started_at=NOW - DAY, finished_at=NOW - DAY)
    assert last_complete_at([earlier, RUN], [RUN, earlier], 2) == RUN.finished_at


def test_a_complete_run_of_single_sites_says_nothing_of_the_others() -> None:
    narrowed = replace(RUN, counts={"only_sites": 1})
    earlier = replace(RUN, finished_at=NOW - DAY)
    assert last_complete_at([narrowed, earlier], [narrowed, earlier], 2) == NOW - DAY


@pytest.mark.parametrize(("days_ago", "counts"), [(2, True), (3, True), (4, False), (500, False)])
def test_a_backfill_of_older_days_says_nothing_of_last_night(days_ago: int, counts: bool) -> None:
    """A day more than TARGET_DAYS_AGO, since "today" is that of a time zone."""
    run = replace(RUN, window_to=NOW.date() - days_ago * DAY)
    earlier = replace(RUN, finished_at=NOW - DAY)
    expected = RUN.finished_at if counts else NOW - DAY
    assert last_complete_at([run, earlier], [run, earlier], 2) == expected


def test_if_no_run_was_ever_complete_the_time_runs_from_the_first() -> None:
    failed = replace(RUN, status="failed")
    first = replace(failed, started_at=NOW - 3 * DAY)
    assert last_complete_at([], [failed, first], 2) == NOW - 3 * DAY
    assert last_complete_at([], [], 2) is None


def test_open_alerts_are_those_of_the_last_run_that_kept_any() -> None:
    died = replace(RUN, status="failed", counts={"process": {}})
    kept = replace(RUN, counts={"alerts": as_json([ALERT])})
    older = replace(RUN, counts={"alerts": []})
    assert newest_alerts([died, kept, older]) == [ALERT]
    assert newest_alerts([older, kept]) == []
    assert newest_alerts([died]) == []
