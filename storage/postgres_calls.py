"""How Postgres is asked: one connection, its limits, its tries, and what its errors mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from storage.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable, from_sqlstate
from storage.postgres_tls import tls_mend, with_tls
from storage.retries import with_retries
from watchdog import cut_socket, watchdog

T = TypeVar("T")

CONNECT_SECONDS = 15
STATEMENT_SECONDS = 120
WHOLE_ROW = "Failing row contains"
CALL_SECONDS = 150
"""A server that has gone without a word is not waited for longer; statements end before that."""


class PostgresCalls:
    """One connection, made at first use and again after it broke; what is asked of it is in
    postgres.py."""

    def __init__(self, conninfo: str, attempts: int) -> None:
        self._conninfo = conninfo
        self._attempts = attempts
        self._connection: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _fetch(
        self, query: str | sql.Composed, parameters: Any = None, attempts: int | None = None
    ) -> list[dict[str, Any]]:
        def attempt(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(query, parameters).fetchall()

        return with_retries(lambda: self._guarded(attempt), attempts or self._attempts)

    def _guarded(
        self, work: Callable[[psycopg.Connection[Any]], T], seconds: float | None = CALL_SECONDS
    ) -> T:
        """Call `work` with a live connection and turn psycopg's errors into ours."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._conninfo)
            if seconds is None:
                return work(self._connection)
            fileno = self._connection.fileno()
            with watchdog.limit(seconds, lambda: cut_socket(fileno)):
                return work(self._connection)
        except psycopg.Error as error:
            raise sort_error(error) from None


def connect(conninfo: str) -> psycopg.Connection[Any]:
    """A connection as all of this program uses it, never in clear text to another machine.

    Raises:
        psycopg.Error: it cannot be made.
    """
    connection = psycopg.connect(
        with_tls(conninfo),
        autocommit=True,  # every transaction is a visible `with`
        connect_timeout=CONNECT_SECONDS,
        tcp_user_timeout=STATEMENT_SECONDS * 1000,  # a server that is gone, found at commit too
        prepare_threshold=None,  # a pooler may hand each transaction to another server
        application_name="analytics-aggregator",
        client_encoding="utf8",  # whatever the database or PGCLIENTENCODING says: COPY sends bytes
    )
    fileno = connection.fileno()
    with watchdog.limit(CONNECT_SECONDS, lambda: cut_socket(fileno)):
        connection.execute(f"set statement_timeout = '{STATEMENT_SECONDS}s'; set datestyle = 'ISO'")
    return connection


def sort_error(error: psycopg.Error) -> DatabaseError:
    """Name what psycopg raised by who can mend it."""
    if error.sqlstate:
        detail = error.diag.message_detail or ""
        if detail.startswith(WHOLE_ROW):  # a visitor's data, which no log should keep
            detail = ""
        return from_sqlstate(error.sqlstate, f"{error.diag.message_primary} {detail}".strip())
    if isinstance(error, psycopg.OperationalError):
        # libpq's own words name host, port and user, and no password.
        said = f"no connection to the database: {' '.join(str(error).split())}"
        if mend := tls_mend(said):
            return DatabaseRefused(said, mend=mend)
        if any(words in said for words in ("authentication failed", "does not exist")):
            return DatabaseRefused(said, mend="correct user, password and database in DATABASE_URL")
        return DatabaseUnavailable(said)
    if isinstance(error, psycopg.ProgrammingError):
        return DatabaseRefused(
            "DATABASE_URL cannot be used as it is", mend="correct its parameters (.env.example)"
        )
    return DatabaseUnavailable(f"the database connection failed ({type(error).__name__})")
