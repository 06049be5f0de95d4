"""Weekly partitions: made where rows need them, as the table's own ones show, in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import psycopg
import pytest

from storage.errors import DatabaseUnavailable, RowsRefused
from storage.visit_log import VisitLog
from tests.integration.tables import execute, rows
from tests.integration.visit_tables import (
    MONDAY,
    bounds,
    create,
    group,
    line,
    stored,
    upstream_partitioned,
)

TABLE = "matomo_partitioned"
PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
def log(migrated_url: str, quick_tries: None) -> Iterator[VisitLog]:
    opened = VisitLog(migrated_url, 2)
    yield opened
    opened.close()


def make(log: VisitLog, *days: date) -> int:
    return log.make_partitions(log.open_table(TABLE), days)


def upstream_week(url: str, at: datetime, zone: str) -> None:
    """As matomo-postgres made it, in a session of that zone."""
    query = f"select create_weekly_partition_if_not_exists('{TABLE}', '{at.isoformat()}')"
    create(url, query, zone)


def midnight(zone: ZoneInfo, *day: int) -> datetime:
    return datetime(*day, tzinfo=zone).astimezone(UTC)  # type: ignore[misc, arg-type]


def test_our_weeks_are_mondays_of_utc_whatever_the_session_s_zone(migrated_url: str) -> None:
    log = VisitLog(f"{migrated_url}&options=-ctimezone%3DAsia/Kolkata%20-cdatestyle%3DGerman", 1)
    log.make_table(TABLE, partitioned=True)
    assert make(log, date(2026, 11, 15), date(2026, 11, 16), date(2026, 11, 22)) == 2
    assert make(log, date(2027, 1, 3), date(2026, 11, 18)) == 1
    log.close()
    utc = ZoneInfo("UTC")
    assert bounds(migrated_url, TABLE) == {
        f"{TABLE}_2026w46": (midnight(utc, 2026, 11, 9), midnight(utc, 2026, 11, 16)),
        f"{TABLE}_2026w47": (midnight(utc, 2026, 11, 16), midnight(utc, 2026, 11, 23)),
        f"{TABLE}_2026w53": (midnight(utc, 2026, 12, 28), midnight(utc, 2027, 1, 4)),
    }


@pytest.mark.parametrize("trigger_dropped", [False, True])
def test_a_table_of_another_zone_goes_on_with_its_mondays_over_the_clock_change(
    trigger_dropped: bool, migrated_url: str
) -> None:
    zoned = VisitLog(f"{migrated_url}&options=-ctimezone%3DEurope/Paris", 1)
    create(migrated_url, upstream_partitioned())
    upstream_week(migrated_url, datetime(2026, 10, 14, 9, tzinfo=UTC), "Europe/Paris")
    if trigger_dropped:
        execute(migrated_url, f"drop function {TABLE}_partition_trigger cascade")
    assert make(zoned, date(2026, 10, 20), date(2026, 10, 28)) == 2
    zoned.close()
    assert bounds(migrated_url, TABLE) == {
        f"{TABLE}_2026w42": (midnight(PARIS, 2026, 10, 12), midnight(PARIS, 2026, 10, 19)),
        f"{TABLE}_2026w43": (midnight(PARIS, 2026, 10, 19), midnight(PARIS, 2026, 10, 26)),
        f"{TABLE}_2026w44": (midnight(PARIS, 2026, 10, 26), midnight(PARIS, 2026, 11, 2)),
    }
    # matomo-postgres finds its own names: it makes no partition that overlaps.
    upstream_week(migrated_url, datetime(2026, 10, 28, 9, tzinfo=UTC), "Europe/Paris")
    assert len(bounds(migrated_url, TABLE)) == 3


def test_in_winter_londons_mondays_are_taken_for_londons(log: VisitLog, migrated_url: str) -> None:
    zoned = VisitLog(f"{migrated_url}&options=-ctimezone%3DEurope/London", 1)
    create(migrated_url, upstream_partitioned())
    upstream_week(migrated_url, datetime(2027, 3, 17, tzinfo=UTC), "Europe/London")
    make(zoned, date(2027, 4, 7))
    zoned.close()
    london = ZoneInfo("Europe/London")
    week = (midnight(london, 2027, 4, 5), midnight(london, 2027, 4, 12))
    assert bounds(migrated_url, TABLE)[f"{TABLE}_2027w14"] == week


def test_a_zone_that_nobody_knows_any_more_goes_on_in_steps_of_a_week(
    log: VisitLog, migrated_url: str
) -> None:
    create(migrated_url, upstream_partitioned(trigger=False))
    execute(
        migrated_url,
        f"create table old partition of {TABLE} for values from ('2026-11-15 18:30+00') "
        "to ('2026-11-22 18:30+00')",
    )
    assert make(log, date(2026, 11, 10), date(2026, 12, 2)) == 2
    found = bounds(migrated_url, TABLE)
    assert found[f"{TABLE}_2026w46"][1] == found["old"][0]
    at = datetime(2026, 11, 29, 18, 30, tzinfo=UTC)
    assert found[f"{TABLE}_2026w49"] == (at, at.replace(month=12, day=6))


def test_partitions_fill_the_gaps_between_others_and_never_overlap(
    log: VisitLog, migrated_url: str
) -> None:
    log.make_table(TABLE, partitioned=True)
    for name, lower, upper in [
        (f"{TABLE}_2026w47", "2026-11-16", "2026-11-18"),
        ("one_day", "2026-11-20", "2026-11-21"),
        ("for_ever", "2026-12-01", "maxvalue"),
    ]:
        end = upper if upper == "maxvalue" else f"'{upper} 00:00+00'"
        execute(
            migrated_url,
            f"create table {name} partition of {TABLE} for values from ('{lower} 00:00+00') "
            f"to ({end})",
        )
    days = [date(2026, 11, day) for day in range(16, 31)] + [date(2026, 12, 24)]
    assert make(log, *days) == 3
    found = rows(
        migrated_url,
        "select count(b) from unnest(%s::date[]) d "
        f"left join public.visit_log_bounds('{TABLE}') b on "
        "lower_bound <= d::timestamp at time zone 'UTC' "
        "and d::timestamp at time zone 'UTC' < upper_bound group by d",
        days,
    )
    assert {n for (n,) in found} == {1}  # each day lies in one
    assert make(log, *days) == 0


def test_a_table_with_a_default_partition_needs_none(log: VisitLog, migrated_url: str) -> None:
    log.make_table(TABLE, partitioned=True)
    execute(migrated_url, f"create table rest partition of {TABLE} default")
    assert make(log, MONDAY.date()) == 0


def test_nobody_who_reads_or_writes_the_table_is_waited_for_or_blocked(
    log: VisitLog, migrated_url: str
) -> None:
    log.make_table(TABLE, partitioned=True)
    table = log.open_table(TABLE)
    claim = log.claim(table, "s", true_utc=None)
    log.merge(table, claim.table_id, group([line(7, 0)]))
    with psycopg.connect(migrated_url) as reader, psycopg.connect(migrated_url) as maker:
        reader.execute(f"select * from {TABLE}")
        reader.execute(f"update {TABLE} set country = 'x'")
        maker.execute("set statement_timeout = '5s'")
        query = f"select public.visit_log_make_partitions('public', '{TABLE}', '{{2026-12-01}}')"
        assert maker.execute(query).fetchone() == (1,)
        reader.execute("set statement_timeout = '5s'")  # while the partition is not committed
        reader.execute(f"select * from {TABLE}")
        reader.execute(f"update {TABLE} set country = 'y'")


def test_who_changes_the_table_for_ever_makes_it_unavailable(
    log: VisitLog, migrated_url: str
) -> None:
    log.make_table(TABLE, partitioned=True)
    table = log.open_table(TABLE)
    signature = "public.visit_log_make_partitions(text, text, date[])"
    limit = rows(migrated_url, "select proconfig from pg_proc where oid = %s::regprocedure",
                 signature)  # fmt: skip
    assert "lock_timeout=20s" in limit[0][0]
    execute(migrated_url, f"alter function {signature} set lock_timeout = '50ms'")
    with psycopg.connect(migrated_url) as other:
        other.execute(f"alter table {TABLE} alter country set default 'x'")
        with pytest.raises(DatabaseUnavailable):
            log.make_partitions(table, [MONDAY.date()])
    assert log.make_partitions(table, [MONDAY.date()]) == 1


def test_a_partition_dropped_under_the_run_is_made_again(log: VisitLog, migrated_url: str) -> None:
    log.make_table(TABLE, partitioned=True)
    table = log.open_table(TABLE)
    table_id = log.claim(table, "s", true_utc=None).table_id
    log.merge(table, table_id, group([line(7, 0)]))
    execute(migrated_url, f"drop table {TABLE}_2026w47")
    with pytest.raises(RowsRefused):  # the caller then tries each half
        log.merge(table, table_id, group([line(8, 0)]))
    assert log.merge(table, table_id, group([line(8, 0)])).written == 1


def test_two_at_once_make_each_partition_once(log: VisitLog, migrated_url: str) -> None:
    log.make_table(TABLE, partitioned=True)
    table = log.open_table(TABLE)
    days = [date(2026, 9, day) for day in range(1, 31)]
    others = [VisitLog(migrated_url, 1) for _ in range(3)]
    made: list[int] = []
    threads = [
        threading.Thread(target=lambda o=other: made.append(o.make_partitions(table, days)))
        for other in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert sorted(made) == [0, 0, 5]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/New_York"])
@pytest.mark.parametrize("made_in", ["UTC", "Europe/Paris"])
def test_rows_at_the_end_of_a_week_pass_the_row_trigger_of_matomo_postgres(
    zone: str, made_in: str, migrated_url: str
) -> None:
    create(
        migrated_url, f"create schema theirs; set search_path = theirs; {upstream_partitioned()}"
    )
    week = f"select create_weekly_partition_if_not_exists('{TABLE}', '2026-10-14')"
    create(migrated_url, f"set search_path = theirs; {week}", made_in)
    log = VisitLog(f"{migrated_url}&options=-ctimezone%3D{zone}", 1)
    table = log.open_table(f"theirs.{TABLE}")
    claim = log.claim(table, "s", true_utc=None)
    # Late on a Sunday: in one of the zones it is Monday already.
    sunday = [datetime(2026, 11, 22, hour, 30, tzinfo=UTC) for hour in (3, 21, 22, 23)]
    lines = [line(7, n, action_timestamp=at.isoformat()) for n, at in enumerate(sunday)]
    assert log.merge(table, claim.table_id, group(lines, [7], days=sunday)).written == 4
    log.close()
    assert len(stored(migrated_url, f"theirs.{TABLE}")) == 4
