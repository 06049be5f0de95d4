"""The shapes of Facebook's and Instagram's insights, and which days to ask for. Pure functions.

Shapes are those of shared facts/social.md 1.5 and 2.3. What is not there is not known, never 0.
`paging` is left alone: it leads to other times, not to more rows. A metric with a value of no known
shape is left out and its failure put into `odd`: the others are as good as ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fetchers.errors import SettingsError, UnexpectedAnswer
from fetchers.graph import keep_error
from fetchers.social import Collected
from fetchers.social_days import day_of_end_time, pacific_day, pacific_midnight
from fetchers.social_metrics import Metric

Number = int | float

YEARS_KEPT = 2
PART = re.compile(r"\w{1,40}", re.ASCII)
SAME_PART = {"reel": "reels"}
"""Both spellings are seen (facts 1.4): a reader of `views:reels` must not miss some days."""

LARGEST = 2**63 - 1  # more than that is no count of anything


@dataclass(frozen=True, slots=True)
class Total:
    """A metric over the time that was asked for. value: None where the API has none."""

    value: Number | None
    parts: Mapping[str, Number] = field(default_factory=dict)


def parse_series(
    payload: Mapping[str, Any],
    metrics: Sequence[Metric],
    days: Sequence[date],
    odd: list[UnexpectedAnswer],
) -> dict[tuple[Metric, date], Number]:
    """The values of some days, each dated by its own end_time.

    Values of other days, of periods other than a day, and values by dimension are left out.

    Raises:
        UnexpectedAnswer: it has not the shape of insights.
    """
    found: dict[tuple[Metric, date], Number] = {}
    wanted = set(days)
    for metric, entry in _entries(payload, metrics):
        with _of_one_metric(odd):
            numbers = dict(_numbers_by_day(metric, entry))
            found |= {(metric, day): n for day, n in numbers.items() if day in wanted}
    return found


def parse_totals(
    payload: Mapping[str, Any], metrics: Sequence[Metric], odd: list[UnexpectedAnswer]
) -> dict[Metric, Total]:
    """Each metric's total, and its parts in lower case where the request asked for its split.

    Raises:
        UnexpectedAnswer: it has not the shape of insights.
    """
    found = {}
    for metric, entry in _entries(payload, metrics):
        with _of_one_metric(odd):
            total = entry.get("total_value", {})  # there may be none at all (facts 1.4)
            if not isinstance(total, dict) and total != []:
                raise UnexpectedAnswer(f"the total of {metric.name} is no object")
            total = total or {}
            found[metric] = Total(_number(total.get("value"), metric), _parts(total, metric))
    return found


def parse_fields(
    payload: Mapping[str, Any], metrics: Sequence[Metric], odd: list[UnexpectedAnswer]
) -> dict[Metric, Number]:
    """The fields of an account that it has."""
    found = {}
    for metric in metrics:
        with _of_one_metric(odd):
            number = _number(payload.get(metric.name), metric)
            if number is not None:
                found[metric] = number
    return found


def askable_days(days: Sequence[date], now: datetime, found: Collected) -> list[date]:
    """The days, in order, that are over and that Meta still has; `found` is told of the others."""
    first = pacific_day(now - timedelta(days=365 * YEARS_KEPT)) + timedelta(days=1)
    today = pacific_day(now)
    found.waiting |= {day for day in days if day >= today}
    if any(day < first for day in days):
        message = f"Facebook and Instagram keep {YEARS_KEPT} years of insights"
        mend = f"ask for days from {first} on (--from and --to)"
        keep_error(found, SettingsError(message, mend=mend))
    return sorted({day for day in days if first <= day < today})


def ranges(days: Sequence[date], longest_seconds: int) -> list[list[date]]:
    """Days in order, in as few ranges as fit into so many seconds.

    Not into so many days: 30 days with the end of summer time in them are an hour too long.
    """
    parts: list[list[date]] = []
    for day in days:
        if parts and span_of([parts[-1][0], day])[1] <= longest_seconds + _begin(parts[-1]):
            parts[-1].append(day)
        else:
            parts.append([day])
    return parts


def span_of(days: Sequence[date]) -> tuple[int, int]:
    """since and until: where the first day begins and where the last one ends."""
    return pacific_midnight(days[0]), pacific_midnight(days[-1] + timedelta(days=1))


def began_within(day: date, now: datetime, span: timedelta) -> bool:
    """Whether a Pacific day began no longer ago than that."""
    return datetime.fromtimestamp(pacific_midnight(day), UTC) >= now - span


def _begin(days: Sequence[date]) -> int:
    return pacific_midnight(days[0])


def _entries(
    payload: Mapping[str, Any], metrics: Sequence[Metric]
) -> Iterator[tuple[Metric, dict[str, Any]]]:
    """By name, not by id: one id differs from its metric (facts 2.3)."""
    by_name = {metric.name: metric for metric in metrics}
    for entry in _list(payload, "data"):
        metric = by_name.get(str(entry.get("name")))
        if metric and entry.get("period", "day") == "day":
            yield metric, entry


@contextmanager
def _of_one_metric(odd: list[UnexpectedAnswer]) -> Iterator[None]:
    try:
        yield
    except UnexpectedAnswer as error:
        odd.append(error)


def _numbers_by_day(metric: Metric, entry: Mapping[str, Any]) -> Iterator[tuple[date, Number]]:
    for item in _list(entry, "values"):
        number, day = _number(item.get("value"), metric), _day(item.get("end_time"), metric)
        if number is not None:
            yield day, number


def _list(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = holder.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnexpectedAnswer(f"insights without a list of objects in {name}")
    return items


def _parts(total: Mapping[str, Any], metric: Metric) -> dict[str, Number]:
    parts: dict[str, Number] = {}
    for breakdown in _list(total, "breakdowns") if "breakdowns" in total else []:
        if breakdown.get("dimension_keys") != [metric.split] or "results" not in breakdown:
            continue
        for result in _list(breakdown, "results"):
            number = _number(result.get("value"), metric)
            if number is not None:
                part = _part_name(result.get("dimension_values"), metric)
                parts[part] = parts.get(part, 0) + number
    return parts


def _part_name(values: object, metric: Metric) -> str:
    if isinstance(values, list) and len(values) == 1:
        name = values[0]
        if isinstance(name, str) and PART.fullmatch(name):
            return SAME_PART.get(name.lower(), name.lower())
    raise UnexpectedAnswer(f"a part of {metric.name} without a name")


def _number(value: object, metric: Metric) -> Number | None:
    """None for what is absent, or comes by dimension; where there are none, PHP writes []."""
    if value is None or isinstance(value, dict) or value == []:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnexpectedAnswer(f"a value of {metric.name} is no number")
    if not abs(value) <= LARGEST:  # nor is what compares with nothing
        raise UnexpectedAnswer(f"a value of {metric.name} is out of range")
    return value


def _day(text: object, metric: Metric) -> date:
    try:
        return day_of_end_time(text if isinstance(text, str) else "")
    except ValueError:
        raise UnexpectedAnswer(f"a value of {metric.name} without an end_time") from None
