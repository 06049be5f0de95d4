"""Where a browser on this machine brings Google's answer: one request to a port of 127.0.0.1."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from fetchers.errors import FetchError, Temporary
from fetchers.google_consent import AGAIN, NotTheAnswer

RECEIVED = "The answer has arrived; what came of it stands in the terminal. Close this page."
NOT_THIS = "This is not the answer that was asked for."

Read = Callable[[str], str]
"""The code in the target of a request; raises NotTheAnswer, or another FetchError to end it."""


class Loopback:
    """Listens from entering the `with` block on; `redirect_uri` holds from creation on.

    Threads of its own, since browsers open connections that they never send anything over.
    """

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self.redirect_uri = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def wait(self, read: Read, seconds: float, ready: Callable[[], None]) -> str:
        """The first code that `read` finds; requests that are not the answer are let pass.

        Calls `ready` once requests are answered.

        Raises:
            Temporary: none came within so many seconds. FetchError: as `read`.
        """
        self._server.read = read
        self._thread.start()
        ready()
        try:
            found = self._server.found.get(timeout=seconds)
        except queue.Empty:
            raise Temporary(
                f"no answer came from the browser within {seconds / 60:.0f} minutes", mend=AGAIN
            ) from None
        if isinstance(found, FetchError):
            raise found
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    read: Read

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.found: queue.Queue[str | FetchError] = queue.Queue()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that left is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30

    def do_GET(self) -> None:
        try:
            found: str | FetchError = self.server.read(self.path)
        except NotTheAnswer:
            self._say(404, NOT_THIS)
            return
        except FetchError as error:
            found = error
        with suppress(OSError):
            self._say(200, RECEIVED)
        self.server.found.put(found)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the request holds the code."""

    def _say(self, status: int, text: str) -> None:
        """Nothing of the request is repeated, and the page keeps its address to itself."""
        body = f"<!DOCTYPE html><title>analytics-aggregator</title><p>{text}</p>\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)
