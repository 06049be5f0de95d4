"""The numbers which the social stand-ins report: the world's, unless revised or held back since."""

from __future__ import annotations

import threading
from datetime import date, timedelta

from sandbox.social_world import DELTAS, LEVELS, SHARES, Platform, SocialWorld

NAMES = frozenset({*SHARES, *DELTAS, *LEVELS, "engagement"})


FOLLOWER_COUNT_DAYS = 30
# What a platform has for every day, of what the program collects, and which of it has parts.
OF_A_DAY: dict[Platform, tuple[str, ...]] = {
    "instagram": (
        *("reach", "follower_count", "views", "total_interactions", "accounts_engaged"),
        *("profile_views", "website_clicks"),
    ),
    "facebook": (
        *("page_media_view", "page_total_media_view_unique", "page_post_engagements"),
        *("page_views_total", "page_daily_follows_unique", "page_daily_unfollows_unique"),
        "page_follows",
    ),
    "youtube": (
        *("views", "engagedViews", "estimatedMinutesWatched", "averageViewDuration"),
        *("subscribersGained", "subscribersLost", "likes", "comments", "shares"),
    ),
    "linkedin": (
        *("impressionCount", "uniqueImpressionsCount", "clickCount", "likeCount", "commentCount"),
        *("shareCount", "engagement", "organicFollowerGain", "paidFollowerGain", "allPageViews"),
    ),
}
WITH_PARTS: dict[Platform, tuple[str, ...]] = {
    "instagram": ("views", "total_interactions"),
    "youtube": ("views", "engagedViews", "estimatedMinutesWatched"),
}


class SocialNumbers:
    """Numbers by connection, metric and day; a part of a metric is "views:reels". Thread-safe."""

    def __init__(self, world: SocialWorld) -> None:
        self.world = world
        self._revised: dict[tuple[int, str, date], int | float] = {}
        self._held_back: set[tuple[int, date, str | None]] = set()
        self._lock = threading.Lock()

    def get(self, connection: int, metric: str, day: date) -> int | float:
        """The number as the platform has it now, published or not."""
        revised = self._revised.get((connection, metric, day))
        if revised is not None:
            return revised
        whole, _, part = metric.partition(":")
        if not part:
            return self.world.number(connection, metric, day)
        platform = self.world.platform_of(connection)
        parts = self.world.parts_of(connection).items()
        share = next(share for name, share in parts if stored_name(platform, name) == part)
        return int(self.get(connection, whole, day) * share)

    def set(self, connection: int, metric: str, day: date, value: int | float) -> None:
        """Revises a number at its source; the parts follow their metric unless set themselves."""
        if metric.partition(":")[0] not in NAMES:
            raise ValueError(f"no metric {metric!r}")
        self._revised[connection, metric, day] = value

    def hold_back(self, connection: int, day: date, metric: str | None = None) -> None:
        """Lets a day, or one metric of it, be late: not published until `publish`."""
        with self._lock:
            self._held_back.add((connection, day, metric))

    def publish(self, connection: int, day: date, metric: str | None = None) -> None:
        with self._lock:
            self._held_back.discard((connection, day, metric))

    def is_out(self, connection: int, day: date, metric: str) -> bool:
        """Whether the platform reports this number by now."""
        late = {(connection, day, None), (connection, day, metric.partition(":")[0])}
        platform = self.world.platform_of(connection)
        return not late & self._held_back and self.world.published(platform, day)

    def parts(self, connection: int, metric: str, day: date) -> dict[str, int | float]:
        """The parts of a metric that have any, by the API's names for them."""
        platform = self.world.platform_of(connection)
        found = {
            name: self.get(connection, f"{metric}:{stored_name(platform, name)}", day)
            for name in self.world.parts_of(connection)
        }
        return {name: value for name, value in found.items() if value}

    def of_a_day(self, connection: int, day: date) -> dict[str, int | float]:
        """What a collection of a day must have in the end, by the names of the rows' metrics.

        Without the levels that are read as they are (followers_count, firstDegreeSize). Of a day
        less than 48 hours over, the program asks Instagram for no parts.
        """
        platform = self.world.platform_of(connection)
        oldest = self.world.today(platform) - timedelta(days=FOLLOWER_COUNT_DAYS)
        small = connection in self.world.small
        found = {
            metric: self.get(connection, metric, day)
            for metric in OF_A_DAY[platform]
            if self.is_out(connection, day, metric)
            and not (small and (metric == "follower_count" or platform == "facebook"))
            and not (metric == "follower_count" and day < oldest)
        }
        for metric in WITH_PARTS.get(platform, ()):
            if metric in found:
                parts = self._rows_of_parts(connection, platform, metric, day)
                found |= {
                    f"{metric}:{stored_name(platform, name)}": value
                    for name, value in parts.items()
                }
        return found

    def _rows_of_parts(
        self, connection: int, platform: Platform, metric: str, day: date
    ) -> dict[str, int | float]:
        """YouTube has one row for a part, with all metrics; it is there if it has views."""
        if platform != "youtube":
            return self.parts(connection, metric, day)
        return {
            name: self.get(connection, f"{metric}:{stored_name(platform, name)}", day)
            for name in self.parts(connection, "views", day)
        }

    def clear(self) -> None:
        with self._lock:
            self._revised.clear()
            self._held_back.clear()


def stored_name(platform: Platform, part: str) -> str:
    """A part as a row's metric has it; YouTube's two spellings are one (facts 3.3)."""
    return part.lower().replace("_", "") if platform == "youtube" else part.lower()
