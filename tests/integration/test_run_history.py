"""The run history: a row at the start of a run, its outcome at the end, whatever ends it."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from config import Settings
from jobs.alerts import Alerts
from jobs.recording import recorded_run
from models import Failure, Window
from storage.errors import DatabaseUnavailable
from tests.integration.databases import Store
from tests.integration.tables import rows

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
WINDOW = Window(date(2026, 11, 15), date(2026, 11, 18))
SETTINGS = Settings(run_deadline_seconds=3600)
FAILURE = Failure(
    "permission", "gsc", "it is closed", "open it", ("one", "two"), (WINDOW.first,), account="acc"
)


@pytest.fixture
def store(store_of_ours: Store) -> Store:
    """Our own tables are enough: ids of sites play no part here."""
    return store_of_ours


def history(store: Store) -> list[tuple[Any, ...]]:
    return rows(
        store.url,
        "select status, started_at, finished_at is not null, window_from, window_to, counts, "
        "failures from public.aggregator_runs order by id",
    )


def insert_open_run(store: Store, started_at: datetime, counts: str, job: str = "daily") -> None:
    store.execute(
        "insert into public.aggregator_runs (job, started_at, status, counts) "
        "values (%s, %s, 'running', %s)",
        job, started_at, counts,
    )  # fmt: skip


def test_a_run_has_a_row_from_its_start_and_its_outcome_at_the_end(store: Store) -> None:
    with recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)) as run:
        [(status, started_at, finished, first, last, counts, _)] = history(store)
        assert (status, started_at, finished) == ("running", NOW, False)
        assert (first, last) == (WINDOW.first, WINDOW.last)
        assert counts["process"]["pid"] == os.getpid()
        run.counts = {"sites": 3, "stored": 12}
    [(status, _, finished, _, _, counts, failures)] = history(store)
    assert (status, finished, counts, failures) == (
        "complete", True, {"sites": 3, "stored": 12}, [],
    )  # fmt: skip


def test_failures_are_stored_with_whose_they_are_and_what_mends_them(store: Store) -> None:
    with recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)) as run:
        run.failures.append(FAILURE)
    [(status, *_, failures)] = history(store)
    assert status == "incomplete"
    assert failures == [
        {
            "kind": "permission", "source": "gsc", "account": "acc", "message": "it is closed",
            "mend": "open it", "count": 2, "sites": ["one", "two"], "days": ["2026-11-15"],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("a bug"), "RuntimeError"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(3), "SystemExit"),
    ],
)
def test_a_run_that_ends_with_an_error_has_failed(
    error: BaseException, says: str, store: Store
) -> None:
    with (
        pytest.raises(type(error)),
        recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)),
    ):
        raise error
    [(status, _, finished, _, _, _, failures)] = history(store)
    assert (status, finished) == ("failed", True)
    assert says in failures[0]["message"]
    assert "a bug" not in failures[0]["message"]


def test_a_database_error_is_the_runs_failure_with_its_own_mend(store: Store) -> None:
    with (
        pytest.raises(DatabaseUnavailable),
        recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)),
    ):
        raise DatabaseUnavailable("it is gone", mend="bring it back")
    [(status, *_, failures)] = history(store)
    assert status == "failed"
    assert (failures[0]["source"], failures[0]["mend"]) == ("database", "bring it back")


def test_a_run_whose_process_is_gone_is_closed_by_the_next(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    host = socket.gethostname()
    insert_open_run(
        store, NOW, f'{{"process": {{"host": "{host}", "pid": 999999999, "started": "1"}}}}'
    )
    # The number was given to another process since: this one.
    insert_open_run(
        store, NOW, f'{{"process": {{"host": "{host}", "pid": {os.getpid()}, "started": "1"}}}}'
    )
    with (
        caplog.at_level(logging.WARNING, "aggregator"),
        recorded_run(
            store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW + timedelta(minutes=1))
        ),
    ):
        pass
    assert [row[0] for row in history(store)] == ["failed", "failed", "complete"]
    assert sum("closed as failed" in message for message in caplog.messages) == 2
    assert history(store)[0][6][0]["kind"] == "interrupted"


def test_a_run_that_is_alive_or_may_be_is_left_open(store: Store) -> None:
    elsewhere = '{"process": {"host": "elsewhere", "pid": 1, "started": "1"}}'
    insert_open_run(store, NOW, elsewhere)
    insert_open_run(store, NOW - timedelta(days=2), '{"process": null}', job="social")
    with (
        recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)),
        recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)),
    ):
        pass
    assert [row[0] for row in history(store)] == ["running", "running", "complete", "complete"]


@pytest.mark.parametrize("counts", ['{"process": {"host": "elsewhere", "pid": 1}}', "{}"])
def test_a_run_of_another_machine_is_closed_long_after_its_deadline(
    counts: str, store: Store
) -> None:
    insert_open_run(store, NOW - timedelta(hours=3), counts)
    with recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)):
        pass
    assert [row[0] for row in history(store)] == ["failed", "complete"]


def test_a_dry_run_leaves_no_trace_and_closes_nothing(store: Store) -> None:
    insert_open_run(store, NOW - timedelta(days=2), "{}")
    with recorded_run(
        store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW), keep=False
    ) as run:
        run.failures.append(FAILURE)
    assert [row[0] for row in history(store)] == ["running"]


def test_without_the_table_one_warning_names_the_migration(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.execute("drop table public.aggregator_runs")
    if store.postgrest:
        store.postgrest.reload_schema()
    with (
        caplog.at_level(logging.WARNING, "aggregator"),
        recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)) as run,
    ):
        run.failures.append(FAILURE)
    [warning] = caplog.messages
    assert "supabase/migrations/20261121000100_aggregator_runs.sql" in warning


def test_more_open_runs_than_a_page_holds_are_all_closed(store: Store) -> None:
    store.execute(
        "insert into public.aggregator_runs (job, started_at, status) "
        "select 'daily', '2026-01-01', 'running' from generate_series(1, 40)"
    )
    with recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)):
        pass
    assert store.count("aggregator_runs where status = 'running'") == 0


@pytest.mark.parametrize(("days", "kept"), [(399, True), (401, False)])
def test_a_run_is_kept_for_400_days(days: int, kept: bool, store: Store) -> None:
    store.execute(
        "insert into public.aggregator_runs (job, started_at, status) values (%s, %s, 'complete')",
        "daily", NOW - timedelta(days=days),
    )  # fmt: skip
    with recorded_run(store.database, WINDOW, SETTINGS, Alerts(SETTINGS, "daily", NOW)):
        pass
    assert store.count("aggregator_runs") == 1 + kept
