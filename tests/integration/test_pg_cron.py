"""What Debian's pg_cron does with jobs: it really schedules and runs them here."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.integration.tables import execute, rows
from tests.services.postgres import PostgresServer
from tests.services.postgres_cron import CronServer, existing_home

pytestmark = [pytest.mark.pg_cron, pytest.mark.xdist_group("pg_cron")]

WORK = """
create table steps (step text, who text default current_user);
create procedure work(fail boolean, inout done int default null) language plpgsql as $$
begin
  insert into steps values ('first');
  commit;
  insert into steps values ('second');
  if fail then
    raise exception 'half way' using hint = 'none';
  end if;
  done := 2;
end $$;
"""
FAILED_RUNS = """
select jobname, return_message from cron.job_run_details join cron.job using (jobid)
where jobname like 'example-%' and status = 'failed' order by runid desc limit 2
"""


@pytest.fixture
def other_database(cron_server: CronServer) -> Iterator[str]:
    """A database of pg_cron's server for which it does not schedule."""
    yield cron_server.create_database("unscheduled")
    cron_server.drop_database("unscheduled")


@pytest.fixture(scope="session")
def database_without_preload() -> Iterator[str]:
    """A database of a server where pg_cron is installed and shared_preload_libraries lacks it."""
    home = existing_home()
    with PostgresServer(int(home.name), home=home) as server:
        yield server.url()


def schedule(url: str, name: str, command: str, minutes: str = "* * * * *") -> int:
    [(job,)] = rows(url, "select cron.schedule(%s, %s, %s)", name, minutes, command)
    assert isinstance(job, int)
    return job


@pytest.fixture
def with_work(cron_database: str) -> str:
    """The database with the extension and a procedure that commits."""
    execute(cron_database, "create extension pg_cron")
    execute(cron_database, WORK)
    return cron_database


@pytest.fixture
def owner_url(cron_server: CronServer, with_work: str) -> Iterator[str]:
    """The same database for a role that owns the tables and is no superuser, as on Supabase."""
    execute(
        with_work,
        "create role owner login; grant usage on schema cron to owner; "
        "alter table steps owner to owner; alter procedure work owner to owner",
    )
    yield make_conninfo(with_work, user="owner")
    cron_server.fresh_database()  # a job whose role is gone would end the scheduler again and again
    execute(cron_server.url(), "drop role owner")


def test_the_extension_is_refused_where_the_server_did_not_load_it(
    database_without_preload: str,
) -> None:
    offered = "select count(*) from pg_available_extensions where name = 'pg_cron'"
    assert rows(database_without_preload, offered) == [(1,)]
    with pytest.raises(psycopg.errors.UndefinedObject, match=r"cron\.database_name"):
        execute(database_without_preload, "create extension if not exists pg_cron")


def test_the_extension_is_refused_in_any_other_database(other_database: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="can only create extension in"):
        execute(other_database, "create extension if not exists pg_cron")


def test_a_job_may_commit_and_reports_one_row(cron_server: CronServer, with_work: str) -> None:
    schedule(with_work, "example-work", "call work(false)")
    run = cron_server.run_job("example-work")
    assert (run.status, run.message, run.username) == ("succeeded", "1 row", "postgres")
    assert rows(with_work, "select step from steps") == [("first",), ("second",)]
    assert rows(with_work, "select schedule from cron.job") == [("* * * * *",)]


def test_what_a_failed_job_committed_stays_and_its_message_is_kept(
    cron_server: CronServer, with_work: str
) -> None:
    schedule(with_work, "example-work", "call work(true)")
    schedule(with_work, "example-two", "select 1; call work(false)")
    for name in ("example-work", "example-two"):
        assert cron_server.run_job(name).status == "failed"
    assert rows(with_work, "select step from steps") == [("first",)]
    # Newest first. Two statements are one transaction, in which nothing can commit.
    [(two, refused), (work, message)] = rows(with_work, FAILED_RUNS)
    assert (two, work) == ("example-two", "example-work")
    assert refused.startswith("ERROR:  invalid transaction termination\n")
    assert message.startswith("ERROR:  half way\nHINT:  none\n")


def test_a_job_scheduled_again_is_changed_in_place(with_work: str) -> None:
    first = schedule(with_work, "example-work", "call work(true)")
    again = schedule(with_work, "example-work", "call work(false)", "*/5 * * * *")
    assert rows(with_work, "select jobid, schedule, command from cron.job") == [
        (first, "*/5 * * * *", "call work(false)")
    ]
    assert again == first


def test_an_owner_who_is_no_superuser_schedules_runs_and_sees_what_is_theirs(
    cron_server: CronServer, with_work: str, owner_url: str
) -> None:
    schedule(with_work, "example-work", "select 1")  # the superuser's: the name is not taken
    schedule(owner_url, "example-own", "call work(false)")
    schedule(owner_url, "example-work", "select 2")
    run = cron_server.run_job("example-own")
    assert (run.status, run.message, run.username) == ("succeeded", "1 row", "owner")
    assert rows(with_work, "select distinct who from steps") == [("owner",)]
    assert rows(owner_url, "select jobname, username from cron.job order by jobid") == [
        ("example-own", "owner"),
        ("example-work", "owner"),
    ]
    assert rows(owner_url, "select status from cron.job_run_details") == [("succeeded",)]
    assert rows(with_work, "select count(*) from cron.job") == [(3,)]
