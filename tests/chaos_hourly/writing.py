"""What writers do: every kind of statement that changes events, in transactions of every kind."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from tests.chaos_hourly.events import COLUMNS, PROJECTS, QUIET, ZONES, Chance, NewEvent

MOST_EVENTS = 12_000
MANY_PROJECTS, MANY_HOURS = 900, 6
"""More than 5,000 pairs: such a statement marks its hours for every project."""

INSERT = f"insert into analytics_events ({COLUMNS}) values (%s, %s, %s, %s, %s, %s)"
INSERT_MANY = f"""
insert into analytics_events ({COLUMNS})
select * from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
"""
SOME = """
where (id, created_at) in (
  select id, created_at from analytics_events
  where project_id = %(project)s and created_at >= %(moment)s order by created_at limit %(number)s
)
"""
UPSERT = f"""
insert into analytics_events (id, {COLUMNS})
select id, project_id, visitor_id, session_id, event_type, event_label, created_at
from analytics_events {SOME}
union all
select nextval('analytics_events_id_seq'), %(project)s, %(person)s, %(person)s, %(type)s,
  %(label)s, %(moment)s
on conflict (id, created_at) do update set event_label = %(label)s, visitor_id = %(person)s
"""
ANEW = f"""
with gone as (delete from analytics_events {SOME} returning {COLUMNS})
insert into analytics_events ({COLUMNS}) select * from gone
"""
MANY = f"""
insert into analytics_events ({COLUMNS})
select 'many-' || n, 'v' || n, 's', 'many', null, %s::timestamptz + h * interval '1 hour'
from generate_series(1, {MANY_PROJECTS}) n, generate_series(1, {MANY_HOURS}) h
"""
TRIM = f"""
delete from analytics_events where id <= (select max(id) - {MOST_EVENTS} from analytics_events)
"""
SET = "update analytics_events set"
CHANGES = (
    (4, f"{SET} visitor_id = %(person)s {SOME}"),
    (2, f"{SET} session_id = %(person)s {SOME}"),
    (4, f"{SET} event_label = %(label)s {SOME}"),
    (2, f"{SET} event_type = %(type)s {SOME}"),
    (3, f"{SET} project_id = %(other)s {SOME}"),
    (3, f"{SET} created_at = created_at + %(quarters)s * interval '15 min' {SOME}"),
    (3, f"{SET} created_at = created_at + %(hours)s * interval '1 hour' {SOME}"),
    (2, f"{SET} created_at = created_at + %(months)s * interval '1 month' {SOME}"),
    (1, f"{SET} event_label = event_label {SOME}"),
    (3, UPSERT),
    (3, ANEW),
    (5, f"delete from analytics_events {SOME}"),
    (3, "delete from analytics_events where project_id = %(project)s "
        "and created_at >= %(moment)s and created_at < %(moment)s + interval '1 hour'"),
    (1, "delete from analytics_events where project_id = %(project)s and visitor_id = %(person)s"),
)  # fmt: skip

Connection = psycopg.Connection[Any]
Act = Callable[[Connection, Chance], None]


class RolledBack(Exception):
    """Ends a transaction or a savepoint of a writer on purpose."""


def write(connection: Connection, chance: Chance, tally: Counter[str], patience: float) -> None:
    """One transaction: one to three acts; some wait before they end, up to `patience` seconds."""
    acts = [chance.any_of(ACTS) for _ in range(chance.choice((1, 1, 2, 3)))]
    older = chance.yes(0.1) and not REFUSED_IN_OLD_SNAPSHOTS & set(acts)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ if older else None
    try:
        with connection.transaction():
            for act in acts:
                _act(act, connection, chance)
            if chance.yes(0.12):
                time.sleep(chance.uniform(0.05, patience))
            if chance.yes(0.1):
                raise RolledBack
    except RolledBack:
        tally["rolled back"] += 1
        return
    tally.update(act.__name__.strip("_") for act in acts)


def _act(act: Act, connection: Connection, chance: Chance) -> None:
    if not chance.yes(0.1):
        act(connection, chance)
        return
    try:
        with connection.transaction():
            act(connection, chance)
            if chance.yes(0.5):
                raise RolledBack
    except RolledBack:
        pass


def insert_one(connection: Connection, chance: Chance) -> None:
    connection.execute(INSERT.encode(), chance.event())


def insert_many(connection: Connection, chance: Chance) -> None:
    events = chance.events(chance.choice((2, 10, 60)))
    connection.execute(INSERT_MANY.encode(), [list(column) for column in zip(*events, strict=True)])


def copy(connection: Connection, chance: Chance) -> None:
    copy_events(connection, chance.events(chance.choice((5, 100))))


def copy_events(connection: Connection, events: Sequence[NewEvent]) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy analytics_events ({COLUMNS}) from stdin".encode()) as rows,
    ):
        for event in events:
            rows.write_row(event)


def into_partition(connection: Connection, chance: Chance) -> None:
    """Insert, change or delete where only a partition is named."""
    event = chance.event()
    names = f"analytics_events_y{event.created_at:%Ym%m}", "analytics_events_default"
    found = connection.execute("select to_regclass(%s) is not null", (names[0],)).fetchone()
    partition = sql.Identifier(names[0] if found == (True,) else names[1])
    if chance.yes(0.6):
        statement = INSERT.replace("analytics_events", "{}", 1)
        connection.execute(sql.SQL(statement).format(partition), event)
        return
    some = " where project_id = %s and id %% 50 = %s"
    change = chance.choice(("update {} set event_label = 'direct'", "delete from {}")) + some
    parameters = (event.project_id, chance.randrange(50))
    connection.execute(sql.SQL(change).format(partition), parameters)


def change(connection: Connection, chance: Chance) -> None:
    parameters = {
        "project": chance.project(),
        "other": chance.project(),
        "moment": chance.moment(),
        "person": chance.choice(chance.events(1)[0][1:3]),
        "type": chance.event().event_type,
        "label": chance.event().event_label,
        "number": chance.choice((1, 1, 3, 20)),
        "quarters": chance.choice((-2, -1, 1, 2)),
        "hours": chance.choice((-30, -24, -1, 1, 24)),
        "months": chance.choice((-1, 1)),
    }
    connection.execute(chance.any_of(CHANGES).encode(), parameters)


def change_zone(connection: Connection, chance: Chance) -> None:
    project = chance.choice((*PROJECTS, QUIET))
    if chance.yes(0.15):
        query = "delete from analytics_project_zones where project_id = %s"
        connection.execute(query, (project,))
        return
    connection.execute(
        "insert into analytics_project_zones values (%s, %s) "
        "on conflict (project_id) do update set time_zone = excluded.time_zone",
        (project, chance.choice(ZONES)),
    )


def many_projects(connection: Connection, chance: Chance) -> None:
    connection.execute(MANY.encode(), (chance.moment(),))


def forget_many_projects(connection: Connection, chance: Chance) -> None:
    connection.execute("delete from analytics_events where event_type = 'many'")


def mark(connection: Connection, chance: Chance) -> None:
    if chance.yes(0.2):
        connection.execute("select analytics_rollup_mark()")
        return
    first = chance.moment()
    after = first + timedelta(hours=chance.uniform(0, 48))
    connection.execute("select analytics_rollup_mark(%s, %s)", (first, after))


def upkeep(connection: Connection, chance: Chance) -> None:
    connection.execute("select analytics_rollup_upkeep()")


def trim(connection: Connection, chance: Chance) -> None:
    connection.execute(TRIM.encode())


def truncate(connection: Connection, chance: Chance) -> None:
    connection.execute("truncate analytics_events")
    copy_events(connection, chance.events(1500))


ACTS: Sequence[tuple[float, Act]] = (
    (300, insert_one),
    (200, insert_many),
    (50, copy),
    (60, into_partition),
    (400, change),
    (12, change_zone),
    (2, many_projects),
    (2, forget_many_projects),
    (4, mark),
    (3, upkeep),
    (4, trim),
    (1, truncate),
)

REFUSED_IN_OLD_SNAPSHOTS = {change_zone, mark, truncate}
