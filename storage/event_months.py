"""The months of analytics_events as the archive reads them: which there are, and one's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from storage.event_columns import Column, Sum, between, number_of, read_columns, texts, within
from storage.postgres_calls import CALL_SECONDS
from watchdog import cut_socket, watchdog

TABLE = sql.Identifier("public", "analytics_events")

MONTHS = """
with recursive months as (
  select date_trunc('month', min(created_at) at time zone 'UTC') as first
  from public.analytics_events where created_at >= '0001-01-01 00:00+00'
  union all
  select date_trunc('month', (
    select min(e.created_at) at time zone 'UTC' from public.analytics_events e
    where e.created_at >= (months.first + interval '1 month') at time zone 'UTC'))
  from months where months.first + interval '2 months' <= %(before)s at time zone 'UTC'
)
select first::date as first from months
where first + interval '1 month' <= %(before)s at time zone 'UTC' order by 1
"""
LOOK = """
select s.frozen_before >= %(after)s as frozen, p.schema, p.name
from public.analytics_rollup_state s left join (
  select n.nspname as schema, c.relname as name, regexp_match(pg_get_expr(c.relpartbound, c.oid),
    '^FOR VALUES FROM \\(''([^'']+)''\\) TO \\(''([^'']+)''\\)$') as bound
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
  join pg_namespace n on n.oid = c.relnamespace
  where i.inhparent = 'public.analytics_events'::regclass and c.relkind in ('r', 'p')
    and pg_get_partkeydef(i.inhparent) = 'RANGE (created_at)'
) as p on p.bound[1]::timestamptz = %(first)s and p.bound[2]::timestamptz = %(after)s
"""
HOURS = """
with recursive hours as (
  select min(created_at)::timestamptz as at from {source} where {month}
  union all
  select (
    select min(e.created_at)::timestamptz from {source} e
    where e.created_at >= date_bin('1 hour', hours.at, '2000-01-01 00:00+00') + interval '1 hour'
      and e.created_at < {after})
  from hours where hours.at is not null
)
select floor(extract(epoch from at) / 3600)::bigint from hours where at is not null order by 1
"""
SUM = "select count(*), coalesce(sum({number}), 0) from {source} where {hour}"
COPY = """
copy (select {texts} from {source} where {hour}) to stdout (format csv, force_quote *)
"""


@dataclass(frozen=True)
class Month:
    """A UTC month of events. partition: what holds exactly this month, if anything does.
    frozen: its aggregates are not computed any more."""

    first: datetime
    after: datetime
    columns: tuple[Column, ...]
    partition: sql.Identifier | None
    frozen: bool

    def __str__(self) -> str:
        return self.first.date().isoformat()[:7]

    @property
    def source(self) -> sql.Identifier:
        return self.partition or TABLE

    @cached_property
    def number(self) -> sql.SQL:
        """`number_of` its rows, put together once for all of its hours."""
        return sql.SQL(number_of(self.columns).as_string())

    @cached_property
    def texts(self) -> sql.SQL:
        return sql.SQL(texts(self.columns).as_string())


def look_at(connection: psycopg.Connection[Any], first: datetime, after: datetime) -> Month | None:
    """The month as it is now; None where the rollup has no state."""
    found = connection.execute(LOOK, {"first": first, "after": after}).fetchone()
    if found is None:
        return None
    frozen, schema, name = found
    partition = None if name is None else sql.Identifier(schema, name)
    return Month(first, after, read_columns(connection), partition, frozen)


class MonthRows:
    """The month's rows as the connection's transaction sees them.

    Hours are counted since 1970. No statement reads more than one.
    """

    def __init__(self, connection: psycopg.Connection[Any], month: Month) -> None:
        self._connection = connection
        self._month = month

    def hours(self) -> list[int]:
        """The hours that have rows."""
        month = self._month
        query = sql.SQL(HOURS).format(
            source=month.source,
            month=between(month.first, month.after),
            after=sql.Literal(month.after),
        )
        return [hour for (hour,) in ask(self._connection, query).fetchall()]

    def sum(self, hour: int) -> Sum:
        query = sql.SQL(SUM).format(
            number=self._month.number, source=self._month.source, hour=within(hour)
        )
        return sum_of(ask(self._connection, query))

    def copy(self, hour: int, write: Callable[[bytes], None]) -> None:
        """Hand the hour's rows to `write` as CSV without a header: everything quoted but NULL."""
        query = sql.SQL(COPY).format(
            texts=self._month.texts, source=self._month.source, hour=within(hour)
        )
        fileno = self._connection.fileno()
        with (
            watchdog.limit(CALL_SECONDS, lambda: cut_socket(fileno)),
            self._connection.cursor() as cursor,
            cursor.copy(query) as rows,
        ):
            for block in rows:
                write(bytes(block))


def ask(
    connection: psycopg.Connection[Any],
    query: sql.SQL | sql.Composed,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
) -> psycopg.Cursor[Any]:
    """Execute one statement of a long transaction, under a limit of its own."""
    fileno = connection.fileno()
    with watchdog.limit(CALL_SECONDS, lambda: cut_socket(fileno)):
        return connection.execute(query, parameters)


def sum_of(cursor: psycopg.Cursor[Any]) -> Sum:
    row = cursor.fetchone()
    assert row is not None
    return Sum(row[0], int(row[1]))
