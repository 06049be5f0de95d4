"""`aggregator.py hourly --check` and `--archive`: is the rollup right, and which events may go."""

from __future__ import annotations

import argparse
import logging
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from config import Settings
from db import open_rollups, postgres_url
from jobs.alerts import Alerts
from jobs.hourly_health import (
    SOURCE,
    describe,
    difference_failures,
    exit_status,
    health_failures,
)
from jobs.recording import recorded_run, report_run
from jobs.run_failures import WrongRequest
from stopping import Stop, stopped_by_signals
from summary import count, failure_lines
from workers import interruptible

SAMPLE_HOURS = 24

ARCHIVE_AFTER = timedelta(days=90)

log = logging.getLogger("aggregator.hourly")


def check_events(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Compare a random sample with the events, and look at freshness, queue and pg_cron.

    Where anything differs, everything is marked, so that the next refresh mends it.
    """
    stop = Stop(settings.run_deadline_seconds)
    with (
        stopped_by_signals(stop),
        open_rollups(settings, 1) as (database, (rollup,)),
        recorded_run(database, None, settings, alerts) as run,
    ):
        run.sources = (SOURCE,)
        health, jobs = rollup.health(), rollup.jobs()
        differences = interruptible(partial(rollup.check, SAMPLE_HOURS), stop)
        if differences:  # what else differs is not in the sample
            rollup.mark()
        different = {(found.hour_bucket, found.day) for found in differences}
        run.failures += [*health_failures(health, jobs), *difference_failures(differences)]
        run.counts |= {"sample_hours": SAMPLE_HOURS, "different": len(different)}
        head = f"events, as of {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        run.summary = [
            *(f"{f.source}: {f.message} -> {f.mend}" for f in run.failures),
            f"{'INCOMPLETE' if run.failures else 'COMPLETE'}: {head}: {describe(health)}; "
            f"{len(different)} of a sample of {SAMPLE_HOURS} hours, and of days, differ",
        ]
    report_run(run)
    return exit_status(run, stop)


def archive_events(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Months of events that ended 90 days ago (or up to --to) into Parquet files, then out of the
    database.

    Raises:
        CannotRun, DatabaseError: before anything was archived.
    """
    from jobs.hourly_archive import archive_months

    stop = Stop(settings.run_deadline_seconds)
    before: date = (arguments.after or now - ARCHIVE_AFTER).date()
    if arguments.after and arguments.after > now:
        raise WrongRequest(f"--to {before} is not over yet", "name a day that is over")
    with (
        stopped_by_signals(stop),
        postgres_url(settings) as conninfo,
        open_rollups(settings, 0) as (database, _),
        recorded_run(database, None, settings, alerts) as run,
    ):
        run.sources, run.nightly = (SOURCE,), False
        archived = archive_months(
            conninfo, Path(arguments.archive), before, now, say=log.info, stop=stop
        )
        events = sum(month.rows for month in archived.months)
        run.failures += archived.failures
        run.counts |= {"months": len(archived.months), "events": events}
        head = "INCOMPLETE" if run.failures else "COMPLETE"
        months = ", ".join(f"{month.first:%Y-%m}" for month in archived.months)
        run.summary = [
            f"{head}: {count(len(archived.months), 'month')} of events that ended before {before}",
            *failure_lines(run.failures, {}),
            f"Archived {count(events, 'event')} into {arguments.archive}"
            f"{': ' + months if archived.months else ''}.",
        ]
    report_run(run)
    return exit_status(run, stop)
