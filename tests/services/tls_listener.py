"""An HTTPS server that notes what reaches it once its certificate was believed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Listener:
    """`asked`: connections that began; `received`: what came over those that were encrypted."""

    port: int
    asked: int = 0
    received: bytearray = field(default_factory=bytearray)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


@contextmanager
def tls_listener(certificate: Path) -> Iterator[Listener]:
    """Serves with key and certificate of this file on localhost; answers 503 to everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server.getsockname()[1])

        def serve(plain: socket.socket) -> None:
            # A client that does not believe the certificate hangs up.
            with contextlib.suppress(OSError), context.wrap_socket(plain, True) as connection:
                if request := connection.recv(65536):
                    listener.received += request
                    connection.sendall(ANSWER)

        def accept() -> None:
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    plain = server.accept()[0]
                    plain.settimeout(10)
                    listener.asked += 1
                    threading.Thread(target=serve, args=(plain,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener
        server.shutdown(socket.SHUT_RDWR)
