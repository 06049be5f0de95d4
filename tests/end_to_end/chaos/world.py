"""A world whose every number says itself which metric, site and day it belongs to.

Beside those sites Matomo has a few more, of which the visit log is read: days of a few visits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from sandbox.world import METRICS, Metric, World

SITES, ACCOUNTS = 8, 3
NOBODY = 0
DAY_ZERO = date(2024, 1, 1).toordinal()
DAYS = 10_000

LOG_ZONES = {9: "Europe/Berlin", 10: "America/Los_Angeles", 11: "Pacific/Kiritimati"}
"""idSites of the visit log: nights are those of the first two zones, the last is a day ahead."""
LOG_SITES = tuple(LOG_ZONES)


@dataclass(frozen=True)
class ChaosWorld(World):
    """owners: accounts of properties that were moved, NOBODY for none; hidden: from Matomo."""

    owners: dict[int, int] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)

    @property
    def logs_visits(self) -> bool:
        """The numbers of the other sites say whose they are, and not how many visits there are."""
        return False

    def zone_name(self, site: int) -> str:
        return LOG_ZONES.get(site) or super().zone_name(site)

    def viewable(self, site: int) -> bool:
        return site in LOG_ZONES or (super().viewable(site) and site not in self.hidden)

    def account_of(self, site: int) -> int:
        return self.owners.get(site, super().account_of(site))

    def properties_of(self, account: int) -> list[tuple[str, str]]:
        listed = [
            (self.property_of(site), self.permission_of(site))
            for site in self.site_numbers
            if self.account_of(site) == account
        ]
        return [(url, permission) for url, permission in listed if url is not None]

    def visits(self, site: int, day: date) -> int:
        if site in LOG_ZONES:
            return 5 + (site + day.toordinal()) % 3
        is_zero = (7 * site + 3 * day.toordinal()) % 11 == 0
        return 0 if is_zero else number_of("visits", site, day)

    def impressions(self, site: int, day: date) -> int:
        is_zero = (5 * site + 2 * day.toordinal()) % 9 == 0
        return 0 if is_zero else number_of("impressions", site, day)

    def clicks(self, site: int, day: date) -> int:
        return number_of("clicks", site, day) if self.impressions(site, day) else 0


def number_of(metric: Metric, site: int, day: date, revision: int = 0) -> int:
    """A number that belongs to this cell alone, whatever the revision."""
    days = day.toordinal() - DAY_ZERO
    return ((revision * 100 + site) * DAYS + days) * 10 + METRICS.index(metric) + 1


def owner_of(number: int) -> tuple[Metric, int, date]:
    """Metric, site and day of a number of `number_of`."""
    rest, metric = divmod(number, 10)
    rest, days = divmod(rest, DAYS)
    return METRICS[metric - 1], rest % 100, date.fromordinal(days + DAY_ZERO)
