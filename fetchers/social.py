"""What every social platform's fetcher takes and hands back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from fetchers.errors import FetchError
from fetchers.social_metrics import Metric

DataState = Literal["final", "provisional"]
Login = Literal["instagram", "facebook"]


@dataclass(frozen=True, slots=True)
class SocialAccount:
    """One account to ask, its tokens readable.

    user_id: whose it is, for limits that a platform counts by user. login: through which dialog an
    Instagram token came: it decides which host answers (facts/social.md 1.1).
    """

    user_id: str
    account_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    login: Login = "facebook"


@dataclass(frozen=True, slots=True)
class SocialValue:
    """One number of one day. part: which part of the metric, in lower case; None for the whole.

    extra: what else its row's metadata says.
    """

    metric: Metric
    day: date
    value: int | float
    part: str | None = None
    data_state: DataState = "final"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As it is stored: `views`, `views:reels`."""
        return self.metric.name if self.part is None else f"{self.metric.name}:{self.part}"


@dataclass(slots=True)
class Collected:
    """What one account gave: only what the platform said; what failed, and what it will never give.

    waiting: days that the platform has not published yet. errors: each ended a part of the work.
    refused: metrics that the API does not know (any more), of which the optional ones are no error.
    """

    values: list[SocialValue] = field(default_factory=list)
    waiting: set[date] = field(default_factory=set)
    errors: list[FetchError] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def add(self, values: Iterable[SocialValue]) -> None:
        self.values.extend(values)


@dataclass(frozen=True, slots=True)
class NewToken:
    """What a platform gave in place of a token. refresh_token: None where the old one stays."""

    access_token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str | None = field(default=None, repr=False)


StoredNumbers = Mapping[tuple[str, date], tuple[float, str]]
"""(metric, day) -> (value, data_state) of one account, as `analytics_snapshots` has it."""
