"""The values that pass between rooms. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

SiteId = str | int
"""Opaque: whatever type the user's `sites.id` has (uuid as text, or integer)."""

MATOMO_METRICS = ("matomo_visits",)
GSC_METRICS = ("gsc_clicks", "gsc_impressions")
METRICS = MATOMO_METRICS + GSC_METRICS

SOCIAL_PLATFORMS = ("instagram", "facebook", "youtube", "linkedin")

Master = dict[SiteId, dict[date, dict[str, int]]]
"""master[site][day] = {"matomo_visits": 12}: only what was fetched; a missing key is unknown."""


@dataclass(frozen=True, slots=True)
class Site:
    """One row of `sites` with status_deployment = 'deployed'."""

    id: SiteId
    domain: str
    matomo_site_id: int | None = None
    gsc_account_id: SiteId | None = None
    gsc_property: str | None = None


@dataclass(frozen=True, slots=True)
class GscAccount:
    """One row of `gsc_accounts`; the token is as stored, perhaps encrypted."""

    id: SiteId
    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Connection:
    """One active row of `platform_connections`; its tokens are as stored, perhaps encrypted.

    platform: lower case. account_id: of the page, channel or organization, as the platform has it.
    metadata: the user's own, and what this program notes of it (docs/social.md).
    """

    id: SiteId
    user_id: str
    platform: str
    account_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    token_expires_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One row of `analytics_snapshots`: a number of an account on a day. post_id is always NULL.

    metric: as the API calls it; a part of one as `metric:part`. updated_at: when the value last
    changed; None where it was not read.
    """

    user_id: str
    platform: str
    account_id: str
    metric: str
    day: date
    value: int | float
    metadata: Mapping[str, Any]
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The days a run works on, both ends included."""

    first: date
    last: date

    def __iter__(self) -> Iterator[date]:
        return iter(days_between(self.first, self.last))

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that went wrong: whose it is, what happened, and what mends it.

    `sites` and `days` span the cells that stay unknown because of it; both are empty when the
    failure is about the run as a whole. `kind` is one of the words in fetchers/errors.py.
    """

    kind: str
    source: str
    message: str
    mend: str
    sites: tuple[SiteId, ...] = ()
    days: tuple[date, ...] = ()
    account: SiteId | None = None


@dataclass(frozen=True, slots=True)
class StoredDay:
    """One row of `daily_analytics` as it rests in the database; None is "not known".

    updated_at: when a number of the row last changed; None where it was not asked for.
    """

    site_id: SiteId
    day: date
    numbers: dict[str, int | None]
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far the visit log of one Matomo site is in the table.

    complete_through: every day up to it is closed, read whole and compared; verified_at: when that
    last day was. read_until: the last action seen of the days after it, which are still open.
    """

    complete_through: date
    verified_at: datetime | None = None
    read_until: datetime | None = None


def days_between(first: date, last: date) -> list[date]:
    """Every day from first to last, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
