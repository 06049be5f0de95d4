"""analytics_events as the archive needs it: its months, each read in one snapshot, and removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeVar

import psycopg
from psycopg import sql

from stopping import Stop
from storage import event_removal as removal
from storage.errors import DatabaseRefused
from storage.event_columns import SETTINGS, Sum
from storage.event_months import MONTHS, Month, MonthRows, ask, look_at
from storage.postgres_calls import PostgresCalls, sort_error
from storage.retries import with_retries

T = TypeVar("T")
Connection = psycopg.Connection[Any]
Isolation = Literal["read committed", "repeatable read"]

RIGHTS = """
select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean,
  pg_has_role(relowner, 'usage')
from pg_class where oid = 'public.analytics_events'::regclass
"""


class EventArchive(PostgresCalls):
    """One connection to the database that holds the events."""

    def months(self, before: datetime) -> list[date]:
        """The first days of the UTC months that have events and end at `before` or earlier.

        Raises:
            DatabaseRefused: this role cannot remove events. DatabaseError: anything else.
        """

        def attempt(connection: Connection) -> list[date]:
            _check_rights(connection)
            found = ask(connection, sql.SQL(MONTHS), {"before": before}).fetchall()
            return [first for (first,) in found]

        return self._transaction(attempt)

    def look_at(self, first: date) -> Month:
        """The month that begins on that day.

        Raises:
            MissingRelation: the rollup's tables are not there. DatabaseError: anything else.
        """
        begins = datetime(first.year, first.month, 1, tzinfo=UTC)
        after = begins.replace(year=begins.year + begins.month // 12, month=begins.month % 12 + 1)
        month = self._transaction(lambda connection: look_at(connection, begins, after))
        if month is None:
            raise removal.no_state()
        return month

    @contextmanager
    def snapshot(self, month: Month) -> Iterator[MonthRows]:
        """The month's rows as they are at one moment, for as long as the block lasts.

        Raises:
            NotAggregated: an hour waits to be counted. DatabaseError: anything else.
        """
        connection = self._guarded(lambda connection: connection)
        try:
            connection.execute(
                "begin isolation level repeatable read read only; "
                f"set local idle_in_transaction_session_timeout = 0; {SETTINGS}"
            )
            removal.check_counted(connection, month)
            yield MonthRows(connection, month)
            connection.execute("commit")
        except psycopg.Error as error:
            raise sort_error(error) from None
        finally:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.close()

    def drop_partition(self, month: Month, archived: Mapping[int, Sum], stop: Stop) -> None:
        """Detach and drop the month's partition, if its rows by hour are still `archived`.

        Raises:
            EventsChanged, NotAggregated, TableBusy, Stopped: all is as it was. DatabaseError.
        """

        def attempt(connection: Connection) -> None:
            removal.drop_partition(connection, month, archived, stop)

        self._guarded(lambda connection: _in_transaction(connection, attempt), seconds=None)

    def freeze(self, month: Month, stop: Stop) -> None:
        """Keep what is stored of the month whatever becomes of its events.

        Raises:
            NotAggregated, TableBusy, Stopped: all is as it was. DatabaseError.
        """

        def attempt(connection: Connection) -> None:
            removal.freeze(connection, month, stop)

        self._guarded(lambda connection: _in_transaction(connection, attempt), seconds=None)

    def delete_hour(self, month: Month, hour: int, archived: Sum) -> bool:
        """Delete the events of the hour if they are those; False if any differs: all are left."""

        def attempt(connection: Connection) -> None:
            if removal.delete_hour(connection, month, hour) != archived:
                raise _Differs

        try:
            self._transaction(attempt, "repeatable read")
        except _Differs:
            return False
        return True

    def delete_rows(self, month: Month, hour: int, digests: Collection[bytes]) -> int:
        """Delete those events of the hour whose digest is among these, each as often; how many."""

        def attempt(connection: Connection) -> int:
            return removal.delete_rows(connection, month, hour, digests)

        return self._transaction(attempt, "repeatable read")

    def _transaction(
        self,
        work: Callable[[Connection], T],
        isolation: Isolation = "read committed",
    ) -> T:
        def attempt(connection: Connection) -> T:
            return _in_transaction(connection, work, isolation)

        return with_retries(lambda: self._guarded(attempt, seconds=None), self._attempts)


class _Differs(Exception):
    """Ends a transaction that deleted what is not archived."""


def _in_transaction(
    connection: Connection,
    work: Callable[[Connection], T],
    isolation: Isolation = "read committed",
) -> T:
    with connection.transaction():
        connection.execute(f"set transaction isolation level {isolation}; {SETTINGS}")
        return work(connection)


def _check_rights(connection: Connection) -> None:
    row = connection.execute(RIGHTS).fetchone()
    read_only, owner = row or (False, False)
    if read_only:
        raise DatabaseRefused(
            "the database only reads: no month can leave it",
            mend="connect to the primary, as a role that may write",
        )
    if not owner:
        raise DatabaseRefused(
            "only its owner may archive analytics_events",
            mend="use the role that owns it in DATABASE_URL (on Supabase: postgres)",
        )
