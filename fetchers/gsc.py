"""Search Console: the properties of an account, and clicks and impressions per day of one property.

Days are Pacific days. Rules from shared facts/gsc.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fetchers.errors import SettingsError, UnexpectedAnswer
from fetchers.google_client import GoogleClient
from fetchers.gsc_property import Property

PACIFIC = ZoneInfo("America/Los_Angeles")

KEPT_DAYS = 486
"""Search Console keeps 16 months; what it says of an older day is no answer (facts, retention)."""

RECENT_DAYS = 10
"""A window ending this close to today is asked up to today, so that the answer shows where
published data end (facts, lag: Google's own recipe looks at the past 10 days)."""

PUBLISHED_AFTER_DAYS = 3
"""Without any boundary seen, a day more than this many Pacific days old counts as published."""

ONE_DAY = timedelta(days=1)
BOUNDARY_RANGE = timedelta(days=30)
"""How far back the first incomplete day can lie; one believed wrongly makes false zeros."""

ROW_LIMIT = 25_000
UNVERIFIED = "siteunverifieduser"


@dataclass(frozen=True, slots=True)
class Clicks:
    """One property's totals of one day."""

    clicks: int
    impressions: int


@dataclass(frozen=True, slots=True)
class PropertyAnswer:
    """What one property said.

    rows: days with data. first_incomplete: the first day whose numbers may still change, where
    Google said so; every day before it is final.
    """

    days: tuple[date, ...]
    rows: Mapping[date, Clicks]
    first_incomplete: date | None


def pacific_today(now: datetime) -> date:
    """The current day in Search Console's calendar."""
    return now.astimezone(PACIFIC).date()


def oldest_kept_day(today: date) -> date:
    return today - timedelta(days=KEPT_DAYS)


def list_properties(client: GoogleClient) -> list[Property]:
    """All properties of the account, verified or not; sites.list has no pages.

    Raises:
        FetchError: see google_errors. UnexpectedAnswer: it is no list of properties.
    """
    answer = client.execute(client.service.sites().list())
    entries = answer.get("siteEntry", [])  # absent when the account has no property at all
    try:
        return [_parse_property(entry["siteUrl"], entry["permissionLevel"]) for entry in entries]
    except (KeyError, TypeError):
        raise UnexpectedAnswer("Search Console: sites.list holds no list of properties") from None


def get_gsc_data(
    gsc_client: GoogleClient,
    site_url: str,
    days: Collection[date],
    *,
    today: date,
    search_type: str = "web",
) -> PropertyAnswer:
    """Clicks and impressions of one property, all days in one request.

    Grouped by date only: other dimensions drop rows, and an absent row is then unambiguous.
    `today` is the current Pacific day.

    Raises:
        FetchError: see google_errors. UnexpectedAnswer: a row that is not of an asked day.
    """
    first, last = min(days), max(days)
    if today - last <= timedelta(days=RECENT_DAYS):
        last = max(last, today)
    request = gsc_client.service.searchanalytics().query(
        siteUrl=site_url,
        body={
            "startDate": first.isoformat(),
            "endDate": last.isoformat(),
            "dimensions": ["date"],
            "type": search_type,
            "dataState": "all",
            "aggregationType": "auto",
            "rowLimit": ROW_LIMIT,
        },
    )
    rows, first_incomplete = parse_query(gsc_client.execute(request), first, last)
    if first_incomplete and not today - BOUNDARY_RANGE <= first_incomplete <= today + ONE_DAY:
        raise UnexpectedAnswer(f"Search Console: data incomplete from {first_incomplete} on?")
    return PropertyAnswer(tuple(sorted(days)), rows, first_incomplete)


def parse_query(
    answer: Mapping[str, Any], first: date, last: date
) -> tuple[dict[date, Clicks], date | None]:
    """Rows by day and the first incomplete day, where there is one.

    No data at all comes as an answer without `rows`, but still with its aggregation type: an empty
    object is no answer. Counts come as doubles (5.0).

    Raises:
        UnexpectedAnswer: on anything that is not one row a day of asked days.
    """
    rows: dict[date, Clicks] = {}
    if "rows" not in answer and "responseAggregationType" not in answer:
        raise UnexpectedAnswer("Search Console: an empty answer to a query", retry=True)
    try:
        listed = answer.get("rows", [])
        if not isinstance(listed, list):
            raise TypeError
        for row in listed:
            (key,) = row["keys"]
            day = date.fromisoformat(key)
            if key != day.isoformat() or not first <= day <= last or day in rows:
                raise UnexpectedAnswer(f"Search Console: a row of {day}, which was not asked for")
            rows[day] = Clicks(_whole(row["clicks"]), _whole(row["impressions"]))
        metadata = answer.get("metadata") or {}
        # The documentation spells it with underscores, the API in camel case.
        boundary = metadata.get("firstIncompleteDate") or metadata.get("first_incomplete_date")
        return rows, date.fromisoformat(boundary) if boundary else None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UnexpectedAnswer(
            f"Search Console: the answer to a query has another shape ({type(error).__name__})"
        ) from None


def published_until(answers: Iterable[PropertyAnswer], today: date) -> date:
    """The last day that counts as published for properties which do not say so themselves.

    The newest boundary that any property of this run showed; without one, the newest day with
    data, or what is more than 3 Pacific days old.
    """
    answers = list(answers)
    boundaries = [a.first_incomplete for a in answers if a.first_incomplete is not None]
    if boundaries:
        return max(boundaries) - ONE_DAY
    newest = [max(a.rows) for a in answers if a.rows]
    return max([today - timedelta(days=PUBLISHED_AFTER_DAYS + 1), *newest])


def settle_days(
    answer: PropertyAnswer, run_published_until: date
) -> tuple[dict[date, Clicks], list[date]]:
    """The four states of a day (shared facts/gsc.md, freshness).

    A row is a value, final or provisional (the lookback reads it again). An absent row is a true
    zero on a published day, and "not published" otherwise: nothing is known then.

    Returns:
        (numbers by day, days not published yet), together exactly the asked days.
    """
    if answer.first_incomplete is not None:
        published = answer.first_incomplete - ONE_DAY
    else:
        published = run_published_until
    published = max([published, *answer.rows])
    known: dict[date, Clicks] = {}
    waiting: list[date] = []
    for day in answer.days:
        if day in answer.rows:
            known[day] = answer.rows[day]
        elif day <= published:
            known[day] = Clicks(0, 0)
        else:
            waiting.append(day)
    return known, waiting


def refuse_old_days(
    days: Sequence[date], today: date
) -> tuple[list[date], list[date], SettingsError | None]:
    """Split days into those Search Console still keeps and those it no longer does."""
    oldest = oldest_kept_day(today)
    kept = [day for day in days if day >= oldest]
    gone = [day for day in days if day < oldest]
    if not gone:
        return kept, gone, None
    return (
        kept,
        gone,
        SettingsError(
            f"Search Console keeps 16 months: nothing before {oldest} can be fetched",
            mend=f"ask for days from {oldest} on, or for Matomo alone (--source matomo)",
        ),
    )


def _parse_property(url: object, level: object) -> Property:
    """The documentation spells siteUnverifiedUser, the API's own enum SITE_UNVERIFIED_USER."""
    if not isinstance(url, str) or not isinstance(level, str):
        raise TypeError
    return Property(url, level.replace("_", "").lower() != UNVERIFIED)


def _whole(value: object) -> int:
    """A count from a JSON double. Raises ValueError for anything that counts nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not math.isfinite(value) or not 0 <= value < 2**63 or abs(value - round(value)) > 1e-6:
        raise ValueError
    return round(value)
