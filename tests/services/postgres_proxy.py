"""A TCP proxy before a Postgres server that counts statements and does something at one of them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

ENCRYPTION_REQUESTS = (80877103, 80877104)
"""SSLRequest and GSSENCRequest: the server answers them with one byte, and startup follows."""

COUNTED = b"QPdc"
"""Query, Parse, CopyData (the first of a COPY), CopyDone: what a client asks for. The rest only
goes with these."""

ENDS = {b"P": b"S"}
"""A Parse is answered once the Sync after it has come."""

Cut = Literal["before", "after"]


class PostgresProxy:
    """Passes connections on to the server of `url`, counting the statements of all of them.

    `url` of the proxy is the server's with another port. texts: the beginning of each statement.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        host = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = urlunsplit(parts._replace(netloc=host))
        self.texts: list[str] = []
        self._number = 0
        self._cut: Cut | None = None
        self._call: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def at(
        self, number: int, cut: Cut | None = None, call: Callable[[], None] | None = None
    ) -> None:
        """Count anew; at that statement (from 1; 0: at none) cut its connection, before it is sent
        or once the server has answered it and the client does not know; `call` comes first."""
        with self._lock:
            self.texts.clear()
            self._number, self._cut, self._call = number, cut, call

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                _Connection(self, client, socket.create_connection(self._server)).start()

    def due(self, message: bytes) -> tuple[Cut | None, Callable[[], None] | None]:
        """Count a statement; what is to be done at it."""
        with self._lock:
            self.texts.append(message[5:85].strip(b"\0 \n").decode(errors="replace"))
            is_due = len(self.texts) == self._number
            return (self._cut, self._call) if is_due else (None, None)


class _Connection:
    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._swallows = False
        self._copies = False

    def start(self) -> None:
        for task in (self._asking, self._answering):
            threading.Thread(target=self._run, args=(task,), daemon=True).start()

    def _run(self, task: Callable[[], None]) -> None:
        with suppress(OSError):
            task()
        for each in (self._client, self._server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            if task == self._answering:
                each.close()

    def _answering(self) -> None:
        while data := self._server.recv(65536):
            if self._swallows:
                return
            self._client.sendall(data)

    def _asking(self) -> None:
        buffer = self._start_up()
        ending = b""
        while True:
            while (length := _length(buffer)) is not None:
                message, buffer = buffer[:length], buffer[length:]
                kind = message[:1]
                is_more, self._copies = self._copies and kind == b"d", kind == b"d"
                if kind in COUNTED and not (ending or is_more):
                    cut, call = self._proxy.due(message)
                    if call is not None:
                        call()
                    if cut == "before":
                        return
                    if cut == "after":
                        self._swallows = kind != b"d"
                        ending = ENDS.get(kind, kind)
                self._server.sendall(message)
                if ending == kind:
                    if self._swallows:
                        self._client.recv(65536)  # until the answer has come and both are cut
                    return
            if not (data := self._client.recv(65536)):
                return
            buffer += data

    def _start_up(self) -> bytes:
        """Pass on what has no type; what came after it is returned."""
        buffer = b""
        while True:
            while len(buffer) < 8 or len(buffer) < struct.unpack(">I", buffer[:4])[0]:
                if not (data := self._client.recv(65536)):
                    raise ConnectionError
                buffer += data
            length, code = struct.unpack(">II", buffer[:8])
            self._server.sendall(buffer[:length])
            buffer = buffer[length:]
            if code not in ENCRYPTION_REQUESTS:
                return buffer


def _length(buffer: bytes) -> int | None:
    """Bytes of the typed message at the beginning, None while it is not whole."""
    if len(buffer) < 5:
        return None
    length = 1 + int(struct.unpack(">I", buffer[1:5])[0])
    return length if len(buffer) >= length else None
