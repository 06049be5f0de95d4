"""Connections and snapshots in Postgres."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from models import Connection, SiteId, Snapshot, Window
from storage.postgres_calls import PostgresCalls
from storage.social_rows import (
    CONNECTION,
    KEY,
    NEEDED,
    ORDER,
    SNAPSHOT,
    SOURCE,
    Which,
    parse_connection,
    parse_snapshot,
    snapshot_record,
)

STAGED = ("user_id", "platform", "metric", "value", "date", "account_id", "metadata")


class SocialPostgres(PostgresCalls):
    """What postgres.py's database knows of the social platforms."""

    chunk_snapshots = 20_000

    def read_connections(self, *, inactive_too: bool = False) -> list[Connection]:
        """Active connections, in the order of their ids; `inactive_too`: all there are.

        Raises:
            DatabaseError: unreachable, refused, or not our tables.
        """
        query = (
            f"select {', '.join(CONNECTION)} from public.platform_connections "
            "where id is not null and (is_active is true or %s) order by id"
        )
        return [parse_connection(row) for row in self._fetch(query, (inactive_too,))]

    def read_snapshots(self, window: Window) -> Iterator[Snapshot]:
        """Stored numbers of accounts in the window, day by day."""
        query = (
            f"select {', '.join(SNAPSHOT)} from public.analytics_snapshots "
            "where date >= %s and date < %s and source = %s and post_id is null "
            f"and {' and '.join(f'{column} is not null' for column in NEEDED)} "
            f"order by {', '.join(ORDER)}"
        )
        for day in window:  # a window may be a year: it is not held in memory at once
            values = (day, day + timedelta(days=1), SOURCE)
            yield from map(parse_snapshot, self._fetch(query, values))

    def upsert_snapshots(self, rows: Sequence[Snapshot]) -> None:
        """Write rows, all or none of them. The table's trigger leaves alone what is the same.

        Raises:
            RowsRefused: at least one row breaks a rule. DatabaseError: anything else.
        """
        self._guarded(lambda connection: _upsert(connection, rows))

    def replace_connection_token(
        self, connection_id: SiteId, which: Which, old: str, new: str
    ) -> bool:
        """Store `new` in place of `old`; False if the row holds something else by now."""
        query = "select public.replace_connection_token(%s, %s, %s, %s) as done"
        return bool(self._fetch(query, (str(connection_id), which, old, new))[0]["done"])

    def renew_connection_token(
        self,
        connection_id: SiteId,
        old_access: str,
        new: str,
        expires_at: datetime | None,
        new_refresh: str | None,
    ) -> bool:
        """Store a new access token and when it ends (None: not known), and a new refresh token
        where there is one; False if the row holds another access token by now."""
        query = "select public.renew_connection_token(%s, %s, %s, %s, %s) as done"
        values = (str(connection_id), old_access, new, expires_at, new_refresh)
        return bool(self._fetch(query, values)[0]["done"])

    def mark_connection(self, connection_id: SiteId, mark: Mapping[str, Any] | None) -> None:
        """Set metadata.needs_reauth, or take it away (None); every other key stays."""
        text = None if mark is None else json.dumps(mark)
        query = "select public.mark_connection(%s, %s::jsonb) as done"
        self._fetch(query, (str(connection_id), text))


def _upsert(connection: psycopg.Connection[Any], rows: Sequence[Snapshot]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, STAGED))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("drop table if exists pg_temp.snapshot_stage")
        cursor.execute(
            sql.SQL(
                "create temp table snapshot_stage on commit drop as "
                "select {} from public.analytics_snapshots with no data"
            ).format(names)
        )
        with cursor.copy(sql.SQL("copy snapshot_stage ({}) from stdin").format(names)) as copy:
            for row in rows:
                record = snapshot_record(row)
                record["metadata"] = json.dumps(record["metadata"])
                copy.write_row([record[name] for name in STAGED])
        cursor.execute(_insert_from_stage(names))


def _insert_from_stage(names: sql.Composed) -> sql.Composed:
    # The order of storage/social_rows.py, sorted_once: as Python compares.
    return sql.SQL(
        "insert into public.analytics_snapshots ({names}, source, post_id) "
        "select {names}, {source}, null from snapshot_stage "
        'order by user_id::text collate "C", platform::text collate "C", '
        'account_id collate "C", metric::text collate "C", date '
        "on conflict ({key}) do update set value = excluded.value, metadata = excluded.metadata"
    ).format(
        names=names,
        source=sql.Literal(SOURCE),
        key=sql.SQL(", ").join(map(sql.Identifier, KEY)),
    )
