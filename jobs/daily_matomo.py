"""The Matomo half of the nightly run: from sites to idSites and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from config import Settings
from db import Database
from fetchers.errors import NotReady
from fetchers.http import Http
from fetchers.matomo import get_matomo_data
from jobs.daily_plan import Plan
from jobs.progress import Bars
from jobs.sources import matomo_server
from jobs.zero_guard import Visits, all_zero_days, find_unarchived_days, known_visits
from models import Failure, SiteId, Window
from storage.errors import DatabaseError


@dataclass(slots=True)
class MatomoResult:
    """visits[site][day], known numbers only."""

    visits: Visits
    failures: list[Failure]

    @property
    def sites(self) -> int:
        """Sites of which at least one day was fetched."""
        return sum(1 for days in self.visits.values() if days)


def fetch_visits(
    plan: Plan,
    settings: Settings,
    http: Http,
    database: Database,
    bars: Bars,
    *,
    accept_zeros: bool,
) -> MatomoResult:
    """Visits by site and day, and what could not be fetched. Sites may share an idSite.

    The database is read only where a day looks as if Matomo had not archived it.
    """
    sites_of: dict[int, list[SiteId]] = defaultdict(list)
    wanted: dict[int, set[date]] = defaultdict(set)
    for site_id, days in plan.matomo.items():
        matomo_id = plan.sites[site_id].matomo_site_id
        if matomo_id is not None and days:
            sites_of[matomo_id].append(site_id)
            wanted[matomo_id].update(days)
    server = matomo_server(settings)
    advance = bars.bar("Matomo site days", sum(map(len, wanted.values())))
    fetched = get_matomo_data(wanted, server=server, http=http, advance=advance)
    visits: Visits = {
        site_id: {day: by_day[day] for day in plan.matomo[site_id] if day in by_day}
        for matomo_id, by_day in fetched.values.items()
        for site_id in sites_of[matomo_id]
    }
    failures = [
        Failure(
            missed.error.kind,
            "matomo",
            missed.error.message,
            missed.error.mend,
            tuple(site_id for target in missed.targets for site_id in sites_of[target]),
            missed.days,
        )
        for missed in fetched.missed
    ]
    if not accept_zeros:
        failures += _withhold_unarchived(visits, database)
    return MatomoResult(visits, failures)


def _withhold_unarchived(visits: Visits, database: Database) -> list[Failure]:
    """Take days out of `visits` whose zeros are not to be believed."""

    def read_stored(week: Window) -> Mapping[SiteId, Mapping[date, int]]:
        return known_visits(database.read_days(week))

    try:
        unarchived = find_unarchived_days(visits, read_stored)
    except DatabaseError as error:
        doubt = NotReady(f"zeros of every site could not be checked: {error.message}")
        unarchived = dict.fromkeys(all_zero_days(visits), doubt)
    failures = []
    for day, reason in unarchived.items():
        sites = tuple(site_id for site_id, days in visits.items() if day in days)
        for site_id in sites:
            del visits[site_id][day]
        failures.append(Failure(reason.kind, "matomo", reason.message, reason.mend, sites, (day,)))
    return failures
