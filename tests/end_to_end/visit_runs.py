"""Imports of the visit log at a time of the test's choosing, and what the table must hold then.

Most runs happen in this process: `jobs.visits.import_visits` with the clock of the sandbox's world.
What is expected comes from the sandbox's own visits, by another way than the program's.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import cli
from config import examine_settings
from jobs.alerts import Alerts
from jobs.run_failures import CannotRun
from jobs.visits import import_visits
from logs import TextFormatter
from sandbox import Sandbox, World
from storage.errors import DatabaseError
from storage.visit_columns import STAGE_COLUMNS
from tests.integration.tables import execute, rows

COULD_NOT_RUN = 2


@dataclass
class Clock:
    """The time of the sandbox and of the runs against it."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def set(self, text: str) -> None:
        """`2026-11-20 12:00`, in UTC."""
        self.now = utc(text)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    """Exit status and everything that was printed."""

    status: int
    out: str

    def __str__(self) -> str:
        return f"exit {self.status}\n{self.out}"


class _Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@dataclass
class VisitRuns:
    """Runs `aggregator.py visits` in this process. Secrets are not blanked out of `out` here: they
    must not get that far."""

    sandbox: Sandbox
    clock: Clock
    database_url: str
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **variables: str) -> Ran:
        """One import at the clock's time. `FAILED` begins the line of one that could not run."""
        environment = {
            "DATABASE_URL": self.database_url,
            "HTTP_ATTEMPTS": "1",
            "RESULTPERPAGE": "7",
            "INITIAL_OFFSET": "0",
            **self.sandbox.environment(),
            **self.variables,
            **variables,
        }
        settings, problems = examine_settings(environment, None, ("postgres", "visit log"))
        assert not problems, problems
        wanted = cli.parse_arguments(["visits", *arguments])
        alerts = Alerts(settings, "visits", self.clock.now, memory=Path("/dev/null"))
        with collected_log() as lines:
            try:
                status = import_visits(wanted, settings, self.clock.now, alerts)
            except (CannotRun, DatabaseError) as error:
                status = COULD_NOT_RUN
                lines.append(f"FAILED {error.message} -> {error.mend}")
        return Ran(status, "\n".join(lines))

    def whole(self, *arguments: str, **variables: str) -> Ran:
        """A run that must be complete."""
        done = self.run(*arguments, **variables)
        assert done.status == 0, done
        return done


@contextmanager
def collected_log() -> Iterator[list[str]]:
    handler, log = _Collected(), logging.getLogger("aggregator")
    level, log.propagate = log.level, False
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        log.removeHandler(handler)
        log.propagate = True
        log.setLevel(level)


@contextmanager
def open_runs(database_url: str, world: World, now: str) -> Iterator[VisitRuns]:
    """The world's sandbox at this time, and runs against it into a migrated database."""
    clock = Clock(utc(now))
    with Sandbox(replace(world, now=clock)) as sandbox:
        yield VisitRuns(sandbox, clock, database_url)


Row = tuple[Any, ...]
COLUMNS = ", ".join(STAGE_COLUMNS)


def truth(
    sandbox: Sandbox, sites: Iterable[int], days: Iterable[date]
) -> dict[str, dict[str, Any]]:
    """What must be stored of these days: by action_id, its columns; from the sandbox's visits."""
    return {
        row["action_id"]: row
        for site, day in itertools.product(sites, days)
        for visit in sandbox.visit_log.visits(site, day)
        for row in _rows_of(visit)
    }


