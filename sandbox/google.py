"""Google's token endpoint and Search Console API v3; the rules are those of facts/gsc.md."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sandbox.consent import SCOPE, ConsentPage
from sandbox.fault_answers import REVOKED, Row, spoil_rows
from sandbox.faults import Fault
from sandbox.messages import (
    QUERY_PATH,
    SITES_PATH,
    Answer,
    Call,
    Request,
    asked_property,
    html_answer,
    invalid_parameter,
    json_answer,
    site_forbidden,
    token_error,
    unauthenticated,
)
from sandbox.revisions import Numbers
from sandbox.social_access import SocialTokens
from sandbox.social_youtube import YOUTUBE_SCOPE
from sandbox.world import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN_PREFIX, World

TOKEN_PATH = "/token"
TOKEN_SECONDS = 3599
DEFAULT_ROW_LIMIT = 1000
MAX_ROW_LIMIT = 25_000


class TokenEndpoint:
    """Answers requests of /token and knows the access tokens it gave out.

    YouTube channels ask here too, with the refresh tokens of their connections.
    """

    def __init__(self, world: World, consents: ConsentPage, social: SocialTokens) -> None:
        self._consents = consents
        self._social = social
        self._account_of_refresh_token = {
            world.refresh_token(account): account for account in world.account_numbers
        }
        self._account_of_access_token: dict[str, int] = {}
        self._issued: Counter[int] = Counter()
        self._lock = threading.Lock()

    def account_of(self, request: Request) -> int | None:
        """The account whose access token the request carries."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return self._account_of_access_token.get(token) if scheme == "Bearer" else None

    def describe(self, request: Request) -> Call:
        form = dict(request.form)
        token = form.get("refresh_token", "")
        account = self._account_of_refresh_token.get(token) or self._channel(token)
        return Call("token", account=account or self._consents.account_of(form.get("code", "")))

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        form = dict(request.form)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return token_error(401, "invalid_client", "Unauthorized")
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        if form.get("grant_type") != "refresh_token":
            return token_error(400, "unsupported_grant_type", "Invalid grant_type.")
        if call.account is None:
            return token_error(400, "invalid_grant", REVOKED)
        if self._channel(form["refresh_token"]):
            return json_answer(200, self._tokens_of_connection(call.account))
        if form.get("scope", SCOPE) != SCOPE:
            return token_error(400, "invalid_scope", "Some requested scopes were not granted.")
        return json_answer(200, self._tokens(call.account, SCOPE))

    def _exchange(self, form: Mapping[str, str]) -> Answer:
        """A code for tokens; each consent that lasts gets a refresh token of its own."""
        grant = self._consents.redeem(form)
        if isinstance(grant, Answer):
            return grant
        tokens = self._tokens(grant.account, grant.scope)
        if grant.lasting:
            with self._lock:
                number = len(self._account_of_refresh_token) + 1
                tokens["refresh_token"] = f"{REFRESH_TOKEN_PREFIX}{grant.account}-{number}"
                self._account_of_refresh_token[tokens["refresh_token"]] = grant.account
        return json_answer(200, tokens)

    def _channel(self, refresh_token: str) -> int | None:
        return self._social.by_refresh_token(refresh_token, "youtube")

    def _tokens_of_connection(self, connection: int) -> dict[str, Any]:
        """Of a YouTube channel: its access token opens no Search Console."""
        return {
            "access_token": self._social.issue(connection, "access"),
            "expires_in": TOKEN_SECONDS,
            "scope": YOUTUBE_SCOPE,
            "token_type": "Bearer",
        }

    def _tokens(self, account: int, scope: str) -> dict[str, Any]:
        return {
            "access_token": self._issue(account),
            "expires_in": TOKEN_SECONDS,
            "scope": scope,
            "token_type": "Bearer",
        }

    def _issue(self, account: int) -> str:
        with self._lock:
            self._issued[account] += 1
            token = f"sandbox-access-token-{account}-{self._issued[account]}"
            self._account_of_access_token[token] = account
        return token


