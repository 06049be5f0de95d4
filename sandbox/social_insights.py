"""The insights of Instagram accounts and Facebook pages; the rules: facts/social.md 1.3-1.6, 2."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from sandbox.messages import Answer, json_answer
from sandbox.social_graph_errors import graph_error
from sandbox.social_metrics import (
    ALLOWED,
    BREAKDOWN,
    INSTAGRAM_SECONDS,
    KEPT,
    PAGE_METRICS,
    PAGE_SECONDS,
    SERIES,
    SINCE,
    SPLIT,
    TOTALS,
    Asked,
    window,
)
from sandbox.social_numbers import FOLLOWER_COUNT_DAYS, SocialNumbers
from sandbox.social_spoils import spoil_data, spoil_series, spoil_value
from sandbox.social_world import midnight


class Insights:
    """Answers what an account or a page had between since and until, to the second."""

    def __init__(self, numbers: SocialNumbers) -> None:
        self._numbers = numbers
        self._world = numbers.world

    def instagram(self, asked: Asked) -> Answer:
        parameters, now = asked.parameters, self._world.now()
        span = window(parameters, now)
        refusal = self._metric_refusal(asked)
        if refusal:
            return refusal
        if parameters.get("period") != "day":
            return graph_error("graph_100", "(#100) Incompatible period: day is wanted")
        if span is None or span[0] >= span[1]:
            return graph_error("graph_100", "(#100) since param must be less than until")
        if (span[1] - span[0]).total_seconds() > INSTAGRAM_SECONDS:
            message = "(#100) There cannot be more than 30 days (2592000 s) between since and until"
            return graph_error("graph_100", message)
        if span[0] < now - KEPT:
            message = "(#100) Metrics data is available for the last 2 years"
            return graph_error("graph_100", message)
        if parameters.get("metric_type", "time_series") == "time_series":
            return self._instagram_series(asked, span)
        return self._totals(asked, span)

    def page(self, asked: Asked) -> Answer:
        span = window(asked.parameters, self._world.now())
        if not asked.parameters.get("metric"):
            return graph_error("graph_3001_1504028")
        if not all(m in PAGE_METRICS and self._is_there(asked, m) for m in asked.metrics):
            return graph_error("graph_100")
        if span is None or span[0] >= span[1]:
            return graph_error("graph_100", "(#100) since param must be less than until")
        if (span[1] - span[0]).total_seconds() > PAGE_SECONDS:
            return graph_error("graph_100_1504016")
        periods = [asked.parameters.get("period", "")]
        if periods == [""]:
            periods = ["day", "week", "days_28"]
        is_small = asked.connection in self._world.small
        days = [] if is_small else self._ended_days(span)
        blocks = [self._series(asked, m, days, p) for m in asked.metrics for p in periods]
        return self._answer(asked, [block for block in blocks if block])

    def _is_there(self, asked: Asked, metric: str) -> bool:
        return asked.version >= SINCE.get(metric, 0)

    def _metric_refusal(self, asked: Asked) -> Answer | None:
        """One metric that does not fit fails the whole request (facts 1.3)."""
        allowed = [metric for metric in ALLOWED if self._is_there(asked, metric)]
        for place, metric in enumerate(asked.metrics):
            if metric not in allowed:
                # It lists those that are valid, not the one that is not.
                listed = f"must be one of the following values: {', '.join(allowed)}"
                return graph_error("graph_100", f"(#100) metric[{place}] {listed}")
        is_series = asked.parameters.get("metric_type", "time_series") == "time_series"
        fitting, other = (SERIES, "total_value") if is_series else (TOTALS, "time_series")
        wrong = [metric for metric in asked.metrics if metric not in fitting]
        if wrong:
            message = (
                f"(#100) The following metrics ({', '.join(wrong)}) should be specified with "
                f"parameter metric_type={other}"
            )
            return graph_error("graph_100", message)
        breakdown = asked.parameters.get("breakdown")
        if breakdown and (is_series or breakdown != BREAKDOWN or not {*asked.metrics} <= SPLIT):
            return graph_error("graph_1")
        return None

    def _instagram_series(self, asked: Asked, span: tuple[datetime, datetime]) -> Answer:
        oldest = self._world.today("instagram") - timedelta(days=FOLLOWER_COUNT_DAYS)
        if "follower_count" in asked.metrics and span[0] < midnight("instagram", oldest):
            message = (
                "(#100) (follower_count) metric only supports querying data for the last 30 days "
                "excluding the current day"
            )
            return graph_error("graph_100", message)
        is_small = asked.connection in self._world.small
        metrics = [m for m in asked.metrics if not (is_small and m == "follower_count")]
        days = self._ended_days(span)
        blocks = [self._series(asked, metric, days) for metric in metrics]
        return self._answer(asked, [block for block in blocks if block])

    def _totals(self, asked: Asked, span: tuple[datetime, datetime]) -> Answer:
        blocks = [self._total(asked, metric, span) for metric in asked.metrics]
        return self._answer(asked, [block for block in blocks if block])

    def _series(
        self, asked: Asked, metric: str, days: Sequence[date], period: str = "day"
    ) -> dict[str, Any] | None:
        """One metric, a value for each day that is out; None where there is no such day."""
        out = [day for day in days if self._numbers.is_out(asked.connection, day, metric)]
        values = [
            {"value": self._value(asked.connection, metric, day), "end_time": _end_time(day)}
            for day in out
        ]
        spoil_series(values, out, asked.faults)
        return {**self._block(asked, metric, period), "values": values} if values else None

    def _value(self, connection: int, metric: str, day: date) -> object:
        if metric == "page_actions_post_reactions_total":
            return {"like": 3, "love": 1}
        return self._numbers.get(connection, metric, day)

    def _total(
        self, asked: Asked, metric: str, span: tuple[datetime, datetime]
    ) -> dict[str, Any] | None:
        block = self._block(asked, metric)
        shares = self._shares(asked.connection, metric, span)
        if not shares:
            return None
        kinds = {fault.kind for fault in asked.faults}
        if metric == "follows_and_unfollows" or "no_total_value" in kinds:
            return block
        get = self._numbers.get
        whole = sum(round(get(asked.connection, metric, day) * part) for day, part in shares)
        total: dict[str, Any] = {"value": 0 if "zero_total" in kinds else whole}
        for fault in asked.faults:
            spoil_value(total, fault, shares[0][0])
        if "breakdown" in asked.parameters:
            total["breakdowns"] = [self._breakdown(asked.connection, metric, shares)]
        return {**block, "total_value": total}

    def _shares(
        self, connection: int, metric: str, span: tuple[datetime, datetime]
    ) -> list[tuple[date, float]]:
        """The days that are out, and how much of each lies in the time: [ASSUMED] to the second."""
        found = []
        day = span[0].date() - timedelta(days=1)
        while (begins := midnight("instagram", day)) < span[1]:
            ends = midnight("instagram", day + timedelta(days=1))
            inside = (min(ends, span[1]) - max(begins, span[0])).total_seconds()
            if inside > 0 and self._numbers.is_out(connection, day, metric):
                found.append((day, inside / (ends - begins).total_seconds()))
            day += timedelta(days=1)
        return found

    def _breakdown(
        self, connection: int, metric: str, shares: list[tuple[date, float]]
    ) -> dict[str, Any]:
        """The parts that have any; without one there is no list of results."""
        parts: dict[str, int] = {}
        for day, share in shares:
            for name, value in self._numbers.parts(connection, metric, day).items():
                parts[name] = parts.get(name, 0) + round(value * share)
        results = [{"dimension_values": [name], "value": value} for name, value in parts.items()]
        keys = {"dimension_keys": [BREAKDOWN]}
        return {**keys, "results": results} if results else keys

    def _ended_days(self, span: tuple[datetime, datetime]) -> list[date]:
        """The days whose end lies after since and not after until (facts 2.4)."""
        found = []
        day = span[0].date() - timedelta(days=2)
        while (ends := midnight("instagram", day + timedelta(days=1))) <= span[1]:
            if ends > span[0] and ends > self._world.now() - KEPT:
                found.append(day)
            day += timedelta(days=1)
        return found

    def _block(self, asked: Asked, metric: str, period: str = "day") -> dict[str, Any]:
        title = metric.replace("_", " ").capitalize()
        return {
            "name": metric,
            "period": period,
            "title": title,
            "description": f"{title} of an example account",
            "id": f"{self._world.account_id(asked.connection)}/insights/{metric}/{period}",
        }

    def _answer(self, asked: Asked, blocks: list[dict[str, Any]]) -> Answer:
        answer: dict[str, Any] = {"data": blocks, "paging": self._paging(asked)}
        spoil_data(answer, asked.faults)
        return json_answer(200, answer)

    def _paging(self, asked: Asked) -> dict[str, str]:
        """Links to the times before and after, each with the token in it, as Graph has them."""
        since, until = window(asked.parameters, self._world.now()) or (None, None)
        assert since
        assert until
        long = until - since
        spans = {"previous": (since - long, since), "next": (until, until + long)}
        return {
            name: f"{asked.trap}&"
            + urlencode(
                {
                    **{k: v for k, v in asked.parameters.items() if k != "access_token"},
                    "since": int(first.timestamp()),
                    "until": int(last.timestamp()),
                }
            )
            for name, (first, last) in spans.items()
        }


def _end_time(day: date) -> str:
    return midnight("instagram", day + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S+0000")
