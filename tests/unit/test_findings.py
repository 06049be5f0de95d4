"""What doctor found: what it exits with, and how it is shown to people and to machines."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Sequence

import pytest

from jobs.findings import (
    ADVICE,
    BLOCKED,
    FAIL,
    OK,
    Finding,
    exit_status,
    join_sites,
    print_findings,
    print_json,
    total_line,
)
from logs import redact
from models import SiteId

EVIL = "\x1b]0;mine\x07 \x9b2J\u202e\r\n[red]x[/red] \ud800"
OBEYED = set("\x1b\x07\x9b\u202e\r\ud800")
STYLE = re.compile(r"\x1b\[[0-9;]*m")
SECRET = "sentinel-of-the-findings"
NAMES: dict[SiteId, str] = {1: "one.example", 2: "two.example", 3: "three.example"}


def finding(status: str = OK, message: str = "it is so", **more: object) -> Finding:
    return Finding(status, "matomo", message, **more)  # type: ignore[arg-type]


def printed(
    capsys: pytest.CaptureFixture[str],
    findings: Sequence[Finding],
    *,
    details: bool = False,
    quiet: bool = False,
) -> list[str]:
    print_findings(findings, NAMES, details=details, quiet=quiet)
    return capsys.readouterr().out.splitlines()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ClosedPipe(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([], 0), ([OK], 0), ([OK, ADVICE], 0), ([FAIL], 1), ([OK, FAIL, ADVICE], 1),
        ([BLOCKED], 2), ([FAIL, BLOCKED, OK], 2), ([BLOCKED, FAIL], 2),
    ],
)  # fmt: skip
def test_the_worst_finding_is_the_exit_status(statuses: list[str], status: int) -> None:
    assert exit_status(finding(each) for each in statuses) == status


def test_findings_that_differ_only_in_their_sites_become_one() -> None:
    joined = join_sites(
        [
            finding(FAIL, sites=(1,)),
            finding(OK),
            finding(FAIL, sites=(2, 1)),
            finding(FAIL, sites=(3,), account="a"),
            finding(FAIL, "else", sites=(3,)),
        ]
    )
    assert joined == [
        finding(FAIL, sites=(1, 2)),
        finding(OK),
        finding(FAIL, sites=(3,), account="a"),
        finding(FAIL, "else", sites=(3,)),
    ]


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ([finding(OK)], "Ready: 0 problems, 0 advice, 1 well."),
        ([finding(OK), finding(ADVICE)], "Ready: 0 problems, 1 advice, 1 well."),
        (
            [finding(FAIL, sites=(n,)) for n in (1, 2, 3)],
            "Some numbers will be missing: 1 problem, 0 advice, 0 well.",
        ),
        (
            [finding(BLOCKED), finding(FAIL), finding(OK, detail=True)],
            "No run is possible: 2 problems, 0 advice, 0 well.",
        ),
    ],
)
def test_the_totals_count_joined_findings(findings: list[Finding], line: str) -> None:
    assert total_line(findings) == line


def test_one_line_says_what_is_wrong_of_whom_and_what_mends_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [
        finding(FAIL, "it is closed", mend="open it", sites=(2,), account="acc"),
        finding(FAIL, "it is closed", mend="open it", sites=(1, 9), account="acc"),
    ]
    line, total = printed(capsys, found)
    whose = "account acc, 3 sites (9, one.example, two.example)"
    assert line == f"FAIL     matomo    {whose}: it is closed -> open it"
    assert total == total_line(found)


def test_details_and_what_is_well_are_shown_when_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [finding(OK, "well"), finding(OK, "a site", detail=True), finding(FAIL, "bad")]

    def messages(*, details: bool, quiet: bool) -> list[str]:
        lines = printed(capsys, found, details=details, quiet=quiet)
        return [line[19:] for line in lines[:-1]]

    assert messages(details=False, quiet=False) == ["well", "bad"]
    assert messages(details=True, quiet=False) == ["well", "a site", "bad"]
    assert messages(details=False, quiet=True) == ["bad"]


def test_json_holds_everything_that_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        finding(OK, "a site", sites=("s1",), account=7, detail=True),
        finding(FAIL, "bücher", mend="open it", sites=(1, 2)),
    ]
    print_json(found)
    assert json.loads(capsys.readouterr().out) == {
        "exit_status": 1,
        "findings": [
            {
                "status": "ok", "area": "matomo", "message": "a site", "mend": None,
                "sites": ["s1"], "account": 7,
            },
            {
                "status": "FAIL", "area": "matomo", "message": "bücher", "mend": "open it",
                "sites": [1, 2], "account": None,
            },
        ],
    }  # fmt: skip


def test_json_goes_on_one_line_among_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([finding(), finding(FAIL)], indent=None)
    assert capsys.readouterr().out.count("\n") == 1


EVIL_ONE = finding(FAIL, EVIL, mend=EVIL, sites=(EVIL, 1), account=EVIL)


def test_no_text_from_outside_commands_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([EVIL_ONE], {1: EVIL}, details=True, quiet=False)
    text = capsys.readouterr().out
    assert not OBEYED & set(text)
    assert text.count("\n") == 2


def test_no_text_from_outside_commands_a_terminal_through_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json([EVIL_ONE])
    text = capsys.readouterr().out
    assert not OBEYED & set(text)
    [found] = json.loads(text)["findings"]
    assert found["sites"] == [EVIL, 1]  # an id stays what it is


def test_no_text_from_outside_commands_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_findings([EVIL_ONE, finding(OK)], {1: EVIL}, details=True, quiet=False)
    text = terminal.getvalue()
    assert not OBEYED & set(STYLE.sub("", text))
    assert "[red]x[/red]" in text
    assert "what was found, and what mends it" in text


def test_secrets_are_blanked_however_it_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    redact.add([SECRET])
    found = [finding(FAIL, f"with {SECRET}", mend=f"see {SECRET}", sites=(1,))]
    print_findings(found, {1: SECRET}, details=True, quiet=False)
    print_json(found)
    text = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_findings(found, {1: SECRET}, details=True, quiet=False)
    assert SECRET not in text + terminal.getvalue()
    assert text.count("***") == 5


def test_the_keys_of_json_stay_though_a_secret_is_one_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = dict(redact._by_beginning)
    redact.add(["findings", "matomo-of-a-password"])
    try:
        print_json([finding(message="matomo-of-a-password")])
    finally:
        redact._by_beginning = known  # an ordinary word: other tests print it
    assert json.loads(capsys.readouterr().out)["findings"][0]["message"] == "***"


def test_a_reader_that_hangs_up_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", ClosedPipe())
    print_findings([finding()], NAMES, details=False, quiet=False)
    sys.stdout.close()
    monkeypatch.setattr(sys, "stdout", ClosedPipe())
    print_json([finding()])
    sys.stdout.close()
