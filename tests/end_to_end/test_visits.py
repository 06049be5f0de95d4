"""The visit log from Matomo's answers to rows: every visit of every day, once, as it is."""

from __future__ import annotations

from datetime import date

from models import days_between
from sandbox import World
from tests.end_to_end.visit_runs import (
    asking_for,
    differences,
    open_runs,
    stored,
    truth,
    versions,
    watermarks,
)

PARIS, PACIFIC, KOLKATA, TOKYO, OFFSET = 1, 2, 3, 4, 5
ZONES = ("Europe/Paris", "America/Los_Angeles", "Asia/Kolkata", "Asia/Tokyo", "UTC+3")
KINDS = {"action", "event", "search", "download", "outlink", "goal", "ecommerceOrder", "13"}

AUTUMN = days_between(date(2026, 10, 24), date(2026, 11, 2))
"""Paris has 25 hours on October 25, the Pacific sites on November 1."""
SPRING = {
    PACIFIC: days_between(date(2027, 3, 13), date(2027, 3, 15)),
    PARIS: days_between(date(2027, 3, 27), date(2027, 3, 29)),
}
"""23 hours on the day in the middle."""


def test_every_zone_with_days_of_23_and_25_hours_midnight_visits_and_a_crowded_second(
    migrated_url: str,
) -> None:
    world = World(
        sites=5, time_zones=ZONES, visits_per_day=13, midnight_visits=2, same_second_visits=9
    )
    with open_runs(migrated_url, world, "2027-04-02 12:00") as runs:
        done = runs.whole(*asking_for(AUTUMN[0], AUTUMN[-1]))
        for site, days in SPRING.items():
            runs.whole(*asking_for(days[0], days[-1]), "--matomo-site", str(site))
        expected = truth(runs.sandbox, world.site_numbers, AUTUMN)
        for site, days in SPRING.items():
            expected |= truth(runs.sandbox, [site], days)
        is_there = stored(migrated_url)
        assert differences(is_there, expected) == []
        assert {row["action_type"] for row in is_there.values()} == KINDS
        assert f"{5 * 13 * len(AUTUMN)} visits" in done.out
        assert set(watermarks(migrated_url).values()) == {AUTUMN[-1]}

        before = versions(migrated_url)
        again = runs.whole(*asking_for(AUTUMN[0], AUTUMN[-1]))
        assert versions(migrated_url) == before
        assert "Stored 0 new or changed rows" in again.out


def test_a_visit_that_matomo_cuts_at_500_actions_is_stored_that_far_and_told(
    migrated_url: str,
) -> None:
    world = World(sites=1, time_zones=ZONES, visits_per_day=3, long_visits=1)
    day = date(2026, 11, 18)
    with open_runs(migrated_url, world, "2026-11-20 12:00") as runs:
        done = runs.whole(*asking_for(day), RESULTPERPAGE="1")
        is_there = stored(migrated_url)
        assert differences(is_there, truth(runs.sandbox, [1], [day])) == []
    assert sum(row["actions"] == "620" for row in is_there.values()) == 500
    assert ": 120 actions missing" in done.out
