"""Who may not be asked for a while: a platform's limits by app, by user and by account.

A scope is a text: the API, what it counts by, and whose it is ("graph app", "graph user 17",
"instagram account 178"). Whoever asks names the scopes that the request counts in.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from fetchers.errors import Throttled, interrupted
from stopping import Stop

T = TypeVar("T")

FIRST_HOLD_SECONDS = 60.0
LONGEST_HOLD_SECONDS = 900.0
"""Where a platform does not say for how long: 1, 2, 4, 8, 15 minutes."""

THROTTLED_TRIES = 3
"""To keep calling while throttled extends the block (shared facts/social.md 1.8)."""

WEEK_SECONDS = 604_800.0
"""No run is longer; a server may say any number."""

TURNS_PER_HOLD = 10
"""Of a scope that is slowed down: so many requests in the time that one account waits."""

SLOW_SECONDS = 60.0
"""So long after the last answer that asked for it a scope is slow: usage is that of an hour."""

PROBE_SECONDS = 1.0
"""After a block one request goes ahead; the others follow once it could have been refused."""


@dataclass(frozen=True, slots=True)
class _Hold:
    until: float
    at: datetime
    """The same moment as people write it, computed once: all who wait for it say the same."""


@dataclass(slots=True)
class _Strikes:
    """How often in a row a scope was throttled; until: when the block of the last one ends."""

    number: int = 0
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class _Slowness:
    """How far apart the requests of a scope are, and until when."""

    gap_seconds: float
    until: float


class Throttle:
    """Shared by all threads of a run. Waiting is done here, outside of Http's places.

    places: entered for a request after waiting, and left again where one of its scopes was held or
    slowed meanwhile. As many as Http has: who waits for one of those hears of nothing any more.
    """

    def __init__(self, stop: Stop, clock: Callable[[], float] = time.monotonic) -> None:
        self.stop = stop
        self.places: AbstractContextManager[object] = nullcontext()
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Hold] = {}
        self._probing: dict[str, _Hold] = {}
        self._turns: dict[str, _Hold] = {}
        self._slow: dict[str, _Slowness] = {}
        self._news: Counter[str] = Counter()
        self._strikes: dict[str, _Strikes] = {}

    def call(
        self,
        attempt: Callable[[], T],
        scopes: tuple[str, ...],
        scope_of: Callable[[Throttled], str],
    ) -> T:
        """Wait for the scopes and call `attempt`; when it is throttled, hold and do so again.

        scope_of: which scope a Throttled holds. Its `retry_after` is for how long; without one the
        holds grow (FIRST_HOLD_SECONDS).

        Raises:
            Throttled: after THROTTLED_TRIES, or when the run ends before it may be asked again.
            Interrupted: the run must stop. FetchError: whatever else `attempt` raised.
        """
        for left in reversed(range(THROTTLED_TRIES)):
            try:
                answer = self._in_turn(attempt, scopes)
            except Throttled as error:
                if not error.retry:  # the wait outlasts the run: it is no new block
                    raise
                self.throttled(scope_of(error), error.retry_after)
                if not left:
                    error.retry = False
                    raise
            else:
                self.answered(*scopes)
                return answer
        raise AssertionError("the last try returns or raises")

    def _in_turn(self, attempt: Callable[[], T], scopes: tuple[str, ...]) -> T:
        while True:
            known = self.wait(*scopes)
            with self.places:
                if known == self._heard(scopes):
                    return attempt()

    def _heard(self, scopes: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self._news[scope] for scope in scopes)

    def wait(self, *scopes: str) -> tuple[int, ...]:
        """Sleep while one of the scopes is held, or while it is another's turn.

        Returns:
            What was known of the scopes then: it changes when one is held or slowed anew.

        Raises:
            Throttled: the hold outlasts the run. Interrupted: the run must stop.
        """
        slept_until = float("-inf")
        while True:
            with self._lock:
                now = max(self._clock(), slept_until)
                held = self._longest(scopes, now)
                if held is None:
                    self._go_ahead(scopes, now)
                    return self._heard(scopes)
            scope, hold = held
            if not self.stop.is_set() and hold.until - now >= self.stop.remaining_seconds():
                raise _outlasts(scope, hold)
            self.stop.sleep(hold.until - now)
            if self.stop.is_set():
                raise interrupted(self.stop)
            slept_until = hold.until

    def hold(self, scope: str, seconds: float) -> None:
        """Let nothing of the scope be asked for so long; a longer hold stays."""
        if seconds > 0:
            with self._lock:
                self._hold(self._held, scope, seconds)

    def slow(self, scope: str, seconds: float) -> None:
        """Space the scope's requests: TURNS_PER_HOLD in so many seconds, however many threads ask.

        A hold would do less: whoever waited for it goes on at the same moment.
        """
        if seconds <= 0:
            return
        with self._lock:
            now = self._clock()
            before, gap = self._slow.get(scope), min(seconds, WEEK_SECONDS) / TURNS_PER_HOLD
            self._slow[scope] = _Slowness(gap, now + max(SLOW_SECONDS, 2 * gap))
            if before is None or before.until <= now:
                self._news[scope] += 1
                self._hold(self._turns, scope, gap)

    def throttled(self, scope: str, seconds: float | None) -> None:
        """Hold a scope that the platform has blocked, for as long as it said if it did."""
        with self._lock:
            now = self._clock()
            strikes = self._strikes.setdefault(scope, _Strikes())
            if now >= strikes.until:  # else it was under way already when the block was heard of
                strikes.number += 1
            longer = FIRST_HOLD_SECONDS * 2.0 ** min(strikes.number - 1, 10)
            held_for = seconds or min(longer, LONGEST_HOLD_SECONDS)
            strikes.until = max(strikes.until, now + held_for)
            self._hold(self._held, scope, strikes.until - now)

    def answered(self, *scopes: str) -> None:
        """Forget the blocks of these scopes that are over: a request of theirs went through."""
        with self._lock:
            for scope in scopes:
                strikes = self._strikes.get(scope)
                if strikes and self._clock() >= strikes.until:
                    del self._strikes[scope]
                    self._probing.pop(scope, None)

    def _hold(self, holds: dict[str, _Hold], scope: str, seconds: float) -> None:
        seconds = min(seconds, WEEK_SECONDS)
        until = self._clock() + seconds
        if scope not in holds or until > holds[scope].until:
            holds[scope] = _Hold(until, datetime.now(UTC) + timedelta(seconds=seconds))
            self._news[scope] += holds is self._held

    def _longest(self, scopes: tuple[str, ...], now: float) -> tuple[str, _Hold] | None:
        found = [
            (scope, holds[scope])
            for scope in scopes
            for holds in (self._held, self._probing, self._turns)
            if scope in holds and holds[scope].until > now
        ]
        return max(found, key=lambda item: item[1].until, default=None)

    def _go_ahead(self, scopes: tuple[str, ...], now: float) -> None:
        """Be the one whose turn it is, or whose request shows whether a block is really over."""
        for scope in scopes:
            slowness = self._slow.get(scope)
            if slowness and now < slowness.until:
                self._hold(self._turns, scope, slowness.gap_seconds)
            if scope in self._strikes and now >= self._strikes[scope].until:
                self._hold(self._probing, scope, PROBE_SECONDS)


def _outlasts(scope: str, hold: _Hold) -> Throttled:
    """Names no user and no account: failures with the same text are told of as one."""
    api, counted_by = scope.split(" ")[:2]
    return Throttled(
        f"the {api} API lets this {counted_by} ask nothing more until {hold.at:%H:%M} UTC, "
        "which is after the end of this run",
        retry=False,
    )
