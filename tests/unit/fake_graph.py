"""A stand-in of the Graph API for tests of its fetchers: answers by a rule, remembers what it got.

Answers are shaped as shared facts/social.md 1.5, 1.8 and 2.3 have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import responses

from fetchers.graph import GraphApi
from fetchers.social import Collected
from fetchers.social_days import pacific_midnight
from fetchers.throttle import Throttle
from stopping import Stop
from tests.unit.helpers import InstantStop, make_http

DOCUMENTED = Path(__file__).parents[1] / "responses" / "social"
URL = "https://graph.facebook.test"
INSTAGRAM_URL = "https://graph.instagram.test"
USER_TOKEN = "sentinel-user-token"
PAGE_TOKEN = "sentinel-page-token"
PAGING = {"next": f"{URL}/trap?access_token={USER_TOKEN}", "previous": f"{URL}/trap"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. path: below the host."""

    host: str
    path: str
    params: Mapping[str, str]
    token: str

    @property
    def metrics(self) -> list[str]:
        return self.params.get("metric", "").split(",")

    @property
    def days(self) -> list[date]:
        """The Pacific days that begin in the time that was asked for."""
        since, until = int(self.params["since"]), int(self.params["until"])
        near = datetime.fromtimestamp(since, UTC).date() - timedelta(days=2)
        days = [near + timedelta(days=n) for n in range((until - since) // 86_400 + 5)]
        return [day for day in days if since <= pacific_midnight(day) < until]


Reply = tuple[int, Mapping[str, str], str] | Exception
Rule = Callable[[Asked], Reply | None]


@dataclass(slots=True)
class FakeGraph:
    """rule: what answers a request; None: no such path."""

    rule: Rule
    asked: list[Asked] = field(default_factory=list)

    def __call__(self, request: requests.PreparedRequest) -> Any:
        url = urlsplit(request.url or "")
        token = str(request.headers.get("Authorization", "")).removeprefix("Bearer ")
        asked = Asked(url.netloc, url.path, dict(parse_qsl(url.query)), token)
        assert "token" not in asked.params, "a token in a URL"
        assert USER_TOKEN not in str(request.url), "a token in a URL"
        assert not asked.path.endswith("trap"), "a paging link was followed"
        self.asked.append(asked)
        reply = self.rule(asked)
        return reply if reply is not None else error(2500, "Unknown path components")

    @property
    def insights(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.path.endswith("/insights")]


@contextmanager
def serving(rule: Rule) -> Iterator[FakeGraph]:
    fake = FakeGraph(rule)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(responses.GET, re.compile(r"https://graph\..*"), callback=fake)
        yield fake


def make_api(stop: Stop | None = None, version: str = "v25.0", attempts: int = 2) -> GraphApi:
    stop = stop or InstantStop()
    http = make_http(stop, attempts=attempts)
    return GraphApi(URL, INSTAGRAM_URL, version, http, Throttle(stop))


def documented(name: str) -> Any:
    """The body of an answer as documentation has it."""
    return json.loads((DOCUMENTED / f"{name}.json").read_text())["json"]


def ok(payload: object, headers: Mapping[str, str] | None = None) -> Reply:
    return 200, {"content-type": "application/json", **(headers or {})}, json.dumps(payload)


def error(
    code: int,
    message: str = "",
    *,
    subcode: int | None = None,
    status: int = 400,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> Reply:
    body: dict[str, object] = {"message": message, "type": "OAuthException", "code": code, **more}
    if subcode is not None:
        body["error_subcode"] = subcode
    body["fbtrace_id"] = "Aexample"
    return (
        status,
        {"content-type": "application/json", **(headers or {})},
        json.dumps({"error": body}),
    )


def end_time(day: date) -> str:
    """The midnight that ends a day, as both APIs write it, in a zone that is not Pacific."""
    ends = pacific_midnight(day + timedelta(days=1))
    return f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%dT%H:%M:%S}+0000"


def series(numbers: Mapping[str, Mapping[date, object]]) -> Reply:
    """An answer in the shape of a time series."""
    data = [
        {
            "name": name,
            "period": "day",
            "values": [
                {"value": value, "end_time": end_time(day)} for day, value in by_day.items()
            ],
            "title": name,
            "id": f"1/insights/{name}/day",
        }
        for name, by_day in numbers.items()
    ]
    return ok({"data": data, "paging": PAGING})


def totals(
    numbers: Mapping[str, object], parts: Mapping[str, Mapping[str, object]] | None = None
) -> Reply:
    """An answer in the shape of total values."""
    data: list[dict[str, object]] = []
    for name, value in numbers.items():
        total: dict[str, object] = {"value": value}
        if parts is not None:
            results = [
                {"dimension_values": [part], "value": number}
                for part, number in parts.get(name, {}).items()
            ]
            total["breakdowns"] = [{"dimension_keys": ["media_product_type"], "results": results}]
        data.append({"name": name, "period": "day", "total_value": total})
    return ok({"data": data, "paging": PAGING})


def rows(found: Collected, *days: date) -> dict[tuple[str, date], tuple[float, str]]:
    """What would be stored: (metric, day) -> (value, data_state)."""
    assert len({(v.name, v.day) for v in found.values}) == len(found.values), "a number twice"
    return {
        (v.name, v.day): (v.value, v.data_state) for v in found.values if not days or v.day in days
    }


def messages(found: Collected) -> Sequence[str]:
    return [error.message for error in found.errors]
