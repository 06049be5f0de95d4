"""What is printed and what never is: plain lines, JSON, and no secret in either."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from logs import (
    EXCERPT_READS,
    REPORT,
    Redactor,
    excerpt,
    log,
    redact,
    report,
    report_error,
    set_up_logging,
)

SECRET = "sentinel/of+logs=1"
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Logging is the process's own: each test puts it back."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, log.level, sys.excepthook, threading.excepthook)
    redact.add([SECRET])
    yield
    logging.captureWarnings(False)
    root.handlers[:], level, log_level, sys.excepthook, threading.excepthook = before
    root.setLevel(level)
    log.setLevel(log_level)


@pytest.mark.parametrize(
    "spelling",
    [SECRET, quote(SECRET, safe=""), quote_plus(SECRET), f"x{SECRET}y", f"token_auth={SECRET}&x"],
)
def test_a_secret_is_blanked_in_each_spelling_of_a_url(spelling: str) -> None:
    redactor = Redactor()
    redactor.add([SECRET])
    said = redactor(f"<{spelling}> <{spelling}>")
    assert said.count("***") == 2
    assert "sentinel" not in said


def test_a_secret_inside_another_one_leaves_nothing_of_the_longer() -> None:
    redactor = Redactor()
    redactor.add(["sent"])
    redactor.add(["sentinel-long"])
    assert redactor("sentinel-long sent") == "*** ***"


@pytest.mark.parametrize("short", ["", "a", "abc"])
def test_a_value_too_short_to_be_a_secret_is_left_in_words(short: str) -> None:
    redactor = Redactor()
    redactor.add([short])
    assert redactor("abcdef a") == "abcdef a"


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(
    "secret", [SECRET, 'quo"te-sentinel', "back\\slash-sentinel", "apo'strophe-sentinel"]
)
def test_no_line_holds_a_secret(
    style: str, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    redact.add([secret])
    set_up_logging(verbose=True, style=style)
    log.warning("failed with %s", secret)
    log.info("failed with %r", {"token": secret})
    report(f"report {secret}", failures=[secret], deep={"a": secret})
    try:
        raise ValueError(f"https://m.test/?token_auth={secret}")
    except ValueError:
        log.exception("a bug")
    logging.getLogger("some.library").warning("library says %s", secret)
    printed = capsys.readouterr().out
    assert printed.count("***") >= 5
    assert "sentinel" not in printed


def test_a_text_line_has_time_level_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    log.warning("%d sites", 3)
    [line] = capsys.readouterr().out.splitlines()
    time, level, message = line.split(maxsplit=2)
    assert (level, message) == ("WARNING", "3 sites")
    assert len(time) == len("2026-11-20T02:00:00Z")
    assert time.endswith("Z")


def test_a_report_is_the_bare_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(quiet=True)
    report("Processed 1 sites.")
    report("")
    assert capsys.readouterr().out == "Processed 1 sites.\n\n"


def test_a_json_line_is_one_object_with_the_fields_of_a_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging(style="json")
    report("done\nnow", counts={"stored": 3}, failures=0)
    log.info("bücher")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    at = first.pop("at")
    assert at.endswith("Z")
    assert first == {
        "level": "report",
        "logger": "aggregator",
        "message": "done\nnow",
        "counts": {"stored": 3},
        "failures": 0,
    }
    assert (second["level"], second["message"]) == ("info", "bücher")


def test_a_json_traceback_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(style="json")
    try:
        raise ZeroDivisionError(SECRET)
    except ZeroDivisionError:
        log.exception("a bug")
    line: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert line["traceback"].endswith("ZeroDivisionError: ***")


@pytest.mark.parametrize(
    ("flags", "own", "library"),
    [
        ({}, ["info", "warning", "report"], []),
        ({"verbose": True}, ["debug", "info", "warning", "report"], ["warning"]),
        ({"quiet": True}, ["warning", "report"], []),
    ],
)
def test_how_loud_it_is(
    flags: dict[str, bool], own: list[str], library: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(style="json", **flags)
    for name in ("aggregator.part", "urllib3"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, REPORT):
            if name != "urllib3" or level != REPORT:
                logging.getLogger(name).log(level, "x")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["level"] for line in lines if line["logger"] == "aggregator.part"] == own
    assert [line["level"] for line in lines if line["logger"] == "urllib3"] == library


def test_a_bug_is_a_traceback_without_secrets_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging()
    sys.excepthook(*_raised(ValueError(SECRET)))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Traceback")
    assert printed.err.endswith("ValueError: ***\n")


def test_a_bug_in_a_thread_holds_no_secret_either(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    threading.excepthook(threading.ExceptHookArgs((*_raised(ValueError(SECRET)), None)))
    assert capsys.readouterr().err.endswith("ValueError: ***\n")


def test_a_closed_pipe_silences_the_log_and_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    set_up_logging()
    monkeypatch.setattr(sys, "stdout", Closed())
    log.warning("nobody reads this")
    log.warning("nor this")
    assert not isinstance(sys.stdout, Closed)
    sys.stdout.close()


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_keeps_a_run_from_running_is_said_whole_and_without_secrets(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(style=style)
    report_error("Could not run:", ["A is missing", f"B is {SECRET}"], "see .env.example")
    printed = capsys.readouterr()
    said = printed.err if style == "text" else printed.out
    assert all(part in said for part in ("Could not run:", "A is missing", "B is ***", "see .env"))
    assert "sentinel" not in printed.err + printed.out


def test_an_interrupt_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    sys.excepthook(*_raised(KeyboardInterrupt()))
    assert capsys.readouterr().err == ""


def _raised(error: BaseException) -> ExcInfo:
    try:
        raise error
    except BaseException as caught:
        return type(caught), caught, caught.__traceback__


def test_an_excerpt_of_a_long_text_holds_no_half_of_a_secret() -> None:
    secret = "sentinel-" + "s" * 100
    redact.add([secret])
    before = "word " + " " * (EXCERPT_READS - 5 - len(secret) // 2)
    assert excerpt(before + secret + " more") == "word"
