"""What `runs` shows of the run history."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from cli import parse_arguments
from jobs.history import as_json, run_lines, show_runs, stored_failure, table_cells
from models import Failure, Site
from storage.errors import DatabaseRefused, MissingRelation
from storage.runs import StoredRun
from tests.unit.fake_database import FakeDatabase

STARTED = datetime(2026, 11, 21, 2, 0, 1, tzinfo=UTC)
FIRST, LAST = date(2026, 11, 16), date(2026, 11, 19)
FAILURE = {
    "kind": "credentials", "source": "gsc", "account": "a", "message": "invalid_grant",
    "mend": "give consent", "count": 2, "sites": [1, 2], "days": ["2026-11-18", "2026-11-16"],
}  # fmt: skip
RUN = StoredRun(
    7, "daily", STARTED, STARTED + timedelta(seconds=42), "incomplete", FIRST, LAST,
    {"process": {"pid": 1}, "alerts": [], "gsc": 1, "sites": 3, "stored": 12, "matomo": 3},
    [FAILURE, {**FAILURE, "kind": "temporary"}],
)  # fmt: skip
COMPLETE = replace(RUN, id=8, status="complete", failures=[])
DIED = replace(RUN, id=9, status="failed", finished_at=None)


def shown(capsys: pytest.CaptureFixture[str], *words: str, runs: list[StoredRun]) -> str:
    database = FakeDatabase(sites=[Site(1, "one.test"), Site(2, "two.test")])
    database.past_runs = runs
    show_runs(database, parse_arguments(["runs", *words]))
    return capsys.readouterr().out


def test_a_row_says_when_what_how_long_and_why() -> None:
    assert table_cells(RUN) == [
        "2026-11-21 02:00", "daily", "incomplete", "42 s", "2026-11-16 to 2026-11-19",
        "sites 3, matomo 3, gsc 1, stored 12", "gsc: invalid_grant and 1 other reason",
    ]  # fmt: skip


def test_a_run_that_never_ended_took_no_time_that_is_known() -> None:
    assert table_cells(DIED)[3] == ""
    assert table_cells(replace(RUN, window_from=None, window_to=None))[4] == ""
    assert table_cells(replace(RUN, finished_at=STARTED + timedelta(minutes=61)))[3] == "61 min"


def test_the_table_has_a_line_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, runs=[COMPLETE, RUN]).rstrip().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("started (UTC)")
    assert ["complete" in lines[1], "incomplete" in lines[2]] == [True, True]


def test_last_limits_and_failed_leaves_out_what_is_complete(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(json.loads(shown(capsys, "--json", "--last", "1", runs=[COMPLETE, RUN]))) == 1
    found = json.loads(shown(capsys, "--json", "--failed", runs=[COMPLETE, RUN, DIED]))
    assert [run["id"] for run in found] == [7, 9]
    shown(capsys, "--failed", runs=[COMPLETE, RUN])
    assert "  -> give consent" in "\n".join(caplog.messages).replace("    ", "  ")
    assert "gsc, account a, 2 sites (one.test, two.test), 2 days from" in caplog.text


def test_json_is_the_row_without_what_the_program_keeps_for_itself() -> None:
    row = as_json(RUN)
    assert row["counts"] == {"gsc": 1, "sites": 3, "stored": 12, "matomo": 3}
    assert row["failures"] == RUN.failures
    assert (row["started_at"], row["window_from"]) == ("2026-11-21T02:00:01+00:00", "2026-11-16")
    assert as_json(DIED)["finished_at"] is None


def test_a_failure_comes_back_as_it_was_stored() -> None:
    assert stored_failure(FAILURE) == Failure(
        "credentials", "gsc", "invalid_grant", "give consent", (1, 2), (FIRST, date(2026, 11, 18)),
        "a",
    )  # fmt: skip


def test_an_empty_history_says_so(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(capsys, runs=[])
    shown(capsys, "--failed", runs=[COMPLETE])
    assert caplog.messages == ["no run yet", "no run that is not complete"]
    assert json.loads(shown(capsys, "--json", runs=[])) == []


def test_a_database_without_the_table_says_what_adds_it() -> None:
    database = FakeDatabase(broken=MissingRelation("no table aggregator_runs"))
    with pytest.raises(DatabaseRefused, match="no run history yet") as caught:
        show_runs(database, parse_arguments(["runs"]))
    assert "migrate" in caught.value.mend


def test_what_a_server_said_moves_no_cursor() -> None:
    bad = replace(RUN, failures=[{**FAILURE, "message": "\x1b[2Jgone"}])
    assert "\x1b" not in "".join([*table_cells(bad), *run_lines(bad, {})])
