"""The made-up social accounts: connections, their tokens, and every day's numbers.

Connection n is of user (n - 1) // 2 and of the platforms in turn. Pure functions of connection,
metric and day, so that a test computes what a run must have stored. Facts: social.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from sandbox.world import PACIFIC, WEEKDAYS, ZERO_DAYS_PERCENT, hashed, utc_now

Platform = Literal["instagram", "facebook", "youtube", "linkedin"]
PLATFORMS: tuple[Platform, ...] = ("instagram", "facebook", "youtube", "linkedin")

LINKEDIN_CLIENT_ID = "sandbox-linkedin-client-id"
LINKEDIN_CLIENT_SECRET = "sandbox-linkedin-client-secret"

# Hours from the end of a day until its numbers are out.
LAG_HOURS: dict[Platform, int] = {"instagram": 6, "facebook": 12, "youtube": 50, "linkedin": 48}

# What a metric is of its account's usual day; YouTube's words for content are the parts.
SHARES = {
    "views": 1.0,
    "reach": 0.6,
    "accounts_engaged": 0.05,
    "total_interactions": 0.08,
    "profile_views": 0.03,
    "website_clicks": 0.005,
    "profile_links_taps": 0.004,
    "likes": 0.05,
    "comments": 0.01,
    "shares": 0.01,
    "saves": 0.006,
    "replies": 0.002,
    "reposts": 0.002,
    "page_media_view": 1.0,
    "page_total_media_view_unique": 0.5,
    "page_post_engagements": 0.09,
    "page_views_total": 0.04,
    "page_video_views": 0.3,
    "page_total_actions": 0.01,
    "engagedViews": 0.8,
    "estimatedMinutesWatched": 1.7,
    "impressionCount": 1.0,
    "uniqueImpressionsCount": 0.6,
    "clickCount": 0.03,
    "likeCount": 0.02,
    "commentCount": 0.004,
    "shareCount": 0.003,
    "allPageViews": 0.05,
    "uniquePageViews": 0.04,
}
# Changes: (least, most) of a day.
DELTAS = {
    "follower_count": (-4, 20),
    "page_daily_follows": (0, 12),
    "page_daily_follows_unique": (0, 12),
    "page_daily_unfollows_unique": (0, 5),
    "subscribersGained": (0, 30),
    "subscribersLost": (0, 9),
    "organicFollowerGain": (-3, 14),
    "paidFollowerGain": (0, 3),
    "averageViewDuration": (20, 400),
}
# States: (least, most) of an account at the beginning; they grow by one each third day.
LEVELS = {
    "followers_count": (100, 90_000),
    "follows_count": (0, 700),
    "media_count": (1, 2_000),
    "page_follows": (100, 40_000),
    "firstDegreeSize": (10, 30_000),
}
GROWS_FROM = date(2024, 1, 1)

# The parts of a metric and their shares. Instagram's AD overlaps with the others; YouTube's sum is
# less than the whole (facts 1.4, 3.3). Both APIs spell their parts in two ways.
PARTS: dict[Platform, tuple[tuple[tuple[str, ...], tuple[float, ...]], ...]] = {
    "instagram": (
        (("REELS", "FEED", "STORY"), (0.55, 0.3, 0.15)),
        (("REEL", "POST", "CAROUSEL_CONTAINER", "AD"), (0.5, 0.3, 0.2, 0.1)),
    ),
    "youtube": (
        (("SHORTS", "VIDEO_ON_DEMAND", "LIVE_STREAM"), (0.6, 0.3, 0.05)),
        (("shorts", "videoOnDemand", "liveStream"), (0.6, 0.3, 0.05)),
    ),
    "facebook": (),
    "linkedin": (),
}


@dataclass(frozen=True)
class SocialWorld:
    """Connections 1..connections of users "user-001"…, two each until the users are through.

    small: connections with fewer than 100 followers, of which their platform says less.
    """

    users: int = 150
    connections: int = 300
    small: frozenset[int] = frozenset()
    now: Callable[[], datetime] = utc_now

    @property
    def connection_numbers(self) -> range:
        return range(1, self.connections + 1)

    def numbers_of(self, platform: Platform) -> list[int]:
        """The connections of a platform."""
        return [n for n in self.connection_numbers if self.platform_of(n) == platform]

    def user_of(self, connection: int) -> str:
        return f"user-{(connection - 1) // 2 % self.users + 1:03}"

    def platform_of(self, connection: int) -> Platform:
        return PLATFORMS[(connection - 1) % len(PLATFORMS)]

    def login_of(self, connection: int) -> Literal["instagram", "facebook"]:
        """Through which dialog an Instagram account was connected: by turns. Else Facebook's."""
        is_instagram = self.platform_of(connection) == "instagram"
        return "instagram" if is_instagram and (connection - 1) // 4 % 2 == 0 else "facebook"

    def account_id(self, connection: int) -> str:
        """As the platform has it: of the Instagram user, the page, channel or organization."""
        return {
            "instagram": f"178414{connection:011}",
            "facebook": f"1{connection:014}",
            "youtube": f"UCsandbox{connection:015}",
            "linkedin": f"{5_000_000 + connection}",
        }[self.platform_of(connection)]

    def access_token(self, connection: int) -> str:
        return f"sandbox-social-token-{connection}"

    def refresh_token(self, connection: int) -> str:
        """Empty where the platform has none: Meta's tokens are exchanged themselves."""
        has_one = self.platform_of(connection) in {"youtube", "linkedin"}
        return f"sandbox-social-refresh-{connection}" if has_one else ""

    def page_token(self, connection: int) -> str:
        return f"sandbox-page-token-{connection}"

    def parts_of(self, connection: int) -> dict[str, float]:
        """The parts of the account's metrics as its API spells them, with their shares."""
        spellings = PARTS[self.platform_of(connection)]
        if not spellings:
            return {}
        names, shares = spellings[(connection - 1) // 4 % len(spellings)]
        return dict(zip(names, shares, strict=True))

    def today(self, platform: Platform) -> date:
        """The current day in the platform's calendar."""
        return self.now().astimezone(zone_of(platform)).date()

    def published(self, platform: Platform, day: date) -> bool:
        """Whether a day's numbers are out, unless they are held back."""
        over = midnight(platform, day + timedelta(days=1))
        return self.now() >= over + timedelta(hours=LAG_HOURS[platform])

    def number(self, connection: int, metric: str, day: date) -> int | float:
        """What the account had on a day; about 3 % of the days are zero."""
        if metric in LEVELS:
            level = _between(LEVELS[metric], hashed(metric, connection))
            return level + (day - GROWS_FROM).days // 3
        if metric == "engagement":
            clicks = self.number(connection, "clickCount", day)
            return round(clicks / max(self.number(connection, "impressionCount", day), 1), 6)
        if hashed("social-zero", connection, day) % 100 < ZERO_DAYS_PERCENT:
            return 0
        if metric in DELTAS:
            return _between(DELTAS[metric], hashed(metric, connection, day))
        usual_day = 30 * 1.06 ** (hashed("social-size", connection) % 100)
        swing = WEEKDAYS[day.weekday()] * (0.7 + hashed("social", connection, day) % 601 / 1000)
        return round(SHARES[metric] * usual_day * swing)


def zone_of(platform: Platform) -> ZoneInfo:
    return ZoneInfo("UTC" if platform == "linkedin" else PACIFIC)


def midnight(platform: Platform, day: date) -> datetime:
    """When a day begins in the platform's calendar, in UTC."""
    return datetime.combine(day, time(), zone_of(platform)).astimezone(UTC)


def _between(range_: tuple[int, int], mixed: int) -> int:
    least, most = range_
    return least + mixed % (most - least + 1)
