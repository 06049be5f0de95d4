"""Applies supabase/migrations/ over Postgres and records it exactly as the Supabase CLI does.

Either tool can then take over from the other (shared facts/supabase.md, Supabase CLI).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from storage.errors import DatabaseError, DatabaseRefused
from storage.postgres_calls import connect, sort_error
from storage.sql_statements import split_statements

LOCK = 7_206_201_120_261_121
"""Advisory lock: two migrate commands at once apply each file once."""

HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key
);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file `<14 digits>_<name>.sql`."""

    version: str
    name: str
    path: Path

    def statements(self) -> list[str]:
        return split_statements(self.path.read_text(encoding="utf-8"))


def find_migrations(directory: Path) -> list[Migration]:
    """The migration files, oldest first."""
    return [
        Migration(match[1], match[2], path)
        for path in sorted(directory.glob("*.sql"))
        if (match := re.fullmatch(r"([0-9]{14})_(.+)\.sql", path.name))
    ]


def read_applied(connection: psycopg.Connection[Any]) -> set[str]:
    """Versions recorded in the history; none where there is no history yet."""
    row = connection.execute(
        "select to_regclass('supabase_migrations.schema_migrations')"
    ).fetchone()
    if row is None or row[0] is None:
        return set()
    rows = connection.execute("select version from supabase_migrations.schema_migrations")
    return {version for (version,) in rows}


def apply_pending(conninfo: str, directory: Path) -> Iterator[Migration]:
    """Apply each pending file in its own transaction, in order; yields it when it is done.

    Raises:
        DatabaseError: naming the file; it and all later ones are not applied, earlier ones are.
    """
    try:
        with connect(conninfo) as connection:
            connection.execute("select pg_advisory_lock(%s)", (LOCK,))
            applied = read_applied(connection)
            for migration in find_migrations(directory):
                if migration.version not in applied:
                    _apply(connection, migration)
                    yield migration
    except psycopg.Error as error:
        raise sort_error(error) from None


def read_status(conninfo: str, directory: Path) -> list[tuple[Migration, bool]]:
    """Each file and whether it is applied. Changes nothing.

    Raises:
        DatabaseError: the database is unreachable or refuses.
    """
    try:
        with connect(conninfo) as connection:
            applied = read_applied(connection)
    except psycopg.Error as error:
        raise sort_error(error) from None
    return [(m, m.version in applied) for m in find_migrations(directory)]


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    statements = migration.statements()
    try:
        with connection.transaction():
            connection.execute(HISTORY)
            for statement in statements:
                connection.execute(statement.encode())
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name, statements) "
                "values (%s, %s, %s)",
                (migration.version, migration.name, statements),
            )
    except psycopg.Error as error:
        reason: DatabaseError = sort_error(error)
        raise DatabaseRefused(
            f"{migration.path.name} was not applied: {reason.message}",
            mend="nothing of this file is in the database; mend the reason and run migrate again",
        ) from None
