"""A health check and a webhook: an HTTP server that keeps what it is told."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

CHECK = "/ping/5f0c0d3e-sentinel-check"
HOOK = "/services/T000/B000/sentinel-hook"


@dataclass
class Receiver:
    """Answers every POST with `status` and `answer`; where its path ends with `slow`, after
    `seconds`."""

    status: int = 200
    answer: bytes = b"OK"
    seconds: float = 0.0
    slow: str = ""
    location: str = ""
    got: list[tuple[str, str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                receiver.got.append((self.path, self.headers.get("Content-Type", ""), body))
                time.sleep(receiver.seconds if self.path.endswith(receiver.slow) else 0)
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self) -> dict[str, str]:
        """The variables that make the program tell this receiver."""
        return {"HEALTHCHECK_URL": self.url + CHECK, "ALERT_WEBHOOK_URL": self.url + HOOK}

    def pings(self) -> list[tuple[str, str]]:
        """(what, body) of each ping so far, forgotten then; what is "" for the bare address."""
        return [(path[len(CHECK) :], body) for path, _, body in self._take(CHECK)]

    def messages(self) -> list[str]:
        """The text of each message so far, forgotten then."""
        sent: list[dict[str, Any]] = [json.loads(body) for _, _, body in self._take(HOOK)]
        assert all(message.keys() == {"text"} for message in sent)
        return [message["text"] for message in sent]

    def _take(self, prefix: str) -> list[tuple[str, str, str]]:
        taken = [each for each in self.got if each[0].startswith(prefix)]
        self.got[:] = [each for each in self.got if each not in taken]
        return taken
