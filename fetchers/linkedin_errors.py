"""What LinkedIn's answers mean, by HTTP status: its codes say no more (shared facts/social.md 4.5).

Pure functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    NeedsReauth,
    Overloaded,
    SettingsError,
    Temporary,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.http import Answer, parse_retry_after
from logs import excerpt

NEW_CONSENT = (
    "connect the LinkedIn account again and store its access token: "
    "`aggregator.py tokens --add --connection ID`"
)
NOT_ALLOWED = (
    "make the person who connected it an administrator of the organization's page, with the "
    "permission rw_organization_admin, and connect it again"
)
WRONG_ADDRESS = "correct LINKEDIN_API_URL, or see what stands between this machine and LinkedIn"
OWN_FIELDS = {"serviceErrorCode", "code", "status"}
"""One of them at least is in every error of LinkedIn's own."""

NO_SUCH_PAGE = "correct account_id in platform_connections: the organization's number or URN"
CLIENT_ERRORS = {"invalid_client", "unauthorized_client"}
LONG_NUMBER = re.compile(r"\d{5,}")
MEMBER_LIMIT = re.compile(r"\bmember\b", re.IGNORECASE)


class MemberThrottled(Throttled):
    """The limit of one person is used up, not that of the whole app."""


def parse_answer(answer: Answer, host: str, version: str) -> dict[str, Any]:
    """The JSON object of an answer; `version` is the one that was asked for.

    Raises:
        FetchError: sorted by whoever can mend it. The message names no organization.
    """
    body = _json(answer)
    if answer.status == 200 and body is not None:
        return body
    raise _error(answer, body, host, version)


def parse_token_answer(answer: Answer, token_uri: str) -> dict[str, Any]:
    """The JSON object of the token endpoint.

    Raises:
        NeedsReauth: the refresh token is gone. SettingsError: our OAuth client is wrong.
        FetchError: anything else.
    """
    body = _json(answer)
    if answer.status == 200 and body is not None:
        return body
    raise _token_error(answer, body, urlsplit(token_uri).netloc)


def _token_error(answer: Answer, body: Mapping[str, Any] | None, host: str) -> FetchError:
    code, description = ((body or {}).get(name) for name in ("error", "error_description"))
    said = ": ".join([f"{host}: HTTP {answer.status}", *_texts(code, description)])
    if code in CLIENT_ERRORS:
        return SettingsError(said, mend="correct LINKEDIN_CLIENT_ID and LINKEDIN_CLIENT_SECRET")
    if code == "invalid_grant":
        # It ends a year after the first consent, however often it was used (facts 4.6).
        return NeedsReauth(said, mend=NEW_CONSENT)
    if answer.status in (400, 401, 403) and body is not None:
        return CredentialsError(said, mend=NEW_CONSENT)
    return _by_status(answer, said, mend="correct LINKEDIN_TOKEN_URI")


def _error(answer: Answer, body: Mapping[str, Any] | None, host: str, version: str) -> FetchError:
    said = ": ".join([f"{host}: HTTP {answer.status}", *_texts((body or {}).get("message"))])
    status = answer.status
    if status == 401 and OWN_FIELDS & (body or {}).keys():
        return NeedsReauth(said, mend=NEW_CONSENT)
    if status == 401:  # of a proxy or another server, which knows nothing about the token
        return SettingsError(f"{said} without LinkedIn's words", mend=WRONG_ADDRESS)
    if status == 426:
        return SettingsError(
            f"LinkedIn's API version {version} is no longer served ({said})",
            mend="raise LINKEDIN_VERSION to a newer one (year and month)",
        )
    if body is not None and status == 403:
        return AccessDenied(said, mend=NOT_ALLOWED)
    if body is not None and status == 404:
        return AccessDenied(said, mend=NO_SUCH_PAGE)
    if status == 429:
        kind = MemberThrottled if MEMBER_LIMIT.search(said) else Throttled  # else of the app
        return kind(said, retry_after=_retry_after(answer))
    return _by_status(answer, said, mend="correct LINKEDIN_API_URL")


def _by_status(answer: Answer, said: str, mend: str) -> FetchError:
    """What is left. mend: of an address that is wrong."""
    status = answer.status
    if 300 <= status < 400:
        return SettingsError(f"{said} (a redirect, not followed)", mend=mend)
    if status == 404:
        return SettingsError(said, mend=mend)
    if status == 429:
        return Throttled(said, retry_after=_retry_after(answer))
    if status in (408, 504):
        return Overloaded(said, retry_after=_retry_after(answer))
    if status >= 500:
        return Temporary(said, retry_after=_retry_after(answer))
    if status == 200:
        return UnexpectedAnswer(f"{said} with a body that is no JSON object", retry=True)
    return UnexpectedAnswer(said)


def _texts(*found: object) -> list[str]:
    """What an answer says, without the ids in it: the same failure has the same text for all."""
    return [
        LONG_NUMBER.sub("...", excerpt(text)) for text in found if text and isinstance(text, str)
    ]


def _retry_after(answer: Answer) -> float | None:
    return parse_retry_after(answer.headers.get("retry-after"))


def _json(answer: Answer) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
