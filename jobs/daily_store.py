"""From fetched numbers to stored rows: the master dict, its upsert, and what a dry run shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from db import Database, upsert_daily_analytics
from jobs.daily_gsc import Numbers
from jobs.daily_plan import Plan
from jobs.zero_guard import Visits
from models import Failure, Master, SiteId, StoredDay
from storage.errors import DatabaseError


@dataclass(frozen=True, slots=True)
class Change:
    """One number that a run would change; `old` is None where it was not known."""

    site_id: SiteId
    day: date
    metric: str
    old: int | None
    new: int


def build_master(visits: Visits, numbers: Numbers) -> Master:
    """master[site][day][metric]: only what was fetched; a missing key is unknown."""
    master: Master = {}
    for site_id, days in visits.items():
        for day, count in days.items():
            master.setdefault(site_id, {}).setdefault(day, {})["matomo_visits"] = count
    for site_id, clicks_by_day in numbers.items():
        for day, clicks in clicks_by_day.items():
            cell = master.setdefault(site_id, {}).setdefault(day, {})
            cell["gsc_clicks"] = clicks.clicks
            cell["gsc_impressions"] = clicks.impressions
    return master


def store(database: Database, master: Master, plan: Plan, failures: list[Failure]) -> int:
    """Upsert everything fetched; what was not stored joins `failures`. Returns rows stored."""
    try:
        stored = upsert_daily_analytics(database, master, plan.rows)
    except DatabaseError as error:
        together: dict[tuple[date, ...], list[SiteId]] = defaultdict(list)
        for site_id, wanted in plan.rows.items():  # with --gaps, sites want different days
            if wanted:
                together[tuple(sorted(wanted))].append(site_id)
        failures += [
            Failure(error.kind, "database", error.message, error.mend, tuple(sites), days)
            for days, sites in together.items()
        ] or [Failure(error.kind, "database", error.message, error.mend)]
        return 0
    failures += [
        Failure(error.kind, "database", error.message, error.mend, (site_id,), days)
        for site_id, days, error in stored.refused
    ]
    return stored.rows


def find_changes(master: Master, stored: Iterable[StoredDay]) -> Iterator[Change]:
    """Numbers that differ from what is stored, in the order of sites and days."""
    known = {(row.site_id, row.day): row.numbers for row in stored}
    for site_id, days in master.items():
        for day, numbers in sorted(days.items()):
            for metric, new in numbers.items():
                old = (known.get((site_id, day)) or {}).get(metric)
                if old != new:
                    yield Change(site_id, day, metric, old, new)
