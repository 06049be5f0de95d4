"""Facebook's Graph API: how a request of one account is sent, on either of its two hosts.

Tokens go in a header: Meta takes them as a parameter too, but URLs end up in logs.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    Interrupted,
    MetricRefused,
    NeedsReauth,
    SettingsError,
    Temporary,
    Throttled,
)
from fetchers.graph_errors import (
    CONNECT_AGAIN,
    MetricUnknown,
    Scope,
    ScopeThrottled,
    Usage,
    account_usage,
    app_usage,
    parse_graph_answer,
)
from fetchers.http import Http
from fetchers.social import Collected, SocialAccount
from fetchers.social_metrics import Metric
from fetchers.throttle import LONGEST_HOLD_SECONDS, Throttle

TOKEN = re.compile(r"[\x21-\x7e]+")

ENDS_ACCOUNT = (CredentialsError, AccessDenied, SettingsError, Throttled, Interrupted)
FAILURES_IN_A_ROW = 2
"""Each has been tried several times already: the server is down, not the one request bad."""

Refusals = dict[Metric, MetricRefused]

SLOW_FROM_PERCENT = 75.0
"""From here on the next request waits, up to a minute at 100 %, where Meta begins to refuse."""


@dataclass(slots=True)
class GraphApi:
    """Both hosts, and what all accounts of a run share. url, instagram_url: without a version."""

    url: str
    instagram_url: str
    version: str
    http: Http
    throttle: Throttle
    _unknown: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.throttle.places = threading.BoundedSemaphore(self.http.concurrency)

    def get(
        self,
        account: SocialAccount,
        path: str,
        params: Mapping[str, str],
        *,
        token: str | None = None,
        asked: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Ask the account's host for a path below the version, e.g. `me/permissions`.

        token: in place of the account's own. asked: the metrics or fields among `params`.

        Raises:
            FetchError: as in fetchers/graph_errors.py, after retries and waiting for the throttle.
        """
        base = self.instagram_url if account.login == "instagram" else self.url
        url = f"{base}/{self.version}/{path}"
        return self.get_url(account, url, params, token=token, asked=asked)

    def get_url(
        self,
        account: SocialAccount,
        url: str,
        params: Mapping[str, str],
        *,
        token: str | None = None,
        asked: Sequence[str] = (),
    ) -> dict[str, Any]:
        """As `get`, for a whole address."""
        secret = account.access_token if token is None else token
        host, scopes = urlsplit(url).netloc, scopes_of(account)
        if not TOKEN.fullmatch(secret):  # it would not fit into a header
            raise NeedsReauth(
                "the stored token is empty or has characters of no token", mend=CONNECT_AGAIN
            )

        def attempt() -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {secret}"}
            answer = self.http.request("GET", url, params=params, headers=headers)
            self._slow_down(scopes, app_usage(answer.headers), account_usage(answer.headers))
            return parse_graph_answer(answer, host, asked=asked, token=secret)

        def scope_of(error: Throttled) -> str:
            return scopes[error.scope if isinstance(error, ScopeThrottled) else "app"]

        waited_for = tuple(scopes.values())
        return self.http.retrying(lambda: self.throttle.call(attempt, waited_for, scope_of))

    def is_unknown(self, metric: Metric) -> bool:
        """Whether the API told another account of this run that it knows no such metric."""
        with self._lock:
            return metric.name in self._unknown

    def learn_unknown(self, metric: Metric) -> None:
        with self._lock:
            self._unknown.add(metric.name)

    def _slow_down(self, scopes: Mapping[Scope, str], app: Usage, account: Usage) -> None:
        """The account that is told so waits; all others of the app take turns."""
        self.throttle.slow(scopes["app"], _seconds_to_wait(app))
        self.throttle.hold(scopes["app"], app.blocked_seconds)
        waits = max(account.blocked_seconds, _seconds_to_wait(account), _seconds_to_wait(app))
        self.throttle.hold(scopes["account"], waits)


