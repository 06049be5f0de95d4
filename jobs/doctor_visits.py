"""Doctor's look at the visit log: its table, what is remembered of it, and how far each site is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from config import Settings
from db import Database, open_visit_log
from fetchers.errors import FetchError, outcome_of
from fetchers.matomo_visits import MatomoSite, fetch_sites
from jobs.findings import ADVICE, FAIL, OK, Finding
from jobs.run_failures import CannotRun
from jobs.sources import matomo_server
from jobs.visits_plan import CLOSES_AFTER, choose_sites
from models import Watermark
from storage.errors import DatabaseError, MissingRelation
from storage.visit_log import Remembered, VisitLog
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
    destination = seen.settings.destination_table
    try:
        # A connection of its own: other checks use the common one at the same time.
        with open_visit_log(seen.settings) as (database, visit_log):
            table = visit_log.open_table(destination)
            remembered = visit_log.recall(table)
            if remembered is not None:
                yield from _table_findings(table, remembered, seen)
                yield from _open_findings(table, visit_log)
                marks = visit_log.read_watermarks(remembered.table_id) if remembered.filled else {}
                yield from _site_findings(marks, seen)
                yield from _last_run(database)
    except MissingRelation:
        if destination != Settings().destination_table:
            message = f"there is no table {destination} (DESTINATION_TABLE)"
            yield Finding(ADVICE, AREA, message, "the next import makes it: is it spelled so?")
    except DatabaseError as error:
        yield Finding(FAIL, AREA, error.message, error.mend)


def _table_findings(
    table: VisitTable, remembered: Remembered, seen: Examination
) -> Iterator[Finding]:
    server = seen.settings.matomo_api_url
    if server and remembered.filled and server != remembered.server:
        message = f"table {table} holds the visits of {remembered.server}, not of {server}"
        yield Finding(FAIL, AREA, message, "name another table in DESTINATION_TABLE")
    if table.missing:
        message = f"table {table} has no {', '.join(table.missing)}: not stored"
        yield Finding(ADVICE, AREA, message, table.add_missing)
    if not remembered.filled:
        message = f"table {table} is empty, or was made anew"
        yield Finding(ADVICE, AREA, message, "the next import begins where the first one began")
        return
    kind = "partitioned" if table.partitioned else "standard"
    times = "real UTC" if remembered.true_utc else "the sites' wall clock"
    yield Finding(OK, AREA, f"table {table} is {kind}, its times are {times}")


def _open_findings(table: VisitTable, visit_log: VisitLog) -> Iterator[Finding]:
    """Behind REST a table without row level security is everybody's who has the anon key."""
    relations = visit_log.open_to_anybody(table)
    if relations:
        shown = ", ".join(relations[:3]) + (" …" if len(relations) > 3 else "")
        message = f"any API key reads the visits in {shown}: no row level security"
        mend = "; ".join(f"alter table {name} enable row level security" for name in relations[:3])
        yield Finding(FAIL, AREA, message, f"{mend}{' …' if len(relations) > 3 else ''}")


def _site_findings(marks: Mapping[int, Watermark], seen: Examination) -> Iterator[Finding]:
    if not (seen.settings.matomo_api_url and seen.settings.matomo_api_token):
        return
    server = matomo_server(seen.settings)
    known = outcome_of(partial(fetch_sites, server, seen.http))
    if isinstance(known, FetchError):
        return  # check_matomo says so
    try:
        chosen, failures = choose_sites(known[0], seen.settings.visit_log_sites)
    except CannotRun as error:
        yield Finding(FAIL, AREA, error.message, error.mend)
        return
    for failure in failures:
        yield Finding(
            FAIL, AREA, f"Matomo site {failure.sites[0]}: {failure.message}", failure.mend
        )
    if marks:
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
        yield Finding(FAIL, AREA, message, "aggregator.py visits; its failures tell why")
    well = len(chosen) - sum(map(len, by_day.values())) - len(chosen.keys() - marks.keys())
    if well:
        yield Finding(OK, AREA, f"{count(well, 'Matomo site')} complete through the last days")
    if gone := sorted(marks.keys() - chosen.keys()):
        named = ", ".join(map(str, gone))
        message = f"Matomo shows these sites of the table no more: {named}"
        yield Finding(ADVICE, AREA, message, "deleted, or no 'view' access any more?")
    if fresh := chosen.keys() - marks.keys():
        yield Finding(OK, AREA, f"{count(len(fresh), 'Matomo site')} not imported yet")


def _last_run(database: Database) -> Iterator[Finding]:
    runs = database.read_runs(1, job="visits", failures=False)
    if runs and runs[0].status not in ("complete", "running"):
        message = f"the last import ({runs[0].started_at:%F %H:%M}) ended {runs[0].status}"
        yield Finding(ADVICE, AREA, message, "aggregator.py runs --failed")
