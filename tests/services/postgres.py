"""A throw-away Postgres server of a given major version, for root and for everyone else."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from tests.services.postgres_install import environment, identity, postgres_home

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
PORT_ATTEMPTS = 5
ROOMY_BYTES = 2 << 30
LONGEST_FOLDER = 60

# A crash may lose everything here, so nothing waits for a disk.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "wal_recycle": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer:
    """One cluster in its own temporary folder, running from construction until `stop`.

    Listens on a unix socket that only this user can reach and, when `tcp` is asked for, on a free
    port of 127.0.0.1 with a password. `log_statements` writes every statement to `log()`. `home`
    holds another installation of that version than the one that comes with the tests.
    """

    def __init__(
        self,
        major: int = 18,
        *,
        tcp: bool = False,
        log_statements: bool = False,
        home: Path | None = None,
    ) -> None:
        self.major = major
        self._identity = identity()
        self._password = secrets.token_urlsafe(16)
        self._tcp = tcp
        self._port = 5432
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir=folder_for_sockets()))
        self._process: subprocess.Popen[bytes] | None = None
        self._log_statements = log_statements
        try:
            self._home = home or postgres_home(major)
            self._initialise()
            self._start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str = "postgres", *, tcp: bool = False) -> str:
        """Connection string of the superuser `postgres`, over the unix socket or over 127.0.0.1."""
        name = quote(database, safe="")
        if not tcp:
            place = urlencode({"host": str(self._folder), "port": self._port})
            return f"postgresql://postgres@/{name}?{place}"
        if not self._tcp:
            raise ValueError("this server was started without tcp=True")
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/{name}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Creates a database as a copy of `template` and returns its connection string."""
        statement = sql.SQL("create database {} template {} strategy file_copy")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, ending the sessions that are still in it."""
        self._execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )

    def settings(self) -> dict[str, str]:
        """What the server is started with, by the names of postgresql.conf."""
        return SETTINGS | {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self._port),
            "unix_socket_directories": str(self._folder),
            "log_statement": "all" if self._log_statements else "none",
        }

    def log(self) -> str:
        """Everything the server has written to its log so far."""
        return (self._folder / "log").read_text(errors="replace")

    def restart(self) -> None:
        """Ends the server, with every session, and starts it again with the same databases."""
        self._end()
        self._start()

    def stop(self) -> None:
        """Ends the server and removes its folder; a second call does nothing."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(STOP_TIMEOUT_SECONDS)
        self._process = None

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _initialise(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if "user" in self._identity:
            os.chown(password_file, self._identity["user"], self._identity["group"])
            os.chown(self._folder, self._identity["user"], self._identity["group"])
        done = subprocess.run(
            [
                self._home / "bin" / "initdb",
                f"--pgdata={self._folder / 'data'}",
                "--username=postgres",
                f"--pwfile={password_file}",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=environment(),
            **self._identity,
        )
        if done.returncode:
            raise RuntimeError(
                f"initdb of Postgres {self.major} failed:\n{done.stdout}{done.stderr}"
            )

    def _start(self) -> None:
        # Between finding a free port and listening on it another program can take it.
        for attempt in range(PORT_ATTEMPTS):
            if self._tcp:
                self._port = _free_port()
            try:
                self._start_once()
            except RuntimeError as error:
                if attempt == PORT_ATTEMPTS - 1 or "Address already in use" not in str(error):
                    raise
            else:
                return

    def _start_once(self) -> None:
        options = [
            option
            for name, value in self.settings().items()
            for option in ("-c", f"{name}={value}")
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._home / "bin" / "postgres", "-D", self._folder / "data", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                **self._identity,
            )
        self._wait_until_it_answers(self._process)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > give_up_at:
                    message = f"Postgres {self.major} did not start ({error}):\n{self.log()}"
                    raise RuntimeError(message) from error
                time.sleep(0.02)
            else:
                return


def folder_for_sockets() -> Path:
    """Where servers live: in memory if there is plenty, else in the temporary folder.

    In memory a new database takes 10 ms, not 200. A unix socket's path ends at 107 bytes, and
    root's server runs as another user, who must get through.
    """
    for folder in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        if (
            folder.is_dir()
            and os.access(folder, os.W_OK)
            and shutil.disk_usage(folder).free >= ROOMY_BYTES
            and len(str(folder)) <= LONGEST_FOLDER
            and (os.geteuid() != 0 or _everyone_may_pass(folder))
        ):
            return folder
    return Path("/tmp")


def _everyone_may_pass(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in [folder, *folder.parents])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
