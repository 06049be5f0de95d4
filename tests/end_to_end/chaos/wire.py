"""A wire to a Postgres server that can be cut, closed or slow: a TCP proxy.

It counts what the client sends, one message a network send: a statement, a commit, a COPY. So "cut
between statements" is a number and comes at the same place each time.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

BUFFER = 1 << 16

Trouble = Literal["refused", "cut", "cut_after", "slow"]


@dataclass
class WireFault:
    """From the at-th client message on, `times` of them meet it (refused: connections).

    cut: the message never arrives. cut_after: it does, and its answer never comes back.
    """

    trouble: Trouble
    at: int = 1
    times: int = 1
    seconds: float = 0.02
    met: int = 0
    seen: int = 0

    def falls_now(self) -> bool:
        self.seen += 1
        falls = self.at <= self.seen < self.at + self.times
        self.met += falls
        return falls


class Wire:
    """Listens on a free port of 127.0.0.1 and hands on to `port`, until `stop`."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._fault: WireFault | None = None
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, fault: WireFault | None) -> None:
        with self._lock:
            self._fault = fault

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _meets(self, *troubles: Trouble) -> WireFault | None:
        with self._lock:
            fault = self._fault
            return fault if fault and fault.trouble in troubles and fault.falls_now() else None

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._meets("refused"):
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(BUFFER):
                fault = self._meets("cut", "cut_after", "slow")
                if fault and fault.trouble == "slow":
                    time.sleep(fault.seconds)
                if fault and fault.trouble == "cut":
                    break
                if fault and fault.trouble == "cut_after":
                    _hang_up(client)  # first, or the answer may be faster
                    server.sendall(data)
                    server.settimeout(1)
                    server.recv(BUFFER)  # done, as far as the server is concerned
                    break
                server.sendall(data)
        _hang_up(client)
        _hang_up(server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(BUFFER):
                client.sendall(data)
        _hang_up(client)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
