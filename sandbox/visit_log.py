"""Matomo's visit log: what each day holds as of now, pages of it, changes behind its back.

The rules are those of facts/matomo.md, A and E: a visit belongs to the local day of its last action
so far; a day's end is inclusive; the current local date brings the day before along.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sandbox.revisions import Numbers
from sandbox.visit_plan import (
    FIRST_ADDED,
    Planned,
    Visit,
    day_of,
    day_start,
    id_of,
    local_day,
    plan_day,
    plan_midnight,
)
from sandbox.visit_shapes import rendered, visit_part
from sandbox.world import World

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Shown:
    """Visits with how many actions of each have happened, by the last of these; when that was."""

    visits: tuple[tuple[Visit, int], ...]
    lasts: tuple[int, ...]


@dataclass(frozen=True)
class _Kept:
    """A list as of a second; once all has happened it holds for every later one too."""

    changes: int
    counts: tuple[int, ...]
    second: int
    is_final: bool
    shown: Shown

    def holds(self, changes: int, counts: tuple[int, ...], second: int) -> bool:
        is_known = second >= self.second if self.is_final else second == self.second
        return is_known and (self.changes, self.counts) == (changes, counts)


class VisitLog:
    """The visits of a world as of world.now(); as many on a day as Numbers says. Thread-safe.

    Seconds are true Unix time, moments aware datetimes. KeyError: the visit or action is not there.
    """

    def __init__(self, world: World, numbers: Numbers) -> None:
        self._world = world
        self._numbers = numbers
        self._lock = threading.RLock()
        self._planned: dict[tuple[int, date], tuple[int, list[Visit]]] = {}
        self._changed: dict[int, dict[int, Visit | None]] = {}
        self._kept: dict[tuple[int, date, date], _Kept] = {}
        self._changes = 0
        self._added = 0

    def shown(self, site: int, day: date) -> Shown:
        """What a request for the day may return, oldest last action first; not in order of id."""
        is_current = day == self._today(site)
        return self._list(site, day - ONE_DAY if is_current else day, day)

    def count(self, site: int, day: date) -> int:
        """VisitsSummary's number of visits: those whose last action so far is on the day."""
        now, end = self._now(), day_start(self._world, site, day + ONE_DAY)
        with self._lock:
            if end <= now and site not in self._changed:
                return self._numbers.get("visits", site, day)
        return bisect_left(self._list(site, day, day).lasts, end)

    def visits(self, site: int, day: date) -> list[dict[str, Any]]:
        """What a complete import of the day must have: the visits of all pages, but those of a
        neighbouring day, as objects."""
        listed, end = self._list(site, day, day), day_start(self._world, site, day + ONE_DAY)
        inside = listed.visits[: bisect_left(listed.lasts, end)]
        return [visit_part(self._world, visit, count) for visit, count in inside]

    def bodies(self, shown: Sequence[tuple[Visit, int]]) -> list[bytes]:
        """The visits in JSON."""
        return [rendered(self._world, visit, count) for visit, count in shown]

    def warm(self, site: int, days: Iterable[date]) -> None:
        """Renders the days ahead: the first page of a day costs seconds otherwise."""
        for day in days:
            self.bodies(self._list(site, day, day).visits)

    def add_action(self, site: int, id_visit: int, at: datetime, kind: str = "action") -> int:
        """Adds an action in the order of time; returns its index, those after it move up."""
        with self._lock:
            visit = self._find(site, id_visit)
            arrival = max(action.arrival for action in visit.actions) + 1
            action = Planned(int(at.timestamp()), arrival, kind)
            actions = tuple(sorted([*visit.actions, action]))
            self._change(Visit(site, id_visit, actions))
            return actions.index(action)

    def remove_action(self, site: int, id_visit: int, index: int) -> None:
        """Takes an action out; those after it move down. Without actions the visit is gone too."""
        with self._lock:
            visit = self._find(site, id_visit)
            if not 0 <= index < len(visit.actions):
                raise KeyError(f"visit {id_visit} has no action {index}")
            actions = visit.actions[:index] + visit.actions[index + 1 :]
            if actions:
                self._change(Visit(site, id_visit, actions))
            else:
                self.remove_visit(site, id_visit)

    def add_visit(self, site: int, at: datetime, actions: int = 1, seconds_apart: int = 60) -> int:
        """A further visit whose first action is at `at`; returns its idVisit."""
        first = int(at.timestamp())
        with self._lock:
            day = local_day(self._world, site, first)
            id_visit = id_of(site, day, FIRST_ADDED + self._added)
            self._added += 1
            seconds = [first + number * seconds_apart for number in range(actions)]
            planned = [Planned(each, number, "action") for number, each in enumerate(seconds)]
            self._change(Visit(site, id_visit, tuple(planned)))
        return id_visit

    def remove_visit(self, site: int, id_visit: int) -> None:
        """Takes a visit out, as a deletion for privacy does."""
        with self._lock:
            self._find(site, id_visit)
            self._changed.setdefault(site, {})[id_visit] = None
            self._changes += 1

    def clear(self) -> None:
        """Forgets all changes."""
        with self._lock:
            self._changed.clear()
            self._changes += 1

    def _now(self) -> float:
        return self._world.now().timestamp()

    def _today(self, site: int) -> date:
        return local_day(self._world, site, self._now())

    def _change(self, visit: Visit) -> None:
        self._changed.setdefault(visit.site, {})[visit.id_visit] = visit
        self._changes += 1

    def _find(self, site: int, id_visit: int) -> Visit:
        changed = self._changed.get(site, {})
        if id_visit in changed:
            visit = changed[id_visit]
        else:
            plan = self._plan(site, day_of(id_visit))
            visit = next((each for each in plan if each.id_visit == id_visit), None)
        if visit is None:
            raise KeyError(f"site {site} has no visit {id_visit}")
        return visit

    def _plan(self, site: int, day: date) -> list[Visit]:
        count = self._numbers.get("visits", site, day)
        known = self._planned.get((site, day))
        if known is None or known[0] != count:
            known = count, plan_day(self._world, site, day, count)
            self._planned[site, day] = known
        return known[1]

    def _list(self, site: int, first: date, last: date) -> Shown:
        """Visits from the first second of `first` to that of the day after `last`, inclusive."""
        now, end = self._now(), day_start(self._world, site, last + ONE_DAY)
        days = _days(first, last + ONE_DAY)
        with self._lock:
            kept = self._kept.get((site, first, last))
            counts = tuple(self._numbers.get("visits", site, day) for day in days)
            if kept and kept.holds(self._changes, counts, int(now)):
                return kept.shown
            shown, is_final = self._listed(site, first, last, now)
            is_final &= end <= now
            kept = _Kept(self._changes, counts, int(now), is_final, shown)
            self._kept[site, first, last] = kept
        return shown

    def _listed(self, site: int, first: date, last: date, now: float) -> tuple[Shown, bool]:
        start = day_start(self._world, site, first)
        end = day_start(self._world, site, last + ONE_DAY)
        found, is_final = [], True
        for visit in self._candidates(site, first, last):
            count = visit.begun_by(now)
            is_final &= count == len(visit.actions)
            if count and start <= visit.actions[count - 1].at <= end:
                found.append((visit.actions[count - 1].at, _tie(visit), visit, count))
        found.sort(key=lambda each: each[:2])
        visits = tuple((visit, count) for _, _, visit, count in found)
        return Shown(visits, tuple(each[0] for each in found)), is_final

    def _candidates(self, site: int, first: date, last: date) -> list[Visit]:
        """All that may have their last action in these days, or had it there some time ago."""
        planned = [visit for day in _days(first, last) for visit in self._plan(site, day)]
        next_day = last + ONE_DAY
        count = self._numbers.get("visits", site, next_day)
        planned += plan_midnight(self._world, site, next_day, count)
        changed = self._changed.get(site, {})
        kept = [visit for visit in planned if visit.id_visit not in changed]
        return kept + [visit for visit in changed.values() if visit is not None]


def page(
    shown: Shown, limit: int, offset: int = 0, after: int | None = None, *, descending: bool = False
) -> Sequence[tuple[Visit, int]]:
    """Of the visits whose last action is later than `after`, `limit` (-1: all) from the offset."""
    visits = shown.visits[bisect_right(shown.lasts, after) if after is not None else 0 :]
    if descending:
        visits = visits[::-1]
    return visits[offset:] if limit < 0 else visits[offset : offset + limit]


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=ago) for ago in range((last - first).days + 1)]


def _tie(visit: Visit) -> int:
    """The order within a second: the same every time, and not that of the ids."""
    return visit.id_visit * 0x9E3779B97F4A7C15 % 2**32
