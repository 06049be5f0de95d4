#!/usr/bin/env python3
"""What cron and people run: the command line, and the nightly run told from top to bottom.

Functions import what they use: `--help` must answer at once, and the rest takes half a second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import cli
from config import HOME, InvalidSettings, Settings
from exit_status import COMPLETE, COULD_NOT_RUN, INCOMPLETE, INTERRUPTED, SIGNAL_BASE

if TYPE_CHECKING:
    from jobs.alerts import Alerts


def nightly(
    arguments: argparse.Namespace, settings: Settings, now: datetime, alerts: Alerts
) -> int:
    """Fetch the target days of all sites and store them; `alerts` tell how it went.

    Returns:
        The exit status of shared contract.md.

    Raises:
        CannotRun, DatabaseError: before anything was fetched.
    """
    from db import open_database
    from jobs import daily_report
    from jobs.daily_gsc import fetch_search_console
    from jobs.daily_matomo import fetch_visits
    from jobs.daily_plan import choose_window, load_plan, nightly_target
    from jobs.daily_store import build_master, find_changes, store
    from jobs.progress import progress_bars
    from jobs.recording import recorded_run
    from jobs.side_by_side import side_by_side
    from jobs.sources import open_http
    from stopping import Stop, stopped_by_signals

    window = choose_window(arguments, settings, now)
    stop = Stop(settings.run_deadline_seconds)
    http = open_http(settings, stop)
    with (
        stopped_by_signals(stop),
        open_database(settings) as database,
        recorded_run(database, window, settings, alerts, keep=not arguments.dry_run) as run,
    ):
        run.sources = cli.wanted_sources(arguments)
        run.nightly = window.last >= nightly_target(settings, now) and not arguments.source
        run.counts |= {"only_sites": len(arguments.sites)} if arguments.sites else {}
        plan = load_plan(database, arguments, window)
        run.names = {site.id: site.domain for site in plan.sites.values()}
        daily_report.log_plan(plan, window, cli.wanted_sources(arguments), settings, now)
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
        run.summary = daily_report.summary_lines(run, window)
    daily_report.report_run(run)
    if stop.signal is not None:
        return SIGNAL_BASE + stop.signal
    return INCOMPLETE if run.failures else COMPLETE


def daily(arguments: argparse.Namespace) -> int:
    """The nightly run, with the settings of this machine and the time of now."""
    from commands import recorded

    needs = ("database", *cli.wanted_sources(arguments))
    # Whoever asks for single sites, or for nothing to be written, sits at a terminal.
    unattended = not (arguments.sites or arguments.dry_run)
    return recorded("daily", nightly, arguments, needs, unattended=unattended)


def demo(_arguments: argparse.Namespace) -> int:
    """Everything on an embedded Postgres and stand-ins of the remote APIs."""
    from jobs.demo import run_demo

    return run_demo(nightly)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = cli.parse_arguments(sys.argv[1:] if argv is None else argv)
    import commands
    from jobs.run_failures import CannotRun
    from logs import set_up_logging
    from stopping import Stopped
    from storage.errors import DatabaseError

    set_up_logging(
        verbose=arguments.verbose,
        quiet=arguments.quiet,
        style=arguments.log_format,
        aside=getattr(arguments, "json", False),
    )
    functions = {**commands.COMMANDS, "daily": daily, "demo": demo}
    try:
        return functions[arguments.command](arguments)
    except InvalidSettings as error:
        return _could_not_run(error.problems, f"see {HOME / '.env.example'}")
    except CannotRun as error:
        return _could_not_run([error.message], error.mend)
    except DatabaseError as error:
        return _could_not_run([error.message], error.mend)
    except Stopped as stopped:
        status = SIGNAL_BASE + stopped.signal if stopped.signal else INCOMPLETE
        return _could_not_run([str(stopped)], "run it again", status)
    except KeyboardInterrupt:
        return _could_not_run(["interrupted"], "run it again", INTERRUPTED)


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
