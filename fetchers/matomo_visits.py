"""Matomo's visit log: Live.getLastVisitsDetails, one site and one day at a time, page by page.

Facts in this file were observed on Matomo 5.0.2 (shared facts/matomo.md, parts A and E), or are the
faults of other tools (shared facts/visits.md, part 2).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from fetchers.errors import (
    AnswerTooLarge,
    FetchError,
    Overloaded,
    UnexpectedAnswer,
)
from fetchers.http import Answer, Http, is_retryable
from fetchers.matomo import MatomoServer, call, send
from fetchers.matomo_answers import parse_answer
from fetchers.matomo_health import MatomoHealth
from fetchers.visit_answers import Page, Visit, parse_page

SITES = {
    "method": "SitesManager.getSitesWithAtLeastViewAccess",
    "filter_limit": "-1",  # the default cuts the list at 100 silently (facts part A1)
}

LARGEST_PAGE_BYTES = 32 * 1024 * 1024
"""A larger answer is asked for in smaller pages: this bounds our memory. 500 visits with 5 actions
each are 3 MB."""

LATEST = 10**12
"""No epoch in seconds is as large."""

MANUAL_OFFSET = re.compile(r"UTC([+-])([0-9]{1,2}(?:\.[0-9]+)?)")

decoding = threading.Lock()
"""Pages are decoded one at a time: the interpreter does no more anyway, and it bounds memory."""


@dataclass(frozen=True, slots=True)
class MatomoSite:
    """A site as Matomo knows it; zone: None where we do not know its time zone by that name."""

    id: int
    name: str
    zone_name: str
    zone: tzinfo | None


class PageSize:
    """Visits in a page; what proves too many for a site stays so for the rest of the run."""

    def __init__(self, visits: int) -> None:
        self._visits = visits
        self._lock = threading.Lock()

    @property
    def visits(self) -> int:
        return self._visits

    def too_many(self, asked: int) -> None:
        with self._lock:
            self._visits = max(1, min(self._visits, asked // 2))


@dataclass(frozen=True, slots=True)
class DayOfSite:
    """What one request chain reads: visits whose last action lies in [begins, ends), true epochs.

    after: only visits with a last action later than this second are asked for.
    """

    site: MatomoSite
    day: date
    begins: int
    ends: int
    after: int

    def holds(self, last_action: float) -> bool:
        """Matomo's own end of the day is inclusive: the first second of the next day comes too,
        and the current day brings yesterday's visits along (facts part A3, A4)."""
        return self.begins <= last_action < self.ends


def day_of_site(site: MatomoSite, day: date, since: datetime | None = None) -> DayOfSite:
    """The day in the site's own calendar, whole or since an instant; 23 to 25 hours long."""
    zone = site.zone or UTC
    begins = int(datetime.combine(day, time.min, zone).timestamp())
    ends = int(datetime.combine(day + timedelta(days=1), time.min, zone).timestamp())
    after = begins - 1  # minTimestamp is exclusive
    if since is not None:
        after = max(after, int(since.timestamp()) - 1)
    return DayOfSite(site, day, begins, ends, after)


def fetch_sites(server: MatomoServer, http: Http) -> dict[int, MatomoSite]:
    """All sites that the token may view, by idSite.

    Raises:
        FetchError: of the kind that names who can mend it.
    """
    return parse_sites(http.retrying(lambda: call(server, http, SITES)), server.host)


def parse_sites(payload: Any, host: str) -> dict[int, MatomoSite]:
    """The rows of SitesManager.getSitesWithAtLeastViewAccess (facts part F).

    Raises:
        UnexpectedAnswer: they are not what facts say.
    """
    try:
        rows = [(int(row["idsite"]), str(row["name"]), str(row["timezone"])) for row in payload]
    except (KeyError, TypeError, ValueError):
        raise UnexpectedAnswer(f"{host}: the list of sites has another form") from None
    return {number: MatomoSite(number, name, zone, parse_zone(zone)) for number, name, zone in rows}


