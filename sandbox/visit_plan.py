"""When the made-up visits happen: which actions each has, of which type, in which second.

Pure functions of site, day and a visit's number in it. Seconds are true Unix time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from random import Random
from typing import NamedTuple

from sandbox.world import World, zone_named

# idVisit has the day, four digits of the site and six of the visit's number in them.
FIRST_DAY = date(1990, 1, 1).toordinal()
SITES, NUMBERS = 10_000, 1_000_000
# Numbers from here on are those of visits which a test adds.
FIRST_ADDED = 900_000

LONG_VISIT, LONG_VISIT_PAUSE = 620, 2
USUAL_PAUSE, LONGEST_PAUSE = 120, 1500
SHARES = {
    "action": 60,
    "event": 16,
    "search": 6,
    "download": 4,
    "outlink": 5,
    "goal": 4,
    "ecommerceOrder": 2,
    "13": 3,
}


class Planned(NamedTuple):
    """One action: its second, its number in the order of arrival, its type as in `SHARES`."""

    at: int
    arrival: int
    kind: str


@dataclass(slots=True)
class Visit:
    """A visit with all the actions that it will have, in order of time; body: its last rendering.

    Changed visits are new objects: what was rendered stays true of the one that it belongs to.
    """

    site: int
    id_visit: int
    actions: tuple[Planned, ...]
    body: tuple[int, bytes] = field(default=(0, b""), repr=False)

    @property
    def last(self) -> int:
        return self.actions[-1].at

    def begun_by(self, now: float) -> int:
        """How many actions have happened."""
        if self.actions[-1].at <= now:
            return len(self.actions)
        return bisect_right(self.actions, now, key=lambda action: action.at)


def day_start(world: World, site: int, day: date) -> int:
    """The first second of a day in the site's zone."""
    return _day_start(world.zone_name(site), day)


@lru_cache(maxsize=100_000)
def _day_start(zone: str, day: date) -> int:
    return int(datetime.combine(day, time(), zone_named(zone)).timestamp())


def local_day(world: World, site: int, at: float) -> date:
    return datetime.fromtimestamp(at, world.zone_of(site)).date()


def id_of(site: int, day: date, number: int) -> int:
    return ((day.toordinal() - FIRST_DAY) * SITES + site) * NUMBERS + number


def day_of(id_visit: int) -> date:
    """The day for which a visit was made up."""
    return date.fromordinal(id_visit // (SITES * NUMBERS) + FIRST_DAY)


def plan_day(world: World, site: int, day: date, count: int) -> list[Visit]:
    """So many visits whose last action is on that day."""
    return [plan_visit(world, site, day, number) for number in range(count)]


def plan_midnight(world: World, site: int, day: date, count: int) -> list[Visit]:
    """Those of the day's visits that end in its first second."""
    return plan_day(world, site, day, min(count, world.midnight_visits))


def plan_visit(world: World, site: int, day: date, number: int) -> Visit:
    start, end = day_start(world, site, day), day_start(world, site, day + timedelta(days=1))
    id_visit = id_of(site, day, number)
    random = Random(id_visit)
    long_from = world.midnight_visits
    together_from = long_from + world.long_visits
    if long_from <= number < together_from:
        seconds = [nth * LONG_VISIT_PAUSE for nth in range(LONG_VISIT)]
        kinds = ["action"] * LONG_VISIT
    else:
        count = world.actions_per_visit or random.randint(1, 9)
        seconds = list(_seconds(random, count))
        kinds = ["action", *random.choices(tuple(SHARES), tuple(SHARES.values()), k=count - 1)]
    if number < long_from:
        first = start - seconds[-1]
    elif together_from <= number < together_from + world.same_second_visits:
        first = (start + end) // 2 - seconds[-1]
    else:
        first = start + int(random.random() * (end - start - seconds[-1]))
    return Visit(site, id_visit, _actions(first, seconds, kinds, has_shop(site)))


def has_shop(site: int) -> bool:
    """Whether orders and the totals of e-commerce are kept for the site."""
    return site % 2 == 0


def _seconds(random: Random, count: int) -> Iterator[int]:
    """Seconds from the first action on; some actions share one."""
    at = 0
    for _ in range(count):
        yield at
        at += min(int(random.expovariate(1 / USUAL_PAUSE)), LONGEST_PAUSE)


def _actions(first: int, seconds: list[int], kinds: list[str], shop: bool) -> tuple[Planned, ...]:
    return tuple(
        Planned(first + second, arrival, kind if shop or kind != "ecommerceOrder" else "goal")
        for arrival, (second, kind) in enumerate(zip(seconds, kinds, strict=True))
    )
