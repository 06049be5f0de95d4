"""Where data rests: one face for Supabase's REST API and for Postgres.

The only rule that both must keep: a number that was not fetched is never written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from config import HOME, Settings
from models import METRICS, GscAccount, Master, Site, SiteId, StoredDay, Window
from storage.errors import DatabaseError, RowsRefused
from storage.rows import Row
from storage.runs import RunRecord, StoredRun
from storage.schema import Schema

if TYPE_CHECKING:
    from storage.rollup import Rollup
    from storage.visit_log import VisitLog

T = TypeVar("T")

EMBEDDED = "embedded:"


class Database(Protocol):
    """What every database here can do. Methods raise DatabaseError (storage/errors.py).

    chunk_rows: how many rows one `upsert_rows` should get at most. transactional: whether
    `in_one_transaction` takes everything back when its work fails.
    """

    chunk_rows: int
    transactional: bool

    def close(self) -> None: ...
    def read_sites(self) -> list[Site]: ...
    def read_gsc_accounts(self) -> list[GscAccount]: ...
    def add_gsc_account(self, token: str) -> SiteId: ...
    def replace_gsc_token(self, account_id: SiteId, old: str, new: str) -> bool: ...
    def read_days(
        self, window: Window, site_ids: Sequence[SiteId] = (), *, times: bool = False
    ) -> Iterator[StoredDay]: ...
    def in_one_transaction(self, work: Callable[[], T]) -> T: ...
    def upsert_rows(self, metrics: Sequence[str], rows: Sequence[Row]) -> None: ...
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
            for start in range(0, len(rows), database.chunk_rows):
                chunk = rows[start : start + database.chunk_rows]
                if stored.gave_up is not None:
                    stored.refuse(chunk, stored.gave_up)
                else:
                    _store_chunk(database, metrics, chunk, stored)
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


def _store_chunk(
    database: Database, metrics: Sequence[str], rows: Sequence[Row], stored: Stored
) -> None:
    """Store rows all at once; where some are refused, halve until those are alone.

    Rows are sorted by site, and halved between sites first: a deleted site's rows go together.
    """
    try:
        database.upsert_rows(metrics, rows)
        stored.rows += len(rows)
    except RowsRefused as error:
        sites = list(dict.fromkeys(row[1] for row in rows))
        if len(sites) == 1 and (len(rows) == 1 or error.whole_site):
            stored.refuse(rows, error)
            return
        if len(sites) > 1:
            first_half = set(sites[: len(sites) // 2])
            middle = sum(row[1] in first_half for row in rows)
        else:
            middle = len(rows) // 2
        _store_chunk(database, metrics, rows[:middle], stored)
        _store_chunk(database, metrics, rows[middle:], stored)
    except DatabaseError as error:
        if database.transactional or not stored.rows:
            raise
        stored.refuse(rows, error)  # what earlier requests stored stays stored
        stored.gave_up = error