class SearchConsole:
    """Answers requests of /webmasters/v3/sites and …/{siteUrl}/searchAnalytics/query."""

    def __init__(self, world: World, numbers: Numbers, tokens: TokenEndpoint) -> None:
        self._world = world
        self._numbers = numbers
        self._tokens = tokens
        self._site_of = {world.property_of(site): site for site in world.site_numbers}

    def describe(self, request: Request) -> Call:
        account = self._tokens.account_of(request)
        if request.path == SITES_PATH:
            return Call("sites", account=account)
        site = self._site_of.get(asked_property(request))
        return Call("query", () if site is None else (site,), account, _asked_days(request))

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        if call.account is None:
            return unauthenticated()
        if call.source == "sites":
            return self._listing(call.account)
        if "/" in request.path.removeprefix(f"{SITES_PATH}/").removesuffix(QUERY_PATH):
            return html_answer(404, "Error 404 (Not Found)!!1", "That is an error.")
        return self._refusal(request, call) or self._rows(request, call, faults)

    def _listing(self, account: int) -> Answer:
        """An account without properties gets no siteEntry at all."""
        entries = [
            {"siteUrl": site_url, "permissionLevel": permission}
            for site_url, permission in self._world.properties_of(account)
        ]
        return json_answer(200, {"siteEntry": entries} if entries else {})

    def _refusal(self, request: Request, call: Call) -> Answer | None:
        site_url = asked_property(request)
        if "sc-domain:" in site_url.removeprefix("sc-domain:"):
            message = f"'{site_url}' is not a valid Search Console site URL."
            return invalid_parameter(message, "siteUrl")
        if not call.sites or not self._may_read(call.sites[0], call.account):
            return site_forbidden(site_url)
        if call.days is None or call.days[0] > call.days[1]:
            message = "startDate and endDate must be YYYY-MM-DD, startDate not after endDate."
            return invalid_parameter(message, "startDate")
        if request.json.get("dimensions") != ["date"]:
            return invalid_parameter("The sandbox knows the dimension date only.", "dimensions")
        if not 1 <= request.json.get("rowLimit", DEFAULT_ROW_LIMIT) <= MAX_ROW_LIMIT:
            return invalid_parameter("rowLimit must be within 1..25000.", "rowLimit")
        return None

    def _may_read(self, site: int, account: int | None) -> bool:
        return self._world.account_of(site) == account and site not in self._world.unverified

    def _rows(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        query = request.json
        wants_all = str(query.get("dataState", "final")).lower() == "all"
        rows = self._rows_by_date(call, wants_all)
        spoil_rows(rows, faults, call)
        start = query.get("startRow", 0)
        page = rows[start : start + query.get("rowLimit", DEFAULT_ROW_LIMIT)]
        # Without data there is no `rows` key, not an empty list.
        answer: dict[str, object] = {"rows": page} if page else {}
        answer["responseAggregationType"] = "byProperty"
        if wants_all and self._has_boundary(call):
            answer["metadata"] = {"firstIncompleteDate": str(self._world.first_incomplete())}
        return json_answer(200, answer)

    def _rows_by_date(self, call: Call, wants_all: bool) -> list[Row]:
        """One row for each day with data which is published as far as wanted, oldest first."""
        assert call.days
        first, last = call.days
        wanted = {"final", "provisional"} if wants_all else {"final"}
        days = [first + timedelta(days=later) for later in range((last - first).days + 1)]
        rows = [
            self._row(call.sites[0], day) for day in days if self._world.search_state(day) in wanted
        ]
        return [row for row in rows if row["impressions"] > 0]

    def _row(self, site: int, day: date) -> Row:
        clicks = self._numbers.get("clicks", site, day)
        impressions = self._numbers.get("impressions", site, day)
        position = 1 + (site * 7 + day.toordinal()) % 400 / 10
        # The real API writes 5 and 5.0 alike.
        kind = float if day.toordinal() % 2 and clicks else int
        return {
            "keys": [str(day)],
            "clicks": kind(clicks),
            "impressions": kind(impressions),
            "ctr": clicks / max(impressions, 1),
            "position": position,
        }

    def _has_boundary(self, call: Call) -> bool:
        """Whether the asked range holds days that may still change, and the site says so."""
        if call.days is None or call.sites[0] in self._world.without_boundary:
            return False
        first, last = call.days
        return last >= self._world.first_incomplete() and first <= self._world.newest()


def _asked_days(request: Request) -> tuple[date, date] | None:
    query = request.json
    try:
        return date.fromisoformat(query["startDate"]), date.fromisoformat(query["endDate"])
    except (KeyError, TypeError, ValueError):
        return None
