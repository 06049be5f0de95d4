"""`aggregator.py demo`: the real program on an embedded Postgres and stand-ins of the remote APIs.

A 28-day backfill, a nightly run on a bad night, the visit log of two sites, events by hour and day,
the numbers of social accounts, tokens encrypted, what doctor finds, the run history, a comparison
with the sources, and what the table holds. No account needed.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from rich import box
from rich.console import Console
from rich.table import Table

import cli
from config import HOME, Settings, load_settings
from db import open_database
from jobs.alerts import Alerts
from jobs.demo_events import show_events
from jobs.demo_social import show_social
from jobs.doctor import examine
from jobs.history import show_runs
from jobs.reconcile import reconcile
from jobs.tokens import change_tokens
from jobs.visits import import_visits
from models import METRICS, StoredDay, Window
from sandbox import Fault, Sandbox, SocialWorld, World, seed
from storage.embedded import EmbeddedPostgres
from storage.migrations import apply_pending
from storage.postgres_calls import connect

Nightly = Callable[[argparse.Namespace, Settings, datetime, Alerts], int]

DIRECTORY = HOME / ".demo" / "postgres"
SITES, ACCOUNTS = 198, 5
BACKFILL_DAYS = 28
DAYS_SHOWN = 7

ENCRYPTION_KEY = base64.urlsafe_b64encode(b"the sandbox's made-up Fernet key").decode()
"""The same each time: the database of an earlier demo is used again."""

WORLD = World(
    sites=SITES,
    accounts=ACCOUNTS,
    matomo_hidden=frozenset({17}),
    parent_only=frozenset({42}),
    no_property=frozenset({99}),
)

SOCIAL = SocialWorld(users=4, connections=8)
DEAD_TOKEN_OF = 5
"""An Instagram account's. YouTube's, 3 and 7, ask where the accounts of these numbers do."""

BAD_NIGHT = (
    Fault("token", "invalid_grant", account=4),
    Fault("matomo", "http_500_json", site=8),
    Fault("query", "quota_exceeded_load", site=11),
)


def run_demo(nightly: Nightly) -> int:
    """Run the demo and return its exit status: 0 when both runs did what they should."""
    console = Console(highlight=False)
    now = datetime.now(UTC)
    with Sandbox(WORLD, social=SOCIAL) as sandbox:
        settings = demo_settings(sandbox)
        server = EmbeddedPostgres(DIRECTORY)  # held here, so that it runs throughout
        conninfo = server.start()
        try:
            list(apply_pending(conninfo, HOME / "supabase" / "migrations"))
            fill_tables(conninfo)
            last = now.date() - timedelta(days=settings.target_days_ago)
            first = last - timedelta(days=BACKFILL_DAYS - 1)
            console.rule(f"Backfill: aggregator.py --from {first} --to {last}")
            alerts = Alerts(settings, "daily", now)
            asked = _arguments("--from", str(first), "--to", str(last))
            backfill = nightly(asked, settings, now, alerts)
            console.rule("A bad night: aggregator.py")
            sandbox.faults.add(*BAD_NIGHT)
            bad_night = nightly(_arguments(), settings, now, alerts)
            words = ("--matomo-site", "1", "--matomo-site", "2", "--from", str(last))
            console.rule(f"The visit log: aggregator.py visits {' '.join(words)}")
            forget_visits(conninfo)
            asked = _arguments_of("visits", *words)
            imported = import_visits(asked, settings, now, Alerts(settings, "visits", now))
            counted = show_events(console, settings, conninfo, now)
            sandbox.social.tokens.revoke(SOCIAL.access_token(DEAD_TOKEN_OF))
            connections = seed.connection_rows(SOCIAL, settings.encryption_keys)
            social = show_social(console, settings, conninfo, connections, now)
            console.rule("Stored tokens: aggregator.py tokens --encrypt")
            change_tokens(_arguments_of("tokens", "--encrypt"), settings)
            console.rule("What is wrong: aggregator.py doctor")
            found = examine(_arguments_of("doctor"), settings, [], now, DIRECTORY / "no.env")
            sandbox.faults.clear()
            console.rule("The run history: aggregator.py runs --last 5")
            with open_database(settings) as database:
                show_runs(database, _arguments_of("runs", "--last", "5"))
            console.rule(f"Against the sources: aggregator.py reconcile --from {first} --to {last}")
            asked = _arguments_of("reconcile", "--from", str(first), "--to", str(last))
            compared = reconcile(asked, settings, datetime.now(UTC))
            with open_database(settings) as database:
                window = Window(last - timedelta(days=DAYS_SHOWN - 1), last)
                console.rule("What daily_analytics holds now")
                console.print(stored_table(database.read_days(window), window))
        finally:
            server.stop()
    console.print(
        f"\nEach but visits and hourly exits {backfill}, since some sites fail every time: the "
        "reasons stand above, each with what mends it.\nThe bad night lost nothing that the "
        "backfill had stored: what the sources say again is equal.\n"
        f"The database stays in {server.location}."
    )
    well = {backfill, bad_night, social, found, compared} == {1} and {imported, *counted} == {0}
    return 0 if well else 1


def demo_settings(sandbox: Sandbox) -> Settings:
    """Settings that point at the stand-ins; nothing of the machine's own is read."""
    return replace(
        load_settings(sandbox.environment(), None),
        database_url=f"embedded:{DIRECTORY}",
        encryption_keys=(ENCRYPTION_KEY,),
        http_attempts=2,
    )


