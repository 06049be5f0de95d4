"""Which failures are worth another try: the decision, kind by kind, and what a server asks for."""

from __future__ import annotations

import pytest

from fetchers import errors
from fetchers.errors import FetchError, Overloaded
from fetchers.http import is_retryable, parse_retry_after
from tests.unit.helpers import make_http

RETRYABLE: list[tuple[FetchError, bool]] = [
    (errors.NotReady("x"), False),
    (errors.Temporary("x"), True),
    (errors.Temporary("x", retry=False), False),
    (errors.Temporary("x", retry_after=5.0), True),
    (errors.Overloaded("x"), True),
    (errors.Overloaded("x", retry=False), False),
    (errors.QuotaExhausted("x"), False),
    (errors.CredentialsError("x"), False),
    (errors.NeedsReauth("x"), False),
    (errors.MetricRefused("x"), False),
    (errors.AccessDenied("x"), False),
    (errors.TargetDenied("x"), False),
    (errors.BrokenOff("x"), True),
    (errors.Throttled("x"), True),
    (errors.TargetMisnamed("x"), False),
    (errors.SettingsError("x"), False),
    (errors.UnexpectedAnswer("x"), False),
    (errors.UnexpectedAnswer("x", retry=True), True),
    (errors.AnswerTooLarge("x"), False),
    (errors.Interrupted("x"), False),
    (errors.FetchError("x"), False),
]


@pytest.mark.parametrize(("error", "retryable"), RETRYABLE, ids=lambda x: type(x).__name__)
def test_only_what_time_may_mend_is_sent_again(error: FetchError, retryable: bool) -> None:
    assert is_retryable(error) is retryable
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        make_http(attempts=3).retrying(attempt)
    assert len(tries) == (3 if retryable else 1)


def test_the_retry_table_knows_every_kind_of_failure() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert {type(error) for error, _ in RETRYABLE} == {
        kind for kind in kinds if issubclass(kind, FetchError)
    }


def test_a_fetcher_may_decide_otherwise_than_the_table() -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise Overloaded("x")

    with pytest.raises(Overloaded):
        make_http().retrying(attempt, lambda error: not isinstance(error, Overloaded))
    assert len(tries) == 1


def test_a_bug_is_neither_tried_again_nor_hidden() -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_http().retrying(attempt)
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("Fri, 20 Nov 2026 07:28:00 GMT", None),
        ("9" * 400, float("inf")),
    ],
)
def test_retry_after_is_read_in_seconds(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds
