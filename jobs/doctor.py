"""`aggregator.py doctor`: looks at everything a nightly run needs, and changes nothing.

A job that is added joins here: one function in SOURCE_CHECKS, its tables in doctor_database.TABLES.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from config import Settings, env_file_warning, unknown_names
from db import Database, open_database
from exit_status import SIGNAL_BASE
from fetchers.errors import FetchError, outcome_of
from fetchers.http import Http
from jobs.daily_plan import is_called
from jobs.doctor_alerts import check_alerts
from jobs.doctor_clocks import check_clocks
from jobs.doctor_database import check_database, check_history, check_migrations, check_tables
from jobs.doctor_google import check_google
from jobs.doctor_hourly import check_events
from jobs.doctor_matomo import check_matomo
from jobs.doctor_site import explain_site
from jobs.doctor_social import check_social
from jobs.doctor_visits import check_visit_log
from jobs.findings import (
    ADVICE,
    BLOCKED,
    FAIL,
    OK,
    Finding,
    exit_status,
    print_findings,
    print_json,
)
from jobs.sources import open_http
from models import GscAccount, Site
from stopping import Stop, Stopped, stopped_by_signals
from storage.errors import DatabaseError
from workers import Workers, interruptible

TIMEOUT_SECONDS = 20.0
"""A server that takes longer is found wanting; nobody waits at a terminal for HTTP_TIMEOUT."""

DEADLINE_SECONDS = 300.0

NIGHTLY_ONLY = ("GOOGLE_", "no sites")

log = logging.getLogger("aggregator.doctor")


@dataclass(slots=True)
class Examination:
    """What the checks have to go by.

    reached: the database answers. sites: those to look at; all_sites: every deployed one.
    accounts: None where they cannot be read, or no site names one.
    """

    settings: Settings
    now: datetime
    http: Http
    opened: Database | None = None
    reached: bool = False
    all_sites: list[Site] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    accounts: list[GscAccount] | None = None

    @property
    def database(self) -> Database:
        assert self.opened is not None  # without one, no check that needs it is begun
        return self.opened


Check = Callable[[Examination], Iterable[Finding]]

DATABASE_CHECKS: tuple[Check, ...] = (check_tables, check_migrations, check_history)
SOURCE_CHECKS: tuple[Check, ...] = (
    check_alerts,
    check_clocks,
    check_matomo,
    check_google,
    check_visit_log,
    check_events,
    check_social,
)
"""These ask remote APIs, and run side by side."""


def examine(
    arguments: argparse.Namespace,
    settings: Settings,
    problems: list[str],
    now: datetime,
    dotenv: Path,
) -> int:
    """Look at everything, or at what one site needs, and print what was found.

    Returns:
        0: a nightly run will be complete as far as can be seen; 1: it will not; 2: no run is
        possible, or the site is none.
    """
    stop = Stop(DEADLINE_SECONDS)
    findings = list(check_settings(settings, problems, dotenv))
    settings = _for_one_try(settings)
    seen = Examination(settings, now, open_http(settings, stop))
    with stopped_by_signals(stop), ExitStack() as stack:
        findings += _open_database(seen, stack)
        findings += _look(seen, arguments.site, stop)
    findings = _for_other_jobs_alone(findings, seen)
    if arguments.json or arguments.log_format == "json":
        print_json(findings, indent=2 if arguments.json else None)
    else:
        names = {site.id: site.domain for site in seen.all_sites}
        details = arguments.verbose or arguments.site is not None
        print_findings(findings, names, details=details, quiet=arguments.quiet)
    return SIGNAL_BASE + stop.signal if stop.signal is not None else exit_status(findings)


def _for_one_try(settings: Settings) -> Settings:
    """Asked once, and not for long; and an address without its key leads nowhere."""
    return replace(
        settings,
        http_attempts=1,
        http_timeout_seconds=min(settings.http_timeout_seconds, TIMEOUT_SECONDS),
        supabase_url=settings.supabase_url if settings.supabase_service_key else None,
    )


def check_settings(settings: Settings, problems: list[str], dotenv: Path) -> Iterator[Finding]:
    """Every problem of the settings at once, and who could read their secrets."""
    for problem in problems:
        mend = "correct it in .env; .env.example explains each variable"
        yield Finding(BLOCKED, "settings", problem, mend)
    if not problems:
        yield Finding(OK, "settings", "everything that a nightly run needs is set")
    for name in settings.unencrypted():
        message = f"{name} begins with http://: secrets go over the network in clear text"
        yield Finding(ADVICE, "settings", message, f"use https:// in {name}")
    if warning := env_file_warning(dotenv):
        yield Finding(ADVICE, "settings", warning)
    for name in unknown_names(dotenv):
        message = f"{name} in .env is no variable of this program"
        yield Finding(ADVICE, "settings", message, "see .env.example for how it is spelled")
    if problems and not dotenv.exists():
        yield Finding(ADVICE, "settings", f"there is no {dotenv}", "cp .env.example .env")


def _for_other_jobs_alone(findings: list[Finding], seen: Examination) -> list[Finding]:
    """Whoever uses another job and has no sites does not use the nightly run: what only that one
    needs is no reason to say that no run is possible."""
    used = {finding.area for finding in findings if finding.status != FAIL}
    if seen.all_sites or not used & {"visits", "events", "social"}:
        return findings
    nightly_only = NIGHTLY_ONLY if "visits" in used else (*NIGHTLY_ONLY, "MATOMO_")
    return [
        replace(finding, status=ADVICE, message=f"(nightly run only) {finding.message}")
        if finding.status == BLOCKED and finding.message.startswith(nightly_only)
        else finding
        for finding in findings
    ]


def _open_database(seen: Examination, stack: ExitStack) -> Iterator[Finding]:
    if not (seen.settings.supabase_url or seen.settings.database_url):
        return  # check_settings has said so
    try:
        seen.opened = stack.enter_context(open_database(seen.settings))
    except DatabaseError as error:
        yield Finding(BLOCKED, "database", error.message, error.mend)


def _look(seen: Examination, site_id: str | None, stop: Stop) -> Iterator[Finding]:
    """The database first, which knows the sites; then the sources, as far as that makes possible.

    Of one site if one is named.
    """
    if seen.opened is not None:
        yield from _one_after_the_other([check_database], seen, stop)
        seen.sites = seen.all_sites
        if site_id is not None and seen.all_sites:
            seen.sites = [site for site in seen.all_sites if is_called(site, site_id)][:1]
            if not seen.sites:
                yield _unknown_site(site_id)
                return
        if site_id is None and seen.reached:
            yield from _one_after_the_other(DATABASE_CHECKS, seen, stop)
    yield from _side_by_side(SOURCE_CHECKS, seen, stop)
    if site_id is not None and seen.sites:
        yield from _one_after_the_other([explain_site], seen, stop)


def _unknown_site(site_id: str) -> Finding:
    return Finding(
        BLOCKED,
        "database",
        f"no deployed site has the id or domain {site_id}",
        "take it from the table sites; its status_deployment must be 'deployed'",
    )


def _one_after_the_other(checks: Iterable[Check], seen: Examination, stop: Stop) -> list[Finding]:
    """What these find; a signal does not wait for a database that stalls."""
    found: list[Finding] = []
    for check in checks:
        try:
            found += interruptible(partial(_found, check, seen), stop)
        except Stopped:
            return [*found, _cut_short(stop)]
    return found


def _side_by_side(checks: Sequence[Check], seen: Examination, stop: Stop) -> Iterator[Finding]:
    workers: Workers[tuple[int, list[Finding]]] = Workers(len(checks), stop)
    for n, check in enumerate(checks):
        workers.submit(partial(_numbered, n, check, seen))
    found = dict(workers.results())
    for n in sorted(found):
        yield from found[n]
    if len(found) < len(checks) or stop.is_set():
        yield _cut_short(stop)


def _numbered(n: int, check: Check, seen: Examination) -> tuple[int, list[Finding]]:
    return n, _found(check, seen)


def _found(check: Check, seen: Examination) -> list[Finding]:
    """What a check finds up to its end, or up to the error or bug that ends it."""
    found: list[Finding] = []

    def look() -> None:
        try:
            found.extend(check(seen))
        except DatabaseError as error:
            found.append(Finding(BLOCKED, "database", error.message, error.mend))

    ended = outcome_of(look)
    if isinstance(ended, FetchError):
        found.append(Finding(FAIL, "doctor", ended.message, ended.mend))
    return found


def _cut_short(stop: Stop) -> Finding:
    if stop.signal is not None:
        return Finding(FAIL, "doctor", f"stopped by {stop.signal.name}: not everything was seen")
    message = f"not everything was seen within {DEADLINE_SECONDS:.0f} s"
    return Finding(FAIL, "doctor", message, "mend what was found so far, then run it again")
