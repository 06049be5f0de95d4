from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.embedded import EmbeddedPostgres
from tests.integration.databases import IDS, KINDS, TABLES_OF_A_USER, OpenStore, Store, open_store
from tests.services.authorities import one_authority
from tests.services.postgres import PostgresServer, folder_for_sockets
from tests.services.postgres_cron import CronServer
from tests.services.postgrest import PostgrestServer


@pytest.fixture
def postgrest(database_url: str) -> Iterator[PostgrestServer]:
    """PostgREST over this test's own database; it starts in a tenth of a second."""
    with PostgrestServer(database_url) as server:
        yield server


@pytest.fixture
def quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once: how long the waits are is tested elsewhere."""
    monkeypatch.setattr("retrying.BACKOFF_SECONDS", 0.01)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A new folder that the embedded server's user can get to; pytest's own are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="aa-", dir=folder_for_sockets()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded() -> Iterator[Path]:
    """The directory of an embedded Postgres that runs for all tests of one worker."""
    folder = Path(tempfile.mkdtemp(prefix="aa-", dir=folder_for_sockets()))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "data")
    server.start()
    yield folder / "data"
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def open_a_store(postgres: PostgresServer, embedded: Path) -> Iterator[OpenStore]:
    """Opens databases by kind, with the arguments of databases.open_store."""
    with one_authority(), ExitStack() as stack:
        yield lambda kind, **more: stack.enter_context(open_store(kind, postgres, embedded, **more))


@pytest.fixture(params=[f"{kind}-{ids}" for kind in KINDS for ids in IDS])
def store(request: pytest.FixtureRequest, open_a_store: OpenStore) -> Store:
    """Each kind of database, with our own tables and with a user's, whose ids are integers."""
    kind, ids = request.param.split("-")
    return open_a_store(kind, before=TABLES_OF_A_USER if ids == "integer" else "")


@pytest.fixture(params=KINDS)
def store_of_ours(request: pytest.FixtureRequest, open_a_store: OpenStore) -> Store:
    """Each kind of database, with our own tables."""
    return open_a_store(request.param)


@pytest.fixture
def rest(open_a_store: OpenStore, quick_tries: None) -> Store:
    """Supabase's REST API alone, which tries again at once."""
    return open_a_store("rest")


@pytest.fixture
def over_psycopg(open_a_store: OpenStore, quick_tries: None) -> Store:
    """Postgres over TCP alone, which tries again at once."""
    return open_a_store("postgres", attempts=4)


@pytest.fixture(scope="session")
def cron_server() -> Iterator[CronServer]:
    """Debian's PostgreSQL with pg_cron; tests that use it have the marks of test_pg_cron.py."""
    with CronServer() as server:
        yield server


@pytest.fixture
def cron_database(cron_server: CronServer) -> str:
    """The only database in which pg_cron schedules, empty; the extension is not yet in it.

    `cron_server.run_job` has a job run at once, and restarts the server: open a connection after.
    """
    return cron_server.fresh_database()
