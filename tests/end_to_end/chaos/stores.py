"""The database of the fault test, over psycopg or over REST, and what can befall it.

A trigger raises what a server would: an SQLSTATE from inside the program's own statement. A full
disk is SQLSTATE 53100 raised there, no disk is full; read-only over psycopg is the real setting.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
from cryptography.fernet import Fernet
from psycopg.types.json import Jsonb

from models import METRICS
from sandbox import SocialWorld, seed
from storage.postgres import WRITE_LOCK
from tests.end_to_end.chaos.visits_said import Row, Visits
from tests.end_to_end.chaos.wire import Wire, WireFault
from tests.end_to_end.chaos.world import ChaosWorld
from tests.integration.tables import ACCOUNT, SITE, Numbers, migrate
from tests.services import gateway
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer

NAME = "chaos"
RENEWED = (1, 4)
"""Connections whose tokens the program renews by itself: an Instagram login's and LinkedIn's."""

LOCK_SECONDS = 0.15
_numbers = itertools.count(1)
CAP = 7
"""PostgREST's db-max-rows here: every list is longer, so every read is cut."""

TABLES = ("daily_analytics", "aggregator_runs")

DESTINATIONS = ("matomo", "visits_in_weeks")
"""The visit log's tables: one table, or partitions of a week."""
VISIT_LOG = "the visit log"
IMPORT_TABLES = (VISIT_LOG, "visit_log_watermarks", "visit_log_tables", "aggregator_runs")

HOURS = "analytics_events_hourly_agg"
COUNT_TABLES = (HOURS, "analytics_events_daily_agg", "analytics_visitor_hour", "aggregator_runs")

# SQLSTATE and words of a server's own.
STATES = {
    "disk_full": ("53100", "could not extend file: No space left on device"),
    "read_only": ("25006", "cannot execute INSERT in a read-only transaction"),
    "deadlock": ("40P01", "deadlock detected"),
    "statement_timeout": ("57014", "canceling statement due to statement timeout"),
    "too_many_connections": ("53300", "sorry, too many clients already"),
    "no_permission": ("42501", "permission denied for table"),
    "internal": ("XX000", "cache lookup failed"),
}
ANSWERS: dict[str, gateway.Action] = {
    "drop": "drop",
    "drop_after": "drop_after",
    "cut": "cut",
    "http_503": gateway.Answer(503, {"code": "PGRST002", "message": "Could not query the schema"}),
    "http_500_html": gateway.Answer(500, "<html>Internal Server Error</html>"),
    "http_504_json": gateway.Answer(504, {"message": "upstream timeout"}),
    "html_200": gateway.Answer(200, "<html>Sign in</html>"),
    "key_refused": gateway.Answer(401, {"message": "Invalid API key"}),
}
WIRE_KINDS = ("refused", "cut", "cut_after", "slow")
KINDS = {
    "psycopg": (*STATES, "row_refused", "slow_statement", "lock_held", "all_read_only",
                *(f"wire_{kind}" for kind in WIRE_KINDS)),
    "rest": (*STATES, "row_refused", "slow_statement", "lock_held", "down",
             *(f"rest_{kind}" for kind in ANSWERS)),
}  # fmt: skip

IMPORT_KINDS = (
    *STATES, "row_refused", "slow_statement", "all_read_only",
    *(f"wire_{kind}" for kind in WIRE_KINDS),
)  # fmt: skip

SNAPSHOTS = "analytics_snapshots"
SOCIAL_TABLES = (SNAPSHOTS, "platform_connections", "aggregator_runs")
SOCIAL_KINDS = {
    kind: tuple(name for name in names if name != "lock_held") for kind, names in KINDS.items()
}
"""The social job has a lock of its own, which is tested where it is made."""

COUNT_KINDS = (
    *STATES, "slow_statement", "all_read_only", *(f"wire_{kind}" for kind in WIRE_KINDS),
)  # fmt: skip

