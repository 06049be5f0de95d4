"""What a nightly run says of itself: the plan, each source's outcome, and the final report."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import date, datetime

from config import Settings
from jobs.daily_gsc import SearchConsoleResult
from jobs.daily_matomo import MatomoResult
from jobs.daily_plan import Plan
from jobs.daily_store import Change
from jobs.recording import Run
from logs import printable, report
from models import Window
from summary import count, describe_days, failure_lines, merge_failures

CHANGES_SHOWN = 100

log = logging.getLogger("aggregator")


def log_plan(
    plan: Plan, window: Window, sources: Collection[str], settings: Settings, now: datetime
) -> None:
    """One line of what this run is about, and what is provisional or left out by configuration."""
    log.info("%s, %s", count(len(plan.sites), "site"), window)
    today = now.astimezone(settings.timezone).date()
    if window.last == today:
        log.warning("%s is not over yet: its numbers are provisional, run the day again", today)
    for what, source, asked in (
        ("Matomo site id", "matomo", plan.matomo),
        ("Search Console account", "gsc", plan.gsc),
    ):
        without = len(plan.sites) - len(asked)
        if without and source in sources:
            level = logging.INFO if asked else logging.WARNING
            log.log(level, "%s without a %s", count(without, "site"), what)


def log_sources(plan: Plan, matomo: MatomoResult, gsc: SearchConsoleResult) -> None:
    """One line per source when both are done, and what Google has not published yet."""
    for name, got, asked in (
        ("Matomo", matomo.sites, plan.matomo),
        ("Search Console", gsc.sites, plan.gsc),
    ):
        if asked:
            wanted = sum(1 for days in asked.values() if days)
            if not wanted:
                log.info("%s: nothing is missing in these days", name)
                continue
            log.info("%s: numbers for %d of %s", name, got, count(wanted, "site"))
    per_day = Counter(day for days in gsc.waiting.values() for day in days)
    for day, sites in sorted(per_day.items()):
        log.info("Search Console has not published %s yet (%s)", day, count(sites, "site"))


def show_changes(changes: Iterable[Change], plan: Plan) -> None:
    """What a dry run would have changed, one line per site and day, sites by name."""
    cells: dict[tuple[str, str, date], list[str]] = defaultdict(list)
    for change in changes:
        old = "unknown" if change.old is None else change.old
        site_id = str(change.site_id)
        name = printable(plan.sites[change.site_id].domain or site_id)
        cells[name, site_id, change.day].append(f"{change.metric} {old} -> {change.new}")
    for (name, _, day), numbers in sorted(cells.items())[:CHANGES_SHOWN]:
        report(f"would change {name} {day}: {', '.join(numbers)}")
    if len(cells) > CHANGES_SHOWN:
        report(f"... and {len(cells) - CHANGES_SHOWN} more rows")
    total = sum(map(len, cells.values()))
    report(f"dry run: {count(total, 'number')} would change, nothing was written")


def summary_lines(run: Run, window: Window) -> list[str]:
    """The final report. Its last line is fixed by contract."""
    counts, failures = run.counts, merge_failures(run.failures)
    lines = [f"COMPLETE: {describe_days(list(window))}"]
    if failures:
        lacking = len({site for failure in failures for site in failure.sites})
        head = (
            f"INCOMPLETE: {lacking} of {count(counts['sites'], 'site')} without some numbers, "
            f"{count(len(failures), 'reason')}"
        )
        lines = [head, *failure_lines(failures, run.names), ""]
    return [
        *lines,
        f"Processed {counts['sites']} sites. Fetched Matomo data for {counts['matomo']}. "
        f"Fetched GSC data for {counts['gsc']}. Stored {counts.get('stored', 0)} records.",
    ]


def report_run(run: Run) -> None:
    """Print the summary, its last line with the counts as fields."""
    for line in run.summary[:-1]:
        report(line)
    failures = len(merge_failures(run.failures))
    report(run.summary[-1], counts=run.counts, failures=failures)
