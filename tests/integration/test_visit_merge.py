"""A group of visits in the table: what is new, what differs, what is gone; nothing else moves."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from models import Watermark
from storage import visit_sql
from storage.errors import DatabaseUnavailable, MissingRelation, RowsRefused
from storage.postgres_calls import connect
from storage.visit_columns import STAGE_COLUMNS
from storage.visit_log import Group, Merged, VisitLog
from storage.visit_merge import SETTINGS, settle, statement_values
from storage.visit_table import VisitTable
from tests.integration.tables import execute, rows
from tests.integration.visit_tables import (
    MONDAY,
    SERVER,
    create,
    group,
    line,
    stored,
    upstream_partitioned,
    upstream_standard,
    versions,
)

DONE = Watermark(date(2026, 11, 15))


class Opened:
    """A table that a run has claimed."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.log = VisitLog(url, 3)
        self.name = name

    def claim(self) -> Opened:
        self.table: VisitTable = self.log.open_table(self.name)
        self.id = self.log.claim(self.table, SERVER, true_utc=None).table_id
        return self

    def merge(self, wanted: Group) -> Merged:
        return self.log.merge(self.table, self.id, wanted)

    def ids(self) -> list[str]:
        found: list[str] = stored(self.url, self.name)
        return found


OpenTable = Callable[[str], Opened]
KINDS = ("ours", "ours partitioned", "theirs", "theirs partitioned", "theirs without indexes")


@pytest.fixture
def open_table(migrated_url: str, quick_tries: None) -> Iterator[OpenTable]:
    opened: list[Opened] = []

    def open_it(kind: str) -> Opened:
        it = Opened(migrated_url, "matomo_partitioned" if "partitioned" in kind else "matomo")
        opened.append(it)
        if kind.startswith("ours"):
            it.log.make_table(it.name, partitioned="partitioned" in kind)
        elif "partitioned" in kind:
            create(migrated_url, upstream_partitioned())
        else:
            create(migrated_url, upstream_standard())
            if "without indexes" in kind:
                execute(migrated_url, "drop index idx_idvisit_matomo")
        return it.claim()

    yield open_it
    for it in opened:
        it.log.close()


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, open_table: OpenTable) -> Opened:
    """Every kind of table, empty."""
    return open_table(request.param)


def visit(number: int, actions: int, **values: str) -> list[bytes]:
    return [line(number, action, **values) for action in range(actions)]


FULL = {
    **{column: f"{column} é \\\\ \\t" for column in STAGE_COLUMNS},
    "action_id": "7_0",
    "action_timestamp": "2026-11-16 09:00:00.123+00",
    "idsite": "1",
    "idvisit": "7",
    "serverdateprettyfirstaction": "2026-11-16",
    "action_eventvalue": "NaN",
    "usercustomproperties": '{"1":"a",  "0": null}',
    "usercustomdimensions": "{}",
    "experiments": '[{"b": 1, "a": [ ]}]',
}


def test_every_column_lands_where_it_belongs(opened: Opened) -> None:
    assert opened.merge(group([line(7, 0, **FULL)], [7])) == Merged(1, 0)
    [found] = rows(opened.url, f"select to_jsonb(t) from {opened.name} t")
    text = {c: f"{c} é \\ \t" for c in STAGE_COLUMNS}
    assert found[0] == {
        **text,
        **{c: FULL[c] for c in ("action_id", "idsite", "idvisit", "serverdateprettyfirstaction")},
        "action_timestamp": "2026-11-16T09:00:00.123+00:00",
        "action_eventvalue": "NaN",
        "usercustomproperties": {"0": None, "1": "a"},
        "usercustomdimensions": {},
        "experiments": [{"a": [], "b": 1}],
    }
    as_text = rows(opened.url, f"select usercustomproperties::text from {opened.name}")
    assert as_text == [(FULL["usercustomproperties"],)]  # json is kept to the letter


def test_twice_rewrites_no_row(opened: Opened) -> None:
    lines = [line(7, 0, **FULL), *visit(8, 4), line(9, 0, action_eventvalue="1.50")]
    assert opened.merge(group(lines, [7, 8, 9])) == Merged(6, 0)
    before = versions(opened.url, opened.name)
    assert opened.merge(group(lines, [7, 8, 9])) == Merged(0, 0)
    assert versions(opened.url, opened.name) == before