TRIGGERS = """
create schema chaos;
create table chaos.fault (
  relation text, code text, message text, seconds float, first int, last int, site text);
create sequence chaos.calls;
create sequence chaos.met minvalue 0 start 0;
create function chaos.trip() returns trigger language plpgsql security definer as $$
declare
  fault chaos.fault;
  n bigint;
begin
  for fault in select * from chaos.fault where relation = coalesce(tg_argv[0], tg_table_name) loop
    if tg_level = 'ROW' and fault.site is distinct from
         coalesce(to_jsonb(new) ->> 'site_id', to_jsonb(new) ->> 'idsite',
           to_jsonb(new) ->> 'account_id')
       or tg_level = 'STATEMENT' and fault.site is not null then
      continue;
    end if;
    n := nextval('chaos.calls');
    if n between fault.first and fault.last then
      perform nextval('chaos.met');
      perform pg_sleep(fault.seconds);
      if fault.code <> '' then
        raise exception using errcode = fault.code, message = fault.message;
      end if;
    end if;
  end loop;
  return new;
end $$;
create trigger chaos before insert on public.daily_analytics
  for each statement execute function chaos.trip();
create trigger chaos_row before insert on public.daily_analytics
  for each row when (pg_trigger_depth() = 0) execute function chaos.trip();
create trigger chaos before insert or update on public.aggregator_runs
  for each statement execute function chaos.trip();
create trigger chaos before insert on public.analytics_snapshots
  for each statement execute function chaos.trip();
create trigger chaos_row before insert on public.analytics_snapshots
  for each row when (pg_trigger_depth() = 0) execute function chaos.trip();
create trigger chaos before update on public.platform_connections
  for each statement execute function chaos.trip();
"""
IMPORT_TRIGGERS = f"""
select public.visit_log_make_table('public', '{DESTINATIONS[0]}', false);
select public.visit_log_make_table('public', '{DESTINATIONS[1]}', true);
create trigger chaos before insert or update on public.visit_log_tables
  for each statement execute function chaos.trip();
create trigger chaos before insert or update on public.visit_log_watermarks
  for each statement execute function chaos.trip();
""" + "".join(
    f"""
create trigger chaos before insert on public.{table}
  for each statement execute function chaos.trip('{VISIT_LOG}');
create trigger chaos_row before insert on public.{table}
  for each row when (pg_trigger_depth() = 0) execute function chaos.trip('{VISIT_LOG}');
"""
    for table in DESTINATIONS
)
COUNT_TRIGGERS = "".join(
    f"create trigger chaos before insert or update on public.{table} "
    "for each statement execute function chaos.trip();"
    for table in COUNT_TABLES[:-1]
)
FORGET_EVENTS = """
truncate public.analytics_events, public.analytics_events_hourly_agg,
  public.analytics_events_daily_agg, public.analytics_visitor_hour, public.analytics_visitor_day,
  public.analytics_visitor_returns;
truncate public.analytics_rollup_dirty, public.analytics_rollup_dirty_days,
  public.analytics_rollup_dirty_returns;
"""


@dataclass(frozen=True)
class DatabaseFault:
    """kind: one of KINDS. The at-th statement, message or request meets it, and times - 1 more.

    relation: the table for what a trigger raises; site: whose rows are refused (its idSite in the
    visit log, a connection's number in the snapshots).
    """

    kind: str
    at: int = 1
    times: int = 1
    relation: str = "daily_analytics"
    site: int = 1


@dataclass(frozen=True)
class StoredNumber:
    """A row of analytics_snapshots. version: the transaction that wrote it."""

    value: float
    state: str
    version: tuple[Any, ...]


@dataclass(frozen=True)
class StoredConnection:
    """A row of platform_connections, its tokens readable. text: the whole row, as it is stored."""

    access_token: str
    metadata: dict[str, Any]
    text: str

    @property
    def mark(self) -> Any:
        return self.metadata.get("needs_reauth")


