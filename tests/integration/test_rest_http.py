"""How the REST API is spoken to over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Settings
from db import open_database
from storage.errors import DatabaseUnavailable
from tests.services.certificates import make_certificate


def test_http_2_is_not_spoken_with_a_server_that_offers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept HTTP/2 connections that the server has closed are supabase-py's top complaint."""
    chosen: list[str | None] = []
    with tls_server(tmp_path, chosen) as (port, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        settings = Settings(
            supabase_url=f"https://localhost:{port}", supabase_service_key="key", http_attempts=1
        )
        with open_database(settings) as database, pytest.raises(DatabaseUnavailable):
            database.read_sites()
    assert chosen == ["http/1.1"]


@contextlib.contextmanager
def tls_server(folder: Path, chosen: list[str | None]) -> Iterator[tuple[int, Path]]:
    """Takes one connection, notes which protocol the client chose, and hangs up."""
    certificate = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as plain, context.wrap_socket(plain, True) as connection:
                chosen.append(connection.selected_alpn_protocol())
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], certificate
        thread.join()
