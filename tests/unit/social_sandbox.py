"""What the tests of the social stand-ins share: eight connections, and requests as a program
sends them. Connections 1 to 4 are of Instagram, Facebook, YouTube and LinkedIn."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import requests

from sandbox import Sandbox, SocialWorld
from sandbox.messages import Source
from sandbox.social_world import midnight

RESPONSES = Path(__file__).parents[1] / "responses" / "social"
NOW = datetime(2026, 11, 20, 20, tzinfo=UTC)
SOCIAL = SocialWorld(users=4, connections=8, small=frozenset({5, 6}), now=lambda: NOW)
DAY = date(2026, 11, 16)
ONE_DAY = timedelta(days=1)
BASES = {
    "instagram": "/graph.instagram",
    "facebook": "/graph.facebook",
    "youtube": "",
    "linkedin": "/api.linkedin",
}
NUMBER = {"instagram": 1, "facebook": 2, "youtube": 3, "linkedin": 4}
SOCIAL_SOURCES = cast(list[Source], list(NUMBER))


def documented(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((RESPONSES / f"{name}.json").read_text())
    return loaded


def ask(sandbox: Sandbox, platform: str, path: str, token: str = "", **more: Any) -> Any:
    """One request at a platform's base, with the account's token, without following redirects."""
    number = NUMBER[platform]
    wants_page = platform == "facebook" and "/insights" in path
    usual = SOCIAL.page_token(number) if wants_page else SOCIAL.access_token(number)
    headers = {
        "Authorization": f"Bearer {token or usual}",
        "LinkedIn-Version": "202603",
        "X-Restli-Protocol-Version": "2.0.0",
        **more.get("headers", {}),
    }
    url = f"{sandbox.url}{BASES[platform]}{path}"
    return requests.get(url, headers=headers, timeout=5, allow_redirects=False)


def seconds(day: date) -> int:
    return int(midnight("instagram", day).timestamp())


def insights(
    platform: str,
    metrics: str,
    *,
    first: date = DAY,
    last: date = DAY,
    more: str = "",
    version: str = "v25.0",
    number: int | None = None,
) -> str:
    account_id = SOCIAL.account_id(number or NUMBER[platform])
    span = f"since={seconds(first)}&until={seconds(last + ONE_DAY)}"
    return f"/{version}/{account_id}/insights?metric={metrics}&period=day&{span}{more}"


def totals(metrics: str, **more: Any) -> str:
    return insights("instagram", metrics, more="&metric_type=total_value", **more)


def reports(metrics: str, first: date, last: date, dimensions: str = "day") -> str:
    return (
        f"/v2/reports?ids=channel%3D%3DMINE&startDate={first}&endDate={last}&metrics={metrics}"
        f"&dimensions={dimensions}&sort=day"
    )


def statistics(
    what: str = "organizationalEntityShareStatistics",
    first: date = DAY,
    last: date = DAY,
    finder: str = "organizationalEntity",
) -> str:
    start, end = (int(midnight("linkedin", d).timestamp() * 1000) for d in (first, last + ONE_DAY))
    return (
        f"/rest/{what}?q={finder}&{finder}=urn%3Ali%3Aorganization%3A{SOCIAL.account_id(4)}"
        f"&timeIntervals=(timeRange:(start:{start},end:{end}),timeGranularityType:DAY)"
    )


USUAL = {
    "instagram": insights("instagram", "reach"),
    "facebook": insights("facebook", "page_media_view"),
    "youtube": reports("views,likes", DAY, DAY + ONE_DAY),
    "linkedin": statistics(last=DAY + ONE_DAY),
}


def shape(value: Any) -> Any:
    """Keys and the types of values; of a list its different shapes, of a table's row its types."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    return "number" if isinstance(value, int | float) else type(value).__name__


def items(answer: Any) -> list[Any]:
    found: list[Any] = answer.get("rows") or answer.get("elements") or answer["data"][0]["values"]
    return found


def values(response: Any) -> dict[str, list[tuple[Any, str]]]:
    """Of a series: values and times by metric."""
    return {
        block["name"]: [(value["value"], value["end_time"]) for value in block["values"]]
        for block in response.json()["data"]
    }