def parse_zone(name: str) -> tzinfo | None:
    """An IANA name, or Matomo's manual offset such as `UTC+5.5`; None for anything else."""
    if manual := MANUAL_OFFSET.fullmatch(name):
        hours = float(manual[2])
        return (
            timezone(timedelta(hours=hours if manual[1] == "+" else -hours)) if hours < 24 else None
        )
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


class DayReader:
    """Reads one day of one site; `pages` yields every visit of it at least once.

    Nothing is resumed by counting: a visit that goes on moves to the end of the list, and every
    count after it is wrong by one (facts/visits.md, A1). The cursor is the last action's second;
    the next page begins one second before it, so that what shares the second comes again.
    """

    def __init__(
        self,
        asked: DayOfSite,
        server: MatomoServer,
        http: Http,
        size: PageSize,
        health: MatomoHealth,
    ) -> None:
        self._asked = asked
        self._server = server
        self._http = http
        self._size = size
        self._health = health

    def pages(self) -> Iterator[Page]:
        """Pages of visits, oldest last action first; visits may come more than once.

        Raises:
            FetchError: the rest of the day is not known.
        """
        after, offset = self._asked.after, 0
        while True:
            page, limit = self._fetch(after, offset)
            yield page
            read = len(page.visits) + len(page.broken)
            if read < limit:
                return
            last = self._last_second(page, after)
            if last - 1 > after:
                after, offset = last - 1, 0
            else:  # a whole page within one second: only counting leads on
                offset += read

    def _last_second(self, page: Page, after: int) -> int:
        seconds = [int(last) for visit in page.visits if (last := last_action(visit)) is not None]
        if seconds and min(seconds) < after:
            raise UnexpectedAnswer(
                f"{self._server.host}: the visit log does not heed minTimestamp",
                mend="update Matomo",
            )
        return max(seconds, default=after)

    def _fetch(self, after: int, offset: int) -> tuple[Page, int]:
        """One page, and how many visits it was asked for; smaller where it is too much at once."""
        while True:
            if self._health.gave_up is not None:
                raise self._health.gave_up
            limit = self._size.visits
            try:
                page = self._http.retrying(
                    partial(self._ask, after, offset, limit), partial(_try_again, limit)
                )
            except FetchError as error:
                self._health.failed(error)
                if self._health.is_over() or limit == 1 or not _is_too_much(error):
                    raise
                self._size.too_many(limit)
            else:
                self._health.answered()
                return page, limit

    def _ask(self, after: int, offset: int, limit: int) -> Page:
        parameters = live_parameters(self._asked, after, offset, limit)
        answer = send(self._server, self._http, parameters, LARGEST_PAGE_BYTES)
        with decoding:
            return read_page(answer, self._server.host)


def live_parameters(asked: DayOfSite, after: int, offset: int, limit: int) -> Mapping[str, str]:
    """period=day keeps Matomo's own SQL on one day: over a range its paging loses visits (A2)."""
    parameters = {
        "method": "Live.getLastVisitsDetails",
        "idSite": str(asked.site.id),
        "period": "day",
        "date": asked.day.isoformat(),
        "filter_limit": str(limit),
        "filter_sort_order": "asc",
        "minTimestamp": str(after),
    }
    return parameters | ({"filter_offset": str(offset)} if offset else {})


def read_page(answer: Answer, host: str) -> Page:
    """The visits of one answer.

    Raises:
        FetchError: it is none, or says why there are none.
    """
    is_list = answer.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if answer.status != 200 or answer.content_type != "application/json" or not is_list:
        parse_answer(answer, host)  # raises what the answer means
        raise UnexpectedAnswer(f"{host}: the visit log is no list")
    try:
        return parse_page(answer.body)
    except ValueError:
        raise UnexpectedAnswer(f"{host}: HTTP 200 with a body that is no valid JSON") from None


def last_action(visit: Visit) -> float | None:
    """When a visit's last action was, as a true epoch; None where the answer does not say."""
    value = visit.last_action_timestamp
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        return float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) < LATEST else None


def _try_again(limit: int, error: FetchError) -> bool:
    """A page that can be smaller is not asked for again when it proves too large."""
    return is_retryable(error) and not (limit > 1 and _is_too_much(error))


def _is_too_much(error: FetchError) -> bool:
    return isinstance(error, Overloaded | AnswerTooLarge)
