#!/usr/bin/env python3
"""What cron and people run: the command line, and the nightly run told from top to bottom.

Functions import what they use: `--help` must answer at once, and the rest takes half a second.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import cli
from config import HOME, InvalidSettings, Settings, load_settings

COMPLETE, INCOMPLETE, COULD_NOT_RUN = 0, 1, 2
SIGNAL_BASE, INTERRUPTED = 128, 130
MIGRATIONS = HOME / "supabase" / "migrations"


def nightly(arguments: argparse.Namespace, settings: Settings, now: datetime) -> int:
    """Fetch the target days of all sites and store them.

    Returns:
        The exit status of shared contract.md.

    Raises:
        CannotRun, DatabaseError: before anything was fetched.
    """
    from db import open_database
    from fetchers.http import Http
    from jobs import daily_report
    from jobs.daily_gsc import fetch_search_console
    from jobs.daily_matomo import fetch_visits
    from jobs.daily_plan import choose_window, load_plan
    from jobs.daily_store import build_master, find_changes, store
    from jobs.progress import progress_bars
    from jobs.recording import recorded_run
    from jobs.side_by_side import side_by_side
    from stopping import Stop, stopped_by_signals

    window = choose_window(arguments, settings, now)
    stop = Stop(settings.run_deadline_seconds)
    http = Http(
        timeout_seconds=settings.http_timeout_seconds,
        attempts=settings.http_attempts,
        concurrency=settings.concurrency,
        stop=stop,
    )
    with (
        stopped_by_signals(stop),
        open_database(settings) as database,
        recorded_run(database, "daily", window, now, settings, keep=not arguments.dry_run) as run,
    ):
        plan = load_plan(database, arguments, window)
        daily_report.log_plan(plan, window, wanted_sources(arguments), settings, now)
        with progress_bars(wanted=arguments.log_format == "text" and not arguments.quiet) as bars:
            matomo, gsc = side_by_side(
                lambda: fetch_visits(
                    plan, settings, http, database, bars, accept_zeros=arguments.accept_zeros
                ),
                lambda: fetch_search_console(plan, settings, http, now, bars),
            )
        daily_report.log_sources(plan, matomo, gsc)
        master = build_master(matomo.visits, gsc.numbers)
        run.failures += matomo.failures + gsc.failures
        if arguments.dry_run:
            stored = database.read_days(window, plan.only_sites)
            daily_report.show_changes(find_changes(master, stored), plan)
        else:
            run.counts["stored"] = store(database, master, plan, run.failures)
        run.counts |= {"sites": len(plan.sites), "matomo": matomo.sites, "gsc": gsc.sites}
    daily_report.report_run(run, window, plan)
    if stop.signal is not None:
        return SIGNAL_BASE + stop.signal
    return INCOMPLETE if run.failures else COMPLETE


def daily(arguments: argparse.Namespace) -> int:
    """The nightly run, with the settings of this machine and the time of now."""
    from logs import log, redact

    needs = ("database", *wanted_sources(arguments))
    settings = load_settings(os.environ, HOME / ".env", needs)
    redact.add(settings.secrets())
    for name in settings.unencrypted():
        log.warning("%s begins with http://: secrets go over the network in clear text", name)
    return nightly(arguments, settings, datetime.now(UTC))


def wanted_sources(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The sources this run is to ask."""
    return (arguments.source,) if arguments.source else cli.SOURCES


def migrate(arguments: argparse.Namespace) -> int:
    """Apply the pending migrations, or list all of them."""
    from db import postgres_url
    from logs import redact, report
    from storage.migrations import apply_pending, read_status

    settings = load_settings(os.environ, HOME / ".env", ("postgres",))
    redact.add(settings.secrets())
    with postgres_url(settings) as conninfo:
        if arguments.status:
            for migration, applied in read_status(conninfo, MIGRATIONS):
                report(f"{'applied' if applied else 'pending'}  {migration.path.name}")
            return COMPLETE
        done = 0
        for migration in apply_pending(conninfo, MIGRATIONS):
            report(f"applied  {migration.path.name}")
            done += 1
        report(f"{done} applied, nothing pending" if done else "nothing pending")
    return COMPLETE


def demo(_arguments: argparse.Namespace) -> int:
    """Everything on an embedded Postgres and stand-ins of the remote APIs."""
    from jobs.demo import run_demo

    return run_demo(nightly)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = cli.parse_arguments(sys.argv[1:] if argv is None else argv)
    from jobs.recording import CannotRun
    from logs import set_up_logging
    from storage.errors import DatabaseError

    set_up_logging(verbose=arguments.verbose, quiet=arguments.quiet, style=arguments.log_format)
    commands = {"daily": daily, "migrate": migrate, "demo": demo}
    try:
        return commands[arguments.command](arguments)
    except InvalidSettings as error:
        return _could_not_run(error.problems, f"see {HOME / '.env.example'}")
    except CannotRun as error:
        return _could_not_run([error.message], error.mend)
    except DatabaseError as error:
        return _could_not_run([error.message], error.mend)
    except KeyboardInterrupt:
        return _could_not_run(["interrupted; nothing was stored"], "run it again", INTERRUPTED)


def _could_not_run(problems: Sequence[str], mend: str, status: int = COULD_NOT_RUN) -> int:
    """Say everything that keeps the program from running, and what mends it."""
    from logs import report_error

    report_error("Could not run:", problems, mend)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ModuleNotFoundError as error:
        mend = f"run `make setup`, then {HOME}/.venv/bin/python {__file__}"
        print(f"Could not run: {error}\n  -> {mend}", file=sys.stderr)
        sys.exit(COULD_NOT_RUN)