def _seconds_to_wait(usage: Usage) -> float:
    over = (usage.percent - SLOW_FROM_PERCENT) / (100 - SLOW_FROM_PERCENT)
    return min(60 * over, LONGEST_HOLD_SECONDS)


def scopes_of(account: SocialAccount) -> dict[Scope, str]:
    """What Meta counts this account's requests by, as fetchers/throttle.py names it."""
    return {
        "app": "graph app",
        "user": f"graph user {account.user_id}",
        "account": f"graph account {account.account_id}",
    }


def path_of(account: SocialAccount) -> str:
    """The account as a part of a path.

    Raises:
        SettingsError: the connection does not say which account it is.
    """
    if not account.account_id:
        raise SettingsError(
            "the connection has no account id",
            mend="store the platform's id of the account with the connection (account_id)",
        )
    return quote(account.account_id, safe="")


def ask_metrics(
    metrics: Sequence[Metric], ask: Callable[[Sequence[Metric]], dict[str, Any]]
) -> tuple[list[dict[str, Any]], Refusals]:
    """Ask for metrics in one request; without those that the API refuses.

    Meta refuses a whole request over one metric. Where its answer says which, the rest is asked
    again in one; else each is asked alone (facts 1.3, 2.2).

    Returns:
        The answers, none where every metric is refused; and what was refused.

    Raises:
        FetchError: any failure that is not about a metric.
    """
    left, refused = list(metrics), Refusals()
    while left:
        try:
            return [ask(left)], refused
        except MetricRefused as error:
            named = [m for m in left if m.name in error.names] if len(left) > 1 else left
            if not named:
                return _ask_one_by_one(left, ask, refused)
            refused.update(dict.fromkeys(named, error))
            left = [metric for metric in left if metric not in refused]
    return [], refused


def _ask_one_by_one(
    metrics: Sequence[Metric],
    ask: Callable[[Sequence[Metric]], dict[str, Any]],
    refused: Refusals,
) -> tuple[list[dict[str, Any]], Refusals]:
    answers = []
    for metric in metrics:
        answer, of_one = ask_metrics([metric], ask)
        answers += answer
        refused.update(of_one)
    return answers, refused


def known_metrics(api: GraphApi, found: Collected, metrics: Sequence[Metric]) -> list[Metric]:
    """Those worth asking for: optional ones that this run has learned to be gone are noted."""
    found.refused |= {m.name for m in metrics if api.is_unknown(m)}
    return [metric for metric in metrics if metric.name not in found.refused]


def note_refused(
    api: GraphApi, found: Collected, refused: Refusals, *, answered: bool = True
) -> None:
    """An optional metric may go; of any other it is a failure.

    answered: whether the account had any metric at all. What refuses every one is this account's
    trouble, and says nothing of the metrics to others.
    """
    for metric, error in refused.items():
        found.refused.add(metric.name)
        if not metric.optional:
            message = f"{metric.name} is refused: {error.message}"
            keep_error(found, MetricRefused(message, names=(metric.name,)))
        elif answered and isinstance(error, MetricUnknown):
            api.learn_unknown(metric)


@dataclass(slots=True)
class Parts:
    """The requests of one account, of which one may fail without the others."""

    found: Collected
    _failed_in_a_row: int = 0

    def read(self, part: Callable[[], None]) -> None:
        """Do one part; keep its failure.

        Raises:
            FetchError: one that the parts to come would meet too.
        """
        try:
            part()
            self._failed_in_a_row = 0
        except FetchError as error:
            self._failed_in_a_row += isinstance(error, Temporary)
            if isinstance(error, ENDS_ACCOUNT) or self._failed_in_a_row >= FAILURES_IN_A_ROW:
                raise
            keep_error(self.found, error)


def keep_errors(found: Collected, errors: Iterable[FetchError]) -> None:
    for error in errors:
        keep_error(found, error)


def keep_error(found: Collected, error: FetchError) -> None:
    """Note a failure once: the same thing may go wrong with every day."""
    if not any(known.message == error.message for known in found.errors):
        found.errors.append(error)
