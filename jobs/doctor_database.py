"""Doctor's look at the database: reachable, the right tables, safe from others, and recent runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from config import HOME
from db import postgres_url
from jobs.alert_rules import COMPLETE_WITHIN
from jobs.alerts import last_complete_at
from jobs.doctor_clocks import clock_finding
from jobs.findings import ADVICE, BLOCKED, FAIL, OK, Finding
from jobs.stored_tokens import is_encrypted
from models import Site
from storage.errors import MIGRATE, DatabaseError, MissingRelation
from storage.migrations import read_status
from storage.postgres_tls import tls_advice_of
from storage.schema import Schema
from summary import count

if TYPE_CHECKING:
    from jobs.doctor import Examination

RUNS_READ = 50
MIGRATIONS = HOME / "supabase" / "migrations"
SCHEMA_FILE = "20261121000200_trust.sql"


@dataclass(frozen=True, slots=True)
class Needed:
    """What the program relies on in one table (contract.md, Tables).

    optional: without these columns, or the whole table, runs still work and say so.
    written: runs insert and update here.
    """

    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()
    unique_key: tuple[str, ...] = ()
    only_for_history: bool = False
    written: bool = False


TABLES = {
    "sites": Needed(
        ("id", "domain", "matomo_site_id", "gsc_account_id", "status_deployment"),
        optional=("gsc_property",),
    ),
    "gsc_accounts": Needed(("id", "oauth_refresh_token")),
    "daily_analytics": Needed(
        ("date", "site_id", "matomo_visits", "gsc_clicks", "gsc_impressions", "updated_at"),
        unique_key=("date", "site_id"),
        written=True,
    ),
    "aggregator_runs": Needed(
        ("id", "job", "started_at", "finished_at", "status", "counts", "failures"),
        only_for_history=True,
        written=True,
    ),
}


def check_database(seen: Examination) -> Iterator[Finding]:
    """Whether it answers, and knows sites to work on. Fills in the sites and accounts.

    Raises:
        DatabaseError: it cannot be asked at all.
    """
    try:
        seen.all_sites = seen.database.read_sites()
    except MissingRelation as error:  # check_tables says what else is missing
        seen.reached = True
        yield Finding(BLOCKED, "database", error.message, error.mend)
        return
    seen.reached = True
    if not seen.all_sites:
        yield Finding(
            BLOCKED,
            "database",
            "no sites: the table sites shows no row with status_deployment = 'deployed'",
            "insert one row per site (README, Database); if there are rows, use the service key, "
            "or the role that owns the tables",
        )
    else:
        yield Finding(OK, "database", f"answers, with {count(len(seen.all_sites), 'site')}")
    yield from _same_domains(seen.all_sites)
    if any(site.gsc_account_id is not None for site in seen.all_sites):
        yield from _read_accounts(seen)
    stored = [account.refresh_token.strip() for account in seen.accounts or ()]
    plain = sum(bool(token) and not is_encrypted(token) for token in stored)
    if plain:
        message = f"{count(plain, 'refresh token')} stored in plain text"
        first = "" if seen.settings.encryption_keys else "set ENCRYPTION_KEY, then: "
        mend = f"{first}aggregator.py tokens --encrypt"
        yield Finding(ADVICE, "database", message, mend)
    if advice := tls_advice_of(seen.settings.database_url or ""):
        what, _, mend = advice.partition(": ")
        yield Finding(ADVICE, "database", what, mend)


def _same_domains(sites: Sequence[Site]) -> Iterator[Finding]:
    domains = Counter(site.domain.strip().casefold() for site in sites)
    for domain, number in domains.items():
        if number > 1:
            ids = tuple(site.id for site in sites if site.domain.strip().casefold() == domain)
            message = f"{number} rows of table sites have the domain {domain}"
            yield Finding(ADVICE, "database", message, "keep one, or correct the others", ids)


def _read_accounts(seen: Examination) -> Iterator[Finding]:
    try:
        seen.accounts = seen.database.read_gsc_accounts()
    except DatabaseError as error:
        yield Finding(BLOCKED, "database", error.message, error.mend)


def check_tables(seen: Examination) -> Iterator[Finding]:
    """Tables, columns, keys and row level security; the row cap of REST; the database's clock."""
    lacking = list(_missing_parts(seen))
    yield from lacking
    try:
        schema = seen.database.read_schema()
        why, mend = "aggregator_schema() is not there", f"{MIGRATE}: {SCHEMA_FILE} adds it"
    except DatabaseError as error:  # denied, or another's function of that name: a run needs it not
        schema, why, mend = None, error.message, error.mend
    if schema is None:
        message = f"keys and row level security were not looked at: {why}"
        yield Finding(ADVICE, "database", message, mend)
    else:
        weak = [*_missing_keys(schema), *_unwritable(schema), *_open_tables(schema, seen)]
        yield from weak
        if not (lacking or weak):
            yield Finding(
                OK, "database", "tables, columns, keys, rights and row level security are right"
            )
        yield clock_finding("the database", schema.now - datetime.now(UTC))
    yield from _row_cap(seen)


def _row_cap(seen: Examination) -> Iterator[Finding]:
    try:
        cap = seen.database.row_cap()
    except DatabaseError as error:  # a table that is missing, or too large to count in time
        yield Finding(ADVICE, "database", f"the row cap was not seen: {error.message}")
        return
    if cap is not None:
        message = f"REST cuts answers at {cap:,} rows; everything is read page by page"
        yield Finding(OK, "database", message)


