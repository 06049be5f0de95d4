"""Google's consent page, with a person who agrees at once, and the codes it gives out.

RFC 6749 (4.1) with PKCE (RFC 7636), as Google answers desktop applications. `authuser`, as Google's
own pages have it, chooses the account: its number in the World, 1 without it.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlencode, urlsplit

from sandbox.faults import Fault
from sandbox.messages import Answer, Call, Request, html_answer, token_error
from sandbox.world import CLIENT_ID, World

CONSENT_PATH = "/o/oauth2/auth"
SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
CODE_PREFIX = "4/0Asandbox-code-"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Grant:
    """What a person agreed to, kept until its code is exchanged."""

    account: int
    scope: str
    redirect_uri: str
    code_challenge: str
    lasting: bool


class ConsentPage:
    """Answers requests of /o/oauth2/auth; `redeem` exchanges a code, once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._grants: dict[str, Grant] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()

    def describe(self, request: Request) -> Call:
        return Call("consent", account=self._account(dict(request.query)))

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer:
        query = dict(request.query)
        problem = self._problem(query)
        if problem:
            return html_answer(400, f"Error 400: {problem}", f"Access blocked: {problem}")
        kinds = {fault.kind for fault in faults}
        if "access_denied" in kinds:
            back = {"error": "access_denied", "state": query["state"]}
        else:
            scope = "openid" if "scope_unticked" in kinds else query["scope"]
            code = self._grant(query, scope, lasting="no_refresh_token" not in kinds)
            back = {"state": query["state"], "code": code, "scope": scope}
        location = {"Location": f"{query['redirect_uri']}?{urlencode(back)}"}
        return Answer(302, b"", "text/html; charset=UTF-8", location)

    def redeem(self, form: Mapping[str, str]) -> Grant | Answer:
        """The grant of a code, or the refusal of the token endpoint."""
        with self._lock:
            grant = self._grants.pop(form.get("code", ""), None)
        if grant is None:
            return token_error(400, "invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != grant.redirect_uri:
            return token_error(400, "redirect_uri_mismatch", "Bad Request")
        if challenge_of(form.get("code_verifier", "")) != grant.code_challenge:
            return token_error(400, "invalid_grant", "Invalid code verifier.")
        return grant

    def account_of(self, code: str) -> int | None:
        grant = self._grants.get(code)
        return grant.account if grant else None

    def _problem(self, query: Mapping[str, str]) -> str:
        """Google's name for what is wrong with a request; it shows a page then and sends nobody
        back."""
        redirect = urlsplit(query.get("redirect_uri", ""))
        if query.get("client_id") != CLIENT_ID:
            return "invalid_client"
        if redirect.scheme != "http" or redirect.netloc.rpartition(":")[0] not in LOOPBACK:
            return "redirect_uri_mismatch"
        if query.get("response_type") != "code" or not query.get("state"):
            return "invalid_request"
        if query.get("code_challenge_method") != "S256" or len(query["code_challenge"]) != 43:
            return "invalid_request"
        if query.get("scope") != SCOPE:
            return "invalid_scope"
        return "" if self._account(query) else "invalid_request"

    def _account(self, query: Mapping[str, str]) -> int | None:
        number = query.get("authuser", "1")
        known = number.isdecimal() and int(number) in self._world.account_numbers
        return int(number) if known else None

    def _grant(self, query: Mapping[str, str], scope: str, *, lasting: bool) -> str:
        """A new code. A consent lasts if it was asked for offline, and shown for that."""
        asked = (query.get("access_type"), query.get("prompt")) == ("offline", "consent")
        account = self._account(query)
        assert account
        with self._lock:
            code = f"{CODE_PREFIX}{next(self._numbers)}"
            self._grants[code] = Grant(
                account, scope, query["redirect_uri"], query["code_challenge"], lasting and asked
            )
        return code


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