OTHER = {
    "serverdateprettyfirstaction": "2026-11-17",
    "action_eventvalue": "7",
    "usercustomproperties": '{"a": 1}',
    "usercustomdimensions": '{"a": 1}',
    "experiments": '["x"]',
}
TIME = "action_timestamp"


@pytest.mark.parametrize("kind", ["ours", "theirs partitioned"])
def test_a_change_of_any_column_is_written_and_of_no_other_row(
    kind: str, open_table: OpenTable
) -> None:
    """Each visit's first action differs in a column of its own, and then does not again."""
    opened = open_table(kind)
    columns = [c for c in STAGE_COLUMNS if c not in ("action_id", TIME)]
    same = [line(n, a) for n in range(len(columns)) for a in (0, 1)]
    opened.merge(group(same))
    before = versions(opened.url, opened.name)
    changed = [line(n, 0, **{c: OTHER.get(c, "other")}) for n, c in enumerate(columns)]
    for lines in (changed, same):
        assert opened.merge(group(lines)) == Merged(len(columns), 0)
        after = versions(opened.url, opened.name)
        assert all(
            (old == new) == old[0].endswith("_1") for old, new in zip(before, after, strict=True)
        )
        if lines is changed:
            as_text = ", ".join(f"{column}::text" for column in columns)
            query = f"select action_id, {as_text} from {opened.name}"
            found = {key: values for key, *values in rows(opened.url, query)}
            written = [found[f"{n}_0"][n] for n in range(len(columns))]
            assert written == [OTHER.get(column, "other") for column in columns]


def test_a_value_and_null_differ(open_table: OpenTable) -> None:
    opened = open_table("ours")
    opened.merge(group([line(7, 0, country="")], [7]))
    assert opened.merge(group([line(7, 0)], [7])) == Merged(1, 0)
    assert opened.merge(group([line(7, 0, country="")], [7])) == Merged(1, 0)


def test_what_a_whole_visit_no_longer_holds_goes(opened: Opened) -> None:
    opened.merge(group(visit(7, 5) + visit(8, 3), [7, 8]))
    assert opened.merge(group(visit(7, 2), [7])) == Merged(0, 3)
    assert opened.ids() == ["7_0", "7_1", "8_0", "8_1", "8_2"]
    assert opened.merge(group([], [8])) == Merged(0, 3)
    assert opened.ids() == ["7_0", "7_1"]


def test_rows_of_visits_that_are_not_whole_and_of_other_sites_stay(opened: Opened) -> None:
    elsewhere = [line(7, 8, idsite="2"), line(70, 0)]
    opened.merge(group(visit(7, 3) + visit(8, 3) + elsewhere, []))
    assert opened.merge(group(visit(7, 1) + visit(8, 1), [7])) == Merged(0, 2)
    assert opened.ids() == ["70_0", "7_0", "7_8", "8_0", "8_1", "8_2"]


@pytest.mark.parametrize("kind", ["ours partitioned", "theirs partitioned"])
def test_in_a_partitioned_table_a_row_whose_time_moved_is_replaced(
    kind: str, open_table: OpenTable
) -> None:
    """Its key is another, perhaps in another partition."""
    opened = open_table(kind)
    sunday = datetime(2026, 11, 15, 23, 59, 50, tzinfo=UTC)
    moved = [sunday, sunday + timedelta(seconds=20)]
    for shift in (timedelta(0), timedelta(seconds=15), timedelta(hours=-26)):
        times = [at + shift for at in moved]
        lines = [line(7, n, action_timestamp=at.isoformat()) for n, at in enumerate(times)]
        opened.merge(group(lines, [7], days=times))
        assert stored(opened.url, opened.name, "action_timestamp") == times
    unmoved = [line(7, 0, action_timestamp=sunday.isoformat())]
    opened.merge(group(unmoved, [], days=[sunday]))  # not whole: both stay
    assert opened.ids() == ["7_0", "7_0", "7_1"]


def test_a_cut_visits_rows_are_not_doubled_when_their_times_move(open_table: OpenTable) -> None:
    """Of a visit that Matomo cut other rows stay, but no old version of those that came."""
    opened = open_table("ours partitioned")
    opened.merge(group([line(7, n) for n in range(4)], [7]))
    later = (MONDAY + timedelta(hours=1)).isoformat()
    moved = group([line(7, 0), line(7, 1, action_timestamp=later)])
    moved.part_visits = [("1", "7")]
    assert opened.merge(moved) == Merged(1, 1)
    assert opened.ids() == ["7_0", "7_1", "7_2", "7_3"]


