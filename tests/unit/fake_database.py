"""A database in memory: it stores, counts how often it is asked, and refuses what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from models import METRICS, GscAccount, Site, SiteId, StoredDay, Window
from storage.errors import DatabaseError, RowsRefused
from storage.rows import Row
from storage.runs import RunRecord, StoredRun
from storage.schema import Schema

T = TypeVar("T")
Key = tuple[SiteId, date]


class FakeDatabase:
    """db.Database, in memory.

    bad_rows and gone_sites are refused, as a real one does: the whole statement for one bad row.
    `broken` is raised by every call.
    """

    def __init__(
        self,
        *,
        sites: Sequence[Site] = (),
        accounts: Sequence[GscAccount] = (),
        bad_rows: Collection[Key] = (),
        gone_sites: Collection[SiteId] = (),
        open_runs: Sequence[tuple[SiteId, datetime, dict[str, Any]]] = (),
        broken: DatabaseError | None = None,
        chunk_rows: int = 5000,
        transactional: bool = True,
    ) -> None:
        self.chunk_rows = chunk_rows
        self.transactional = transactional
        self.sites, self.accounts = list(sites), list(accounts)
        self.bad_rows, self.gone_sites = frozenset(bad_rows), frozenset(gone_sites)
        self.open_runs = list(open_runs)
        self.broken = broken
        self.table: dict[Key, dict[str, int | None]] = {}
        self.upserts: list[tuple[tuple[str, ...], list[Row]]] = []
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

    def in_one_transaction(self, work: Callable[[], T]) -> T:
        self._ask("transaction")
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
