"""Tries of a database request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from retrying import call_with_retries
from stopping import Stop
from storage.errors import DatabaseUnavailable

T = TypeVar("T")

LIMIT_SECONDS = 300


def with_retries(attempt: Callable[[], T], attempts: int) -> T:
    """Send an idempotent request again while the database is unavailable.

    A run that was told to stop still stores what it has, so this waits on no run's Stop; the
    number of tries and five minutes bound it.

    Raises:
        DatabaseError: the last one seen.
    """
    return call_with_retries(
        attempt,
        retryable=lambda error: isinstance(error, DatabaseUnavailable),
        attempts=attempts,
        stop=Stop(LIMIT_SECONDS),
    )
