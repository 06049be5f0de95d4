"""The visit log in Postgres: its table, what is remembered of it, and how visits get in.

Three things keep runs apart:

* `lock` lets one run at a time work on a table. The lock belongs to a transaction that stays open
  on a connection of its own: so it also holds behind a pooler that hands transactions to different
  servers, and ends with the connection. (Idle in READ COMMITTED, it keeps no vacuum waiting.)
* `claim` counts up `visit_log_tables.writer`. Every `merge` reads it under a share lock in its own
  transaction and writes nothing when it is another number: a run that lost its lock without knowing
  cannot write over what its successor wrote. The successor's `claim` waits for the merge that is
  under way. As long as nobody has taken over, a run whose lock was lost may go on.
* ON CONFLICT DO UPDATE guards against writers who know nothing of this, such as matomo-postgres.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg import sql

from models import Watermark
from storage.errors import DatabaseRefused, RowsRefused, TableBusy
from storage.postgres_calls import CALL_SECONDS, PostgresCalls, connect, sort_error
from storage.retries import with_retries
from storage.visit_claim import KNOWN, Claim, Remembered, take_over
from storage.visit_merge import Group, Merged, merge_rows, write_watermarks
from storage.visit_table import VisitTable, find_table, split_name
from watchdog import cut_socket, watchdog

__all__ = ["Claim", "Group", "Merged", "Remembered", "TableBusy", "VisitLog"]

RUN_LOCK = 72_062_011
"""First half of the advisory lock of a run; the second is the table. The migration has 72_062_012
and 72_062_013."""

WHOLE_TABLE_SECONDS = 1800

MAKE_TABLE = """
select case
  when %(schema)s::text is null and to_regclass(quote_ident(%(name)s)) is not null then 'there'
  when to_regnamespace(quote_ident(coalesce(%(schema)s, current_schema()))) is null then 'nowhere'
  when public.visit_log_make_table(
    coalesce(%(schema)s, current_schema()), %(name)s, %(partitioned)s) then 'made'
  else 'there' end as answer
"""
HOLD = """
begin;
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
set tcp_keepalives_idle = 60; -- a machine that is gone must not keep the lock, nor a router drop it
set tcp_keepalives_interval = 10;
set tcp_keepalives_count = 6;
set local lock_timeout = {milliseconds};
select pg_advisory_xact_lock({lock}, {place}::integer)
"""
NEWEST = """
select idsite, max(action_timestamp) as newest from {}
where isfinite(action_timestamp) group by idsite
"""
OPEN_TO_ANON = """
select format('%%I.%%I', n.nspname, c.relname) as name
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where (c.oid = %(oid)s::bigint::oid
    or c.oid in (select inhrelid from pg_inherits where inhparent = %(oid)s::bigint::oid))
  and not c.relrowsecurity
  and exists (select from pg_roles where rolname = 'anon' and
    has_schema_privilege(oid, n.oid, 'usage') and has_table_privilege(oid, c.oid, 'select'))
