"""What Facebook's and Instagram's answers mean: by code, since nearly all are OAuthException.

The table is that of shared facts/social.md 1.8. Pure functions. No message names an account or a
moment: failures with the same text are told of as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    MetricRefused,
    NeedsReauth,
    SettingsError,
    Temporary,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.http import Answer, parse_retry_after
from logs import excerpt

Scope = Literal["app", "user", "account"]

CONNECT_AGAIN = (
    "let its owner connect the account again, or store a new token: "
    "`aggregator.py tokens --add --connection ID`"
)
LOG_IN = "let its owner log in at facebook.com; it is tried again every night"
GRANT = (
    "connect it again and grant the permissions for insights: read_insights and "
    "pages_read_engagement for a Page; for Instagram instagram_business_manage_insights, with a "
    "login through Facebook instagram_manage_insights and pages_read_engagement"
)
NEXT_RUN = "nothing to do if the next run is complete: it reads the last days again"
WRONG_ADDRESS = "correct GRAPH_API_URL or INSTAGRAM_API_URL"
REPORT = "report it with this line: the program asked for what the API does not take"

TOKEN_WORDS = {
    458: "its owner has removed the app",
    459: "Facebook wants its owner to log in first (a checkpoint)",
    460: "its owner has changed the password",
    463: "it has expired",
    464: "its owner has not confirmed the Facebook account",
    467: "its owner has logged out or withdrawn it",
    492: "its owner no longer has a role that the session needs",
}
"""By subcode, why a token is dead. Meta's own sentences hold the times of every single token."""

REAUTH_CODES = {190, 102}
REAUTH_SUBCODES = {*range(458, 468), 492}
UNTIL_LOGIN_SUBCODES = {459, 464}
"""The token works again once its owner has logged in: it is not dead for good."""

SESSION_SUBCODES = {458, 460, 463, 467}
PERMISSION_CODES = {3, 10, *range(200, 300)}
THROTTLE_SCOPES: Mapping[int, Scope] = {
    4: "app",
    17: "user",
    32: "user",
    341: "app",
    613: "app",
    **dict.fromkeys(range(80000, 80015), "account"),
}
NO_SUCH_ACCOUNT_SUBCODE = 33
RANGE_TOO_LONG_SUBCODE = 1504016

WRONG_RANGE = re.compile(r"between since and until|for the last \d+ (years|days)", re.IGNORECASE)
ALLOW_LIST = re.compile(r"must be one of[^:]*:(.*)", re.IGNORECASE | re.DOTALL)
NO_VALID_METRIC = re.compile(
    r"valid insights metric|no longer (supported|available)|not supported for version|deprecated",
    re.IGNORECASE,
)
METRIC_NAME = re.compile(r"\w+")
LONG_NUMBER = re.compile(r"\d{5,}")  # ids of accounts
MOMENT = re.compile(
    r"\W*(\b(on|at|since|is)\s+)?"
    r"(\b(mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day\b|,)|\b\d{1,2}-[a-z]{3}-\d|\b\d{4}-\d\d-)"
    r".*",
    re.IGNORECASE | re.DOTALL,
)
"""Of "Session has expired on Friday, 20-Nov-26 01:00:00 PST." all but the first three words."""

TOKEN_LIKE = re.compile(r"[\w|.-]{48,}")  # Meta quotes malformed tokens; no metric is that long


class MetricUnknown(MetricRefused):
    """The API says that no such metric exists, for whomever one asks."""


class SessionEnded(NeedsReauth):
    """The person's own consent or session is over, and with it each token that came of it."""


class UnknownError(Temporary):
    """Error 1. It also stands for a breakdown that a metric does not have (facts 1.3)."""


