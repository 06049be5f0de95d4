"""The server and the databases of the hourly cases: generated events, and the rollup of them.

A server of their own: 20 million events deserve more than the 128 MB of shared_buffers that a new
cluster has. Both sides of every comparison run in it. All hourly cases of one process share it, so
that the events are made once; BENCH_HOURLY_DIR=DIR keeps it for the next process.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.hourly_events import EVENTS, Shape, load_events
from bench.results import CouldNotRun
from bench.runs import Bench, launch
from bench.servers import Postgres
from config import HOME
from storage.embedded import EmbeddedPostgres
from storage.migrations import apply_pending, find_migrations

SETTINGS = {
    "shared_buffers": "2GB",
    "effective_cache_size": "8GB",
    "maintenance_work_mem": "256MB",
    "random_page_cost": "1.1",  # as on Supabase
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
}
"""work_mem, jit and the rest are Postgres's own."""

MIGRATIONS = HOME / "supabase" / "migrations"
RAW, ROLLED_UP = "hourly_raw", "hourly_rolled_up"


@cache
def hourly_server() -> Postgres:
    """The server of all hourly cases, stopped when the process ends."""
    stack = ExitStack()
    server = stack.enter_context(_running_server())
    atexit.register(stack.close)  # now: before the temporary directory's own end
    return server


def database_with_events(name: str) -> str:
    """A new database with the generated events and the migrations; returns its DATABASE_URL.

    As for somebody who comes with a table full of events: the events are there first.
    """
    server = hourly_server()
    _make_once(server, RAW, str(EVENTS), lambda: _load_raw(server))
    drop_database(name)
    _create(server, name, template=RAW)
    list(apply_pending(server.url(name), MIGRATIONS))
    return server.url(name)


def rolled_up_database(bench: Bench) -> str:
    """The database in which `hourly --all` ran, made unless an earlier case did."""
    server = hourly_server()
    _make_once(server, ROLLED_UP, _rollup_label(), lambda: roll_up(bench))
    return server.url(ROLLED_UP)


def roll_up(bench: Bench) -> None:
    """The initial backfill without a clock."""
    run_hourly(bench, database_with_events(ROLLED_UP), "--all")


def keep_rolled_up() -> None:
    """Say that ROLLED_UP holds what it should: other cases may take it."""
    _label(hourly_server(), ROLLED_UP, _rollup_label())


def run_hourly(bench: Bench, url: str, *arguments: str) -> dict[str, float]:
    """`aggregator.py hourly`, from the start of its process to its end."""
    command = [str(bench.program / "aggregator.py"), "-q", "hourly", *arguments]
    return launch(command, {"DATABASE_URL": url})


def migrated_database(name: str) -> str:
    """A new database with the migrations alone."""
    drop_database(name)
    _create(hourly_server(), name)
    list(apply_pending(hourly_server().url(name), MIGRATIONS))
    return hourly_server().url(name)


def drop_database(name: str) -> None:
    with _administrator(hourly_server()) as connection:
        query = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        connection.execute(query)


def at_rest(url: str) -> None:
    """What earlier steps wrote reaches the disk before the next one is timed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("checkpoint")


@contextmanager
def _running_server() -> Iterator[Postgres]:
    with ExitStack() as stack:
        kept = os.environ.get("BENCH_HOURLY_DIR")
        folder = Path(
            kept or stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-hourly-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # root's server runs as another user, who must get through
        server = EmbeddedPostgres(folder / "data", SETTINGS)
        stack.callback(server.stop)
        directory = str(conninfo_to_dict(server.start())["host"])
        pid = int((server.location / "postmaster.pid").read_text().split("\n", 1)[0])
        yield Postgres(directory, pid)


def _load_raw(server: Postgres) -> None:
    drop_database(RAW)
    _create(server, RAW)
    load_events(server.url(RAW), Shape())


def _make_once(server: Postgres, name: str, label: str, make: Callable[[], None]) -> None:
    """A database is labelled when it is complete; one with another label is made anew."""
    with _administrator(server) as connection:
        query = "select shobj_description(oid, 'pg_database') from pg_database where datname = %s"
        row = connection.execute(query, [name]).fetchone()
    if row != (label,):
        make()
        _label(server, name, label)


def _label(server: Postgres, name: str, label: str) -> None:
    with _administrator(server) as connection:
        query = sql.SQL("comment on database {} is {}")
        connection.execute(query.format(sql.Identifier(name), sql.Literal(label)))


def _rollup_label() -> str:
    """Changes with every migration."""
    digest = hashlib.sha256()
    for migration in find_migrations(MIGRATIONS):
        digest.update(migration.path.read_bytes())
    return f"{EVENTS} {digest.hexdigest()[:12]}"


def _create(server: Postgres, name: str, template: str = "template0") -> None:
    with _administrator(server) as connection:
        query = sql.SQL("create database {} template {} strategy file_copy")
        connection.execute(query.format(sql.Identifier(name), sql.Identifier(template)))


def _administrator(server: Postgres) -> psycopg.Connection[tuple[object, ...]]:
    try:
        return psycopg.connect(server.url(), autocommit=True)
    except psycopg.OperationalError as error:
        raise CouldNotRun(f"the hourly cases' server does not answer: {error}") from None
