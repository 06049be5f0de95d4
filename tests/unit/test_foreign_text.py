"""Text from servers and tables cannot steer a terminal, forge a line, or carry half a secret."""

from __future__ import annotations

import logging

import pytest

from fetchers.errors import FetchError, UnexpectedAnswer, outcome_of
from logs import Redactor, excerpt, printable, set_up_logging
from models import Failure
from summary import failure_lines


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "a\nb", "a\rb", "\x00", "\u202e", "\ud800", "\x9b31m", "\u2066"]
)
def test_what_a_terminal_would_obey_is_blanked(text: str) -> None:
    assert all(character.isprintable() for character in printable(text))
    printable(text).encode()


def test_other_scripts_stay_as_they_are() -> None:
    assert printable("bücher.example 東京 עברית") == "bücher.example 東京 עברית"


def test_a_domain_cannot_forge_a_line_of_the_report() -> None:
    failure = Failure("temporary", "matomo", "x\nProcessed 9 sites.", "y\nz", (1,))
    lines = failure_lines([failure], {1: "evil.example\nProcessed 9 sites. FORGED"})
    assert not any("\n" in line for line in lines)


def test_a_secret_is_blanked_before_a_message_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor()
    redactor.add(["sentinel-secret"])
    monkeypatch.setattr("logs.redact", redactor)
    assert "sentinel" not in excerpt("x" * 192 + " sentinel-secret")


@pytest.mark.parametrize(
    "spelling", ["se%2Fcret%2Bword", "se%2fcret%2bword", "se%252Fcret%252Bword", "SE/CRET+WORD"]
)
def test_a_secret_is_blanked_in_whatever_spelling(spelling: str) -> None:
    redactor = Redactor()
    redactor.add(["se/cret+word"])
    assert redactor(f"token={spelling}&x") == "token=***&x"


def test_a_bug_costs_its_own_task_and_shows_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging()

    def trip() -> int:
        raise ZeroDivisionError

    outcome = outcome_of(trip)
    assert isinstance(outcome, UnexpectedAnswer)
    assert "Traceback" in capsys.readouterr().out
    assert outcome_of(lambda: 5) == 5
    error = FetchError("known")
    assert outcome_of(lambda: _raise(error)) is error
    logging.getLogger().handlers.clear()


def _raise(error: FetchError) -> int:
    raise error
