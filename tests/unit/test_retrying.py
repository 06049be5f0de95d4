"""A request is sent again only where that may help, in bounded number and time, with jitter."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from fetchers.errors import Overloaded, Temporary
from retrying import call_with_retries, wait_seconds
from tests.unit.helpers import InstantStop


class Attempts:
    """Fails `failures` times and then answers."""

    def __init__(self, failures: int, error: Callable[[], BaseException]) -> None:
        self.left = failures
        self.error = error
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        if self.left:
            self.left -= 1
            raise self.error()
        return "answer"


def temporary() -> Temporary:
    return Temporary("no connection")


@pytest.mark.parametrize(
    ("attempt", "retry_after", "jitter", "seconds"),
    [
        (1, None, 0.0, 0.5),
        (1, None, 1.0, 1.0),
        (2, None, 0.0, 1.0),
        (2, None, 1.0, 2.0),
        (3, None, 1.0, 4.0),
        (6, None, 1.0, 32.0),
        (7, None, 1.0, 60.0),
        (7, None, 0.0, 30.0),
        (20, None, 1.0, 60.0),
        (1, 0.0, 1.0, 1.0),
        (1, 30.0, 0.0, 30.5),
        (1, 30.0, 1.0, 31.0),
        (9, 900.0, 1.0, 960.0),
    ],
)
def test_the_wait_doubles_up_to_a_minute_on_top_of_what_the_server_asked_for(
    attempt: int, retry_after: float | None, jitter: float, seconds: float
) -> None:
    assert wait_seconds(attempt, retry_after, jitter) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("failures", "attempts", "made", "answered"),
    [
        (0, 4, 1, True),
        (1, 4, 2, True),
        (3, 4, 4, True),
        (4, 4, 4, False),
        (9, 4, 4, False),
        (1, 1, 1, False),
        (1, 2, 2, True),
    ],
)
def test_tries_are_counted(failures: int, attempts: int, made: int, answered: bool) -> None:
    call, stop = Attempts(failures, temporary), InstantStop()
    if answered:
        assert _retry(call, attempts, stop) == "answer"
    else:
        with pytest.raises(Temporary):
            _retry(call, attempts, stop)
    assert call.made == made
    assert len(stop.slept) == made - 1


def test_each_wait_lies_between_half_and_whole_of_its_step() -> None:
    stop = InstantStop()
    with pytest.raises(Temporary):
        _retry(Attempts(99, temporary), 6, stop)
    assert all(
        step / 2 <= slept <= step for step, slept in zip((1, 2, 4, 8, 16), stop.slept, strict=True)
    )


def test_waits_differ_so_that_many_runs_do_not_come_back_at_once() -> None:
    waits = set()
    for _ in range(5):
        stop = InstantStop()
        _retry(Attempts(1, temporary), 2, stop)
        waits.update(stop.slept)
    assert len(waits) == 5


def test_the_servers_retry_after_is_waited_for_in_whole() -> None:
    stop = InstantStop()
    _retry(Attempts(2, lambda: Temporary("slow down", retry_after=120.0)), 4, stop)
    assert [int(slept) // 10 for slept in stop.slept] == [12, 12]
    assert min(stop.slept) >= 120


def test_an_error_that_is_not_retryable_is_raised_at_once() -> None:
    call, stop = Attempts(9, lambda: KeyError("bug")), InstantStop()
    with pytest.raises(KeyError):
        _retry(call, 4, stop)
    assert (call.made, stop.slept) == (1, [])


def test_the_last_error_is_the_one_that_is_raised() -> None:
    errors: list[Temporary] = []

    def numbered() -> Temporary:
        errors.append(Temporary(f"try {len(errors) + 1}"))
        return errors[-1]

    with pytest.raises(Temporary, match="try 3") as caught:
        _retry(Attempts(9, numbered), 3, InstantStop())
    assert caught.value is errors[-1]


@pytest.mark.parametrize("deadline_seconds", [0.0, 0.4, 29.0])
def test_nothing_is_tried_again_when_the_wait_would_pass_the_deadline(
    deadline_seconds: float,
) -> None:
    call, stop = (
        Attempts(1, lambda: Overloaded("busy", retry_after=30.0)),
        InstantStop(deadline_seconds),
    )
    with pytest.raises(Overloaded):
        _retry(call, 4, stop)
    assert (call.made, stop.slept) == (1, [])


def test_a_wait_that_ends_before_the_deadline_is_made() -> None:
    assert _retry(Attempts(3, temporary), 4, InstantStop(3600.0)) == "answer"


def test_a_stop_ends_the_tries() -> None:
    stop = InstantStop()
    stop.request(signal.SIGTERM)
    call = Attempts(9, temporary)
    with pytest.raises(Temporary):
        _retry(call, 4, stop)
    assert call.made == 1


def test_an_endless_retry_after_ends_the_tries_even_without_a_deadline() -> None:
    call = Attempts(1, lambda: Temporary("never", retry_after=float("inf")))
    with pytest.raises(Temporary):
        _retry(call, 4, InstantStop())
    assert call.made == 1


def _retry(call: Attempts, attempts: int, stop: InstantStop) -> str:
    return call_with_retries(
        call,
        retryable=lambda error: isinstance(error, Temporary),
        attempts=attempts,
        stop=stop,
    )
