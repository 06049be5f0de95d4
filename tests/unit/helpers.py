"""What several unit tests need: time that does not pass, and sources that answer by a rule."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hypothesis
import requests
import responses

from fetchers.errors import FetchError
from fetchers.http import Answer, Http
from fetchers.matomo import VIEWABLE_SITES, MatomoServer, get_matomo_data
from fetchers.results import Fetched
from stopping import Stop

RESPONSES = Path(__file__).parents[1] / "responses" / "matomo"
DAY = date(2026, 11, 5)
MATOMO_URL = "https://matomo.test/analytics"
MATOMO_TOKEN = "sentinel-matomo-token"
JSON_HEADERS = {"content-type": "application/json; charset=utf-8"}

seldom = hypothesis.settings(max_examples=60, deadline=None, database=None)
"""Enough examples to find what is wrong, few enough to run with every change."""

Reply = tuple[int, Mapping[str, str], str] | Exception
Rule = Callable[[tuple[int, ...], tuple[date, ...]], Reply | None]


def fernet_key(number: int) -> str:
    """A key that is the same in every process: pytest-xdist compares the names of tests."""
    return base64.urlsafe_b64encode(bytes([number]) * 32).decode()


class Removed:
    """In a table of spoiled values: the field is not there at all."""

    def __repr__(self) -> str:
        return "removed"


REMOVED = Removed()


def days_from(first: date, number: int) -> tuple[date, ...]:
    return tuple(first + timedelta(days=n) for n in range(number))


class InstantStop(Stop):
    """Sleeps for no time at all, and remembers for how long it should have slept."""

    def __init__(self, deadline_seconds: float | None = None) -> None:
        super().__init__(deadline_seconds)
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def make_http(
    stop: Stop | None = None,
    *,
    attempts: int = 4,
    concurrency: int = 16,
    timeout_seconds: float = 5.0,
) -> Http:
    return Http(
        timeout_seconds=timeout_seconds,
        attempts=attempts,
        concurrency=concurrency,
        stop=stop or InstantStop(),
    )


def recorded(name: str) -> Answer:
    """An answer recorded from a real Matomo, as fetchers/http.py would hand it over."""
    record = json.loads((RESPONSES / f"{name}.json").read_text())
    body = record["text"] if "text" in record else json.dumps(record["json"])
    headers = {key.lower(): value for key, value in record["headers"].items()}
    return Answer(record["status"], headers, body.encode())


def json_reply(status: int, payload: object) -> Reply:
    return status, JSON_HEADERS, json.dumps(payload)


def error_reply(status: int, message: str) -> Reply:
    return json_reply(status, {"result": "error", "message": message})


def visits_of(site: int, day: date) -> int:
    """What a healthy stand-in says; different for every site and day."""
    return site * 1000 + day.toordinal() % 1000


class FakeMatomo:
    """Computes Matomo's answer from the query, unless `rule` has another one for these cells."""

    def __init__(
        self, viewable: Sequence[int], rule: Rule | None = None, *, refuse_list: bool = False
    ) -> None:
        self.viewable = viewable
        self.rule = rule
        self.refuse_list = refuse_list
        self.requests: list[requests.PreparedRequest] = []
        self.asked: list[tuple[tuple[int, ...], tuple[date, ...]]] = []
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> Any:
        query = {
            name: texts[0] for name, texts in parse_qs(urlsplit(request.url or "").query).items()
        }
        with self._lock:
            self.requests.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return self._answer(query)
        finally:
            with self._lock:
                self.in_flight -= 1

    def _answer(self, query: Mapping[str, str]) -> Reply:
        if query["method"] == VIEWABLE_SITES["method"]:
            if self.refuse_list:
                return error_reply(500, "SQLSTATE[HY000] [2002] Connection refused")
            return json_reply(200, list(self.viewable))
        sites = tuple(int(text) for text in query["idSite"].split(","))
        first, last = (date.fromisoformat(text) for text in query["date"].split(","))
        days = days_from(first, (last - first).days + 1)
        with self._lock:
            self.asked.append((sites, days))
        reply = self.rule(sites, days) if self.rule else None
        return reply or self._visits(sites, days)

    def _visits(self, sites: Sequence[int], days: Sequence[date]) -> Reply:
        table = {str(site): {str(day): visits_of(site, day) for day in days} for site in sites}
        return json_reply(200, table if len(sites) > 1 else table[str(sites[0])])


@contextmanager
def answering(matomo: FakeMatomo) -> Iterator[None]:
    """Every request to the Matomo of these tests is answered by `matomo`; any other one fails."""
    with responses.RequestsMock() as mock:
        url = f"{MATOMO_URL}/index.php"
        mock.add_callback(responses.POST, url, callback=matomo, content_type=None)
        yield


def fetch_from(
    matomo: FakeMatomo,
    wanted: Mapping[int, Sequence[date]],
    *,
    http: Http | None = None,
    sites_per_request: int = 50,
) -> Fetched[int, int]:
    server = MatomoServer(MATOMO_URL, MATOMO_TOKEN, sites_per_request)
    with answering(matomo):
        return get_matomo_data(wanted, server=server, http=http or make_http())


def known_cells(fetched: Fetched[int, int]) -> dict[tuple[int, date], int]:
    return {(site, day): n for site, days in fetched.values.items() for day, n in days.items()}


def missed_cells(fetched: Fetched[int, int]) -> dict[tuple[int, date], FetchError]:
    return {
        (site, day): missed.error
        for missed in fetched.missed
        for site in missed.targets
        for day in missed.days
    }
