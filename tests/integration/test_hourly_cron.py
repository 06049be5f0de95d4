"""The rollup's jobs on a server with pg_cron, which really runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg.conninfo import make_conninfo

from jobs.doctor_hourly import check_events
from tests.end_to_end.event_runs import different, fill, hourly, left
from tests.integration.tables import execute, migrate, rows
from tests.services.postgres_cron import CronServer
from tests.unit.examinations import SETTINGS, examination, in_short

pytestmark = [pytest.mark.pg_cron, pytest.mark.xdist_group("pg_cron")]

A_FULL_MINUTE_AND_MORE = 90.0

REFRESH, UPKEEP, PURGE = (f"analytics-rollup-{name}" for name in ("refresh", "upkeep", "purge"))
JOBS = "select jobid, jobname, schedule, active, username from cron.job order by jobname"
TIMES = [(PURGE, "25 0 * * *"), (REFRESH, "* * * * *"), (UPKEEP, "15 0 * * *")]
SCHEDULE = "select public.analytics_rollup_schedule()"
TOLD = "select job, active, failures, message from public.analytics_rollup_jobs()"
OLD_RUN = """
insert into cron.job_run_details (jobid, runid, status, end_time)
select 1, -n, 'succeeded', now() - interval '7 days' * n from generate_series(1, 3) n
"""
SPOILED = """
create function planted() returns trigger language plpgsql as
$$ begin raise exception 'planted'; end $$;
create trigger planted before insert on analytics_events_hourly_agg
  for each row execute function planted()
