"""What a report of YouTube Analytics says. Pure functions (shared facts/social.md, 3.2 and 3.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeGuard

from fetchers.errors import UnexpectedAnswer

PART = re.compile(r"[A-Za-z_]{1,40}")
POST_TYPES = {"shorts": "short", "videoondemand": "video", "livestream": "live", "story": "story"}

PLAYBACK_STARTS = "playback starts"
SHORTS_BY_STARTS_SINCE = date(2025, 3, 31)
ALL_BY_STARTS_SINCE = date(2026, 8, 24)

LARGEST = 2**63 - 1  # more than that is no count of anything

Cell = tuple[str, date, str | None]
"""Metric, day and part of one number; no part in a report of totals."""


@dataclass(frozen=True, slots=True)
class Report:
    """numbers: what is known. days: which have a row. metrics: which have a column.

    odd: the metrics of which a cell holds something that is no number, and is left out.
    """

    numbers: Mapping[Cell, int | float]
    days: frozenset[date]
    metrics: frozenset[str]
    odd: frozenset[str]


def parse_report(answer: Mapping[str, Any], split: str | None = None) -> Report:
    """Read a table by its column headers, whatever their order.

    A report without data has no `rows`; a cell without a number is not known. One that holds
    anything else costs the others nothing.

    Raises:
        UnexpectedAnswer: it is no such table, or has two rows of one day (and part).
    """
    if "errors" in answer:
        raise UnexpectedAnswer("YouTube: a report that says it has failed")
    try:
        return _parse(answer, split)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UnexpectedAnswer(
            f"YouTube: a report of another shape ({type(error).__name__})"
        ) from None


def part_of(value: str) -> str:
    """`VIDEO_ON_DEMAND`, as documented, and `videoOnDemand`, as clients see it, are one part.

    Raises:
        ValueError: it is no word.
    """
    if not PART.fullmatch(value):
        raise ValueError
    return value.lower().replace("_", "")


def extra_of(metric: str, day: date, part: str | None) -> dict[str, str]:
    """What the metadata of a number say beyond the usual.

    A view was a playback of some length, and became the start of one: for Shorts first, then for
    all formats. The older number lives on as engagedViews.
    """
    extra = {"post_type": POST_TYPES[part]} if part in POST_TYPES else {}
    since = SHORTS_BY_STARTS_SINCE if part == "shorts" else ALL_BY_STARTS_SINCE
    if metric == "views" and day >= since:
        extra["definition"] = PLAYBACK_STARTS
    return extra


def _parse(answer: Mapping[str, Any], split: str | None) -> Report:
    names = [header["name"] for header in answer["columnHeaders"]]
    dimensions = {"day", split} - {None}
    metrics = {name: place for place, name in enumerate(names) if name not in dimensions}
    day_at = names.index("day")
    part_at = None if split is None else names.index(split)
    numbers: dict[Cell, int | float] = {}
    seen: set[tuple[date, str | None]] = set()
    odd: set[str] = set()
    for row in _rows(answer, len(names)):
        day = date.fromisoformat(row[day_at])
        part = None if part_at is None else part_of(row[part_at])
        if (day, part) in seen:
            raise ValueError
        seen.add((day, part))
        for name, place in metrics.items():
            value = row[place]
            if _is_number(value):
                numbers[name, day, part] = value
            elif value is not None:
                odd.add(name)
    return Report(numbers, frozenset(day for day, _ in seen), frozenset(metrics), frozenset(odd))


def _rows(answer: Mapping[str, Any], width: int) -> Sequence[Sequence[Any]]:
    rows = answer.get("rows", [])
    if not isinstance(rows, list) or any(
        not isinstance(row, list) or len(row) != width for row in rows
    ):
        raise TypeError
    return rows


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST  # which is false of what compares with nothing
