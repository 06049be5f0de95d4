"""What Google's errors mean for a YouTube channel, where that differs from Search Console's.

The table is that of shared facts/social.md, 3.5 and 3.6. Pure functions.
"""

from __future__ import annotations

import json
import re

import google.auth.exceptions
from googleapiclient.errors import HttpError

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    MetricRefused,
    NeedsReauth,
    SettingsError,
    Temporary,
)
from fetchers.google_errors import (
    API_OFF_REASONS,
    SCOPE_REASONS,
    AccessTokenRefused,
    api_error,
    reasons_of,
    token_error,
)

NEW_CONSENT = (
    "give consent again with the Google account of the channel and store its refresh token: "
    "`aggregator.py tokens --add --connection ID --refresh`; if it dies every 7 days, the OAuth "
    "consent screen is still in status Testing (README, Google)"
)
SCOPES = f"with the scopes yt-analytics.readonly and youtube.readonly: {NEW_CONSENT}"
NOT_ALLOWED = (
    "correct account_id in platform_connections, or connect the Google account that owns the "
    "channel"
)
WRONG_ADDRESS = "correct YOUTUBE_API_ENDPOINT, or see what stands between this machine and Google"
CHANNEL = re.compile(r"\bUC[\w-]{10,}")
"""Left out of messages: the same failure has the same text for all channels."""


def youtube_error(error: HttpError, host: str) -> FetchError:
    """Sort an error answer of YouTube's Analytics API; the metrics of a 400 are not named yet."""
    known = api_error(error, host)
    status, reasons, said = (
        int(error.status_code),
        reasons_of(error),
        CHANNEL.sub("...", known.message),
    )
    if reasons & API_OFF_REASONS:
        return AccessDenied(
            said, mend="enable the YouTube Analytics API in the Google Cloud project of the client"
        )
    if reasons & SCOPE_REASONS:
        return AccessDenied(said, mend=SCOPES)
    if isinstance(known, AccessTokenRefused):
        if _is_google(error):
            return AccessTokenRefused(said, mend=NEW_CONSENT)
        # A proxy or another server knows nothing about the token.
        return SettingsError(f"{said} without Google's words", mend=WRONG_ADDRESS)
    if status == 400 and _is_google(error):
        return MetricRefused(said)
    if status in (403, 404) and _is_google(error) and not isinstance(known, Temporary):
        return AccessDenied(said, mend=NOT_ALLOWED)
    if isinstance(known, SettingsError):
        return SettingsError(said, mend="correct YOUTUBE_API_ENDPOINT")
    return known


def youtube_token_error(error: google.auth.exceptions.RefreshError) -> FetchError:
    """Sort a refusal of the token endpoint.

    Only a consent that is gone stays so: a token of another OAuth client (unauthorized_client) is
    good again as soon as ours is corrected.
    """
    known = token_error(error)
    if not isinstance(known, CredentialsError):
        return known
    dead = NeedsReauth if "invalid_grant" in known.message else CredentialsError
    return dead(known.message, mend=NEW_CONSENT)


def _is_google(error: HttpError) -> bool:
    """Whether it is an error object of Google, and no page of something that stands between."""
    try:
        return isinstance(json.loads(error.content)["error"]["message"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
