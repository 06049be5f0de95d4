"""Doctor's look at the visit log: its table, what is remembered of it, and how far each site is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from db import Database, open_visit_log
from fetchers.errors import FetchError, outcome_of
from fetchers.matomo_visits import MatomoSite, fetch_sites
from jobs.findings import ADVICE, FAIL, OK, Finding
from jobs.run_failures import CannotRun
from jobs.sources import matomo_server
from jobs.visits_plan import CLOSES_AFTER, choose_sites
from models import Watermark
from storage.errors import DatabaseError, MissingRelation
from storage.visit_log import Remembered
from storage.visit_table import VisitTable
from summary import count

if TYPE_CHECKING:
    from jobs.doctor import Examination

AREA = "visits"
BEHIND = timedelta(days=2)
"""A site whose last complete day ended longer ago has missed a night."""


def check_visit_log(seen: Examination) -> Iterator[Finding]:
    """Whether an import of the visit log can work; nothing where none has been made. Read-only."""
    if not seen.settings.database_url:
        return  # the visit log is optional, and does not go through REST
    try:
        # A connection of its own: other checks use the common one at the same time.
        with open_visit_log(seen.settings) as (database, visit_log):
            table = visit_log.open_table(seen.settings.destination_table)
            remembered = visit_log.recall(table)
            if remembered is not None:
                marks = visit_log.read_watermarks(remembered.table_id)
                yield from _table_findings(table, remembered, seen)
                yield from _security(table, database, seen)
                yield from _site_findings(marks, seen)
                yield from _last_run(database)
    except MissingRelation:
        return  # nobody has asked for it yet
    except DatabaseError as error:
        yield Finding(FAIL, AREA, error.message, error.mend)


def _table_findings(
    table: VisitTable, remembered: Remembered, seen: Examination
) -> Iterator[Finding]:
    server = seen.settings.matomo_api_url
    if server and server != remembered.server:
        message = f"table {table} holds the visits of {remembered.server}, not of {server}"
        yield Finding(FAIL, AREA, message, "name another table in DESTINATION_TABLE")
    if table.missing:
        message = f"table {table} has no column {', '.join(table.missing)}: not stored"
        yield Finding(ADVICE, AREA, message, "alter table … add column … (docs/visit-log.md)")
    kind = "partitioned" if table.partitioned else "standard"
    times = "real UTC" if remembered.true_utc else "the sites' wall clock"
    yield Finding(OK, AREA, f"table {table} is {kind}, its times are {times}")


def _security(table: VisitTable, database: Database, seen: Examination) -> Iterator[Finding]:
    """Behind REST a table without row level security is everybody's who has the anon key."""
    if not seen.settings.supabase_url or table.schema != "public":
        return
    schema = database.read_schema()
    found = schema.tables.get(table.name) if schema else None
    if found and not found.row_level_security:
        message = f"table {table} has no row level security: any API key reads its visits"
        yield Finding(FAIL, AREA, message, f"alter table {table} enable row level security")


def _site_findings(marks: Mapping[int, Watermark], seen: Examination) -> Iterator[Finding]:
    if not (seen.settings.matomo_api_url and seen.settings.matomo_api_token):
        return
    server = matomo_server(seen.settings)
    known = outcome_of(partial(fetch_sites, server, seen.http))
    if isinstance(known, FetchError):
        return  # check_matomo says so
    try:
        chosen, failures = choose_sites(known, seen.settings.visit_log_sites)
    except CannotRun as error:
        yield Finding(FAIL, AREA, error.message, error.mend)
        return
    for failure in failures:
        yield Finding(
            FAIL, AREA, f"Matomo site {failure.sites[0]}: {failure.message}", failure.mend
        )
    yield from _behind({site.id: site for site in chosen}, marks, seen)


def _behind(
    chosen: Mapping[int, MatomoSite], marks: Mapping[int, Watermark], seen: Examination
) -> Iterator[Finding]:
    """Sites whose last complete day is not yesterday's, by that day."""
    by_day: dict[date, list[int]] = defaultdict(list)
    for number, site in chosen.items():
        if number in marks:
            closed = (seen.now.astimezone(site.zone) - CLOSES_AFTER - BEHIND).date()
            if marks[number].complete_through < closed:
                by_day[marks[number].complete_through].append(number)
    for day, numbers in sorted(by_day.items()):
        named = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
        message = f"{count(len(numbers), 'Matomo site')} ({named}) complete through {day} only"
        yield Finding(ADVICE, AREA, message, "aggregator.py visits; its failures tell why")
    well = len(chosen) - sum(map(len, by_day.values())) - len(chosen.keys() - marks.keys())
    if well:
        yield Finding(OK, AREA, f"{count(well, 'Matomo site')} complete through the last days")
    if fresh := chosen.keys() - marks.keys():
        yield Finding(OK, AREA, f"{count(len(fresh), 'Matomo site')} not imported yet")


def _last_run(database: Database) -> Iterator[Finding]:
    runs = database.read_runs(1, job="visits", failures=False)
    if runs and runs[0].status not in ("complete", "running"):
        message = f"the last import, {runs[0].started_at:%F %H:%M}, was {runs[0].status}"
        yield Finding(ADVICE, AREA, message, "aggregator.py runs --failed")