"""


@pytest.fixture
def with_jobs(cron_database: str) -> str:
    """pg_cron's database with all the program's migrations."""
    migrate(cron_database)
    return cron_database


def job_of(url: str, name: str) -> int:
    [(job,)] = rows(url, "select jobid from cron.job where jobname = %s", name)
    return int(job)


def of_doctor(url: str) -> list[str]:
    """The problems that doctor finds."""
    settings = replace(SETTINGS, database_url=url)
    found = in_short(check_events(examination(settings=settings)))
    return [message for status, message in found if status == "FAIL"]


def test_migrations_schedule_three_jobs_and_another_call_keeps_one_of_each(
    with_jobs: str,
) -> None:
    jobs = rows(with_jobs, JOBS)
    assert [(name, at) for _, name, at, _, _ in jobs] == TIMES
    assert all(active for _, _, _, active, _ in jobs)
    design = "select cron.schedule('aggregate-analytics-events-hourly', '5 * * * *', 'select 1')"
    execute(with_jobs, f"{design}; update cron.job set schedule = '0 0 1 1 *' where jobid = 1")
    for _ in range(2):
        [(said,)] = rows(with_jobs, SCHEDULE)
        assert said.startswith("scheduled: refresh every minute")
        assert rows(with_jobs, JOBS) == jobs, "the design's job, which would overwrite, is gone"


def test_the_refresh_job_counts_new_events_within_the_minute(
    cron_server: CronServer, with_jobs: str
) -> None:
    fill(with_jobs, "yesterday", "12 hours", 120)
    assert left(with_jobs) == 12
    run = cron_server.wait_for_run(job_of(with_jobs, REFRESH), seconds=A_FULL_MINUTE_AND_MORE)
    assert (run.status, run.message) == ("succeeded", "1 row")
    assert different(with_jobs) == []
    assert left(with_jobs) == 0
    assert rows(with_jobs, TOLD) == [(name, True, 0, None) for name, _ in TIMES]
    [(refreshed,)] = rows(with_jobs, "select refreshed_at > now() - interval '1 minute' "
                          "from analytics_rollup_health()")  # fmt: skip
    assert refreshed


def test_a_job_that_fails_is_told_by_check_and_by_doctor_until_it_succeeds(
    cron_server: CronServer, with_jobs: str
) -> None:
    # Not in this minute by itself as well.
    seldom = "select cron.alter_job(%s, schedule := '0 0 1 1 *')"
    execute(with_jobs, seldom, job_of(with_jobs, REFRESH))
    fill(with_jobs, "now", "0 seconds", 3)
    execute(with_jobs, "call refresh_hourly()")
    execute(with_jobs, SPOILED)
    fill(with_jobs, "now", "-3 hours", 30)
    for failures in (1, 2):
        run = cron_server.run_job(REFRESH)
        assert run.status == "failed"
        assert "could not be counted, the first: " in run.message
        [_, (job, active, number, message), _] = rows(with_jobs, TOLD)
        assert (job, active, number) == (REFRESH, True, failures)
        assert "planted" in message
    done = hourly(with_jobs, "--check")
    assert done.status == 1, done
    [line] = [line for line in done.out.splitlines() if "pg_cron" in line]
    assert f"pg_cron's job {REFRESH} failed 2 times in a row: ERROR: " in line
    [problem] = of_doctor(with_jobs)
    assert problem in line

    execute(with_jobs, "drop trigger planted on analytics_events_hourly_agg")
    assert cron_server.run_job(REFRESH).status == "succeeded"
    assert different(with_jobs) == []
    assert (hourly(with_jobs, "--check").status, of_doctor(with_jobs)) == (0, [])

    execute(with_jobs, "select cron.alter_job(%s, active := false)", job_of(with_jobs, REFRESH))
    off = f"pg_cron's job {REFRESH} is switched off"
    assert of_doctor(with_jobs) == [off]
    done = hourly(with_jobs, "--check")
    assert (done.status, off in done.out) == (1, True), done


def test_upkeep_makes_partitions_and_purge_forgets_old_runs(
    cron_server: CronServer, with_jobs: str
) -> None:
    [(last,)] = rows(
        with_jobs,
        "select max(relname) from pg_class where relname ~ '^analytics_events_y[0-9]{4}m[0-9]{2}$'",
    )
    execute(with_jobs, f"drop table {last}")
    execute(with_jobs, "alter table analytics_events disable trigger analytics_rollup_insert")
    assert cron_server.run_job(UPKEEP).status == "succeeded"
    assert rows(with_jobs, "select to_regclass(%s)::text", last) == [(last,)]
    assert rows(with_jobs, "select unwatched from analytics_rollup_health()") == [([],)]
    execute(with_jobs, OLD_RUN)
    assert cron_server.run_job(PURGE).status == "succeeded"
    [(old, kept)] = rows(
        with_jobs,
        "select count(*) filter (where runid < 0), count(*) filter (where runid > 0) "
        "from cron.job_run_details where status = 'succeeded'",
    )
    assert old == 0
    assert kept >= 2


@pytest.fixture
def owner_url(cron_server: CronServer, cron_database: str) -> Iterator[str]:
    """The database for a role that may make tables and is no superuser, as on Supabase."""
    execute(
        cron_database,
        "create extension pg_cron; create role owner login; "
        "grant all on schema public to owner; grant create on database scheduled to owner",
    )
    yield make_conninfo(cron_database, user="owner")
    cron_server.fresh_database()  # a job whose role is gone would end the scheduler again and again
    execute(cron_server.url(), "drop role owner")


def test_an_owner_who_is_no_superuser_has_jobs_once_the_schema_is_theirs_to_use(
    cron_server: CronServer, cron_database: str, owner_url: str
) -> None:
    migrate(owner_url)
    assert rows(cron_database, "select count(*) from cron.job") == [(0,)]
    [(said,)] = rows(owner_url, SCHEDULE)
    assert said == "no jobs: permission denied for schema cron"
    assert rows(owner_url, TOLD) == []

    execute(cron_database, "grant usage on schema cron to owner")
    [(said,)] = rows(owner_url, SCHEDULE)
    assert said.startswith("scheduled: ")
    assert {who for *_, who in rows(owner_url, JOBS)} == {"owner"}
    fill(owner_url, "yesterday", "3 hours", 30)
    for name in (REFRESH, UPKEEP, PURGE):
        run = cron_server.run_job(name)
        assert (run.status, run.username) == ("succeeded", "owner"), run
    assert different(owner_url) == []
    assert [(job, failures) for job, _, failures, _ in rows(owner_url, TOLD)] == [
        (name, 0) for name, _ in TIMES
    ]
