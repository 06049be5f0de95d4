"""The statements that bring a group of visits from COPY text into the table."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from storage.visit_columns import STAGE_COLUMNS, type_of
from storage.visit_table import VisitTable

STAGE = sql.SQL("pg_temp.visit_stage")
AS_TEXT = ("json", "jsonb")
"""json has no equality."""

SAME_TIME = (
    " and (t.action_timestamp = new.action_timestamp "
    "or t.action_timestamp between new.action_timestamp and new.action_timestamp)"
)
"""Leads to one partition, and, unlike a plain equality, never to an index on the time: where
nothing is known of a table, the planner finds that as good as one on the action_id."""


def make_stage(table: VisitTable) -> sql.Composed:
    """A temporary table of all 43 columns, with the types that the table has them in."""
    columns = [
        sql.SQL("t.{}").format(sql.Identifier(column))
        if column in table.columns
        else sql.SQL("null::{} as {}").format(sql.SQL(type_of(column)), sql.Identifier(column))
        for column in STAGE_COLUMNS
    ]
    return sql.SQL(
        "create temp table visit_stage on commit drop as select {} from {} t with no data"
    ).format(_list(columns), table.identifier)


def copy_stage() -> sql.Composed:
    return sql.SQL("copy {} ({}) from stdin").format(STAGE, _names(STAGE_COLUMNS))


def upsert(table: VisitTable) -> sql.Composed:
    """Insert what is new and update what differs, in the order of the key.

    Unchanged rows are sorted out first, so that they are neither locked nor rewritten.
    """
    return sql.SQL(
        "insert into {table} as old ({columns}) "
        "select {fresh} from {stage} new left join lateral "
        "(select {columns} from {table} t where t.action_id = new.action_id{at}{near} offset 0) "
        "was on true "
        "where was.action_id is null or ({was}) is distinct from ({new}) "
        "order by {order} "
        "on conflict ({key}) do update set {sets} where ({old}) is distinct from ({excluded})"
    ).format(
        table=table.identifier,
        stage=STAGE,
        columns=_names(table.columns),
        fresh=_of("new", table.columns),
        at=sql.SQL(SAME_TIME if table.partitioned else ""),
        near=_near(table),
        was=_compared("was", table),
        new=_compared("new", table),
        order=_of("new", table.key),
        key=_names(table.key),
        sets=_list(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column))
            for column in table.columns
            if column not in table.key
        ),
        old=_compared("old", table),
        excluded=_compared("excluded", table),
    )


def find_gone(table: VisitTable) -> sql.Composed:
    """The keys of rows of whole visits that the stage does not hold.

    Without an index on idvisit all rows are read, once for all visits together.
    """
    one_by_one = "lateral " if table.visits_indexed else ""
    same_visit = " and t.idvisit = v.visit and t.idsite = v.site" if table.visits_indexed else ""
    return sql.SQL(
        "select {keys} from (select {keys} "
        "from unnest(%(sites)s::text[], %(visits)s::text[]) v(site, visit) "
        "join {one_by_one}(select {key}, t.idvisit, t.idsite "
        "from {table} t where true{near}{same_visit} offset 0) old "
        "on old.idvisit = v.visit and old.idsite = v.site offset 0) old "
        "where not exists (select from {stage} new where {same_key})"
    ).format(
        keys=_of("old", table.key),
        key=_of("t", table.key),
        table=table.identifier,
        stage=STAGE,
        one_by_one=sql.SQL(one_by_one),
        near=_near(table),
        same_visit=sql.SQL(same_visit),
        same_key=_same_key(table, "old", "new"),
    )


def find_moved(table: VisitTable) -> sql.Composed:
    """Of visits that may have more rows: the keys of rows that the stage holds under another time.

    In a partitioned table alone, where the time is part of the key.
    """
    return sql.SQL(
        "select {keys} from {stage} new join lateral (select {key} from {table} t "
        "where t.action_id = new.action_id{near} offset 0) old on true "
        "where new.idvisit = any(%(parts)s::text[]) "
        "and old.action_timestamp <> new.action_timestamp"
    ).format(
        keys=_of("old", table.key),
        key=_of("t", table.key),
        table=table.identifier,
        stage=STAGE,
        near=_near(table),
    )


def remove(table: VisitTable) -> sql.Composed:
    """Delete the rows of these keys, one array for each column of the key."""
    arrays = [sql.SQL("%s::{}[]").format(sql.SQL(type_of(column))) for column in table.key]
    return sql.SQL(
        "delete from {table} old using unnest({arrays}) gone({key}) where {same}"
    ).format(
        table=table.identifier,
        arrays=_list(arrays),
        key=_names(table.key),
        same=_same_key(table, "old", "gone"),
    )


def _near(table: VisitTable) -> sql.SQL:
    """Keeps the planner from looking into every partition.

    In two halves, because a single range could be taken for an index to be walked through for each
    visit; partitions are chosen by either form.
    """
    if not table.partitioned:
        return sql.SQL("")
    half = "(t.action_timestamp >= {}::timestamptz and t.action_timestamp < {}::timestamptz)"
    halves = (half.format("%(first)s", "%(middle)s"), half.format("%(middle)s", "%(last)s"))
    return sql.SQL(f" and ({' or '.join(halves)})")


def _same_key(table: VisitTable, one: str, other: str) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{0}.{2} = {1}.{2}").format(sql.SQL(one), sql.SQL(other), sql.Identifier(column))
        for column in table.key
    )


def _compared(alias: str, table: VisitTable) -> sql.Composed:
    return _list(
        sql.SQL("{}.{}{}").format(
            sql.SQL(alias),
            sql.Identifier(column),
            sql.SQL("::text" if type_of(column) in AS_TEXT else ""),
        )
        for column in table.columns
        if column not in table.key
    )


def _of(alias: str, columns: Iterable[str]) -> sql.Composed:
    return _list(sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(c)) for c in columns)


def _names(columns: Iterable[str]) -> sql.Composed:
    return _list(map(sql.Identifier, columns))


def _list(items: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(items)
