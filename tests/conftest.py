"""Fixtures that start real servers. With pytest-xdist each worker starts its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.integration.tables import migrate
from tests.services.postgres import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A Postgres 18 on a unix socket and on TCP, shared by the tests of one worker."""
    with PostgresServer(18, tcp=True) as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database of this test's own."""
    name = f"test_{next(_numbers)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """Name of a database with the program's tables, to make others from."""
    migrate(postgres.create_database("migrated"))
    return "migrated"


@pytest.fixture
def migrated_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database of this test's own with the program's empty tables (ids are uuids)."""
    name = f"test_{next(_numbers)}"
    yield postgres.create_database(name, template=migrated_template)
    postgres.drop_database(name)