def test_in_the_standard_table_a_row_whose_time_moved_is_updated(open_table: OpenTable) -> None:
    opened = open_table("ours")
    opened.merge(group(visit(7, 2), [7]))
    later = line(7, 0, action_timestamp="2027-01-01 00:00:00+00")
    assert opened.merge(group([later, line(7, 1)], [7])) == Merged(1, 0)


def test_a_table_that_lacks_columns_takes_the_others(open_table: OpenTable) -> None:
    opened = open_table("theirs")
    execute(opened.url, "alter table matomo drop resolution, drop experiments, drop city")
    opened.claim()
    lines = [line(7, 0, resolution="1x1", country="x")]
    assert opened.merge(group(lines, [7])) == Merged(1, 0)
    assert opened.merge(group(lines, [7])) == Merged(0, 0)
    assert stored(opened.url, "matomo", "country") == ["x"]


def test_columns_of_the_users_own_types_and_his_own_columns_are_kept(
    open_table: OpenTable,
) -> None:
    opened = open_table("theirs")
    execute(
        opened.url,
        "alter table matomo add note text default 'mine', alter usercustomproperties type jsonb, "
        "alter usercustomdimensions type text, alter experiments type json, "
        "alter idsite type varchar(20), alter dimension1 type varchar(3)",
    )
    lines = [line(7, 0, dimension1="abc"), line(7, 1)]
    assert opened.merge(group(lines, [7])) == Merged(2, 0)
    assert opened.merge(group(lines, [7])) == Merged(0, 0)
    execute(opened.url, "update matomo set note = 'kept' where action_id = '7_0'")
    assert opened.merge(group([line(7, 0), line(7, 1)], [7])) == Merged(1, 0)
    assert stored(opened.url, "matomo", "note") == ["kept", "mine"]
    with pytest.raises(RowsRefused):
        opened.merge(group([line(7, 0, dimension1="abcd")], [7]))


def unlike(number: int) -> str:
    """Text that no compression makes short."""
    return "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(number))


