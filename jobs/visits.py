"""`aggregator.py visits`: Matomo's visit log into the table that matomo-postgres fills."""

from __future__ import annotations

import argparse
import itertools
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

from config import Settings
from db import open_visit_log
from exit_status import COMPLETE, INCOMPLETE, SIGNAL_BASE
from fetchers.errors import CredentialsError, FetchError, Throttled, interrupted, outcome_of
from fetchers.http import Http
from fetchers.matomo import MatomoServer, call, get_matomo_data
from fetchers.matomo_health import MatomoHealth
from fetchers.matomo_visits import SITES, DayOfSite, MatomoSite, fetch_sites
from jobs.alerts import Alerts
from jobs.progress import progress_bars
from jobs.recording import recorded_run, report_run
from jobs.run_failures import CannotRun, WrongRequest
from jobs.sources import matomo_server, open_http
from jobs.visits_day import Tools, mend_of, read_day
from jobs.visits_plan import (
    SOURCE,
    Request,
    SitePlan,
    check_dates,
    choose_sites,
    is_closed,
    plan_site,
    rounds,
)
from jobs.visits_progress import Watermarks
from jobs.visits_report import Tally, log_plan, summary_lines
from jobs.visits_store import Destination, Storing, quick_turns
from models import Failure, Window
from stopping import Stop, Stopped, stopped_by_signals
from storage.errors import DatabaseError, TableBusy
from storage.visit_log import Group, VisitLog
from storage.visit_table import VisitTable
from workers import Workers, interruptible

CLOCK_AHEAD = timedelta(minutes=5)

IN_FLIGHT = 4
"""Days read at once: a Matomo of two cores answers no faster beyond that (facts/matomo.md D)."""

LOCK_SECONDS = 150.0
"""A killed import's connection may hold the table's lock for as long as its last statement runs."""

GO_ON = "run it again: it goes on where it stopped; or raise RUN_DEADLINE"

log = logging.getLogger("aggregator.visits")


