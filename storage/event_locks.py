"""Locks on tables that others are busy with: waited for briefly and often, to hold up nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from stopping import Stop, Stopped
from storage.errors import TableBusy
from storage.event_months import ask

TRIES = 30
PAUSE_SECONDS = 2.0

# Whoever waits for us while we wait for the next lock lives to see that we give up: Postgres looks
# for deadlocks, and ends one of the two, after deadlock_timeout only.
WAIT_AT_MOST = """
select set_config('lock_timeout', (setting::integer / {})::text, true)
from pg_settings where name = 'deadlock_timeout'
"""


def wait_at_most(connection: psycopg.Connection[Any], part: int) -> None:
    """For each lock, as long as this part of deadlock_timeout."""
    ask(connection, sql.SQL(WAIT_AT_MOST).format(part))


def until_unlocked(
    connection: psycopg.Connection[Any], stop: Stop, work: Callable[[], object]
) -> None:
    """Try `work`, in the connection's transaction, until it gets its locks.

    Raises:
        TableBusy: others never let go of them. Stopped.
    """
    for _ in range(TRIES):
        try:
            with connection.transaction():
                work()
        except psycopg.errors.LockNotAvailable:
            check(stop)
            stop.sleep(PAUSE_SECONDS)
        else:
            return
    raise TableBusy(
        "analytics_events is in use by transactions that do not end",
        mend="end them, or run it again when they have ended",
    )


def check(stop: Stop) -> None:
    """
    Raises:
        Stopped: the run must stop.
    """
    if stop.is_set():
        raise Stopped("the run was stopped before everything was archived", stop.signal)