def fill_tables(conninfo: str) -> None:
    """Put the made-up accounts and sites into their tables, once."""
    accounts, sites = seed.rows(WORLD)
    with connect(conninfo) as connection, connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "insert into public.gsc_accounts (id, oauth_refresh_token) "
            "values (%(id)s, %(oauth_refresh_token)s) on conflict do nothing",
            accounts,
        )
        cursor.executemany(
            "insert into public.sites (id, domain, matomo_site_id, gsc_account_id, gsc_property, "
            "status_deployment) values (%(id)s, %(domain)s, %(matomo_site_id)s, "
            "%(gsc_account_id)s, %(gsc_property)s, %(status_deployment)s) on conflict do nothing",
            sites,
        )


def forget_visits(conninfo: str) -> None:
    """The stand-in has another address in each demo, and a table holds one Matomo's visits."""
    with connect(conninfo) as connection:
        connection.execute("drop table if exists public.matomo")


def stored_table(rows: Iterable[StoredDay], window: Window) -> Table:
    """One line per day: totals, and for how many sites each number is known, zero and unknown."""
    by_day: dict[date, list[StoredDay]] = {day: [] for day in window}
    for row in rows:
        by_day[row.day].append(row)
    table = Table(box=box.SIMPLE, caption="known / of which zero / unknown sites")
    table.add_column("day", no_wrap=True)
    for name in ("visits", "sites", "clicks", "impressions", "sites"):
        table.add_column(name, justify="right")
    for day, of_day in by_day.items():
        visits, clicks, impressions = ([r.numbers[m] for r in of_day] for m in METRICS)
        table.add_row(
            str(day),
            _total(visits),
            _sites(visits),
            _total(clicks),
            _total(impressions),
            _sites(impressions),
        )
    return table


def _total(numbers: list[int | None]) -> str:
    return f"{sum(number for number in numbers if number is not None):,}"


def _sites(numbers: list[int | None]) -> str:
    known = sum(number is not None for number in numbers)
    return f"{known} / {numbers.count(0)} / {len(numbers) - known}"


def _arguments(*words: str) -> argparse.Namespace:
    return _arguments_of("daily", *words)


def _arguments_of(command: str, *words: str) -> argparse.Namespace:
    return cli.parse_arguments([command, *words])
