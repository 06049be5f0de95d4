"""Debian's PostgreSQL with pg_cron, which really schedules; the other ones here lack it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.services.postgres import PostgresServer

OLDEST_MAJOR = 15
INSTALLATIONS = Path("/usr/lib/postgresql")
INSTALL = f"apt install postgresql-{OLDEST_MAJOR}-cron, or another version that apt offers"

CRON_DATABASE = "scheduled"
RUN_TIMEOUT_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 0.5

JOB = "select jobid, schedule from cron.job where jobname = %s"
SCHEDULE = "select cron.alter_job(%s, schedule := %s)"
NEWEST_RUN = "select coalesce(max(runid), 0) from cron.job_run_details"
ENDED_RUN = """
select status, return_message, username from cron.job_run_details
where jobid = %s and runid > %s and status in ('succeeded', 'failed') order by runid limit 1
"""


@dataclass(frozen=True)
class JobRun:
    """What cron.job_run_details says of one run; `status` is succeeded or failed."""

    status: str
    message: str
    username: str


def pg_cron_home() -> Path | None:
    """Debian's oldest installation from Postgres 15 on that has pg_cron; None without one."""
    homes = [library.parents[1] for library in INSTALLATIONS.glob("[0-9]*/lib/pg_cron.so")]
    usable = [home for home in homes if os.access(home / "bin" / "postgres", os.X_OK)]
    majors = [int(home.name) for home in usable if int(home.name) >= OLDEST_MAJOR]
    return INSTALLATIONS / str(min(majors)) if majors else None


def existing_home() -> Path:
    """The same folder, or an error that says what installs it."""
    home = pg_cron_home()
    if home is None:
        raise FileNotFoundError(f"there is no PostgreSQL with pg_cron: {INSTALL}")
    return home


class CronServer(PostgresServer):
    """A server whose pg_cron schedules the jobs of the database `scheduled`, and of no other."""

    def __init__(self) -> None:
        home = existing_home()
        super().__init__(int(home.name), home=home)

    def settings(self) -> dict[str, str]:
        return super().settings() | {
            "shared_preload_libraries": "pg_cron",
            "cron.database_name": CRON_DATABASE,
            "cron.host": str(self._folder),
            "cron.log_run": "on",
        }

    def fresh_database(self) -> str:
        """Connection string of pg_cron's database, made anew: empty, without even the extension.

        Dropping it ends the scheduler, which pg_cron 1.4 starts with the server only: every session
        with this server ends here.
        """
        self.drop_database(CRON_DATABASE)
        url = self.create_database(CRON_DATABASE)
        self.restart()
        return url

    def run_job(self, name: str) -> JobRun:
        """Has pg_cron run the command of a job, as the job's user, without waiting for its minute.

        pg_cron 1.4 knows no seconds, but runs what is scheduled for @reboot when the server starts:
        every session with this server ends here. The job's own schedule is put back.

        Raises:
            LookupError: there is not exactly one job of that name.
            TimeoutError: it did not end in time; the server's log says more.
        """
        with self._connect() as connection:
            found = connection.execute(JOB, (name,)).fetchall()
            if len(found) != 1:
                raise LookupError(f"{len(found)} jobs are called {name}")
            [(job, schedule)] = found
            connection.execute(SCHEDULE, (job, "@reboot"))
            [(newest,)] = connection.execute(NEWEST_RUN).fetchall()
        self.restart()
        try:
            return self.wait_for_run(job, after=newest)
        finally:
            with self._connect() as connection:
                connection.execute(SCHEDULE, (job, schedule))

    def wait_for_run(
        self, job: int, *, after: int = 0, seconds: float = RUN_TIMEOUT_SECONDS
    ) -> JobRun:
        """The first run of a job that ended, later than the run with the id `after`.

        Raises:
            TimeoutError: there is none in time.
        """
        give_up_at = time.monotonic() + seconds
        pause = 0.02
        with self._connect() as connection:
            while (run := connection.execute(ENDED_RUN, (job, after)).fetchone()) is None:
                if time.monotonic() > give_up_at:
                    raise TimeoutError(f"job {job} did not end in {seconds} s:\n{self.log()}")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return JobRun(*run)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url(CRON_DATABASE), autocommit=True)
