"""Matomo's visit log: Live.getLastVisitsDetails, one site and one day at a time, page by page.

Facts in this file were observed on Matomo 5.0.2 (shared facts/matomo.md, parts A and E), or are the
faults of other tools (shared facts/visits.md, part 2).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from fetchers.clock import parse_date
from fetchers.errors import (
    AnswerTooLarge,
    FetchError,
    Overloaded,
    UnexpectedAnswer,
)
from fetchers.http import Answer, Http, is_retryable
from fetchers.matomo import MatomoServer, send
from fetchers.matomo_answers import parse_answer
from fetchers.matomo_health import MatomoHealth
from fetchers.visit_answers import BrokenVisit, Page, Visit, parse_page

SITES = {
    "method": "SitesManager.getSitesWithAtLeastViewAccess",
    "filter_limit": "-1",  # the default cuts the list at 100 silently (facts part A1)
}

LARGEST_PAGE_BYTES = 8 * 1024 * 1024
"""A larger answer is asked for in smaller pages: this bounds our memory. 500 visits with 5 actions
each are 3 MB."""

decoded_pages = threading.BoundedSemaphore(2)
"""Pages that are values at once, from all threads: a multiple of their bytes."""

SUCCESSES_TO_GROW = 50
"""Pages in a row after which a larger one is tried again."""

TOO_MUCH = re.compile("exhausted|no answer within|Maximum execution time")
TOO_LARGE = Page([], [BrokenVisit(None, "a visit of more than 8 MB was not read")])

LATEST = 10**12
"""No epoch in seconds is as large."""

MANUAL_OFFSET = re.compile(r"UTC([+-])([0-9]{1,2}(?:\.[0-9]+)?)")

decoding = threading.Lock()
"""Pages are decoded one at a time: the interpreter does no more anyway, and it bounds memory."""


@dataclass(frozen=True, slots=True)
class MatomoSite:
    """A site as Matomo knows it; zone: None where we do not know its time zone by that name.

    created: the day of its first visit, or before it; None where Matomo does not say.
    """

    id: int
    name: str
    zone_name: str
    zone: tzinfo | None
    created: date | None = None


class PageSize:
    """Visits in a page: fewer for a site where they prove too many, more again after a while."""

    def __init__(self, visits: int) -> None:
        self._most = self._visits = visits
        self._successes = 0
        self._lock = threading.Lock()

    @property
    def visits(self) -> int:
        return self._visits

    def too_many(self, asked: int) -> None:
        with self._lock:
            self._visits = max(1, min(self._visits, asked // 2))
            self._successes = 0

    def was_right(self) -> None:
        with self._lock:
            self._successes += 1
            if self._successes >= SUCCESSES_TO_GROW:
                self._visits = min(self._most, self._visits * 2)
                self._successes = 0


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


def fetch_sites(server: MatomoServer, http: Http) -> tuple[dict[int, MatomoSite], datetime | None]:
    """All sites that the token may view, by idSite, and what time it is at the server.

    Raises:
        FetchError: of the kind that names who can mend it.
    """

    def ask() -> tuple[dict[int, MatomoSite], datetime | None]:
        answer = send(server, http, SITES)
        sites = parse_sites(parse_answer(answer, server.host), server.host)
        return sites, parse_date(answer.headers.get("date"))

    return http.retrying(ask)


def parse_sites(payload: Any, host: str) -> dict[int, MatomoSite]:
    """The rows of SitesManager.getSitesWithAtLeastViewAccess (facts part F).

    Raises:
        UnexpectedAnswer: they are not what facts say.
    """
    try:
        sites = [_parse_site(row) for row in payload]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UnexpectedAnswer(f"{host}: the list of sites has another form") from None
    return {site.id: site for site in sites}


def _parse_site(row: Any) -> MatomoSite:
    zone = str(row["timezone"])
    created = re.match("[0-9]{4}-[0-9]{2}-[0-9]{2}", str(row.get("ts_created")))
    try:
        day = date.fromisoformat(created[0]) if created else None
    except ValueError:
        day = None
    return MatomoSite(int(row["idsite"]), str(row["name"]), zone, parse_zone(zone), day)


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

    def pages(self) -> Generator[Page, None, None]:
        """Pages of visits, oldest last action first; visits may come more than once.

        A page is to be let go before the next one is asked for.

        Raises:
            FetchError: the rest of the day is not known.
        """
        after, offset = self._asked.after, 0
        ids: list[object] = []
        while True:
            answer, limit = self._fetch(after, offset)
            with decoded_pages:
                page = read_page(answer, self._server.host) if answer else TOO_LARGE
                yield page
                read = len(page.visits) + len(page.broken)
                last = self._last_second(page, after)
                ids, before = [visit.id_visit for visit in page.visits], ids
                del page
            if read < limit or last >= self._asked.ends:
                return
            if offset and ids and ids == before:
                raise self._deaf("filter_offset")
            if last - 1 > after:
                after, offset = last - 1, 0
            else:  # a whole page within one second: only counting leads on
                offset += read

    def _last_second(self, page: Page, after: int) -> int:
        seconds = [int(last) for visit in page.visits if (last := last_action(visit)) is not None]
        if seconds and min(seconds) < after:
            raise self._deaf("minTimestamp")
        return max(seconds, default=after)

    def _deaf(self, parameter: str) -> UnexpectedAnswer:
        what = f"{self._server.host}: the visit log does not heed {parameter}"
        return UnexpectedAnswer(what, mend="update Matomo")

    def _fetch(self, after: int, offset: int) -> tuple[Answer | None, int]:
        """One page, and how many visits it was asked for; smaller where it is too much at once.

        None for a single visit that is too large: the ones behind it are not lost for that.
        """
        while True:
            if self._health.gave_up is not None:
                raise self._health.gave_up
            limit = self._size.visits
            try:
                answer = self._http.retrying(
                    partial(self._ask, after, offset, limit), partial(_try_again, limit)
                )
            except AnswerTooLarge:
                if limit == 1:
                    return None, limit
                self._size.too_many(limit)
            except FetchError as error:
                self._health.failed(error)
                if self._health.is_over() or limit == 1 or not isinstance(error, Overloaded):
                    raise
                self._size.too_many(limit)
            else:
                self._health.answered()
                self._size.was_right()
                return answer, limit

    def _ask(self, after: int, offset: int, limit: int) -> Answer:
        parameters = live_parameters(self._asked, after, offset, limit)
        answer = send(self._server, self._http, parameters, LARGEST_PAGE_BYTES)
        check_page(answer, self._server.host)
        return answer


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


def check_page(answer: Answer, host: str) -> None:
    """
    Raises:
        FetchError: it is no list, or says why there is none.
    """
    is_list = answer.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if answer.status != 200 or answer.content_type != "application/json" or not is_list:
        parse_answer(answer, host)  # raises what the answer means
        raise UnexpectedAnswer(f"{host}: the visit log is no list")


def read_page(answer: Answer, host: str) -> Page:
    """The visits of an answer that `check_page` has let pass.

    Raises:
        UnexpectedAnswer: it is no JSON.
    """
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
    """What is too much at once is not asked for again as it is; any other error 500 may pass."""
    too_much = isinstance(error, Overloaded) and TOO_MUCH.search(error.message)
    return is_retryable(error) and not (limit > 1 and too_much)
