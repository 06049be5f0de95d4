"""Doctor's look at Matomo: the token, each site's rights, and whether yesterday is archived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from fetchers.errors import FetchError, outcome_of
from fetchers.matomo import fetch_version, get_matomo_data
from fetchers.results import Fetched
from jobs.findings import ADVICE, FAIL, OK, Finding
from jobs.sources import matomo_server
from jobs.zero_guard import Visits, find_unarchived_days, known_visits
from models import Site, SiteId, Window
from storage.errors import DatabaseError
from summary import count

if TYPE_CHECKING:
    from jobs.doctor import Examination

SITES_IN_A_QUERY = 50
"""Over REST the ids go in the URL, which gateways cut off at 8 kB; more sites are read with all."""

OLDEST_MAJOR = 4
WRITTEN_FOR = "5.0"


def check_matomo(seen: Examination) -> Iterator[Finding]:
    """Version, token rights by site, and yesterday's numbers, in one request for 50 sites."""
    sites_of: dict[int, list[Site]] = defaultdict(list)
    for site in seen.sites:
        if site.matomo_site_id is not None:
            sites_of[site.matomo_site_id].append(site)
    yield from _without_id(seen.sites, sites_of)
    wanted_at_all = sites_of or not seen.all_sites  # without a database the token can be tried
    can_ask = seen.settings.matomo_api_url and seen.settings.matomo_api_token
    if not (wanted_at_all and can_ask):
        return
    server = matomo_server(seen.settings)
    version = outcome_of(partial(fetch_version, server, seen.http))
    if isinstance(version, FetchError):
        yield Finding(FAIL, "matomo", version.message, version.mend)
        return
    yield _version_finding(version, server.host)
    yesterday = seen.now.astimezone(seen.settings.timezone).date() - timedelta(days=1)
    wanted = {matomo_id: [yesterday] for matomo_id in sites_of}
    fetched = get_matomo_data(wanted, server=server, http=seen.http)
    yield from _site_findings(fetched, sites_of, yesterday)
    yield from _archive_findings(fetched, sites_of, yesterday, seen)


def _without_id(sites: Iterable[Site], sites_of: dict[int, list[Site]]) -> Iterator[Finding]:
    without = sum(site.matomo_site_id is None for site in sites)
    if without:
        yield Finding(OK, "matomo", f"{count(without, 'site')} without a Matomo site id: not asked")
    for matomo_id, same in sites_of.items():
        if len(same) > 1:
            ids = tuple(site.id for site in same)
            message = f"share the Matomo site {matomo_id}: they get the same visits"
            yield Finding(ADVICE, "matomo", message, "correct sites.matomo_site_id", ids)


def _version_finding(version: str, host: str) -> Finding:
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < OLDEST_MAJOR:
        message = f"{host} is Matomo {version}; this program was written for {WRITTEN_FOR}"
        return Finding(ADVICE, "matomo", message, "update Matomo")
    return Finding(OK, "matomo", f"{host} is Matomo {version} and accepts the token")


def _site_findings(
    fetched: Fetched[int, int], sites_of: dict[int, list[Site]], yesterday: date
) -> Iterator[Finding]:
    for missed in fetched.missed:
        ids = tuple(site.id for target in missed.targets for site in sites_of[target])
        yield Finding(FAIL, "matomo", missed.error.message, missed.error.mend, ids)
    answered = [site for target in fetched.values for site in sites_of[target]]
    if answered:
        yield Finding(OK, "matomo", f"the token may view {count(len(answered), 'site')}")
    for matomo_id, days in fetched.values.items():
        for site in sites_of[matomo_id]:
            message = f"Matomo site {matomo_id}, {days[yesterday]} visits on {yesterday}"
            yield Finding(OK, "matomo", message, sites=(site.id,), detail=True)


def _archive_findings(
    fetched: Fetched[int, int],
    sites_of: dict[int, list[Site]],
    yesterday: date,
    seen: Examination,
) -> Iterator[Finding]:
    """Whether yesterday's zeros look true: all of them, or a single site's after a busy week."""
    visits: Visits = {
        site.id: days for target, days in fetched.values.items() for site in sites_of[target]
    }
    if not visits:
        return
    try:
        # One site's zero says nothing of the day: it is compared with these sites alone.
        unarchived = find_unarchived_days(visits, lambda week: _stored(week, visits, seen))
        silent = _silent_sites(visits, yesterday, seen)
    except DatabaseError as error:
        yield Finding(ADVICE, "matomo", error.message, error.mend)
        return
    if yesterday in unarchived:
        reason = unarchived[yesterday]
        yield Finding(FAIL, "matomo", f"{yesterday}: {reason.message}", reason.mend)
        return
    busy = sum(days[yesterday] > 0 for days in visits.values())
    if busy:
        message = f"{yesterday} is archived: {busy} of {count(len(visits), 'site')} have visits"
        yield Finding(OK, "matomo", message)
    else:
        message = f"{yesterday}: 0 visits everywhere, and nothing known to compare with"
        yield Finding(OK, "matomo", message)
    if silent:
        yield Finding(
            ADVICE,
            "matomo",
            f"0 visits on {yesterday} after a week with visits on every day",
            "see whether the site still carries Matomo's tracking code",
            tuple(silent),
        )


def _stored(week: Window, sites: Collection[SiteId], seen: Examination) -> Visits:
    """The stored visits of these sites that are known."""
    narrow = tuple(sites) if len(sites) <= SITES_IN_A_QUERY else ()
    asked = {str(site) for site in sites}
    known = known_visits(seen.database.read_days(week, narrow))
    return {site: days for site, days in known.items() if str(site) in asked}


def _silent_sites(visits: Visits, yesterday: date, seen: Examination) -> list[SiteId]:
    zero = {str(site): site for site, days in visits.items() if days[yesterday] == 0}
    if not zero:
        return []
    week = Window(yesterday - timedelta(days=7), yesterday - timedelta(days=1))
    known = _stored(week, zero.values(), seen)
    return [
        zero[str(site)]
        for site, days in known.items()
        if str(site) in zero and len(days) == len(week) and all(days.values())
    ]
