"""Whether the stored numbers are those of the sandbox's world: a fast wrong result is worthless."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import psycopg

from bench.results import CouldNotRun
from models import METRICS, Master
from sandbox import World, seed

MOST_CELLS = 12_000
"""Sites and days compared one by one; of more, every n-th site (a whole world takes seconds)."""

Numbers = tuple[int | None, int | None, int | None]


def check_stored(url: str, world: World, days: Sequence[date], sites: int | None = None) -> None:
    """Compare what is stored of sites 1..sites (None: all) with the world.

    Raises:
        CouldNotRun: a row too many or too few, or any wrong number.
    """
    numbers = world.site_numbers[:sites]
    step = -(-len(numbers) * len(days) // MOST_CELLS)
    compared = {seed.site_id(site): site for site in numbers[::step]}
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select count(*) from public.daily_analytics where date between %s and %s",
            (days[0], days[-1]),
        ).fetchone()
        stored = connection.execute(
            "select site_id::text, date, matomo_visits, gsc_clicks, gsc_impressions "
            "from public.daily_analytics where site_id::text = any(%s)",
            (list(compared),),
        ).fetchall()
    if found != (len(numbers) * len(days),):
        raise CouldNotRun(f"{found} rows are stored, not {len(numbers)} x {len(days)}")
    if len(stored) != len(compared) * len(days):
        raise CouldNotRun(f"{len(stored)} rows of {len(compared)} sites, not {len(days)} each")
    for site_id, day, *row in stored:
        expected = true_numbers(world, compared[site_id], day)
        if tuple(row) != expected:
            raise CouldNotRun(f"{site_id} {day}: {tuple(row)} is stored, not {expected}")


def true_master(world: World, days: Sequence[date]) -> Master:
    """All numbers of the world on these days, as a run would have fetched them."""
    return {
        seed.site_id(site): {
            day: {
                metric: number
                for metric, number in zip(METRICS, true_numbers(world, site, day), strict=True)
                if number is not None
            }
            for day in days
        }
        for site in world.site_numbers
    }


def true_numbers(world: World, site: int, day: date) -> Numbers:
    """(visits, clicks, impressions) of a day; None is what Search Console has not published."""
    visits = world.visits(site, day)
    if not _is_published(world, site, day):
        return visits, None, None
    return visits, world.clicks(site, day), world.impressions(site, day)


def _is_published(world: World, site: int, day: date) -> bool:
    """A day that may still change counts as published only if it or a later one has data."""
    if day < world.first_incomplete():
        return True
    later = (day + timedelta(days=n) for n in range((world.newest() - day).days + 1))
    return any(world.impressions(site, each) > 0 for each in later)
