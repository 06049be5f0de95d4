"""What the program under measurement talks to: a Postgres that stays up, and the sandbox."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.results import CouldNotRun
from config import HOME
from sandbox import World, seed
from storage.embedded import EmbeddedPostgres
from storage.migrations import apply_pending


@dataclass(frozen=True, slots=True)
class Postgres:
    """An embedded server with its usual settings: what is committed has reached the disk."""

    socket_directory: str
    pid: int

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={quote(self.socket_directory)}&port=5432"

    def new_database(self, name: str) -> str:
        """A migrated database of a case's own; returns its DATABASE_URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            statement = sql.SQL("create database {}").format(sql.Identifier(name))
            connection.execute(statement)
        list(apply_pending(self.url(name), HOME / "supabase" / "migrations"))
        return self.url(name)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server in a temporary directory, gone with its data at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-postgres-") as folder:
        Path(folder).chmod(0o711)  # root's server runs as another user, who must get through
        server = EmbeddedPostgres(Path(folder) / "data")
        try:
            directory = str(conninfo_to_dict(server.start())["host"])
            pid = int((server.location / "postmaster.pid").read_text().split("\n", 1)[0])
            yield Postgres(directory, pid)
        finally:
            server.stop()


@dataclass(frozen=True, slots=True)
class Api:
    """A sandbox in a process of its own. `environment` points the program at it."""

    world: World
    latency_seconds: float
    pid: int
    environment: dict[str, str]

    def count_requests(self) -> int:
        """API requests answered since it started."""
        address = f"{self.environment['GOOGLE_API_ENDPOINT']}/sandbox/requests"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return int(json.load(answer)["total"])


@contextmanager
def running_sandbox(world: World, latency_seconds: float) -> Iterator[Api]:
    """The sandbox over a world without exceptions, on a free port."""
    command = [sys.executable, "-m", "sandbox", "--port", "0"]
    command += ["--sites", str(world.sites), "--accounts", str(world.accounts)]
    command += ["--latency", str(latency_seconds), "--time-zones", ",".join(world.time_zones)]
    if world.visits_per_day is not None:
        command += ["--visits-per-day", str(world.visits_per_day)]
    if world.actions_per_visit is not None:
        command += ["--actions-per-visit", str(world.actions_per_visit)]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, text=True) as process:
        try:
            environment: dict[str, str] = {}
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("READY "):
                    break
                name, _, value = line.strip().partition("=")
                environment[name] = value
            else:
                raise CouldNotRun("the sandbox ended before it was ready")
            yield Api(world, latency_seconds, process.pid, environment)
        finally:
            process.send_signal(signal.SIGTERM)


def fill(url: str, world: World, *, with_property: bool = False) -> None:
    """Store the world's sites and accounts. `with_property` names each site's property."""
    accounts, sites = seed.rows(world)
    if with_property:
        for number, site in zip(world.site_numbers, sites, strict=True):
            site["gsc_property"] = world.property_of(number)
    with psycopg.connect(url) as connection:
        for table, rows in (("gsc_accounts", accounts), ("sites", sites)):
            _copy(connection, table, rows)


def empty(url: str) -> None:
    """Forget all numbers, and let the disk come to rest."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate public.daily_analytics")
        connection.execute("checkpoint")


def _copy(
    connection: psycopg.Connection[tuple[object, ...]],
    table: str,
    rows: Sequence[dict[str, object]],
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    query = sql.SQL("copy public.{} ({}) from stdin").format(sql.Identifier(table), names)
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in rows:
            copy.write_row(list(row.values()))
