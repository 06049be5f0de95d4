"""The command line: what runs without a word, what excludes each other, what is no date."""

from __future__ import annotations

from datetime import date

import pytest

from cli import COMMANDS, parse_arguments

DEFAULTS = {
    "command": "daily",
    "verbose": False,
    "quiet": False,
    "log_format": "text",
    "date": None,
    "first": None,
    "last": None,
    "gaps": False,
    "sites": [],
    "source": None,
    "dry_run": False,
    "accept_zeros": False,
}


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        ("", {}),
        ("daily", {}),
        ("-v", {"verbose": True}),
        ("daily -v", {"verbose": True}),
        ("-v daily", {"verbose": True}),
        ("--quiet", {"quiet": True}),
        ("--log-format json", {"log_format": "json"}),
        ("--log-format=json", {"log_format": "json"}),
        ("--log-format json -q daily --gaps", {"log_format": "json", "quiet": True, "gaps": True}),
        ("--date 2026-11-19", {"date": date(2026, 11, 19)}),
        ("--date 2024-02-29", {"date": date(2024, 2, 29)}),
        (
            "daily --from 2026-11-01 --to 2026-11-01",
            {"first": date(2026, 11, 1), "last": date(2026, 11, 1)},
        ),
        ("--site 7 --site abc", {"sites": ["7", "abc"]}),
        ("--site migrate", {"sites": ["migrate"]}),
        ("-v --site demo", {"sites": ["demo"], "verbose": True}),
        (
            "--source gsc --dry-run --accept-zeros",
            {"source": "gsc", "dry_run": True, "accept_zeros": True},
        ),
    ],
)
def test_without_a_command_it_is_the_nightly_run(words: str, differs: dict[str, object]) -> None:
    assert vars(parse_arguments(words.split())) == DEFAULTS | differs


SOCIAL_DEFAULTS = {
    name: DEFAULTS[name]
    for name in ("verbose", "quiet", "log_format", "date", "first", "last", "dry_run")
} | {"command": "social", "connections": []}


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        ("social", {}),
        ("-q social", {"quiet": True}),
        ("social --date 2026-11-19", {"date": date(2026, 11, 19)}),
        (
            "social --from 2026-11-01 --to 2026-11-02 --dry-run",
            {"first": date(2026, 11, 1), "last": date(2026, 11, 2), "dry_run": True},
        ),
        ("social --connection 7 --connection b-8", {"connections": ["7", "b-8"]}),
    ],
)
def test_the_social_run_takes_days_and_connections(words: str, differs: dict[str, object]) -> None:
    assert vars(parse_arguments(words.split())) == SOCIAL_DEFAULTS | differs


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        ("tokens --add --connection 7", {"connection": "7"}),
        ("tokens --add --connection 7 --refresh", {"connection": "7", "refresh": True}),
        ("tokens --add --account 3", {"account": "3"}),
    ],
)
def test_a_token_belongs_to_an_account_or_to_a_connection(
    words: str, differs: dict[str, object]
) -> None:
    found = vars(parse_arguments(words.split()))
    expected = {"action": "add", "account": None, "connection": None, "refresh": False} | differs
    assert {name: found[name] for name in expected} == expected


def test_the_list_of_sites_does_not_grow_from_one_call_to_the_next() -> None:
    parse_arguments(["--site", "a"])
    assert parse_arguments(["--site", "b"]).sites == ["b"]


@pytest.mark.parametrize(
    ("words", "command", "status"),
    [
        ("migrate", "migrate", False),
        ("migrate --status", "migrate", True),
        ("-v migrate", "migrate", False),
        ("--log-format json migrate --status", "migrate", True),
        ("--log-format=json migrate", "migrate", False),
        ("demo -q", "demo", None),
    ],
)
def test_flags_may_stand_before_or_after_the_command(
    words: str, command: str, status: bool | None
) -> None:
    arguments = parse_arguments(words.split())
    assert (arguments.command, getattr(arguments, "status", None)) == (command, status)
    assert (arguments.log_format == "json") is ("json" in words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--date 20261119", "is no date such as"),
        ("--date 2026-W47-4", "is no date such as"),
        ("--date 2026-11-19T00:00", "is no date such as"),
        ("--date 19.11.2026", "is no date such as"),
        ("--date 2026-1-9", "is no date such as"),
        ("--date \u0662\u0660\u0662\u0666-11-19", "is no date such as"),
        ("--date yesterday", "is no date such as"),
        ("--date 2026-02-30", "is no day of the calendar"),
        ("--date 2026-13-01", "is no day of the calendar"),
        ("--date 0000-01-01", "is no day of the calendar"),
        ("--from 2026-02-29 --to 2026-03-01", "is no day of the calendar"),
        ("--date 2026-11-19 --from 2026-11-01 --to 2026-11-02", "exclude each other"),
        ("--date 2026-11-19 --to 2026-11-20", "exclude each other"),
        ("--from 2026-11-01", "go together"),
        ("--to 2026-11-01", "go together"),
        ("--from 2026-11-02 --to 2026-11-01", "2026-11-02 is after --to 2026-11-01"),
        ("-v -q", "not allowed with"),
        ("--log-format xml", "invalid choice"),
        ("--source bing", "invalid choice"),
        ("--site", "expected one argument"),
        ("nightly", "there is no command 'nightly'"),
        ("demo --gaps", "unrecognized arguments"),
        ("migrate --date 2026-11-19", "unrecognized arguments"),
        ("social --from 2026-11-01", "go together"),
        ("social --from 2026-11-02 --to 2026-11-01", "2026-11-02 is after --to 2026-11-01"),
        ("social --date 2026-11-19 --to 2026-11-20", "exclude each other"),
        ("social --date 20261119", "is no date such as"),
        ("social --connection", "expected one argument"),
        ("social --site 7", "unrecognized arguments"),
        ("tokens --encrypt --connection 7", "--connection goes with --add only"),
        ("tokens --add --account 1 --connection 7", "exclude each other"),
        ("tokens --add --refresh", "--refresh goes with --connection only"),
    ],
)
def test_wrong_arguments_are_said_and_exit_with_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(words.split())
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["--help", "-h", "-v --help", *(f"{name} --help" for name in COMMANDS)]
)
def test_help_shows_an_example_and_the_exit_codes(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(words.split())
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "example:\n  aggregator.py" in printed
    assert "could not run" in printed
