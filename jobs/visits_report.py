"""An import of the visit log in words: what it does, what it did, what is missing."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from jobs.progress import AdvanceRows, Bars, silent_rows
from jobs.recording import Run
from jobs.visit_rows import VisitRows
from jobs.visits_day import UNARCHIVED_MEND, DayRead
from jobs.visits_plan import SOURCE, SitePlan
from jobs.visits_store import StoredDays
from models import Failure, Window
from summary import count, failure_lines, merge_failures

UNARCHIVED_NAMED = 10
"""Sites of one day whose report is missing, each with its numbers; more are told as one."""

CUT = (
    "Matomo cut {} (site {}): {} missing. visitor_log_maximum_actions_per_visit in its "
    "config.ini.php allows no more; the visits' other rows are stored."
)

log = logging.getLogger("aggregator.visits")


class Tally:
    """What has been read and stored so far; told by the threads that do it."""

    def __init__(self, plans: Sequence[SitePlan], table: str, gone: Sequence[int] = ()) -> None:
        self._lock = threading.Lock()
        self._open = Counter(day for plan in plans for day in plan.window)
        self._ended: dict[int, set[date]] = defaultdict(set)
        self._days: dict[date, Counter[str]] = defaultdict(Counter)
        self._total: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._cut: set[int] = set()
        self._unarchived: dict[date, dict[int, int]] = defaultdict(dict)
        self._advance: AdvanceRows = silent_rows("", 0)
        self._expected: dict[tuple[int, date], int] = {}
        self._shown: dict[tuple[int, date], float] = defaultdict(float)
        self.window = (
            Window(min(p.window.first for p in plans), max(p.window.last for p in plans))
            if plans
            else None
        )
        self.sites = len(plans)
        self.table = table
        self.gone = gone
        self.stored = StoredDays()

    def shown_on(self, bars: Bars) -> None:
        self._advance = bars.rows_bar("Visit log, days", sum(self._open.values()))

    def expect(self, visits: Mapping[tuple[int, date], object]) -> None:
        """How many visits the closed days have which are read next: parts of them show then."""
        known = {cell: number for cell, number in visits.items() if isinstance(number, int)}
        with self._lock:
            self._expected = {cell: number for cell, number in known.items() if number}

    def visits_stored(self, visits: Iterable[tuple[date, VisitRows]]) -> None:
        """These have just been stored."""
        rows: Counter[tuple[int, date]] = Counter()
        number: Counter[tuple[int, date]] = Counter()
        for day, visit in visits:
            cell = (int(visit.id_site) if visit.id_site.isdecimal() else 0, day)
            rows[cell] += visit.rows
            number[cell] += 1
        with self._lock:
            for cell, stored in number.items():
                left = 1.0 - self._shown[cell]
                part = min(left, stored / self._expected.get(cell, math.inf))
                self._shown[cell] += part
                self._advance(part, rows[cell])

    def ended(self, read: DayRead) -> None:
        """A day of a site has been read to its end, and everything of it is stored."""
        numbers = {
            "days": 1,
            "visits": read.visits,
            "actions": read.actions,
            "cut_visits": read.cut_visits,
            "cut_actions": read.cut_actions,
            "failed": int(read.failed),
        }
        with self._lock:
            self._ended[read.site].add(read.day)
            self._total.update(numbers)
            self._days[read.day].update(numbers)
            self._failures += read.failures
            if read.cut_visits:
                self._cut.add(read.site)
            if read.unarchived is not None:
                self._unarchived[read.day][read.site] = read.unarchived
            self._advance(1.0 - self._shown.pop((read.site, read.day), 0.0), 0)
            self._open[read.day] -= 1
            if not self._open[read.day]:
                self._log_day(read.day)

    def has_ended(self, site: int, day: date) -> bool:
        return day in self._ended[site]

    def counts(self) -> dict[str, int]:
        """For the run history."""
        numbers = {name: self._total[name] for name in ("visits", "actions", "cut_actions")}
        numbers["days"] = self._total["days"] - self._total["failed"]
        stored = {"written": self.stored.written, "removed": self.stored.removed}
        return {"sites": self.sites, **numbers, **stored}

    def all_failures(self) -> Iterator[Failure]:
        yield from self._failures
        yield from self.stored.failures
        for day, of_sites in sorted(self._unarchived.items()):
            yield from _unarchived(day, of_sites)

    def cut(self) -> str | None:
        """What Matomo itself left out, None if nothing."""
        if not self._total["cut_visits"]:
            return None
        visits = count(self._total["cut_visits"], "visit")
        sites = ", ".join(map(str, sorted(self._cut)))
        return CUT.format(visits, sites, count(self._total["cut_actions"], "action"))

    def _log_day(self, day: date) -> None:
        of_day = self._days.pop(day)
        failed = f", {of_day['failed']} not complete" if of_day["failed"] else ""
        log.info(
            "%s: %s%s, %s, %s",
            day,
            count(of_day["days"], "site"),
            failed,
            count(of_day["visits"], "visit"),
            count(of_day["actions"], "action"),
        )


def _unarchived(day: date, of_sites: dict[int, int]) -> Iterator[Failure]:
    """Reports that say 0 while the log holds visits: one line for each site, or one for many."""
    what = "site {}, {}: the visit log holds {} visits, Matomo's report says 0: not archived yet"
    failure = Failure("not ready", SOURCE, "", UNARCHIVED_MEND, tuple(of_sites), (day,))
    if len(of_sites) <= UNARCHIVED_NAMED:
        for site, visits in of_sites.items():
            yield replace(failure, message=what.format(site, day, visits), sites=(site,))
        return
    numbers = ", ".join(f"{site}: {visits}" for site, visits in sorted(of_sites.items()))
    message = (
        f"{day}: Matomo's reports say 0 visits and are not archived yet; the visit log holds, by "
        f"site, {numbers}"
    )
    yield replace(failure, message=message)


def log_plan(tally: Tally, *, true_utc: bool) -> None:
    """What the run is going to do, in one line."""
    log.info(
        "%s, %s, into %s (%s)",
        count(tally.sites, "site"),
        tally.window,
        tally.table,
        "real UTC" if true_utc else "times as Matomo has them: the site's wall clock",
    )


def summary_lines(run: Run, tally: Tally, now: datetime) -> list[str]:
    """The final report."""
    failures = merge_failures(run.failures)
    what = f"visit log, {tally.window}" if tally.window else "visit log"
    lines = [f"COMPLETE: {what}, as of {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"]
    if failures and not tally.sites:
        lines = [f"INCOMPLETE: {what}: nothing could be read", *failure_lines(failures, run.names)]
    elif failures:
        failing = {site for failure in failures for site in failure.sites}
        of = count(len(failing | set(run.names)), "site")
        head = f"INCOMPLETE: {what}: {len(failing)} of {of} with failures"
        lines = [f"{head}, {count(len(failures), 'reason')}", *failure_lines(failures, run.names)]
    lines += [""] if failures else []
    if cut := tally.cut():
        lines.append(cut)
    if tally.gone:
        named = ", ".join(map(str, tally.gone))
        lines.append(f"Matomo shows these sites no more: {named} (deleted, or no 'view' access?)")
    numbers = tally.counts()
    removed = f", {numbers['removed']} removed" if numbers["removed"] else ""
    return [
        *lines,
        f"Read {count(numbers['days'], 'site-day')} of {count(tally.sites, 'site')}: "
        f"{numbers['visits']} visits, {numbers['actions']} actions. "
        f"Stored {numbers['written']} new or changed rows in {tally.table}{removed}.",
    ]
