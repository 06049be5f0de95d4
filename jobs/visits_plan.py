"""What an import of the visit log reads: which sites, and of each site which days, whole or not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from config import Settings
from fetchers.matomo_answers import GRANT_VIEW
from fetchers.matomo_visits import DayOfSite, MatomoSite, day_of_site
from jobs.run_failures import CannotRun, WrongRequest
from models import Failure, Watermark, Window, days_between

CLOSES_AFTER = timedelta(hours=1)
"""A day is closed this long after its end: what is tracked late by a queue has come by then."""

OVERLAP = timedelta(hours=2)
"""An open day is read again from this long before its last known action. A visit ends after 30
minutes without one; what came later than this is read when the day is closed."""

READ_AGAIN_AFTER = timedelta(hours=12)
"""The last closed day is read once more, for what was tracked late; not by every run of an hour."""

UPSTREAM_OVERLAP = timedelta(days=2)
"""As matomo-postgres: how far before the newest action a table without watermark is read again."""

ROUND_DAYS = 31
"""Days whose numbers of visits are asked for at once."""

SOURCE = "visits"
"""The source of a failure in messages and in the run history."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. first, last: the days of the command line, None where it names none."""

    first: date | None
    last: date | None
    settings: Settings
    now: datetime


@dataclass(frozen=True, slots=True)
class SitePlan:
    """What is read of one site: the days from `window.first` to `window.last`.

    resumed: the run goes on where the last one stopped, so open days need not be read whole.
    watermark: how far the site is; at first nothing is known to be complete before the first day.
    """

    site: MatomoSite
    window: Window
    watermark: Watermark
    resumed: bool

    def asked(self, day: date, now: datetime) -> DayOfSite:
        """What to read of this day: all of it, if it is closed; an open one from where the last
        run stopped."""
        whole = day_of_site(self.site, day)
        since = self.watermark.read_until if self.resumed else None
        if since is None or is_closed(whole, now):
            return whole
        return day_of_site(self.site, day, since - OVERLAP)


def choose_sites(
    known: Mapping[int, MatomoSite], wanted: Collection[int]
) -> tuple[list[MatomoSite], list[Failure]]:
    """The sites to read, by id, and those that cannot be.

    Raises:
        CannotRun: there are none at all.
    """
    failures = []
    if not known:
        raise CannotRun("Matomo's token may view no site at all", GRANT_VIEW)
    for number in wanted:
        if number not in known:
            message = f"Matomo's token may not view site {number}, or it does not exist"
            mend = (
                "give the token's user 'view' access to this site in Matomo, or correct MATOMO_SITE"
            )
            failures.append(Failure("permission", SOURCE, message, mend, (number,)))
    chosen = [site for number, site in sorted(known.items()) if not wanted or number in wanted]
    for site in chosen:
        if site.zone is None:
            message = f"the time zone {site.zone_name} of this site is not known"
            mend = "choose a time zone of the list in Matomo's settings of the site"
            failures.append(Failure("settings", SOURCE, message, mend, (site.id,)))
    usable = [site for site in chosen if site.zone is not None]
    if not usable:
        raise CannotRun(failures[0].message, failures[0].mend)
    return usable, failures


def plan_site(
    site: MatomoSite,
    request: Request,
    watermark: Watermark | None,
    newest_action: datetime | None = None,
    others: date | None = None,
) -> SitePlan | None:
    """The days to read of one site; None if none of them has begun there.

    newest_action: of the site in a table that has no watermark of it (matomo-postgres filled it).
    others: the oldest complete_through of the table; a site that came since then is read from its
    beginning, even if no run has seen it for a while.
    """
    today = request.now.astimezone(site.zone).date()
    last = min(request.last or today, today)
    offset = timedelta(days=request.settings.initial_offset_days + 1)
    if watermark is not None and watermark.complete_through >= today:
        watermark = Watermark(today - offset)  # a run of which the clock was ahead
    usual = _first_day(request, today, watermark, newest_action)
    if watermark is None and newest_action is None and others is not None:
        usual = min(usual, max(others + timedelta(days=1), site.created or usual))
    first = request.first or (min(usual, last) if request.last else usual)
    if first > last:
        return None
    forced = request.first is None and request.settings.force_start_date
    skips = forced and request.settings.start_date is not None
    if watermark is None or (skips and first > watermark.complete_through):
        # A look at some later days, by --from, is not where the first real run begins.
        watermark = Watermark(min(first, usual) - timedelta(days=1))
    resumed = not (request.first or forced)
    if resumed and first == watermark.complete_through:
        # Read once more: if that fails it is complete no longer, and the next run begins with it.
        watermark = Watermark(first - timedelta(days=1), None, watermark.read_until)
    return SitePlan(site, Window(first, last), watermark, resumed)


def _first_day(
    request: Request, today: date, watermark: Watermark | None, newest_action: datetime | None
) -> date:
    """The order of matomo-postgres (facts/visits.md, 2), with the watermark first."""
    settings = request.settings
    offset = today - timedelta(days=settings.initial_offset_days)
    if settings.force_start_date:
        return settings.start_date or offset
    if watermark is not None:
        return min(_after_watermark(watermark, request.now), today)
    if newest_action is not None:
        return min((newest_action - UPSTREAM_OVERLAP).date(), offset)
    return settings.start_date or offset


def _after_watermark(watermark: Watermark, now: datetime) -> date:
    verified = watermark.verified_at
    again = verified is not None and now - verified > READ_AGAIN_AFTER
    return watermark.complete_through + timedelta(days=0 if again else 1)


def is_closed(asked: DayOfSite, now: datetime) -> bool:
    """Whether nothing can come to this day any more, late tracking apart."""
    return now.timestamp() >= asked.ends + CLOSES_AFTER.total_seconds()


def check_dates(request: Request) -> None:
    """
    Raises:
        WrongRequest: a first day that has begun nowhere on earth. CannotRun: a STARTDATE.
    """
    newest = (request.now + timedelta(hours=14)).date()
    start = request.settings.start_date
    if start and start > newest:
        raise CannotRun(f"STARTDATE {start} is in the future", "correct it in .env")
    if request.first and request.first > newest:
        raise WrongRequest(f"{request.first} is in the future", "ask for days that have begun")


def rounds(plans: Collection[SitePlan]) -> Iterator[tuple[Window, list[SitePlan]]]:
    """The run in parts of at most 31 days, oldest first, each with the sites that want days of it.

    Numbers of visits are asked for by part, and memory does not grow with the range.
    """
    first = min(plan.window.first for plan in plans)
    last = max(plan.window.last for plan in plans)
    for begin in days_between(first, last)[::ROUND_DAYS]:
        end = min(begin + timedelta(days=ROUND_DAYS - 1), last)
        within = [p for p in plans if p.window.first <= end and p.window.last >= begin]
        if within:
            yield Window(begin, end), within
