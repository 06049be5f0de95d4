"""Fixtures that start real servers, and which tests cannot run here.

With pytest-xdist each worker starts its own servers.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.tables import migrate
from tests.services.postgres import PostgresServer
from tests.services.postgres_cron import INSTALL, pg_cron_home

_numbers = itertools.count(1)
_left_out = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)  # after -k and -m: counted are the tests that were asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the tests of pg_cron out where it is not installed; in CI they fail and say so."""
    if os.environ.get("CI") == "true" or pg_cron_home():
        return
    without = [item for item in items if not item.get_closest_marker("pg_cron")]
    left_out = [item for item in items if item.get_closest_marker("pg_cron")]
    if left_out:
        items[:] = without
        config.hook.pytest_deselected(items=left_out)
        _note(config, len(left_out))


def _note(config: pytest.Config, left_out: int) -> None:
    config.stash[_left_out] = left_out
    if hasattr(config, "workeroutput"):  # of pytest-xdist: only the controller has a summary
        config.workeroutput["pg_cron_left_out"] = left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each worker of pytest-xdist left out the same tests."""
    if left_out := getattr(node, "workeroutput", {}).get("pg_cron_left_out"):
        node.config.stash[_left_out] = left_out


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Says what could not run here."""
    if left_out := config.stash.get(_left_out, 0):
        tests = "1 test" if left_out == 1 else f"{left_out} tests"
        terminalreporter.write_line(f"not run here: {tests} of pg_cron; {INSTALL}", yellow=True)


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
