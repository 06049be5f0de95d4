"""What the visit log's table is like: found by name, and looked at before anything is written.

It may be ours, or matomo-postgres's of any age, and stays as it is: whatever cannot be written to
is refused here with what mends it, not in the middle of an import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from storage.errors import DatabaseRefused, MissingRelation
from storage.visit_columns import STAGE_COLUMNS, type_of

LONGEST_NAME = 63  # Postgres cuts longer ones, in bytes
INDISPENSABLE = ("action_id", "action_timestamp", "idsite", "idvisit")
WRITES = ("select", "insert", "update", "delete")
OTHER_TABLE = "name another table in DESTINATION_TABLE"


@dataclass(frozen=True)
class VisitTable:
    """The table that visits are stored in.

    columns: those of the 43 that it has, in the order of STAGE_COLUMNS. visits_indexed: whether the
    rows of one visit are found by an index.
    """

    schema: str
    name: str
    oid: int
    partitioned: bool
    columns: tuple[str, ...]
    visits_indexed: bool = True

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of the 43 columns that an older table lacks: they are not stored."""
        return tuple(column for column in STAGE_COLUMNS if column not in self.columns)

    @property
    def add_missing(self) -> str:
        """The SQL that adds them."""
        adds = ", ".join(f"add column {column} {type_of(column)}" for column in self.missing)
        return f"alter table {self} {adds}"

    @property
    def key(self) -> tuple[str, ...]:
        """What is unique together."""
        return ("action_id", "action_timestamp") if self.partitioned else ("action_id",)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def split_name(destination: str) -> tuple[str | None, str]:
    """(schema or None, table) of DESTINATION_TABLE, as matomo-postgres reads it.

    `schema.table` is a qualified name; anything else is one identifier, whatever is in it.

    Raises:
        DatabaseRefused: it can be no table's name.
    """
    schema, dot, name = destination.partition(".")
    parts = (schema, name) if dot and schema and name and "." not in name else (None, destination)
    for part in parts:
        if part is not None and (not 0 < len(part.encode()) <= LONGEST_NAME or "\0" in part):
            raise DatabaseRefused(
                f"a table cannot have the name {destination!r}",
                mend=f"{OTHER_TABLE}, of at most {LONGEST_NAME} bytes",
            )
    return parts


FIND = """
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind as kind,
  row_security_active(c.oid) as hidden, p.partstrat as strategy, p.partnatts as parts,
  (select a.attname from pg_attribute a
   where a.attrelid = c.oid and a.attnum = p.partattrs[0]) as divided_by,
  has_schema_privilege(n.oid, 'usage') as reachable,
  array(select w from unnest(%(writes)s::text[]) w
        where not has_table_privilege(c.oid, w)) as denied,
  array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          and a.attgenerated = '' and a.attidentity <> 'a') as columns,
  array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          and a.attnotnull and not a.atthasdef and a.attidentity = '') as wanted
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_partitioned_table p on p.partrelid = c.oid
where c.oid = case when %(schema)s::text is null then to_regclass(quote_ident(%(name)s))
  else to_regclass(format('%%I.%%I', %(schema)s::text, %(name)s)) end
"""
KEYS = """
select format('%%I.%%I', n.nspname, x.relname) as index, i.indisunique as is_unique,
  i.indimmediate as is_immediate, i.indisvalid and i.indisready as is_valid,
  array(select a.attname::text from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality k(n, o)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n order by o) as columns
from pg_index i
join pg_class x on x.oid = i.indexrelid join pg_namespace n on n.oid = x.relnamespace
where i.indrelid = %s::bigint::oid and i.indpred is null and i.indexprs is null
"""


def find_table(connection: psycopg.Connection[Any], destination: str) -> VisitTable:
    """The table that DESTINATION_TABLE names, through the connection's search_path.

    Raises:
        MissingRelation: there is none. DatabaseRefused: visits cannot be stored in it.
    """
    schema, name = split_name(destination)
    with connection.cursor(row_factory=dict_row) as cursor:
        asked = {"schema": schema, "name": name, "writes": list(WRITES)}
        found = cursor.execute(FIND, asked).fetchone()
        if found is None:
            raise MissingRelation(
                f"there is no table {destination!r}",
                mend="correct DESTINATION_TABLE or the search_path of DATABASE_URL",
            )
        indexes = cursor.execute(KEYS, (found["oid"],)).fetchall()
    table = VisitTable(
        schema=found["schema"],
        name=found["name"],
        oid=found["oid"],
        partitioned=found["kind"] == "p",
        columns=tuple(column for column in STAGE_COLUMNS if column in found["columns"]),
        visits_indexed=any(i["columns"][:1] == ["idvisit"] and i["is_valid"] for i in indexes),
    )
    _check_kind(table, found)
    _check_columns(table, found["wanted"])
    _check_key(table, indexes)
    _check_rights(table, found)
    return table


def _check_kind(table: VisitTable, found: dict[str, Any]) -> None:
    if found["kind"] not in ("r", "p"):
        raise DatabaseRefused(
            f"{table} is no table but a view or a foreign table",
            mend="name the table itself in DESTINATION_TABLE",
        )
    by_time = (found["strategy"], found["parts"], found["divided_by"])
    if table.partitioned and by_time != ("r", 1, "action_timestamp"):
        raise DatabaseRefused(
            f"{table} is not partitioned by range of action_timestamp", mend=OTHER_TABLE
        )


def _check_columns(table: VisitTable, wanted: list[str]) -> None:
    lacking = [column for column in INDISPENSABLE if column not in table.columns]
    if lacking:
        raise DatabaseRefused(
            f"{table} lacks the columns {', '.join(lacking)}: it is no visit log", mend=OTHER_TABLE
        )
    unknown = [column for column in wanted if column not in table.columns]
    if unknown:
        raise DatabaseRefused(
            f"{table} wants a value for {', '.join(unknown)}, of which nothing is known",
            mend=f"give that column a default, or {OTHER_TABLE}",
        )


def _check_key(table: VisitTable, indexes: list[dict[str, Any]]) -> None:
    """Rows are found again by their key: without it every run would double them."""
    keys = [i for i in indexes if i["is_unique"] and sorted(i["columns"]) == sorted(table.key)]
    if any(key["is_valid"] and key["is_immediate"] for key in keys):
        return
    key = ", ".join(table.key)
    add = f"alter table {table.identifier.as_string()} add unique ({key})"
    for broken in keys:
        if broken["is_valid"]:
            reason, mend = "deferrable", f"{add}; a deferrable one cannot serve"
        elif table.partitioned:
            reason, mend = "invalid", f"drop index {broken['index']}; then: {add}"
        else:
            reason, mend = "invalid", f"reindex index {broken['index']}"
        raise DatabaseRefused(f"{table}: its unique index on ({key}) is {reason}", mend=mend)
    raise DatabaseRefused(
        f"{table} has no unique index on ({key})", mend=f"remove doubled rows, then: {add}"
    )


def _check_rights(table: VisitTable, found: dict[str, Any]) -> None:
    grant = f"grant {', '.join(WRITES)} on {table.identifier.as_string()} to the role"
    if not found["reachable"] or found["denied"]:
        denied = ", ".join(found["denied"]) or "usage of its schema"
        raise DatabaseRefused(
            f"the role of DATABASE_URL may not {denied} in {table}",
            mend=f"{grant}, or connect as the role that owns it",
        )
    if found["hidden"]:
        raise DatabaseRefused(
            f"row level security hides rows of {table} from the role of DATABASE_URL",
            mend="connect as the role that owns the table",
        )
