"""Users of an embedded Postgres in this process and in others, and what is seen of its server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.embedded import EmbeddedPostgres
from tests.integration.tables import execute

HOME = Path(__file__).parents[2]

# With a second argument: as `nobody`, who finds Postgres there.
USER = """
import os, sys
from pathlib import Path
import psycopg, pwd, fcntl, subprocess, importlib.metadata, importlib.util
from storage.embedded import EmbeddedPostgres
if len(sys.argv) > 2:
    sys.path.insert(0, sys.argv[2])  # where this user finds Postgres
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def running(directory: Path, **more: dict[str, str]) -> Iterator[str]:
    server = EmbeddedPostgres(directory, **more)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def user_in_another_process(
    directory: Path, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that uses the server of a directory until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(directory), *arguments],
        cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def server_pid(directory: Path) -> int | None:
    """The running server's process; None without one."""
    file = directory / "postmaster.pid"
    return int(file.read_text().splitlines()[0]) if file.exists() else None


def wait_until_gone(pid: int) -> None:
    give_up_at = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def write_something(url: str) -> None:
    execute(url, "create table kept as select 42 as n")
