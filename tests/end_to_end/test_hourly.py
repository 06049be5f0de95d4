"""`aggregator.py hourly`: what waits is counted, what is asked for again, and nothing else."""

from __future__ import annotations

from tests.end_to_end.event_runs import (
    counted,
    different,
    fill,
    hourly,
    last_run,
    left,
    versions,
)
from tests.integration.tables import execute, rows

DAY = "2026-05-05"
SPOIL = (
    "update public.analytics_events_hourly_agg set event_count = 999, updated_at = '2026-06-01' "
    "where hour_bucket = any (%s)"
)
HOURS = [f"{DAY} {hour:02}:00+00" for hour in (3, 4, 5, 23)]
SPOILED = """
select to_char(hour_bucket at time zone 'UTC', 'DD HH24')
from public.analytics_events_hourly_agg where event_count = 999 group by 1 order by 1
"""


def spoiled(url: str) -> list[str]:
    return [hour for (hour,) in rows(url, SPOILED)]


def test_what_waits_is_counted_once_and_then_nothing_waits(migrated_url: str) -> None:
    fill(migrated_url, "2026-05-04 12:00+00", "3 days")
    waiting = left(migrated_url)
    assert waiting == 72
    done = counted(migrated_url)
    job, status, counts, failures = last_run(migrated_url)
    assert (job, status, failures) == ("hourly", "complete", [])
    assert counts["left"] == 0
    assert counts["counted"] >= 72
    assert f"Counted {counts['counted']} hours and days; none waits, newest hour" in done.out

    before = versions(migrated_url)
    assert "Counted 0 hours and days" in counted(migrated_url).out
    assert "72 hours marked" in counted(migrated_url, "--all").out
    assert versions(migrated_url) == before, "what is the same is not written again"


def test_late_changed_and_deleted_events_are_counted_again(migrated_url: str) -> None:
    fill(migrated_url, "2026-05-04 00:00+00", "2 days")
    counted(migrated_url)
    fill(migrated_url, "2026-05-04 07:59:59+00", "1 second", 5)
    counted(migrated_url)
    execute(
        migrated_url,
        "update analytics_events set event_type = 'other', created_at = created_at + '1 day' "
        "where project_id = 'p1' and created_at < '2026-05-04 05:00+00'",
    )
    counted(migrated_url)
    execute(migrated_url, "delete from analytics_events where created_at < '2026-05-05'")
    counted(migrated_url)
    assert rows(migrated_url, "select min(day)::text from analytics_events_daily_agg") == [(DAY,)]
    execute(migrated_url, "truncate analytics_events")
    counted(migrated_url)
    for table in ("events_hourly_agg", "events_daily_agg"):
        assert rows(migrated_url, f"select count(*) from analytics_{table}") == [(0,)]


def test_a_database_without_any_event_is_complete(migrated_url: str) -> None:
    for words in ([], ["--all"], ["--check"]):
        done = hourly(migrated_url, *words)
        assert done.status == 0, done
        assert "none waits, nothing counted yet" in done.out


RANGES = [
    (["--from", DAY, "--to", DAY], []),
    (["--from", f"{DAY}T04", "--to", f"{DAY}T04"], ["05 03", "05 05", "05 23"]),
    (["--from", f"{DAY}T04", "--to", DAY], ["05 03"]),
    (["--from", "2026-05-01", "--to", f"{DAY}T05"], ["05 23"]),
    (["--from", "2026-05-06", "--to", "2026-12-31"], ["05 03", "05 04", "05 05", "05 23"]),
    ([], ["05 03", "05 04", "05 05", "05 23"]),
    (["--all"], []),
]


def test_a_range_of_days_and_hours_is_counted_again_and_no_other(migrated_url: str) -> None:
    fill(migrated_url, f"{DAY} 00:00+00")
    counted(migrated_url)
    for words, left_spoiled in RANGES:
        execute(migrated_url, SPOIL, HOURS)
        done = hourly(migrated_url, *words)
        assert done.status == 0, done
        assert spoiled(migrated_url) == left_spoiled, words
        assert (different(migrated_url) == []) == (not left_spoiled)


def test_an_hour_that_cannot_be_counted_stops_nothing_else_and_is_named(
    migrated_url: str,
) -> None:
    execute(
        migrated_url,
        "create function planted() returns trigger language plpgsql as "
        "$$ begin raise exception 'planted'; end $$; create trigger planted before insert "
        "on analytics_events_hourly_agg for each row "
        f"when (new.hour_bucket = '{DAY} 14:00+00') execute function planted()",
    )
    fill(migrated_url, "2026-05-04 00:00+00", "3 days", 500)
    done = hourly(migrated_url)
    assert done.status == 1, done
    assert f"{DAY} 14:00:00+00: planted" in done.out
    job, status, counts, [failure] = last_run(migrated_url)
    assert (job, status) == ("hourly", "incomplete")
    assert f"{DAY} 14:00:00+00: planted" in failure["message"]
    assert f"Counted {counts['counted']} hours and days" in done.out
    # The hour waits, and with it the day to which it belongs: nothing of it is told wrong.
    assert {(what, at[:13]) for _, what, at, *_ in different(migrated_url)} <= {
        ("hour", f"{DAY} 14"), ("project", DAY), ("type", DAY), ("label", DAY),
    }  # fmt: skip
    assert rows(migrated_url, "select distinct hour_bucket::text from analytics_rollup_dirty") == [
        (f"{DAY} 14:00:00+00",)
    ]
    [(hours,)] = rows(
        migrated_url, "select count(distinct hour_bucket) from analytics_events_hourly_agg"
    )
    assert hours == 71
    execute(migrated_url, "drop trigger planted on analytics_events_hourly_agg")
    counted(migrated_url)


def test_an_hour_that_is_written_to_all_the_time_does_not_keep_it_from_ending(
    migrated_url: str,
) -> None:
    """Marks that come after it began are the next run's."""
    fill(migrated_url, "now", "1 second", 30)
    execute(
        migrated_url,
        "create function busy() returns trigger language plpgsql as $$ begin "
        "insert into public.analytics_rollup_dirty (hour_bucket, marked_at) "
        "values (old.hour_bucket, clock_timestamp()); return null; end $$; "
        "create trigger busy after delete on analytics_rollup_dirty "
        "for each row execute function busy()",
    )
    done = hourly(migrated_url, RUN_DEADLINE="20")
    assert done.status == 0, done
    assert "none waits" not in done.out
    execute(migrated_url, "drop trigger busy on analytics_rollup_dirty")
    counted(migrated_url)


def test_triggers_that_were_off_are_made_again_and_what_went_unseen_is_counted(
    migrated_url: str,
) -> None:
    fill(migrated_url, f"{DAY} 00:00+00")
    counted(migrated_url)
    execute(migrated_url, "alter table analytics_events disable trigger user")
    fill(migrated_url, f"{DAY} 12:00+00", "2 hours", 20)
    assert (left(migrated_url), different(migrated_url) == []) == (0, False)
    assert "WARNING" in counted(migrated_url).out
    execute(migrated_url, "delete from analytics_events where project_id = 'p1'")
    assert "WARNING" not in counted(migrated_url).out
