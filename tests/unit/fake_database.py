"""A database in memory: it stores, counts how often it is asked, and refuses what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, TypeVar

from db import account_key
from models import (
    METRICS,
    Connection,
    GscAccount,
    Site,
    SiteId,
    Snapshot,
    StoredDay,
    Window,
)
from storage.errors import DatabaseError, RowsRefused
from storage.rows import Row
from storage.runs import RunRecord, StoredRun
from storage.schema import Schema
from storage.social_rows import Which

T = TypeVar("T")
Key = tuple[SiteId, date]
SnapshotKey = tuple[str, str, str, str, date]


def snapshot_key(row: Snapshot) -> SnapshotKey:
    return (*account_key(row), row.metric, row.day)


class FakeDatabase:
    """db.Database, in memory.

    bad_rows and gone_sites, bad_snapshots and gone_users are refused, as a real one does: the whole
    statement for one bad row. inactive: ids of connections. `broken` is raised by every call.
    """

    def __init__(
        self,
        *,
        sites: Sequence[Site] = (),
        accounts: Sequence[GscAccount] = (),
        connections: Sequence[Connection] = (),
        inactive: Collection[SiteId] = (),
        bad_rows: Collection[Key] = (),
        gone_sites: Collection[SiteId] = (),
        bad_snapshots: Collection[SnapshotKey] = (),
        gone_users: Collection[str] = (),
        open_runs: Sequence[tuple[SiteId, datetime, dict[str, Any]]] = (),
        broken: DatabaseError | None = None,
        chunk_rows: int = 5000,
        chunk_snapshots: int = 2000,
        transactional: bool = True,
    ) -> None:
        self.chunk_rows = chunk_rows
        self.chunk_snapshots = chunk_snapshots
        self.transactional = transactional
        self.sites, self.accounts = list(sites), list(accounts)
        self.connections, self.inactive = list(connections), frozenset(inactive)
        self.bad_rows, self.gone_sites = frozenset(bad_rows), frozenset(gone_sites)
        self.bad_snapshots, self.gone_users = frozenset(bad_snapshots), frozenset(gone_users)
        self.open_runs = list(open_runs)
        self.broken = broken
        self.table: dict[Key, dict[str, int | None]] = {}
        self.upserts: list[tuple[tuple[str, ...], list[Row]]] = []
        self.snapshots: dict[SnapshotKey, Snapshot] = {}
        self.snapshot_upserts: list[list[Snapshot]] = []
        self.reads: list[tuple[str, Any]] = []
        self.runs: dict[SiteId, dict[str, Any]] = {}
        self.past_runs: list[StoredRun] = []
        self.updated_at: dict[Key, datetime] = {}
        self.schema: Schema | None = None
        self.lacking: set[str] = set()

    def close(self) -> None:
        pass

    def read_sites(self) -> list[Site]:
        self._ask("sites")
        return self.sites

    def read_gsc_accounts(self) -> list[GscAccount]:
        self._ask("accounts")
        return list(self.accounts)

    def add_gsc_account(self, token: str) -> SiteId:
        self._ask("add_gsc_account")
        account = GscAccount(f"account {len(self.accounts) + 1}", token)
        self.accounts.append(account)
        return account.id

    def replace_gsc_token(self, account_id: SiteId, old: str, new: str) -> bool:
        self._ask("replace_gsc_token", account_id)
        for n, account in enumerate(self.accounts):
            if account == GscAccount(account_id, old):
                self.accounts[n] = GscAccount(account_id, new)
                return True
        return False

    def read_days(
        self, window: Window, site_ids: Sequence[SiteId] = (), *, times: bool = False
    ) -> Iterator[StoredDay]:
        self._ask("days", (window, tuple(site_ids)))
        for (site, day), numbers in sorted(self.table.items(), key=str):
            if window.first <= day <= window.last and (not site_ids or site in site_ids):
                known = {metric: numbers.get(metric) for metric in METRICS}
                yield StoredDay(site, day, known, self.updated_at.get((site, day)))

    def in_one_transaction(self, work: Callable[[], T], *, table: str = "daily_analytics") -> T:
        self._ask("transaction", table)
        return work()

    def upsert_rows(self, metrics: Sequence[str], rows: Sequence[Row]) -> None:
        self._ask("upsert")
        self.upserts.append((tuple(metrics), list(rows)))
        for day, site, *_ in rows:
            if site in self.gone_sites:
                raise RowsRefused(f"site {site} is gone", whole_site=True)
            if (site, day) in self.bad_rows:
                raise RowsRefused(f"row {site} {day} is bad")
        for day, site, *numbers in rows:
            cell = self.table.setdefault((site, day), {})
            cell.update(zip(metrics, numbers, strict=True))

    def read_connections(self, *, inactive_too: bool = False) -> list[Connection]:
        self._ask("connections")
        return [c for c in self.connections if inactive_too or c.id not in self.inactive]

    def read_snapshots(self, window: Window) -> Iterator[Snapshot]:
        self._ask("snapshots", window)
        for row in sorted(self.snapshots.values(), key=lambda row: (row.day, *account_key(row))):
            if window.first <= row.day <= window.last:
                yield row

    def upsert_snapshots(self, rows: Sequence[Snapshot]) -> None:
        self._ask("upsert")
        self.snapshot_upserts.append(list(rows))
        for row in rows:
            if row.user_id in self.gone_users:
                raise RowsRefused(f"user {row.user_id} is gone", whole_user=True)
            if snapshot_key(row) in self.bad_snapshots:
                raise RowsRefused(f"row {row.metric} {row.day} is bad")
        for row in rows:
            self.snapshots[snapshot_key(row)] = row

    def replace_connection_token(
        self, connection_id: SiteId, which: Which, old: str, new: str
    ) -> bool:
        self._ask("replace_connection_token", (connection_id, which))
        name = f"{which}_token"
        for n, connection in enumerate(self.connections):
            if connection.id == connection_id and getattr(connection, name) in (old, new):
                self.connections[n] = (
                    replace(connection, access_token=new)
                    if which == "access"
                    else replace(connection, refresh_token=new)
                )
                return True
        return False

    def renew_connection_token(
        self,
        connection_id: SiteId,
        old_access: str,
        new: str,
        expires_at: datetime | None,
        new_refresh: str | None,
    ) -> bool:
        self._ask("renew_connection_token", connection_id)
        for n, connection in enumerate(self.connections):
            if connection.id == connection_id and connection.access_token in (old_access, new):
                self.connections[n] = replace(
                    connection,
                    access_token=new,
                    refresh_token=new_refresh or connection.refresh_token,
                    token_expires_at=expires_at,
                )
                return True
        return False

    def mark_connection(self, connection_id: SiteId, mark: Mapping[str, Any] | None) -> None:
        self._ask("mark_connection", connection_id)
        for n, connection in enumerate(self.connections):
            if connection.id == connection_id:
                others = {k: v for k, v in connection.metadata.items() if k != "needs_reauth"}
                marked = others if mark is None else {**others, "needs_reauth": dict(mark)}
                self.connections[n] = replace(connection, metadata=marked)

    def insert_run(self, record: RunRecord) -> SiteId:
        self._ask("insert_run")
        run_id = f"run {sum(str(name).startswith('run') for name in self.runs) + 1}"
        self.runs[run_id] = record.values()
        return run_id

    def update_run(self, run_id: SiteId, record: RunRecord) -> None:
        self._ask("update_run")
        self.runs.setdefault(run_id, {}).update(record.values())

    def read_open_runs(self, job: str) -> list[tuple[SiteId, datetime, dict[str, Any]]]:
        self._ask("open_runs", job)
        return self.open_runs

    def read_runs(
        self,
        last: int,
        *,
        job: str | None = None,
        statuses: Collection[str] = (),
        failures: bool = True,
    ) -> list[StoredRun]:
        """`past_runs`, which a test fills, newest first."""
        self._ask("runs", job)
        found = (
            run
            for run in self.past_runs
            if job in (None, run.job) and (not statuses or run.status in statuses)
        )
        return list(found)[:last]

    def delete_runs_before(self, moment: datetime) -> None:
        self._ask("delete_runs", moment)
        self.past_runs = [run for run in self.past_runs if run.started_at >= moment]

    def read_schema(self) -> Schema | None:
        self._ask("schema")
        return self.schema

    def row_cap(self) -> int | None:
        self._ask("row_cap")
        return None

    def lacks_columns(self, table: str, columns: Sequence[str]) -> bool:
        self._ask("columns", table)
        return bool(self.lacking & {table, *(f"{table}.{column}" for column in columns)})

    def _ask(self, what: str, how: Any = None) -> None:
        if what != "upsert":
            self.reads.append((what, how))
        if self.broken is not None:
            raise self.broken
