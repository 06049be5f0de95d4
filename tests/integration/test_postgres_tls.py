"""A real Postgres with and without TLS, at an address that is not one of this machine's own names.

0.0.0.0 leads to this machine on every Linux, whatever interfaces it has, and is no loopback
address: to the program it is a host like any other.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import Settings
from db import open_database
from storage.errors import DatabaseRefused
from storage.migrations import apply_pending, read_status
from storage.postgres_calls import connect
from tests.integration.tables import MIGRATIONS, execute, rows
from tests.services.certificates import make_certificate
from tests.services.postgres import PostgresServer, folder_for_sockets
from tests.services.postgres_install import identity

ELSEWHERE = "0.0.0.0"
HOST = "db.example"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    """Of db.example, for a server that may run as another user."""
    folder = Path(tempfile.mkdtemp(prefix="tls-", dir=folder_for_sockets()))
    folder.chmod(0o755)
    path = make_certificate(folder, HOST)
    if "user" in (server := identity()):
        os.chown(path, server["user"], server["group"])
    yield path
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[PostgresServer]:
    """A Postgres of these tests' own (the embedded 18 is built without TLS)."""
    with PostgresServer(17, tcp=True) as running:
        for setting in ("ssl_cert_file", "ssl_key_file"):
            execute(running.url(), f"alter system set {setting} = '{certificate}'")
        yield running


def switch_tls(server: PostgresServer, state: str) -> None:
    execute(server.url(), f"alter system set ssl = {state}")
    execute(server.url(), "select pg_reload_conf()")
    give_up_at = time.monotonic() + 10
    while rows(server.url(), "show ssl") != [(state,)]:  # a new connection, with the new settings
        assert time.monotonic() < give_up_at, server.log()


@pytest.fixture
def with_tls(server: PostgresServer) -> PostgresServer:
    switch_tls(server, "on")
    return server


@pytest.fixture
def without_tls(server: PostgresServer) -> PostgresServer:
    switch_tls(server, "off")
    return server


def elsewhere(server: PostgresServer, parameters: str = "") -> str:
    return server.url(tcp=True).replace("127.0.0.1", ELSEWHERE) + parameters


def encrypted(conninfo: str) -> bool:
    with connect(conninfo) as connection:
        row = connection.execute(
            "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return bool(row[0])


def refusal(conninfo: str) -> DatabaseRefused:
    """What a run says of a database that it cannot use; it is not tried again."""
    settings = Settings(database_url=conninfo, http_attempts=3)
    with open_database(settings) as database, pytest.raises(DatabaseRefused) as caught:
        database.read_sites()
    return caught.value


def test_a_server_with_tls_is_used_encrypted_where_nothing_is_said(
    with_tls: PostgresServer,
) -> None:
    assert encrypted(elsewhere(with_tls))


def test_a_server_without_tls_is_refused_with_what_mends_it(without_tls: PostgresServer) -> None:
    error = refusal(elsewhere(without_tls))
    assert "server does not support SSL" in error.message
    assert "switch TLS on at the server" in error.mend
    assert "sslmode=disable" in error.mend


def test_migrate_is_held_to_the_same(without_tls: PostgresServer) -> None:
    conninfo = elsewhere(without_tls)
    for attempt in (
        lambda: list(apply_pending(conninfo, MIGRATIONS)),
        lambda: read_status(conninfo, MIGRATIONS),
    ):
        with pytest.raises(DatabaseRefused, match="server does not support SSL"):
            attempt()


@pytest.mark.parametrize("mode", ["disable", "prefer", "allow"])
def test_who_trusts_the_network_may_say_so(mode: str, without_tls: PostgresServer) -> None:
    assert not encrypted(elsewhere(without_tls, f"?sslmode={mode}"))


def test_on_this_machine_plain_text_is_fine(without_tls: PostgresServer) -> None:
    assert not encrypted(without_tls.url(tcp=True))
    assert not encrypted(without_tls.url())


def verified(server: PostgresServer, host: str, certificate: Path) -> str:
    """Asks for verify-full of a host whose address is given, so that no name is looked up."""
    conninfo = elsewhere(server).replace(f"@{ELSEWHERE}", f"@{host}")
    return f"{conninfo}?hostaddr={ELSEWHERE}&sslmode=verify-full&sslrootcert={certificate}"


def test_verify_full_takes_the_right_server(with_tls: PostgresServer, certificate: Path) -> None:
    assert encrypted(verified(with_tls, HOST, certificate))


def test_verify_full_refuses_another_hosts_certificate(
    with_tls: PostgresServer, certificate: Path
) -> None:
    error = refusal(verified(with_tls, "other.example", certificate))
    assert 'does not match host name "other.example"' in error.message
    assert "who answers at that address" in error.mend


def test_verify_full_refuses_an_authority_that_is_not_ours(
    with_tls: PostgresServer, tmp_path: Path
) -> None:
    error = refusal(verified(with_tls, HOST, make_certificate(tmp_path, HOST)))
    assert "certificate verify failed" in error.message
    assert "who answers at that address" in error.mend


def test_a_certificate_file_that_is_missing_is_named(
    with_tls: PostgresServer, tmp_path: Path
) -> None:
    error = refusal(verified(with_tls, HOST, tmp_path / "none.crt"))
    assert "none.crt" in error.message
    assert "sslrootcert" in error.mend


def test_nothing_of_ours_goes_in_plain_text_to_one_who_says_there_is_no_tls() -> None:
    """Whoever stands between can say so; what they get is the question, no name, no password."""
    with says_no_to_tls() as (port, received):
        error = refusal(f"postgresql://someone:sentinel@{ELSEWHERE}:{port}/database")
    assert "server does not support SSL" in error.message
    assert bytes(received) == SSL_REQUEST


@contextmanager
def says_no_to_tls() -> Iterator[tuple[int, bytearray]]:
    """Takes one connection, answers the first question with no, and keeps all that was sent."""
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                received.extend(connection.recv(8))
                connection.sendall(b"N")
                while more := connection.recv(1024):
                    received.extend(more)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], received
        thread.join(5)