class ScopeThrottled(Throttled):
    """scope: what the limit counts by."""

    def __init__(self, message: str, *, scope: Scope, retry_after: float | None = None) -> None:
        super().__init__(message, mend=NEXT_RUN, retry_after=retry_after)
        self.scope = scope


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a limit is used, in percent, and for how many seconds nothing may be asked."""

    percent: float = 0.0
    blocked_seconds: float = 0.0


def parse_graph_answer(
    answer: Answer, host: str, *, asked: Sequence[str] = (), token: str = ""
) -> dict[str, Any]:
    """The object in an answer. asked: the metrics or fields that were asked for.

    Raises:
        NeedsReauth, CredentialsError, AccessDenied, MetricRefused, ScopeThrottled, Temporary,
        SettingsError, UnexpectedAnswer: what its error means; `token` is not quoted, whatever the
        API says.
    """
    try:
        payload = json.loads(answer.body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _no_json(answer, host) from None
    error = payload.get("error") if isinstance(payload, dict) else None
    if isinstance(error, dict):
        raise graph_error(error, answer, host, asked=asked, token=token)
    if answer.status == 200 and isinstance(payload, dict):
        return payload
    raise _by_status(answer, f"{host}: HTTP {answer.status} with JSON of no known shape")


def graph_error(
    error: Mapping[str, Any],
    answer: Answer,
    host: str,
    *,
    asked: Sequence[str] = (),
    token: str = "",
) -> FetchError:
    """Sort the `error` object of an answer: by its code, then is_transient, then HTTP status."""
    code, subcode = _number(error.get("code")), _number(error.get("error_subcode"))
    text = error.get("message")
    text = text if isinstance(text, str) else ""
    said = f"{host}: error {code}{f'/{subcode}' if subcode else ''}: {_quoted(text, token)}"
    if code in REAUTH_CODES or subcode in REAUTH_SUBCODES:
        return _refused_token(host, code, subcode, text, token)
    if code in PERMISSION_CODES:
        return AccessDenied(said, mend=GRANT)
    if code == 100:
        return _bad_request(host, said, subcode, text, asked)
    if code in THROTTLE_SCOPES:
        return _throttled(said, THROTTLE_SCOPES[code], answer)
    if code == 368:
        return AccessDenied(said, mend="see in Meta's account quality page what it objects to")
    if code == 3001:
        return UnexpectedAnswer(said, mend=REPORT)
    if code in (1, 2) or error.get("is_transient") is True:
        kind = UnknownError if code == 1 else Temporary
        asked_for = parse_retry_after(answer.headers.get("retry-after"))
        return kind(said, mend=NEXT_RUN, retry_after=asked_for)
    return _by_status(answer, said)


def app_usage(headers: Mapping[str, str]) -> Usage:
    """X-App-Usage: {"call_count": 28, "total_time": 25, "total_cputime": 25}, in percent."""
    return _usage([_json(headers.get("x-app-usage"))])


def account_usage(headers: Mapping[str, str]) -> Usage:
    """X-Business-Use-Case-Usage: {"<id>": [{"type": …, "call_count": 28, …}]}, in percent."""
    by_account = _json(headers.get("x-business-use-case-usage"))
    lists = by_account.values() if isinstance(by_account, dict) else ()
    return _usage([entry for entries in lists if isinstance(entries, list) for entry in entries])


def _refused_token(host: str, code: int, subcode: int, text: str, token: str) -> FetchError:
    if "page access token" in text.lower():  # the wrong kind of token, not a dead one
        return AccessDenied(
            f"{host}: this needs a Page access token",
            mend="connect the Page again, by somebody who has the task ANALYZE on it",
        )
    why = TOKEN_WORDS.get(subcode) or f"error {code}{f'/{subcode}' if subcode else ''}"
    if subcode not in TOKEN_WORDS and (words := _timeless(text, token)):
        why = f"{why}: {words}"
    said = f"{host} refuses the token: {why}"
    if subcode in UNTIL_LOGIN_SUBCODES:
        return CredentialsError(said, mend=LOG_IN)
    return (SessionEnded if subcode in SESSION_SUBCODES else NeedsReauth)(said, mend=CONNECT_AGAIN)


def _bad_request(host: str, said: str, subcode: int, text: str, asked: Sequence[str]) -> FetchError:
    if subcode == NO_SUCH_ACCOUNT_SUBCODE:  # its text holds the account's id
        return AccessDenied(
            f"{host}: no such account, or the token has no access to it",
            mend="correct the connection's account_id, or connect the account again",
        )
    if subcode == RANGE_TOO_LONG_SUBCODE or not asked:
        return UnexpectedAnswer(said, mend=REPORT)
    if allowed := ALLOW_LIST.search(text):  # what it names is what there is
        valid = set(METRIC_NAME.findall(allowed[1]))
        invalid = tuple(name for name in asked if name not in valid)
        return (MetricUnknown if invalid else MetricRefused)(said, names=invalid)
    named = set(METRIC_NAME.findall(text))
    names = tuple(name for name in asked if name in named)
    if WRONG_RANGE.search(text) and not names:
        return UnexpectedAnswer(said, mend=REPORT)
    return (MetricUnknown if NO_VALID_METRIC.search(text) else MetricRefused)(said, names=names)


def _throttled(said: str, scope: Scope, answer: Answer) -> ScopeThrottled:
    blocked = account_usage(answer.headers).blocked_seconds if scope == "account" else 0.0
    asked_for = parse_retry_after(answer.headers.get("retry-after"))
    return ScopeThrottled(said, scope=scope, retry_after=blocked or asked_for)


def _by_status(answer: Answer, said: str) -> FetchError:
    """What is left where the answer has no code that the table knows."""
    status, retry_after = answer.status, parse_retry_after(answer.headers.get("retry-after"))
    if 300 <= status < 400:  # followed, it would carry the token to wherever it points
        return SettingsError(f"{said} (a redirect, not followed)", mend=WRONG_ADDRESS)
    if status == 401:
        return CredentialsError(said, mend=CONNECT_AGAIN)
    if status == 403:
        return AccessDenied(said, mend=GRANT)
    if status == 429:
        return ScopeThrottled(said, scope="app", retry_after=retry_after)
    if status >= 500 or status == 408:
        return Temporary(said, mend=NEXT_RUN, retry_after=retry_after)
    return UnexpectedAnswer(said)


def _no_json(answer: Answer, host: str) -> FetchError:
    status = answer.status
    if status == 404:
        said = f"{host}: HTTP 404, there is no Graph API at this address"
        return SettingsError(said, mend=WRONG_ADDRESS)
    if status != 200:
        return _by_status(answer, f"{host}: HTTP {status} without JSON")
    if answer.content_type in ("application/json", "text/javascript"):
        return UnexpectedAnswer(f"{host}: HTTP 200 with a body that is no valid JSON", retry=True)
    shown = excerpt(answer.content_type) or "no content type"
    return UnexpectedAnswer(f"{host}: HTTP 200 with {shown} in place of JSON")


def _quoted(text: str, token: str) -> str:
    text = text.replace(token, "***") if token else text
    return excerpt(LONG_NUMBER.sub("…", TOKEN_LIKE.sub("***", text)))


def _timeless(text: str, token: str) -> str:
    """What is the same for all tokens that die in the same way."""
    text = text.replace(token, "***") if token else text
    return re.sub(r"(…|\d)+", "…", _quoted(MOMENT.sub("", text), token))


def _usage(entries: Sequence[Any]) -> Usage:
    found = [entry for entry in entries if isinstance(entry, dict)]
    names = ("call_count", "total_time", "total_cputime")
    percents = [_float(entry.get(name)) for entry in found for name in names]
    minutes = [_float(entry.get("estimated_time_to_regain_access")) for entry in found]
    return Usage(max(percents, default=0.0), 60 * max(minutes, default=0.0))


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "", parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(min(value, 10**9))  # a float has no room for every whole number of JSON
