"""When and how long to wait before the same request is sent again. One place for all sources."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import tenacity

from stopping import Stop

T = TypeVar("T")

BACKOFF_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 60.0


def call_with_retries(
    attempt: Callable[[], T],
    *,
    retryable: Callable[[BaseException], bool],
    attempts: int,
    stop: Stop,
) -> T:
    """Call `attempt` until it answers, fails for good, or tries or time run out.

    An error may carry `retry_after`, the seconds its server asked for.

    Raises:
        Whatever the last call raised.
    """

    def enough(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= attempts or state.upcoming_sleep >= stop.remaining_seconds()

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return wait_seconds(
            state.attempt_number, getattr(error, "retry_after", None), random.random()
        )

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(retryable),
        stop=enough,
        wait=wait,
        sleep=stop.sleep,
        reraise=True,
    )(attempt)


def wait_seconds(attempt: int, retry_after: float | None, jitter: float) -> float:
    """How long to wait after try number `attempt` (from 1): 1, 2, 4 … 60 s with jitter (0 to 1).

    A server's own Retry-After is a lower bound, honoured whole.
    """
    backoff = min(BACKOFF_LIMIT_SECONDS, BACKOFF_SECONDS * 2.0 ** (attempt - 1))
    return (retry_after or 0.0) + backoff * (0.5 + 0.5 * jitter)
