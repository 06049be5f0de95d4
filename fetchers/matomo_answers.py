"""What a Matomo answer means: the numbers in it, or whose failure it is. Pure functions."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import date
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from fetchers.errors import (
    AccessDenied,
    BrokenOff,
    CredentialsError,
    FetchError,
    Overloaded,
    SettingsError,
    TargetDenied,
    Temporary,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.http import Answer, parse_retry_after
from fetchers.results import Fetched
from logs import excerpt

GRANT_VIEW = "give the token's user 'view' access to this site in Matomo, or correct matomo_site_id"
NEW_TOKEN = (
    "make a new auth token in Matomo (Administration, Personal, Security) and set MATOMO_API_TOKEN"
)
BIGINT = 2**63 - 1  # more than the column holds is no count of visits
RETRYABLE_4XX = (408, 425)


def parse_viewable_sites(payload: Any, host: str) -> frozenset[int]:
    """The idSites of SitesManager.getSitesIdWithAtLeastViewAccess.

    Raises:
        UnexpectedAnswer: it is not a list of whole numbers.
    """
    if not isinstance(payload, list) or not all(_is_count(item) for item in payload):
        raise UnexpectedAnswer(f"{host}: the list of viewable sites is not a list of numbers")
    return frozenset(payload)


def parse_version(payload: Any, host: str) -> str:
    """The version of API.getMatomoVersion, {"value": "5.0.2"}.

    Raises:
        UnexpectedAnswer: there is none in it.
    """
    version = payload.get("value") if isinstance(payload, dict) else None
    if not isinstance(version, str) or not version:
        raise UnexpectedAnswer(f"{host}: no version in the answer")
    return excerpt(version, 40)


def parse_visits(
    payload: Any, sites: Sequence[int], days: Sequence[date], host: str
) -> Fetched[int, int]:
    """Take each asked site and day out of VisitsSummary.getVisits for a range of days.

    Shapes (facts part B): {"1": {"2026-11-05": 15}} for several sites, {"2026-11-05": 15} for one.
    A cell that is missing or no whole number is missed: an unexpected answer, never a zero.

    Raises:
        UnexpectedAnswer: it is not an object at all.
    """
    if not isinstance(payload, dict):
        raise UnexpectedAnswer(f"{host}: the visits are no JSON object")
    parsed: Fetched[int, int] = Fetched()
    for site in sites:
        of_site = payload.get(str(site), payload if len(sites) == 1 else None)
        for day in days:
            cell = of_site.get(day.isoformat()) if isinstance(of_site, dict) else None
            if _is_count(cell):
                parsed.add(site, day, cell)
            else:
                what = "is missing" if cell is None else "is no whole number"
                error = UnexpectedAnswer(f"{host}: the number of visits {what} in the answer")
                parsed.miss([site], [day], error)
    return parsed


def parse_answer(answer: Answer, host: str) -> Any:
    """Distrust in order: status, content type, JSON, `result: error`.

    Raises:
        FetchError: of the kind that names who can mend it.
    """
    message = _error_message(answer)
    if answer.status != 200:
        raise _status_error(answer, host, message)
    if answer.content_type != "application/json":
        raise _unexpected(
            host,
            f"HTTP 200 with {excerpt(answer.content_type) or 'no content type'} in place of JSON",
            mend="open MATOMO_API_URL in a browser: it must be the directory of Matomo's index.php",
        )
    if message is not None:
        raise _application_error(host, message)
    try:
        return _load_json(answer)
    except ValueError:
        raise _unexpected(host, "HTTP 200 with a body that is no valid JSON") from None


def _status_error(answer: Answer, host: str, message: str | None) -> FetchError:
    status, said = answer.status, f": {message}" if message else ""
    retry_after = parse_retry_after(answer.headers.get("retry-after"))
    if 300 <= status < 400:
        return _redirected(answer, host)
    if b"Too many failed logins" in answer.body:
        return CredentialsError(
            f"{host} has locked this address out after failed logins",
            mend="correct MATOMO_API_TOKEN, then wait an hour",
        )
    if status in (401, 403):
        return _refusal(host, status, message)
    if status in (404, 405, 410):
        return SettingsError(
            f"{host}: HTTP {status}, there is no Matomo at this address",
            mend="set MATOMO_API_URL to the address of Matomo's index.php",
        )
    if status in (500, 504):
        return Overloaded(f"{host}: HTTP {status}{said}", retry_after=retry_after)
    if status == 429:
        return Throttled(f"{host}: HTTP 429{said}", retry_after=retry_after)
    if status == 502:  # what a proxy says when PHP crashed over one report
        return BrokenOff(f"{host}: HTTP 502{said}", retry_after=retry_after)
    if status > 500 or status in RETRYABLE_4XX:
        return Temporary(f"{host}: HTTP {status}{said}", retry_after=retry_after)
    return _unexpected(host, f"HTTP {status}{said}")


def _refusal(host: str, status: int, message: str | None) -> FetchError:
    if message and "access for the website id" in message:
        return TargetDenied(f"{host}: the token may not view this site", mend=GRANT_VIEW)
    if message and "IP" in message and "not allowed" in message:
        return AccessDenied(
            f"{host}: {message}", mend="add this machine to login_allowlist_ip in Matomo's config"
        )
    if status == 403:
        return AccessDenied(
            f"{host}: HTTP 403{f': {message}' if message else ''}",
            mend="see which firewall or web server rule refuses this machine",
        )
    return CredentialsError(f"{host} refused the token (HTTP 401)", mend=NEW_TOKEN)


def _redirected(answer: Answer, host: str) -> FetchError:
    """Followed, a redirect would carry the token to wherever it points."""
    try:
        target = urlsplit(answer.headers.get("location", ""))
    except ValueError:
        target = urlsplit("")
    if target.scheme not in ("http", "https") or not target.netloc:
        return SettingsError(
            f"{host} redirects to another page",
            mend="open MATOMO_API_URL in a browser and set it to the address of Matomo itself",
        )
    address = f"{target.scheme}://{target.netloc.rpartition('@')[2]}{target.path}"
    address = excerpt(address.removesuffix("index.php").rstrip("/"))
    return SettingsError(
        f"{host} redirects to {address}",
        mend=f"set MATOMO_API_URL={address} if that is your Matomo",
    )


def _application_error(host: str, message: str) -> FetchError:
    if "An unexpected website was found" in message:
        return TargetDenied(f"{host} does not know this site", mend=GRANT_VIEW)
    return _unexpected(host, f"Matomo says: {message}")


def _error_message(answer: Answer) -> str | None:
    """The message of {"result": "error"}, unescaped (facts part D) and short; None otherwise."""
    try:
        payload = _load_json(answer)
    except ValueError:
        return None
    if not isinstance(payload, dict) or payload.get("result") != "error":
        return None
    return excerpt(html.unescape(str(payload.get("message"))))


def _load_json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unexpected(host: str, what: str, mend: str | None = None) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"{host}: {what}", mend=mend)


def _is_count(value: object) -> TypeGuard[int]:
    """A whole number of things: JSON's true is an int to Python, and -1 counts nothing."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= BIGINT
