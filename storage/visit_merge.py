"""One group of visits into the table: a temporary stage, what is gone, what is new or differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
from psycopg import sql

from models import Watermark
from storage import visit_sql
from storage.visit_table import VisitTable


@dataclass(slots=True)
class Group:
    """Visits that are stored together or not at all.

    lines: COPY text in the order of STAGE_COLUMNS; no key twice (the group is refused as a row).
    rows: how many lines there are. whole_visits: (idsite, idvisit) of visits whose rows are all
    here, so that others of theirs go; part_visits: of those that may have more. days: the UTC days
    that hold an action_timestamp of the group. watermarks: by idsite.
    """

    lines: list[bytes] = field(default_factory=list)
    rows: int = 0
    whole_visits: list[tuple[str, str]] = field(default_factory=list)
    days: set[date] = field(default_factory=set)
    watermarks: dict[int, Watermark] = field(default_factory=dict)
    part_visits: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Merged:
    """written: rows that were inserted or changed. removed: rows that were deleted."""

    written: int
    removed: int


LINES_AT_ONCE = 500
"""Each write to COPY waits for the connection: one for each visit takes as long as all the rest."""

NEAR = timedelta(days=8)
"""How far from a group's days its visits may have older rows. A visit lasts hours, and another time
zone of its site moves it by a day; looking into all partitions costs a third of a merge (120)."""

SETTINGS = """
set local lock_timeout = '60s';
set local work_mem = '64MB';
set local jit = off;
set local max_parallel_workers_per_gather = 0;
set local enable_seqscan = {seqscan};
set local enable_bitmapscan = off;
set local enable_mergejoin = off;
set local enable_nestloop = off;
select set_config('search_path',
  concat_ws(', ', {path}, nullif(current_setting('search_path'), '')), true);
do $$ begin
  perform set_config('client_connection_check_interval', '5s', true);
exception when others then null; -- not every system can
end $$
"""
"""The stage has no statistics, and a large table that was never analysed none either: the planner
guesses, and a wrong guess costs a hundredfold. So the table is looked into row by row, through an
index, where it says `lateral … offset 0`, which nothing else can do than a nested loop, and every
other join hashes the stage. ANALYZE of the stage instead costs 150 ms a group (20 %).

The search_path is for the row trigger of matomo-postgres, which looks for its partitions there; the
check ends a statement whose client was killed, so that its locks go."""

BY_KEY = "set local enable_nestloop = on; set local enable_hashjoin = off"
AS_BEFORE = "set local enable_nestloop = off; set local enable_hashjoin = on"

WATERMARK = """
insert into public.visit_log_watermarks as w
  (table_id, idsite, begins_after, complete_through, verified_at, read_until)
values (%s, %s, %s, %s, %s, %s)
on conflict (table_id, idsite) do update set
  begins_after = least(w.begins_after, excluded.begins_after),
  complete_through = excluded.complete_through,
  verified_at = excluded.verified_at, read_until = excluded.read_until, updated_at = now()
"""


def merge_rows(cursor: psycopg.Cursor[Any], table: VisitTable, group: Group) -> Merged:
    """Bring the table's rows of the group's visits to what the group says. Needs a transaction."""
    if not (group.lines or group.whole_visits):
        return Merged(0, 0)
    settle(cursor, table)
    cursor.execute(visit_sql.make_stage(table))
    with cursor.copy(visit_sql.copy_stage()) as copy:
        for begin in range(0, len(group.lines), LINES_AT_ONCE):
            copy.write(b"".join(group.lines[begin : begin + LINES_AT_ONCE]))
    values = statement_values(group)
    removed = 0
    keys = cursor.execute(visit_sql.find_gone(table), values).fetchall()
    if table.partitioned and group.part_visits:
        keys += cursor.execute(visit_sql.find_moved(table), values).fetchall()
    if keys:
        cursor.execute(BY_KEY)
        arrays = [list(column) for column in zip(*keys, strict=True)]
        removed = cursor.execute(visit_sql.remove(table), arrays).rowcount
        cursor.execute(AS_BEFORE)
    return Merged(cursor.execute(visit_sql.upsert(table), values).rowcount, removed)


def settle(cursor: psycopg.Cursor[Any], table: VisitTable) -> None:
    """Limits and the planner's liberties for this transaction."""
    path = sql.Identifier(table.schema).as_string()
    seqscan = sql.SQL("off" if table.visits_indexed else "on")
    cursor.execute(sql.SQL(SETTINGS).format(seqscan=seqscan, path=path))


def statement_values(group: Group) -> dict[str, Any]:
    """The parameters of the statements in visit_sql."""
    days = sorted(group.days)
    return {
        "sites": [site for site, _ in group.whole_visits],
        "visits": [visit for _, visit in group.whole_visits],
        "parts": [visit for _, visit in group.part_visits],
        "first": _midnight(days[0] - NEAR) if days else "-infinity",
        "middle": _midnight(days[0]) if days else "epoch",
        "last": _midnight(days[-1] + NEAR) if days else "infinity",
    }


def write_watermarks(
    cursor: psycopg.Cursor[Any], table_id: int, watermarks: Mapping[int, Watermark]
) -> None:
    """Remember how far each site is."""
    for site, mark in sorted(watermarks.items()):
        through = mark.complete_through
        values = (table_id, site, through, through, mark.verified_at, mark.read_until)
        cursor.execute(WATERMARK, values)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
