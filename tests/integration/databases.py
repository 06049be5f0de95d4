"""The three databases that the program writes to, opened as it opens them, with its tables."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from config import Settings
from db import Database, Stored, open_database, upsert_daily_analytics
from models import Master, SiteId, days_between
from tests.integration.tables import Numbers, execute, migrate, read_numbers, read_updated_at, rows
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer

KINDS = ("postgres", "embedded", "rest")
IDS = ("uuid", "integer")

DAYS = days_between(date(2026, 11, 1), date(2026, 11, 10))

# What somebody may have who counts sites with integers and keeps more about them than we ask for.
TABLES_OF_A_USER = """
create table public.gsc_accounts (
  id serial primary key, email text not null default 'me@example.com',
  oauth_refresh_token text not null
);
create table public.sites (
  id serial primary key, domain text not null, owner text not null default 'me',
  matomo_site_id int, gsc_account_id int references public.gsc_accounts,
  status_deployment text default 'draft', created_at timestamptz not null default now()
);
create table public.daily_analytics (
  id bigserial primary key, date date not null, site_id int not null references public.sites,
  matomo_visits bigint, gsc_clicks bigint, gsc_impressions bigint, note text default 'made by me',
  updated_at timestamptz not null default now(), unique (site_id, date)
);
"""

_names = itertools.count(1)


@dataclass
class Store:
    """One opened database, and a superuser's connection string to look behind it."""

    database: Database
    url: str
    postgrest: PostgrestServer | None

    def add_sites(self, number: int, *, status: str = "deployed") -> list[SiteId]:
        """Ids of so many new sites, in the order of their ids."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                "insert into public.sites (domain, status_deployment) "
                "select 'site-' || n || '.example', %s from generate_series(1, %s) n returning id",
                (status, number),
            ).fetchall()
        return sorted(site if isinstance(site, int) else str(site) for (site,) in found)

    def upsert(
        self, master: Master, wanted: Mapping[SiteId, Collection[date]] | None = None
    ) -> Stored:
        """Store; by default exactly the rows that the master speaks of."""
        return upsert_daily_analytics(self.database, master, wanted or master)

    def numbers(self) -> dict[tuple[SiteId, date], Numbers]:
        return read_numbers(self.url)

    def updated_at(self) -> dict[tuple[str, date], object]:
        return read_updated_at(self.url)

    def execute(self, statement: str, *parameters: object) -> None:
        execute(self.url, statement, *parameters)

    def count(self, table: str) -> int:
        [(number,)] = rows(self.url, f"select count(*) from {table}")
        assert isinstance(number, int)
        return number


OpenStore = Callable[..., Store]


@contextmanager
def open_store(
    kind: str,
    postgres: PostgresServer,
    embedded: Path,
    *,
    before: str = "",
    with_migrations: bool = True,
    max_rows: int = 1000,
    attempts: int = 2,
) -> Iterator[Store]:
    """A database of one kind: `before` is run in it, then, unless told otherwise, migrations."""
    template = None
    if kind != "embedded":
        template = _template(postgres, before, with_migrations=with_migrations)
    with _database(kind, postgres, embedded, template) as (url, setting):
        if template is None:
            _fill(url, before, with_migrations=with_migrations)
        if kind != "rest":
            settings = Settings(database_url=setting, http_attempts=attempts)
            with open_database(settings) as database:
                yield Store(database, url, None)
            return
        with PostgrestServer(url, max_rows=max_rows) as server:
            settings = Settings(
                supabase_url=server.url,
                supabase_service_key=server.service_key,
                http_attempts=attempts,
            )
            with open_database(settings) as database:
                server.proxy.requests.clear()
                yield Store(database, url, server)


def _fill(url: str, before: str, *, with_migrations: bool) -> None:
    if before:
        execute(url, before)
    if with_migrations:
        migrate(url)


@functools.cache
def _template(postgres: PostgresServer, before: str, *, with_migrations: bool) -> str:
    """Name of a database that is filled once, to be copied: that takes a third of the time."""
    name = f"template_{next(_names)}"
    _fill(postgres.create_database(name), before, with_migrations=with_migrations)
    return name


@contextmanager
def _database(
    kind: str, postgres: PostgresServer, embedded: Path, template: str | None
) -> Iterator[tuple[str, str]]:
    """(a superuser's connection string, what DATABASE_URL holds)."""
    if kind == "embedded":
        with open_database(Settings(database_url=f"embedded:{embedded}")) as database:
            url = str(database._conninfo)  # type: ignore[attr-defined]
            execute(
                url,
                "drop schema public cascade; create schema public; "
                "drop schema if exists supabase_migrations cascade",
            )
            yield url, f"embedded:{embedded}"
        return
    name = f"store_{next(_names)}"
    url = postgres.create_database(name, template=template or "template1")
    try:
        yield url, postgres.url(urlsplit(url).path.removeprefix("/"), tcp=True)
    finally:
        postgres.drop_database(name)
