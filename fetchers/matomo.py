"""Matomo's visits: VisitsSummary.getVisits for many sites and a range of days per request.

Facts in this file were observed on Matomo 5.0.2 (shared facts/matomo.md; recorded answers in
tests/responses/matomo/).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fetchers.errors import (
    BrokenOff,
    FetchError,
    Overloaded,
    TargetDenied,
    interrupted,
    outcome_of,
)
from fetchers.http import LARGEST_ANSWER_BYTES, Answer, Http, is_retryable
from fetchers.matomo_answers import (
    GRANT_VIEW,
    parse_answer,
    parse_version,
    parse_viewable_sites,
    parse_visits,
)
from fetchers.matomo_health import MatomoHealth
from fetchers.results import Fetched
from models import days_between
from stopping import Stopped
from workers import Workers, interruptible

REQUESTS_IN_FLIGHT = 4
"""Matomo computes reports while we wait: more at once only makes each slower (facts part D)."""

DAYS_PER_REQUEST = 31
"""50 sites x 31 days are ~1,500 cells, ~5 s on a warm server (125 sites x 20 days took 7 s)."""

VIEWABLE_SITES = {
    "method": "SitesManager.getSitesIdWithAtLeastViewAccess",
    "filter_limit": "-1",  # the default cuts the list at 100 silently (facts part A1)
}


@dataclass(frozen=True, slots=True)
class MatomoServer:
    """url: base URL without index.php; sites_per_request: how many sites one request may name."""

    url: str
    token: str = field(repr=False)
    sites_per_request: int = 50

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request asks for: sites and consecutive days."""

    sites: tuple[int, ...]
    days: tuple[date, ...]

    def halves(self) -> list[Batch]:
        """Two smaller batches, by sites first, then by days; a single cell has none."""
        if len(self.sites) > 1:
            middle = len(self.sites) // 2
            return [Batch(part, self.days) for part in (self.sites[:middle], self.sites[middle:])]
        if len(self.days) > 1:
            middle = len(self.days) // 2
            return [Batch(self.sites, part) for part in (self.days[:middle], self.days[middle:])]
        return []


Answered = tuple[Batch, Fetched[int, int] | FetchError]


def get_matomo_data(
    wanted: Mapping[int, Collection[date]],
    *,
    server: MatomoServer,
    http: Http,
    advance: Callable[[int], None] = lambda _cells: None,
) -> Fetched[int, int]:
    """Visits of each Matomo site (idSite) on the wanted days, days in the site's own time zone.

    First asks which sites the token may view, since one forbidden site makes a whole request
    fail; the others are then fetched in batches, and a batch too large for the server is split.
    `advance` is told how many cells (sites x days) have been dealt with.

    Returns:
        values[idSite][day] = visits, whole numbers; everything else is in `missed`. Never raises
        a FetchError: a failed site costs no other.
    """
    asked = {site: sorted(days) for site, days in wanted.items() if days}
    batches = _Batches(asked, server, http, advance)
    if not asked:
        return batches.fetched
    try:
        task = partial(fetch_viewable_sites, server, http)
        viewable = interruptible(partial(outcome_of, task), http.stop)
    except Stopped:
        viewable = interrupted(http.stop)
    if isinstance(viewable, FetchError):
        batches.miss(asked, viewable)
        return batches.fetched
    hidden = asked.keys() - viewable
    batches.miss(hidden, TargetDenied(_hidden_message(viewable), mend=GRANT_VIEW))
    visible = {site: days for site, days in asked.items() if site in viewable}
    batches.fetch(plan_batches(visible, server.sites_per_request))
    return batches.fetched


def plan_batches(asked: Mapping[int, Sequence[date]], sites_per_request: int) -> list[Batch]:
    """The fewest requests: sites wanting the same span of days share them."""
    spans: dict[tuple[date, date], list[int]] = defaultdict(list)
    for site, days in sorted(asked.items()):
        spans[days[0], days[-1]].append(site)
    return [
        Batch(tuple(sites[i : i + sites_per_request]), tuple(days[j : j + DAYS_PER_REQUEST]))
        for (first, last), sites in spans.items()
        for days in [days_between(first, last)]
        for j in range(0, len(days), DAYS_PER_REQUEST)
        for i in range(0, len(sites), sites_per_request)
    ]


def fetch_viewable_sites(server: MatomoServer, http: Http) -> frozenset[int]:
    """The idSites that the token may view."""
    payload = http.retrying(lambda: call(server, http, VIEWABLE_SITES))
    return parse_viewable_sites(payload, server.host)


def fetch_version(server: MatomoServer, http: Http) -> str:
    """Matomo's version. It tells it only to tokens that may view at least one site (facts part B).

    Raises:
        FetchError: of the kind that names who can mend it.
    """
    payload = http.retrying(lambda: call(server, http, {"method": "API.getMatomoVersion"}))
    return parse_version(payload, server.host)


