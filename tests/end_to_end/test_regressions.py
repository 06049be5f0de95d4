"""What the fault test and the random answers have found, each as a test of its own."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from config import Settings
from fetchers.errors import FetchError, UnexpectedAnswer
from fetchers.http import parse_retry_after
from jobs.alerts import alerting
from jobs.recording import recorded_run
from models import SiteId
from sandbox import Fault
from storage.errors import DatabaseRefused
from storage.runs import RunRecord
from tests.end_to_end.chaos import plans
from tests.end_to_end.chaos.invariants import check
from tests.end_to_end.chaos.plans import Plan, Profile
from tests.end_to_end.chaos.stage import Tally, open_stage
from tests.fuzz.parsers import rest_that_says
from tests.services.postgres import PostgresServer
from tests.unit.fake_database import FakeDatabase
from tests.unit.google import FakeGoogle, OfflineClient

NOW = datetime(2026, 11, 20, 2, tzinfo=UTC)
GONE = {"process": {"host": os.uname().nodename, "pid": 2**22 + 1, "started": "1"}}


@pytest.mark.parametrize("concurrency", [1, 2, 16])
@pytest.mark.parametrize(
    ("source", "kind"),
    [("matomo", "token_refused"), ("matomo", "login_blocked"), ("query", "daily_limit_exceeded")],
)
def test_who_waits_for_a_turn_does_not_ask_after_a_refusal(
    source: Any, kind: str, concurrency: int, postgres: PostgresServer
) -> None:
    """Matomo's threads waited for a slot, Search Console's for the minute, and then went on."""
    profile = plans.narrow(Profile(), concurrency)
    with open_stage("psycopg", postgres, Tally()) as stage:
        stage.begin(profile, plans.NIGHTS[0], stage.world.site_numbers)
        stage.heard.latency_seconds = 0.01
        evidence = stage.night(Plan(faults=(Fault(source, kind, nth=2),)))
        assert evidence.refused
        check(evidence)


class JustEnding(FakeDatabase):
    """Another run is open when first looked at, and has ended by the next look."""

    looks = 0

    def read_open_runs(self, job: str) -> list[tuple[SiteId, datetime, dict[str, Any]]]:
        self.looks += 1
        return [(77, NOW, GONE)] if self.looks == 1 else []


def test_a_run_that_ends_while_another_begins_is_not_closed_as_failed() -> None:
    """Its process was gone a moment after it was read as open: its `complete` was overwritten."""
    database, settings = JustEnding(), Settings()
    with (
        alerting(settings, "daily", NOW) as alerts,
        recorded_run(database, None, settings, alerts),
    ):
        pass
    assert 77 not in database.runs


UNREADABLE = ["[" * 100_000, "1" * 5000]


@pytest.mark.parametrize("body", UNREADABLE, ids=["nested too deeply", "5000 digits"])
def test_json_that_python_cannot_read_is_refused_by_name(body: str) -> None:
    with (
        rest_that_says(200, "application/json", body.encode()) as database,
        pytest.raises(DatabaseRefused),
    ):
        database.read_sites()


def test_a_page_in_place_of_an_answer_to_the_end_of_a_run_is_no_success() -> None:
    """The run stayed "running" in the history, and nobody was told."""
    with (
        rest_that_says(200, "text/html", b"<html>sign in</html>") as database,
        pytest.raises(DatabaseRefused),
    ):
        database.update_run(1, RunRecord("complete"))


@pytest.mark.parametrize("body", ["[null]", "[1]", "[{}]", '[{"id": 1}]', '[{"date": 5}]', "[[]]"])
def test_a_list_of_other_things_in_place_of_rows_is_refused_by_name(body: str) -> None:
    with rest_that_says(200, "application/json", body.encode()) as database:
        for read in (
            database.read_sites,
            database.read_gsc_accounts,
            lambda: database.read_open_runs("daily"),
        ):
            with pytest.raises(DatabaseRefused):
                read()


def test_a_number_of_5000_digits_from_google_is_an_unexpected_answer() -> None:
    """Python refuses to read it with a ValueError that is no JSONDecodeError."""
    with pytest.raises(UnexpectedAnswer):
        OfflineClient(FakeGoogle([(200, b'{"siteEntry": ' + b"1" * 5000 + b"}")])).list_sites()
    digits = b'{"access_token": ' + b"1" * 5000 + b"}"
    with pytest.raises(UnexpectedAnswer):
        OfflineClient(FakeGoogle([], tokens=[(200, digits)])).authorize()


@pytest.mark.parametrize("status", [403, 429])
def test_an_empty_list_in_place_of_googles_error_is_a_named_failure(status: int) -> None:
    """Its client library takes the first of no errors."""
    with pytest.raises(FetchError):
        OfflineClient(FakeGoogle([(status, b"[]")])).list_sites()


@pytest.mark.parametrize("text", ["0\x1f", "\u0663", "1e5", "-1"])
def test_a_retry_after_that_is_no_number_of_seconds_is_none(text: str) -> None:
    """A control character counts as white space to str.strip, and not to float."""
    assert parse_retry_after(text) is None
