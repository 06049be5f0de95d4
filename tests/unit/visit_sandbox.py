"""What the tests of the sandbox's visit log share: a world with a clock, and requests to Matomo."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sandbox import Fault, World
from sandbox.matomo import Matomo
from sandbox.messages import Request
from sandbox.revisions import Numbers
from sandbox.visit_log import VisitLog
from sandbox.world import MATOMO_TOKEN

RESPONSES = Path(__file__).parents[1] / "responses" / "matomo"
PACIFIC, TOKYO, OFFSET = 1, 2, 3
ZONES = ("America/Los_Angeles", "Asia/Tokyo", "UTC+3")
DAY = date(2026, 11, 10)
WORLD = World(sites=3, accounts=1, time_zones=ZONES, visits_per_day=12)


@dataclass
class Server:
    """Matomo of a world without a socket, and its clock."""

    world: World = WORLD
    now: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)
    matomo: Matomo = field(init=False)

    def __post_init__(self) -> None:
        self.world = replace(self.world, now=lambda: self.now)
        self.numbers = Numbers(self.world)
        self.matomo = Matomo(self.world, self.numbers)

    @property
    def log(self) -> VisitLog:
        return self.matomo.visit_log

    def body(self, method: str, *faults: Fault, **more: object) -> bytes:
        """The answer to a request as the visit log's importer sends it."""
        headers = Message()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        query = urlencode({"module": "API", "format": "JSON", "method": method, **more})
        target, form = f"/matomo/index.php?{query}", urlencode({"token_auth": MATOMO_TOKEN})
        request = Request("POST", target, headers, form.encode())
        return self.matomo.answer(request, self.matomo.describe(request), faults).body

    def page(self, site: int, day: date, *faults: Fault, **more: object) -> Any:
        """A page of the log; by default all of the day, oldest first."""
        asked = {"filter_limit": -1, "filter_sort_order": "asc", **more}
        fixed = {"idSite": site, "period": "day", "date": day}
        return json.loads(self.body("Live.getLastVisitsDetails", *faults, **fixed, **asked))

    def ids(self, site: int, day: date, **more: object) -> list[int]:
        return [visit["idVisit"] for visit in self.page(site, day, **more)]

    def number(self, site: int, day: date) -> int:
        """VisitsSummary's number of visits."""
        answer = self.body("VisitsSummary.getVisits", idSite=site, period="day", date=day)
        number: int = json.loads(answer)["value"]
        return number


def recorded(name: str) -> Any:
    """A recorded answer of Matomo 5.0.2."""
    loaded = json.loads((RESPONSES / f"{name}.json").read_text())
    return loaded["json"] if "request" in loaded else loaded
