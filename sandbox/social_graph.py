"""The Graph API on Facebook's and Instagram's hosts: routes, versions, tokens and usage headers.

Both hosts are paths of the one port; facts/social.md 1 and 2.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from datetime import date, timedelta

from sandbox.faults import Fault
from sandbox.messages import Answer, Call, Request, Source, json_answer
from sandbox.social_access import Holder, SocialTokens, bearer
from sandbox.social_faults import BLOCK_KINDS, NEAR_THE_LIMIT, minutes_of
from sandbox.social_graph_errors import account_usage, app_usage, graph_error
from sandbox.social_insights import Insights
from sandbox.social_metrics import Asked, window
from sandbox.social_numbers import SocialNumbers
from sandbox.social_world import zone_of

FACEBOOK_PATH = "/graph.facebook"
INSTAGRAM_PATH = "/graph.instagram"
TRAP = "paging-trap"
TOKEN_SECONDS = 5_183_944
NEWEST_VERSION = 26
USUAL_PERCENT = 3
# Facts 1.2: the day from which a version is served by the next one.
VERSION_ENDS = {
    18: date(2026, 1, 26),
    19: date(2026, 5, 21),
    20: date(2026, 9, 24),
    21: date(2027, 1, 21),
    22: date(2027, 5, 20),
    23: date(2027, 10, 8),
    24: date(2028, 2, 18),
    25: date(2028, 7, 29),
}
NODE_FIELDS = {
    "instagram": ("id", "username", "followers_count", "follows_count", "media_count"),
    "facebook": ("id", "name", "access_token"),
}
PERMISSIONS = ("pages_show_list", "pages_read_engagement", "read_insights", "public_profile")


class GraphApi:
    """Answers requests of both hosts; `trapped` lists the paging links that were followed."""

    def __init__(self, numbers: SocialNumbers, tokens: SocialTokens) -> None:
        self._world = numbers.world
        self._numbers = numbers
        self._insights = Insights(numbers)
        self._tokens = tokens
        self._connection_of = {
            self._world.account_id(n): n
            for n in self._world.connection_numbers
            if self._world.platform_of(n) in NODE_FIELDS
        }
        self.trapped: list[str] = []
        self._lock = threading.Lock()

    def describe(self, request: Request) -> Call:
        parts = request.path.strip("/").split("/")
        holder = self._tokens.holder(bearer(request))
        connection = self._connection_of.get(parts[2] if len(parts) > 2 else "")
        connection = connection or (holder.connection if holder else None)
        source: Source = "instagram" if request.path.startswith(INSTAGRAM_PATH) else "facebook"
        if connection is not None:
            source = self._world.platform_of(connection)
        days = self._days(request) if parts[-1] == "insights" else None
        return Call(source, account=connection, days=days)

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        version = self._version(request)
        minutes = 0
        block = next((fault for fault in faults if fault.kind in BLOCK_KINDS), None)
        if block:
            answer, minutes = graph_error(block.kind), minutes_of(block)
        else:
            answer = self._routed(request, call, faults, version)
        kinds = {fault.kind for fault in faults}
        headers = {"facebook-api-version": f"v{version}.0"} if version else {}
        if request.path.startswith(FACEBOOK_PATH):
            headers |= app_usage(NEAR_THE_LIMIT if "usage_app" in kinds else USUAL_PERCENT)
        if call.account is not None:
            percent = NEAR_THE_LIMIT if "usage_account" in kinds else USUAL_PERCENT
            kind = "instagram" if call.source == "instagram" else "pages"
            headers |= account_usage(
                self._world.account_id(call.account), kind, 100 if block else percent, minutes
            )
        return Answer(answer.status, answer.body, answer.content_type, headers)

    def _routed(
        self, request: Request, call: Call, faults: Sequence[Fault], version: int | None
    ) -> Answer:
        parts = request.path.strip("/").split("/")[1:]
        if parts[:1] == [TRAP]:
            with self._lock:
                self.trapped.append(request.path)
            return graph_error("graph_100", "(#100) Links to other times are not to be followed")
        token = bearer(request)
        if not token:
            return graph_error("graph_104")
        holder = self._tokens.holder(token)
        if holder is None or not self._speaks_here(holder, request):
            return graph_error("graph_190")
        if request.path == f"{INSTAGRAM_PATH}/refresh_access_token":
            return self._refreshed(request, holder)
        if version is None or not 2 <= len(parts) <= 3:
            return graph_error("graph_2500", f"Unknown path components: /{'/'.join(parts)}")
        if parts[1] == "me" and request.path.startswith(FACEBOOK_PATH):
            return self._of_me(parts[2:], holder, faults)
        connection = holder.connection if parts[1] == "me" else self._connection_of.get(parts[1])
        if connection is None or connection != holder.connection:
            return graph_error("graph_100_33")
        if parts[2:] == ["insights"]:
            return self._insights_of(request, holder, version, faults)
        if parts[2:]:
            return graph_error("graph_2500", f"Unknown path components: /{parts[2]}")
        return self._node(request, connection)

    def _speaks_here(self, holder: Holder, request: Request) -> bool:
        """Each login's tokens are good on its own host alone (facts 1.1)."""
        host = INSTAGRAM_PATH
        if self._world.login_of(holder.connection) == "facebook":
            host = FACEBOOK_PATH
        is_graph = self._world.platform_of(holder.connection) in NODE_FIELDS
        return is_graph and request.path.startswith(host)

    def _version(self, request: Request) -> int | None:
        """The version that serves the request: for one that has ended, the oldest still there."""
        found = re.match(r"/[a-z.]+/v(\d\d)\.0/", request.path)
        if found is None or int(found[1]) > NEWEST_VERSION:
            return None
        today = self._world.today("facebook")
        oldest = max([number + 1 for number, ends in VERSION_ENDS.items() if today >= ends] or [0])
        return max(int(found[1]), oldest)

    def _days(self, request: Request) -> tuple[date, date] | None:
        span = window(dict(request.query), self._world.now())
        if span is None or span[0] >= span[1]:
            return None
        since, until = (moment.astimezone(zone_of("facebook")) for moment in span)
        return since.date(), (until - timedelta(seconds=1)).date()

    def _insights_of(
        self, request: Request, holder: Holder, version: int, faults: Sequence[Fault]
    ) -> Answer:
        host, _, path = request.path.removeprefix("/").partition("/")
        address = f"http://{request.headers.get('Host')}/{host}/{TRAP}/{path}"
        trap = f"{address}?access_token={bearer(request)}"
        asked = Asked(holder.connection, version, dict(request.query), trap, faults)
        if self._world.platform_of(holder.connection) == "instagram":
            return self._insights.instagram(asked)
        if holder.kind != "page":
            return graph_error("graph_190_page_token")
        return self._insights.page(asked)

    def _node(self, request: Request, connection: int) -> Answer:
        """The fields that were asked for, as the account has them now."""
        platform = self._world.platform_of(connection)
        account_id = self._world.account_id(connection)
        fields = dict(request.query).get("fields", "id").split(",")
        wrong = [field for field in fields if field not in NODE_FIELDS[platform]]
        if wrong:
            message = f"(#100) Tried accessing nonexisting field ({wrong[0]}) on node type"
            return graph_error("graph_100", message)
        texts = {
            "id": account_id,
            "name": f"Example Page {connection}",
            "username": f"example.account.{connection}",
            "access_token": self._world.page_token(connection),
        }
        today = self._world.today(platform)
        node: dict[str, object] = {
            field: texts.get(field) or self._numbers.get(connection, field, today)
            for field in fields
        }
        return json_answer(200, {**node, "id": account_id})

    def _of_me(self, parts: list[str], holder: Holder, faults: Sequence[Fault]) -> Answer:
        if parts == ["permissions"]:
            declined = any(fault.kind == "no_read_insights" for fault in faults)
            rows = [
                {
                    "permission": name,
                    "status": "declined" if declined and name == "read_insights" else "granted",
                }
                for name in PERMISSIONS
            ]
            return json_answer(200, {"data": rows})
        if parts == ["accounts"]:
            page = {
                "id": self._world.account_id(holder.connection),
                "name": f"Example Page {holder.connection}",
                "access_token": self._world.page_token(holder.connection),
            }
            cursors = {"before": "MTAw", "after": "MTAw"}
            return json_answer(200, {"data": [page], "paging": {"cursors": cursors}})
        return graph_error("graph_2500", f"Unknown path components: /{'/'.join(parts)}")

    def _refreshed(self, request: Request, holder: Holder) -> Answer:
        if dict(request.query).get("grant_type") != "ig_refresh_token":
            return graph_error("graph_100", "(#100) Unsupported grant_type")
        token = self._tokens.issue(holder.connection)
        answer = {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_SECONDS}
        return json_answer(200, answer)
