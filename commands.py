"""What people run by hand: each command's settings, its job, its exit status.

Functions import what they use, so that each command loads no more than it needs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cli
from config import HOME, InvalidSettings, Settings, examine_settings
from exit_status import COMPLETE

if TYPE_CHECKING:
    from jobs.alerts import Alerts

    Job = Callable[[argparse.Namespace, Settings, datetime, Alerts], int]

MIGRATIONS = HOME / "supabase" / "migrations"
DOTENV = HOME / ".env"


def examined_settings(*needs: str, warn: bool = True) -> tuple[Settings, list[str]]:
    """The settings of this machine and what is wrong with them; secrets are never printed from
    here on."""
    from logs import redact

    settings, problems = examine_settings(os.environ, DOTENV, needs)
    redact.add(settings.secrets())
    if warn:
        warn_of_open_secrets(settings)
    return settings, problems


def valid_settings(*needs: str) -> Settings:
    """As `examined_settings`.

    Raises:
        InvalidSettings: something is missing or wrong.
    """
    settings, problems = examined_settings(*needs)
    if problems:
        raise InvalidSettings(problems)
    return settings


def warn_of_open_secrets(settings: Settings) -> None:
    """One warning for each way in which somebody else may read a secret."""
    from config import env_file_warning
    from logs import log

    for name in settings.unencrypted():
        log.warning("%s begins with http://: secrets go over the network in clear text", name)
    if warning := env_file_warning(DOTENV):
        log.warning("%s", warning)


def migrate(arguments: argparse.Namespace) -> int:
    """Apply the pending migrations, or list all of them."""
    from db import postgres_url
    from logs import report
    from storage.migrations import apply_pending, read_status
    from storage.visit_log import VisitLog

    settings = valid_settings("postgres")
    with postgres_url(settings) as conninfo:
        if arguments.status:
            for migration, applied in read_status(conninfo, MIGRATIONS):
                report(f"{'applied' if applied else 'pending'}  {migration.path.name}")
            return COMPLETE
        done = 0
        for migration in apply_pending(conninfo, MIGRATIONS):
            report(f"applied  {migration.path.name}")
            done += 1
        with closing(VisitLog(conninfo, settings.http_attempts)) as visit_log:
            if visit_log.make_table(settings.destination_table, partitioned=settings.partitioned):
                report(f"made     table {settings.destination_table}, for the visit log")
        report(f"{done} applied, nothing pending" if done else "nothing pending")
    return COMPLETE


def visits(arguments: argparse.Namespace) -> int:
    """Matomo's visit log into DESTINATION_TABLE."""
    from jobs.visits import import_visits

    needs = ("postgres", "visit log")
    # Whoever asks for single sites sits at a terminal.
    unattended = not arguments.matomo_sites
    return recorded("visits", import_visits, arguments, needs, unattended=unattended)


def hourly(arguments: argparse.Namespace) -> int:
    """analytics_events into its hourly and daily rows; or their check; or the events' archive."""
    from jobs.hourly import refresh_events
    from jobs.hourly_care import archive_events, check_events

    job, work = "hourly", refresh_events
    if arguments.check:
        job, work = "hourly-check", check_events
    elif arguments.archive:
        job, work = "hourly-archive", archive_events
    # Whoever names hours sits at a terminal.
    unattended = not (arguments.all or arguments.first)
    return recorded(job, work, arguments, ("postgres",), unattended=unattended)


def social(arguments: argparse.Namespace) -> int:
    """Account metrics of the social platforms into analytics_snapshots."""
    from jobs.social import collect_social

    # Whoever asks for single connections, or for nothing to be written, sits at a terminal.
    unattended = not (arguments.connections or arguments.dry_run)
    return recorded("social", collect_social, arguments, ("database",), unattended=unattended)


def recorded(
    job: str, work: Job, arguments: argparse.Namespace, needs: Sequence[str], *, unattended: bool
) -> int:
    """Run a job of its own history and alerts, with the settings of this machine and the time of
    now. What keeps an unattended one from beginning is recorded as well."""
    from jobs.alerts import alerting
    from jobs.recording import record_failed_start

    now = datetime.now(UTC)
    settings, problems = examined_settings(*needs)
    with alerting(settings, job, now, wanted=unattended) as alerts:
        if problems:
            record_failed_start(settings, alerts, InvalidSettings(problems), keep=unattended)
            raise InvalidSettings(problems)
        return work(arguments, settings, now, alerts)


def doctor(arguments: argparse.Namespace) -> int:
    """Check everything that a nightly run needs; read-only."""
    from jobs.doctor import examine

    # What there is to warn of is among what it finds.
    settings, problems = examined_settings("database", "matomo", "gsc", warn=False)
    return examine(arguments, settings, problems, datetime.now(UTC), DOTENV)


def runs(arguments: argparse.Namespace) -> int:
    """Show the run history."""
    from db import open_database
    from jobs.history import show_runs

    with open_database(valid_settings("database")) as database:
        show_runs(database, arguments)
    return COMPLETE


def reconcile(arguments: argparse.Namespace) -> int:
    """Compare what is stored with what the sources say now."""
    from jobs.reconcile import reconcile as compare

    settings = valid_settings("database", *cli.wanted_sources(arguments))
    return compare(arguments, settings, datetime.now(UTC))


def connect_gsc(arguments: argparse.Namespace) -> int:
    """Google's consent for one account."""
    from jobs.connect_gsc import connect_gsc as connect

    return connect(arguments, valid_settings("database", "gsc", "encryption"))


def tokens(arguments: argparse.Namespace) -> int:
    """Add or re-encrypt stored tokens."""
    from jobs.tokens import change_tokens

    return change_tokens(arguments, valid_settings("database", "encryption"))


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "visits": visits,
    "hourly": hourly,
    "social": social,
    "migrate": migrate,
    "doctor": doctor,
    "runs": runs,
    "reconcile": reconcile,
    "connect-gsc": connect_gsc,
    "tokens": tokens,
}
