"""How a month of analytics_events is removed: only what is known to be archived, row for row.

* A partition of exactly the month is locked against writers, hashed again, compared with the
  archive, detached and dropped in one transaction. Readers wait for the last milliseconds alone. A
  writer of so old an event would wait longer: as soon as one does, the archive gives way.
* Elsewhere each hour is deleted by a statement that hashes the very rows that it deletes; that is
  compared with the archive before it is committed. No table is locked, and an event that comes in
  meanwhile is not among those rows. Where an hour differs, only copies of archived rows go.

`frozen_before` moves past the month with the first, before the second, in a transaction that sees
that no hour of it waits to be counted, while nobody can write events (first) or marks (second).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import psycopg
from psycopg import sql

from stopping import Stop
from storage.errors import MIGRATE, DatabaseError, DatabaseRefused
from storage.event_columns import EPOCH, HOUR, Sum, digest_of, within
from storage.event_locks import check, until_unlocked, wait_at_most
from storage.event_months import TABLE, Month, MonthRows, ask, sum_of

Connection = psycopg.Connection[Any]

LOOK_SECONDS = 0.5
"""How often the archive looks whether a writer waits for the partition that it holds."""

WAITERS = """
select exists (
  select from pg_locks l join pg_database b on b.oid = l.database and b.datname = current_database()
  where not l.granted and l.relation = any (
    select relid::oid from pg_partition_tree({}::text::regclass)))
"""
# A day of a project's zone that begins within the month may end 25 hours after it. What lies before
# frozen_before is not counted any more.
DIRTY = """
select exists (
  select from public.analytics_rollup_dirty d, public.analytics_rollup_state s
  where d.hour_bucket >= s.frozen_before and d.hour_bucket < %(after)s + interval '25 hours'
) or exists (
  select from public.analytics_rollup_dirty_days d, public.analytics_rollup_state s,
    lateral (select d.day::timestamp at time zone public.analytics_rollup_zone(d.project_id)) z(gin)
  where d.day <= (%(after)s + interval '14 hours')::date
    and z.gin >= s.frozen_before and z.gin < %(after)s
)
"""
LOCK_QUEUE = """
lock table public.analytics_rollup_dirty, public.analytics_rollup_dirty_days in share mode
"""
FREEZE = """
update public.analytics_rollup_state set frozen_before = greatest(frozen_before, %(after)s)
"""
DELETE_HOUR = """
with gone as (delete from {source} where {hour} returning {number} as number)
select count(*), coalesce(sum(number), 0) from gone
"""
# The triggers have marked the hour, for a refresh that would find it empty. It knows that the month
# is frozen, unless it began before: so nobody gets to see these marks.
UNMARK = """
delete from public.analytics_rollup_dirty where hour_bucket = {moment} and marked_at = now()
"""
# Of rows that are alike, as many go as are archived.
DELETE_ROWS = """
with archived as (
  select digest, count(*) as copies from unnest(%s::bytea[]) as digest group by digest
), here as materialized (
  select part, place, digest, row_number() over (partition by digest order by part, place) as copy
  from (select tableoid as part, ctid as place, {digest} as digest from {source} where {hour}) as r
), gone as (
  delete from {source} e using here join archived using (digest)
  where e.tableoid = here.part and e.ctid = here.place and here.copy <= archived.copies
  returning 1
)
select count(*) from gone
"""


class NotAggregated(DatabaseError):
    """An hour or day of the month waits to be counted."""

    kind = "not ready"
    default_mend = "run `aggregator.py hourly` first, until nothing is left to count"


class EventsChanged(DatabaseError):
    """The month's rows are not those that were archived."""

    kind = "temporary"
    default_mend = "run it again: nothing was removed"


def drop_partition(
    connection: Connection, month: Month, archived: Mapping[int, Sum], stop: Stop
) -> None:
    """Detach and drop the month's partition, if its rows by hour are still `archived`.

    Raises:
        EventsChanged, NotAggregated, TableBusy, Stopped.
    """
    lock = sql.SQL("lock table {} in share row exclusive mode").format(month.source)
    try:
        connection.execute("set local lock_timeout = '5s'")
        until_unlocked(connection, stop, lambda: ask(connection, lock))
    except psycopg.errors.UndefinedTable:  # another run was quicker
        raise changed(month) from None
    looked_at = time.monotonic()
    rows = MonthRows(connection, month)
    if rows.hours() != sorted(archived):
        raise changed(month)
    for hour, wanted in archived.items():
        check(stop)
        if time.monotonic() - looked_at > LOOK_SECONDS:
            _give_way(connection, month)
            looked_at = time.monotonic()
        if rows.sum(hour) != wanted:
            raise changed(month)
    until_unlocked(connection, stop, lambda: _detach(connection, month))


def freeze(connection: Connection, month: Month, stop: Stop) -> None:
    """
    Raises:
        NotAggregated, TableBusy, Stopped.
    """
    wait_at_most(connection, 2)
    until_unlocked(connection, stop, lambda: _freeze_alone(connection, month))


def delete_hour(connection: Connection, month: Month, hour: int) -> Sum:
    """Delete the events of the hour: which ones."""
    query = sql.SQL(DELETE_HOUR).format(source=TABLE, hour=within(hour), number=month.number)
    gone = sum_of(ask(connection, query))
    _unmark(connection, hour)
    return gone


def delete_rows(connection: Connection, month: Month, hour: int, digests: Collection[bytes]) -> int:
    """Delete those events of the hour whose digest is among these, each as often; how many."""
    query = sql.SQL(DELETE_ROWS).format(
        source=TABLE, hour=within(hour), digest=digest_of(month.columns)
    )
    row = ask(connection, query, (list(digests),)).fetchone()
    _unmark(connection, hour)
    return int(row[0]) if row else 0


def _unmark(connection: Connection, hour: int) -> None:
    ask(connection, sql.SQL(UNMARK).format(moment=sql.Literal(EPOCH + hour * HOUR)))


def check_counted(connection: Connection, month: Month) -> None:
    row = ask(connection, sql.SQL(DIRTY), {"after": month.after}).fetchone()
    if row and row[0]:
        raise NotAggregated(f"events of {month} wait to be counted, or of the days around it")


def _give_way(connection: Connection, month: Month) -> None:
    query = sql.SQL(WAITERS).format(sql.Literal(month.source.as_string()))
    row = ask(connection, query).fetchone()
    if row and row[0]:
        raise changed(month)


def changed(month: Month) -> EventsChanged:
    return EventsChanged(f"events of {month} arrived, changed or went while it was archived")


def _detach(connection: Connection, month: Month) -> None:
    _give_way(connection, month)
    wait_at_most(connection, 2)
    ask(connection, sql.SQL("lock table only {} in access exclusive mode").format(TABLE))
    wait_at_most(connection, 8)  # no writer is under way any more, and so no mark of one
    _freeze(connection, month)
    ask(connection, sql.SQL("alter table {} detach partition {}").format(TABLE, month.source))
    ask(connection, sql.SQL("drop table {}").format(month.source))


def _freeze_alone(connection: Connection, month: Month) -> None:
    ask(connection, sql.SQL(LOCK_QUEUE))
    _freeze(connection, month)


def _freeze(connection: Connection, month: Month) -> None:
    check_counted(connection, month)
    if ask(connection, sql.SQL(FREEZE), {"after": month.after}).rowcount != 1:
        raise no_state()


def no_state() -> DatabaseRefused:
    return DatabaseRefused("analytics_rollup_state has no row", mend=MIGRATE)