def import_visits(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Read each site's days from where the last run stopped, and store them.

    Returns:
        The exit status of shared contract.md.

    Raises:
        CannotRun, DatabaseError: before anything was read.
    """
    request = Request(arguments.first, arguments.last, settings, now)
    check_dates(request)
    stop = Stop(settings.run_deadline_seconds)
    server, http = matomo_server(settings), open_http(settings, stop)
    wanted = arguments.matomo_sites or settings.visit_log_sites
    with (
        stopped_by_signals(stop),
        open_visit_log(settings) as (database, visit_log),
        recorded_run(database, None, settings, alerts) as run,
    ):
        run.sources = (SOURCE,)
        run.nightly = not (arguments.matomo_sites or arguments.first or arguments.last)
        run.counts |= {"only_sites": len(arguments.matomo_sites)} if arguments.matomo_sites else {}
        destination = take_table(visit_log, settings, server, stop, true_utc=arguments.true_utc)
        found = find_sites(server, http, stop, wanted)
        run.failures += found.failures
        run.names = {site.id: f"{site.id} {site.name}" for site in found.sites}
        request = replace(request, now=earlier(now, found.time, server.host))
        plans, gone = make_plans(found.sites, destination, request)
        tally = Tally(plans, str(destination.table), gone if not wanted else [])
        if plans:
            run.window = tally.window
            log_plan(tally, true_utc=destination.true_utc)
            health = MatomoHealth(lambda: call(server, http, SITES))
            tools = Tools(server, http, health, settings.results_per_page, destination.true_utc)
            shown = arguments.log_format == "text" and not arguments.quiet
            with progress_bars(wanted=shown) as bars, quick_turns():
                tally.shown_on(bars)
                read_and_store(plans, destination, tools, tally, request.now)
            run.failures += [*tally.all_failures(), *unfinished(plans, tally, tools)]
        run.counts |= {"table": str(destination.table), **tally.counts()}
        run.summary = summary_lines(run, tally, request.now)
    report_run(run)
    if stop.signal is not None:
        return SIGNAL_BASE + stop.signal
    return INCOMPLETE if run.failures else COMPLETE


def take_table(
    visit_log: VisitLog, settings: Settings, server: MatomoServer, stop: Stop, *, true_utc: bool
) -> Destination:
    """The destination, made if it is not there, locked against other imports.

    Raises:
        CannotRun: another import holds it. DatabaseError: it is no table for this.
    """
    if visit_log.make_table(settings.destination_table, partitioned=settings.partitioned):
        log.warning("table %s made: there was none", settings.destination_table)
    table = visit_log.open_table(settings.destination_table)
    if table.missing:
        names = ", ".join(table.missing)
        log.warning("%s has no %s: not stored -> %s", table, names, table.add_missing)
    if not table.visits_indexed:
        log.warning(
            "%s has no index on idvisit, so each group reads all of it -> create index on %s "
            "(idvisit)",
            table,
            table,
        )
    _lock(visit_log, table, stop)
    claim = visit_log.claim(table, server.url, true_utc=true_utc or None)
    if claim.forgotten:
        log.warning("%s is empty, and was not: it is filled again from where it began", table)
    return Destination(visit_log, table, claim.table_id, claim.true_utc)


def _lock(visit_log: VisitLog, table: VisitTable, stop: Stop) -> None:
    waited = 0.0
    while True:
        try:
            return visit_log.lock(table, 1.0)
        except TableBusy as error:
            if waited == 0:
                log.info("another import into %s is under way: waiting", table)
            waited += 1.0
            if stop.is_set():
                raise stop.error() from None
            if waited >= LOCK_SECONDS:
                raise CannotRun(error.message, error.mend) from None


@dataclass(frozen=True, slots=True)
class Found:
    """What Matomo says of its sites. time: of its clock, None where it does not say."""

    sites: list[MatomoSite]
    failures: list[Failure]
    time: datetime | None = None


def find_sites(server: MatomoServer, http: Http, stop: Stop, wanted: Collection[int]) -> Found:
    """The sites to read; a Matomo that does not answer is a failure of all of them.

    Raises:
        CannotRun: the token may view no site.
    """
    try:
        answer = interruptible(partial(outcome_of, lambda: fetch_sites(server, http)), stop)
    except Stopped:
        answer = interrupted(stop, mend=GO_ON)
    if isinstance(answer, FetchError):
        return Found(
            [], [Failure(answer.kind, SOURCE, answer.message, mend_of(answer), tuple(wanted))]
        )
    return Found(*choose_sites(answer[0], wanted), answer[1])


def earlier(now: datetime, theirs: datetime | None, host: str) -> datetime:
    """The time to go by: a clock that is ahead would take days for closed that are not over."""
    if theirs is None or now - theirs < CLOCK_AHEAD:
        return now
    ahead = str(now - theirs).split(".")[0]
    log.warning("this machine's clock is %s ahead of %s: its time is taken", ahead, host)
    return theirs


def make_plans(
    sites: Sequence[MatomoSite], destination: Destination, request: Request
) -> tuple[list[SitePlan], list[int]]:
    """What to read of each site, and the sites of the table that Matomo shows no more.

    A site's first watermark is stored before anything is read: a first day that fails must not be
    forgotten.

    Raises:
        WrongRequest: the first day has begun at no site.
    """
    visit_log, table, table_id = destination.visit_log, destination.table, destination.table_id
    known = visit_log.read_watermarks(table_id)
    others = min((mark.complete_through for mark in known.values()), default=None)
    plans, gone = [], set(known)
    for site in sites:
        gone.discard(site.id)
        watermark = known.get(site.id)
        newest = visit_log.newest_action(table, site.id) if watermark is None else None
        plan = plan_site(site, request, watermark, newest, others)
        plans += [plan] if plan else []
    if sites and not plans and request.first:
        raise WrongRequest(f"{request.first} has not begun", "ask for days that have begun")
    new = {p.site.id: p.watermark for p in plans if p.watermark != known.get(p.site.id)}
    if new:
        visit_log.merge(table, table_id, Group(watermarks=new))
    return plans, sorted(gone)


def read_and_store(
    plans: list[SitePlan], destination: Destination, tools: Tools, tally: Tally, now: datetime
) -> None:
    """Everything that was planned; what became of it is in the tally."""
    storing = Storing(destination, Watermarks(plans, now), tally)
    read_all(plans, tools, storing, tally, now)
    tally.stored = storing.finish()


def read_all(
    plans: Sequence[SitePlan], tools: Tools, storing: Storing, tally: Tally, now: datetime
) -> None:
    """Read every day of every site, oldest first, a few at once, and hand its rows to `storing`."""
    for window, within in rounds(plans):
        if storing.is_over() or tools.health.is_over() or tools.http.stop.is_set():
            return
        days = list(_days_of(window, within, now))
        expected = _expected_visits([asked for _, asked, closed in days if closed], tools)
        tally.expect(expected)
        tasks = (
            partial(
                _read,
                plan,
                asked,
                expected[asked.site.id, asked.day] if closed else None,
                tools,
                storing,
            )
            for plan, asked, closed in days
        )
        # No more than may ask at once: who waits for a turn hears of no refused token.
        workers: Workers[None] = Workers(min(IN_FLIGHT, tools.http.concurrency), tools.http.stop)
        for task in itertools.islice(tasks, IN_FLIGHT):
            workers.submit(task)
        for _ in workers.results():
            if storing.is_over() or tools.health.is_over():
                continue
            for task in itertools.islice(tasks, 1):
                workers.submit(task)


def _days_of(
    window: Window, plans: Sequence[SitePlan], now: datetime
) -> Iterator[tuple[SitePlan, DayOfSite, bool]]:
    for day in window:
        for plan in plans:
            if plan.window.first <= day <= plan.window.last:
                asked = plan.asked(day, now)
                yield plan, asked, is_closed(asked, now)


def _expected_visits(
    closed: Iterable[DayOfSite], tools: Tools
) -> dict[tuple[int, date], int | FetchError]:
    """Visits of closed days as Matomo's reports have them, in one request for 50 sites."""
    wanted: dict[int, list[date]] = defaultdict(list)
    for asked in closed:
        wanted[asked.site.id].append(asked.day)
    fetched = get_matomo_data(wanted, server=tools.server, http=tools.http)
    found: dict[tuple[int, date], int | FetchError] = {
        (site, day): visits for site, days in fetched.values.items() for day, visits in days.items()
    }
    for missed in fetched.missed:
        if isinstance(missed.error, CredentialsError | Throttled):
            tools.health.failed(missed.error)
        found |= {(site, day): missed.error for site in missed.targets for day in missed.days}
    return found


def _read(
    plan: SitePlan,
    asked: DayOfSite,
    expected: int | FetchError | None,
    tools: Tools,
    storing: Storing,
) -> None:
    """Runs on a worker. A day that was interrupted has not ended: `unfinished` names it."""
    read = read_day(plan, asked, expected, tools, storing.put)
    if not read.interrupted:
        storing.end(read)


def unfinished(plans: Iterable[SitePlan], tally: Tally, tools: Tools) -> Iterator[Failure]:
    """The days that were not read to their end, or not stored, because the run ended as a whole."""
    reason: DatabaseError | FetchError = interrupted(tools.http.stop, mend=GO_ON)
    source = SOURCE
    if tally.stored.error is not None:
        reason, source = tally.stored.error, "database"
    elif tools.health.gave_up is not None:
        reason = tools.health.gave_up
    for plan in plans:
        days = tuple(day for day in plan.window if not tally.has_ended(plan.site.id, day))
        mend = reason.mend
        if days and mend == GO_ON and not plan.resumed:
            mend = f"run it again with --from {days[0]}; or raise RUN_DEADLINE"
        if days:
            yield Failure(reason.kind, source, reason.message, mend, (plan.site.id,), days)
