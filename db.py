"""Where data rests: one face for Supabase's REST API and for Postgres.

The only rule that both must keep: a number that was not fetched is never written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from config import HOME, Settings
from models import (
    METRICS,
    Connection,
    GscAccount,
    Master,
    Site,
    SiteId,
    Snapshot,
    StoredDay,
    Window,
)
from storage.chunks import store_in_chunks
from storage.errors import DatabaseError
from storage.rows import Row
from storage.runs import RunRecord, StoredRun
from storage.schema import Schema
from storage.social_rows import Which, sorted_once

if TYPE_CHECKING:
    from storage.rollup import Rollup
    from storage.visit_log import VisitLog

T = TypeVar("T")

EMBEDDED = "embedded:"


class Database(Protocol):
    """What every database here can do. Methods raise DatabaseError (storage/errors.py).

    chunk_rows: how many rows one `upsert_rows` should get at most; chunk_snapshots: the same of
    `upsert_snapshots`. transactional: whether `in_one_transaction` takes everything back when its
    work fails.
    """

    chunk_rows: int
    chunk_snapshots: int
    transactional: bool

    def close(self) -> None: ...
    def read_sites(self) -> list[Site]: ...
    def read_gsc_accounts(self) -> list[GscAccount]: ...
    def add_gsc_account(self, token: str) -> SiteId: ...
    def replace_gsc_token(self, account_id: SiteId, old: str, new: str) -> bool: ...
    def read_days(
        self, window: Window, site_ids: Sequence[SiteId] = (), *, times: bool = False
    ) -> Iterator[StoredDay]: ...
    def in_one_transaction(self, work: Callable[[], T], *, table: str = ...) -> T: ...
    def upsert_rows(self, metrics: Sequence[str], rows: Sequence[Row]) -> None: ...
    def read_connections(self, *, inactive_too: bool = False) -> list[Connection]: ...
    def read_snapshots(self, window: Window) -> Iterator[Snapshot]: ...
    def upsert_snapshots(self, rows: Sequence[Snapshot]) -> None: ...
    def replace_connection_token(
        self, connection_id: SiteId, which: Which, old: str, new: str
    ) -> bool: ...
    def renew_connection_token(
        self,
        connection_id: SiteId,
        old_access: str,
        new: str,
        expires_at: datetime | None,
        new_refresh: str | None,
    ) -> bool: ...
    def mark_connection(self, connection_id: SiteId, mark: Mapping[str, Any] | None) -> None: ...
    def insert_run(self, record: RunRecord) -> SiteId: ...
    def update_run(self, run_id: SiteId, record: RunRecord) -> None: ...
    def read_open_runs(self, job: str) -> list[tuple[SiteId, datetime, dict[str, Any]]]: ...
    def read_runs(
        self,
        last: int,
        *,
        job: str | None = None,
        statuses: Collection[str] = (),
        failures: bool = True,
    ) -> list[StoredRun]: ...
    def delete_runs_before(self, moment: datetime) -> None: ...
    def read_schema(self) -> Schema | None: ...
    def row_cap(self) -> int | None: ...
    def lacks_columns(self, table: str, columns: Sequence[str]) -> bool: ...


@dataclass(slots=True)
class Stored:
    """What became of an upsert: rows written, and per site the days not written, with why."""

    rows: int = 0
    refused: list[tuple[SiteId, tuple[date, ...], DatabaseError]] = field(default_factory=list)
    gave_up: DatabaseError | None = None

    def refuse(self, rows: Sequence[Row], error: DatabaseError) -> None:
        days: dict[SiteId, list[date]] = defaultdict(list)
        for row in rows:
            days[row[1]].append(row[0])
        self.refused += [(site_id, tuple(of_site), error) for site_id, of_site in days.items()]


AccountKey = tuple[str, str, str]
"""(user_id, platform, account_id)."""


@dataclass(slots=True)
class StoredSnapshots:
    """What became of an upsert: rows as the table has them now (those that were the same count
    too), and per account the days of rows not written, with why."""

    rows: int = 0
    refused: list[tuple[AccountKey, tuple[date, ...], DatabaseError]] = field(default_factory=list)
    gave_up: DatabaseError | None = None

    def refuse(self, rows: Sequence[Snapshot], error: DatabaseError) -> None:
        days: dict[AccountKey, set[date]] = defaultdict(set)
        for row in rows:
            days[account_key(row)].add(row.day)
        self.refused += [(key, tuple(sorted(found)), error) for key, found in days.items()]


def account_key(row: Snapshot) -> AccountKey:
    """Whose row it is."""
    return (row.user_id, row.platform, row.account_id)


@contextmanager
def open_database(settings: Settings, *, rest: bool = True) -> Iterator[Database]:
    """The database the settings name: Supabase's REST API if set, else DATABASE_URL.

    `rest=False` asks for Postgres itself, for what REST cannot do.
    An embedded server is started here and stopped at the end.
    """
    if rest and settings.supabase_url:
        from storage.rest import SupabaseDatabase

        key = settings.supabase_service_key or ""
        database: Database = SupabaseDatabase(
            settings.supabase_url,
            key,
            attempts=settings.http_attempts,
            timeout_seconds=settings.http_timeout_seconds,
        )
        try:
            yield database
        finally:
            database.close()
        return
    from storage.postgres import PostgresDatabase

    with postgres_url(settings) as conninfo:
        database = PostgresDatabase(conninfo, settings.http_attempts)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def open_visit_log(settings: Settings) -> Iterator[tuple[Database, VisitLog]]:
    """Postgres for the visit log, which REST cannot do, and for the history of its runs."""
    from storage.postgres import PostgresDatabase
    from storage.visit_log import VisitLog

    with (
        postgres_url(settings) as conninfo,
        closing(PostgresDatabase(conninfo, settings.http_attempts)) as database,
        closing(VisitLog(conninfo, settings.http_attempts)) as visit_log,
    ):
        yield database, visit_log


@contextmanager
def open_rollups(settings: Settings, connections: int) -> Iterator[tuple[Database, list[Rollup]]]:
    """Postgres for the hourly rollup, several times over, and for the history of its runs."""
    from storage.postgres import PostgresDatabase
    from storage.rollup import Rollup

    with ExitStack() as stack:
        conninfo = stack.enter_context(postgres_url(settings))
        attempts = settings.http_attempts
        database = stack.enter_context(closing(PostgresDatabase(conninfo, attempts)))
        yield (
            database,
            [stack.enter_context(closing(Rollup(conninfo, attempts))) for _ in range(connections)],
        )


@contextmanager
def postgres_url(settings: Settings) -> Iterator[str]:
    """DATABASE_URL as a connection string; starts the embedded server where it names one."""
    url = settings.database_url or ""
    if not url.startswith(EMBEDDED):
        yield url
        return
    from storage.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(HOME / Path(url.removeprefix(EMBEDDED)).expanduser())
    try:
        yield server.start()
    finally:
        server.stop()


def upsert_daily_analytics(
    database: Database, master: Master, rows_wanted: Mapping[SiteId, Collection[date]]
) -> Stored:
    """Write what `master` knows of the wanted rows; each has a row afterwards, known or not.

    Rows are grouped by the set of metrics that is known, and each group writes its own columns
    only: a failed source cannot touch a stored number. A refused row is found by halving and
    named; all others are stored.

    Raises:
        DatabaseError: the database is unavailable or refuses everything, and nothing is stored.
    """
    groups = group_rows(master, rows_wanted)

    def store() -> Stored:
        stored = Stored()
        for metrics, rows in groups.items():
            store_in_chunks(
                rows,
                database.chunk_rows,
                partial(database.upsert_rows, metrics),
                _site_of,
                stored,
                transactional=database.transactional,
            )
        return stored

    return database.in_one_transaction(store)


def group_rows(
    master: Master, rows_wanted: Mapping[SiteId, Collection[date]]
) -> dict[tuple[str, ...], list[Row]]:
    """(day, site id, *numbers) rows by the metrics they hold, in an order that is always the same.

    Two runs that write the same rows then lock them in the same order.
    """
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for site_id in sorted(rows_wanted, key=str):
        known = master.get(site_id, {})
        for day in sorted(rows_wanted[site_id]):
            numbers = known.get(day, {})
            metrics = tuple(metric for metric in METRICS if metric in numbers)
            groups[metrics].append((day, site_id, *(numbers[m] for m in metrics)))
    return groups


def _site_of(row: Row) -> SiteId:
    return row[1]


def store_snapshots(database: Database, rows: Iterable[Snapshot]) -> StoredSnapshots:
    """Write snapshots; of several with one key the last. A refused row is found by halving and
    named; all others are stored.

    Raises:
        DatabaseError: the database is unavailable or refuses everything, and nothing is stored.
    """
    in_order = sorted_once(rows)

    def store() -> StoredSnapshots:
        stored = StoredSnapshots()
        store_in_chunks(
            in_order,
            database.chunk_snapshots,
            database.upsert_snapshots,
            account_key,
            stored,
            transactional=database.transactional,
        )
        return stored

    if not in_order:
        return StoredSnapshots()
    return database.in_one_transaction(store, table="analytics_snapshots")
