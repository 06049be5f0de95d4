"""Postgres through psycopg: each write is one COPY into a stage and one INSERT … ON CONFLICT."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from models import METRICS, GscAccount, Site, SiteId, StoredDay, Window
from storage.errors import MissingRelation
from storage.retries import with_retries
from storage.rows import Row, parse_account, parse_id, parse_site, read_tolerantly
from storage.runs import COLUMNS as RUN_COLUMNS
from storage.runs import RunRecord, StoredRun, parse_run
from storage.schema import Schema, parse_schema
from storage.social_postgres import SocialPostgres

T = TypeVar("T")

WRITE_LOCK = 7_206_201_120_261_120
"""Advisory lock of everything that writes daily_analytics: two runs at once would otherwise take
their row locks in different orders and dead-lock."""

SNAPSHOT_LOCK = 7_206_201_120_261_122
"""The same of analytics_snapshots."""

LOCKS = {"daily_analytics": WRITE_LOCK, "analytics_snapshots": SNAPSHOT_LOCK}


class PostgresDatabase(SocialPostgres):
    """The user's own Postgres, or the embedded one."""

    chunk_rows = 50_000  # each costs a stage; more bring nothing (bench, upsert)
    transactional = True

    def read_sites(self) -> list[Site]:
        """All deployed sites, in the order of their ids.

        Raises:
            DatabaseError: unreachable, refused, or not our tables.
        """
        query = (
            "select id, domain, matomo_site_id, gsc_account_id{} from public.sites "
            "where status_deployment = 'deployed' order by id"
        )

        def read(with_property: bool) -> list[dict[str, Any]]:
            return self._fetch(query.format(", gsc_property" if with_property else ""))

        return [parse_site(row) for row in read_tolerantly(read)]

    def read_gsc_accounts(self) -> list[GscAccount]:
        """All Search Console accounts with their stored refresh tokens."""
        rows = self._fetch("select id, oauth_refresh_token from public.gsc_accounts order by id")
        return [parse_account(row) for row in rows]

    def add_gsc_account(self, token: str) -> SiteId:
        """Add a row with this stored token and return its id. Tried once: twice might be two rows.

        Raises:
            RowsRefused: the user's table wants more than a token. DatabaseError: anything else.
        """
        query = "insert into public.gsc_accounts (oauth_refresh_token) values (%s) returning id"
        return parse_id(self._fetch(query, (token,), attempts=1)[0]["id"])

    def replace_gsc_token(self, account_id: SiteId, old: str, new: str) -> bool:
        """Store `new` in place of `old`; False if the row holds something else by now."""
        query = (
            "update public.gsc_accounts set oauth_refresh_token = %s "
            "where id::text = %s and coalesce(oauth_refresh_token, '') = %s returning id"
        )
        return bool(self._fetch(query, (new, str(account_id), old)))

    def read_days(
        self, window: Window, site_ids: Sequence[SiteId] = (), *, times: bool = False
    ) -> Iterator[StoredDay]:
        """Stored rows of the window, of these sites or of all; `times`: with updated_at."""
        columns = ", ".join((*METRICS, *(("updated_at",) if times else ())))
        query = (
            f"select date, site_id, {columns} from public.daily_analytics "
            "where date between %s and %s and (%s::text[] is null or site_id::text = any(%s))"
        )
        ids = [str(site_id) for site_id in site_ids] or None
        for row in self._fetch(query, (window.first, window.last, ids, ids)):
            numbers = {metric: row[metric] for metric in METRICS}
            yield StoredDay(parse_id(row["site_id"]), row["date"], numbers, row.get("updated_at"))

    def in_one_transaction(self, work: Callable[[], T], *, table: str = "daily_analytics") -> T:
        """Run `work`, which writes to `table`, in one transaction; the whole of it again after a
        lost connection."""

        def attempt(connection: psycopg.Connection[Any]) -> T:
            with connection.transaction():
                self._guarded(partial(_begin_writing, lock=LOCKS[table]))
                return work()

        # Each statement has its limit, the whole has none: a large backfill takes its time.
        return with_retries(lambda: self._guarded(attempt, seconds=None), self._attempts)

    def upsert_rows(self, metrics: Sequence[str], rows: Sequence[Row]) -> None:
        """Write (day, site id, *numbers) rows of one set of metrics, all or none of them.

        Own columns only, and only rows that differ: `updated_at` moves with a value.

        Raises:
            RowsRefused: at least one row breaks a rule. DatabaseError: anything else.
        """
        names = sql.SQL(", ").join(map(sql.Identifier, ("date", "site_id", *metrics)))
        self._guarded(lambda connection: _upsert(connection, names, metrics, rows))

    def insert_run(self, record: RunRecord) -> SiteId:
        """Add a row to aggregator_runs and return its id. Tried once: twice might be two rows."""
        values = _json_values(record.values())
        query = sql.SQL("insert into public.aggregator_runs ({}) values ({}) returning id").format(
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Placeholder, values)),
        )
        return parse_id(self._fetch(query, values, attempts=1)[0]["id"])

    def update_run(self, run_id: SiteId, record: RunRecord) -> None:
        """Write what became of a run."""
        values = _json_values(record.values())
        pairs = [
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
            for name in values
        ]
        query = sql.SQL("update public.aggregator_runs set {} where id = %(id)s returning id")
        self._fetch(query.format(sql.SQL(", ").join(pairs)), {**values, "id": run_id})

    def read_open_runs(self, job: str) -> list[tuple[SiteId, datetime, dict[str, Any]]]:
        """Runs of a job that never ended: (id, started_at, counts)."""
        query = (
            "select id, started_at, counts from public.aggregator_runs "
            "where job = %s and status = 'running' order by id"
        )
        return [
            (parse_id(row["id"]), row["started_at"], row["counts"] or {})
            for row in self._fetch(query, (job,))
        ]

    def read_runs(
        self,
        last: int,
        *,
        job: str | None = None,
        statuses: Collection[str] = (),
        failures: bool = True,
    ) -> list[StoredRun]:
        """The last runs, newest first: of this job and with one of these statuses, or of all."""
        columns = ", ".join((*RUN_COLUMNS, *(("failures",) if failures else ())))
        wanted = list(statuses) or None
        query = (
            f"select {columns} from public.aggregator_runs "
            "where (%s::text is null or job = %s) and (%s::text[] is null or status = any(%s)) "
            "order by started_at desc, id desc limit %s"
        )
        return [parse_run(row) for row in self._fetch(query, (job, job, wanted, wanted, last))]

    def delete_runs_before(self, moment: datetime) -> None:
        """Forget the runs that began before `moment`."""
        query = "delete from public.aggregator_runs where started_at < %s returning id"
        self._fetch(query, (moment,))

    def read_schema(self) -> Schema | None:
        """What aggregator_schema() says of the tables; None where no migration has made it."""
        try:
            rows = self._fetch("select public.aggregator_schema() as answer")
        except MissingRelation:
            return None
        return parse_schema(rows[0]["answer"])

    def row_cap(self) -> int | None:
        """At how many rows answers are cut: never."""
        return None

    def lacks_columns(self, table: str, columns: Sequence[str]) -> bool:
        """Whether the table, or one of these columns of it, is not there.

        Raises:
            DatabaseError: it cannot be read for another reason.
        """
        query = sql.SQL("select {} from {} limit 0").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier("public", table)
        )
        try:
            self._fetch(query)
        except MissingRelation:
            return True
        return False


