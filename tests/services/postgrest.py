"""The real PostgREST over a test database, behind a stand-in of Supabase's gateway."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import jwt
import psycopg
from psycopg.conninfo import make_conninfo

from tests.services.gateway import Gateway
from tests.services.postgres import folder_for_sockets
from tests.services.programs import POSTGREST, existing

START_TIMEOUT_SECONDS = 30.0
KEY_LIFETIME_SECONDS = 10 * 365 * 24 * 3600
SCHEMA_LOADED = "Schema cache loaded"

# What a Supabase project has before its first migration, as far as its REST API shows.
ROLES = """
do $$ begin
  if to_regrole('anon') is null then
    create role anon nologin noinherit;
  end if;
  if to_regrole('authenticated') is null then
    create role authenticated nologin noinherit;
  end if;
  if to_regrole('service_role') is null then
    create role service_role nologin noinherit bypassrls;
  end if;
  if to_regrole('authenticator') is null then
    create role authenticator login noinherit;
  end if;
end $$;
grant anon, authenticated, service_role to authenticator;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
grant usage on schema public to anon, authenticated, service_role;
grant all on all tables in schema public to anon, authenticated, service_role;
grant all on all sequences in schema public to anon, authenticated, service_role;
grant all on all routines in schema public to anon, authenticated, service_role;
alter default privileges in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public
  grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public
  grant all on routines to anon, authenticated, service_role;
"""


class PostgrestServer:
    """PostgREST over one database, running from construction until `stop`.

    `postgres_url` is a superuser's connection string over a unix socket with trust authentication.
    `max_rows` is PostgREST's db-max-rows: longer lists are cut silently, at 1000 rows on Supabase.
    """

    def __init__(self, postgres_url: str, *, max_rows: int = 1000) -> None:
        self._postgres_url = postgres_url
        self._jwt_secret = secrets.token_hex(32)
        self._folder = Path(tempfile.mkdtemp(prefix="postgrest-", dir=folder_for_sockets()))
        self._socket = self._folder / "socket"
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.service_key = self._key("service_role")
        self.anon_key = self._key("anon")
        self.secret_key = f"sb_secret_{secrets.token_urlsafe(24)}"
        self.publishable_key = f"sb_publishable_{secrets.token_urlsafe(24)}"
        self.proxy = Gateway(
            self._socket,
            {
                self.service_key: self.service_key,
                self.anon_key: self.anon_key,
                self.secret_key: self.service_key,
                self.publishable_key: self.anon_key,
            },
        )
        try:
            create_roles(postgres_url)
            self._start(max_rows)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What SUPABASE_URL would hold: the base URL, to which clients add `/rest/v1/…`."""
        return self.proxy.url

    def authenticated_key(self, sub: str) -> str:
        """A signed-in user's JWT: goes into `Authorization`, beside the anon key in `apikey`."""
        return self._key("authenticated", sub=sub, aud="authenticated")

    def reload_schema(self) -> None:
        """Makes PostgREST see tables made since it started, and waits until it does."""
        assert self._process is not None
        times_before = self.log().count(SCHEMA_LOADED)
        self._process.send_signal(signal.SIGUSR1)
        self._wait_until(lambda: self.log().count(SCHEMA_LOADED) > times_before)

    def log(self) -> str:
        """Everything PostgREST has written to its log so far."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Ends PostgREST and the gateway; a second call does nothing."""
        if not self._folder.exists():
            return
        self.proxy.stop()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder)

    def _start(self, max_rows: int) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [existing(POSTGREST)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    "PATH": os.defpath,
                    "PGRST_DB_URI": make_conninfo(self._postgres_url, user="authenticator"),
                    "PGRST_DB_SCHEMAS": "public",
                    "PGRST_DB_ANON_ROLE": "anon",
                    "PGRST_DB_MAX_ROWS": str(max_rows),
                    "PGRST_JWT_SECRET": self._jwt_secret,
                    "PGRST_SERVER_UNIX_SOCKET": str(self._socket),
                },
            )
        self._wait_until(lambda: self._socket.exists() and SCHEMA_LOADED in self.log())

    def _wait_until(self, done: Callable[[], bool]) -> None:
        assert self._process is not None
        give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
        while not done():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgREST did not start or reload:\n{self.log()}")
            time.sleep(0.01)

    def _key(self, role: str, **claims: str) -> str:
        now = int(time.time())
        lifetime = {"iss": "supabase", "iat": now - 60, "exp": now + KEY_LIFETIME_SECONDS}
        return jwt.encode({"role": role, **lifetime, **claims}, self._jwt_secret, algorithm="HS256")


def create_roles(postgres_url: str) -> None:
    """Gives a database Supabase's roles and default privileges; a second call changes nothing."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute(ROLES)
