"""Stand-ins of Google: httplib2 without a socket, and error answers as Google gives them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httplib2
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from fetchers.google_client import GoogleClient, SharedCredentials
from fetchers.http import Http
from tests.unit.helpers import make_http

TOKEN_URI = "https://token.test/token"
REFRESH_TOKEN = "sentinel-refresh-token"

Reply = tuple[int, object] | Exception
Call = Mapping[str, str]
"""What was asked: uri, method, token, body."""
Script = list[Reply] | Callable[[Call], Reply]
"""What comes one after the other (the last one for ever), or computed from the call."""


class FakeGoogle:
    """Answers like httplib2.Http: the token endpoint and the API, each by its script."""

    def __init__(self, api: Script, tokens: list[Reply] | None = None) -> None:
        self.api = api
        self.tokens = tokens
        self.api_calls: list[Call] = []
        self.token_calls: list[str] = []
        self._lock = threading.Lock()

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **_options: Any,
    ) -> tuple[httplib2.Response, bytes]:
        if uri == TOKEN_URI:
            return _answer(self._token(str(body)))
        access_token = (headers or {}).get("authorization", "").removeprefix("Bearer ")
        call = {"uri": uri, "method": method, "token": access_token, "body": str(body)}
        with self._lock:
            number = len(self.api_calls)
            self.api_calls.append(call)
        if callable(self.api):
            return _answer(self.api(call))
        return _answer(self.api[min(number, len(self.api) - 1)])

    def _token(self, body: str) -> Reply:
        with self._lock:
            self.token_calls.append(body)
            number = len(self.token_calls)
        if self.tokens is not None:
            return self.tokens[min(number, len(self.tokens)) - 1]
        return token(number)


def token(number: int = 1) -> Reply:
    return 200, {"access_token": f"access-{number}", "expires_in": 3599, "token_type": "Bearer"}


class OfflineClient(GoogleClient):
    """A GoogleClient whose connections are the fake's."""

    def __init__(
        self, google: FakeGoogle, http: Http | None = None, *, requests_per_minute: int = 10_000
    ) -> None:
        self._google = google
        super().__init__(
            build(
                "searchconsole",
                "v1",
                http=httplib2.Http(),
                static_discovery=True,
                cache_discovery=False,
            ),
            SharedCredentials(
                refresh_token=REFRESH_TOKEN,
                token_uri=TOKEN_URI,
                client_id="client-id",
                client_secret="sentinel-client-secret",
            ),
            requests_per_minute=requests_per_minute,
            http=http or make_http(),
            api_host="Search Console",
        )

    def _plain_http(self) -> Any:
        return self._google

    def list_sites(self) -> dict[str, Any]:
        return self.execute(self.service.sites().list())


def http_error(
    status: int,
    content: object,
    *,
    headers: Mapping[str, str] | None = None,
    reason: str = "Reason",
) -> HttpError:
    """An error as googleapiclient raises it."""
    response = httplib2.Response({"status": str(status), **(headers or {})})
    response.reason = reason
    return HttpError(response, _bytes(content), uri="https://api.test/secret?x")


def error_body(
    message: str, reason: str, *, style: str = "errors", domain: str = "global", code: int = 403
) -> dict[str, Any]:
    """Google's error object with the reason in errors[], in details[] or in both."""
    error: dict[str, Any] = {"code": code, "message": message}
    if style in ("errors", "both"):
        error["errors"] = [{"message": message, "domain": domain, "reason": reason}]
    if style in ("details", "both"):
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["status"] = "PERMISSION_DENIED"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
    return {"error": error}


def _answer(reply: Reply) -> tuple[httplib2.Response, bytes]:
    if isinstance(reply, Exception):
        raise reply
    status, content = reply
    return httplib2.Response({"status": str(status)}), _bytes(content)


def _bytes(content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    return content.encode() if isinstance(content, str) else json.dumps(content).encode()