def _begin_writing(connection: psycopg.Connection[Any], *, lock: int) -> None:
    connection.execute("select pg_advisory_xact_lock(%s)", (lock,))
    # A deferred one would refuse everything at the end, naming no row.
    connection.execute("set constraints all immediate")


def _upsert(
    connection: psycopg.Connection[Any],
    names: sql.Composed,
    metrics: Sequence[str],
    rows: Sequence[Row],
) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("drop table if exists pg_temp.daily_stage")
        cursor.execute(
            sql.SQL(
                "create temp table daily_stage on commit drop as "
                "select {} from public.daily_analytics with no data"
            ).format(names)
        )
        with cursor.copy(sql.SQL("copy daily_stage ({}) from stdin").format(names)) as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(_insert_from_stage(names, metrics))


def _insert_from_stage(names: sql.Composed, metrics: Sequence[str]) -> sql.Composed:
    insert = sql.SQL(
        "insert into public.daily_analytics as stored ({names}) "
        "select {names} from daily_stage order by date, site_id "
        "on conflict (date, site_id) do "
    ).format(names=names)
    if not metrics:
        return insert + sql.SQL("nothing")
    columns = [sql.Identifier(metric) for metric in metrics]

    def row_of(table: str) -> sql.Composed:
        return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.SQL(table), c) for c in columns)

    return insert + sql.SQL(
        "update set {sets}, updated_at = now() where ({old}) is distinct from ({new})"
    ).format(
        sets=sql.SQL(", ").join(sql.SQL("{c} = excluded.{c}").format(c=c) for c in columns),
        old=row_of("stored"),
        new=row_of("excluded"),
    )


def _json_values(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if isinstance(value, dict | list) else value
        for name, value in values.items()
    }