BAD = {
    "a date that is none": line(7, 1, serverdateprettyfirstaction="2026-13-01"),
    "a number that is none": line(7, 1, action_eventvalue="seven"),
    "json that is none": line(7, 1, usercustomproperties="{"),
    "no action_id": line(7, 1, action_id=r"\N"),
    "a url too long for its index": line(7, 1, action_url=unlike(3000)),
    "a line cut short": b"7_1\t2026-11-16\n",
    "one key twice": line(7, 0, country="x"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["ours", "ours partitioned"])
def test_a_row_that_the_table_refuses_stores_nothing_of_its_group(
    bad: str, kind: str, open_table: OpenTable
) -> None:
    opened = open_table(kind)
    opened.merge(group(visit(6, 2), [6]))
    lines = [line(7, 0), BAD[bad]]
    with pytest.raises(RowsRefused):
        opened.merge(group(lines, [6, 7], watermarks={1: DONE}))
    assert opened.ids() == ["6_0", "6_1"]
    assert opened.log.read_watermarks(opened.id) == {}
    assert opened.merge(group([line(7, 0)], [7], watermarks={1: DONE})).written == 1


def test_rows_and_watermarks_are_there_together_or_not_at_all(open_table: OpenTable) -> None:
    opened = open_table("ours")
    execute(
        opened.url,
        "alter table visit_log_watermarks add constraint not_two check (idsite <> 2)",
    )
    with pytest.raises(RowsRefused):
        opened.merge(group(visit(7, 1), [7], watermarks={1: DONE, 2: DONE}))
    assert opened.ids() == []
    assert opened.log.read_watermarks(opened.id) == {}


def test_a_row_that_somebody_else_is_just_writing_is_updated_not_doubled(
    open_table: OpenTable,
) -> None:
    """matomo-postgres knows nothing of our lock: ON CONFLICT stands between."""
    opened = open_table("ours")
    merged: list[Merged] = []
    with psycopg.connect(opened.url) as other:
        other.execute("insert into matomo (action_id, country) values ('7_0', 'theirs')")
        lines = group([line(7, 0, country="ours")], [7])
        merging = threading.Thread(target=lambda: merged.append(opened.merge(lines)))
        merging.start()
        _wait_for_a_lock(opened.url)
    merging.join(5)
    assert merged == [Merged(1, 0)]
    assert stored(opened.url, "matomo", "country") == ["ours"]


def test_a_table_dropped_under_the_run_is_missed(open_table: OpenTable) -> None:
    opened = open_table("ours")
    execute(opened.url, "drop table matomo")
    with pytest.raises(MissingRelation):
        opened.merge(group(visit(7, 1), [7]))


def test_a_killed_clients_locks_go_while_its_statement_still_waits(open_table: OpenTable) -> None:
    opened = open_table("ours")
    opened.merge(group(visit(7, 1), [7]))
    with connect(opened.url) as connection, connection.transaction():
        settle(connection.cursor(), opened.table)
        for setting, value in (("client_connection_check_interval", "5s"), ("jit", "off")):
            assert connection.execute(f"show {setting}".encode()).fetchall() == [(value,)]


def test_a_locked_table_makes_the_database_unavailable(
    open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_table("ours")
    monkeypatch.setattr("storage.visit_merge.SETTINGS", SETTINGS.replace("60s", "20ms"))
    with psycopg.connect(opened.url) as other:
        other.execute("lock table matomo")
        with pytest.raises(DatabaseUnavailable):
            opened.merge(group(visit(7, 1), [7]))
    assert opened.merge(group(visit(7, 1), [7])).written == 1


def plan(opened: Opened, statement: sql.Composed, wanted: Group) -> str:
    """How Postgres does it, with the group's stage."""
    with connect(opened.url) as connection, connection.transaction(force_rollback=True):
        cursor = connection.cursor()
        settle(cursor, opened.table)
        cursor.execute(visit_sql.make_stage(opened.table))
        with cursor.copy(visit_sql.copy_stage()) as copy:
            for lines in wanted.lines:
                copy.write(lines)
        explain = sql.SQL("explain (costs off) ") + statement
        return "\n".join(text for (text,) in cursor.execute(explain, statement_values(wanted)))


@pytest.mark.parametrize("analysed", ["never", "when it was small", "just now"])
def test_large_tables_are_looked_into_by_their_indexes_whatever_is_known_of_them(
    analysed: str, opened: Opened
) -> None:
    if analysed == "when it was small":
        opened.merge(group(visit(7, 30), [7]))
        execute(opened.url, f"analyze {opened.name}")
    wanted = group([line(n, a) for n in range(300) for a in range(3)], range(300))
    opened.merge(wanted)
    if analysed == "just now":
        execute(opened.url, f"analyze {opened.name}")
    gone = plan(opened, visit_sql.find_gone(opened.table), wanted)
    upsert = plan(opened, visit_sql.upsert(opened.table), wanted)
    assert re.match(r"Hash (Right )?Anti Join", gone)
    assert "Seq Scan on visit_stage" in gone
    part = "matomo_partitioned_2026w47" if opened.table.partitioned else "matomo"
    if opened.table.visits_indexed:
        assert "idvisit = v.visit" in gone.partition("Index Cond: ")[2].partition("\n")[0]
        assert f"Seq Scan on {part}" not in gone
    else:
        assert gone.count("Seq Scan on matomo") == 1  # once for all visits
        assert "Hash Cond" in gone.partition("Seq Scan on matomo")[0]
    assert "action_id = new.action_id" in upsert.partition("Index Cond: ")[2].partition("\n")[0]


def test_of_many_partitions_only_those_near_are_looked_into(open_table: OpenTable) -> None:
    opened = open_table("ours partitioned")
    days = [date(2026, 1, 1) + timedelta(days=7 * week) for week in range(12)]
    opened.log.make_partitions(opened.table, days)
    wanted = group(visit(7, 3), [7])
    opened.merge(wanted)
    for statement in (visit_sql.find_gone(opened.table), visit_sql.upsert(opened.table)):
        found = plan(opened, statement, wanted)
        assert "matomo_partitioned_2026w47" in found
        assert "matomo_partitioned_2026w0" not in found


def _wait_for_a_lock(url: str) -> None:
    query = (
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
        "and datname = current_database()"
    )
    end = time.monotonic() + 10
    while rows(url, query) == [(0,)]:
        assert time.monotonic() < end
