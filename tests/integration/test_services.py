"""The servers that the other tests stand on behave like the real thing, because they are."""

from __future__ import annotations

from pathlib import Path

import httpx
import psycopg
import pytest

from tests.services import supabase_cli
from tests.services.gateway import Action, Answer, Fault
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer

NUMBERS = """
create table numbers (n int primary key, note text);
insert into numbers select n from generate_series(1, 2500) n;
alter table numbers enable row level security;
create policy even_for_anon on numbers for select to anon using (n % 2 = 0);
create policy own_for_users on numbers for select to authenticated using (
  note = current_setting('request.jwt.claims', true)::json ->> 'sub'
);
"""


@pytest.fixture
def numbers(database_url: str, postgrest: PostgrestServer) -> PostgrestServer:
    with psycopg.connect(database_url) as connection:
        connection.execute(NUMBERS)
    postgrest.reload_schema()
    return postgrest


def client(server: PostgrestServer, key: str, token: str | None = None) -> httpx.Client:
    headers = {"apikey": key, "Authorization": f"Bearer {token or key}"}
    return httpx.Client(base_url=f"{server.url}/rest/v1", headers=headers)


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_every_supported_postgres_version_answers(major: int) -> None:
    with (
        PostgresServer(major, tcp=True) as server,
        psycopg.connect(server.url()) as over_socket,
        psycopg.connect(server.url(tcp=True)) as over_tcp,
    ):
        for connection in (over_socket, over_tcp):
            row = connection.execute("select version()").fetchone()
            assert row is not None
            assert row[0].startswith(f"PostgreSQL {major}.")


@pytest.mark.parametrize("number", [1, 2])
def test_every_test_gets_an_empty_database(database_url: str, number: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create table only_mine (n int)")
        connection.execute("insert into only_mine values (%s)", [number])
        assert connection.execute("select n from only_mine").fetchall() == [(number,)]


def test_a_long_list_is_cut_at_a_thousand_rows_without_a_word(numbers: PostgrestServer) -> None:
    with client(numbers, numbers.service_key) as supabase:
        answer = supabase.get("/numbers", params={"select": "n", "order": "n", "limit": 5000})
        counted = supabase.head("/numbers", headers={"Prefer": "count=exact"})
    assert answer.status_code == 200
    assert [row["n"] for row in answer.json()] == list(range(1, 1001))
    assert counted.headers["Content-Range"] == "0-999/2500"


def test_row_level_security_binds_anon_and_not_the_service(numbers: PostgrestServer) -> None:
    seen = {"select": "n", "order": "n", "limit": "2"}
    with client(numbers, numbers.anon_key) as anon:
        assert anon.get("/numbers", params=seen).json() == [{"n": 2}, {"n": 4}]
        assert anon.post("/numbers", json={"n": 0}).status_code == 401
    for key in (numbers.service_key, numbers.secret_key):
        with client(numbers, key) as service:
            assert service.get("/numbers", params=seen).json() == [{"n": 1}, {"n": 2}]


def test_a_signed_in_user_sees_what_is_theirs(database_url: str, numbers: PostgrestServer) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update numbers set note = 'alice' where n = 7")
    token = numbers.authenticated_key("alice")
    with client(numbers, numbers.anon_key, token) as alice:
        assert alice.get("/numbers", params={"select": "n"}).json() == [{"n": 7}]


def test_the_gateway_asks_for_a_key_that_it_knows(postgrest: PostgrestServer) -> None:
    answer = httpx.get(f"{postgrest.url}/rest/v1/")
    assert (answer.status_code, answer.json()["message"]) == (401, "No API key found in request")
    with client(postgrest, "mistyped") as stranger:
        answer = stranger.get("/")
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")


@pytest.mark.parametrize(
    ("action", "stored"), [("drop", False), ("drop_after", True), ("cut", True)]
)
def test_a_single_request_can_lose_its_answer_before_or_after_the_write(
    database_url: str, numbers: PostgrestServer, action: Action, stored: bool
) -> None:
    numbers.proxy.faults.append(Fault(action, when=lambda request: request.method == "POST"))
    headers = {"Prefer": "return=representation"}
    with client(numbers, numbers.service_key) as supabase:
        with pytest.raises(httpx.RemoteProtocolError):
            supabase.post("/numbers", json={"n": 0}, headers=headers)
        assert supabase.get("/numbers", params={"n": "eq.1"}).status_code == 200
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select n from numbers where n = 0").fetchall()
    assert bool(rows) is stored
    assert numbers.proxy.faults == []


def test_an_answer_can_be_replaced_a_number_of_times(numbers: PostgrestServer) -> None:
    numbers.proxy.faults.append(Fault(Answer(503, {"message": "upstream timeout"}), times=2))
    with client(numbers, numbers.service_key) as supabase:
        codes = [supabase.get("/numbers", params={"limit": 1}).status_code for _ in range(3)]
    assert codes == [503, 503, 200]
    assert [request.path for request in numbers.proxy.requests] == ["/rest/v1/numbers"] * 3


def test_the_supabase_cli_pushes_migrations_once(tmp_path: Path, postgres: PostgresServer) -> None:
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    (folder / "20250101000000_one.sql").write_text("-- what it is for\ncreate table one (n int);\n")
    (folder / "20250102000000_two.sql").write_text("create table two (n int);\n-- the end\n")
    url = postgres.create_database("pushed")
    address = postgres.url("pushed", tcp=True)

    assert supabase_cli.pending(tmp_path, address) == [
        file.name for file in sorted(folder.iterdir())
    ]
    done = supabase_cli.push(tmp_path, address)
    assert done.returncode == 0, done.stderr
    assert supabase_cli.pending(tmp_path, address) == []

    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select version, name, statements from supabase_migrations.schema_migrations order by 1"
        ).fetchall()
    assert rows == [
        ("20250101000000", "one", ["-- what it is for\ncreate table one (n int)"]),
        ("20250102000000", "two", ["create table two (n int)", "-- the end"]),
    ]
