"""What a social run says: counts that add up, each reason once, and the design's last lines."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from fetchers.errors import (
    AccessDenied,
    FetchError,
    Interrupted,
    NeedsReauth,
    SettingsError,
    Temporary,
)
from fetchers.social import Collected, SocialValue
from fetchers.social_metrics import Metric
from jobs.recording import Run
from jobs.social_plan import NO_KEY, NONE_READABLE, Work, open_connection
from jobs.social_report import (
    CHANGES_SHOWN,
    NEXT_RUN,
    RULE,
    Report,
    log_user,
    report_start,
    show_changes,
)
from models import Connection, Window
from storage.errors import DatabaseRefused
from tests.unit.fake_database import FakeDatabase, snapshot_key
from tests.unit.social import NOW, SETTINGS, YESTERDAY, connection, plan_of, snapshot

WINDOW = Window(YESTERDAY - timedelta(days=6), YESTERDAY)
DEAD = NeedsReauth("the token is dead", mend="connect it again")
FIRST, SECOND = connection(1), connection(2, "facebook")
OTHER_USERS = connection(3, "youtube", user="user-2")
REACH = Metric("reach", "series", "unique")


def a_report(*connections: Connection) -> Report:
    return Report(plan_of(*connections), WINDOW, NOW)


def lines(report: Report) -> list[str]:
    run = Run(report.failures, report.counts(), names=report.plan.names)
    return report.lines(run)


def test_a_complete_run_ends_as_the_design_shows_it() -> None:
    report = a_report(FIRST, SECOND, OTHER_USERS)
    report.stored = 850
    said = lines(report)
    assert said.pop(5).startswith("Duration: ")
    assert said == [
        "COMPLETE: 2026-11-13 to 2026-11-19",
        RULE,
        "DAILY ANALYTICS COLLECTION COMPLETED",
        RULE,
        "Date: 2026-11-19",
        "Users: 2/2 successful",
        "Platforms: 3/3 successful",
        "Total Metrics Inserted: 850",
    ]


def test_a_user_is_successful_if_all_of_their_platforms_are() -> None:
    report = a_report(FIRST, SECOND, OTHER_USERS)
    report.fail(SECOND, DEAD)
    assert report.counts() == {
        "users": 2,
        "users_successful": 1,
        "platforms": 3,
        "platforms_successful": 2,
        "stored": 0,
    }


def test_a_connection_that_fails_twice_counts_once() -> None:
    report = a_report(FIRST, SECOND)
    report.fail(FIRST, DEAD)
    report.fail(FIRST, AccessDenied("no permission", mend="grant it"))
    report.refuse(FIRST, [YESTERDAY], DatabaseRefused("refused", mend="look"))
    assert report.counts()["platforms_successful"] == 1
    assert "INCOMPLETE: 1 of 2 connections failed, 3 reasons" in lines(report)


def test_the_same_reason_is_told_once_for_all() -> None:
    instagrams = [connection(n) for n in range(1, 8)]
    report = a_report(*instagrams)
    for item in instagrams:
        report.fail(item, DEAD)
    said = lines(report)
    assert "INCOMPLETE: 7 of 7 connections failed, 1 reason" in said
    assert sum("the token is dead" in line for line in said) == 1
    assert any("user-1/account-1" in line and "2 more" in line for line in said)
    assert "    -> connect it again" in said


def test_rows_that_the_database_refused_are_named_with_their_days() -> None:
    report = a_report(FIRST)
    report.refuse(FIRST, [YESTERDAY], DatabaseRefused("refused", mend="look"))
    [failure] = report.failures
    assert (failure.source, failure.sites, failure.days) == ("social", (1,), (YESTERDAY,))


def test_an_unknown_platform_is_said_and_counts_as_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = [connection(8, "tiktok"), connection(9, "tiktok", user="user-9"), connection(7, "")]
    report = a_report(FIRST, *odd)
    report.plan.unknown += odd
    report_start(report.plan)
    assert "2 connections of tiktok: this program knows no such platform" in caplog.text
    assert "1 connection of no platform" in caplog.text
    assert report.counts() | {"stored": 0} == {
        "users": 1,
        "users_successful": 1,
        "platforms": 1,
        "platforms_successful": 1,
        "stored": 0,
    }


def test_the_start_says_how_many_users_there_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    report_start(plan_of(FIRST, SECOND, OTHER_USERS))
    assert caplog.messages == [
        RULE,
        "DAILY ANALYTICS COLLECTION STARTED",
        RULE,
        "Found 2 users with active connections",
    ]


def test_what_is_no_failure_is_told_and_makes_no_run_incomplete() -> None:
    report = a_report(FIRST, SECOND)
    late = Collected(waiting={YESTERDAY}, refused={"follower_count"})
    report.note(FIRST, late)
    report.note(connection(4), late)
    report.note(SECOND, Collected(waiting={YESTERDAY}))
    said = lines(report)
    assert said[:5] == [
        "COMPLETE: 2026-11-13 to 2026-11-19",
        "instagram does not know follower_count (any more): left out for 2 accounts",
        "facebook has not published 2026-11-19 yet (1 account)",
        "instagram has not published 2026-11-19 yet (2 accounts)",
        RULE,
    ]


def test_days_that_are_late_are_told_as_a_span() -> None:
    report = a_report(FIRST, SECOND)
    day_before = YESTERDAY - timedelta(days=1)
    report.note(FIRST, Collected(waiting={YESTERDAY, day_before}))
    report.note(connection(4), Collected(waiting={YESTERDAY}))
    assert lines(report)[1] == (
        "instagram has not published 2026-11-18 to 2026-11-19 yet (2 accounts)"
    )


def test_of_an_account_that_failed_nobody_says_that_its_platform_is_late() -> None:
    report = a_report(FIRST)
    report.note(FIRST, Collected(waiting={YESTERDAY}, errors=[DEAD], refused={"old_metric"}))
    said = lines(report)
    assert not [line for line in said if "has not published" in line]
    assert [line for line in said if "does not know old_metric" in line]


def test_failures_come_last_where_a_terminal_shows_them() -> None:
    report = a_report(FIRST)
    report.fail(FIRST, DEAD)
    said = lines(report)
    assert said[0] == "INCOMPLETE: 1 of 1 connection failed, 1 reason"
    assert said.index("Total Metrics Inserted: 0") < said.index("credentials:")
    assert said[-1] == "    -> connect it again"


@pytest.mark.parametrize("message", [NO_KEY, NONE_READABLE])
def test_a_key_of_ours_that_is_wrong_is_one_failure_over_all_platforms(message: str) -> None:
    report = a_report(FIRST, SECOND)
    for item in (FIRST, SECOND):
        report.fail(item, SettingsError(message, mend="set the key"))
    assert {failure.source for failure in report.failures} == {"social"}
    assert lines(report)[0] == "INCOMPLETE: 2 of 2 connections failed, 1 reason"


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (Temporary("HTTP 503"), NEXT_RUN),
        (Interrupted("the run was stopped"), NEXT_RUN),
        (Temporary("HTTP 503", mend="ask LinkedIn"), "ask LinkedIn"),
        (DEAD, "connect it again"),
    ],
)
def test_what_the_next_run_mends_is_said_in_this_commands_words(
    error: FetchError, mend: str
) -> None:
    report = a_report(FIRST)
    report.fail(FIRST, error)
    assert [failure.mend for failure in report.failures] == [mend]


def test_a_token_that_is_lost_fails_its_connection_and_says_what_mends_it() -> None:
    report = a_report(FIRST, SECOND)
    report.lose_token(FIRST, DatabaseRefused("no space left", mend="make room"))
    [failure] = report.failures
    assert (failure.source, failure.sites) == ("instagram", (1,))
    assert "could not be stored: no space left" in failure.message
    assert failure.mend.startswith("make room; ")
    assert "tokens --add --connection ID" in failure.mend
    assert report.counts()["platforms_successful"] == 1


@pytest.mark.parametrize(("number", "named", "more"), [(10, 10, 0), (12, 10, 2)])
def test_tokens_that_end_soon_are_named_up_to_a_handful(number: int, named: int, more: int) -> None:
    soon = NOW + timedelta(days=3)
    report = a_report(FIRST, *(connection(n, token_expires_at=soon) for n in range(2, number + 2)))
    said = lines(report)
    assert sum("its token ends on 2026-11-24" in line for line in said) == named
    assert [line for line in said if line.startswith("... and ")] == (
        [f"... and {more} more tokens that end within 7 days"] if more else []
    )


def test_a_token_that_this_run_has_renewed_is_not_told_to_end() -> None:
    ending = connection(1, token_expires_at=NOW + timedelta(days=3))
    report = a_report(ending)
    renewed = replace(ending, token_expires_at=NOW + timedelta(days=60))
    report.plan.work.append(Work(renewed, open_connection(renewed, SETTINGS)))
    assert not [line for line in lines(report) if "its token ends" in line]


def test_what_somebody_else_wrote_into_the_table_cannot_move_the_cursor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    escape = "\x1b[2Jgone"
    odd = connection(1, escape, user=escape, account_id=escape, token_expires_at=NOW)
    report = a_report(odd)
    report.note(odd, Collected(waiting={YESTERDAY}, refused={escape}))
    report.plan.unknown.append(odd)
    report_start(report.plan)
    log_user(escape, [], report, stored=True)
    database = FakeDatabase()
    known = replace(odd, platform="instagram")
    show_changes([snapshot("views", 1, of=known)], database)
    shown = [*caplog.messages, *lines(report)]
    assert any("gone" in line for line in shown)
    assert not [line for line in shown if "\x1b" in line]


def test_each_connection_of_a_user_says_how_it_went(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    third = connection(3, "linkedin")
    report = a_report(FIRST, SECOND, third)
    report.fail(FIRST, DEAD)
    report.fail(third, AccessDenied("no page statistics", mend="grant it"))
    two = [SocialValue(REACH, YESTERDAY, n) for n in (1, 2)]
    finished = [(FIRST, Collected()), (SECOND, Collected(two)), (third, Collected(two[:1]))]
    log_user("user-1", finished, report, stored=True)
    assert caplog.messages[1] == "Processing user: user-1"
    assert caplog.messages[3:] == [
        "  Collecting instagram metrics...",
        "    ❌ instagram: the token is dead",
        "  Collecting facebook metrics...",
        "    ✅ facebook: Inserted 2 metrics",
        "  Collecting linkedin metrics...",
        "    ❌ linkedin: no page statistics",
        "    ✅ linkedin: Inserted 1 metric",
    ]


def test_rows_that_were_refused_are_not_claimed_to_be_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    report = a_report(FIRST)
    report.refuse(FIRST, [YESTERDAY], DatabaseRefused("no such user", mend="look"))
    one = Collected([SocialValue(REACH, YESTERDAY, 1)])
    log_user("user-1", [(FIRST, one)], report, stored=True)
    assert caplog.messages[-1] == "    ❌ instagram: no such user"


def test_a_dry_run_claims_to_have_stored_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one = Collected([SocialValue(REACH, YESTERDAY, 1)])
    log_user("user-1", [(FIRST, one)], a_report(FIRST), stored=False)
    assert caplog.messages[-1] == "    ✅ instagram: Read 1 metric"


def test_a_dry_run_shows_each_number_that_would_change_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = FakeDatabase(connections=[FIRST])
    stored = [snapshot("reach", 7), snapshot("views", 10), snapshot("zero", 0)]
    database.snapshots = {snapshot_key(row): row for row in stored}
    rows = [snapshot("reach", 7.0), snapshot("views", 0), snapshot("new", 0), snapshot("zero", 2.5)]
    show_changes(rows, database)
    assert caplog.messages == [
        "would change instagram user-1/account-1 2026-11-19: new unknown -> 0",
        "would change instagram user-1/account-1 2026-11-19: views 10 -> 0",
        "would change instagram user-1/account-1 2026-11-19: zero 0 -> 2.5",
        "dry run: 3 numbers would change, nothing was written",
    ]


def test_a_dry_run_of_very_many_changes_shows_the_first_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [snapshot(f"metric {n}", n) for n in range(CHANGES_SHOWN + 5)]
    show_changes(rows, FakeDatabase())
    assert len(caplog.messages) == CHANGES_SHOWN + 2
    assert caplog.messages[-2] == "... and 5 more"
    show_changes([], FakeDatabase())
    assert caplog.messages[-1] == "dry run: 0 numbers would change, nothing was written"