def _rows_of(visit: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rules of facts/visits.md, part 1, 5, as far as the sandbox's values need them."""
    for index, action in enumerate(visit["actionDetails"]):
        names = [f"dimension{n}" for n in range(1, 11)]
        dimensions = {k: action.get(k) or visit.get(k) or None for k in names}
        variables = {
            str(value[f"customVariable{scope}Name{n}"]): value[f"customVariable{scope}Value{n}"]
            for n, value in action.get("customVariables", {}).items()
            for scope in ("", "Page")
            if f"customVariable{scope}Name{n}" in value
        }
        yield {
            "action_id": f"{visit['idVisit']}_{index}",
            "action_timestamp": datetime.fromtimestamp(action["timestamp"], UTC),
            "action_type": str(action["type"]),
            "action_eventcategory": action.get("eventCategory", ""),
            "action_eventaction": action.get("eventAction", ""),
            "action_eventname": action.get("eventName", ""),
            "action_eventvalue": Decimal(str(action.get("eventValue", 0))),
            "action_timespent": str(action.get("timeSpent", 0)),
            "usercustomproperties": variables,
            "usercustomdimensions": {k: v for k, v in dimensions.items() if v},
            **dimensions,
            "action_url": action.get("url"),
            "sitesearchkeyword": action.get("siteSearchKeyword"),
            "action_title": action["title"],
            "idsite": str(visit["idSite"]),
            "idvisit": str(visit["idVisit"]),
            "actions": str(visit["actions"]),
            "country": visit["country"],
            "region": visit["region"],
            "city": visit["city"],
            "operatingsystemname": visit["operatingSystemName"],
            "devicemodel": visit["deviceModel"],
            "devicebrand": visit["deviceBrand"],
            "visitduration": str(visit["visitDuration"]),
            "dayssincefirstvisit": str(visit["daysSinceFirstVisit"]),
            "visitortype": visit["visitorType"],
            "sitename": visit["siteName"],
            "userid": visit["userId"],
            "serverdateprettyfirstaction": date.fromtimestamp(visit["firstActionTimestamp"]),
            "visitorid": visit["visitorId"],
            "referrertype": visit["referrerType"],
            "referrername": visit["referrerName"],
            "resolution": visit["resolution"],
            "experiments": visit.get("experiments"),
        }


def stored(url: str, table: str = "matomo", where: str = "true") -> dict[str, dict[str, Any]]:
    """The rows of the table, as `truth` has them; none may be there twice."""
    found = rows(url, f"select {COLUMNS} from {table} where {where}")
    by_id = {row[0]: dict(zip(STAGE_COLUMNS, row, strict=True)) for row in found}
    assert len(by_id) == len(found), "an action is stored twice"
    return by_id


def differences(
    is_there: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """The first few differences in words: an assertion over thousands of rows says too much."""
    found = [f"missing: {key}" for key in expected.keys() - is_there.keys()]
    found += [f"should not be there: {key}" for key in is_there.keys() - expected.keys()]
    found += [
        f"{key} {column}: {is_there[key][column]!r}, not {value!r}"
        for key, row in expected.items()
        if key in is_there and is_there[key] != row
        for column, value in row.items()
        if is_there[key][column] != value
    ]
    return found[:10]


def different_rows(url: str, one: str, other: str) -> int:
    """Rows of either table that the other does not hold with the same 43 values."""
    columns = ", ".join(
        f"{column}::text" if column in ("usercustomproperties", "usercustomdimensions") else column
        for column in STAGE_COLUMNS
    )
    one, other = (f"select {columns} from {table}" for table in (one, other))
    query = (
        f"select count(*) from (({one} except all {other}) union all ({other} except all {one})) d"
    )
    [(number,)] = rows(url, query)
    return int(number)


def versions(url: str, table: str = "matomo") -> set[Row]:
    """Which transaction wrote each row last."""
    return set(rows(url, f"select action_id, xmin::text from {table}"))


def watermarks(url: str, table: str = "matomo") -> dict[int, date]:
    """The last complete day of each site."""
    query = (
        "select idsite, complete_through from public.visit_log_watermarks w "
        "join public.visit_log_tables t on t.id = w.table_id where t.table_name = %s"
    )
    return dict(rows(url, query, table))


def last_run(url: str) -> dict[str, Any]:
    """The newest row of the run history."""
    columns = "job, status, window_from, window_to, counts, failures"
    query = f"select {columns} from public.aggregator_runs order by id desc limit 1"
    [found] = rows(url, query)
    return dict(zip(columns.split(", "), found, strict=True))


def forget(url: str, table: str = "matomo") -> None:
    """An empty table of which nothing is known: cheaper than a new one with its indexes."""
    execute(url, f"delete from {table}; delete from public.visit_log_tables")


def asking_for(first: date, last: date | None = None) -> list[str]:
    """The options that ask for these days."""
    return ["--from", str(first), "--to", str(last or first)]
