"""The remote APIs as the settings name them."""

from __future__ import annotations

from config import Settings
from fetchers.google_client import GoogleClient, get_google_client
from fetchers.http import Http
from fetchers.matomo import MatomoServer
from stopping import Stop


def open_http(settings: Settings, stop: Stop) -> Http:
    """What all sources of one run share, so that its limits hold over them together."""
    return Http(
        timeout_seconds=settings.http_timeout_seconds,
        attempts=settings.http_attempts,
        concurrency=settings.concurrency,
        stop=stop,
    )


def matomo_server(settings: Settings) -> MatomoServer:
    return MatomoServer(
        settings.matomo_api_url or "",
        settings.matomo_api_token or "",
        settings.matomo_sites_per_request,
    )


def open_google_account(refresh_token: str, settings: Settings, http: Http) -> GoogleClient:
    """One Google account, its refresh token exchanged for an access token.

    Raises:
        FetchError: as `get_google_client`.
    """
    return get_google_client(
        refresh_token,
        client_id=settings.google_client_id or "",
        client_secret=settings.google_client_secret or "",
        token_uri=settings.google_token_uri,
        api_endpoint=settings.google_api_endpoint,
        requests_per_minute=settings.gsc_requests_per_minute,
        http=http,
    )
