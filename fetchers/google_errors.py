"""What Google's errors mean: by domain, reason and message, since a 403 may be any of six things.

The table is that of shared facts/gsc.md, "Errors". Pure functions.
"""

from __future__ import annotations

import json

import google.auth.exceptions
from googleapiclient.errors import HttpError

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    Overloaded,
    QuotaExhausted,
    SettingsError,
    TargetDenied,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.http import parse_retry_after
from logs import excerpt

RATE_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"}
API_OFF_REASONS = {"accessNotConfigured", "SERVICE_DISABLED"}
SCOPE_REASONS = {"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}
CLIENT_ERRORS = {"invalid_client", "deleted_client", "disabled_client"}

NEW_CONSENT = (
    "give consent again with this Google account: `aggregator.py connect-gsc --account ID`; if it "
    "dies every 7 days, the OAuth consent screen is still in status Testing (README, Google)"
)


class AccessTokenRefused(CredentialsError):
    """The API refused an access token: it may have been revoked early, a new one may work."""


def api_error(error: HttpError, host: str) -> FetchError:
    """Sort an error answer of Search Console. `host` is who answered, for the message.

    Account-wide: CredentialsError, AccessDenied, QuotaExhausted. Everywhere: SettingsError.
    The rest concerns the one property that was asked for.
    """
    status, reasons, message = int(error.status_code), reasons_of(error), _message(error)
    said = f"{host}: HTTP {status}{f': {message}' if message else ''}"
    retry_after = parse_retry_after(error.resp.get("retry-after"))
    if "dailyLimitExceeded" in reasons:
        return QuotaExhausted(said)
    if "quotaExceeded" in reasons and "load quota" in message.lower():
        # Lasts 15 minutes or a day: waiting here would hold up everything else.
        return Temporary(said, retry=False)
    if status == 429 or reasons & (RATE_REASONS | {"quotaExceeded"}):
        return Temporary(said, retry_after=retry_after)
    if reasons & API_OFF_REASONS:
        return AccessDenied(
            said, mend="enable the Search Console API in the Google Cloud project of the client"
        )
    if reasons & SCOPE_REASONS:
        return CredentialsError(said, mend=f"tick the box of the one scope: {NEW_CONSENT}")
    return _by_status(status, said, retry_after)


def token_error(error: google.auth.exceptions.RefreshError) -> FetchError:
    """Sort a refusal of the token endpoint (google-auth has retried 500 and 503 by itself)."""
    detail = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
    code = excerpt(str(detail.get("error", "")))
    description = excerpt(str(detail.get("error_description", "")))
    said = ": ".join(part for part in (code, description) if part)
    if code in CLIENT_ERRORS:
        return SettingsError(
            f"Google does not accept our OAuth client ({said})",
            mend="correct GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET",
        )
    if code in ("invalid_grant", "unauthorized_client", "invalid_scope"):
        return CredentialsError(f"Google refused the refresh token ({said})", mend=NEW_CONSENT)
    if error.retryable or not code:
        # What google-auth calls retryable it has tried three times by itself.
        message = f"Google's token endpoint did not answer ({said or 'no JSON'})"
        return Temporary(message, retry=not error.retryable)
    return UnexpectedAnswer(f"Google's token endpoint answered {said}")


def _by_status(status: int, said: str, retry_after: float | None) -> FetchError:
    if 300 <= status < 400:
        return SettingsError(
            f"{said} (a redirect, not followed)", mend="correct GOOGLE_API_ENDPOINT"
        )
    if status == 401:
        return AccessTokenRefused(said, mend=NEW_CONSENT)
    if status == 403 and "sufficient permission" in said:
        return TargetDenied(
            said, mend="add the account as a user of the property in Search Console"
        )
    if status == 404:
        return SettingsError(said, mend="correct GOOGLE_API_ENDPOINT")
    if status in (408, 504):
        return Overloaded(said, retry_after=retry_after)
    if status >= 500:
        return Temporary(said, retry_after=retry_after)
    return UnexpectedAnswer(said)


def reasons_of(error: HttpError) -> set[str]:
    """Reasons in errors[] (old style) and details[] (new style); an answer may have both."""
    try:
        body = json.loads(error.content)["error"]
        items = [*body.get("errors", ()), *body.get("details", ())]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    return {str(item["reason"]) for item in items if isinstance(item, dict) and "reason" in item}


def _message(error: HttpError) -> str:
    text = error.reason if isinstance(error.reason, str) else ""
    return "" if "<" in text else excerpt(text)
