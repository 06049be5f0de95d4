"""Connections and snapshots over all three databases: read whole, written once, tokens unseen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from db import StoredSnapshots, store_snapshots
from models import Connection, Snapshot, Window, days_between
from storage.errors import DatabaseUnavailable, MissingRelation, RowsRefused
from storage.postgres import PostgresDatabase
from tests.integration.databases import OpenStore, Store
from tests.integration.tables import rows
from tests.integration.test_social_migration import OTHER_TYPES, USER
from tests.services.gateway import Fault

DAY = date(2026, 11, 18)
NIGHT = Window(DAY, DAY)
ALL = Window(date(2026, 1, 1), date(2026, 12, 31))
ENDS = datetime(2027, 1, 17, 2, 0, tzinfo=UTC)
ODD = "sentinel'\"\\%&,().:*{}y"
"""Whatever a token or a name may hold arrives as it is, over REST too."""

BOTH = pytest.mark.parametrize("kind", ["postgres", "rest"])


def snapshot(user: str = "user-1", day: date = DAY, **more: Any) -> Snapshot:
    row = Snapshot(
        user_id=user,
        platform="instagram",
        account_id="17841400000000001",
        metric="reach",
        day=day,
        value=12,
        metadata={"api": "instagram_graph", "fetched_at": "2026-11-20T02:00:00Z"},
    )
    return replace(row, **more)


def many(users: int, days: int = 1, metrics: int = 1) -> list[Snapshot]:
    return [
        snapshot(f"user-{user:03}", day, metric=f"metric-{metric}", value=user)
        for user in range(users)
        for day in days_between(DAY - timedelta(days=days - 1), DAY)
        for metric in range(metrics)
    ]


def read(store: Store, window: Window = ALL) -> list[Snapshot]:
    """What is stored, without when it changed."""
    return [replace(row, updated_at=None) for row in store.database.read_snapshots(window)]


def versions(store: Store) -> list[tuple[Any, ...]]:
    """Whatever would show that a row was written again."""
    query = "select xmin::text, ctid::text, updated_at, t::text from analytics_snapshots t"
    return sorted(rows(store.url, query))


def add_connection(store: Store, user: str | None = "user-1", **columns: Any) -> None:
    given = {"user_id": user, "platform": "Instagram", "account_id": "17841", **columns}
    store.execute(
        f"insert into public.platform_connections ({', '.join(given)}) "
        f"values ({', '.join(['%s'] * len(given))})",
        *given.values(),
    )


def only_connection(store: Store) -> Connection:
    [connection] = store.database.read_connections(inactive_too=True)
    return connection


def test_connections_are_read_with_all_that_a_run_needs(store_of_ours: Store) -> None:
    store = store_of_ours
    add_connection(
        store,
        access_token_encrypted=ODD, refresh_token_encrypted="sentinel-refresh",
        token_expires_at=ENDS, metadata='{"login": "instagram", "mine": [1]}',
    )  # fmt: skip
    found = only_connection(store)
    assert found == Connection(
        found.id, "user-1", "instagram", "17841", ODD, "sentinel-refresh", ENDS,
        {"login": "instagram", "mine": [1]},
    )  # fmt: skip
    assert isinstance(found.id, str)
    assert "sentinel" not in repr(found)


@BOTH
def test_connections_of_a_user_with_other_types_are_read_too(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=OTHER_TYPES)
    for user, metadata in ((1, None), (2, '"text"'), (3, "[1]"), (4, '{"a": 1}')):
        add_connection(
            store, f"{USER}{user}",
            access_token_encrypted="", token_expires_at="2027-01-17 02:00", metadata=metadata,
        )  # fmt: skip
    found = store.database.read_connections()
    assert [(c.id, c.user_id, c.metadata) for c in found] == [
        (1, f"{USER}1", {}), (2, f"{USER}2", {}), (3, f"{USER}3", {}), (4, f"{USER}4", {"a": 1}),
    ]  # fmt: skip
    assert {c.token_expires_at for c in found} == {ENDS}


@pytest.mark.parametrize(
    ("column", "odd"),
    [
        ("token_expires_at", "infinity"), ("token_expires_at", "-infinity"),
        ("token_expires_at", "12026-01-01"), ("token_expires_at", "0044-03-15 BC"),
        ("token_expires_at", "10000-01-01 00:00+00"),
        ("metadata", '{"n": ' + "7" * 5000 + "}"), ("metadata", "[" * 5000 + "]" * 5000),
    ],
    ids=range(7),
)  # fmt: skip
@BOTH
def test_one_odd_row_keeps_no_other_connection_from_being_read(
    kind: str, column: str, odd: str, open_a_store: OpenStore
) -> None:
    """Neither infinity nor a number of 5,000 digits is anything to Python."""
    store = open_a_store(kind)
    add_connection(store, "odd", **{"token_expires_at": ENDS, "metadata": "{}", column: odd})
    add_connection(store, "other", token_expires_at=ENDS, metadata='{"a": 1}')
    found = {row.user_id: row for row in store.database.read_connections(inactive_too=True)}
    end = None if column == "token_expires_at" else ENDS
    assert (found["odd"].token_expires_at, found["odd"].metadata) == (end, {})
    assert (found["other"].token_expires_at, found["other"].metadata) == (ENDS, {"a": 1})


@BOTH
def test_odd_rows_of_a_users_own_table_keep_no_other_from_being_read(
    kind: str, open_a_store: OpenStore
) -> None:
    own = OTHER_TYPES.replace(
        "id bigserial primary key, user_id uuid not null", "id int, user_id uuid"
    )
    own = own.replace("token_expires_at timestamp", "token_expires_at text")
    own = own.replace("metadata json,", "metadata text,", 1)
    store = open_a_store(kind, before=own, **({"max_rows": 1} if kind == "rest" else {}))
    for number, ends, metadata in (
        (1, "2027-01-17 02:00", '{"a": 1}'), (2, "soon", "by hand"), (3, "", ""), (None, None, None)
    ):  # fmt: skip
        add_connection(
            store, None if number == 3 else f"{USER}1", id=number, platform="\tInstagram\n ",
            account_id="\v17841\r", access_token_encrypted="", token_expires_at=ends,
            metadata=metadata,
        )  # fmt: skip
    found = store.database.read_connections()
    assert [(c.id, c.user_id, c.token_expires_at, c.metadata) for c in found] == [
        (1, f"{USER}1", ENDS, {"a": 1}), (2, f"{USER}1", None, {}), (3, "", None, {}),
    ]  # fmt: skip
    assert {(c.platform, c.account_id) for c in found} == {("instagram", "17841")}
    store.database.mark_connection(2, {"reason": "r"})  # whose metadata is no object
    [_, second, _] = store.database.read_connections()
    assert second == found[1]


def test_what_is_null_is_empty_and_who_is_switched_off_is_left_out(store_of_ours: Store) -> None:
    store = store_of_ours
    add_connection(store, account_id=None)
    add_connection(store, "user-2", is_active=False)
    [found] = store.database.read_connections()
    assert (found.user_id, found.account_id, found.access_token, found.refresh_token) == (
        "user-1", "", "", "",
    )  # fmt: skip
    assert found.token_expires_at is None
    both = store.database.read_connections(inactive_too=True)
    assert {connection.user_id for connection in both} == {"user-1", "user-2"}


@BOTH
def test_more_connections_than_the_servers_cap_are_read_whole(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind)
    store.execute(
        "insert into public.platform_connections (user_id, platform, is_active) "
        "select 'user-' || n, 'linkedin', n <= 2300 from generate_series(1, 2500) n"
    )
    found = store.database.read_connections()
    assert len({connection.user_id for connection in found}) == 2300
    assert [c.id for c in found] == sorted(c.id for c in found)


def test_snapshots_arrive_as_they_were_written(store_of_ours: Store) -> None:
    store = store_of_ours
    written = [
        snapshot(value=0),
        snapshot(metric="views:reels", value=2**45),
        snapshot(metric="engagement", value=0.0312345678901),
        snapshot(account_id="", metric="likeCount", value=-3),
        snapshot(f"user {ODD}", account_id=ODD, metadata={"quoted": ODD, "nested": {"a": [1]}}),
    ]
    stored = store_snapshots(store.database, written)
    assert (stored.rows, stored.refused, stored.gave_up) == (5, [], None)
    found = read(store)
    assert sorted(found, key=repr) == sorted(written, key=repr)
    assert [type(row.value) for row in found].count(int) == 4
    [(source, post)] = rows(store.url, "select distinct source, post_id from analytics_snapshots")
    assert (source, post) == ("social_media", None)
    [row] = [row for row in store.database.read_snapshots(NIGHT) if row.metric == "engagement"]
    assert row.updated_at
    assert abs(row.updated_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_only_accounts_days_of_the_window_and_numbers_are_read(store_of_ours: Store) -> None:
    store = store_of_ours
    for day in (DAY - timedelta(days=1), DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)):
        store_snapshots(store.database, [snapshot(day=day)])
    store.execute("alter table public.analytics_snapshots alter column value drop not null")
    for n, change in enumerate(("post_id = 'a-post'", "source = 'ads'", "value = null")):
        store_snapshots(store.database, [snapshot(metric=f"other-{n}")])
        store.execute(f"update public.analytics_snapshots set {change} where metric = 'other-{n}'")
    found = read(store, Window(DAY, DAY + timedelta(days=1)))
    assert [(row.day, row.metric) for row in found] == [
        (DAY, "reach"), (DAY + timedelta(days=1), "reach"),
    ]  # fmt: skip


@BOTH
def test_more_snapshots_than_the_servers_cap_are_read_whole(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, **({"max_rows": 70} if kind == "rest" else {}))
    written = many(users=30, days=4, metrics=3)
    assert store_snapshots(store.database, written).rows == len(written)
    found = read(store)
    assert sorted(found, key=repr) == sorted(written, key=repr)
    assert [row.day for row in found] == sorted(row.day for row in found)


@BOTH
def test_pages_go_on_behind_whatever_a_name_holds(kind: str, open_a_store: OpenStore) -> None:
    store = open_a_store(kind, **({"max_rows": 1} if kind == "rest" else {}))
    written = [
        snapshot(odd, account_id=account, metric=odd)
        for odd in (ODD, "a,b", "a)b", "a.b", ' "', "null", "\\")
        for account in ("", odd)
    ]
    store_snapshots(store.database, written)
    assert sorted(read(store), key=repr) == sorted(written, key=repr)


def test_the_same_rows_again_touch_nothing(store_of_ours: Store) -> None:
    store = store_of_ours
    written = many(users=5, days=3)
    store_snapshots(store.database, written)
    before = versions(store)
    later = [replace(r, metadata={**r.metadata, "fetched_at": "2026-11-21T02:00:00Z"})
             for r in written]  # fmt: skip
    for again in (written, later, [replace(row, value=float(row.value)) for row in later]):
        assert store_snapshots(store.database, again).rows == 15
        assert versions(store) == before


def test_a_revised_number_replaces_the_old_one_and_says_when(store_of_ours: Store) -> None:
    store = store_of_ours
    store_snapshots(store.database, [snapshot("a"), snapshot("b"), snapshot("c")])
    before = {row.user_id: row for row in store.database.read_snapshots(NIGHT)}
    final = {"data_state": "final"}
    store_snapshots(store.database, [snapshot("a"), snapshot("b", value=13, metadata=final),
                                     snapshot("c", metadata=final)])  # fmt: skip
    after = {row.user_id: row for row in store.database.read_snapshots(NIGHT)}
    assert after["a"] == before["a"]
    assert (after["b"].value, after["b"].metadata) == (13, final)
    assert after["b"].updated_at != before["b"].updated_at
    assert (after["c"].metadata, after["c"].updated_at) == (final, before["c"].updated_at)


def test_two_accounts_and_two_platforms_of_a_user_have_their_own_rows(
    store_of_ours: Store,
) -> None:
    written = [
        snapshot(account_id=account, platform=platform, value=n)
        for n, (account, platform) in enumerate(
            [("1", "instagram"), ("2", "instagram"), ("1", "facebook")]
        )
    ]
    for _ in range(2):
        assert store_snapshots(store_of_ours.database, written).rows == 3
    assert sorted(row.value for row in read(store_of_ours)) == [0, 1, 2]


def test_a_key_that_comes_twice_is_written_once_as_it_came_last(store_of_ours: Store) -> None:
    twice = [snapshot(value=1), snapshot("user-2"), snapshot(value=2)]
    assert store_snapshots(store_of_ours.database, twice).rows == 2
    assert {row.user_id: row.value for row in read(store_of_ours)} == {"user-1": 2, "user-2": 12}


def test_nothing_to_write_is_nothing_asked(rest: Store) -> None:
    assert rest.postgrest
    assert store_snapshots(rest.database, []) == StoredSnapshots()
    assert rest.postgrest.proxy.requests == []


def test_a_refused_row_costs_no_other(store_of_ours: Store) -> None:
    store = store_of_ours
    store.execute(
        "alter table public.analytics_snapshots add constraint small check (value < 1000)"
    )
    written = many(users=9, days=3, metrics=2)
    bad = [4, 31, 32]
    spoiled = [replace(row, value=5000) if n in bad else row for n, row in enumerate(written)]
    stored = store_snapshots(store.database, spoiled)
    assert stored.rows == len(written) - 3
    assert stored.gave_up is None
    named = {(user, day) for (user, _, _), days, _ in stored.refused for day in days}
    assert named == {(written[n].user_id, written[n].day) for n in bad}
    assert {key[1:] for key, _, _ in stored.refused} == {("instagram", "17841400000000001")}
    assert all("small" in error.message for _, _, error in stored.refused)
    assert sorted(read(store), key=repr) == sorted(
        (row for row in spoiled if row.value != 5000), key=repr
    )


def test_one_statement_is_all_or_nothing(store_of_ours: Store) -> None:
    store = store_of_ours
    store.execute(
        "alter table public.analytics_snapshots add constraint small check (value < 1000)"
    )
    with pytest.raises(RowsRefused):
        store.database.upsert_snapshots([snapshot(), snapshot("user-2", value=5000)])
    assert read(store) == []


USERS = """
create table public.users (id text primary key);
insert into public.users select 'user-' || to_char(n, 'FM000') from generate_series(0, 19) n;
alter table public.analytics_snapshots add foreign key (user_id) references public.users;
delete from public.users where id in ('user-003', 'user-017');
"""


def test_rows_of_a_user_who_is_gone_are_refused_without_halving_their_days(
    rest: Store,
) -> None:
    assert rest.postgrest
    rest.execute(USERS)
    stored = store_snapshots(rest.database, many(users=20, days=7, metrics=4))
    assert stored.rows == 18 * 28
    assert [(key[0], len(days)) for key, days, _ in stored.refused] == [
        ("user-003", 7), ("user-017", 7),
    ]  # fmt: skip
    assert all("is_active" in error.mend for _, _, error in stored.refused)
    assert len(rest.postgrest.proxy.requests) < 20


@BOTH
def test_a_column_of_integers_takes_whole_numbers_and_refuses_the_others_alone(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind)
    store.execute("alter table public.analytics_snapshots alter column value type bigint")
    if store.postgrest:
        store.postgrest.reload_schema()
    stored = store_snapshots(
        store.database, [snapshot(value=7.0), snapshot(metric="engagement", value=0.5)]
    )
    assert (stored.rows, len(stored.refused)) == (1, 1)
    assert [(row.metric, row.value) for row in read(store)] == [("reach", 7)]


@BOTH
def test_tables_of_a_user_with_other_types_are_written_too(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=OTHER_TYPES)
    written = [snapshot(f"{USER}{n}", metric=m, value=v)
               for n in (1, 2) for m, v in (("reach", 7), ("engagement", 0.25))]  # fmt: skip
    for _ in range(2):
        assert store_snapshots(store.database, written).rows == 4
    assert read(store) == sorted(written, key=lambda row: (row.user_id, row.metric))
    before = versions(store)
    store_snapshots(store.database, written)
    assert versions(store) == before


@pytest.mark.parametrize("column", ["uuid", "text"])
@BOTH
def test_a_user_spelled_in_capitals_is_the_same_and_is_written_so(
    kind: str, column: str, open_a_store: OpenStore
) -> None:
    small = "abcdef00-0000-0000-0000-000000000001"
    theirs = OTHER_TYPES.replace("user_id uuid not null", "user_id text not null")
    theirs = theirs.replace("user_id uuid,", f"user_id {column},")
    store = open_a_store(kind, before=theirs, **({"max_rows": 1} if kind == "rest" else {}))
    add_connection(store, small.upper(), access_token_encrypted="")
    [connection] = store.database.read_connections()
    assert connection.user_id == small
    assert small == connection.user_id
    assert connection.user_id != small.replace("1", "2")
    written = [snapshot(connection.user_id, metric=metric) for metric in ("reach", "views")]
    assert store_snapshots(store.database, [snapshot(small), *written]).rows == 2
    assert read(store) == written
    assert {hash(row.user_id) for row in read(store)} == {hash(small), hash(connection.user_id)}
    stored = rows(store.url, "select distinct user_id::text from analytics_snapshots")
    assert stored == [(small if column == "uuid" else small.upper(),)]


@pytest.mark.parametrize("column", ["timestamp", "timestamptz"])
@BOTH
def test_days_are_read_where_a_users_own_column_holds_moments(
    kind: str, column: str, open_a_store: OpenStore
) -> None:
    own = OTHER_TYPES.replace("date date", f"date {column}")
    store = open_a_store(kind, before=own, **({"max_rows": 1} if kind == "rest" else {}))
    written = [
        snapshot(f"{USER}1", DAY - timedelta(days=back), metric=metric)
        for back in (2, 1, 0)
        for metric in ("reach", "views")
    ]
    for _ in range(2):
        assert store_snapshots(store.database, written).rows == 6
    store.execute(
        "update analytics_snapshots set date = date + interval '13 h' where metric = 'reach'"
    )
    found = read(store, Window(DAY - timedelta(days=1), DAY))
    assert sorted(found, key=repr) == sorted(written[2:], key=repr)
    assert {type(row.day) for row in found} == {date}


@BOTH
def test_snapshots_of_a_users_own_table_that_say_nothing_are_left_out(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=OTHER_TYPES, **({"max_rows": 1} if kind == "rest" else {}))
    store_snapshots(store.database, [snapshot(f"{USER}{user}") for user in (1, 2, 3, 4)])
    for user, column in enumerate(("user_id", "platform", "metric"), start=1):
        store.execute(
            f"update analytics_snapshots set {column} = null where user_id = '{USER}{user}'"
        )
    store.execute(
        "alter table analytics_snapshots disable trigger user;"
        "update analytics_snapshots set updated_at = 'infinity'"
    )
    [row] = store.database.read_snapshots(ALL)
    assert (row.user_id, row.updated_at) == (f"{USER}4", None)


def test_a_database_that_goes_away_keeps_the_chunks_before(
    rest: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rest.postgrest
    monkeypatch.setattr(rest.database, "chunk_snapshots", 10, raising=False)
    calls: list[str] = []

    def third(request: Any) -> bool:
        calls.append(request.path)
        return len(calls) >= 3

    rest.postgrest.proxy.faults.append(Fault("drop", when=third, times=None))
    stored = store_snapshots(rest.database, many(users=45))
    assert (stored.rows, len(stored.refused)) == (20, 25)
    assert isinstance(stored.gave_up, DatabaseUnavailable)
    rest.postgrest.proxy.faults.clear()
    assert len(read(rest)) == 20


def test_a_write_whose_answer_was_lost_is_sent_again(rest: Store) -> None:
    assert rest.postgrest
    rest.postgrest.proxy.faults.append(Fault("drop_after"))
    assert store_snapshots(rest.database, many(users=4)).rows == 4
    assert len(read(rest)) == 4


def test_postgres_takes_everything_back_when_it_fails_halfway(
    over_psycopg: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = over_psycopg.database
    monkeypatch.setattr(database, "chunk_snapshots", 10, raising=False)
    upsert = database.upsert_snapshots
    calls: list[int] = []

    def failing(of: Sequence[Snapshot]) -> None:
        calls.append(len(of))
        if len(calls) % 3 == 0:
            raise DatabaseUnavailable("the connection broke")
        upsert(of)

    monkeypatch.setattr(database, "upsert_snapshots", failing)
    with pytest.raises(DatabaseUnavailable):
        store_snapshots(database, many(users=45))
    assert read(over_psycopg) == []


def test_two_runs_at_once_wait_for_each_other_and_not_for_the_nightly_one(
    open_a_store: OpenStore,
) -> None:
    store = open_a_store("postgres")
    [site] = store.add_sites(1)
    entered, go_on = threading.Event(), threading.Event()
    other = PostgresDatabase(store.url, 1)
    order: list[str] = []

    def first() -> None:
        def work() -> None:
            entered.set()
            go_on.wait(30)
            order.append("first")

        other.in_one_transaction(work, table="analytics_snapshots")

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(30)
    store.upsert({site: {DAY: {"matomo_visits": 1}}})  # another table: not held up
    order.append("nightly")
    threading.Timer(0.3, go_on.set).start()
    store_snapshots(store.database, [snapshot()])
    order.append("second")
    thread.join()
    other.close()
    assert order == ["nightly", "first", "second"]


def test_a_token_is_replaced_unless_it_changed_meanwhile(store_of_ours: Store) -> None:
    store = store_of_ours
    add_connection(store, access_token_encrypted=ODD, metadata='{"mine": 1}')
    old = only_connection(store)
    replace_ = store.database.replace_connection_token
    assert replace_(old.id, "access", "sentinel-other", "sentinel-new") is False
    assert replace_(old.id, "refresh", ODD, "sentinel-new") is False
    assert only_connection(store) == old
    assert replace_(old.id, "access", ODD, "sentinel-new") is True
    assert replace_(old.id, "refresh", "", f"{ODD} refresh") is True  # it was NULL
    expected = replace(old, access_token="sentinel-new", refresh_token=f"{ODD} refresh")
    assert only_connection(store) == expected
    # An answer was lost, and it is asked for again.
    assert replace_(old.id, "access", ODD, "sentinel-new") is True
    nobody = "00000000-0000-0000-0000-000000000000"
    assert replace_(nobody, "access", ODD, "sentinel-new") is False
    assert only_connection(store) == expected


def test_a_token_is_renewed_with_its_end_and_perhaps_its_refresh_token(
    store_of_ours: Store,
) -> None:
    store = store_of_ours
    add_connection(
        store, access_token_encrypted="sentinel-1", refresh_token_encrypted="sentinel-refresh"
    )
    add_connection(store, "user-2", access_token_encrypted="sentinel-1")
    old, other = sorted(store.database.read_connections(), key=lambda c: c.user_id)
    renew = store.database.renew_connection_token

    def now() -> Connection:
        first, second = sorted(store.database.read_connections(), key=lambda c: c.user_id)
        assert second == other
        return first

    assert renew(old.id, "sentinel-0", ODD, ENDS, "sentinel-new") is False
    assert now() == old
    assert renew(old.id, "sentinel-1", ODD, ENDS, None) is True
    assert now() == replace(old, access_token=ODD, token_expires_at=ENDS)
    for _ in range(2):  # the second time an answer was lost
        assert renew(old.id, ODD, "sentinel-2", None, "sentinel-new") is True
    assert now() == replace(old, access_token="sentinel-2", refresh_token="sentinel-new")


@pytest.mark.parametrize(
    ("metadata", "marked", "cleared"),
    [
        ('{"mine": {"a": 1}}', {"mine": {"a": 1}}, {"mine": {"a": 1}}),
        ("{}", {}, {}),
        ("null", {}, {}),
        ('{"needs_reauth": {"since": "2025"}, "b": 2}', {"b": 2}, {"b": 2}),
    ],
)
@BOTH
def test_a_mark_is_set_and_taken_away_and_every_other_key_stays(
    kind: str, metadata: str, marked: dict[str, Any], cleared: dict[str, Any],
    open_a_store: OpenStore,
) -> None:  # fmt: skip
    store = open_a_store(kind)
    add_connection(store, metadata=metadata)
    connection = only_connection(store).id
    mark = {"since": "2026-11-20T02:00:00Z", "reason": ODD}
    for _ in range(2):
        store.database.mark_connection(connection, mark)
        assert only_connection(store).metadata == {**marked, "needs_reauth": mark}
    for _ in range(2):
        store.database.mark_connection(connection, None)
        assert only_connection(store).metadata == cleared


@BOTH
def test_metadata_that_is_no_object_is_left_to_its_owner(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=OTHER_TYPES)
    add_connection(store, f"{USER}1", access_token_encrypted="", metadata='["mine"]')
    add_connection(store, f"{USER}2", access_token_encrypted="", metadata=None)
    for mark in ({"reason": "r"}, None, {"reason": "r"}):
        for connection in store.database.read_connections():
            store.database.mark_connection(connection.id, mark)
    found = rows(store.url, "select metadata::jsonb from public.platform_connections order by id")
    assert found == [(["mine"],), ({"needs_reauth": {"reason": "r"}},)]


def test_no_token_is_in_a_url(rest: Store) -> None:
    assert rest.postgrest
    add_connection(rest, access_token_encrypted="sentinel-1")
    connection = only_connection(rest).id
    rest.database.replace_connection_token(connection, "access", "sentinel-1", "sentinel-2")
    rest.database.renew_connection_token(connection, "sentinel-2", "sentinel-3", ENDS, "sentinel-4")
    rest.database.mark_connection(connection, {"reason": "sentinel"})
    store_snapshots(rest.database, [snapshot(metadata={"said": "sentinel"})])
    requests = rest.postgrest.proxy.requests
    assert sum("rpc/" in request.path for request in requests) == 3
    assert "sentinel" not in "".join(f"{request.path}?{request.query}" for request in requests)


@BOTH
def test_without_the_migration_everything_says_so(kind: str, open_a_store: OpenStore) -> None:
    store = open_a_store(kind, with_migrations=False)
    database = store.database
    asked: tuple[Callable[[], object], ...] = (
        database.read_connections,
        lambda: list(database.read_snapshots(NIGHT)),
        lambda: database.replace_connection_token("1", "access", "sentinel", "sentinel"),
        lambda: database.renew_connection_token("1", "sentinel", "sentinel", ENDS, None),
        lambda: database.mark_connection("1", None),
    )
    if kind == "postgres":  # PostgREST 12 says 404 and {} where rows are for no table
        asked += (lambda: database.upsert_snapshots([snapshot()]),)
    for ask in asked:
        with pytest.raises(MissingRelation) as caught:
            ask()
        assert "aggregator.py migrate" in caught.value.mend
