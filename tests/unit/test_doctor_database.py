"""Doctor's look at the database, over a fake one: each thing that can be missing or open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from config import Settings
from jobs.doctor_database import (
    TABLES,
    check_database,
    check_history,
    check_migrations,
    check_tables,
)
from jobs.findings import ADVICE, BLOCKED, FAIL, OK, Finding
from models import GscAccount, Site
from storage.errors import (
    MIGRATE,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    MissingRelation,
)
from storage.schema import Schema, Table, parse_schema
from tests.unit.examinations import (
    SETTINGS,
    TroubledDatabase,
    a_run,
    examination,
    good_schema,
    in_short,
    troubles,
)

SITES = [Site("a", "a.test", 1, "g"), Site("b", "b.test", 2)]
SUPABASE = replace(SETTINGS, supabase_url="https://project.supabase.test")
GONE = DatabaseUnavailable("it is gone", mend="bring it back")


def database(schema: Schema | None = None, **more: object) -> TroubledDatabase:
    fake = TroubledDatabase(sites=SITES, accounts=[GscAccount("g", "gAAAAA-encrypted")], **more)
    fake.schema = schema or good_schema()
    return fake


def tables_of(fake: TroubledDatabase, settings: Settings = SETTINGS) -> list[Finding]:
    return list(check_tables(examination(fake, settings=settings)))


def but(schema: Schema, name: str, **changes: object) -> Schema:
    table = replace(schema.tables[name], **changes)  # type: ignore[arg-type]
    return Schema(schema.now, {**schema.tables, name: table})


def test_a_database_that_answers_tells_its_sites_and_accounts() -> None:
    fake = database()
    seen = examination(fake)
    assert in_short(check_database(seen)) == [(OK, "answers, with 2 sites")]
    assert (seen.all_sites, seen.accounts, seen.reached) == (SITES, fake.accounts, True)


def test_accounts_that_no_site_names_are_not_read() -> None:
    fake = TroubledDatabase(sites=[SITES[1]])
    seen = examination(fake)
    list(check_database(seen))
    assert seen.accounts is None
    assert fake.reads == [("sites", None)]


def test_no_sites_is_no_run() -> None:
    [found] = check_database(examination(TroubledDatabase()))
    assert found.status == BLOCKED
    assert "deployed" in found.message
    assert "service key" in found.mend


def test_a_database_that_does_not_answer_raises() -> None:
    seen = examination(TroubledDatabase(broken=GONE))
    with pytest.raises(DatabaseUnavailable):
        list(check_database(seen))
    assert not seen.reached


def test_a_missing_table_of_sites_leaves_the_others_to_be_looked_at() -> None:
    fake = database()
    fake.errors["sites"] = MissingRelation("no sites")
    seen = examination(fake)
    [found] = check_database(seen)
    assert (found.status, found.mend, seen.reached) == (BLOCKED, MIGRATE, True)


@pytest.mark.parametrize("error", [MissingRelation("none"), DatabaseRefused("denied"), GONE])
def test_accounts_that_cannot_be_read_are_said_and_the_sites_kept(error: DatabaseError) -> None:
    fake = database()
    fake.errors["accounts"] = error
    seen = examination(fake)
    found = list(check_database(seen))
    assert [(f.status, f.message) for f in troubles(found)] == [(BLOCKED, error.message)]
    assert (seen.all_sites, seen.accounts) == (SITES, None)


@pytest.mark.parametrize(
    ("tokens", "plain"),
    [(["gAAAAA-x"], 0), (["1//x"], 1), (["1//x", " 1//y\n", "gAAAAA-x"], 2), (["", " \n"], 0)],
)
def test_tokens_in_plain_text_are_counted_and_no_empty_ones(tokens: list[str], plain: int) -> None:
    accounts = [GscAccount(n, token) for n, token in enumerate(tokens)]
    found = troubles(check_database(examination(TroubledDatabase(sites=SITES, accounts=accounts))))
    expected = f"{plain} refresh token{'s' if plain > 1 else ''} stored in plain text"
    assert in_short(found) == ([(ADVICE, expected)] if plain else [])
    assert "1//" not in str(in_short(found))
    assert all("tokens --encrypt" in f.mend for f in found)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgresql://me@db.example/x", True),
        ("postgresql://me@db.example/x?sslmode=verify-full&sslrootcert=/ca", False),
        ("postgresql://me@localhost/x", False),
        ("embedded:data", False),
        (None, False),
    ],
)
def test_a_connection_that_believes_any_server_gets_advice(url: str | None, advice: bool) -> None:
    settings = replace(SETTINGS, database_url=url)
    found = troubles(check_database(examination(database(), settings=settings)))
    assert [f.status for f in found] == [ADVICE] * advice
    assert all("sslmode=verify-full" in f.mend for f in found)


@pytest.mark.parametrize("settings", [SETTINGS, SUPABASE], ids=["postgres", "rest"])
def test_tables_that_are_right(settings: Settings) -> None:
    assert in_short(tables_of(database(), settings)) == [
        (OK, "tables, columns, keys, rights and row level security are right"),
        (OK, "this machine and the database agree on the time"),
    ]


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table_is_named_once(table: str) -> None:
    fake = database()
    fake.lacking = {table}
    [found] = troubles(tables_of(fake))
    assert (found.message, found.mend) == (f"table {table} is missing", MIGRATE)
    assert found.status == (ADVICE if table == "aggregator_runs" else BLOCKED)


@pytest.mark.parametrize(
    "column", [f"{table}.{column}" for table, need in TABLES.items() for column in need.columns]
)
def test_a_missing_column_is_named(column: str) -> None:
    fake = database()
    fake.lacking = {column}
    [found] = troubles(tables_of(fake))
    table, _, name = column.partition(".")
    assert found.message == f"table {table} has no column {name}"
    assert found.status == (ADVICE if table == "aggregator_runs" else BLOCKED)
    assert found.mend == MIGRATE


def test_all_missing_columns_of_a_table_are_named_at_once() -> None:
    fake = database()
    fake.lacking = {"daily_analytics.gsc_clicks", "daily_analytics.updated_at"}
    [found] = troubles(tables_of(fake))
    assert found.message == "table daily_analytics has no column gsc_clicks, updated_at"


def test_a_missing_optional_column_is_advice() -> None:
    fake = database()
    fake.lacking = {"sites.gsc_property"}
    assert in_short(troubles(tables_of(fake))) == [
        (ADVICE, "table sites has no column gsc_property")
    ]


def test_every_column_of_the_contract_is_looked_for() -> None:
    assert {(name, *need.columns, *need.optional) for name, need in TABLES.items()} == {
        (
            "sites", "id", "domain", "matomo_site_id", "gsc_account_id", "status_deployment",
            "gsc_property",
        ),
        ("gsc_accounts", "id", "oauth_refresh_token"),
        (
            "daily_analytics", "date", "site_id", "matomo_visits", "gsc_clicks",
            "gsc_impressions", "updated_at",
        ),
        (
            "aggregator_runs", "id", "job", "started_at", "finished_at", "status", "counts",
            "failures",
        ),
    }  # fmt: skip
    assert TABLES["daily_analytics"].unique_key == ("date", "site_id")


@pytest.mark.parametrize(
    "keys", [[], [["date"]], [["id"]], [["date", "site_id", "note"]], [["date"], ["site_id"]]]
)
def test_a_key_that_an_upsert_cannot_name_is_no_run(keys: list[list[str]]) -> None:
    unique = frozenset(map(frozenset, keys))
    fake = database(but(good_schema(), "daily_analytics", unique_keys=unique))
    [found] = troubles(tables_of(fake))
    assert found.message == "table daily_analytics has no unique key on (date, site_id)"
    assert (found.status, found.mend) == (BLOCKED, MIGRATE)


def test_one_good_key_among_others_is_enough() -> None:
    unique = frozenset({frozenset({"id"}), frozenset({"site_id", "date"})})
    assert (
        troubles(tables_of(database(but(good_schema(), "daily_analytics", unique_keys=unique))))
        == []
    )


@pytest.mark.parametrize("triggers", [(), ("another",)])
def test_a_missing_trigger_is_advice(triggers: tuple[str, ...]) -> None:
    fake = database(but(good_schema(), "daily_analytics", triggers=triggers))
    [found] = troubles(tables_of(fake))
    assert found.status == ADVICE
    assert "no trigger that moves updated_at" in found.message


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("settings", "status"), [(SETTINGS, ADVICE), (SUPABASE, FAIL)])
def test_a_table_without_row_level_security_is_open_behind_rest(
    settings: Settings, status: str, table: str
) -> None:
    fake = database(but(good_schema(), table, row_level_security=False))
    [found] = troubles(tables_of(fake, settings))
    assert (found.status, found.mend) == (status, MIGRATE)
    assert f"table {table} has no row level security" in found.message


def test_a_database_that_only_reads_lets_no_run_store_anything() -> None:
    fake = database(replace(good_schema(), only_reads=True))
    assert in_short(troubles(tables_of(fake))) == [(BLOCKED, "the database only reads")]


@pytest.mark.parametrize(
    ("table", "status"), [("daily_analytics", BLOCKED), ("aggregator_runs", ADVICE)]
)
def test_a_table_that_must_be_written_and_may_not_is_told(table: str, status: str) -> None:
    fake = database(but(good_schema(), table, writable=False))
    message = f"table {table} may be read and not written"
    assert in_short(troubles(tables_of(fake))) == [(status, message)]


def test_sites_and_accounts_need_no_right_to_write() -> None:
    schema = but(but(good_schema(), "sites", writable=False), "gsc_accounts", writable=False)
    assert troubles(tables_of(database(schema))) == []


def test_policies_matter_on_the_table_of_secrets_alone() -> None:
    schema = but(good_schema(), "sites", policies=("everybody",))
    assert troubles(tables_of(database(schema))) == []
    schema = but(schema, "gsc_accounts", policies=("mine", "yours"))
    [found] = troubles(tables_of(database(schema)))
    assert found.status == ADVICE
    assert "(mine, yours)" in found.message


@pytest.mark.parametrize(("settings", "status"), [(SETTINGS, ADVICE), (SUPABASE, FAIL)])
def test_a_view_past_row_level_security_is_as_bad(settings: Settings, status: str) -> None:
    fake = database(but(good_schema(), "gsc_accounts", open_views=("mine", "yours")))
    [found] = troubles(tables_of(fake, settings))
    assert found.status == status
    assert "gsc_accounts can be read through mine, yours" in found.message
    assert "security_invoker" in found.mend


def test_without_the_function_what_is_not_looked_at_is_said() -> None:
    fake = database()
    fake.schema = None
    found = tables_of(fake)
    assert [f.status for f in found] == [ADVICE]
    assert "20261121000200_trust.sql" in found[0].mend


@pytest.mark.parametrize("error", [DatabaseRefused("denied", mend="grant it"), GONE])
def test_a_function_that_is_denied_keeps_no_run_from_running(error: DatabaseError) -> None:
    fake = database()
    fake.errors["schema"] = error
    [found] = troubles(tables_of(fake))
    assert (found.status, found.mend) == (ADVICE, error.mend)
    assert error.message in found.message


@pytest.mark.parametrize(
    ("ahead", "status"), [(0, OK), (60, ADVICE), (-60, ADVICE), (900, FAIL), (-900, FAIL)]
)
def test_the_databases_clock_is_compared(ahead: int, status: str) -> None:
    fake = database(good_schema(datetime.now(UTC) + timedelta(seconds=ahead)))
    [clock] = [f for f in tables_of(fake) if f.area == "clock"]
    assert clock.status == status
    assert ("behind" in clock.message) == (ahead > 0)


def test_the_cap_of_rest_is_told() -> None:
    fake = database()
    fake.cap = 1000
    assert (OK, "REST cuts answers at 1,000 rows; everything is read page by page") in in_short(
        tables_of(fake)
    )


def test_a_cap_that_cannot_be_seen_is_advice() -> None:
    fake = database()
    fake.errors["row_cap"] = GONE
    assert in_short(troubles(tables_of(fake))) == [(ADVICE, "the row cap was not seen: it is gone")]


def history(*runs: object, error: DatabaseError | None = None) -> list[Finding]:
    fake = database()
    fake.past_runs = list(runs)  # type: ignore[arg-type]
    if error is not None:
        fake.errors["runs"] = error
    return list(check_history(examination(fake)))


@pytest.mark.parametrize(
    ("runs", "status", "words"),
    [
        ([], OK, "no nightly run yet"),
        ([a_run(10)], OK, "the last nightly run, 2026-11-20 02:00 UTC: complete"),
        ([a_run(10, "incomplete"), a_run(25)], ADVICE, "02:00 UTC: incomplete"),
        ([a_run(10, "failed"), a_run(26)], ADVICE, "02:00 UTC: failed"),
        ([a_run(0, "running"), a_run(24)], OK, "12:00 UTC: running"),
        ([a_run(27)], ADVICE, "no complete nightly run for 27 hours"),
        ([a_run(10, "failed"), a_run(34, "incomplete"), a_run(58)], ADVICE, "for 58 hours"),
        ([a_run(10, "incomplete"), a_run(34, "incomplete")], ADVICE, "for 34 hours"),
        ([a_run(10, "incomplete")], ADVICE, "02:00 UTC: incomplete"),
        # A run of single sites says nothing of the others; another job's says nothing at all.
        ([a_run(1, counts={"only_sites": 1}), a_run(30)], ADVICE, "for 30 hours"),
        ([a_run(1, job="social"), a_run(30)], ADVICE, "for 30 hours"),
        ([a_run(1, job="social")], OK, "no nightly run yet"),
    ],
    ids=range(12),
)
def test_how_the_last_runs_ended(runs: list[object], status: str, words: str) -> None:
    [found] = history(*runs)
    assert (found.area, found.status) == ("history", status)
    assert words in found.message
    assert bool(found.mend) == (status == ADVICE)


def test_a_history_that_is_missing_is_said_elsewhere_and_one_that_is_denied_here() -> None:
    assert history(error=MissingRelation("no table")) == []
    [found] = history(error=DatabaseRefused("denied", mend="grant it"))
    assert (found.status, found.message, found.mend) == (ADVICE, "denied", "grant it")


def test_without_database_url_no_migrations_are_looked_at() -> None:
    assert list(check_migrations(examination(database(), settings=SUPABASE))) == []


def test_a_database_url_beside_supabase_that_leads_nowhere_is_advice() -> None:
    settings = replace(SUPABASE, database_url="postgresql://me:sentinel@127.0.0.1:1/db")
    [found] = check_migrations(examination(database(), settings=settings))
    assert (found.status, found.area) == (ADVICE, "database")
    assert found.message.startswith("DATABASE_URL: no connection")
    assert "sentinel" not in found.message


GOOD: dict[str, object] = {
    "now": "2026-11-20T12:00:00.5+00:00",
    "tables": {
        "sites": {
            "columns": {"id": "uuid"}, "unique_keys": [["id"]], "row_level_security": True,
            "policies": [], "triggers": [], "open_views": [], "writable": True,
        }
    },
    "only_reads": False,
}  # fmt: skip


def test_the_answer_of_the_function_is_read() -> None:
    assert parse_schema(GOOD) == Schema(
        datetime(2026, 11, 20, 12, 0, 0, 500_000, tzinfo=UTC),
        {"sites": Table({"id": "uuid"}, frozenset({frozenset({"id"})}), True, (), ())},
    )


def spoiled() -> Iterable[object]:
    yield from (None, [], "x", 5, {}, {**GOOD, "tables": []})
    yield from ({k: v for k, v in GOOD.items() if k != name} for name in GOOD)
    for now in (None, 5, "", "yesterday", "2026-11-20T12:00:00"):
        yield {**GOOD, "now": now}
    table = GOOD["tables"]["sites"]  # type: ignore[index]
    for name in table:
        yield {**GOOD, "tables": {"sites": {k: v for k, v in table.items() if k != name}}}
    for name, value in (
        ("unique_keys", 5),
        ("unique_keys", [5]),
        ("columns", [5]),
        ("policies", 1),
    ):
        yield {**GOOD, "tables": {"sites": {**table, name: value}}}
    yield {**GOOD, "tables": {"sites": None}}


@pytest.mark.parametrize("answer", list(spoiled()), ids=str)
def test_an_answer_of_another_shape_is_refused(answer: object) -> None:
    with pytest.raises(DatabaseRefused, match="another shape"):
        parse_schema(answer)
