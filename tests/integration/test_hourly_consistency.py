"""The races of the hourly rollup, one at a time: sessions are held where it would hurt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import product

import psycopg
import pytest
from psycopg import errors

from tests.chaos_hourly.interleaving import REFRESH, Stage, add, utc
from tests.chaos_hourly.questions import Question, by_label, totals
from tests.chaos_hourly.reading import ask
from tests.chaos_hourly.stored import Snapshot

DAY = datetime.now(UTC).date() - timedelta(days=4)

MARKS, DAY_MARKS = "analytics_rollup_dirty", "analytics_rollup_dirty_days"
RETURN_MARKS = "analytics_rollup_dirty_returns"


@pytest.fixture
def stage(migrated_url: str) -> Iterator[Stage]:
    with Stage(migrated_url) as stage:
        yield stage


def counted(stage: Stage) -> int | None:
    """Events of DAY's hour 10 as they are stored; None without a row."""
    row = stage.control.execute(
        "select event_count from analytics_events_hourly_agg where hour_bucket = %s",
        (utc(DAY, "10:00"),),
    ).fetchone()
    return row[0] if row else None


def test_an_event_that_commits_while_its_hour_is_counted_stays_marked(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    with stage.held(REFRESH, before="delete", table=MARKS):
        stage.add(utc(DAY, "10:01"), visitor_id="late")
        stage.expect_exact(DAY)
    assert counted(stage) == 1
    assert stage.marked_hours() == 1
    stage.expect_exact_after_refresh(DAY)
    assert counted(stage) == 2


def test_an_event_that_commits_before_the_count_begins_is_in_it(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    blocker, refresher = stage.connect(), stage.connect()
    with blocker.transaction():
        # The refresh has read its marks, and waits before its snapshot.
        blocker.execute("lock table analytics_visitor_hour in access exclusive mode")
        done = stage.start(refresher, "call refresh_hourly(1)")
        stage.wait_until_it_waits(refresher)
        stage.add(utc(DAY, "10:01"), visitor_id="late")
    done.result(20)
    assert counted(stage) == 2
    assert stage.marked_hours() == 0
    stage.expect_exact_after_refresh(DAY)


def test_a_commit_that_comes_after_hour_and_day_were_counted_is_counted(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    writer = stage.connect()
    with writer.transaction():
        add(writer, utc(DAY, "10:59"), visitor_id="late")
        stage.expect_exact_after_refresh(DAY)
    assert stage.marked_hours() == 1
    stage.expect_exact_after_refresh(DAY)
    assert counted(stage) == 2


def test_what_is_rolled_back_leaves_no_mark(stage: Stage) -> None:
    writer = stage.connect()
    with writer.transaction(force_rollback=True):
        add(writer, utc(DAY, "10:00"))
    with writer.transaction():
        add(writer, utc(DAY, "11:00"))
        with writer.transaction(force_rollback=True):
            add(writer, utc(DAY, "12:00"))
    assert stage.marked_hours() == 1
    stage.expect_exact_after_refresh(DAY)


def test_two_refreshes_never_count_one_hour_at_once(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    stage.expect_exact_after_refresh(DAY)
    stage.add(utc(DAY, "10:01"))
    with stage.held(REFRESH, before="delete", table=MARKS):
        stage.add(utc(DAY, "10:02"))
        stage.refresh()  # comes back at once, and does nothing
        assert counted(stage) == 1
    assert counted(stage) == 2
    assert stage.marked_hours() == 1
    stage.expect_exact_after_refresh(DAY)


def test_another_refresh_goes_on_with_other_hours(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"), utc(DAY, "08:00"))
    with stage.held(REFRESH, before="delete", table=MARKS):
        stage.refresh()
        assert stage.marked_hours() == 1
    stage.expect_exact_after_refresh(DAY)


def test_two_refreshes_never_count_one_day_at_once(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    stage.expect_exact_after_refresh(DAY)
    stage.add(utc(DAY, "10:01"))
    with stage.held(REFRESH, before="delete", table=DAY_MARKS):
        stage.add(utc(DAY, "10:02"))
        stage.refresh()  # counts the hour, and leaves the day alone
        stage.expect_exact(DAY)
    stage.expect_exact_after_refresh(DAY)


def test_an_hour_that_is_counted_while_its_day_is_marks_the_day_again(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    with stage.held(REFRESH, before="delete", table=DAY_MARKS):
        stage.add(utc(DAY, "10:01"), visitor_id="late")
        assert stage.control.execute("call refresh_hourly(1)").fetchone()
        assert counted(stage) == 2
        stage.expect_exact(DAY)
    stage.expect_exact_after_refresh(DAY)


def test_an_hour_that_changes_and_changes_back_while_its_day_is_counted(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    with stage.held(REFRESH, before="delete", table=DAY_MARKS):
        stage.add(utc(DAY, "10:01"), visitor_id="late")
        stage.refresh()
        stage.control.execute("delete from analytics_events where visitor_id = 'late'")
        stage.refresh()
        stage.expect_exact(DAY)
    stage.expect_exact_after_refresh(DAY)


def test_a_day_is_not_counted_from_an_hour_that_has_changed_since(stage: Stage) -> None:
    """Else the hour could change back, and nobody would look at the day again."""
    stage.add(utc(DAY, "10:00"))
    stage.expect_exact_after_refresh(DAY)
    stage.control.execute(
        "insert into analytics_rollup_dirty_days (project_id, day) values ('p', %s)", (DAY,)
    )
    stage.add(utc(DAY, "10:01"), visitor_id="late")
    stage.control.execute("select analytics_rollup_refresh_day(%s, 'UTC')", (DAY,))
    stage.control.execute("delete from analytics_events where visitor_id = 'late'")
    stage.expect_exact_after_refresh(DAY)


def test_who_returned_is_not_read_while_days_have_changed(stage: Stage) -> None:
    days = [DAY - timedelta(days=n) for n in range(3)]
    stage.add(*(utc(day, "10:00") for day in days))
    stage.expect_exact_after_refresh(DAY)
    stage.control.execute("update analytics_events set visitor_id = id::text, session_id = id")
    with stage.held(REFRESH, before="delete", table=RETURN_MARKS):
        stage.expect_exact(DAY)
        stage.control.execute("update analytics_events set visitor_id = 'one of all'")
        stage.refresh()  # counts hours and days, and leaves this project's returns alone
        stage.expect_exact(DAY)
    stage.expect_exact_after_refresh(DAY)


def test_visitors_count_once_however_long_they_stay_away(stage: Stage) -> None:
    first = DAY - timedelta(days=36)
    for gap in (1, 2, 14, 28, 29, 30, 31, 32):
        moments = [utc(first, "10:00"), utc(first + timedelta(days=gap), "10:00")]
        stage.add(*moments, visitor_id=f"v{gap}", session_id=f"s{gap}", event_label="l")
    stage.expect_exact_after_refresh(first)

    def asked(_: Snapshot) -> Iterator[Question]:
        for start, length in product((-1, 0, 1, 2), range(1, 36)):
            begin = utc(first + timedelta(days=start), "00:00")
            end = begin + timedelta(days=length)
            yield totals("p", begin, end)
            if length % 3 == 0:
                yield by_label("p", "t", begin, end)

    assert ask(stage.control, "p", asked)[1] == []


def test_a_new_time_zone_waits_for_a_day_that_is_being_counted(stage: Stage) -> None:
    stage.add(*(utc(DAY, f"{hour:02}:30") for hour in range(24)))
    zones = stage.connect()
    with stage.held(REFRESH, before="delete", table=DAY_MARKS):
        change = "insert into analytics_project_zones values ('p', 'Asia/Kathmandu')"
        done = stage.start(zones, change)
        stage.wait_until_it_waits(zones)
        stage.expect_exact(DAY)
    done.result(20)
    stage.expect_exact_after_refresh(DAY)


def test_a_new_time_zone_waits_for_an_hour_that_is_being_counted(stage: Stage) -> None:
    stage.add(utc(DAY, "20:00"))
    zones = stage.connect()
    with stage.held(REFRESH, before="delete", table=MARKS):
        change = "insert into analytics_project_zones values ('p', 'Asia/Kathmandu')"
        done = stage.start(zones, change)
        stage.wait_until_it_waits(zones)
    done.result(20)
    stage.expect_exact_after_refresh(DAY)


def test_nothing_is_counted_while_a_new_time_zone_is_not_committed(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    zones = stage.connect()
    with zones.transaction():
        zones.execute("insert into analytics_project_zones values ('p', 'Pacific/Chatham')")
        stage.add(utc(DAY, "23:00"))
        assert stage.refresh()[0] == 0  # nor does it wait
        stage.expect_exact(DAY)
    stage.expect_exact_after_refresh(DAY)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_snapshot_older_than_its_locks_is_refused(stage: Stage, isolation: str) -> None:
    stage.add(utc(DAY, "10:00"))
    session = stage.connect(default_transaction_isolation=isolation)
    for statement in (
        REFRESH,
        "truncate analytics_events",
        "insert into analytics_project_zones values ('p', 'Asia/Kathmandu')",
        "select analytics_rollup_mark()",
    ):
        with pytest.raises(errors.InvalidTransactionState, match="READ COMMITTED"):
            session.execute(statement.encode())
    assert stage.marked_hours() == 1
    stage.expect_exact_after_refresh(DAY)


def test_no_refresh_is_part_of_a_transaction(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    session = stage.connect()
    with pytest.raises(errors.InvalidTransactionTermination), session.transaction():
        session.execute(REFRESH.encode())
    assert stage.marked_hours() == 1
    assert counted(stage) is None


def test_an_hour_that_cannot_be_counted_stops_no_other(stage: Stage) -> None:
    stage.add(utc(DAY, "09:00"), utc(DAY, "10:00"), utc(DAY, "11:00"))
    stage.control.execute(
        "alter table analytics_events_hourly_agg add constraint chaos check "
        f"(hour_bucket <> '{utc(DAY, '10:00')}')"
    )
    with pytest.raises(
        psycopg.Error, match=r"1 could not be counted, the first: .*chaos"
    ) as caught:
        stage.refresh()
    assert caught.value.sqlstate == "HR001"
    assert stage.marked_hours() == 1
    stage.expect_exact(DAY)
    stage.control.execute("alter table analytics_events_hourly_agg drop constraint chaos")
    stage.expect_exact_after_refresh(DAY)


def test_a_refresh_that_is_ended_leaves_its_marks(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    for table in (MARKS, DAY_MARKS):
        with stage.held(REFRESH, before="delete", table=table) as (session, done):
            stage.control.execute(
                "select pg_terminate_backend(%s, 10000)", (session.info.backend_pid,)
            )
            assert isinstance(done.exception(20), errors.AdminShutdown)
        stage.expect_exact(DAY)
    stage.expect_exact_after_refresh(DAY)


def test_a_truncation_waits_for_the_count_and_marks_what_it_stored(stage: Stage) -> None:
    stage.add(utc(DAY, "10:00"))
    session = stage.connect()
    with stage.held(REFRESH, before="delete", table=MARKS):
        done = stage.start(session, "truncate analytics_events")
        stage.wait_until_it_waits(session)
    done.result(20)
    stage.expect_exact_after_refresh(DAY)


def test_a_snapshot_from_before_a_compaction_still_reads_its_hours(stage: Stage) -> None:
    old = months_ago(3)
    stage.add(utc(old, "10:00"), utc(old, "22:00"))
    stage.expect_exact_after_refresh(old)
    reader = stage.connect(default_transaction_isolation="repeatable read")
    with reader.transaction():
        reader.execute("select from analytics_rollup_state")
        stage.control.execute("select analytics_rollup_compact(now() - interval '40 days')")
        stretch = utc(old, "10:00"), utc(old, "23:00")
        told = reader.execute("select * from analytics_events_totals('p', %s, %s)", stretch)
        assert told.fetchone() == (2, 1, 1)
    for _ in range(2):  # a night later what no snapshot needs any more is dropped
        stage.control.execute("select analytics_rollup_compact(now() - interval '40 days')")
        stage.expect_exact_after_refresh(old)


def test_an_hour_that_loses_its_last_event_while_it_is_compacted(stage: Stage) -> None:
    old = months_ago(3)
    stage.add(utc(old, "10:00"), utc(old, "22:00"))
    stage.expect_exact_after_refresh(old)
    compact = "select analytics_rollup_compact(now() - interval '40 days')"
    stage.control.execute(compact)
    compactor, refresher = stage.connect(), stage.connect()
    with compactor.transaction():
        compactor.execute(compact)
        stage.control.execute(
            "delete from analytics_events where created_at = %s", (utc(old, "10:00"),)
        )
        done = stage.start(refresher, REFRESH)
        stage.wait_until_it_waits(refresher)
    done.result(20)
    stage.expect_exact_after_refresh(old)


def months_ago(number: int) -> date:
    """The 10th of that month."""
    day = DAY.replace(day=10)
    for _ in range(number):
        day = (day.replace(day=1) - timedelta(days=1)).replace(day=10)
    return day
