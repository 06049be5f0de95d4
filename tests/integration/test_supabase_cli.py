"""`aggregator.py migrate` and the real Supabase CLI record the same, so either can take over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from storage.migrations import apply_pending
from storage.sql_statements import split_statements
from tests.integration.tables import MIGRATIONS, migrate, rows
from tests.services import supabase_cli
from tests.services.postgres import PostgresServer

NASTY = Path(__file__).parents[1] / "responses" / "nasty.sql"

HISTORY = "select version, name, statements from supabase_migrations.schema_migrations order by 1"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder as the CLI wants it, with our migrations in it."""
    shutil.copytree(MIGRATIONS, tmp_path / "supabase" / "migrations")
    return tmp_path


@pytest.fixture
def other_url(postgres: PostgresServer) -> Iterator[str]:
    """A second empty database, for the CLI."""
    yield postgres.create_database("by_the_cli")
    postgres.drop_database("by_the_cli")


def over_tcp(postgres: PostgresServer, url: str) -> str:
    return postgres.url(urlsplit(url).path.removeprefix("/"), tcp=True)


def test_both_record_the_same_history_to_the_letter(
    project: Path, postgres: PostgresServer, database_url: str, other_url: str
) -> None:
    migrate(database_url)
    done = supabase_cli.push(project, over_tcp(postgres, other_url))
    assert done.returncode == 0, done.stderr
    ours, theirs = rows(database_url, HISTORY), rows(other_url, HISTORY)
    assert len(ours) == len(list(MIGRATIONS.glob("*.sql")))
    assert ours == theirs


def test_the_cli_finds_nothing_pending_after_migrate(
    project: Path, postgres: PostgresServer, database_url: str
) -> None:
    migrate(database_url)
    address = over_tcp(postgres, database_url)
    assert supabase_cli.pending(project, address) == []
    (project / "supabase/migrations/20270101000000_later.sql").write_text("select 1;\n")
    assert supabase_cli.pending(project, address) == ["20270101000000_later.sql"]
    assert supabase_cli.push(project, address).returncode == 0
    assert list(apply_pending(database_url, project / "supabase" / "migrations")) == []


def test_migrate_finds_nothing_pending_after_the_cli(
    project: Path, postgres: PostgresServer, database_url: str
) -> None:
    assert supabase_cli.push(project, over_tcp(postgres, database_url)).returncode == 0
    assert list(apply_pending(database_url, MIGRATIONS)) == []
    later = project / "supabase" / "migrations" / "20270101000000_later.sql"
    later.write_text("create table later (n int);\n")
    assert [m.name for m in apply_pending(database_url, later.parent)] == ["later"]
    assert supabase_cli.pending(project, over_tcp(postgres, database_url)) == []


def test_statements_are_split_as_the_cli_splits_them(
    tmp_path: Path, postgres: PostgresServer, database_url: str, other_url: str
) -> None:
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    shutil.copy(NASTY, folder / "20260101000000_nasty.sql")
    done = supabase_cli.push(tmp_path, over_tcp(postgres, other_url))
    assert done.returncode == 0, done.stderr
    [(_, _, statements)] = rows(other_url, HISTORY)
    assert split_statements(NASTY.read_text()) == statements
    assert [m.name for m in apply_pending(database_url, folder)] == ["nasty"]
    assert rows(database_url, HISTORY) == rows(other_url, HISTORY)
