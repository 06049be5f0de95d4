"""The run history: what is written of a run, which open runs are dead, and that it fails no run."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from jobs.alerts import Alerts
from jobs.recording import recorded_run
from jobs.run_failures import CannotRun
from logs import redact
from models import Failure, Window
from storage.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable, MissingRelation
from tests.unit.fake_database import FakeDatabase

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
WINDOW = Window(date(2026, 11, 17), date(2026, 11, 18))
SETTINGS = Settings(run_deadline_seconds=3600.0)
FAILURE = Failure("temporary", "matomo", "HTTP 503", "wait", ("a", 2), (date(2026, 11, 17),), "g")
STARTED = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
HERE = {"host": socket.gethostname(), "pid": os.getpid(), "started": STARTED}
FREE_PID = 2**22 + 1
"""Above the kernel's highest process number."""


def record(
    database: FakeDatabase,
    *,
    keep: bool = True,
    failures: Sequence[Failure] = (),
    ends_with: BaseException | None = None,
) -> None:
    with recorded_run(database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW), keep=keep) as run:
        run.counts["stored"] = 5
        run.failures += failures
        if ends_with is not None:
            raise ends_with


def test_a_run_is_running_while_it_runs_and_complete_after_it() -> None:
    database = FakeDatabase()
    with recorded_run(database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)) as run:
        assert database.runs["run 1"] == {
            "status": "running",
            "job": "daily",
            "started_at": NOW,
            "window_from": WINDOW.first,
            "window_to": WINDOW.last,
            "counts": {"process": HERE},
        }
        run.counts["stored"] = 5
    row = database.runs["run 1"]
    assert (row["status"], row["counts"], row["failures"]) == ("complete", {"stored": 5}, [])
    assert row["finished_at"].tzinfo is UTC
    assert row["started_at"] == NOW


def test_a_run_with_failures_is_incomplete_and_each_reason_spans_exactly_its_cells() -> None:
    database = FakeDatabase()
    same_day, other_day = (
        Failure("temporary", "matomo", "HTTP 503", "wait", sites, (day,), "g")
        for sites, day in ((("b",), date(2026, 11, 17)), (("a",), date(2026, 11, 18)))
    )
    record(database, failures=[FAILURE, other_day, same_day])
    row = database.runs["run 1"]
    said = {
        "kind": "temporary",
        "source": "matomo",
        "account": "g",
        "message": "HTTP 503",
        "mend": "wait",
    }
    assert row["status"] == "incomplete"
    assert row["failures"] == [
        {**said, "count": 3, "sites": ["a", 2, "b"], "days": ["2026-11-17"]},
        {**said, "count": 1, "sites": ["a"], "days": ["2026-11-18"]},
    ]


def test_the_history_holds_no_secret() -> None:
    redact.add(["sentinel-of-the-history"])
    database = FakeDatabase()
    record(database, failures=[replace(FAILURE, message="said sentinel-of-the-history")])
    assert database.runs["run 1"]["failures"][0]["message"] == "said ***"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DatabaseUnavailable("no connection"), "temporary", "no connection"),
        (ZeroDivisionError("sentinel"), "unexpected", "the run ended with ZeroDivisionError"),
        (CannotRun("no sites", "add some"), "settings", "no sites"),
        (KeyboardInterrupt(), "interrupted", "the run was interrupted"),
        (SystemExit(2), "unexpected", "the run ended with SystemExit"),
    ],
)
def test_a_run_that_ends_with_an_error_has_failed_and_the_error_goes_on(
    error: BaseException, kind: str, message: str
) -> None:
    database = FakeDatabase()
    with pytest.raises(type(error)) as caught:
        record(database, failures=[FAILURE], ends_with=error)
    assert caught.value is error
    row = database.runs["run 1"]
    assert row["status"] == "failed"
    before, last = sorted(row["failures"], key=lambda failure: failure["message"] == message)
    assert (before["message"], last["kind"]) == (FAILURE.message, kind)
    assert "sentinel" not in str(row)


def test_a_dry_run_leaves_no_trace() -> None:
    database = FakeDatabase(open_runs=[("old", NOW, {})])
    record(database, keep=False)
    assert (database.runs, database.reads) == ({}, [])


@pytest.mark.parametrize(
    ("process", "age", "closed"),
    [
        (HERE, timedelta(minutes=1), False),  # a second run at the same time
        (HERE, timedelta(days=9), False),  # alive, however long it takes
        ({**HERE, "pid": FREE_PID}, timedelta(seconds=1), True),  # no such process
        ({**HERE, "started": "1"}, timedelta(seconds=1), True),  # its number was given to another
        ({**HERE, "started": None}, timedelta(seconds=1), True),
        ({**HERE, "host": "elsewhere"}, timedelta(hours=2), False),  # elsewhere the deadline tells
        ({**HERE, "host": "elsewhere"}, timedelta(hours=2, seconds=1), True),
        ({**HERE, "host": "elsewhere", "pid": FREE_PID}, timedelta(minutes=1), False),
        (None, timedelta(hours=2), False),  # written by another version
        (None, timedelta(hours=3), True),
        ({}, timedelta(hours=3), True),
    ],
)
def test_only_a_run_that_died_is_closed(
    process: dict[str, Any] | None, age: timedelta, closed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    counts = {} if process is None else {"process": process}
    database = FakeDatabase(open_runs=[("old", NOW - age, counts)])
    with caplog.at_level(logging.WARNING, "aggregator"):
        record(database)
    assert ("old" in database.runs) is closed
    assert ("closed as failed" in caplog.text) is closed
    assert ("is under way" in caplog.text) is not closed
    if closed:
        row = database.runs["old"]
        assert (row["status"], row["finished_at"]) == ("failed", NOW)
        assert row["failures"][0]["kind"] == "interrupted"
        assert "counts" not in row  # what it had counted stays
    assert database.runs["run 1"]["status"] == "complete"


def test_open_runs_of_the_same_job_are_looked_for_before_the_own_one_is_written() -> None:
    database = FakeDatabase()
    record(database)
    assert [what for what, _ in database.reads] == [
        "open_runs", "insert_run", "update_run", "schema",
    ]  # fmt: skip
    assert database.reads[0] == ("open_runs", "daily")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (MissingRelation("no table"), "supabase/migrations/"),
        (DatabaseRefused("denied"), "no run history: denied"),
    ],
)
def test_a_history_that_cannot_be_kept_is_one_warning_and_fails_no_run(
    broken: DatabaseError, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = FakeDatabase(broken=broken)
    with caplog.at_level(logging.WARNING, "aggregator"):
        record(database, failures=[FAILURE])
    [warning] = [r.getMessage() for r in caplog.records]
    assert said in warning
    assert len(database.reads) == 1


def test_a_history_that_breaks_in_the_end_fails_no_run(caplog: pytest.LogCaptureFixture) -> None:
    database = FakeDatabase()
    with (
        caplog.at_level(logging.WARNING, "aggregator"),
        recorded_run(database, None, SETTINGS, Alerts(SETTINGS, "daily", NOW)),
    ):
        database.broken = DatabaseUnavailable("gone")
    assert [r.getMessage() for r in caplog.records] == ["no run history: gone"]
    assert "window_from" not in database.runs["run 1"]


def test_a_database_that_is_down_from_the_start_ends_the_run_at_once() -> None:
    """Sites cannot be read from it either: it is said once, as what keeps the run from running."""
    database = FakeDatabase(broken=DatabaseUnavailable("no connection"))
    with pytest.raises(DatabaseUnavailable):
        record(database)
    assert len(database.reads) == 1
