"""The social platforms' APIs as the settings name them, and which fetcher asks whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from config import Settings
from fetchers.facebook import get_facebook_data
from fetchers.graph import GraphApi
from fetchers.http import Http
from fetchers.instagram import get_instagram_data
from fetchers.linkedin import LinkedInApi, get_linkedin_data
from fetchers.social import Collected
from fetchers.social_days import pacific_day
from fetchers.social_metrics import FACEBOOK, INSTAGRAM, LINKEDIN, YOUTUBE
from fetchers.throttle import Throttle
from fetchers.youtube import YouTubeApi, get_youtube_data
from jobs.social_plan import Work

API_NAMES = {
    "instagram": "instagram_graph",
    "facebook": "facebook_graph",
    "youtube": "youtube_analytics",
    "linkedin": "linkedin_rest",
}
"""As the rows' metadata names them."""


@dataclass(frozen=True, slots=True)
class SocialApis:
    """What all connections of one run share, so that its limits hold over them together."""

    graph: GraphApi
    youtube: YouTubeApi
    linkedin: LinkedInApi

    def version_of(self, platform: str) -> str:
        if platform in (INSTAGRAM, FACEBOOK):
            return self.graph.version
        return "v2" if platform == YOUTUBE else self.linkedin.version


def open_social_apis(
    settings: Settings, http: Http, throttle: Throttle | None = None
) -> SocialApis:
    """throttle: in place of one that waits for as long as the run lasts."""
    throttle = throttle or Throttle(http.stop)
    return SocialApis(
        GraphApi(
            settings.graph_api_url,
            settings.instagram_api_url,
            settings.graph_api_version,
            http,
            throttle,
        ),
        YouTubeApi(
            settings.youtube_api_endpoint,
            settings.google_token_uri,
            settings.google_client_id or "",
            settings.google_client_secret or "",
            settings.gsc_requests_per_minute,
            http,
        ),
        LinkedInApi(
            settings.linkedin_api_url,
            settings.linkedin_version,
            settings.linkedin_token_uri,
            settings.linkedin_client_id or "",
            settings.linkedin_client_secret or "",
            http,
            throttle,
        ),
    )


def fetch_connection(
    work: Work, days: Sequence[date], apis: SocialApis, now: datetime, *, levels: bool
) -> Collected:
    """Everything that one account's platform says of these days; what failed is in its errors."""
    account = work.account
    match work.connection.platform:
        case "instagram":
            return get_instagram_data(
                account, days, api=apis.graph, now=now, stored=work.stored, levels=levels
            )
        case "facebook":
            return get_facebook_data(account, days, api=apis.graph, now=now)
        case "youtube":
            return get_youtube_data(account, days, api=apis.youtube, now=now)
        case "linkedin":
            return get_linkedin_data(account, days, api=apis.linkedin, now=now, levels=levels)
        case platform:
            raise AssertionError(f"{platform} is in the catalogue and has no fetcher")


def lane_of(platform: str) -> str:
    """Whose limits hold up whom: Instagram and Facebook are one API."""
    return "graph" if platform in (INSTAGRAM, FACEBOOK) else platform


def probe_connection(work: Work, apis: SocialApis, now: datetime) -> None:
    """See whether the account can be asked, with one to three requests: yesterday's numbers.

    Raises:
        FetchError: the first thing that failed.
    """
    by_levels = work.connection.platform == LINKEDIN
    days = [] if by_levels else [pacific_day(now) - timedelta(days=1)]
    for error in fetch_connection(work, days, apis, now, levels=by_levels).errors:
        raise error
