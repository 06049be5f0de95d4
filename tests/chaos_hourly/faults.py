"""Faults to plant in the functions of the migrations: each has to be found."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg


class Fault(NamedTuple):
    """In a function's source, `old` becomes `new`."""

    function: str
    old: str
    new: str


HOUR, DAY = "analytics_rollup_refresh_hour", "analytics_rollup_refresh_day"
MARKING, PIECES = "analytics_rollup_mark_changes", "analytics_pieces"
RETURNS = "analytics_rollup_refresh_returns"

FAULTS = {
    "two refreshes count one hour": Fault(
        HOUR, "or not pg_try_advisory_xact_lock(", "or false and not pg_try_advisory_xact_lock("
    ),
    "two refreshes count one day": Fault(
        DAY, "or not pg_try_advisory_xact_lock(", "or false and not pg_try_advisory_xact_lock("
    ),
    "marks go after the count": Fault(
        HOUR,
        "return true;\nend",
        "delete from public.analytics_rollup_dirty where hour_bucket = in_hour; return true;\nend",
    ),
    "a mark on its way out is enough": Fault(
        HOUR,
        "and now() < public.analytics_day_start(d.day + 1, touched.zone) - interval '1 hour'",
        "",
    ),
    "a day is counted from stale hours": Fault(
        DAY, "and (d.project_id is null or d.project_id = w.project))", "and false)"
    ),
    "a zone changes under a day": Fault(
        DAY,
        "not pg_try_advisory_xact_lock_shared",
        "false and not pg_try_advisory_xact_lock_shared",
    ),
    "a zone changes under an hour": Fault(
        HOUR,
        "not pg_try_advisory_xact_lock_shared",
        "false and not pg_try_advisory_xact_lock_shared",
    ),
    "a zone does not wait": Fault(
        "analytics_rollup_zone_changed", "perform pg_advisory_xact_lock(72062024, 0);", ""
    ),
    "quarters look the same": Fault(HOUR, "(label is null)::int", "(label is null)::int - quarter"),
    "labels look the same": Fault(HOUR, "coalesce(label, '')", "''"),
    "NULL is an empty label": Fault(HOUR, "4 * (label is null)::int", "0"),
    "groups never go": Fault(HOUR, "where f.project is null and h.hour_bucket = $1", "where false"),
    "groups of a day never go": Fault(
        DAY,
        "from stored s left join fresh f on {{same_as_fresh}}\n      where f.project is null",
        "from stored s left join fresh f on {{same_as_fresh}}\n      where false",
    ),
    "readers trust stale days": Fault(
        PIECES, "where m.day = d.day and m.project_id = in_project", "where false"
    ),
    "readers trust stale hours": Fault(
        PIECES, "(d.project_id is null or d.project_id = in_project)", "false"
    ),
    "readers forget hours of all projects": Fault(
        PIECES, "(d.project_id is null or d.project_id = in_project)", "d.project_id = in_project"
    ),
    "readers trust stale returns": Fault(
        PIECES, "r.day between min(p.day) and max(p.day)", "false"
    ),
    "returns begin a day late": Fault(RETURNS, "gap <= 30", "gap <= 29"),
    "updates mark only where events go": Fault(
        MARKING,
        "from old_rows where public.analytics_counts(created_at, project_id::text)\n      union",
        "from old_rows where false\n      union",
    ),
    "updates mark only where events were": Fault(
        MARKING,
        "from new_rows where public.analytics_counts(created_at, project_id::text)\n    ), few",
        "from new_rows where false\n    ), few",
    ),
    "large statements mark nothing": Fault(
        MARKING,
        "select distinct hour, null from touched, few where not yes",
        "select null::timestamptz, null where false",
    ),
    "what is marked already is not marked again": Fault(
        MARKING,
        "select hour, project from touched, few where yes",
        "select hour, project from touched, few where yes and not exists (select from "
        "public.analytics_rollup_dirty d where d.hour_bucket = hour and d.project_id = project)",
    ),
    "truncation marks nothing": Fault(MARKING, "perform public.analytics_rollup_mark();", "null;"),
    "any isolation will do": Fault(
        "analytics_rollup_check_isolation", "<> 'read committed'", "= ''"
    ),
    "days begin at the second midnight": Fault(
        "analytics_day_start", "least(t.first, t.midnight)", "t.midnight"
    ),
}


def plant(url: str, name: str) -> None:
    """Change one function of a database.

    Raises:
        ValueError: the function no longer holds what the fault replaces.
    """
    fault = FAULTS[name]
    with psycopg.connect(url, autocommit=True) as connection:
        source = _source(connection, fault.function)
        if fault.old not in source:
            raise ValueError(f"{fault.function} does not hold {fault.old!r}")
        connection.execute(source.replace(fault.old, fault.new).encode())


def _source(connection: psycopg.Connection[Any], function: str) -> str:
    query = "select pg_get_functiondef(oid) from pg_proc where proname = %s"
    row = connection.execute(query, (function,)).fetchone()
    if row is None:
        raise ValueError(f"no function {function}")
    return str(row[0])
