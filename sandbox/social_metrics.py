"""The metrics of Instagram accounts and Facebook pages, and one request of them.

Names: facts/social.md 1.4 and 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.faults import Fault

ALLOWED = (
    *("reach", "follower_count", "website_clicks", "profile_views", "online_followers"),
    *("accounts_engaged", "total_interactions", "likes", "comments", "shares", "saves", "replies"),
    *("engaged_audience_demographics", "reached_audience_demographics", "follower_demographics"),
    *("follows_and_unfollows", "profile_links_taps", "views", "threads_likes", "threads_replies"),
    *("reposts", "quotes", "threads_followers", "threads_follower_demographics", "content_views"),
    *("threads_views", "threads_clicks", "threads_reposts"),
)
SERIES_ALONE = ("follower_count",)
SERIES = ("reach", *SERIES_ALONE)
TOTALS = (
    *("reach", "views", "accounts_engaged", "total_interactions", "likes", "comments", "saves"),
    *("shares", "replies", "reposts", "profile_links_taps", "follows_and_unfollows"),
    *("profile_views", "website_clicks"),
)
SPLIT = frozenset({"reach", "views", "total_interactions", "likes", "comments", "saves", "shares"})
BREAKDOWN = "media_product_type"
# The first version that has a metric; the others have always been there.
SINCE = {"views": 22, "page_media_view": 24, "page_total_media_view_unique": 24}
PAGE_METRICS = (
    *("page_media_view", "page_total_media_view_unique", "page_post_engagements"),
    *("page_views_total", "page_daily_follows_unique", "page_daily_unfollows_unique"),
    *("page_daily_follows", "page_follows", "page_video_views", "page_total_actions"),
    "page_actions_post_reactions_total",
)
INSTAGRAM_SECONDS = 30 * 86_400
PAGE_SECONDS = 90 * 86_400
KEPT = timedelta(days=730)


@dataclass(frozen=True)
class Asked:
    """One request of insights: whose, by which version, and its parameters.

    trap: where links to the next page lead.
    """

    connection: int
    version: int
    parameters: dict[str, str]
    trap: str
    faults: Sequence[Fault]

    @property
    def metrics(self) -> list[str]:
        return self.parameters.get("metric", "").split(",")


def window(parameters: dict[str, str], now: datetime) -> tuple[datetime, datetime] | None:
    """since and until; without them the past 24 hours; None where they are no times."""
    try:
        since = _moment(parameters.get("since"), now - timedelta(days=1))
        until = _moment(parameters.get("until"), now)
    except (ValueError, OverflowError, OSError):
        return None
    return since, until


def _moment(text: str | None, default: datetime) -> datetime:
    if text is None:
        return default
    if text.isdecimal():
        return datetime.fromtimestamp(int(text), UTC)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