def fetch_visits(batch: Batch, server: MatomoServer, http: Http) -> Fetched[int, int]:
    """Fetch one batch; a batch that can be split is not tried again when it proves too large."""
    splittable = bool(batch.halves())

    def retryable(error: FetchError) -> bool:
        return is_retryable(error) and not (splittable and isinstance(error, Overloaded))

    parameters = {
        "method": "VisitsSummary.getVisits",
        "idSite": ",".join(map(str, batch.sites)),
        "period": "day",
        "date": f"{batch.days[0]},{batch.days[-1]}",
    }
    payload = http.retrying(lambda: call(server, http, parameters), retryable)
    return parse_visits(payload, batch.sites, batch.days, server.host)


class _Batches:
    """The batches of one run: asked on a few threads, split where the server cannot answer."""

    def __init__(
        self,
        asked: Mapping[int, Sequence[date]],
        server: MatomoServer,
        http: Http,
        advance: Callable[[int], None],
    ) -> None:
        self.fetched: Fetched[int, int] = Fetched()
        self._asked = asked
        self._server = server
        self._http = http
        self._advance = advance
        # No more than may ask at once: who waits for a slot hears of no refused token.
        threads = min(REQUESTS_IN_FLIGHT, http.concurrency)
        self._workers: Workers[Answered] = Workers(threads, http.stop)
        self._open: set[Batch] = set()
        self._health = MatomoHealth(lambda: call(server, http, VIEWABLE_SITES))

    def fetch(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._submit(batch)
        for batch, outcome in self._workers.results():
            self._open.discard(batch)
            if not isinstance(outcome, FetchError):
                self._keep(outcome)
            elif self._health.gave_up is None and _asking_for_less_helps(outcome, batch):
                for part in batch.halves():
                    self._submit(part)
            else:
                self.miss(batch.sites, outcome, batch.days)
        for batch in self._open:
            self.miss(batch.sites, interrupted(self._http.stop), batch.days)

    def miss(
        self, sites: Iterable[int], error: FetchError, within: Collection[date] | None = None
    ) -> None:
        """Record the asked days of these sites as missed, one entry per distinct set of days."""
        by_days: dict[tuple[date, ...], list[int]] = defaultdict(list)
        for site in sites:
            days = self._asked[site]
            by_days[tuple(d for d in days if within is None or d in within)].append(site)
        for days, group in by_days.items():
            if days:
                self.fetched.miss(group, days, error)
                self._advance(len(group) * len(days))

    def _submit(self, batch: Batch) -> None:
        self._open.add(batch)
        self._workers.submit(partial(self._ask, batch))

    def _ask(self, batch: Batch) -> Answered:
        """Runs on a worker. Asks nothing more once the token is refused or the server is down."""
        if self._health.gave_up is not None:
            return batch, self._health.gave_up
        outcome = outcome_of(lambda: fetch_visits(batch, self._server, self._http))
        if isinstance(outcome, FetchError):
            self._health.failed(outcome)
        else:
            self._health.answered()
        return batch, outcome

    def _keep(self, parsed: Fetched[int, int]) -> None:
        """Take over what was asked for; a span of days may hold others, which stay untouched."""
        for site, days in parsed.values.items():
            kept = [day for day in self._asked[site] if day in days]
            for day in kept:
                self.fetched.add(site, day, days[day])
            self._advance(len(kept))
        for missed in parsed.missed:
            self.miss(missed.targets, missed.error, missed.days)


def _asking_for_less_helps(error: FetchError, batch: Batch) -> bool:
    """One site may be the reason: too large a report, or one that crashes PHP (502, no answer)."""
    if isinstance(error, TargetDenied):  # a site was deleted or hidden while we ran
        return len(batch.sites) > 1
    return isinstance(error, Overloaded | BrokenOff) and bool(batch.halves())


def _hidden_message(viewable: Collection[int]) -> str:
    if not viewable:
        return "Matomo's token may view no site at all"
    return (
        f"Matomo's token may not view this site, or it does not exist (it may view {len(viewable)})"
    )


def call(server: MatomoServer, http: Http, parameters: Mapping[str, str]) -> Any:
    """One API call, once; the answer as JSON values.

    Raises:
        FetchError: of the kind that names who can mend it.
    """
    return parse_answer(send(server, http, parameters), server.host)


def send(
    server: MatomoServer,
    http: Http,
    parameters: Mapping[str, str],
    largest_bytes: int = LARGEST_ANSWER_BYTES,
) -> Answer:
    """Ask once: the token alone in the body, everything else in the query string.

    Only then are errors JSON too, and tokens marked "secure only" work (facts part C).
    """
    return http.request(
        "POST",
        f"{server.url}/index.php",
        params={"module": "API", "format": "JSON", **parameters},
        data={"token_auth": server.token},
        largest_bytes=largest_bytes,
    )
