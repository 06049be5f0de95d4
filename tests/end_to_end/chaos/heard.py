"""The sandbox with a witness: what the sources said, by cell, and whom they refused."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from models import days_between
from sandbox import Fault, Sandbox
from sandbox.fault_answers import Table
from sandbox.faults import CELL_KINDS, DELIVERY_KINDS, ROW_KINDS, Faults
from sandbox.matomo import Matomo
from sandbox.messages import Answer, Call, Request
from sandbox.revisions import Numbers
from sandbox.server import Api
from sandbox.social_world import PLATFORMS, SocialWorld
from tests.end_to_end.chaos.social_said import SaidSocial
from tests.end_to_end.chaos.visits_said import NAMED_KINDS, SaidVisits
from tests.end_to_end.chaos.world import LOG_SITES, ChaosWorld

Cell = tuple[int, date]
"""A site's number in the world, and a day."""

ACCOUNT_ENDS = {"insufficient_scope", "access_not_configured", "daily_limit_exceeded"}


@dataclass
class Said:
    """What the sources answered; a number that was spoiled on its way is not said.

    visits: whole numbers. search: (clicks, impressions), (0, 0) where a published day has no row.
    silent: cells of good answers that leave open whether the day is zero or not published.
    """

    visits: dict[Cell, set[int]] = field(default_factory=lambda: defaultdict(set))
    search: dict[Cell, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    silent: set[Cell] = field(default_factory=set)

    def add(self, other: Said) -> None:
        for cell, visits in other.visits.items():
            self.visits[cell] |= visits
        for cell, pairs in other.search.items():
            self.search[cell] |= pairs
        self.silent |= other.silent


@dataclass(frozen=True)
class Asked:
    """One request as it arrived: whose credential it carried, and when."""

    source: str
    credential: str
    at: float


@dataclass(frozen=True)
class Refused:
    """A credential that an answer refused for good."""

    credential: str
    at: float


class CountedFaults(Faults):
    """Faults that count which of them were met."""

    def __init__(self) -> None:
        super().__init__()
        self.met: Counter[Fault] = Counter()

    def meeting(self, call: Call) -> list[Fault]:
        faults = super().meeting(call)
        spoiled = call.cells or call.source in PLATFORMS
        real = [f for f in faults if spoiled or f.kind not in CELL_KINDS]
        self.met.update(real)
        return faults


class ChaosMatomo(Matomo):
    """A Matomo that has the sites of the visit log beside the others."""

    def __init__(self, world: ChaosWorld, numbers: Numbers) -> None:
        super().__init__(world, numbers)
        self._sites += LOG_SITES

    def _table(self, sites: Sequence[int], days: Sequence[date]) -> Table:
        if not set(sites) <= set(LOG_SITES):
            return super()._table(sites, days)
        return {site: {day: self.visit_log.count(site, day) for day in days} for site in sites}


class Heard(Sandbox):
    """A sandbox that remembers what it said since `begin`, and can be changed at any request.

    at_request: what to do when so many requests have come, counted from 1.
    """

    world: ChaosWorld

    def __init__(self, world: ChaosWorld, social: SocialWorld) -> None:
        super().__init__(world, social=social)
        self._matomo = ChaosMatomo(world, self._numbers)
        self.faults: CountedFaults = CountedFaults()
        self.at_request: dict[int, list[Callable[[], None]]] = {}
        self._witness = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Forget what was heard, asked and refused; a new run begins."""
        with self._witness:
            self.said = Said()
            self.said_visits = SaidVisits()
            self.said_social = SaidSocial()
            self.asked: list[Asked] = []
            self.refused: list[Refused] = []
            self.requests_seen = 0
        self.records.clear()
        self.faults.met.clear()
        self.unblock()

    def at(self, request: int, happening: Callable[[], None]) -> None:
        """Let something happen when so many requests have come since `begin`."""
        self.at_request.setdefault(request, []).append(happening)

    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.records._now["total"] > 0

    def look_again(self) -> None:
        """Matomo takes over which sites the world hides now; its visit log stays."""
        visit_log = self.visit_log
        self._matomo = ChaosMatomo(self.world, self._numbers)
        self._matomo.visit_log = visit_log

    def number(self, metric: Any, site: int, day: date) -> int:
        """What the source would say now."""
        return self._numbers.get(metric, site, day)

    def answer(self, request: Request) -> tuple[Answer, Fault | None]:
        api = super()._api(request.path)
        if api is None:
            return super().answer(request)
        call = api.describe(request)
        with self._witness:
            self.requests_seen += 1
            due = self.at_request.pop(self.requests_seen, [])
            self.asked.append(Asked(call.source, _credential(call), time.monotonic()))
        for change in due:
            change()
        answer, delivery = super().answer(request)
        if delivery is None:  # whoever is cut off has not been told
            self._note_refusal(call, answer)
            with self._witness:
                self.said_social.hear_refusal(request, call, answer, time.monotonic())
        return answer, delivery

    def _api(self, path: str) -> Api | None:
        api = super()._api(path)
        return None if api is None else _Witnessed(api, self)

    def _note_refusal(self, call: Call, answer: Answer) -> None:
        if call.source in PLATFORMS:
            return
        text = answer.body.decode(errors="replace")
        of_matomo = (answer.status == 401 and "token" in text) or "failed logins" in text
        whose = {
            "matomo": of_matomo,
            "visits": of_matomo,
            "token": '"invalid_grant"' in text or '"invalid_client"' in text,
        }.get(call.source, any(kind in text for kind in REFUSING_REASONS))
        if whose:
            client = call.source == "token" and '"invalid_client"' in text
            with self._witness:
                refused = "client" if client else _credential(call)
                self.refused.append(Refused(refused, time.monotonic()))

    def hear(self, call: Call, answer: Answer, faults: Sequence[Fault]) -> None:
        """Note the numbers of an answer that nothing stands in for."""
        if answer.status == 200 and call.source in PLATFORMS:
            with self._witness:
                self.said_social.hear(call, answer)
            return
        if answer.status != 200 or call.days is None:
            return
        payload = json.loads(answer.body)
        days = days_between(*call.days)
        with self._witness:
            if call.source == "matomo":
                self._hear_visits(payload, call.sites, days)
            elif call.source == "visits":
                self.said_visits.hear(payload)
            elif not (payload.get("rows") and any(f.kind in ROW_KINDS for f in faults)):
                self._hear_search(payload, call.sites[0], days)

    def hear_spoiled(
        self, call: Call, answer: Answer, unspoiled: Answer, faults: Sequence[Fault]
    ) -> None:
        """Note which visits of a page of the visit log were spoiled so that they must be named."""
        day = (call.sites[0], call.days[0]) if call.days else None
        arrives = not any(fault.kind in DELIVERY_KINDS for fault in faults)
        with self._witness:
            self.said_visits.note_spoiled(
                json.loads(answer.body), json.loads(unspoiled.body), day if arrives else None
            )

    def _hear_visits(self, payload: Any, sites: Sequence[int], days: Sequence[date]) -> None:
        table = {str(sites[0]): payload} if len(sites) == 1 else payload
        for site in sites if table else ():  # PHP writes an empty map as []
            of_site = table.get(str(site)) or {}
            for day in days:
                number = of_site.get(str(day))
                if type(number) is int and number >= 0:
                    self.said.visits[site, day].add(number)

    def _hear_search(self, payload: Any, site: int, days: Sequence[date]) -> None:
        """facts/gsc.md: a row is a number; without one a final day, or a day before one that has
        a row, is a zero. What says no boundary may be read either way."""
        rows = {date.fromisoformat(r["keys"][0]): r for r in payload.get("rows", [])}
        newest = max(rows, default=date.min)
        for day in days:
            state = self.world.search_state(day)
            if day in rows:
                pair = (int(rows[day]["clicks"]), int(rows[day]["impressions"]))
                self.said.search[site, day].add(pair)
            elif state == "final" or (state == "provisional" and day < newest):
                self.said.search[site, day].add((0, 0))
            else:
                self.said.silent.add((site, day))
                if state == "provisional" and site in self.world.without_boundary:
                    self.said.search[site, day].add((0, 0))


REFUSING_REASONS = ("accessNotConfigured", "insufficientPermissions", "dailyLimitExceeded")


class _Witnessed:
    """An API of the sandbox whose answers are noted."""

    def __init__(self, api: Api, heard: Heard) -> None:
        self._api = api
        self._heard = heard

    def describe(self, request: Request) -> Call:
        return self._api.describe(request)

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        answer = self._api.answer(request, call, faults)
        self._heard.hear(call, answer, faults)
        if call.source == "visits" and any(fault.kind in NAMED_KINDS for fault in faults):
            others = [fault for fault in faults if fault.kind not in NAMED_KINDS]
            unspoiled = self._api.answer(request, call, others)
            if unspoiled.body != answer.body:
                self._heard.hear_spoiled(call, answer, unspoiled, faults)
        return answer


def _credential(call: Call) -> str:
    if call.source in PLATFORMS:
        return f"connection {call.account}"
    return "matomo" if call.source in ("matomo", "visits") else f"account {call.account}"
