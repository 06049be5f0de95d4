"""Which day a number of a social platform belongs to. Pure functions.

Instagram, Facebook and YouTube count in Pacific days, LinkedIn in UTC days (shared facts/social.md
1.6, 2.4, 3.4, 4.3). Twice a year a Pacific day has 23 or 25 hours: days are never counted in
seconds here, moments are.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")
LINKEDIN_DELAY = timedelta(hours=48)
DAY = timedelta(days=1)


def pacific_midnight(day: date) -> int:
    """When a Pacific day begins, in unix seconds. It ends where the next one begins."""
    return int(_midnight(day, PACIFIC).timestamp())


def day_of_end_time(text: str) -> date:
    """The Pacific day of a value, by the `end_time` that Facebook and Instagram give with it.

    That is the midnight which ends the day: 2026-11-18T08:00:00+0000 (in summer 07:00) is the
    value of 2026-11-17 (facts 1.6, 2.4). Who takes its first ten characters is a day late.

    Raises:
        ValueError: it is no moment with an offset (`+0000` and `Z` both are one).
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    try:
        return (moment.astimezone(UTC) - timedelta(seconds=1)).astimezone(PACIFIC).date()
    except OverflowError:
        raise ValueError("a time outside of the calendar") from None


def pacific_day(now: datetime) -> date:
    """The Pacific day that is not over yet; `now` is aware."""
    return now.astimezone(PACIFIC).date()


def is_settled(day: date, now: datetime, hours: float = 48, zone: tzinfo = PACIFIC) -> bool:
    """Whether a day of the zone ended at least so many real hours before `now` (aware)."""
    return now >= _midnight(day + DAY, zone).astimezone(UTC) + timedelta(hours=hours)


def utc_midnight_ms(day: date) -> int:
    """When a UTC day begins, in unix milliseconds, as LinkedIn counts."""
    return int(_midnight(day, UTC).timestamp()) * 1000


def last_linkedin_day(now: datetime) -> date:
    """The last UTC day that may be asked for: a range must end 48 hours before `now` (facts 4.3).

    The midnight that ends this day is the last one which is at least that long ago.
    """
    return (now.astimezone(UTC) - LINKEDIN_DELAY).date() - DAY


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, zone)
