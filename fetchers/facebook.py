"""A Facebook Page's daily numbers: `/{page-id}/insights`, with the Page's own token.

Facts are those of shared facts/social.md, part 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    MetricRefused,
    NeedsReauth,
    UnexpectedAnswer,
)
from fetchers.graph import (
    TOKEN,
    GraphApi,
    Parts,
    ask_metrics,
    keep_error,
    keep_errors,
    known_metrics,
    note_refused,
    path_of,
)
from fetchers.graph_errors import GRANT, SessionEnded
from fetchers.graph_insights import askable_days, parse_series, ranges, span_of
from fetchers.social import Collected, DataState, SocialAccount, SocialValue
from fetchers.social_days import is_settled
from fetchers.social_metrics import FACEBOOK, Metric, metrics_of
from logs import redact

LONGEST_RANGE_SECONDS = 90 * 86_400
FETCHED = (
    "nothing to do if the next run is complete: it fetches another token of the Page; if not, "
    "connect the Page again, by somebody who has the task ANALYZE on it"
)
NEEDED = ("pages_read_engagement", "read_insights")


def get_facebook_data(
    account: SocialAccount, days: Sequence[date], *, api: GraphApi, now: datetime
) -> Collected:
    """The Page's numbers of these Pacific days; failures are in `errors`, nothing is raised."""
    found = Collected()
    try:
        _Page(account, api, now, found).read(days)
    except FetchError as error:
        keep_error(found, error)
    return found


class _Page:
    """The requests for one Page."""

    def __init__(
        self, account: SocialAccount, api: GraphApi, now: datetime, found: Collected
    ) -> None:
        self._account = replace(account, login="facebook")  # a Page is on no other host
        self._api = api
        self._now = now
        self._found = found
        self._path = path_of(account)
        self._answered = False

    def read(self, days: Sequence[date]) -> None:
        asked = askable_days(days, self._now, self._found)
        if not asked:
            return
        token, parts = self._page_token(), Parts(self._found)
        for span in ranges(asked, LONGEST_RANGE_SECONDS):
            parts.read(partial(self._read_series, token, span))
        if self._answered and not self._found.values:
            self._check_permission()

    def _page_token(self) -> str:
        """Insights of a Page answer to its own token alone (facts 2.1)."""
        fields = ["access_token"]
        try:
            answer = self._api.get(
                self._account, self._path, {"fields": ",".join(fields)}, asked=fields
            )
        except MetricRefused as error:  # what has no such field is no Page
            raise AccessDenied(error.message, mend="correct the connection's account_id") from None
        token = answer.get("access_token")
        if token is None:
            raise AccessDenied(
                "Facebook gives out no token of this Page",
                mend="connect the Page again, by somebody who has the task ANALYZE on it",
            )
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise UnexpectedAnswer("a Page's token that is none: empty, or with odd characters")
        redact.add([token])
        return token

    def _read_series(self, token: str, days: Sequence[date]) -> None:
        metrics = known_metrics(self._api, self._found, metrics_of(FACEBOOK, "series"))
        answers, refused = ask_metrics(metrics, partial(self._ask, token, days))
        note_refused(self._api, self._found, refused, answered=bool(answers))
        if not answers:
            return
        self._answered = True
        published, odd = set(), list[UnexpectedAnswer]()
        for answer in answers:
            for (metric, day), number in parse_series(answer, metrics, days, odd).items():
                state: DataState = "final" if is_settled(day, self._now) else "provisional"
                self._found.add([SocialValue(metric, day, number, data_state=state)])
                published.add(day)
        keep_errors(self._found, odd)
        if not odd:
            self._found.waiting |= set(days) - published

    def _ask(self, token: str, days: Sequence[date], metrics: Sequence[Metric]) -> dict[str, Any]:
        names = [metric.name for metric in metrics]
        since, until = span_of(days)
        params = {
            "metric": ",".join(names),
            "period": "day",
            "since": str(since),
            "until": str(until),
        }
        path = f"{self._path}/insights"
        try:
            return self._api.get(self._account, path, params, token=token, asked=names)
        except SessionEnded:
            raise
        except NeedsReauth as error:  # of a token that each run fetches anew
            raise CredentialsError(f"the Page's own token: {error.message}", mend=FETCHED) from None

    def _check_permission(self) -> None:
        """Without read_insights Facebook answers with no data and no error (facts 2.1).

        Raises:
            AccessDenied: a permission was not granted.
        """
        try:
            answer = self._api.get(self._account, "me/permissions", {}, asked=["permissions"])
        except MetricRefused:  # the stored token is the Page's own, of which this cannot be asked
            return
        missing = [name for name in NEEDED if name not in _granted(answer)]
        if missing:
            raise AccessDenied(
                f"the token lacks the permission {' and '.join(missing)}: "
                "Facebook answers without data",
                mend=GRANT,
            )


def _granted(answer: dict[str, Any]) -> set[str]:
    entries = answer.get("data")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnexpectedAnswer("a list of permissions of no known shape")
    return {str(e.get("permission")) for e in entries if e.get("status") == "granted"}
