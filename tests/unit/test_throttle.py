"""Who may not be asked for a while, and how long the others wait."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fetchers.errors import Interrupted, NeedsReauth, Throttled
from fetchers.throttle import (
    PROBE_SECONDS,
    SLOW_SECONDS,
    THROTTLED_TRIES,
    TURNS_PER_HOLD,
    Throttle,
)
from stopping import Stop

APP, USER, ACCOUNT = "graph app", "graph user 17", "instagram account 178"


class FakeTime(Stop):
    """A clock that moves only by sleeping."""

    def __init__(self, deadline_seconds: float = float("inf")) -> None:
        super().__init__()
        self.now = 1000.0
        self.ends_at = self.now + deadline_seconds
        self.slept: list[float] = []
        self.while_asleep: Callable[[], None] = lambda: None

    def remaining_seconds(self) -> float:
        return 0.0 if self.signal else max(0.0, self.ends_at - self.now)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.while_asleep()


def make(deadline_seconds: float = float("inf")) -> tuple[Throttle, FakeTime]:
    time = FakeTime(deadline_seconds)
    return Throttle(time, lambda: time.now), time


def test_what_is_not_held_is_not_waited_for() -> None:
    throttle, time = make()
    throttle.hold(USER, 60)
    throttle.hold(APP, -5)
    throttle.wait(APP, "graph user 18", ACCOUNT)
    assert time.slept == []


def test_a_held_scope_is_waited_for_until_its_end() -> None:
    throttle, time = make()
    throttle.hold(USER, 60)
    time.now += 20
    throttle.wait(APP, USER, ACCOUNT)
    throttle.wait(APP, USER, ACCOUNT)
    assert time.slept == [40]


def test_a_longer_hold_stays_and_the_longest_of_the_scopes_counts() -> None:
    throttle, time = make()
    throttle.hold(USER, 60)
    throttle.hold(USER, 5)
    throttle.hold(APP, 30)
    throttle.wait(APP, USER)
    assert time.slept == [60]


def test_a_hold_that_comes_while_waiting_is_waited_for_too() -> None:
    throttle, time = make()
    throttle.hold(USER, 60)
    time.while_asleep = lambda: throttle.hold(USER, 10) if len(time.slept) == 1 else None
    throttle.wait(USER)
    assert time.slept == [60, 10]


def test_a_sleep_that_ends_early_is_not_begun_again() -> None:
    """A thread may wake a moment before the clock says so."""
    throttle, time = make()
    throttle.hold(USER, 60)
    time.while_asleep = lambda: setattr(time, "now", time.now - 0.001)
    throttle.wait(USER)
    assert time.slept == [60]


def test_a_hold_that_outlasts_the_run_fails_at_once_and_says_until_when() -> None:
    throttle, time = make(deadline_seconds=100)
    before = datetime.now(UTC)
    throttle.hold(USER, 100)
    after = datetime.now(UTC)
    with pytest.raises(Throttled) as caught:
        throttle.wait(APP, USER)
    until = {f"{moment + timedelta(seconds=100):%H:%M} UTC" for moment in (before, after)}
    assert any(text in caught.value.message for text in until)
    assert (caught.value.kind, caught.value.retry, time.slept) == ("temporary", False, [])
    assert "17" not in caught.value.message.replace(min(until), "")  # no user: texts are merged
    throttle.wait(APP)


def test_a_stop_ends_the_waiting() -> None:
    throttle, time = make()
    throttle.hold(USER, 60)
    time.while_asleep = lambda: setattr(time, "signal", signal.SIGTERM)
    with pytest.raises(Interrupted):
        throttle.wait(USER)
    assert len(time.slept) == 1
    throttle.hold(USER, 60)
    with pytest.raises(Interrupted):
        throttle.wait(USER)


def answers(*outcomes: object) -> Callable[[], str]:
    left: Iterator[object] = iter(outcomes)

    def attempt() -> str:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    return attempt


def call(throttle: Throttle, *outcomes: object) -> str:
    return throttle.call(answers(*outcomes), (APP, USER), lambda _error: USER)


def test_a_throttled_request_is_sent_again_after_the_time_that_was_asked_for() -> None:
    throttle, time = make()
    assert call(throttle, Throttled("", retry_after=420), "answer") == "answer"
    assert time.slept == [420]


def test_without_a_time_the_holds_grow_and_the_tries_end() -> None:
    throttle, time = make()
    with pytest.raises(Throttled) as caught:
        call(throttle, *[Throttled("slow down") for _ in range(THROTTLED_TRIES)], "too late")
    assert (time.slept, caught.value.retry) == ([60, 120], False)
    with pytest.raises(Throttled):
        call(throttle, *[Throttled("slow down") for _ in range(THROTTLED_TRIES)])
    assert time.slept == [60, 120, 240, 480, 900]


def test_an_answer_ends_the_growth() -> None:
    throttle, time = make()
    assert call(throttle, Throttled(""), Throttled(""), "answer") == "answer"
    assert call(throttle, Throttled(""), "answer") == "answer"
    assert time.slept == [60, 120, 60]


def test_requests_under_way_when_the_block_began_do_not_make_it_grow() -> None:
    throttle, time = make()
    for _ in range(16):
        throttle.throttled(USER, None)
    throttle.wait(USER)
    assert time.slept == [60]


def test_an_answer_that_was_under_way_does_not_end_the_block() -> None:
    throttle, time = make()
    throttle.throttled(USER, None)
    throttle.answered(USER)
    throttle.wait(USER)
    throttle.throttled(USER, None)
    throttle.wait(USER)
    assert time.slept == [60, 120]


def test_after_a_block_one_request_goes_ahead_of_the_others() -> None:
    throttle, time = make()
    throttle.throttled(APP, 60)
    throttle.wait(APP, USER)  # the first
    throttle.wait(APP, "graph user 18")  # knows nothing of the first one's answer yet
    assert time.slept == [60, PROBE_SECONDS]
    throttle.answered(APP, USER)
    throttle.wait(APP, "graph user 19")
    assert time.slept == [60, PROBE_SECONDS]


def test_requests_of_a_slow_scope_take_turns() -> None:
    throttle, time = make()
    throttle.slow(APP, 36)
    for n in range(5):
        throttle.wait(APP, f"graph user {n}")
    assert time.slept == pytest.approx([3.6] * 5)
    throttle.wait(USER)
    assert len(time.slept) == 5


def test_the_last_answer_says_how_slow_and_it_ends_a_while_after_it() -> None:
    throttle, time = make()
    throttle.slow(APP, 36)
    throttle.wait(APP)
    throttle.slow(APP, 12)
    throttle.wait(APP)
    throttle.wait(APP)
    assert time.slept == pytest.approx([3.6, 3.6, 1.2])
    time.now += SLOW_SECONDS
    for _ in range(5):
        throttle.wait(APP)
    throttle.slow(APP, 0)
    throttle.slow(APP, -300)
    throttle.wait(APP)
    assert len(time.slept) == 3


def test_very_slow_is_not_over_before_the_next_turn() -> None:
    throttle, time = make()
    throttle.slow(APP, 900)
    throttle.wait(APP)
    throttle.wait(APP)
    assert time.slept == [90, 90]


@pytest.mark.parametrize("what", ["hold", "slow", "throttled"])
def test_who_got_a_place_only_after_a_hold_began_leaves_it_and_waits(what: str) -> None:
    throttle, time = make()
    occupied: list[str] = []

    class Place:
        def __enter__(self) -> None:
            occupied.append("in")
            if len(occupied) == 1:  # somebody else's answer, while this one stood in the queue
                getattr(throttle, what)(APP, 60)

        def __exit__(self, *_: object) -> None:
            occupied.append("out")

    time.while_asleep = lambda: occupied.append("asleep")
    sent: list[float] = []
    throttle.places = Place()
    throttle.call(lambda: sent.append(time.now), (APP, USER), lambda _: APP)
    assert occupied == ["in", "out", "asleep", "in", "out"]
    assert sent == [1000 + (60 / TURNS_PER_HOLD if what == "slow" else 60)]


def test_other_failures_hold_nothing() -> None:
    throttle, time = make()
    with pytest.raises(NeedsReauth):
        call(throttle, NeedsReauth("gone"))
    throttle.wait(APP, USER)
    assert time.slept == []


@pytest.mark.parametrize("seconds", [1e300, float("inf")])
def test_a_server_may_say_any_number(seconds: float) -> None:
    throttle, _ = make(deadline_seconds=3600)
    throttle.hold(USER, seconds)
    throttle.throttled(APP, seconds)
    with pytest.raises(Throttled):
        throttle.wait(USER)
    with pytest.raises(Throttled):
        throttle.wait(APP)
