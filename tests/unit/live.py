"""A visit log that answers by the rules of facts/matomo.md, for tests without a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
import responses

from fetchers.matomo import MatomoServer
from fetchers.matomo_visits import MatomoSite
from tests.unit.helpers import JSON_HEADERS, MATOMO_TOKEN, MATOMO_URL, Reply

SERVER = MatomoServer(MATOMO_URL, MATOMO_TOKEN)
SITE = MatomoSite(7, "Seven", "UTC", UTC)
DAY = date(2026, 11, 18)
DAY_BEGINS = 1_794_960_000
"""2026-11-18 00:00:00 UTC."""

Entry = tuple[int, int]
"""idVisit and the second of the last action."""


def visit(number: int, last: int, **more: Any) -> dict[str, Any]:
    action = {"type": "action", "timestamp": last, "url": f"https://a.example/{number}"}
    return {
        "idSite": 7,
        "idVisit": number,
        "actionDetails": [action],
        "firstActionTimestamp": last,
        "lastActionTimestamp": last,
        **more,
    }


class FakeLive:
    """Live.getLastVisitsDetails over entries in the order of their last action.

    inclusive: minTimestamp as newer versions are said to take it. before: called before each
    answer, for what happens meanwhile; it may return another answer.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        inclusive: bool = False,
        before: Callable[[FakeLive, Mapping[str, str]], Reply | None] = lambda _live, _query: None,
    ) -> None:
        self.entries = list(entries)
        self.inclusive = inclusive
        self.before = before
        self.large: int | None = None
        self.queries: list[dict[str, str]] = []
        self.bodies: list[object] = []

    def __call__(self, request: requests.PreparedRequest) -> Any:
        query = {k: v[0] for k, v in parse_qs(urlsplit(request.url or "").query).items()}
        self.queries.append(query)
        self.bodies.append(request.body)
        return self.before(self, query) or (200, JSON_HEADERS, json.dumps(self.answer(query)))

    def answer(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        after = int(query["minTimestamp"]) - (1 if self.inclusive else 0)
        found = sorted((e for e in self.entries if e[1] > after), key=lambda entry: entry[1])
        offset = int(query.get("filter_offset", 0))
        return [
            self._visit(*entry) for entry in found[offset : offset + int(query["filter_limit"])]
        ]

    def _visit(self, number: int, last: int) -> dict[str, Any]:
        more = {"userId": "x" * 2_000} if number == self.large else {}
        return visit(number, last, **more)


@contextmanager
def live(fake: FakeLive) -> Iterator[None]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(
            responses.POST, f"{MATOMO_URL}/index.php", callback=fake, content_type=None
        )
        yield
