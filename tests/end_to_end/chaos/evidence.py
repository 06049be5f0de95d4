"""What a run was asked for, and what it left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sandbox import Fault
from sandbox.records import Record
from tests.end_to_end.chaos.heard import Asked, Cell, Refused, Said
from tests.end_to_end.chaos.plans import Change, Plan, Profile
from tests.end_to_end.chaos.program import Outcome
from tests.integration.tables import Numbers

Stored = Mapping[Cell, Numbers]

SUMMARY = re.compile(
    r"Processed (\d+) sites\. Fetched Matomo data for (\d+)\. "
    r"Fetched GSC data for (\d+)\. Stored (\d+) records\."
)


@dataclass(frozen=True)
class Configured:
    """A row of table sites."""

    in_matomo: bool = True
    account: int | None = None


@dataclass(frozen=True)
class Wanted:
    """The cells of a run, by source, and the rows that it leaves; or why it cannot begin."""

    matomo: frozenset[Cell] = frozenset()
    gsc: frozenset[Cell] = frozenset()
    rows: frozenset[Cell] = frozenset()
    sites: int = 0
    impossible: str = ""

    def of(self, source: str) -> frozenset[Cell]:
        return {"matomo": self.matomo, "gsc": self.gsc}.get(source, self.rows)


@dataclass(frozen=True)
class HistoryRow:
    status: str
    counts: dict[str, Any]
    failures: list[dict[str, Any]]
    text: str

    def cells(self, source: str, site_of: Mapping[str, int]) -> set[Cell]:
        """What this source's failures say is missing."""
        return {
            (site_of[str(site)], date.fromisoformat(day))
            for failure in self.failures
            if failure["source"] == source
            for site in failure["sites"]
            for day in failure["days"]
        }


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A run of any job, from outside. alone: no other run was under way.

    fired: changes that came during the run.
    """

    store: str
    plan: Plan
    profile: Profile
    outcome: Outcome
    rows: list[HistoryRow]
    records: list[Record]
    asked: list[Asked]
    refused: list[Refused]
    most_in_flight: int
    met: list[Fault]
    secrets: list[str]
    database_met: bool = False
    fired: tuple[Change, ...] = ()
    skewed: bool = False
    alone: bool = True
    killed: bool = False
    stopped: bool = False

    @property
    def finished(self) -> HistoryRow | None:
        done = [row for row in self.rows if row.status != "running"]
        return done[-1] if done else None


@dataclass(frozen=True, kw_only=True)
class Evidence(Trace):
    """One nightly run. said: in this run; ever: since the sequence began."""

    wanted: Wanted
    sites: Mapping[int, Configured]
    before: Stored
    after: Stored
    said: Said
    ever: Said
    site_of: Mapping[str, int]
    deleted: frozenset[int] = frozenset()
    upset: frozenset[int] = frozenset()
    oldest: date = field(default=date.min)

    def failed(self, source: str) -> set[Cell]:
        row = self.finished
        return row.cells(source, self.site_of) if row else set()

    @property
    def summary(self) -> tuple[int, int, int, int] | None:
        """The four numbers of the last line; None where there is no such line."""
        last = self.outcome.out.rstrip("\n").rpartition("\n")[2]
        if last.startswith("{"):
            last = str(json.loads(last).get("message", ""))
        found = SUMMARY.fullmatch(last)
        if not found:
            return None
        sites, matomo, gsc, stored = map(int, found.groups())
        return sites, matomo, gsc, stored


def wanted_cells(
    plan: Plan, profile: Profile, today: date, sites: Mapping[int, Configured], before: Stored
) -> Wanted:
    """What the plan's words ask for, computed apart from the program."""
    ask = plan.ask
    window = ask.window(today, profile.target_days_ago, profile.lookback)
    gaps = ask.gaps and ask.days is not None
    chosen = {site: sites[site] for site in (ask.sites or sites) if site in sites}
    if window.last > today:
        return Wanted(impossible="is in the future")
    if not sites:
        return Wanted(impossible="no sites to work on")
    if len(chosen) < len(ask.sites):
        return Wanted(impossible="no deployed site has the id")

    def cells(places: range, configured: list[int]) -> frozenset[Cell]:
        return frozenset(
            (site, day)
            for site in configured
            for day in window
            if not gaps or _lacks(before, (site, day), places)
        )

    in_matomo = [s for s, c in chosen.items() if c.in_matomo and ask.source != "gsc"]
    in_gsc = [s for s, c in chosen.items() if c.account is not None and ask.source != "matomo"]
    if not (in_matomo or in_gsc or ask.sites or ask.source):
        return Wanted(impossible="no site to work on has")
    matomo, gsc = cells(range(1), in_matomo), cells(range(1, 3), in_gsc)
    everything = {(site, day) for site in chosen for day in window}
    rows = {c for c in everything if not gaps or c in matomo | gsc or c not in before}
    return Wanted(matomo, gsc, frozenset(rows), len(chosen))


def _lacks(stored: Stored, cell: Cell, places: range) -> bool:
    numbers = stored.get(cell)
    return numbers is None or any(numbers[place] is None for place in places)
