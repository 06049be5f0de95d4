"""What is remembered of a visit log's table, and whether a run may add to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from storage.errors import DatabaseRefused
from storage.visit_table import OTHER_TABLE, VisitTable


@dataclass(frozen=True, slots=True)
class Claim:
    """What is remembered of a table.

    true_utc: whether action_timestamp holds real UTC. forgotten: its watermarks were void, because
    it was made anew or is empty: the import begins again.
    """

    table_id: int
    true_utc: bool
    forgotten: bool


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of a table, to be shown: `Claim` is for those who write."""

    table_id: int
    server: str
    true_utc: bool
    filled: bool


KNOWN = """
select id, table_oid::bigint as oid, server, true_utc from public.visit_log_tables
where table_schema = %s and table_name = %s
"""
REMEMBER = """
insert into public.visit_log_tables as t
  (table_schema, table_name, table_oid, server, true_utc, writer)
values (%s, %s, %s::bigint::oid, %s, %s, 1)
on conflict (table_schema, table_name) do update set table_oid = excluded.table_oid,
  server = excluded.server, true_utc = excluded.true_utc, writer = t.writer + 1
returning id, writer
"""
COMMENT = "select obj_description(%s::bigint::oid, 'pg_class') as text"
REAL_UTC = "The visit log, with real UTC in action_timestamp (visits --true-utc)."
"""Kept in the table itself as well: it stays with one that is renamed, or restored elsewhere."""

FORGET = "delete from public.visit_log_watermarks where table_id = %s"
BEGIN_AGAIN = """
update public.visit_log_watermarks
set complete_through = coalesce(begins_after, complete_through), verified_at = null,
  read_until = null, updated_at = now()
where table_id = %s and begins_after is not null
  and (verified_at is not null or read_until is not null or complete_through <> begins_after)
"""
"""Where an import began is remembered: of a first one that could store nothing, or of a table that
was emptied, the days since then would be skipped otherwise."""


def take_over(
    connection: psycopg.Connection[Any], table: VisitTable, server: str, true_utc: bool | None
) -> tuple[Claim, int]:
    """Remember the table as this run's: what is known of it, and the number of this writer.

    Raises:
        DatabaseRefused: it holds another server's rows, or times of the other kind.
    """
    cursor: psycopg.Cursor[Any] = connection.cursor(row_factory=namedtuple_row)
    known = cursor.execute(f"{KNOWN} for update", (table.schema, table.name)).fetchone()
    # Looked at under the lock: another run may just have filled it.
    has_rows = sql.SQL("select exists (select from {}) as rows").format(table.identifier)
    filled = cursor.execute(has_rows).fetchall()[0].rows
    marked = cursor.execute(COMMENT, (table.oid,)).fetchall()[0].text or ""
    same_server = known is not None and known.server == server
    if known is not None and known.oid != table.oid:  # it was dropped, and made anew
        known = None
    if known is not None and filled and known.server != server:
        raise _other_server(table, known.server, server)
    holds = known.true_utc if known is not None else filled and REAL_UTC in marked
    wanted = holds if true_utc is None else true_utc
    if filled and wanted != holds:
        raise _other_times(table, holds)
    if wanted and REAL_UTC not in marked:
        text = sql.SQL("comment on table {} is {}").format(table.identifier, REAL_UTC)
        cursor.execute(text)
    values = (table.schema, table.name, table.oid, server, wanted)
    row = cursor.execute(REMEMBER, values).fetchall()[0]
    # A watermark would say of rows that are not there any more that they need not be read.
    forgotten = 0
    if not filled and same_server:
        forgotten = cursor.execute(BEGIN_AGAIN, (row.id,)).rowcount
    elif not filled or known is None:
        forgotten = cursor.execute(FORGET, (row.id,)).rowcount
    return Claim(row.id, wanted, forgotten > 0), row.writer


def _other_server(table: VisitTable, known: str, server: str) -> DatabaseRefused:
    change = sql.SQL(
        "update public.visit_log_tables set server = {} where table_schema = {} and table_name = {}"
    ).format(server, table.schema, table.name)
    return DatabaseRefused(
        f"{table} holds the visits of {known}: those of {server} have the same action ids",
        mend=f"{OTHER_TABLE}; or, if it is the same Matomo under a new address: "
        f"{change.as_string()}",
    )


def _other_times(table: VisitTable, holds_utc: bool) -> DatabaseRefused:
    holds, other = ("real UTC", "wall clocks") if holds_utc else ("the sites' wall clocks", "UTC")
    option = "with" if holds_utc else "without"
    return DatabaseRefused(
        f"action_timestamp in {table} holds {holds}: {other} cannot be mixed in",
        mend=f"run {option} --true-utc, or {OTHER_TABLE}",
    )
