"""The made-up world behind the sandbox: sites, accounts, properties and every day's numbers.

Pure functions of site and day, so that a test computes what a run must have stored.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Literal, get_args
from zoneinfo import ZoneInfo

Metric = Literal["visits", "clicks", "impressions"]
SearchState = Literal["final", "provisional", "unpublished", "expired"]
METRICS: tuple[Metric, ...] = get_args(Metric)

MATOMO_TOKEN = "sandbox-matomo-token"
MATOMO_VERSION = "5.0.2"
CLIENT_ID = "sandbox-client-id"
CLIENT_SECRET = "sandbox-client-secret"
REFRESH_TOKEN_PREFIX = "sandbox-refresh-token-"
PACIFIC = "America/Los_Angeles"

# Search Console keeps 16 months.
RETENTION_DAYS = 486
# Monday to Sunday, as parts of a site's usual day.
WEEKDAYS = (1.0, 1.08, 1.05, 1.0, 0.9, 0.6, 0.55)
ZERO_DAYS_PERCENT = 3
PROPERTY_KINDS = (
    "sc-domain:{host}",
    "https://{host}/",
    "https://www.{host}/",
    "http://{host}/",
    "http://www.{host}/",
)
PERMISSIONS = ("siteOwner", "siteFullUser", "siteOwner", "siteFullUser", "siteRestrictedUser")


def pacific_today() -> date:
    """The current day where Search Console's days begin and end."""
    return datetime.now(ZoneInfo(PACIFIC)).date()


def utc_now() -> datetime:
    return datetime.now(UTC)


@cache
def zone_named(name: str) -> tzinfo:
    """An IANA name, or one of Matomo's manual offsets: UTC+3, UTC-3.5."""
    offset = re.fullmatch(r"UTC([+-]\d{1,2}(?:\.\d+)?)", name)
    return timezone(timedelta(hours=float(offset[1]))) if offset else ZoneInfo(name)


