"""What a client notices of Supabase's gateway, in front of a PostgREST, with faults on demand.

It serves PostgREST's `/…` as `/rest/v1/…`, asks for a known `apikey` header, and breaks single
requests for a test:

    gateway.faults.append(Fault(Answer(503, {"message": "upstream timeout"}), times=2))
    gateway.faults.append(Fault("drop_after", when=lambda request: request.method == "POST"))
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

PREFIX = "/rest/v1"
UPSTREAM_TIMEOUT_SECONDS = 60
HOP_BY_HOP = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
}

NO_KEY = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
UNKNOWN_KEY = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}


@dataclass(frozen=True)
class Request:
    """One request as the client sent it: `path` without the query, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the client gets. A `body` that is not text is sent as JSON."""

    status: int
    body: object = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


# drop: close without forwarding.  cut: forward, close in the middle of the answer's body.
# drop_after: forward, then close without answering: the write is done and the client cannot know.
Action = Answer | Literal["drop", "cut", "drop_after"]


@dataclass
class Fault:
    """Does `action` instead of answering the next `times` matching requests (None: all of them)."""

    action: Action
    when: Callable[[Request], bool] = lambda request: True
    times: int | None = 1


class Gateway:
    """Listens on a free port of 127.0.0.1, forwards to a PostgREST on a unix socket, until `stop`.

    `keys` maps each known `apikey` to the JWT that it stands for (a legacy key stands for itself).
    """

    def __init__(self, upstream: Path, keys: Mapping[str, str]) -> None:
        self.upstream = upstream
        self.keys = keys
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The project's base URL, as SUPABASE_URL holds it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take_fault(self, request: Request) -> Action | None:
        """Notes the request; returns the action of the first fault that matches, used up by one."""
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.when(request):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self.faults.remove(fault)
                    return fault.action
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away in mid-answer is not worth a traceback in a test's output.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one piece, else Nagle's algorithm and a delayed ACK cost 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        request = self._read()
        action = self.server.gateway.take_fault(request)
        if isinstance(action, Answer):
            self._send(action)
        elif action == "drop":
            self._close()
        else:
            answer = self._answer(request)
            if action == "drop_after":
                self._close()
            elif action == "cut":
                self._send(answer, cut=True)
                self._close()
            else:
                self._send(answer)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_OPTIONS = _serve

    def _read(self) -> Request:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        return Request(self.command, path, query, headers, body)

    def _answer(self, request: Request) -> Answer:
        key = request.headers.get("apikey")
        if not key:
            return Answer(401, NO_KEY)
        if key not in self.server.gateway.keys:
            return Answer(401, UNKNOWN_KEY)
        if not request.path.startswith(f"{PREFIX}/"):
            return Answer(404, {"message": "no Route matched with those values"})
        return self._forward(request, self.server.gateway.keys[key])

    def _forward(self, request: Request, token: str) -> Answer:
        target = request.path.removeprefix(PREFIX) + (f"?{request.query}" if request.query else "")
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        # An opaque key (sb_secret_…) is no JWT: the gateway sends the one it stands for.
        if headers.get("authorization") in (None, f"Bearer {headers['apikey']}"):
            headers["authorization"] = f"Bearer {token}"
        # A connection each: PostgREST closes an idle one, and one that carried a HEAD.
        with contextlib.closing(_UnixConnection(self.server.gateway.upstream)) as upstream:
            upstream.request(request.method, target, request.body, headers)
            response = upstream.getresponse()
            body = response.read()
        kept = {n: value for n, value in response.getheaders() if n.lower() not in HOP_BY_HOP}
        if request.method == "HEAD" and (length := response.getheader("Content-Length")):
            kept["Content-Length"] = length
        return Answer(response.status, body, kept)

    def _send(self, answer: Answer, *, cut: bool = False) -> None:
        body = answer.encoded()
        headers = {"Date": self.date_time_string(), **answer.headers}
        if not isinstance(answer.body, str | bytes):
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
        if self.command != "HEAD" and answer.status != http.HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(body))
        self.send_response_only(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()

    def _close(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=UPSTREAM_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(UPSTREAM_TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))
