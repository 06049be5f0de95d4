"""Visit logs for tests: tables as matomo-postgres 2.4.1 makes them, and rows as they come in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from models import Watermark
from storage.visit_columns import STAGE_COLUMNS
from storage.visit_log import Group
from tests.integration.tables import execute, rows

MONDAY = datetime(2026, 11, 16, 9, tzinfo=UTC)
SERVER = "https://matomo.example/"

COLUMNS = """
action_id text not null, idsite text, idvisit text, actions text, country text, region text,
city text, operatingsystemname text, devicemodel text, devicebrand text, visitduration text,
dayssincefirstvisit text, visitortype text, sitename text, userid text,
serverdateprettyfirstaction date, action_type text, action_eventcategory text,
action_eventaction text, action_eventname text, action_eventvalue numeric, action_timespent text,
action_timestamp timestamptz {not_null} default now(), usercustomproperties json,
usercustomdimensions json, dimension1 text, dimension2 text, dimension3 text, dimension4 text,
dimension5 text, dimension6 text, dimension7 text, dimension8 text, dimension9 text,
dimension10 text, action_url text, sitesearchkeyword text, action_title text, visitorid text,
referrertype text, referrername text"""
NEWER = ", resolution text, experiments jsonb"
INDEXED = {
    "idx_action_eventaction_matomo": "action_eventaction",
    "idx_action_eventcategory_matomo": "action_eventcategory",
    "idx_action_id": "action_id",
    "idx_action_timestamp_matomo": "action_timestamp",
    "idx_action_type_matomo": "action_type",
    "idx_actionurl": "action_url",
    **{f"idx_dimension{n}": f"dimension{n}" for n in range(1, 6)},
    "idx_idvisit_matomo": "idvisit",
    "idx_region": "region",
    "idx_userid": "userid",
    "idx_visitorid": "visitorid",
    "actions_day": "date(timezone('UTC'::text, action_timestamp))",
}
"""Name in the standard table, and what is indexed, as pg_indexes writes it."""

TRIGGER = """
create function create_weekly_partition_if_not_exists(p text, at timestamptz) returns void
language plpgsql as $$
declare
  starts timestamptz := date_trunc('week', at);
  name text := p || '_' || to_char(starts, 'IYYY') || 'w' || to_char(starts, 'IW');
begin
  if not exists (select from pg_tables
                 where tablename = name and schemaname = current_schema()) then
    execute format('create table %I partition of %I for values from (%L) to (%L)',
                   name, p, starts, starts + interval '1 week');
  end if;
exception when duplicate_table then null;
end $$;
create function {table}_partition_trigger() returns trigger language plpgsql as $$
begin
  perform create_weekly_partition_if_not_exists('{table}', new.action_timestamp);
  return new;
end $$;
create trigger {table}_auto_partition before insert on {table}
for each row execute function {table}_partition_trigger();
"""


def upstream_standard(table: str = "matomo", *, newer: bool = True) -> str:
    """What matomo-postgres's migrations run; without the columns of the last two if not newer."""
    return (
        f"create table {table} ({COLUMNS.format(not_null='')}{NEWER if newer else ''}, "
        f"constraint {table}_action_id_key unique (action_id));"
        + "".join(f"create index {name} on {table} ({of});" for name, of in INDEXED.items())
    )


def upstream_partitioned(table: str = "matomo_partitioned", *, trigger: bool = True) -> str:
    """The partitioned one, without any partition yet."""
    made = (
        f"create table {table} ({COLUMNS.format(not_null='not null')}{NEWER}, "
        f"constraint {table}_action_id_timestamp_unique unique (action_id, action_timestamp)) "
        f"partition by range (action_timestamp);"
        f"create index idx_idvisit_{table} on {table} (idvisit);"
    )
    return made + (TRIGGER.replace("{table}", table) if trigger else "")


def line(visit: int, action: int, **values: str) -> bytes:
    """One action as COPY text; what is not given is NULL."""
    at = MONDAY + timedelta(seconds=20 * action)
    row = {
        "action_id": f"{visit}_{action}",
        "action_timestamp": at.isoformat(),
        "idsite": "1",
        "idvisit": str(visit),
        "usercustomproperties": "{}",
        "usercustomdimensions": "{}",
        "action_type": "action",
        "experiments": "[]",
        **values,
    }
    return ("\t".join(row.get(column, r"\N") for column in STAGE_COLUMNS) + "\n").encode()


def group(
    lines: Iterable[bytes],
    whole: Iterable[int] = (),
    *,
    site: str = "1",
    days: Iterable[datetime] = (MONDAY,),
    watermarks: dict[int, Watermark] | None = None,
) -> Group:
    """These lines; `whole` are the visits that have no others."""
    wanted = list(lines)
    visits = [(site, str(visit)) for visit in whole]
    utc_days = {day.astimezone(UTC).date() for day in days}
    return Group(wanted, len(wanted), visits, utc_days, watermarks or {})


def stored(url: str, table: str, columns: str = "action_id") -> list[Any]:
    """Every row in the order of its id; single columns as such."""
    found = rows(url, f"select {columns} from {table} order by action_id, action_timestamp")
    return [row[0] if len(row) == 1 else row for row in found]


def versions(url: str, table: str) -> list[tuple[Any, ...]]:
    """Where each row lies and what wrote it: a rewritten one has others."""
    return rows(
        url, f"select action_id, ctid::text, xmin::text, xmax::text from {table} order by 1, 2"
    )


def bounds(url: str, table: str) -> dict[str, tuple[datetime, datetime]]:
    """From when to when each partition holds rows, by its name, oldest first."""
    found = rows(
        url,
        "select c.relname, b[1]::timestamptz, b[2]::timestamptz from pg_inherits i "
        "join pg_class c on c.oid = i.inhrelid, regexp_match(pg_get_expr(c.relpartbound, c.oid), "
        "'FROM \\(''(.*)''\\) TO \\(''(.*)''\\)') b where i.inhparent = %s::regclass order by 2",
        table,
    )
    return {name: (lower.astimezone(UTC), upper.astimezone(UTC)) for name, lower, upper in found}


def create(url: str, statements: str, zone: str = "UTC") -> None:
    """Run SQL as a session in this time zone, as matomo-postgres did when it made the table."""
    execute(url, f"set timezone = '{zone}'; {statements}")