@dataclass(frozen=True)
class World:
    """Sites 1..sites in turn owned by accounts 1..accounts; the sets make exceptions by site.

    unverified: listed as siteUnverifiedUser. parent_only: the site is a subdomain and only its
    parent's domain property is listed. no_property: not listed. matomo_hidden: not for the Matomo
    token to view. without_boundary: answers never name the first incomplete day. `today` is the
    Pacific day. A day from first_incomplete_days_ago on may still change, one after newest_days_ago
    is not published yet.

    The visit log: time_zones are the sites' in turn (none: all lie in the Pacific one), `now` says
    how far visits have come. visits_per_day and actions_per_visit take the place of the usual
    numbers. The first visits of every day are special: midnight_visits began the day before and
    end in the day's first second, long_visits have 620 actions, same_second_visits end together.
    """

    sites: int = 198
    accounts: int = 5
    unverified: frozenset[int] = frozenset()
    parent_only: frozenset[int] = frozenset()
    no_property: frozenset[int] = frozenset()
    matomo_hidden: frozenset[int] = frozenset()
    without_boundary: frozenset[int] = frozenset()
    first_incomplete_days_ago: int = 2
    newest_days_ago: int = 1
    today: Callable[[], date] = pacific_today
    time_zones: tuple[str, ...] = ()
    now: Callable[[], datetime] = utc_now
    visits_per_day: int | None = None
    actions_per_visit: int | None = None
    midnight_visits: int = 0
    long_visits: int = 0
    same_second_visits: int = 0

    @property
    def site_numbers(self) -> range:
        return range(1, self.sites + 1)

    @property
    def account_numbers(self) -> range:
        return range(1, self.accounts + 1)

    @property
    def logs_visits(self) -> bool:
        """Whether anything about the visit log was asked for: the numbers of visits follow it then.

        They differ in the current day only: what has happened so far, not the whole day's number.
        """
        wanted = (self.time_zones, self.midnight_visits, self.long_visits, self.same_second_visits)
        numbers = (self.visits_per_day, self.actions_per_visit)
        return any(wanted) or numbers != (None, None) or self.now is not utc_now

    def zone_name(self, site: int) -> str:
        return self.time_zones[(site - 1) % len(self.time_zones)] if self.time_zones else PACIFIC

    def zone_of(self, site: int) -> tzinfo:
        """The zone in which the site's days begin and end."""
        return zone_named(self.zone_name(site))

    def viewable(self, site: int) -> bool:
        """Whether the Matomo token may view the site; Matomo's idSite is the site's number."""
        return site in self.site_numbers and site not in self.matomo_hidden

    def account_of(self, site: int) -> int:
        return (site - 1) % self.accounts + 1

    def refresh_token(self, account: int) -> str:
        return f"{REFRESH_TOKEN_PREFIX}{account}"

    def domain(self, site: int) -> str:
        host = f"site-{site:04d}.example"
        return f"blog.{host}" if site in self.parent_only else host

    def property_of(self, site: int) -> str | None:
        """The siteUrl under which the site's account lists it, None where it does not."""
        if site in self.no_property:
            return None
        if site in self.parent_only:
            return "sc-domain:" + self.domain(site).removeprefix("blog.")
        # One further for each full turn, else every account of five would own one kind only.
        turn, index = divmod(site - 1, len(PROPERTY_KINDS))
        kind = PROPERTY_KINDS[(turn + index) % len(PROPERTY_KINDS)]
        return kind.format(host=self.domain(site))

    def permission_of(self, site: int) -> str:
        if site in self.unverified:
            return "siteUnverifiedUser"
        return PERMISSIONS[site % len(PERMISSIONS)]

    def properties_of(self, account: int) -> list[tuple[str, str]]:
        """(siteUrl, permissionLevel) of every property that the account lists."""
        sites = range(account, self.sites + 1, self.accounts)
        listed = ((self.property_of(site), self.permission_of(site)) for site in sites)
        return [(site_url, permission) for site_url, permission in listed if site_url is not None]

    def visits(self, site: int, day: date) -> int:
        """Matomo's visits; about 3 % of the days are zero, none with visits_per_day."""
        if self.visits_per_day is not None:
            return self.visits_per_day
        if hashed("visits-zero", site, day) % 100 < ZERO_DAYS_PERCENT:
            return 0
        return max(1, round(_usual_day(site) * _swing("visits", site, day)))

    def impressions(self, site: int, day: date) -> int:
        """Search Console's impressions; 0 (about 3 % of the days) means that no row exists."""
        if hashed("search-zero", site, day) % 100 < ZERO_DAYS_PERCENT:
            return 0
        return max(1, round(14 * _usual_day(site) * _swing("impressions", site, day)))

    def clicks(self, site: int, day: date) -> int:
        """Search Console's clicks, 1 to 7 % of the impressions."""
        rate = 0.01 + hashed("clicks", site, day) % 600 / 10_000
        return int(self.impressions(site, day) * rate)

    def number(self, metric: Metric, site: int, day: date) -> int:
        by_metric = {"visits": self.visits, "clicks": self.clicks, "impressions": self.impressions}
        return by_metric[metric](site, day)

    def first_incomplete(self) -> date:
        return self.today() - timedelta(days=self.first_incomplete_days_ago)

    def newest(self) -> date:
        return self.today() - timedelta(days=self.newest_days_ago)

    def search_state(self, day: date) -> SearchState:
        """How far Search Console is with a day."""
        if day > self.newest():
            return "unpublished"
        if day >= self.first_incomplete():
            return "provisional"
        if day < self.today() - timedelta(days=RETENTION_DAYS):
            return "expired"
        return "final"


def hashed(name: str, site: int, day: date | None = None) -> int:
    """The same number for the same words each time, 31 bits, spread evenly."""
    # CRC-32 alone maps neighbouring days to related numbers; the multiplication mixes them.
    mixed = zlib.crc32(f"{name}/{site}/{day}".encode()) * 0x9E3779B97F4A7C15
    return (mixed >> 32) & 0x7FFFFFFF


def _usual_day(site: int) -> float:
    """Visits of an ordinary weekday: between 5 and about 1,700, small sites as often as large."""
    return 5 * 1.06 ** (hashed("size", site) % 100)


def _swing(name: str, site: int, day: date) -> float:
    """The day of the week, and up to 30 % more or less."""
    return WEEKDAYS[day.weekday()] * (0.7 + hashed(name, site, day) % 601 / 1000)
