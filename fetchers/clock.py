"""How far a server's clock is from ours, by the Date header of any answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from fetchers.errors import UnexpectedAnswer
from fetchers.http import Http

HALF_A_SECOND = timedelta(seconds=0.5)
"""A Date header is cut to whole seconds: on average that much is missing."""


def measure_clock(url: str, http: Http) -> timedelta:
    """How far the server's clock is before ours, to about a second. No credential is sent.

    Raises:
        FetchError: it cannot be reached, or tells no time.
    """
    before = datetime.now(UTC)
    answer = http.request("GET", url)
    ours = before + (datetime.now(UTC) - before) / 2
    theirs = parse_date(answer.headers.get("date"))
    if theirs is None:
        raise UnexpectedAnswer(f"{urlsplit(url).netloc}: an answer without a Date")
    return theirs + HALF_A_SECOND - ours


def parse_date(text: str | None) -> datetime | None:
    """A Date header; None without a usable one."""
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, TypeError, OverflowError):
        return None
