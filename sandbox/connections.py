"""The HTTP side: connections that stay open, answers in one send, and faults in the delivery."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sandbox.faults import Fault
from sandbox.messages import Answer, Request

Answering = Callable[[Request], tuple[Answer, Fault | None]]

STALL_SECONDS = 3600.0
DRIP_SECONDS = 0.2


class Server(ThreadingHTTPServer):
    """A thread for each connection; it hangs up on clients that keep theirs open at the end."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        answer: Answering,
        stopping: threading.Event,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(address, _Handler)
        self.answer = answer
        self.stopping = stopping
        self.clock = clock
        self.clock_ahead_seconds = 0.0
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error of the server's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, writes its answer as well or badly as a fault wants it."""

    server: Server
    protocol_version = "HTTP/1.1"
    # With Nagle's algorithm, or header and body in two sends, each answer takes 40 ms longer.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        request = Request(self.command, self.path, self.headers, self.rfile.read(length))
        answer, fault = self.server.answer(request)
        self._send(answer, fault)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """No access log: GET /sandbox/requests tells more."""

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        now = self.server.clock().timestamp() + self.server.clock_ahead_seconds
        head, body = _head(answer, formatdate(now, usegmt=True)), answer.body
        kind = fault.kind if fault else ""
        self.close_connection |= kind in {"drop", "cut", "stall"}
        match kind:
            case "drop":
                return
            case "cut":
                self.wfile.write(head + body[: len(body) // 2])
            case "stall":
                self.wfile.write(head)
                self._wait(fault, STALL_SECONDS)
            case "drip":
                self.wfile.write(head)
                for byte in body:
                    self._wait(fault, DRIP_SECONDS)
                    self.wfile.write(bytes([byte]))
            case _:
                self.wfile.write(head + body)

    def _wait(self, fault: Fault | None, usual_seconds: float) -> None:
        given = fault.seconds if fault else None
        self.server.stopping.wait(usual_seconds if given is None else given)


def _head(answer: Answer, date: str) -> bytes:
    headers = {
        "Date": date,
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
