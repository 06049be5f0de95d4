"""What LinkedIn's answers say (shared facts/social.md, 4.3, 4.4 and 4.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeGuard

from fetchers.errors import UnexpectedAnswer
from fetchers.social import NewToken
from fetchers.social_days import utc_midnight_ms
from fetchers.social_metrics import Metric
from logs import redact

ONE_DAY = timedelta(days=1)
TOKEN = re.compile(r"[\x21-\x7e]+")
LONGEST_LIFE = 10 * 366 * 86_400
LARGEST = 2**63 - 1  # more than that is no count of anything

Numbers = dict[str, int | float]
"""By metric, of one day; a metric without a number is not known."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """numbers: of the UTC days that have an element. odd: what is wrong with fields left out."""

    numbers: Mapping[date, Numbers]
    odd: Sequence[str]


def parse_statistics(answer: Mapping[str, Any], metrics: Sequence[Metric]) -> Statistics:
    """Numbers by UTC day. A field that is no number is left out, and told of once.

    Raises:
        UnexpectedAnswer: it is no list of elements of one day each. One without its time would be
            the sum of all times: the API gives that when it does not understand the question.
    """
    found: dict[date, Numbers] = {}
    odd: list[str] = []
    try:
        for element in answer["elements"]:
            day = _day_of(element["timeRange"])
            if day in found:
                raise ValueError
            found[day] = _numbers_of(element, metrics, odd)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise UnexpectedAnswer(
            f"LinkedIn: statistics of another shape ({type(error).__name__})"
        ) from None
    return Statistics(found, list(dict.fromkeys(odd)))


def next_start(answer: Mapping[str, Any]) -> int | None:
    """Where the next page begins; None on the last one. Its link is not followed, only noticed.

    Raises:
        UnexpectedAnswer: `paging` has another shape, or a next page follows an empty one.
    """
    try:
        paging = answer.get("paging", {})
        if all(link["rel"] != "next" for link in paging.get("links", ())):
            return None
        if not answer["elements"]:
            raise ValueError
        start = paging["start"]
        if not isinstance(start, int) or not 0 <= start <= LARGEST:
            raise ValueError
        return start + len(answer["elements"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"LinkedIn: pages of another shape ({type(error).__name__})"
        ) from None


def parse_followers(answer: Mapping[str, Any], metric: Metric) -> int | float:
    """The number of followers as it is now.

    Raises:
        UnexpectedAnswer: it is not there, or no number.
    """
    followers = _number_at(answer, (metric.name,))
    if followers is None:
        raise UnexpectedAnswer(f"LinkedIn: an answer without {metric.name}")
    return followers


def parse_new_token(body: Mapping[str, Any]) -> NewToken:
    """What the token endpoint gave, with the moment when it ends.

    Raises:
        UnexpectedAnswer: there is no token that fits into a header, or no end of it.
    """
    token, refresh_token = body.get("access_token"), body.get("refresh_token")
    redact.add(text for text in (token, refresh_token) if isinstance(text, str))
    if not is_token(token):
        raise UnexpectedAnswer("LinkedIn: a token answer without a token")
    seconds = body.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds <= LONGEST_LIFE:
        raise UnexpectedAnswer("LinkedIn: a new token without its time of expiry")
    # Counted from the answer, which may come long after the run began.
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    return NewToken(token, expires_at, refresh_token if is_token(refresh_token) else None)


def is_token(text: object) -> TypeGuard[str]:
    """Whether it fits into a header."""
    return isinstance(text, str) and TOKEN.fullmatch(text) is not None


def _day_of(time_range: Mapping[str, Any]) -> date:
    start, end = time_range["start"], time_range["end"]
    day = datetime.fromtimestamp(start / 1000, UTC).date()
    if (start, end) != (utc_midnight_ms(day), utc_midnight_ms(day + ONE_DAY)):
        raise ValueError
    return day


def _numbers_of(element: Mapping[str, Any], metrics: Sequence[Metric], odd: list[str]) -> Numbers:
    numbers: Numbers = {}
    for metric in metrics:
        try:
            number = _number_at(element, metric.path)
        except UnexpectedAnswer as error:
            odd.append(error.message)
        else:
            if number is not None:
                numbers[metric.name] = number
    return numbers


def _number_at(element: Mapping[str, Any], path: Sequence[str]) -> int | float | None:
    """None where a field on the way is missing or null.

    Raises:
        UnexpectedAnswer: a field on the way is no object, or the last one no number.
    """
    value: Any = element
    above = "an element"
    for name in path:
        if not isinstance(value, dict):
            raise UnexpectedAnswer(f"LinkedIn: {above} is no object")
        value = value.get(name)
        if value is None:
            return None
        above = name
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnexpectedAnswer(f"LinkedIn: {above} is no number")
    if not abs(value) <= LARGEST:  # nor is what compares with nothing
        raise UnexpectedAnswer(f"LinkedIn: {above} is out of range")
    return value