class Store:
    """One migrated database with the world's accounts, and a connection that no fault concerns."""

    def __init__(self, kind: str, postgres: PostgresServer, world: ChaosWorld, key: str) -> None:
        self.kind = kind
        self._key = key
        self._fernet = Fernet(key)
        self._encrypted = False
        self._account_ids: dict[int, str] = {}
        self.met: Counter[str] = Counter()
        self._armed: DatabaseFault | None = None
        self.name = f"{NAME}_{kind}_{next(_numbers)}"
        self._url = postgres.create_database(self.name)
        migrate(self._url)
        self.admin = psycopg.connect(
            self._url, autocommit=True, options="-c default_transaction_read_only=off"
        )
        self.admin.execute(TRIGGERS.encode())
        if kind == "psycopg":
            self.admin.execute(IMPORT_TRIGGERS.encode())
            self.admin.execute(COUNT_TRIGGERS.encode())
        accounts, self._sites = seed.rows(world)
        self.admin.cursor().executemany(ACCOUNT, accounts)
        self._numbers = {seed.site_id(site): site for site in world.site_numbers}
        tcp = urlsplit(postgres.url(self.name, tcp=True))
        self.password = tcp.password or ""
        self.wire = Wire(tcp.port or 0)
        self.url = f"postgresql://postgres:{self.password}@127.0.0.1:{self.wire.port}{tcp.path}"
        self.rest = PostgrestServer(self._url, max_rows=CAP) if kind == "rest" else None

    def close(self) -> None:
        if self.rest:
            self.rest.stop()
        self.wire.stop()
        self.admin.close()

    def settings(self) -> dict[str, Any]:
        if self.rest is None:
            return {"database_url": self.url}
        return {"supabase_url": self.rest.url, "supabase_service_key": self.rest.service_key}

    def secrets(self) -> list[str]:
        return [self.password, *([self.rest.service_key] if self.rest else [])]

    def reset(self) -> None:
        self.disarm()
        self.admin.execute(b"truncate public.daily_analytics, public.sites, public.aggregator_runs")
        self.admin.execute(b"truncate public.platform_connections, public.analytics_snapshots")
        if self.kind == "psycopg":
            for table in DESTINATIONS:
                self.admin.execute(f"delete from public.{table}".encode())
            self.admin.execute(b"delete from public.visit_log_tables")

    def forget_events(self) -> None:
        """No event, nothing counted, nothing to count."""
        self.admin.execute(FORGET_EVENTS.encode())

    def write_events(self, statements: Iterable[str]) -> None:
        """What the user's own code does to the events, on a connection of its own."""
        with psycopg.connect(self._url, autocommit=True) as other:
            for statement in statements:
                other.execute(statement.encode())

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.admin.execute(query.encode()).fetchall()

    def visits(self, table: str) -> Visits:
        """The rows of the visit log, by idVisit; over REST there is no such table."""
        if self.rest is not None:
            return {}
        query = (
            "select idvisit, idsite, action_id, action_timestamp, action_url, action_title, "
            f"actions from public.{table}"
        )
        found: dict[int, set[Row]] = defaultdict(set)
        for id_visit, *row in self.admin.execute(query.encode()):
            found[int(id_visit)].add(tuple(row))
        return {id_visit: frozenset(of_visit) for id_visit, of_visit in found.items()}

    def watermarks(self, table: str) -> dict[int, date]:
        """The last complete day of each site."""
        query = (
            b"select idsite, complete_through from public.visit_log_watermarks w "
            b"join public.visit_log_tables t on t.id = w.table_id where t.table_name = %s"
        )
        return dict(self.admin.execute(query, (table,)).fetchall())

    def add_connections(self, world: SocialWorld, due: datetime, *, encrypted: bool) -> None:
        """All connections of a world; the tokens of two of them that can be renewed are due."""
        self._encrypted = encrypted
        self._account_ids = {n: world.account_id(n) for n in world.connection_numbers}
        for number, row in enumerate(seed.connection_rows(world, self._key), start=1):
            if not encrypted:
                row["access_token_encrypted"] = world.access_token(number)
                row["refresh_token_encrypted"] = world.refresh_token(number) or None
            if number in RENEWED:
                row["token_expires_at"] = due
            row["metadata"] = Jsonb(row["metadata"])
            names = ", ".join(row)
            statement = (
                f"insert into public.platform_connections ({names}) "
                f"values ({', '.join('%s' for _ in row)})"
            )
            self.admin.execute(statement.encode(), list(row.values()))

    def connections(self) -> dict[int, StoredConnection]:
        query = (
            b"select id::text, access_token_encrypted, metadata, c::text "
            b"from public.platform_connections c"
        )
        rows = {found: rest for found, *rest in self.admin.execute(query)}
        numbers = {n: seed.connection_id(n) for n in self._account_ids}
        return {
            number: StoredConnection(self._opened(rows[row_id][0]), *rows[row_id][1:])
            for number, row_id in numbers.items()
            if row_id in rows
        }

    def set_connection_token(self, connection: int, token: str, which: str = "access") -> None:
        stored = self._fernet.encrypt(token.encode()).decode() if self._encrypted else token
        statement = (
            f"update public.platform_connections set {which}_token_encrypted = %s where id = %s"
        )
        self.admin.execute(statement.encode(), (stored, seed.connection_id(connection)))

    def snapshots(self) -> dict[tuple[int, str, date], StoredNumber]:
        """The rows of analytics_snapshots, by connection, metric and day."""
        numbers = {account: number for number, account in self._account_ids.items()}
        query = (
            "select account_id, metric, date, value, metadata ->> 'data_state', xmin::text, "
            f"updated_at from public.{SNAPSHOTS} "
            "where source = 'social_media' and post_id is null"
        )
        return {
            (numbers[account], metric, day): StoredNumber(float(value), state, tuple(version))
            for account, metric, day, value, state, *version in self.admin.execute(query.encode())
        }

    def _opened(self, stored: str) -> str:
        is_encrypted = stored.startswith("gAAAAA")
        return self._fernet.decrypt(stored).decode() if is_encrypted else stored

    def stored(self) -> dict[tuple[int, date], Numbers]:
        query = f"select site_id::text, date, {', '.join(METRICS)} from public.daily_analytics"
        return {
            (self._numbers[site], day): (visits, clicks, impressions)
            for site, day, visits, clicks, impressions in self.admin.execute(query.encode())
        }

    def runs(self) -> list[tuple[int, str, dict[str, Any], list[dict[str, Any]], str]]:
        """(id, status, counts, failures, the whole row as text), oldest first."""
        return self.admin.execute(
            b"select id, status, counts, failures, r::text "
            b"from public.aggregator_runs r order by id"
        ).fetchall()

    def forget_open_runs(self, pid: int) -> None:
        """What a lost answer left open would seem to be this process's own run, and under way."""
        self.admin.execute(
            b"delete from public.aggregator_runs "
            b"where status = 'running' and counts -> 'process' ->> 'pid' = %s",
            (str(pid),),
        )

    def set_token(self, account: int, token: str) -> None:
        self.admin.execute(
            b"update public.gsc_accounts set oauth_refresh_token = %s where id = %s",
            (token, seed.account_id(account)),
        )

    def add_site(self, site: int, **columns: object) -> None:
        self.admin.execute(SITE.encode(), {**self._sites[site - 1], **columns})

    def delete_site(self, site: int) -> None:
        with self.admin.transaction():
            for table, column in (("daily_analytics", "site_id"), ("sites", "id")):
                statement = f"delete from public.{table} where {column} = %s"
                self.admin.execute(statement.encode(), (seed.site_id(site),))

    def set_account(self, site: int, account: int) -> None:
        self.admin.execute(
            b"update public.sites set gsc_account_id = %s where id = %s",
            (seed.account_id(account), seed.site_id(site)),
        )

    def arm(self, fault: DatabaseFault) -> None:
        self._armed = fault
        if fault.kind in STATES:
            code, message = STATES[fault.kind]
            self._trip(fault, code, message)
        elif fault.kind == "row_refused":
            site = seed.site_id(fault.site)
            if fault.relation == VISIT_LOG:
                site = str(fault.site)
            elif fault.relation in SOCIAL_TABLES:
                site = self._account_ids.get(fault.site, "")
            self._trip(fault, "23514", "violates check constraint", site=site)
        elif fault.kind == "slow_statement":
            self._trip(fault, "", "", seconds=LOCK_SECONDS)
        elif fault.kind == "lock_held":
            self._hold_lock()
        elif fault.kind == "all_read_only":
            self._set_read_only("on")
        elif fault.kind.startswith("wire_"):
            trouble = fault.kind.removeprefix("wire_")
            self.wire.arm(WireFault(trouble, fault.at, fault.times))  # type: ignore[arg-type]
        elif self.rest is not None:
            self.rest.proxy.requests.clear()
            self.rest.proxy.faults[:] = [self._gateway_fault(fault)]

    def terminate(self) -> None:
        """Ends every session of the program and of PostgREST, as a restart would."""
        done = self.admin.execute(
            b"select count(pg_terminate_backend(pid)) from pg_stat_activity "
            b"where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
        self.met["terminated"] += bool(done and done[0])

    def wait_until_well(self) -> None:
        """PostgREST, once cut off, reads the schema again before it answers."""
        if self.rest is None:
            return
        give_up_at, in_a_row = time.monotonic() + 20, 0
        headers = {"apikey": self.rest.service_key}
        while in_a_row < 5:
            answer = httpx.get(f"{self.rest.url}/rest/v1/sites?limit=1", headers=headers)
            in_a_row = in_a_row + 1 if answer.status_code == 200 else 0
            assert time.monotonic() < give_up_at, answer.text
            time.sleep(0.02)

    def disarm(self) -> bool:
        """Everything is well again; whether the armed fault was met."""
        fault, self._armed = self._armed, None
        met = self.tripped()
        if self.wire._fault is not None:
            met += self.wire._fault.met
        self.wire.arm(None)
        if self.rest is not None:
            met += sum(f.met for f in self.rest.proxy.faults if isinstance(f, _Counted))
            self.rest.proxy.faults.clear()
        self.admin.execute(
            b"truncate chaos.fault; select setval('chaos.calls', 1, false);"
            b"select setval('chaos.met', 0, false)"
        )
        if fault is not None and fault.kind == "all_read_only":
            self._set_read_only("off")
        if fault is not None and fault.kind in ("lock_held", "all_read_only"):
            met += 1
        if fault is not None and met:
            self.met[fault.kind] += 1
        return met > 0

    def tripped(self) -> int:
        """How often the trigger's fault was met."""
        found = self.admin.execute(
            b"select case when is_called then last_value + 1 else 0 end from chaos.met"
        ).fetchone()
        return int(found[0]) if found else 0

    def _trip(
        self, fault: DatabaseFault, code: str, message: str, *,
        seconds: float = 0, site: str | None = None,
    ) -> None:  # fmt: skip
        last = fault.at + fault.times - 1
        self.admin.execute(
            b"insert into chaos.fault values (%s, %s, %s, %s, %s, %s, %s)",
            (fault.relation, code, message, seconds, fault.at, last, site),
        )

    def _set_read_only(self, value: str) -> None:
        statement = f"alter database {self.name} set default_transaction_read_only = {value}"
        self.admin.execute(statement.encode())

    def _hold_lock(self) -> None:
        """The lock under which runs write, or the table over REST, for a moment from now."""
        held = threading.Event()

        def hold() -> None:
            # Its connection may be ended with all others.
            with suppress(psycopg.Error), psycopg.connect(self._url) as other:
                if self.rest is None:
                    other.execute(b"select pg_advisory_xact_lock(%s)", (WRITE_LOCK,))
                else:
                    other.execute(b"lock table public.daily_analytics in exclusive mode")
                held.set()
                time.sleep(LOCK_SECONDS)

        threading.Thread(target=hold, daemon=True).start()
        held.wait(5)

    def _gateway_fault(self, fault: DatabaseFault) -> gateway.Fault:
        if fault.kind == "down":
            return _Counted("drop", times=None)
        return _Counted(ANSWERS[fault.kind.removeprefix("rest_")], at=fault.at, times=fault.times)


class _Counted(gateway.Fault):
    """A gateway's fault for the at-th request on, which stays in place and counts."""

    def __init__(self, action: gateway.Action, *, at: int = 1, times: int | None = 1) -> None:
        super().__init__(action, self._falls, times=None)
        self.first, self.last = at, float("inf") if times is None else at + times - 1
        self.seen = self.met = 0

    def _falls(self, _request: gateway.Request) -> bool:
        self.seen += 1
        falls = self.first <= self.seen <= self.last
        self.met += falls
        return falls