order by 1
"""


class VisitLog(PostgresCalls):
    """One connection to the database that holds the visit log."""

    def __init__(self, conninfo: str, attempts: int) -> None:
        super().__init__(conninfo, attempts)
        self._writers: dict[int, int] = {}
        self._holder: psycopg.Connection[Any] | None = None
        self._has_partitions: set[tuple[int, date]] = set()
        self._newest: dict[int, dict[str, datetime]] = {}

    def close(self) -> None:
        """Let the table and the connection go."""
        if self._holder is not None:
            self._holder.close()
            self._holder = None
        super().close()

    def make_table(self, destination: str, *, partitioned: bool) -> bool:
        """Make the table with its indexes as matomo-postgres would; False if the name is taken.

        Raises:
            DatabaseError: it cannot be made.
        """
        schema, name = split_name(destination)
        asked = {"schema": schema, "name": name, "partitioned": partitioned}
        answer = self._fetch(MAKE_TABLE, asked)[0]["answer"]
        if answer == "nowhere":
            raise DatabaseRefused(
                f"there is no schema {schema!r}" if schema else "no schema of search_path exists",
                mend="create it, or correct DESTINATION_TABLE, PGOPTIONS and DATABASE_URL",
            )
        return bool(answer == "made")

    def open_table(self, destination: str) -> VisitTable:
        """Look at the table; nothing is changed.

        Raises:
            MissingRelation: there is none. DatabaseRefused: visits cannot be stored in it.
        """
        return with_retries(
            lambda: self._guarded(lambda connection: find_table(connection, destination)),
            self._attempts,
        )

    def lock(self, table: VisitTable, wait_seconds: float) -> None:
        """Be the only run that works on the table, until `close`.

        Raises:
            TableBusy: another run still does after `wait_seconds`. DatabaseError: anything else.
        """
        if self._holder is None:
            self._holder = with_retries(lambda: self._hold(table, wait_seconds), self._attempts)

    def _hold(self, table: VisitTable, wait_seconds: float) -> psycopg.Connection[Any]:
        holder = None
        statement = sql.SQL(HOLD).format(
            milliseconds=max(1, round(wait_seconds * 1000)), lock=RUN_LOCK, place=table.oid - 2**31
        )
        try:
            holder = connect(self._conninfo)
            fileno = holder.fileno()
            with watchdog.limit(wait_seconds + CALL_SECONDS, lambda: cut_socket(fileno)):
                holder.execute(statement)
        except psycopg.Error as error:
            if holder is not None:
                holder.close()
            if isinstance(error, psycopg.errors.LockNotAvailable):
                raise TableBusy(f"another run is writing to {table}") from None
            raise sort_error(error) from None
        return holder

    def claim(self, table: VisitTable, server: str, *, true_utc: bool | None) -> Claim:
        """Take the table over for this run, and see that it holds what this run would add to.

        server: the Matomo that its rows come from. true_utc: what action_timestamp shall hold;
        None is whatever it holds.

        Raises:
            DatabaseRefused: it holds another server's rows, or times of the other kind.
        """

        def attempt(connection: psycopg.Connection[Any]) -> Claim:
            with connection.transaction():
                claim, writer = take_over(connection, table, server, true_utc)
            self._writers[claim.table_id] = writer
            return claim

        return with_retries(lambda: self._guarded(attempt), self._attempts)

    def recall(self, table: VisitTable) -> Remembered | None:
        """What is remembered of the table, without taking it over; None if nothing is.

        Raises:
            MissingRelation: the migration has not run. DatabaseError: anything else.
        """
        known = self._fetch(KNOWN, (table.schema, table.name))
        if not known:
            return None
        query = sql.SQL("select exists (select from {}) as filled").format(table.identifier)
        filled = self._fetch(query)[0]["filled"] and known[0]["oid"] == table.oid
        return Remembered(known[0]["id"], known[0]["server"], known[0]["true_utc"], filled)

    def open_to_anybody(self, table: VisitTable) -> list[str]:
        """The table and its partitions, as far as Supabase's role anon reads them past any row
        level security."""
        return [row["name"] for row in self._fetch(OPEN_TO_ANON, {"oid": table.oid})]

    def read_watermarks(self, table_id: int) -> dict[int, Watermark]:
        """How far each site is in the table, by idsite."""
        query = (
            "select idsite, complete_through, verified_at, read_until "
            "from public.visit_log_watermarks where table_id = %s"
        )
        return {
            row["idsite"]: Watermark(
                row["complete_through"], _utc(row["verified_at"]), _utc(row["read_until"])
            )
            for row in self._fetch(query, (table_id,))
        }

    def newest_action(self, table: VisitTable, site: int) -> datetime | None:
        """The newest action_timestamp of the site; None if the table has no row of it.

        Asked once for all sites: no index leads to one, so the whole table is read.
        """

        def attempt(connection: psycopg.Connection[Any]) -> dict[str, datetime]:
            with connection.transaction():
                connection.execute(f"set local statement_timeout = '{WHOLE_TABLE_SECONDS}s'")
                rows = connection.execute(sql.SQL(NEWEST).format(table.identifier)).fetchall()
            return {idsite: newest.astimezone(UTC) for idsite, newest in rows if idsite}

        if table.oid not in self._newest:
            limit = WHOLE_TABLE_SECONDS + 30
            self._newest[table.oid] = with_retries(
                lambda: self._guarded(attempt, seconds=limit), self._attempts
            )
        return self._newest[table.oid].get(str(site))

    def make_partitions(self, table: VisitTable, days: Collection[date]) -> int:
        """Make what the rows of these UTC days need; how many partitions that were."""
        if not table.partitioned or not days:
            return 0
        query = "select public.visit_log_make_partitions(%s, %s, %s::date[]) as made"
        [row] = self._fetch(query, (table.schema, table.name, sorted(days)))
        return int(row["made"])

    def merge(self, table: VisitTable, table_id: int, group: Group) -> Merged:
        """Store the group and its watermarks in one transaction; unchanged rows stay untouched.

        Raises:
            RowsRefused: a row breaks a rule. TableBusy: another run has taken the table over.
            DatabaseError: anything else.
        """
        days = {day for day in group.days if (table.oid, day) not in self._has_partitions}
        self.make_partitions(table, days)
        self._has_partitions |= {(table.oid, day) for day in days}

        def attempt(connection: psycopg.Connection[Any]) -> Merged:
            with connection.transaction(), connection.cursor() as cursor:
                self._check_claim(cursor, table, table_id)
                merged = merge_rows(cursor, table, group)
                write_watermarks(cursor, table_id, group.watermarks)
                return merged

        try:
            return with_retries(lambda: self._guarded(attempt), self._attempts)
        except RowsRefused:
            self._has_partitions.clear()  # perhaps somebody dropped one
            raise

    def _check_claim(self, cursor: psycopg.Cursor[Any], table: VisitTable, table_id: int) -> None:
        query = "select writer from public.visit_log_tables where id = %s for share"
        row = cursor.execute(query, (table_id,)).fetchone()
        if row is None or row[0] != self._writers[table_id]:
            raise TableBusy(f"another run has taken over {table}")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
