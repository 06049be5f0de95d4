"""`aggregator.py reconcile`: what is stored, against what the sources say now."""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from config import Settings
from db import Database, open_database
from exit_status import COMPLETE, INCOMPLETE, SIGNAL_BASE
from jobs.alerts import Alerts
from jobs.comparison import (
    Clock,
    Compared,
    as_failures,
    as_master,
    compare,
    count_verdicts,
    differences,
)
from jobs.daily_gsc import fetch_search_console
from jobs.daily_matomo import fetch_visits
from jobs.daily_plan import Plan, choose_sites, choose_window, make_plan, read_accounts
from jobs.daily_store import build_master, store
from jobs.progress import progress_bars
from jobs.recording import Run, recorded_run
from jobs.side_by_side import side_by_side
from jobs.sources import open_http
from logs import printable, report
from models import Site, SiteId, Window
from stopping import Stop, stopped_by_signals
from storage.errors import DatabaseError
from storage.runs import StoredRun
from summary import count, failure_lines

DAYS = 28
RUNS_READ = 5000
CLOCKS_DRIFT = timedelta(seconds=0.02)
"""What two synchronised clocks may have drifted between that run and now."""

SHOWN = 100
"""Differing numbers listed in the output, and kept in the run history."""

log = logging.getLogger("aggregator.reconcile")


def reconcile(arguments: argparse.Namespace, settings: Settings, now: datetime) -> int:
    """Compare the asked days of all sites, or of a sample, and repair what differs if told to.

    Returns:
        0 when the stored numbers are the source's (or are now), 1 when some differ or are unknown.

    Raises:
        CannotRun, DatabaseError: before anything was compared.
    """
    window = _window(arguments, settings, now)
    stop = Stop(settings.run_deadline_seconds)
    http = open_http(settings, stop)
    alerts = Alerts(settings, "reconcile", now, wanted=False)
    with (
        stopped_by_signals(stop),
        open_database(settings) as database,
        recorded_run(database, window, settings, alerts) as run,
    ):
        plan = _plan(database, arguments, window)
        run.names = {site.id: site.domain for site in plan.sites.values()}
        log.info("%s, %s", count(len(plan.sites), "site"), window)
        with progress_bars(wanted=arguments.log_format == "text" and not arguments.quiet) as bars:
            matomo, gsc = side_by_side(
                lambda: fetch_visits(plan, settings, http, database, bars, accept_zeros=False),
                lambda: fetch_search_console(plan, settings, http, now, bars),
            )
        run.failures += matomo.failures + gsc.failures
        master = build_master(matomo.visits, gsc.numbers)
        compared = list(
            compare(
                plan,
                master,
                database.read_days(window, plan.only_sites, times=True),
                _writing_runs(database),
                _clock(database),
            )
        )
        different = differences(compared)
        if arguments.repair:
            repaired = _repair(database, plan, different, run)
        else:
            repaired = 0
            run.failures += as_failures(different, window)
        run.counts |= {"sites": len(plan.sites), "compared": len(compared)}
        run.counts |= {**count_verdicts(compared), "repaired": repaired}
        run.counts["differences"] = [_as_json(number) for number in different[:SHOWN]]
        run.summary = _summary_lines(run, different)
    for line in run.summary:
        report(line)
    if stop.signal is not None:
        return SIGNAL_BASE + stop.signal
    return INCOMPLETE if run.failures else COMPLETE


def _window(arguments: argparse.Namespace, settings: Settings, now: datetime) -> Window:
    if arguments.first is None:
        settings = replace(settings, lookback_days=DAYS)
    return choose_window(arguments, settings, now)


def _plan(database: Database, arguments: argparse.Namespace, window: Window) -> Plan:
    """All sites, or as many as the sample asks for, chosen by chance."""
    sites: Sequence[Site] = choose_sites(database.read_sites(), ())
    only: tuple[SiteId, ...] = ()
    if arguments.sample and arguments.sample < len(sites):
        sites = random.sample(sites, arguments.sample)
        only = tuple(site.id for site in sites)
    accounts = read_accounts(database, sites, arguments.source)
    return make_plan(sites, accounts, window, source=arguments.source, only_sites=only)


def _writing_runs(database: Database) -> list[StoredRun]:
    try:
        runs = database.read_runs(RUNS_READ, failures=False)
    except DatabaseError as error:
        log.warning("without the run history no difference has a reason: %s", error.message)
        return []
    return [run for run in runs if run.job == "daily" or run.counts.get("repaired")]


def _clock(database: Database) -> Clock:
    """The database's clock beside ours; taken for the same where it cannot say."""
    before = datetime.now(UTC)
    try:
        schema = database.read_schema()
    except DatabaseError as error:
        log.warning("the database's clock is taken for right: %s", error.message)
        return Clock()
    half_way = (datetime.now(UTC) - before) / 2
    if schema is None:
        return Clock()
    return Clock(schema.now - (before + half_way), half_way + CLOCKS_DRIFT)


def _repair(database: Database, plan: Plan, different: Sequence[Compared], run: Run) -> int:
    """Store the source's numbers; what is refused joins the failures. Returns numbers stored."""
    master = as_master(different)
    rows = {site_id: sorted(days) for site_id, days in master.items()}
    before = len(run.failures)
    if rows:
        store(database, master, replace(plan, rows=rows), run.failures)
    refused = {
        (site_id, day)
        for failure in run.failures[before:]
        for site_id in failure.sites
        for day in failure.days
    }
    return sum((number.site_id, number.day) not in refused for number in different)


def _summary_lines(run: Run, different: Sequence[Compared]) -> list[str]:
    """What differs, by site and day; the failures; one line of totals."""
    counts = run.counts
    lines = sorted(_difference_line(number, run) for number in different[:SHOWN])
    if len(different) > SHOWN:
        lines.append(f"... and {len(different) - SHOWN} more numbers")
    failures = failure_lines(run.failures, run.names)
    sites = len({number.site_id for number in different})
    verdict = "EQUAL: what is known is as the sources have it"
    if different:
        verdict = f"DIFFERENT: {count(len(different), 'number')} of {count(sites, 'site')}"
    return [
        verdict,
        *lines,
        *([*failures, ""] if failures else []),
        f"Compared {counts['compared']} numbers of {counts['sites']} sites. "
        f"Equal {counts['equal']}. Revised by the source {counts['revised']}. "
        f"Missing {counts['missing']}. Different without reason {counts['different']}. "
        f"Unknown {counts['unknown']}. Repaired {counts['repaired']}.",
    ]


def _difference_line(number: Compared, run: Run) -> str:
    name = printable(run.names.get(number.site_id) or str(number.site_id))
    old = "unknown" if number.stored is None else number.stored
    return (
        f"{number.verdict:<9} {name} {number.day} {number.metric}: "
        f"stored {old}, source {number.source}"
    )


def _as_json(number: Compared) -> dict[str, object]:
    return {
        "site": number.site_id,
        "day": number.day.isoformat(),
        "metric": number.metric,
        "stored": number.stored,
        "source": number.source,
        "verdict": number.verdict,
    }
