"""Matomo 5.0.2's Reporting API, as far as visits need it; the rules: facts/matomo.md."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from xml.sax.saxutils import escape

from sandbox.fault_answers import BLOCKED, WRONG_TOKEN, Table, spoil_table
from sandbox.faults import Fault
from sandbox.live import (
    DEFAULT_FILTER_LIMIT,
    number_of,
    rows_answer,
    site_rows,
    visits_answer,
    visits_asked,
)
from sandbox.messages import (
    Answer,
    Call,
    Request,
    html_answer,
    json_answer,
    matomo_message,
    matomo_refusal,
)
from sandbox.revisions import Numbers
from sandbox.visit_log import VisitLog
from sandbox.world import MATOMO_TOKEN, MATOMO_VERSION, World

FAILED_LOGINS_ALLOWED = 20
LIVE = "Live.getLastVisitsDetails"
WRONG_DATE = (
    "Date format must be: YYYY-MM-DD, or 'today' or 'yesterday' or any keyword supported by the "
    "strtotime function (see http://php.net/strtotime for more information): false"
)
VIEW_NEEDED = "You can't access this resource as it requires view access for at least one website."
VIEW_OF_SITE_NEEDED = (
    "You can't access this resource as it requires 'view' access for the website id = {site}."
)
SITE_MISSING = "The parameter 'idSite=' is missing from the request."
FORMATS = ("console", "csv", "html", "json", "original", "rss", "tsv", "xml")

XML = '<?xml version="1.0" encoding="utf-8" ?>\n'
XML_TYPE = "text/xml; charset=utf-8"

Parameters = dict[str, str]


class Matomo:
    """Answers requests of /matomo/index.php."""

    def __init__(self, world: World, numbers: Numbers) -> None:
        self._world = world
        self._numbers = numbers
        self.visit_log = VisitLog(world, numbers)
        self._sites = [site for site in world.site_numbers if world.viewable(site)]
        self._failed_logins = 0
        self._lock = threading.Lock()

    def describe(self, request: Request) -> Call:
        parameters = _parameters(request)
        days = _asked_days(parameters)
        bounds = (days[0], days[-1]) if days else None
        if parameters.get("method") == LIVE:
            sites = tuple(self._asked_sites(parameters))
            return Call("visits", sites, None, bounds, visits_asked(parameters))
        return Call("matomo", tuple(self._asked_sites(parameters)), None, bounds)

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        parameters = _parameters(request)
        if parameters.get("module") != "API":
            return html_answer(200, "Sign in - Matomo", "Sign in")
        refusal = self._refusal(request, parameters)
        if refusal:
            return refusal
        match parameters.get("method", ""):
            case "API.getMatomoVersion":
                answer = self._version(parameters)
            case "SitesManager.getSitesIdWithAtLeastViewAccess":
                answer = self._site_ids(parameters)
            case "SitesManager.getSitesWithAtLeastViewAccess":
                answer = self._site_rows(parameters)
            case "Live.getLastVisitsDetails":
                answer = self._visit_details(call, parameters, faults)
            case "VisitsSummary.getVisits":
                answer = self._visits(call, parameters, faults)
            case method:
                answer = _failed(200, _unknown_method(method), parameters)
        return answer

    def unblock(self) -> None:
        """Forgets the failed logins."""
        with self._lock:
            self._failed_logins = 0

    def _refusal(self, request: Request, parameters: Parameters) -> Answer | None:
        """A wrong token is refused; after 21 of them every request is, for an hour."""
        with self._lock:
            if self._failed_logins > FAILED_LOGINS_ALLOWED:
                return matomo_refusal(request, 500, BLOCKED)
            if parameters.get("token_auth", "") in {"", MATOMO_TOKEN}:
                return None
            self._failed_logins += 1
        if any(name == "token_auth" for name, _ in request.query):
            ending = ", expired or is required to be sent as a POST parameter."
        else:
            ending = " or expired."
        return matomo_refusal(request, 401, WRONG_TOKEN + ending)

    def _version(self, parameters: Parameters) -> Answer:
        if not self._viewable_sites(parameters):
            return _failed(401, VIEW_NEEDED, parameters)
        return _rendered(MATOMO_VERSION, parameters)

    def _site_rows(self, parameters: Parameters) -> Answer:
        limit = number_of(parameters, "filter_limit", DEFAULT_FILTER_LIMIT)
        rows = site_rows(self._world, self._viewable_sites(parameters), limit)
        is_json = parameters.get("format", "xml").lower() == "json"
        return rows_answer(rows) if is_json else _rendered(rows, parameters)

    def _site_ids(self, parameters: Parameters) -> Answer:
        limit = number_of(parameters, "filter_limit", DEFAULT_FILTER_LIMIT)
        sites = self._viewable_sites(parameters)
        return _rendered(sites if limit < 0 else sites[:limit], parameters)

    def _wrong_call(self, call: Call, parameters: Parameters) -> Answer | None:
        """The refusal of sites and days that cannot be answered."""
        viewable = set(self._viewable_sites(parameters))
        for site in call.sites:
            if site not in viewable:
                return _failed(401, VIEW_OF_SITE_NEEDED.format(site=site), parameters)
        if not call.sites:
            return _failed(401, SITE_MISSING, parameters)
        if parameters.get("period") != "day":
            return _failed(200, "The sandbox knows no period but 'day'.", parameters)
        return None if _asked_days(parameters) else _failed(200, WRONG_DATE, parameters)

    def _visit_details(self, call: Call, parameters: Parameters, faults: Sequence[Fault]) -> Answer:
        refusal = self._wrong_call(call, parameters)
        if refusal:
            return refusal
        if len(call.sites) > 1 or call.days is None or call.days[0] != call.days[1]:
            # Matomo would answer, with wrong days and visits left out: nobody is to rely on it.
            return _failed(200, "The sandbox shows one site's one day.", parameters)
        if parameters.get("format", "xml").lower() != "json":
            return _rendered([], parameters)
        return visits_answer(self.visit_log, call.sites[0], call.days[0], parameters, faults)

    def _visits(self, call: Call, parameters: Parameters, faults: Sequence[Fault]) -> Answer:
        refusal = self._wrong_call(call, parameters)
        if refusal:
            return refusal
        days = _asked_days(parameters)
        table = self._table(call.sites, days)
        spoil_table(table, faults)
        return _rendered(_shaped(table, call.sites, parameters), parameters)

    def _table(self, sites: Sequence[int], days: Sequence[date]) -> Table:
        """Visits of each site and day; days to come are zeros, not errors."""
        if self._world.logs_visits:
            return {site: {day: self.visit_log.count(site, day) for day in days} for site in sites}
        today, visits = self._world.today(), self._numbers.get
        return {
            site: {day: visits("visits", site, day) if day <= today else 0 for day in days}
            for site in sites
        }

    def _viewable_sites(self, parameters: Parameters) -> list[int]:
        return self._sites if parameters.get("token_auth") == MATOMO_TOKEN else []

    def _asked_sites(self, parameters: Parameters) -> list[int]:
        """Every site asked for once; `1,1` and `1,` ask for one site."""
        if parameters.get("idSite") == "all":
            return self._viewable_sites(parameters)
        asked = [
            value for name, value in parameters.items() if re.fullmatch(r"idSite(\[\d*\])?", name)
        ]
        return sorted({int(site) for site in ",".join(asked).split(",") if site.isdecimal()})


def _parameters(request: Request) -> Parameters:
    """Query string and form as one; PHP lets the query string win."""
    return {**dict(request.form), **dict(request.query)}


def _asked_days(parameters: Parameters) -> list[date]:
    """The days of `A` or `A,B`; none if a date is wrong. Of a reversed range only B is left."""
    try:
        bounds = [date.fromisoformat(text) for text in parameters.get("date", "").split(",")]
    except ValueError:
        return []
    first, last = min(bounds[0], bounds[-1]), bounds[-1]
    if bounds[0] > last:
        return [last]
    return [first + timedelta(days=ago) for ago in range((last - first).days + 1)]


def _shaped(table: Table, sites: Sequence[int], parameters: Parameters) -> object:
    """{"value": N}, {day: N}, {site: N} or {site: {day: N}}; PHP writes an empty map as []."""
    by_site: dict[str, Any] = {
        str(site): {str(day): visits for day, visits in days.items()} or []
        for site, days in table.items()
    }
    if "," not in parameters["date"]:
        by_site = {site: next(iter(days.values())) for site, days in by_site.items() if days}
        if len(sites) == 1 and by_site:
            return {"value": by_site[str(sites[0])]}
    elif len(sites) == 1:
        return by_site.get(str(sites[0]), [])
    return by_site or []


def _failed(status: int, message: str, parameters: Parameters) -> Answer:
    """An error of a method, in XML when no format is given."""
    if parameters.get("format", "xml").lower() == "json":
        return matomo_message(status, message)
    return Answer(status, f"{XML}<result><error/></result>".encode(), XML_TYPE)


def _rendered(value: Any, parameters: Parameters) -> Answer:
    """The value in the asked format: JSON, or XML as when no format is given."""
    wanted = parameters.get("format", "xml").lower()
    if wanted == "json":
        return json_answer(200, value if isinstance(value, dict | list) else {"value": value})
    if wanted in FORMATS:
        return Answer(200, f"{XML}<result>{_xml(value)}</result>".encode(), XML_TYPE)
    text = (
        f"Error: Renderer format '{wanted}' not valid. Try any of the following instead: "
        f"{', '.join(FORMATS)}."
    )
    return Answer(200, text.encode(), "text/plain; charset=utf-8")


def _xml(value: Any) -> str:
    """XML in outline only: nothing here reads more of it than that it is not JSON."""
    if isinstance(value, list):
        return "".join(f"<row>{_xml(each)}</row>" for each in value)
    if isinstance(value, dict):
        return "".join(f'<result key="{key}">{_xml(each)}</result>' for key, each in value.items())
    return escape(str(value))


def _unknown_method(method: str) -> str:
    module, _, name = method.partition(".")
    return (
        f"The method '{name}' does not exist or is not available in the module "
        f"'\\Piwik\\Plugins\\{module}\\API'."
    )
