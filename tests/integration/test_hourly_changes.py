"""Every kind of change to events, alone: answers are right before and after it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.chaos_hourly.events import CLOCK_CHANGES, ZONES
from tests.chaos_hourly.interleaving import Stage, utc
from tests.services.postgres import PostgresServer

DAY = datetime.now(UTC).date() - timedelta(days=4)
LAST_MONTH = (DAY.replace(day=1) - timedelta(days=1)).replace(day=9)

ONE = f"where id = (select min(id) from analytics_events where created_at >= '{DAY}Z')"

SET = "update analytics_events set "

CHANGES = {
    "a label becomes known": SET + "event_label = 'x' {one}",
    "a label becomes a control character": SET + r"event_label = E'\x01' {one}",
    "a label becomes empty": SET + "event_label = '' {one}",
    "an unknown label becomes empty": SET + "event_label = '' where event_label is null",
    "a label becomes too long": SET + "event_label = repeat('äb', 4000) {one}",
    "two labels change places": SET + "event_label = "
    "case event_label when 'a' then 'b' else 'a' end where event_label in ('a', 'b')",
    "a visitor becomes unknown": SET + "visitor_id = null {one}",
    "a visitor changes": SET + "visitor_id = 'w' {one}",
    "two visitors change places": SET + "visitor_id = "
    "case event_label when 'a' then 'v2' else 'v1' end where event_label in ('a', 'b')",
    "a session changes": SET + "session_id = 'w' {one}",
    "a type changes": SET + "event_type = '' {one}",
    "a project changes": SET + "project_id = 'q' {one}",
    "a quarter later": SET + "created_at = created_at + interval '15 min' {one}",
    "over midnight in one hour": SET + "created_at = "
    "date_trunc('hour', created_at) + interval '29 min 59 s' where event_label = 'half past'",
    "an hour earlier": SET + "created_at = created_at - interval '1 hour' {one}",
    "a month earlier": SET + "created_at = created_at - interval '1 month' {one}",
    "nothing": SET + "event_label = event_label",
    "no row": SET + "event_label = 'x' where false",
    "deleted": "delete from analytics_events {one}",
    "all of an hour deleted": "delete from analytics_events where event_label = 'half past'",
    "all deleted": "delete from analytics_events",
    "truncated": "truncate analytics_events",
    "a partition truncated": "truncate {partition}",
    "changed in its partition": "update {partition} set event_label = 'direct' {one}",
    "deleted from its partition": "delete from {partition} {one}",
    "inserted into its partition": "insert into {partition} select nextval("
    "'analytics_events_id_seq'), project_id, 'w', 'w', event_type, null, null, created_at "
    "from {partition} limit 1",
    "upserted": "insert into analytics_events (id, project_id, event_type, created_at) "
    "select id, project_id, 'other', created_at from analytics_events "
    "on conflict (id, created_at) do update set event_type = 'upserted'",
    "merged": "merge into analytics_events e using (select 1) o on e.event_label = 'a' "
    "when matched then delete",
    "another zone": "update analytics_project_zones set time_zone = 'Pacific/Chatham'",
    "no zone any more": "delete from analytics_project_zones",
    "no zones any more": "truncate analytics_project_zones",
}


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer, migrated_template: str) -> str:
    """Name of a database with events that are counted: a template."""
    name = "hourly_filled"
    with Stage(postgres.create_database(name, template=migrated_template)) as stage:
        stage.control.execute("insert into analytics_project_zones values ('p', 'Asia/Kolkata')")
        for day in (LAST_MONTH, DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)):
            stage.add(utc(day, "10:20"), visitor_id="v1", event_label="a")
            stage.add(utc(day, "10:40"), visitor_id="v2", event_label="b", session_id=None)
            stage.add(utc(day, "10:50"), visitor_id=None)
            stage.add(utc(day, "18:45"), visitor_id="v1", event_label="half past")  # 00:15 there
        stage.expect_exact_after_refresh(DAY)
    return name


@pytest.fixture
def stage(postgres: PostgresServer, filled: str) -> Iterator[Stage]:
    with Stage(postgres.create_database("hourly_changed", template=filled)) as stage:
        yield stage
    postgres.drop_database("hourly_changed")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_in_every_answer_at_once_and_is_counted(stage: Stage, change: str) -> None:
    statement = CHANGES[change].format(one=ONE, partition=f"analytics_events_y{DAY:%Ym%m}")
    stage.control.execute(statement.encode())
    stage.expect_exact(DAY)
    stage.expect_exact_after_refresh(DAY)
    stage.expect_exact(LAST_MONTH)
    stage.expect_exact(DAY, "q")


MANY = {
    "inserted": "insert into analytics_events (project_id, visitor_id, event_type, created_at) "
    "select case when n % 90 = 0 then 'p' else 'many-' || n % 50 end, 'v' || n, 't', e.created_at "
    "from analytics_events e, generate_series(1, 1300) n",
    "updated": SET + "created_at = created_at + interval '1 hour', project_id = 'moved' "
    "where event_type = 't'",
    "deleted": "delete from analytics_events where event_type = 't'",
}


def test_a_statement_with_many_rows_marks_their_hours_for_all_projects(stage: Stage) -> None:
    for statement in MANY.values():
        changed = stage.control.execute(statement.encode()).rowcount
        assert changed > 20_000
        marks = stage.control.execute(
            "select count(*), count(project_id) from analytics_rollup_dirty"
        ).fetchone()
        assert marks is not None
        assert marks[0] > 0
        assert marks[1] == 0
        stage.expect_exact(DAY)
        stage.expect_exact_after_refresh(DAY)


@pytest.mark.parametrize("zone", ZONES)
def test_days_are_whole_where_clocks_change(stage: Stage, zone: str) -> None:
    stage.control.execute("truncate analytics_events")
    stage.control.execute("update analytics_project_zones set time_zone = %s", (zone,))
    changes = [at for at in CLOCK_CHANGES if has_change(zone, at)]
    for at in changes:
        quarters = [at + timedelta(minutes=15 * n) for n in range(-10, 11)]
        for number, quarter in enumerate(quarters):
            stage.add(quarter, visitor_id=f"v{number}", event_label="")
    stage.refresh()
    for at in changes:
        stage.expect_exact(at.date())
        # A late event in each hour around it.
        for hours in range(-3, 3):
            stage.add(at + timedelta(hours=hours, minutes=7), visitor_id="late")
        stage.expect_exact_after_refresh(at.date())


def has_change(zone: str, about: datetime) -> bool:
    """Whether the zone's clocks change within an hour of a moment."""
    here, hour = ZoneInfo(zone), timedelta(hours=1)
    return (about - hour).astimezone(here).utcoffset() != (about + hour).astimezone(
        here
    ).utcoffset()