def check_migrations(seen: Examination) -> Iterator[Finding]:
    """Files of supabase/migrations/ that are not applied, where DATABASE_URL lets that be seen."""
    if not seen.settings.database_url:
        return
    try:
        with postgres_url(seen.settings) as conninfo:
            status = read_status(conninfo, MIGRATIONS)
    except DatabaseError as error:
        yield Finding(ADVICE, "database", f"DATABASE_URL: {error.message}", error.mend)
        return
    pending = [migration.path.name for migration, applied in status if not applied]
    if pending:
        message = f"{count(len(pending), 'migration')} not applied: {', '.join(pending)}"
        yield Finding(ADVICE, "database", message, MIGRATE)
    else:
        yield Finding(OK, "database", "all migrations are applied")


def check_history(seen: Examination) -> Iterator[Finding]:
    """How the last nightly run ended, and when one was last complete."""
    try:
        runs = seen.database.read_runs(RUNS_READ, job="daily", failures=False)
        complete = seen.database.read_runs(
            RUNS_READ, job="daily", statuses=("complete",), failures=False
        )
        nights = [run for run in runs if run.is_nightly(seen.settings.target_days_ago)]
    except MissingRelation:
        return  # check_tables has said so
    except DatabaseError as error:
        yield Finding(ADVICE, "history", error.message, error.mend)
        return
    if not nights:
        yield Finding(OK, "history", "no nightly run yet")
        return
    last = nights[0]
    when = f"{last.started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    since = last_complete_at(complete, nights, seen.settings.target_days_ago)
    if since is not None and seen.now - since > COMPLETE_WITHIN:
        hours = (seen.now - since) // timedelta(hours=1)
        ago = f"{hours} hours" if hours < 72 else f"{hours // 24} days"
        message = f"no complete nightly run for {ago} (the last, {when}: {last.status})"
        yield Finding(ADVICE, "history", message, "aggregator.py runs --failed")
    else:
        message = f"the last nightly run, {when}: {last.status}"
        well = last.status in ("complete", "running")
        mend = "" if well else "aggregator.py runs --failed"
        yield Finding(OK if well else ADVICE, "history", message, mend)


def _missing_parts(seen: Examination) -> Iterator[Finding]:
    for table, needed in TABLES.items():
        if seen.database.lacks_columns(table, needed.columns):
            missing = [c for c in needed.columns if seen.database.lacks_columns(table, (c,))]
            gone = len(missing) == len(needed.columns)
            what = "is missing" if gone else _lacks(missing)
            status = ADVICE if needed.only_for_history else BLOCKED
            yield Finding(status, "database", f"table {table} {what}", MIGRATE)
            if gone:
                continue
        for column in needed.optional:
            if seen.database.lacks_columns(table, (column,)):
                yield Finding(ADVICE, "database", f"table {table} {_lacks([column])}", MIGRATE)


def _lacks(columns: list[str]) -> str:
    return f"has no column {', '.join(columns)}"


def _missing_keys(schema: Schema) -> Iterator[Finding]:
    for name, needed in TABLES.items():
        table = schema.tables.get(name)
        if table and needed.unique_key and frozenset(needed.unique_key) not in table.unique_keys:
            message = f"table {name} has no unique key on ({', '.join(needed.unique_key)})"
            yield Finding(BLOCKED, "database", message, MIGRATE)
    daily = schema.tables.get("daily_analytics")
    if daily and "daily_analytics_updated_at" not in daily.triggers:
        message = "daily_analytics has no trigger that moves updated_at with a value"
        yield Finding(ADVICE, "database", message, MIGRATE)


def _unwritable(schema: Schema) -> Iterator[Finding]:
    if schema.only_reads:
        message = "the database only reads"
        mend = "connect to the primary, not to a replica; or see why it only reads (disk full?)"
        yield Finding(BLOCKED, "database", message, mend)
    for name, needed in TABLES.items():
        table = schema.tables.get(name)
        if table and needed.written and not table.writable:
            status = ADVICE if needed.only_for_history else BLOCKED
            message = f"table {name} may be read and not written"
            mend = "use the service key, or the role that owns the tables"
            yield Finding(status, "database", message, mend)


def _open_tables(schema: Schema, seen: Examination) -> Iterator[Finding]:
    """Behind REST a table without row level security is everybody's who has the anon key."""
    status = FAIL if seen.settings.supabase_url else ADVICE
    for name in TABLES:
        table = schema.tables.get(name)
        if table and not table.row_level_security:
            message = f"table {name} has no row level security: any API key reads and writes it"
            yield Finding(status, "database", message, MIGRATE)
        if table and table.open_views:
            views = ", ".join(table.open_views)
            message = f"{name} can be read through {views}, past its row level security"
            mend = "alter view … set (security_invoker = true), or drop it"
            yield Finding(status, "database", message, mend)
        if table and table.policies and name == "gsc_accounts":
            message = f"gsc_accounts has policies ({', '.join(table.policies)}), and holds secrets"
            mend = "see that no policy shows oauth_refresh_token"
            yield Finding(ADVICE, "database", message, mend)


def open_tables(
    area: str, names: Sequence[str], schema: Schema | None, seen: Examination
) -> Iterator[Finding]:
    """Tables of another job without row level security, which its migrations leave as they were."""
    tables = schema.tables if schema else {}
    for name in names:
        table = tables.get(name)
        if table and not table.row_level_security:
            message = f"table {name} has no row level security: any API key reads it"
            mend = (
                f"policies for whoever reads or inserts, then enable row level security on {name}"
            )
            yield Finding(FAIL if seen.settings.supabase_url else ADVICE, area, message, mend)
