"""How the REST API is spoken to over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config import Settings
from db import open_database
from storage.errors import DatabaseUnavailable


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


def make_certificate(folder: Path) -> Path:
    """Key and certificate of localhost in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "localhost.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
