"""One day of one site: read, turned into rows, and compared with what Matomo's report says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date

from fetchers.errors import (
    FetchError,
    Interrupted,
    NotReady,
    Temporary,
    UnexpectedAnswer,
    outcome_of,
)
from fetchers.http import Http
from fetchers.matomo import Batch, MatomoServer, fetch_visits
from fetchers.matomo_health import MatomoHealth
from fetchers.matomo_visits import DayOfSite, DayReader, PageSize, last_action
from fetchers.visit_answers import Page, Visit, shorten
from jobs.visit_rows import VisitRows, render_visit
from jobs.visits_plan import SOURCE, SitePlan
from models import Failure

LARGEST_PART_BYTES = 2 * 1024 * 1024
"""Rows of one page are handed over in parts of about this size: what all actions of a visit share
is in each of their rows, so they may be many times as large as the answer."""

NEXT_RUN = "nothing to do if the next run is complete: it begins where this one failed"

PROBLEMS_NAMED = 10
"""Visits named in the failures of one day; more are counted."""

PROBLEM_MEND = (
    "look at the visit in Matomo (Visitors, Visits log) and report it; "
    "the other visits are stored, and no later run waits for this one"
)
COUNT_MEND = (
    "the next run reads the day again. If it stays: the report may be older than the log (run "
    "core:invalidate-report-data and core:archive for that day), or raw data were deleted "
    "(Matomo's privacy settings): then begin later, once, with STARTDATE and FORCE_STARTDATE=true"
)
UNARCHIVED_MEND = (
    "run Matomo's core:archive before this import; the rows are stored, and the next run "
    "compares again"
)


@dataclass(frozen=True, slots=True)
class Tools:
    """What the threads of one run share. true_utc: how the table keeps times."""

    server: MatomoServer
    http: Http
    health: MatomoHealth
    page_visits: int
    true_utc: bool
    sizes: dict[int, PageSize] = field(default_factory=dict)

    def size(self, site: int) -> PageSize:
        return self.sizes.setdefault(site, PageSize(self.page_visits))


@dataclass(slots=True)
class DayRead:
    """What became of one day. complete: it is closed, was read whole and agrees with the report."""

    site: int
    day: date
    closed: bool
    visits: int = 0
    actions: int = 0
    cut_visits: int = 0
    cut_actions: int = 0
    last_action: float | None = None
    unarchived: int | None = None
    failures: list[Failure] = field(default_factory=list)
    failed: bool = False
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        return self.closed and not self.failed

    def fail(self, kind: str, message: str, mend: str) -> None:
        failure = Failure(kind, SOURCE, message, mend, (self.site,), (self.day,))
        self.failures.append(failure)


Put = Callable[[date, list[VisitRows]], None]


def read_day(
    plan: SitePlan,
    asked: DayOfSite,
    expected: int | FetchError | None,
    tools: Tools,
    put: Put,
) -> DayRead:
    """Read one day and `put` its rows, page by page.

    expected: visits of a closed day as Matomo's report has them; None for an open day.
    Never raises a FetchError: what is missing is among the failures of the result.
    """
    read = _Reading(plan, asked, tools, put)
    result = read.once(closed=expected is not None)
    if result.failed or result.interrupted or expected is None:
        return result
    if isinstance(expected, FetchError):
        result.failed = True
        what = f"the number of visits could not be compared: {expected.message}"
        result.fail(expected.kind, what, mend_of(expected))
        return result
    if result.visits != expected:
        result = read.again(result, expected)
    return result


class _Reading:
    def __init__(self, plan: SitePlan, asked: DayOfSite, tools: Tools, put: Put) -> None:
        self._site = plan.site
        self._asked = asked
        self._tools = tools
        self._put = put
        self._zone = plan.site.zone if tools.true_utc else None

    def once(self, *, closed: bool) -> DayRead:
        result = DayRead(self._site.id, self._asked.day, closed)
        tools = self._tools
        size = tools.size(self._site.id)
        reader = DayReader(self._asked, tools.server, tools.http, size, tools.health)
        seen = _Seen()
        problems: list[str] = []

        def pages() -> None:
            with closing(reader.pages()) as found:
                for page in found:
                    self._take(page, seen, result, problems)
                    del page  # this name would keep it while the next one is fetched and read

        outcome = outcome_of(pages)
        _name_problems(result, problems)
        if isinstance(outcome, Interrupted):
            result.interrupted = True
        elif isinstance(outcome, FetchError):
            result.failed = True
            result.fail(outcome.kind, outcome.message, mend_of(outcome))
        return result

    def again(self, first: DayRead, expected: int) -> DayRead:
        """The numbers differ. The report may be newer by now; else the day is read once more, in
        case a visit was tracked while we read."""
        count = self._recount()
        result = first
        if isinstance(count, int) and count not in (0, first.visits):
            result = self.once(closed=True)
        if isinstance(count, FetchError):
            count = expected
        if result.failed or result.interrupted or result.visits == count:
            return result
        result.failed = True
        if count == 0:
            result.unarchived = result.visits
        else:
            message = (
                f"site {first.site}, {first.day}: the visit log holds {result.visits} visits, "
                f"Matomo's report says {count}"
            )
            result.fail("unexpected answer", message, COUNT_MEND)
        return result

    def _recount(self) -> int | FetchError:
        batch = Batch((self._site.id,), (self._asked.day,))
        fetched = outcome_of(lambda: fetch_visits(batch, self._tools.server, self._tools.http))
        if isinstance(fetched, FetchError):
            return fetched
        for missed in fetched.missed:
            return missed.error
        return fetched.values[self._site.id][self._asked.day]

    def _take(self, page: Page, seen: _Seen, result: DayRead, problems: list[str]) -> None:
        rows, size = [], 0
        for broken in page.broken:
            # It may be of another day, or come twice: it counts once.
            result.visits += seen.is_new_broken(broken.id_visit)
            problems.append(broken.message)
        for visit in page.visits:
            if visit.id_site is not None and str(visit.id_site) != str(self._site.id):
                raise UnexpectedAnswer(
                    f"the visit log of site {self._site.id} holds a visit of another one"
                )
            last = last_action(visit)
            if last is None:
                result.visits += seen.is_new_broken(str(visit.id_visit))
                name = shorten(str(visit.id_visit))
                problems.append(f"visit {name} has no time of its last action")
                continue
            if not self._asked.holds(last) or not seen.is_new(visit, last):
                continue
            result.visits += 1
            result.last_action = max(last, result.last_action or last)
            rendered = render_visit(visit, self._zone)
            problems += rendered.problems
            if visit.truncated_actions_count:
                result.cut_visits += 1
                result.cut_actions += _number(visit.truncated_actions_count)
            result.actions += rendered.rows
            rows.append(rendered)
            size += len(rendered.lines)
            if size > LARGEST_PART_BYTES:
                self._put(self._asked.day, [r for r in rows if r.rows])
                rows, size = [], 0
        self._put(self._asked.day, [r for r in rows if r.rows])


class _Seen:
    """Visits of the last second read: the next page begins with them again."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._ids: set[tuple[str, float]] = set()
        self._broken: set[str | None] = set()

    def is_new(self, visit: Visit, last: float) -> bool:
        if last > self._last:
            # One second more than the cursor steps back, for a server that takes it inclusively.
            self._ids = {key for key in self._ids if key[1] >= last - 1}
            self._last = last
        key = (str(visit.id_visit), last)
        if key in self._ids:
            return False
        self._ids.add(key)
        return True

    def is_new_broken(self, id_visit: str | None) -> bool:
        new = id_visit is None or id_visit not in self._broken
        self._broken.add(id_visit)
        return new


def mend_of(error: FetchError) -> str:
    """What is said of the nightly run is not true of this one."""
    return NEXT_RUN if isinstance(error, Temporary | NotReady) else error.mend


def _name_problems(result: DayRead, problems: list[str]) -> None:
    named = list(dict.fromkeys(problems))
    for message in named[:PROBLEMS_NAMED]:
        result.fail(UnexpectedAnswer.kind, message, PROBLEM_MEND)
    if len(named) > PROBLEMS_NAMED:
        more = f"and {len(named) - PROBLEMS_NAMED} more visits or actions like these"
        result.fail(UnexpectedAnswer.kind, more, PROBLEM_MEND)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
