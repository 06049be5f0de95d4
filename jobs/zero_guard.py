"""Matomo answers 0 for a day whose reports were not archived (shared facts/matomo.md A7).

A day on which every site has 0, after days on which sites had visits, is such a day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta

from fetchers.errors import NotReady
from models import SiteId, StoredDay, Window

WEEK = timedelta(days=7)
WEEKS_BACK = 8
ENOUGH_SITES = 5

Visits = dict[SiteId, dict[date, int]]


def find_unarchived_days(
    visits: Visits, read_stored: Callable[[Window], Mapping[SiteId, Mapping[date, int]]]
) -> dict[date, NotReady]:
    """Days on which all answering sites have 0 though five sites or more had visits before.

    "The week before" is the last one of which anything is known, stored or fetched: after a long
    outage the zeros would else be believed in the end. `read_stored` gives known numbers.
    """
    unarchived: dict[date, NotReady] = {}
    for day in all_zero_days(visits):
        zeros = sum(day in days for days in visits.values())
        busy = _sites_busy_before(day, visits, unarchived, read_stored)
        if len(busy) >= ENOUGH_SITES:
            unarchived[day] = NotReady(
                f"Matomo says 0 visits for every site it answered for ({zeros}), and {len(busy)} "
                "sites had visits the week before: the day is most likely not archived",
                mend="run Matomo's `./console core:archive`, then this day again; "
                "or --accept-zeros if the zeros are true",
            )
    return unarchived


def all_zero_days(visits: Visits) -> list[date]:
    """Days on which every answering site has 0 visits."""
    by_day: dict[date, list[int]] = defaultdict(list)
    for days in visits.values():
        for day, number in days.items():
            by_day[day].append(number)
    return sorted(day for day, numbers in by_day.items() if not any(numbers))


def _sites_busy_before(
    day: date,
    visits: Visits,
    unarchived: Mapping[date, NotReady],
    read_stored: Callable[[Window], Mapping[SiteId, Mapping[date, int]]],
) -> set[str]:
    """Sites with visits in the latest week before `day` of which any number is known."""
    for n in range(WEEKS_BACK):
        week = Window(day - WEEK * (n + 1), day - WEEK * n - timedelta(days=1))
        numbers: dict[tuple[str, date], int] = {
            (str(site), d): number
            for source in (read_stored(week), visits)
            for site, days in source.items()
            for d, number in days.items()
            if week.first <= d <= week.last and not (source is visits and d in unarchived)
        }
        if numbers:
            return {site for (site, _), number in numbers.items() if number > 0}
    return set()


def known_visits(rows: Iterable[StoredDay]) -> dict[SiteId, dict[date, int]]:
    """The stored visits that are known, by site and day."""
    known: dict[SiteId, dict[date, int]] = {}
    for row in rows:
        number = row.numbers["matomo_visits"]
        if number is not None:
            known.setdefault(row.site_id, {})[row.day] = number
    return known
