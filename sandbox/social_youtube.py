"""The YouTube Analytics API v2: reports.query of a channel's days; facts/social.md 3."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sandbox.faults import Fault
from sandbox.messages import Answer, Call, Request, json_answer
from sandbox.social_access import SocialTokens, bearer
from sandbox.social_errors import youtube_error
from sandbox.social_numbers import SocialNumbers, stored_name
from sandbox.social_spoils import spoil_table

YOUTUBE_PATH = "/v2/reports"
YOUTUBE_SCOPE = "https://www.googleapis.com/auth/yt-analytics.readonly"
METRICS = (
    *("views", "engagedViews", "estimatedMinutesWatched", "averageViewDuration"),
    *("subscribersGained", "subscribersLost", "likes", "comments", "shares"),
)
SPLIT = frozenset({"views", "engagedViews", "estimatedMinutesWatched", "subscribersGained"})
# [ASSUMED] from the day on which Shorts were counted anew.
SINCE = {"engagedViews": date(2025, 3, 31)}
FIRST_DAY = date(2005, 2, 14)
DIMENSIONS = ("day", "creatorContentType")

Row = list[Any]


class YouTubeAnalytics:
    """Answers requests of /v2/reports."""

    def __init__(self, numbers: SocialNumbers, tokens: SocialTokens) -> None:
        self._world = numbers.world
        self._numbers = numbers
        self._tokens = tokens

    def describe(self, request: Request) -> Call:
        holder = self._tokens.holder(bearer(request))
        connection = holder.connection if holder and holder.kind == "user" else None
        return Call("youtube", account=connection, days=_asked_days(dict(request.query)))

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        connection, query = call.account, dict(request.query)
        if connection is None or self._world.platform_of(connection) != "youtube":
            return youtube_error("auth_error")
        if query.get("ids") not in {
            "channel==MINE",
            f"channel=={self._world.account_id(connection)}",
        }:
            return youtube_error("forbidden")
        metrics, dimensions = _names(query, "metrics"), _names(query, "dimensions")
        for metric in metrics:
            if metric not in METRICS:
                message = f"Unknown identifier ({metric}) given in field parameters.metrics."
                return youtube_error("unsupported_query", message)
        if call.days is None:
            message = "Invalid value for startDate or endDate: YYYY-MM-DD, in their order."
            return youtube_error("unsupported_query", message)
        if not metrics or not _is_supported(metrics, dimensions, _names(query, "sort")):
            return youtube_error("unsupported_query")
        rows = [
            row
            for day in self._days(connection, metrics, call.days)
            for row in self._rows(connection, metrics, dimensions, day)
        ]
        first = int(query.get("startIndex", 1)) - 1
        page = rows[first : first + int(query.get("maxResults", len(rows)))]
        return _table([*dimensions, *metrics], page, faults)

    def _days(self, connection: int, metrics: list[str], days: tuple[date, date]) -> list[date]:
        """The days on which every asked metric exists (facts 3.2)."""
        first = max(days[0], FIRST_DAY)
        last = min(days[1], self._world.today("youtube"))
        asked = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return [
            day
            for day in asked
            if all(
                self._numbers.is_out(connection, day, metric) and day >= SINCE.get(metric, day)
                for metric in metrics
            )
        ]

    def _rows(
        self, connection: int, metrics: list[str], dimensions: list[str], day: date
    ) -> list[Row]:
        get = self._numbers.get
        if dimensions == ["day"]:
            return [[str(day), *(get(connection, metric, day) for metric in metrics)]]
        return [
            [str(day), name]
            + [get(connection, f"{m}:{stored_name('youtube', name)}", day) for m in metrics]
            for name in self._numbers.parts(connection, "views", day)
        ]


def _table(columns: list[str], rows: list[Row], faults: Sequence[Fault]) -> Answer:
    answer: dict[str, Any] = {
        "kind": "youtubeAnalytics#resultTable",
        "columnHeaders": [_header(name) for name in columns],
    }
    if rows:  # without data there is no such key
        answer["rows"] = rows
    spoil_table(answer, faults)
    return json_answer(200, answer)


def _is_supported(metrics: list[str], dimensions: list[str], sort: list[str]) -> bool:
    """Totals of days, or a few metrics by the kind of content."""
    if dimensions == list(DIMENSIONS):
        if not {*metrics} <= SPLIT:
            return False
    elif dimensions != ["day"]:
        return False
    return {name.removeprefix("-") for name in sort} <= {*dimensions, *metrics}


def _header(name: str) -> dict[str, str]:
    if name in DIMENSIONS:
        return {"name": name, "columnType": "DIMENSION", "dataType": "STRING"}
    return {"name": name, "columnType": "METRIC", "dataType": "INTEGER"}


def _names(query: dict[str, str], parameter: str) -> list[str]:
    return [name for name in query.get(parameter, "").split(",") if name]


def _asked_days(query: dict[str, str]) -> tuple[date, date] | None:
    try:
        first, last = date.fromisoformat(query["startDate"]), date.fromisoformat(query["endDate"])
    except (KeyError, ValueError):
        return None
    return (first, last) if first <= last else None
