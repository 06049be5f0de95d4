"""LinkedIn's Community Management API and its token endpoint; facts/social.md 4."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sandbox.faults import Fault
from sandbox.messages import Answer, Call, Request, json_answer, token_error
from sandbox.social_access import SocialTokens, bearer
from sandbox.social_errors import linkedin_error
from sandbox.social_numbers import SocialNumbers
from sandbox.social_spoils import spoil_elements
from sandbox.social_world import (
    LINKEDIN_CLIENT_ID,
    LINKEDIN_CLIENT_SECRET,
    SocialWorld,
    midnight,
)

LINKEDIN_PATH = "/api.linkedin"
LINKEDIN_TOKEN_PATH = "/oauth/v2/accessToken"
REST = f"{LINKEDIN_PATH}/rest/"
TOKEN_SECONDS = 5_184_000
# Of 365 days from the first consent: a refresh does not make it longer.
REFRESH_TOKEN_SECONDS = 25_000_000
MOST_DAYS_BACK = 365
NOT_YET = timedelta(days=2)
# Where the month's 15th is not the day (facts 4.1).
SUNSETS = {"202511": date(2026, 11, 16), "202603": date(2027, 3, 16)}

# Structure stays literal, and only the URN is percent-encoded (Rest.li 2.0).
STATISTICS = re.compile(
    r"(?P<what>\w+)\?q=(?P<finder>\w+)&(?P=finder)=urn%3Ali%3Aorganization%3A(?P<id>\d+)"
    r"&timeIntervals=\(timeRange:\(start:(?P<start>\d+),end:(?P<end>\d+)\),"
    r"timeGranularityType:DAY\)"
)
NETWORK_SIZE = re.compile(
    r"networkSizes/urn%3Ali%3Aorganization%3A(?P<id>\d+)"
    r"\?edgeType=(COMPANY_FOLLOWED_BY_MEMBER|CompanyFollowedByMember)"
)
FINDERS = {
    "organizationalEntityShareStatistics": "organizationalEntity",
    "organizationalEntityFollowerStatistics": "organizationalEntity",
    "organizationPageStatistics": "organization",
}
SHARES = (
    *("uniqueImpressionsCount", "shareCount", "engagement", "clickCount", "likeCount"),
    *("impressionCount", "commentCount"),
)


class LinkedIn:
    """Answers requests of /rest/…"""

    def __init__(self, numbers: SocialNumbers, tokens: SocialTokens) -> None:
        self._world = numbers.world
        self._numbers = numbers
        self._tokens = tokens

    def describe(self, request: Request) -> Call:
        holder = self._tokens.holder(bearer(request))
        connection = holder.connection if holder and holder.kind == "user" else None
        found = STATISTICS.fullmatch(request.target.removeprefix(REST))
        days = None
        if found:
            start, end = (_moment(found[name]) for name in ("start", "end"))
            days = (start.date(), (end - timedelta(seconds=1)).date()) if start < end else None
        return Call("linkedin", account=connection, days=days)

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        refusal = self._version_refusal(request)
        if refusal:
            return refusal
        connection = call.account
        if connection is None or self._world.platform_of(connection) != "linkedin":
            return linkedin_error("linkedin_401_65600")
        asked = request.target.removeprefix(REST)
        size, found = NETWORK_SIZE.fullmatch(asked), STATISTICS.fullmatch(asked)
        what = found["what"] if found else asked.partition("?")[0].partition("/")[0]
        if what not in FINDERS and what != "networkSizes":
            return linkedin_error("linkedin_404")
        match = size or found
        if match is None or request.headers.get("X-Restli-Protocol-Version") != "2.0.0":
            return linkedin_error("linkedin_400", "Invalid query parameters passed to request")
        if match["id"] != self._world.account_id(connection):
            return linkedin_error("linkedin_403")
        if size:
            today = self._world.today("linkedin")
            followers = self._numbers.get(connection, "firstDegreeSize", today)
            return json_answer(200, {"firstDegreeSize": followers})
        assert found
        if found["finder"] != FINDERS[what]:
            return linkedin_error("linkedin_400", "Invalid query parameters passed to request")
        return self._statistics(
            connection, what, _moment(found["start"]), _moment(found["end"]), faults
        )

    def _version_refusal(self, request: Request) -> Answer | None:
        version = request.headers.get("LinkedIn-Version", "")
        if not re.fullmatch(r"20\d\d(0[1-9]|1[0-2])", version):
            message = "A version must be present. Please specify a version by adding the header."
            return linkedin_error("linkedin_400", message, "VERSION_MISSING")
        today = self._world.today("linkedin")
        if f"{today:%Y%m}" < version or today >= sunset(version):
            return linkedin_error("linkedin_426", f"Requested version {version}01 is not active")
        return None

    def _statistics(
        self, connection: int, what: str, start: datetime, end: datetime, faults: Sequence[Fault]
    ) -> Answer:
        now = self._world.now()
        oldest = now - timedelta(days=MOST_DAYS_BACK)
        if start < oldest or end > now - NOT_YET or end - start < timedelta(days=1):
            return linkedin_error("linkedin_400")
        days = [
            start.date() + timedelta(days=n)
            for n in range((end.date() - start.date()).days + 1)
            if start <= midnight("linkedin", start.date() + timedelta(days=n))
            and midnight("linkedin", start.date() + timedelta(days=n + 1)) <= end
        ]
        elements = [
            self._element(connection, what, day)
            for day in days
            if self._numbers.is_out(connection, day, what)
        ]
        paging = {"start": 0, "count": 10, "links": []}
        answer: dict[str, Any] = {"paging": paging, "elements": elements}
        spoil_elements(answer, faults)
        return json_answer(200, answer)

    def _element(self, connection: int, what: str, day: date) -> dict[str, Any]:
        def get(*metrics: str) -> dict[str, int | float]:
            return {metric: self._numbers.get(connection, metric, day) for metric in metrics}

        urn = f"urn:li:organization:{self._world.account_id(connection)}"
        element: dict[str, Any] = {FINDERS[what]: urn, "timeRange": _time_range(day)}
        if what == "organizationalEntityShareStatistics":
            return {**element, "totalShareStatistics": get(*SHARES)}
        if what == "organizationalEntityFollowerStatistics":
            return {**element, "followerGains": get("organicFollowerGain", "paidFollowerGain")}
        views = get("allPageViews", "uniquePageViews")
        counts = {"pageViews": views["allPageViews"], "uniquePageViews": views["uniquePageViews"]}
        pages = {"allPageViews": counts, "overviewPageViews": counts}
        return {**element, "totalPageStatistics": {"views": pages, "clicks": {}}}


class LinkedInToken:
    """Answers requests of /oauth/v2/accessToken: a refresh token for a new access token."""

    def __init__(self, world: SocialWorld, tokens: SocialTokens) -> None:
        self._world = world
        self._tokens = tokens

    def describe(self, request: Request) -> Call:
        token = dict(request.form).get("refresh_token", "")
        return Call("token", account=self._tokens.by_refresh_token(token, "linkedin"))

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        form = dict(request.form)
        client = (form.get("client_id"), form.get("client_secret"))
        if client != (LINKEDIN_CLIENT_ID, LINKEDIN_CLIENT_SECRET):
            return token_error(401, "invalid_client", "Client authentication failed")
        if form.get("grant_type") != "refresh_token":
            return token_error(400, "unsupported_grant_type", "Invalid grant_type.")
        connection = call.account
        if connection is None:
            message = "The provided refresh token is invalid, expired or revoked"
            return token_error(400, "invalid_grant", message)
        answer = {
            "access_token": self._tokens.issue(connection),
            "expires_in": TOKEN_SECONDS,
            "refresh_token": self._world.refresh_token(connection),
            "refresh_token_expires_in": REFRESH_TOKEN_SECONDS,
            "scope": "rw_organization_admin",
        }
        return json_answer(200, answer)


def sunset(version: str) -> date:
    """The day from which a version is no longer served, a year after its month."""
    usual = date(int(version[:4]) + 1, int(version[4:]), 15)
    return SUNSETS.get(version, usual)


def _moment(milliseconds: str) -> datetime:
    """A moment; one too far away for a date is the end of all times."""
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def _time_range(day: date) -> dict[str, int]:
    begins, ends = (midnight("linkedin", day + timedelta(days=n)) for n in (0, 1))
    return {"start": int(begins.timestamp() * 1000), "end": int(ends.timestamp() * 1000)}
