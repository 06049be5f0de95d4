"""What the social platforms said of each number, and what a sequence knows of their connections.

Answers are read here anew, and not by the program.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sandbox.messages import Answer, Call, Request
from sandbox.social_world import LEVELS, SocialWorld, zone_of

USERS, CONNECTIONS = 4, 8
CONNECTION_NUMBERS = range(1, CONNECTIONS + 1)
CATEGORY = "creatorContentType"
RENEWALS = ("/refresh_access_token", "/accessToken")
OWNERS_TURN = {459, 464}
"""Subcodes of a token that is good again once its owner has logged in or confirmed the account."""

Key = tuple[int, str, date]
"""A connection's number in the world, the name of a row's metric, and a day."""


@dataclass
class SaidSocial:
    """numbers: by the day that the answer dates them. levels: of the moment of reading.

    dead: connections whose token an answer refused for good; ended: with when the answer went out,
    those who were refused for whatever reason that holds for the whole account.
    """

    numbers: dict[Key, set[float]] = field(default_factory=lambda: defaultdict(set))
    levels: dict[tuple[int, str], set[float]] = field(default_factory=lambda: defaultdict(set))
    dead: set[int] = field(default_factory=set)
    ended: dict[int, float] = field(default_factory=dict)

    def add(self, other: SaidSocial) -> None:
        for key, numbers in other.numbers.items():
            self.numbers[key] |= numbers
        for level, numbers in other.levels.items():
            self.levels[level] |= numbers

    def allows(self, key: Key, value: float) -> bool:
        connection, metric, _ = key
        if metric in LEVELS and metric != "page_follows":
            return value in self.levels.get((connection, metric), ())
        return value in self.numbers.get(key, ())

    def hear(self, call: Call, answer: Answer) -> None:
        """Note the numbers of an answer; what is no number says nothing."""
        payload = json.loads(answer.body)
        if call.account is None or not isinstance(payload, dict):
            return
        read = {"youtube": _of_youtube, "linkedin": _of_linkedin}.get(call.source, _of_graph)
        for metric, day, value in read(payload, call):
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if day is None:
                self.levels[call.account, metric].add(value)
            else:
                self.numbers[call.account, metric, day].add(value)

    def hear_refusal(self, request: Request, call: Call, answer: Answer, at: float) -> None:
        """Note whom an answer ended. A token that cannot be renewed may be good, and whoever gets a
        new one is asked again."""
        if call.account is None:
            return
        if request.path.endswith(RENEWALS):
            if answer.status == 200:
                self.dead.discard(call.account)
                self.ended.pop(call.account, None)
            return
        dead, ended = _refusal(call, answer)
        if dead:
            self.dead.add(call.account)
        if dead or ended:
            self.ended.setdefault(call.account, at)


@dataclass
class SocialState:
    """What a sequence knows. tokens: how often each connection got another one, by which its mark
    is known again. revoked: whose token is dead at the platform. unclear: whose mark may be about
    either of two tokens, since two runs were under way."""

    world: SocialWorld
    ever: SaidSocial = field(default_factory=SaidSocial)
    tokens: Counter[int] = field(default_factory=Counter)
    marked_at: dict[int, int] = field(default_factory=dict)
    revoked: set[int] = field(default_factory=set)
    upset: set[int] = field(default_factory=set)
    held_back: set[tuple[int, date]] = field(default_factory=set)
    marks: dict[int, object] = field(default_factory=dict)
    unclear: set[int] = field(default_factory=set)
    touched: set[date] = field(default_factory=set)
    revision: int = 0

    def must_not_be_asked(self, connection: int) -> bool:
        return self.marked_at.get(connection) == self.tokens[connection]


Found = Iterator[tuple[str, date | None, object]]
"""Metric, day (None: as it is now), value."""


def _of_graph(payload: Mapping[str, Any], call: Call) -> Found:
    for name in LEVELS:
        if name in payload:
            yield name, None, payload[name]
    data = payload.get("data")
    for entry in data if isinstance(data, list) else ():
        name = entry.get("name", "")
        for item in entry.get("values", ()):
            yield name, _day_before(item.get("end_time")), item.get("value")
        if "total_value" in entry and call.days and call.days[0] == call.days[1]:
            total = entry["total_value"]
            yield name, call.days[0], total.get("value")
            for breakdown in total.get("breakdowns", ()):
                for part in breakdown.get("results", ()):
                    [word] = part["dimension_values"]
                    yield stored_name(f"{name}:{word.lower()}"), call.days[0], part["value"]


def stored_name(metric: str) -> str:
    """Instagram's two spellings of a part are one (facts/social.md 1.4)."""
    return f"{metric}s" if metric.endswith(":reel") else metric


def _day_before(end_time: object) -> date:
    """The day that ends at a midnight; day one where it is no time."""
    try:
        moment = datetime.fromisoformat(str(end_time))
    except ValueError:
        return date.min
    return (moment.astimezone(zone_of("facebook")) - timedelta(hours=12)).date()


def _of_youtube(payload: Mapping[str, Any], _call: Call) -> Found:
    names = [header["name"] for header in payload.get("columnHeaders", ())]
    for row in payload.get("rows", ()):
        cells = dict(zip(names, row, strict=False))
        if not isinstance(cells.get("day"), str):
            continue
        part = f":{cells[CATEGORY].lower().replace('_', '')}" if cells.get(CATEGORY) else ""
        for name in cells.keys() - {"day", CATEGORY}:
            yield f"{name}{part}", date.fromisoformat(cells["day"]), cells[name]


def _of_linkedin(payload: Mapping[str, Any], _call: Call) -> Found:
    if "firstDegreeSize" in payload:
        yield "firstDegreeSize", None, payload["firstDegreeSize"]
    for element in payload.get("elements", ()):
        if "timeRange" not in element:
            continue
        day = datetime.fromtimestamp(element["timeRange"]["start"] / 1000, UTC).date()
        for holder in ("totalShareStatistics", "followerGains"):
            for name, value in element.get(holder, {}).items():
                yield name, day, value
        views = element.get("totalPageStatistics", {}).get("views", {})
        yield "allPageViews", day, views.get("allPageViews", {}).get("pageViews")


def _refusal(call: Call, answer: Answer) -> tuple[bool, bool]:
    """Whether the token is dead, and whether the account gets nothing more in this run."""
    text = answer.body.decode(errors="replace")
    if call.source == "token":
        return '"invalid_grant"' in text, '"invalid_client"' in text
    if call.source == "linkedin":
        return answer.status == 401, answer.status in (403, 404, 426) and "message" in text
    if call.source == "youtube":
        return False, answer.status == 403 and _has(text, YOUTUBE_ENDS)
    return _graph_refusal(text)


YOUTUBE_ENDS = ("forbidden", "insufficientPermissions", "accessNotConfigured", "dailyLimitExceeded")


def _has(text: str, words: Sequence[str]) -> bool:
    return any(f'"{word}"' in text for word in words)


def _graph_refusal(text: str) -> tuple[bool, bool]:
    try:
        error = json.loads(text)["error"]
        code, subcode = int(error["code"]), error.get("error_subcode")
    except (ValueError, KeyError, TypeError):
        return False, False
    if "Page Access Token" in error["message"]:
        return False, True
    if subcode in OWNERS_TURN:
        return False, True
    return code in (190, 102), code in (3, 10, 368) or 200 <= code < 300 or subcode == 33


def new_world(now: Callable[[], datetime]) -> SocialWorld:
    return SocialWorld(users=USERS, connections=CONNECTIONS, now=now)
