"""`doctor --site ID`: what is stored of one site, and why the rest is not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Any

from jobs.daily_plan import nightly_target
from jobs.findings import ADVICE, OK, Finding
from models import GSC_METRICS, MATOMO_METRICS, Site, StoredDay, Window
from storage.errors import DatabaseError
from storage.runs import StoredRun

if TYPE_CHECKING:
    from jobs.doctor import Examination

DAYS = 10
RUNS_READ = 30
LABELS = {"matomo_visits": "visits", "gsc_clicks": "clicks", "gsc_impressions": "impressions"}


def explain_site(seen: Examination) -> Iterator[Finding]:
    """The site's row, and its last ten days, with the reason of each unknown number, if known."""
    (site,) = seen.sites
    yield Finding(OK, "site", _row(site))
    last = nightly_target(seen.settings, seen.now)
    window = Window(last - timedelta(days=DAYS - 1), last)
    stored = {row.day: row for row in seen.database.read_days(window, (site.id,))}
    runs = _runs(seen)
    for day in window:
        yield _day_finding(site, day, stored.get(day), runs)


def _row(site: Site) -> str:
    return (
        f"{site.domain}: Matomo site {site.matomo_site_id}, account {site.gsc_account_id}, "
        f"gsc_property {site.gsc_property or 'chosen by the program'}"
    )


def _runs(seen: Examination) -> list[StoredRun]:
    try:
        return seen.database.read_runs(RUNS_READ, job="daily")
    except DatabaseError:
        return []


def _day_finding(site: Site, day: date, stored: StoredDay | None, runs: list[StoredRun]) -> Finding:
    """`2026-11-19: visits 12, clicks unknown, …` and the last run's reason for what is unknown."""
    numbers = stored.numbers if stored else {}
    parts, reasons = [], []
    for metrics, source, asked in (
        (MATOMO_METRICS, "matomo", site.matomo_site_id is not None),
        (GSC_METRICS, "gsc", site.gsc_account_id is not None),
    ):
        for metric in metrics if asked else ():
            known = numbers.get(metric)
            parts.append(f"{LABELS[metric]} {'unknown' if known is None else known}")
        if asked and any(numbers.get(metric) is None for metric in metrics):
            reasons.append(_reason(site, day, source, runs, asked_for=stored is not None))
    message = f"{day}: {', '.join(parts) or 'nothing is asked of this site'}"
    return Finding(ADVICE if reasons else OK, "site", message, "; ".join(dict.fromkeys(reasons)))


def _reason(site: Site, day: date, source: str, runs: list[StoredRun], *, asked_for: bool) -> str:
    """What the last run that asked for the day said of it. asked_for: the day has a row."""
    for run in runs:
        if run.window_from is None or run.window_to is None:
            continue
        if not run.window_from <= day <= run.window_to:
            continue
        when = f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M}"
        for failure in run.failures or ():
            if _is_about(failure, source, site, day):
                return f"{failure.get('message')} (run of {when}): {failure.get('mend')}"
        if source == "gsc" and asked_for and _asked_search_console(run):
            return f"Search Console had not published it at {when}"
    return f"no run has asked for it: aggregator.py --date {day}"


def _is_about(failure: Mapping[str, Any], source: str, site: Site, day: date) -> bool:
    """Whether a failure of the history is about this cell; one without sites is about all."""
    if failure.get("source") not in (source, "database", "run"):
        return False
    sites = [str(each) for each in failure.get("sites") or ()]
    days = failure.get("days") or ()
    return not sites or (str(site.id) in sites and day.isoformat() in days)


def _asked_search_console(run: StoredRun) -> bool:
    """Whether a run asked for every site's clicks, and got some."""
    ended = run.status in ("complete", "incomplete")
    return ended and not run.counts.get("only_sites") and bool(run.counts.get("gsc"))
