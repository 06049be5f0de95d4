"""Connections and snapshots over Supabase's REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from models import Connection, SiteId, Snapshot, Window
from storage.errors import DatabaseRefused
from storage.rest_calls import CHECK_URL, PAGE_ROWS, RestCalls, of_other_rows
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

Place = tuple[str, ...]
"""Where a row stands among all that are read, as the database says it."""


class SocialRest(RestCalls):
    """What rest.py's database knows of the social platforms."""

    chunk_snapshots = 2000  # a request of 0.9 MB

    @of_other_rows
    def read_connections(self, *, inactive_too: bool = False) -> list[Connection]:
        """Active connections, in the order of their ids; `inactive_too`: all there are.

        Raises:
            DatabaseError: unreachable, refused, or not our tables.
        """

        def narrow(query: Any) -> Any:
            there = query.not_.is_("id", "null")
            return there if inactive_too else there.is_("is_active", "true")

        rows = self._read_by_id("platform_connections", ",".join(CONNECTION), narrow)
        return [parse_connection(row) for row in rows]

    def read_snapshots(self, window: Window) -> Iterator[Snapshot]:
        """Stored numbers of accounts in the window, day by day."""
        last: Place | None = None
        while page := self._read_snapshots_page(window, last):
            yield from page.values()
            before, last = last, next(reversed(page))
            if before == last:
                raise self._stuck()

    def upsert_snapshots(self, rows: Sequence[Snapshot]) -> None:
        """Write rows, at most `chunk_snapshots`, all or none of them. The table's trigger leaves
        alone what is the same.

        Raises:
            RowsRefused: at least one row breaks a rule. DatabaseError: anything else.
        """
        query = self._client.table("analytics_snapshots").upsert(
            [snapshot_record(row) for row in rows],
            on_conflict=",".join(KEY),
            returning="minimal",  # type: ignore[arg-type]
        )
        if self._send(query.execute).data:  # stored rows come with no words
            raise DatabaseRefused(f"{self._host}: the answer is not PostgREST's", mend=CHECK_URL)

    def replace_connection_token(
        self, connection_id: SiteId, which: Which, old: str, new: str
    ) -> bool:
        """Store `new` in place of `old`; False if the row holds something else by now."""
        values = {"which": which, "old_token": old, "new_token": new}
        return self._whether("replace_connection_token", connection_id, values)

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
        values = {
            "old_access": old_access,
            "new_access": new,
            "expires_at": expires_at.isoformat() if expires_at else None,
            "new_refresh": new_refresh,
        }
        return self._whether("renew_connection_token", connection_id, values)

    def mark_connection(self, connection_id: SiteId, mark: Mapping[str, Any] | None) -> None:
        """Set metadata.needs_reauth, or take it away (None); every other key stays."""
        values = {"connection": str(connection_id), "mark": mark and dict(mark)}
        if self._send(self._client.rpc("mark_connection", values).execute).data:
            raise DatabaseRefused(f"{self._host}: the answer is not PostgREST's", mend=CHECK_URL)

    def _whether(self, function: str, connection_id: SiteId, values: dict[str, Any]) -> bool:
        """What a function says, whose arguments go in the body: servers log URLs."""
        arguments = {"connection": str(connection_id), **values}
        said: Any = self._send(self._client.rpc(function, arguments).execute).data
        if not isinstance(said, bool):
            raise DatabaseRefused(f"{self._host}: the answer is not PostgREST's", mend=CHECK_URL)
        return said

    @of_other_rows
    def _read_snapshots_page(self, window: Window, last: Place | None) -> dict[Place, Snapshot]:
        query: Any = self._client.table("analytics_snapshots").select(",".join(SNAPSHOT))
        query = query.eq("source", SOURCE).is_("post_id", "null")
        for column in NEEDED:
            query = query.not_.is_(column, "null")
        query = query.gte("date", last[0] if last else window.first)
        query = query.lt("date", window.last + timedelta(days=1))  # it may hold moments
        if last:
            query = query.or_(_behind(list(zip(ORDER, last, strict=True))))
        for column in ORDER:
            query = query.order(column)
        rows = self._rows(query.limit(PAGE_ROWS).execute)
        return {tuple(str(row[name]) for name in ORDER): parse_snapshot(row) for row in rows}


def _behind(place: list[tuple[str, str]]) -> str:
    """PostgREST's words for the rows that come behind this one in the order of these columns."""
    (column, value), *rest = place
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    behind = f"{column}.gt.{quoted}"
    return f"{behind},and({column}.eq.{quoted},or({_behind(rest)}))" if rest else behind
