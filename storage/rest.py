"""Supabase's REST API (PostgREST) through supabase-py.

The traps that this file steps around are listed in shared facts/supabase.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from postgrest import CountMethod

from models import METRICS, GscAccount, Site, SiteId, StoredDay, Window
from storage.errors import DatabaseRefused, MissingRelation
from storage.rest_calls import CHECK_URL, PAGE_ROWS, of_other_rows
from storage.rows import Row, parse_account, parse_id, parse_site, read_tolerantly
from storage.runs import COLUMNS as RUN_COLUMNS
from storage.runs import RunRecord, StoredRun, parse_run
from storage.schema import Schema, parse_schema
from storage.social_rest import SocialRest

T = TypeVar("T")

IDS_IN_A_URL = 100
CAP_LOOKED_FOR = 10_001
"""Rows asked for to see where a server cuts: 200 kB at most."""


class SupabaseDatabase(SocialRest):
    """The user's Supabase project, reached with its service key."""

    chunk_rows = 5000  # a request of 0.5 MB that takes 0.1 s
    transactional = False

    @of_other_rows
    def read_sites(self) -> list[Site]:
        """All deployed sites, in the order of their ids.

        Raises:
            DatabaseError: unreachable, refused, or not our tables.
        """
        columns = "id,domain,matomo_site_id,gsc_account_id"

        def read(with_property: bool) -> list[dict[str, Any]]:
            named = f"{columns},gsc_property" if with_property else columns
            return self._read_by_id("sites", named, _deployed)

        return [parse_site(row) for row in read_tolerantly(read)]

    @of_other_rows
    def read_gsc_accounts(self) -> list[GscAccount]:
        """All Search Console accounts with their stored refresh tokens."""
        rows = self._read_by_id("gsc_accounts", "id,oauth_refresh_token", lambda query: query)
        return [parse_account(row) for row in rows]

    @of_other_rows
    def add_gsc_account(self, token: str) -> SiteId:
        """Add a row with this stored token and return its id. Tried once: twice might be two rows.

        Raises:
            RowsRefused: the user's table wants more than a token. DatabaseError: anything else.
        """
        query = self._client.table("gsc_accounts").insert({"oauth_refresh_token": token})
        return parse_id(self._rows(query.execute, attempts=1)[0]["id"])

    def replace_gsc_token(self, account_id: SiteId, old: str, new: str) -> bool:
        """Store `new` in place of `old`; False if the row holds something else by now.

        Through a function: a filter would put the old token into the URL, which the server logs.
        """
        values = {"account": str(account_id), "old_token": old, "new_token": new}
        replaced: Any = self._send(self._client.rpc("replace_gsc_token", values).execute).data
        if not isinstance(replaced, bool):
            raise DatabaseRefused(f"{self._host}: the answer is not PostgREST's", mend=CHECK_URL)
        return replaced

    def read_days(
        self, window: Window, site_ids: Sequence[SiteId] = (), *, times: bool = False
    ) -> Iterator[StoredDay]:
        """Stored rows of the window, of these sites or of all; `times`: with updated_at."""
        columns = ("date", "site_id", *METRICS, *(("updated_at",) if times else ()))
        # Ids go into the URL, which servers cut at 8 kB: of many sites all rows are read instead.
        few = site_ids if len(site_ids) <= IDS_IN_A_URL else ()
        wanted = {str(site_id) for site_id in site_ids}
        after: tuple[date, SiteId] | None = None
        while page := self._read_days_page(",".join(columns), window, few, after):
            yield from (row for row in page if few or not wanted or str(row.site_id) in wanted)
            before, after = after, (page[-1].day, page[-1].site_id)
            if before == after:
                raise self._stuck()

    def in_one_transaction(self, work: Callable[[], T], *, table: str = "daily_analytics") -> T:
        """REST has no transactions over requests: each request is one, and tried again alone."""
        return work()

    def upsert_rows(self, metrics: Sequence[str], rows: Sequence[Row]) -> None:
        """Write (day, site id, *numbers) rows of one set of metrics, at most `chunk_rows` of them.

        All rows of a request have the same keys: supabase-py fills a missing key with NULL, which
        would overwrite a stored number.

        Raises:
            RowsRefused: at least one row breaks a rule; none is stored. DatabaseError: else.
        """
        names = ("date", "site_id", *metrics)
        records = [dict(zip(names, (str(row[0]), *row[1:]), strict=True)) for row in rows]
        query = self._client.table("daily_analytics").upsert(
            records,
            on_conflict="date,site_id",
            returning="minimal",  # type: ignore[arg-type]
            ignore_duplicates=not metrics,
        )
        answer = self._send(query.execute)
        if answer.data:  # return=minimal: rows that are stored come with no words
            raise DatabaseRefused(f"{self._host}: the answer is not PostgREST's", mend=CHECK_URL)

    @of_other_rows
    def insert_run(self, record: RunRecord) -> SiteId:
        """Add a row to aggregator_runs and return its id. Tried once: twice might be two rows."""
        query = self._client.table("aggregator_runs").insert(_json_values(record))
        return parse_id(self._rows(query.execute, attempts=1)[0]["id"])

    def update_run(self, run_id: SiteId, record: RunRecord) -> None:
        """Write what became of a run."""
        query = self._client.table("aggregator_runs").update(_json_values(record))
        self._rows(query.eq("id", run_id).execute)  # a page of HTML with status 200 is no success

    @of_other_rows
    def read_open_runs(self, job: str) -> list[tuple[SiteId, datetime, dict[str, Any]]]:
        """Runs of a job that never ended: (id, started_at, counts)."""
        rows = self._read_by_id(
            "aggregator_runs",
            "id,started_at,counts",
            lambda query: query.eq("job", job).eq("status", "running"),
        )
        return [
            (parse_id(row["id"]), datetime.fromisoformat(row["started_at"]), row["counts"] or {})
            for row in rows
        ]

    @of_other_rows
    def read_runs(
        self,
        last: int,
        *,
        job: str | None = None,
        statuses: Collection[str] = (),
        failures: bool = True,
    ) -> list[StoredRun]:
        """The last runs, newest first: of this job and with one of these statuses, or of all."""
        columns = ",".join((*RUN_COLUMNS, *(("failures",) if failures else ())))
        runs: list[StoredRun] = []
        while len(runs) < last:
            query: Any = self._client.table("aggregator_runs").select(columns)
            if job is not None:
                query = query.eq("job", job)
            if statuses:
                query = query.in_("status", list(statuses))
            query = query.order("started_at", desc=True).order("id", desc=True)
            page = self._rows(query.range(len(runs), last - 1).execute)
            if not page:
                break
            runs += map(parse_run, page)
        return runs

    def delete_runs_before(self, moment: datetime) -> None:
        """Forget the runs that began before `moment`."""
        query = self._client.table("aggregator_runs").delete(returning="minimal")  # type: ignore[arg-type]
        self._send(query.lt("started_at", moment.isoformat()).execute)

    def read_schema(self) -> Schema | None:
        """What aggregator_schema() says of the tables; None where no migration has made it."""
        try:
            answer = self._send(self._client.rpc("aggregator_schema", {}).execute)
        except MissingRelation:
            return None
        return parse_schema(answer.data)

    def row_cap(self) -> int | None:
        """At how many rows the server cuts an answer; None where no cut is seen.

        It says so nowhere: more rows are asked for than came, though there are more.
        """
        query = self._client.table("daily_analytics").select("date", count=CountMethod.exact)
        answer = self._send(query.limit(CAP_LOOKED_FOR).execute)
        came, there_are = len(answer.data), answer.count or 0
        return came if came < min(there_are, CAP_LOOKED_FOR) else None

    def lacks_columns(self, table: str, columns: Sequence[str]) -> bool:
        """Whether the table, or one of these columns of it, is not there.

        Raises:
            DatabaseError: it cannot be read for another reason.
        """
        try:
            self._rows(self._client.table(table).select(",".join(columns)).limit(0).execute)
        except MissingRelation:
            return True
        return False

    @of_other_rows
    def _read_days_page(
        self,
        columns: str,
        window: Window,
        site_ids: Sequence[SiteId],
        after: tuple[date, SiteId] | None,
    ) -> list[StoredDay]:
        query: Any = self._client.table("daily_analytics").select(columns)
        query = query.gte("date", after[0] if after else window.first).lte("date", window.last)
        if site_ids:
            query = query.in_("site_id", site_ids)
        if after:
            day, site_id = after
            quoted = str(site_id).replace("\\", "\\\\").replace('"', '\\"')
            query = query.or_(f'date.gt.{day},site_id.gt."{quoted}"')
        query = query.order("date").order("site_id").limit(PAGE_ROWS)
        return [
            StoredDay(
                parse_id(row["site_id"]),
                date.fromisoformat(row["date"]),
                {metric: row[metric] for metric in METRICS},
                datetime.fromisoformat(row["updated_at"]) if row.get("updated_at") else None,
            )
            for row in self._rows(query.execute)
        ]


def _deployed(query: Any) -> Any:
    return query.eq("status_deployment", "deployed")


def _json_values(record: RunRecord) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, date | datetime) else value
        for name, value in record.values().items()
    }
