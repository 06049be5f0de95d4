"""What a nightly run asks for: which days, which sites, and of each site which days."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from config import Settings
from db import Database
from jobs.run_failures import CannotRun, WrongRequest
from models import (
    GSC_METRICS,
    MATOMO_METRICS,
    GscAccount,
    Site,
    SiteId,
    StoredDay,
    Window,
    days_between,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one run.

    matomo, gsc: the days to ask for, by site; sites that a source does not know are left out.
    rows: the days of which each site has a row afterwards, fetched or not.
    only_sites: what to narrow reads to; empty for all sites.
    """

    sites: Mapping[SiteId, Site]
    accounts: Sequence[GscAccount]
    matomo: Mapping[SiteId, list[date]]
    gsc: Mapping[SiteId, list[date]]
    rows: Mapping[SiteId, list[date]]
    only_sites: tuple[SiteId, ...] = ()


def load_plan(database: Database, arguments: argparse.Namespace, window: Window) -> Plan:
    """Read sites, accounts and, for `--gaps`, what is stored already; decide what to ask for.

    Raises:
        CannotRun: no sites. DatabaseError: the database is unreachable or refuses.
    """
    sites = choose_sites(database.read_sites(), arguments.sites)
    only = tuple(site.id for site in sites) if arguments.sites else ()
    accounts = read_accounts(database, sites, arguments.source)
    stored = database.read_days(window, only) if arguments.gaps else None
    return make_plan(
        sites, accounts, window, source=arguments.source, stored=stored, only_sites=only
    )


def read_accounts(
    database: Database, sites: Iterable[Site], source: str | None
) -> list[GscAccount]:
    """The Search Console accounts, where one of these sites is to be asked for at Google.

    Raises:
        DatabaseError: they cannot be read.
    """
    wanted = source != "matomo" and any(site.gsc_account_id is not None for site in sites)
    return database.read_gsc_accounts() if wanted else []


def choose_window(arguments: argparse.Namespace, settings: Settings, now: datetime) -> Window:
    """The days asked for, else LOOKBACK_DAYS days ending TARGET_DAYS_AGO days ago in TIMEZONE.

    Raises:
        WrongRequest: a day that has not begun.
    """
    today = now.astimezone(settings.timezone).date()
    if arguments.date:
        window = Window(arguments.date, arguments.date)
    elif arguments.first:
        window = Window(arguments.first, arguments.last)
    else:
        target = nightly_target(settings, now)
        window = Window(target - timedelta(days=settings.lookback_days - 1), target)
    if window.last > today:
        raise WrongRequest(
            f"{window.last} is in the future (today is {today} in {settings.timezone})",
            "ask for days that have begun",
        )
    return window


def nightly_target(settings: Settings, now: datetime) -> date:
    """The last day that a nightly run asks for."""
    return now.astimezone(settings.timezone).date() - timedelta(days=settings.target_days_ago)


def choose_sites(sites: Iterable[Site], wanted: Collection[str]) -> list[Site]:
    """The sites to work on: all, or those of `--site`.

    Raises:
        CannotRun: there are none. WrongRequest: an asked one is not among them.
    """
    sites = list(sites)
    if not sites:
        raise CannotRun(
            "no sites to work on: the table sites shows no row with status_deployment = 'deployed'",
            "insert one row per site with status_deployment = 'deployed' (README, Database); if "
            "there are such rows, row level security hides them: use the service key "
            "(SUPABASE_SERVICE_KEY), or the role that owns the tables (DATABASE_URL)",
        )
    found = {words: [site for site in sites if is_called(site, words)] for words in wanted}
    unknown = [words for words, of_these in found.items() if not of_these]
    if unknown:
        raise WrongRequest(
            f"no deployed site has the id or domain {', '.join(unknown)}",
            "take it from the table sites; its status_deployment must be 'deployed'",
        )
    asked = {site.id: site for of_these in found.values() for site in of_these}
    return list(asked.values()) if wanted else sites


def is_called(site: Site, words: str) -> bool:
    """Whether somebody means this site: by its id or its domain, in whatever case."""
    return words.strip().casefold() in (str(site.id).casefold(), site.domain.strip().casefold())


def make_plan(
    sites: Iterable[Site],
    accounts: Sequence[GscAccount],
    window: Window,
    *,
    source: str | None = None,
    stored: Iterable[StoredDay] | None = None,
    only_sites: tuple[SiteId, ...] = (),
) -> Plan:
    """Ask every source for the whole window, or, given what is `stored`, only for its gaps.

    Raises:
        CannotRun: no site is known to any source.
    """
    sites = list(sites)
    days = days_between(window.first, window.last)
    known = None if stored is None else {(row.site_id, row.day): row.numbers for row in stored}

    def missing(site: Site, metrics: Collection[str]) -> list[date]:
        if known is None:
            return days
        return [
            day
            for day in days
            if any((known.get((site.id, day)) or {}).get(metric) is None for metric in metrics)
        ]

    matomo = {
        site.id: missing(site, MATOMO_METRICS)
        for site in sites
        if source != "gsc" and site.matomo_site_id is not None
    }
    gsc = {
        site.id: missing(site, GSC_METRICS)
        for site in sites
        if source != "matomo" and site.gsc_account_id is not None
    }

    def rows_of(site: Site) -> list[date]:
        if known is None:
            return days
        asked = {*matomo.get(site.id, ()), *gsc.get(site.id, ())}
        return [day for day in days if day in asked or (site.id, day) not in known]

    if not (matomo or gsc or only_sites or source):
        raise CannotRun(
            "no site to work on has a Matomo site id or a Search Console account",
            "fill in sites.matomo_site_id and sites.gsc_account_id (README, Database)",
        )
    rows = {site.id: rows_of(site) for site in sites}
    return Plan({s.id: s for s in sites}, accounts, matomo, gsc, rows, only_sites)
