"""The program's tables in a test database: made by its own migrations, filled, read back."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import psycopg

from models import METRICS, SiteId
from sandbox import World, seed
from storage.migrations import apply_pending

MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"

Numbers = tuple[int | None, int | None, int | None]
"""(matomo_visits, gsc_clicks, gsc_impressions); None is "not known"."""

ACCOUNT = (
    "insert into public.gsc_accounts (id, oauth_refresh_token) "
    "values (%(id)s, %(oauth_refresh_token)s)"
)
SITE = (
    "insert into public.sites "
    "(id, domain, matomo_site_id, gsc_account_id, gsc_property, status_deployment) "
    "values (%(id)s, %(domain)s, %(matomo_site_id)s, %(gsc_account_id)s, %(gsc_property)s, "
    "%(status_deployment)s)"
)


def migrate(url: str) -> None:
    """Apply every migration, as `aggregator.py migrate` does."""
    for _ in apply_pending(url, MIGRATIONS):
        pass


def fill(url: str, world: World) -> None:
    """The world's accounts and sites, so that a run against its sandbox can begin."""
    accounts, sites = seed.rows(world)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(ACCOUNT, accounts)
        cursor.executemany(SITE, sites)


def execute(url: str, statement: str, *parameters: object) -> None:
    """Run SQL on a connection of its own. Without parameters it may hold several statements."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters or None)


def rows(url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Read with a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode(), parameters or None).fetchall()


def read_numbers(url: str) -> dict[tuple[SiteId, date], Numbers]:
    """Everything in daily_analytics by (site id, day); uuids as text."""
    query = f"select site_id, date, {', '.join(METRICS)} from public.daily_analytics"
    found = rows(url, query)
    return {
        (site if isinstance(site, int) else str(site), day): (visits, clicks, impressions)
        for site, day, visits, clicks, impressions in found
    }


def read_updated_at(url: str) -> dict[tuple[str, date], Any]:
    """When each row's numbers changed last, by (site id as text, day)."""
    found = rows(url, "select site_id::text, date, updated_at from public.daily_analytics")
    return {(site, day): at for site, day, at in found}
