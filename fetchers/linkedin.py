"""LinkedIn: daily statistics of an organization's page, and its followers.

Days are UTC days. Rules from shared facts/social.md, 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from fetchers.errors import (
    CredentialsError,
    FetchError,
    NeedsReauth,
    SettingsError,
    TargetMisnamed,
    Temporary,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.http import Http
from fetchers.linkedin_answers import (
    Numbers,
    is_token,
    next_start,
    parse_followers,
    parse_new_token,
    parse_statistics,
)
from fetchers.linkedin_errors import (
    NEW_CONSENT,
    MemberThrottled,
    parse_answer,
    parse_token_answer,
)
from fetchers.social import Collected, NewToken, SocialAccount, SocialValue
from fetchers.social_days import last_linkedin_day, utc_midnight_ms
from fetchers.social_metrics import LINKEDIN, Metric, metrics_of
from fetchers.throttle import Throttle

KEPT_DAYS = 364
"""LinkedIn keeps 12 months, counted from the moment of asking; 364 days always lie within."""

STATISTICS = {
    "totalShareStatistics": ("organizationalEntityShareStatistics", "organizationalEntity"),
    "followerGains": ("organizationalEntityFollowerStatistics", "organizationalEntity"),
    "totalPageStatistics": ("organizationPageStatistics", "organization"),
}
"""By the field that holds the numbers: what is asked, and how it calls the organization."""

RENEW = (
    "set LINKEDIN_CLIENT_ID and LINKEDIN_CLIENT_SECRET so that it is renewed with the refresh "
    "token, or connect the LinkedIn account again"
)
FOLLOWERS = "networkSizes/{}?edgeType=COMPANY_FOLLOWED_BY_MEMBER"
ORGANIZATION = re.compile(r"(urn:li:[A-Za-z]+:)?([0-9]+)")
MOST_PAGES = 50
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LinkedInApi:
    """What all organizations of one run share. url: without /rest."""

    url: str
    version: str
    token_uri: str
    client_id: str
    client_secret: str = field(repr=False)
    http: Http
    throttle: Throttle


def get_linkedin_data(
    account: SocialAccount,
    days: Sequence[date],
    *,
    api: LinkedInApi,
    now: datetime,
    levels: bool,
) -> Collected:
    """Numbers of one organization: three statistics for all days, and its followers if `levels`.

    Days that LinkedIn does not give out yet, and days that some statistics have no element of, are
    waiting. What fails for one of the four costs the others nothing, unless it would fail them too;
    a field that is no number costs that number alone.
    """
    organization = _Organization(account, api, now)
    collected = organization.collected
    try:
        for task in organization.tasks(sorted(days), levels):
            try:
                task()
            except (Temporary, UnexpectedAnswer) as error:
                if isinstance(error, Throttled):
                    raise
                _keep(collected, error)
    except FetchError as error:
        _keep(collected, error)
    return collected


def urn_of(account_id: str) -> str:
    """The organization's URN, from its URN or its number.

    Raises:
        TargetMisnamed: it is neither.
    """
    found = ORGANIZATION.fullmatch(account_id)
    if not found:
        raise TargetMisnamed(
            "the account's id is no id of an organization on LinkedIn",
            mend="correct account_id in platform_connections: the organization's number or URN",
        )
    return account_id if found[1] else f"urn:li:organization:{account_id}"


def refresh_linkedin_token(account: SocialAccount, *, api: LinkedInApi) -> NewToken:
    """A new access token, by the refresh token: 60 days, of which partners have one (facts 4.6).

    Raises:
        NeedsReauth: the refresh token is gone, a year after the consent at the latest.
        FetchError: as fetchers/linkedin_errors.py sorts it.
    """
    form = {
        "grant_type": "refresh_token",
        "refresh_token": account.refresh_token,
        "client_id": api.client_id,
        "client_secret": api.client_secret,
    }

    def attempt() -> dict[str, Any]:
        answer = api.http.request("POST", api.token_uri, data=form)
        return parse_token_answer(answer, api.token_uri)

    return parse_new_token(api.http.retrying(attempt))


class _Organization:
    """One organization's numbers; what LinkedIn says gathers in `collected`."""

    def __init__(self, account: SocialAccount, api: LinkedInApi, now: datetime) -> None:
        self.collected = Collected()
        self._account = account
        self._api = api
        self._now = now.astimezone(UTC)
        self._host = urlsplit(api.url).netloc
        self._scopes = ("linkedin app", f"linkedin member {account.user_id}")

    def tasks(self, days: Sequence[date], levels: bool) -> Iterator[Callable[[], None]]:
        """The requests to send, one after the other."""
        if not is_token(self._account.access_token):
            message = "the stored token is empty or has characters of no token"
            if self._account.refresh_token:  # by which there may be a new one
                raise CredentialsError(message, mend=RENEW)
            raise NeedsReauth(message, mend=NEW_CONSENT)
        urn = quote(urn_of(self._account.account_id), safe="")
        asked = self._clip(days)
        metrics = metrics_of(LINKEDIN, "statistics")
        for numbers, (path, name) in STATISTICS.items() if asked else ():
            query = f"{path}?q={name}&{name}={urn}&timeIntervals={_intervals(asked)}"
            wanted = [metric for metric in metrics if metric.path[0] == numbers]
            yield partial(self._collect, query, asked, wanted)
        for level in metrics_of(LINKEDIN, "node") if levels else ():
            yield partial(self._collect_level, FOLLOWERS.format(urn), level)

    def _clip(self, days: Sequence[date]) -> list[date]:
        """Without the days that LinkedIn refuses, with which it would refuse the whole range."""
        first, last = self._now.date() - timedelta(days=KEPT_DAYS), last_linkedin_day(self._now)
        if days and days[0] < first:
            error = SettingsError(
                "LinkedIn keeps 12 months, and older days were asked for",
                mend=f"ask for days from {first} on (--from and --to)",
            )
            _keep(self.collected, error)
        self.collected.waiting |= {day for day in days if day > last}
        return [day for day in days if first <= day <= last]

    def _collect(self, query: str, days: Sequence[date], metrics: Sequence[Metric]) -> None:
        found: dict[date, Numbers] = {}
        for answer in self._pages(query):
            statistics = parse_statistics(answer, metrics)
            found |= statistics.numbers
            for odd in statistics.odd:
                _keep(self.collected, UnexpectedAnswer(odd))
        for day in days:
            if day not in found:
                self.collected.waiting.add(day)
                continue
            known = found[day]
            self.collected.add(
                SocialValue(metric, day, known[metric.name])
                for metric in metrics
                if metric.name in known
            )

    def _collect_level(self, query: str, level: Metric) -> None:
        followers = parse_followers(self._get(query), level)
        self.collected.add([SocialValue(level, self._now.date(), followers)])

    def _pages(self, query: str) -> Iterator[dict[str, Any]]:
        """All pages of a list; a window of days fits into one."""
        start: int | None = 0
        for _ in range(MOST_PAGES):
            answer = self._get(f"{query}&start={start}" if start else query)
            yield answer
            start = next_start(answer)
            if start is None:
                return
        raise UnexpectedAnswer("LinkedIn: statistics without end")

    def _get(self, query: str) -> dict[str, Any]:
        """The structure of a Restli query must stay as it is, which `params` would encode."""
        url = f"{self._api.url}/rest/{query}"
        headers = {
            "Authorization": f"Bearer {self._account.access_token}",
            "LinkedIn-Version": self._api.version,
            "X-Restli-Protocol-Version": "2.0.0",
        }

        def attempt() -> dict[str, Any]:
            answer = self._api.http.request("GET", url, headers=headers)
            try:
                return parse_answer(answer, self._host, self._api.version)
            except Throttled as error:  # its limits are those of a UTC day
                error.retry_after = error.retry_after or _seconds_to_midnight(self._now)
                raise

        def scope_of(error: Throttled) -> str:
            return self._scopes[isinstance(error, MemberThrottled)]

        call = self._api.throttle.call
        return self._api.http.retrying(lambda: call(attempt, self._scopes, scope_of))


def _intervals(days: Sequence[date]) -> str:
    """The range of these days: its end is exclusive."""
    start, end = utc_midnight_ms(days[0]), utc_midnight_ms(days[-1] + ONE_DAY)
    return f"(timeRange:(start:{start},end:{end}),timeGranularityType:DAY)"


def _seconds_to_midnight(now: datetime) -> float:
    return utc_midnight_ms(now.date() + ONE_DAY) / 1000 - now.timestamp()


def _keep(collected: Collected, error: FetchError) -> None:
    """Note a failure once: the same thing may go wrong with each request."""
    if all(known.message != error.message for known in collected.errors):
        collected.errors.append(error)
