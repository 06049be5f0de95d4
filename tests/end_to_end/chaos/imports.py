"""One import of the visit log while a plan goes wrong around it, and what it left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from models import days_between
from sandbox.visit_plan import day_start
from tests.end_to_end.chaos.evidence import Stored, Trace
from tests.end_to_end.chaos.plans import Ask, Plan
from tests.end_to_end.chaos.program import run_program
from tests.end_to_end.chaos.stage import Run, Stage
from tests.end_to_end.chaos.visits_said import SaidVisits, Visits, version_of
from tests.end_to_end.chaos.world import LOG_SITES, ChaosWorld

ONE_DAY = timedelta(days=1)
CLOSES_AFTER = timedelta(hours=1)
CREATED = date(2024, 10, 20)
"""Of all sites, as sandbox/live.py says."""
CLOCK_AHEAD = timedelta(minutes=5)
SOON = timedelta(hours=72)
"""A clock that is wrong by more makes the next import read a month: that takes seconds."""


@dataclass(frozen=True)
class AskedDays:
    """What an import was to read of a site. base: what its watermark is, or begins at; oldest: what
    it may go back to, where the last complete day is read once more and that fails."""

    base: date
    oldest: date
    days: list[date]
    closed: list[date]


@dataclass(frozen=True, kw_only=True)
class Imported(Trace):
    """One import. log: by site and day, what the visit log holds of closed days after the run.

    said: in this run; ever: since the sequence began. marks: the watermarks. due: visits of days
    that were complete before. upset: visits that changed during the run. daily: the other job's
    table, before and after.
    """

    wanted: Mapping[int, AskedDays]
    before: Visits
    after: Visits
    marks_before: Mapping[int, date]
    marks: Mapping[int, date]
    log: Mapping[tuple[int, date], Visits]
    said: SaidVisits
    ever: SaidVisits
    due: frozenset[int]
    upset: frozenset[int]
    daily: tuple[Stored, Stored]

    @property
    def moved(self) -> set[int]:
        """Sites whose watermark is another now."""
        return {site for site, mark in self.marks.items() if mark != self.marks_before.get(site)}


def an_import(stage: Stage, plan: Plan, run: Run = run_program, **more: Any) -> Imported:
    """Run `aggregator.py visits` once, as `Stage.night` runs the nightly job."""
    for change in plan.changes:
        if not change.at:
            stage.change(change)
    stage.tally.met["import of the visit log"] += 1
    skew, stage.skew = stage.skew, stage.skew if abs(stage.skew) <= SOON else timedelta(0)
    stage.log_upset.clear()
    table, daily = stage.visit_log_table, stage.store.stored()
    before = stage.store.visits(table)
    marks_before = stage.store.watermarks(table)
    now = stage.now + stage.skew
    wanted = {
        site: asked_days(stage, plan.ask, site, marks_before, now)
        for site in plan.ask.sites or LOG_SITES
    }
    stage.log_touched.update(day for asked in wanted.values() for day in asked.days)
    trace = stage.run(plan, words(plan.ask, now), run, **more)
    stage.skew = skew
    said = stage.heard.said_visits
    stage.ever_visits.add(said)
    imported = Imported(
        **trace,
        wanted=wanted,
        before=before,
        after=stage.store.visits(table),
        marks_before=marks_before,
        marks=stage.store.watermarks(table),
        log={(s, day): visits_of(stage, s, day) for s, a in wanted.items() for day in a.closed},
        said=said,
        ever=stage.ever_visits,
        due=frozenset(stage.log_due),
        upset=frozenset(stage.log_upset),
        daily=(daily, stage.store.stored()),
    )
    stage.log_due.update(set(became_due(imported)) & imported.after.keys())
    return imported


def words(ask: Ask, now: datetime) -> list[str]:
    """The command line; days that end today have no end."""
    found = ["visits", *ask.style]
    if ask.days is not None:
        first, last = (now.date() - timedelta(days=ago) for ago in ask.days)
        found += ["--from", str(first), *(["--to", str(last)] if ask.days[1] else [])]
    for site in ask.sites:
        found += ["--matomo-site", str(site)]
    return found


def asked_days(
    stage: Stage, ask: Ask, site: int, marks: Mapping[int, date], now: datetime
) -> AskedDays:
    """By the rules of docs/visit-log.md, "Which days", apart from the program."""
    mark = marks.get(site)
    clock = stage.now if now - stage.now >= CLOCK_AHEAD else now  # Matomo's, if ours is ahead
    today = last = clock.astimezone(stage.world.zone_of(site)).date()
    first = offset = today - timedelta(days=stage.profile.offset)
    if mark is None and marks:  # it came since the others were read
        first = offset = min(offset, max(min(marks.values()) + ONE_DAY, CREATED))
    if mark is not None and mark >= today:
        mark = offset - ONE_DAY
    if ask.days is not None:
        first, end = (now.date() - timedelta(days=ago) for ago in ask.days)
        last = min(end, today) if ask.days[1] else today
    elif mark is not None:
        first = min(mark + ONE_DAY, today)
    days = days_between(first, last) if first <= last else []
    closed = [day for day in days if clock.timestamp() >= _closes(stage.world, site, day)]
    base = mark or min(first, offset) - ONE_DAY
    return AskedDays(base, base - ONE_DAY if ask.days is None else base, days, closed)


def _closes(world: ChaosWorld, site: int, day: date) -> float:
    return day_start(world, site, day + ONE_DAY) + CLOSES_AFTER.total_seconds()


def visits_of(stage: Stage, site: int, day: date) -> Visits:
    """What the log shows now of a day: all that a complete import of it must have."""
    shown = stage.heard.visit_log.visits(site, day)
    return {visit["idVisit"]: version_of(visit) for visit in shown}


def became_due(e: Imported) -> Visits:
    """The visits of the days that this run declared complete, but those that changed meanwhile."""
    return {
        visit: version
        for (site, day), visits in e.log.items()
        if site in e.moved and e.wanted[site].base < day <= e.marks[site]
        for visit, version in visits.items()
        if visit not in e.upset
    }


def recover(stage: Stage) -> tuple[Imported, Visits]:
    """An import without faults from the first day that anything concerned; what it must leave."""
    stage.profile = replace(stage.profile, page=50)
    first = min(stage.log_touched)
    imported = an_import(stage, Plan(Ask(days=((stage.now.date() - first).days, 0))))
    expected: Visits = {}
    for site in LOG_SITES:
        for day in days_between(first, stage.log_today(site)):
            expected |= visits_of(stage, site, day)
    return imported, expected
