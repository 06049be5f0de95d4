"""What of the rollup's state is worth a line, and which."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from jobs.hourly_health import NAMED, describe, difference_failures, health_failures
from storage.rollup import CronJob, Difference, Health

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LAST_HOUR = datetime(2026, 11, 21, 11, tzinfo=UTC)
WELL = Health(NOW, 1, 0, NOW - MINUTE, LAST_HOUR, NOW - MINUTE)

JOB = CronJob("analytics-rollup-refresh", active=True, failures=0, message=None)
OFF = replace(JOB, active=False)
FAILING = replace(JOB, failures=3, message="ERROR:  half way\nHINT:  none\n")


def said(health: Health, *jobs: CronJob) -> list[tuple[str, str]]:
    failures = list(health_failures(health, jobs))
    assert {failure.source for failure in failures} <= {"events"}
    assert all(failure.mend for failure in failures)
    return [(failure.kind, failure.message) for failure in failures]


WELL_TABLE = {
    "marks of a minute ago": WELL,
    "nothing was ever written": Health(NOW, 0, 0, None, None, None),
    "the first events of all wait": Health(NOW, 3, 0, NOW - HOUR, None, NOW - HOUR),
    "a mark of two hours ago": replace(WELL, oldest_mark=NOW - 2 * HOUR),
    # Its hour was over 2 hours ago, at most.
    "an hour that was over two hours ago": replace(
        WELL, newest_hour=NOW - 3 * HOUR, newest_event=NOW - 2 * HOUR - MINUTE
    ),
    "an event of the hour that is counted": replace(
        WELL, newest_event=LAST_HOUR + HOUR - timedelta(microseconds=1)
    ),
}


@pytest.mark.parametrize("state", WELL_TABLE)
def test_what_is_well_gets_no_line(state: str) -> None:
    assert said(WELL_TABLE[state], JOB) == []


MARKED = "1 hour and 2 days wait to be counted, the first since 2026-11-21 10:29 UTC"
LONG_AGO = LAST_HOUR - 3 * HOUR
UNWELL_TABLE = {
    "an old mark": (
        replace(WELL, dirty_days=2, oldest_mark=NOW - 2 * HOUR - MINUTE),
        ("not ready", MARKED),
    ),
    "no event for long": (
        replace(WELL, newest_hour=LONG_AGO, newest_event=LONG_AGO + MINUTE),
        (
            "not ready",
            "no event for 3 hours: the newest hour with any is 2026-11-21 08:00 UTC",
        ),
    ),
    "no event is left at all": (
        replace(WELL, newest_hour=LONG_AGO, newest_event=None),
        (
            "not ready",
            "no event for 3 hours: the newest hour with any is 2026-11-21 08:00 UTC",
        ),
    ),
    "events, and none is counted": (
        replace(WELL, newest_hour=LONG_AGO, newest_event=NOW - MINUTE),
        (
            "not ready",
            "the newest counted hour is 2026-11-21 08:00 UTC, the newest event "
            "2026-11-21 12:29 UTC",
        ),
    ),
    "a table without triggers": (
        replace(WELL, unwatched=("analytics_events_y2026m11",)),
        (
            "settings",
            "changes of analytics_events_y2026m11 go unseen: its triggers are not there, or "
            "switched off",
        ),
    ),
    "seven of them": (
        replace(WELL, unwatched=tuple("abcdefg")),
        (
            "settings",
            "changes of a, b, c, d, e go unseen: its triggers are not there, or switched off",
        ),
    ),
}


@pytest.mark.parametrize("state", UNWELL_TABLE)
def test_what_is_not_well_gets_one_line(state: str) -> None:
    health, line = UNWELL_TABLE[state]
    assert said(health, JOB) == [line]


def test_a_job_that_is_off_or_fails_gets_a_line_with_its_message_on_one_line() -> None:
    assert said(WELL, JOB, OFF, FAILING) == [
        ("settings", "pg_cron's job analytics-rollup-refresh is switched off"),
        (
            "database",
            "pg_cron's job analytics-rollup-refresh failed 3 times in a row: "
            "ERROR: half way HINT: none",
        ),
    ]
    [(_, once)] = said(WELL, replace(FAILING, failures=1, message=None))
    assert once.endswith("failed 1 time in a row: no message")
    [(_, long)] = said(WELL, replace(FAILING, message="x" * 1000))
    assert len(long) < 300


def test_everything_at_once_is_as_many_lines() -> None:
    worst = Health(NOW, 9, 9, NOW - 9 * HOUR, NOW - 9 * HOUR, NOW, unwatched=("a",))
    assert len(said(worst, OFF, FAILING)) == 5


AT = datetime(2026, 11, 20, 14, tzinfo=UTC)
HOURS = [Difference(AT, None, "shop", 7, 5)]
DIFFERENT_TABLE = {
    "nothing": ([], []),
    "an hour": (HOURS, ["2026-11-20 14:00 UTC, project shop: 7 events stored, 5 counted"]),
    "an hour of three projects": (
        [*HOURS, Difference(AT, None, "b", 1, 2), Difference(AT, None, "c", 1, 2)],
        ["2026-11-20 14:00 UTC, project shop and 2 more: 7 events stored, 5 counted"],
    ),
    "the same number of other visitors": (
        [Difference(AT, None, "shop", 5, 5)],
        [
            "2026-11-20 14:00 UTC, project shop: 5 events both times, and other visitors, types or "
            "labels"
        ],
    ),
    "a day": (
        [Difference(None, date(2026, 11, 20), "shop", 0, 5)],
        ["2026-11-20, project shop: 0 events stored, 5 counted"],
    ),
    "an hour and its day": (
        [*HOURS, Difference(None, date(2026, 11, 20), "shop", 7, 5)],
        [
            "2026-11-20 14:00 UTC, project shop: 7 events stored, 5 counted",
            "2026-11-20, project shop: 7 events stored, 5 counted",
        ],
    ),
}


@pytest.mark.parametrize("found", DIFFERENT_TABLE)
def test_each_hour_and_day_that_differs_is_named_once(found: str) -> None:
    differences, lines = DIFFERENT_TABLE[found]
    assert [failure.message for failure in difference_failures(differences)] == lines


@pytest.mark.parametrize(
    ("number", "last"),
    [(NAMED, "11-20 10:00"), (NAMED + 1, "and 1 more hour or day"), (24, "and 19 more hours or")],
)
def test_of_many_differences_a_few_are_named_and_all_counted(number: int, last: str) -> None:
    many = [Difference(AT - n * HOUR, None, "p", 2, 1) for n in range(number)]
    failures = list(difference_failures(many))
    assert len(failures) == min(number, NAMED + 1)
    assert last in failures[-1].message
    assert {failure.kind for failure in failures} == {"unexpected"}
    assert all("aggregator.py hourly" in failure.mend for failure in failures)


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (WELL, "1 hour or day waits, newest hour 2026-11-21 11:00 UTC"),
        (replace(WELL, dirty_days=2), "3 hours and days wait, newest hour 2026-11-21 11:00 UTC"),
        (replace(WELL, dirty_hours=0), "none waits, newest hour 2026-11-21 11:00 UTC"),
        (Health(NOW, 0, 0, None, None, None), "none waits, nothing counted yet"),
    ],
)
def test_the_last_line_says_what_waits_and_how_new_the_numbers_are(
    health: Health, words: str
) -> None:
    assert describe(health) == words
