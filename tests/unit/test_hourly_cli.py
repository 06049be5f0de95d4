"""`hourly` on the command line: what a moment is, which stretch of time two of them name."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from cli import parse_arguments
from jobs.hourly import asked_days
from models import Window


def utc(day: int, hour: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


STRETCHES = [
    ("2026-11-20", "2026-11-20", utc(20), utc(21)),
    ("2026-11-20", "2026-11-30", utc(20), utc(1, month=12)),
    ("2026-11-20T14", "2026-11-20T14", utc(20, 14), utc(20, 15)),
    ("2026-11-20T00", "2026-11-20T23", utc(20), utc(21)),
    ("2026-11-20", "2026-11-20T05", utc(20), utc(20, 6)),
    ("2026-11-19T23", "2026-11-20", utc(19, 23), utc(21)),
    # A day that lasts 25 hours in Berlin has 24 here.
    ("2026-10-25", "2026-10-25", utc(25, month=10), utc(26, month=10)),
]


@pytest.mark.parametrize(("first", "last", "begins", "ends"), STRETCHES)
def test_from_and_to_are_utc_days_or_hours_the_last_one_included(
    first: str, last: str, begins: datetime, ends: datetime
) -> None:
    arguments = parse_arguments(["hourly", "--from", first, "--to", last])
    assert (arguments.first, arguments.after) == (begins, ends)


@pytest.mark.parametrize(
    ("first", "last", "window"),
    [
        ("2026-11-20", "2026-11-20", Window(date(2026, 11, 20), date(2026, 11, 20))),
        ("2026-11-20T23", "2026-11-21T00", Window(date(2026, 11, 20), date(2026, 11, 21))),
    ],
)
def test_the_history_names_the_days_that_were_asked_for(
    first: str, last: str, window: Window
) -> None:
    assert asked_days(parse_arguments(["hourly", "--from", first, "--to", last])) == window


def test_without_words_it_counts_what_waits() -> None:
    arguments = parse_arguments(["hourly"])
    assert (arguments.first, arguments.after, arguments.all) == (None, None, False)
    assert (arguments.check, arguments.archive) == (False, None)
    assert asked_days(arguments) is None
    assert parse_arguments(["hourly", "--all", "-v"]).all
    assert parse_arguments(["--log-format", "json", "hourly", "--check"]).check


def test_the_archive_may_end_at_a_day_of_its_own() -> None:
    assert parse_arguments(["hourly", "--archive", "dir"]).after is None
    arguments = parse_arguments(["hourly", "--archive", "dir", "--to", "2026-06-30"])
    assert (arguments.archive, arguments.after) == ("dir", utc(1, month=7))


NO_MOMENTS = [
    "2026-11-20T24", "2026-11-20T1", "2026-11-20T", "2026-11-20T14:30", "2026-11-20t14",
    "2026-11-20 14", "2026-11-20T14Z", "2026-11-20T-1", "2026-11-20T\u0661\u0664", "2026-02-29",
    "2026-11-31T05", "20261120", "T14", "", "yesterday", "now", "-infinity", "1999-12-31T23",
    "9999-12-31", "9999-12-31T23",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_MOMENTS)
@pytest.mark.parametrize("option", ["--from", "--to"])
def test_what_is_no_day_and_no_hour_is_refused(
    option: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"--from": "2026-11-20", "--to": "2026-11-20"} | {option: text}
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(["hourly", *(f"{name}={value}" for name, value in both.items())])
    assert stopped.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--from 2026-11-20", "--from and --to go together"),
        ("--to 2026-11-20", "--to goes with --from, or with --archive|--from and --to go together"),
        ("--from 2026-11-20 --to 2026-11-19", "--from is after --to"),
        ("--from 2026-11-20T14 --to 2026-11-20T13", "--from is after --to"),
        ("--from 2026-11-21 --to 2026-11-20T23", "--from is after --to"),
        ("--all --from 2026-11-20 --to 2026-11-20", "exclude"),
        ("--check --from 2026-11-20 --to 2026-11-20", "exclude"),
        ("--archive dir --from 2026-11-20 --to 2026-11-20", "exclude"),
        ("--all --to 2026-11-20", "--to goes with"),
        ("--check --to 2026-11-20", "--to goes with"),
        ("--all --check", "not allowed with"),
        ("--all --archive dir", "not allowed with"),
        ("--check --archive dir", "not allowed with"),
        ("--archive", "expected one argument"),
        ("--date 2026-11-20", "unrecognized arguments"),
        ("2026-11-20", "unrecognized arguments"),
        ("--site 7", "unrecognized arguments"),
        ("--gaps", "unrecognized arguments"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(["hourly", *words.split()])
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert any(part in shown for part in said.split("|")), shown
