"""Which numbers each platform has: the catalogue, as data.

Names and lives are those of shared facts/social.md (1.4, 2.2, 3, 4.4, 5). A metric that is added
here is asked for and stored; nothing else has to know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from models import SOCIAL_PLATFORMS

Fetch = Literal["series", "total_value", "node", "report", "statistics"]
"""How it is fetched: one number per day in one answer; one number for the time that was asked for;
a field of the account as it is now; a column of a report; a field of LinkedIn's statistics."""

Unit = Literal["count", "unique", "delta", "level", "ratio"]
"""What it counts: events; people (never summed over days); changes; a state (never summed over days
either); a ratio."""

INSTAGRAM, FACEBOOK, YOUTUBE, LINKEDIN = SOCIAL_PLATFORMS


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a platform, under the name that its API has for it.

    optional: the API may refuse it, and then the others are asked without it. since, until: the
    first version that has it, and the first that has not; a date where the API has no versions.
    ends: when it goes, where that is announced. legacy_name: what the design calls it. replaced:
    the older metric whose place it took. split: the dimension by which the API splits it; the parts
    are stored as `name:part`. path: where it lies in an element of LinkedIn's statistics.
    """

    name: str
    fetch: Fetch
    unit: Unit
    optional: bool = False
    since: str = ""
    until: str = ""
    ends: date | None = None
    legacy_name: str | None = None
    replaced: str | None = None
    split: str | None = None
    path: tuple[str, ...] = ()


CATALOGUE: Mapping[str, tuple[Metric, ...]] = {
    INSTAGRAM: (
        Metric("reach", "series", "unique"),
        Metric("follower_count", "series", "delta", optional=True),
        Metric(
            "views",
            "total_value",
            "count",
            since="v22.0",
            legacy_name="impressions",
            replaced="impressions",
            split="media_product_type",
        ),
        Metric("total_interactions", "total_value", "count", split="media_product_type"),
        Metric("accounts_engaged", "total_value", "unique"),
        Metric("profile_views", "total_value", "count", optional=True),
        Metric("website_clicks", "total_value", "count", optional=True),
        Metric("followers_count", "node", "level"),
        Metric("follows_count", "node", "level"),
        Metric("media_count", "node", "level"),
    ),
    FACEBOOK: (
        Metric(
            "page_media_view",
            "series",
            "count",
            since="v24.0",
            legacy_name="page_impressions",
            replaced="page_impressions",
        ),
        Metric(
            "page_total_media_view_unique",
            "series",
            "unique",
            optional=True,
            since="v24.0",
            replaced="page_impressions_unique",
        ),
        Metric(
            "page_post_engagements",
            "series",
            "count",
            legacy_name="page_engaged_users",
            replaced="page_engaged_users",
        ),
        Metric(
            "page_views_total", "series", "count", legacy_name="page_views", replaced="page_views"
        ),
        Metric("page_daily_follows_unique", "series", "delta", optional=True),
        Metric("page_daily_unfollows_unique", "series", "delta", optional=True),
        Metric("page_follows", "series", "level", optional=True, replaced="page_fans"),
    ),
    YOUTUBE: (
        Metric("views", "report", "count", split="creatorContentType"),
        Metric("engagedViews", "report", "count", split="creatorContentType", since="2025-03-31"),
        Metric("estimatedMinutesWatched", "report", "count", split="creatorContentType"),
        Metric("averageViewDuration", "report", "ratio"),
        Metric("subscribersGained", "report", "count"),
        Metric("subscribersLost", "report", "count"),
        Metric("likes", "report", "count", optional=True),
        Metric("comments", "report", "count", optional=True),
        Metric("shares", "report", "count", optional=True),
    ),
    LINKEDIN: (
        Metric(
            "impressionCount",
            "statistics",
            "count",
            path=("totalShareStatistics", "impressionCount"),
        ),
        Metric(
            "uniqueImpressionsCount",
            "statistics",
            "unique",
            path=("totalShareStatistics", "uniqueImpressionsCount"),
        ),
        Metric("clickCount", "statistics", "count", path=("totalShareStatistics", "clickCount")),
        Metric("likeCount", "statistics", "count", path=("totalShareStatistics", "likeCount")),
        Metric(
            "commentCount", "statistics", "count", path=("totalShareStatistics", "commentCount")
        ),
        Metric("shareCount", "statistics", "count", path=("totalShareStatistics", "shareCount")),
        Metric("engagement", "statistics", "ratio", path=("totalShareStatistics", "engagement")),
        Metric(
            "organicFollowerGain",
            "statistics",
            "delta",
            path=("followerGains", "organicFollowerGain"),
        ),
        Metric(
            "paidFollowerGain", "statistics", "delta", path=("followerGains", "paidFollowerGain")
        ),
        Metric(
            "allPageViews",
            "statistics",
            "count",
            path=("totalPageStatistics", "views", "allPageViews", "pageViews"),
        ),
        Metric("firstDegreeSize", "node", "level"),
    ),
}

GRAPH_VERSION_ENDS: Mapping[str, date] = {
    "v18.0": date(2026, 1, 26),
    "v19.0": date(2026, 5, 21),
    "v20.0": date(2026, 9, 24),
    "v21.0": date(2027, 1, 21),
    "v22.0": date(2027, 5, 20),
    "v23.0": date(2027, 10, 8),
    "v24.0": date(2028, 2, 18),
    "v25.0": date(2028, 7, 29),
}
"""When a version of Facebook's and Instagram's API ends (facts/social.md 1.2). v26.0: not known."""


def metrics_of(platform: str, fetch: Fetch) -> tuple[Metric, ...]:
    """The platform's metrics that are fetched this way, in the catalogue's order."""
    return tuple(metric for metric in CATALOGUE[platform] if metric.fetch == fetch)


def linkedin_version_ends(version: str) -> date:
    """When LinkedIn turns a version (YYYYMM) off: a year after its month, around the 15th.

    202601 ends 2027-01-15, 202603 2027-03-16 (facts/social.md 4.1): the 15th is the safe side.
    """
    return date(int(version[:4]) + 1, int(version[4:]), 15)
