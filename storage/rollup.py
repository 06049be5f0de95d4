"""The hourly rollup in Postgres: everything is done by functions of the migrations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from storage.postgres_calls import PostgresCalls
from storage.retries import with_retries

REFRESH = "call public.refresh_hourly(%s, make_interval(secs => %s))"
MARK = """
select public.analytics_rollup_mark(
  coalesce(%s, '-infinity'::timestamptz), coalesce(%s, 'infinity'::timestamptz), %s) as hours
"""
LEFT = "select public.analytics_rollup_left(coalesce(%s, 'infinity'::timestamptz)) as left_over"
HEALTH = """
select statement_timestamp() as now, dirty_hours, dirty_days, oldest_mark, newest_hour,
  newest_event, unwatched from public.analytics_rollup_health()
"""
CHECK = "select * from public.analytics_rollup_check(%s) order by hour_bucket, day, project_id"
JOBS = "select job, active, failures, message from public.analytics_rollup_jobs()"


@dataclass(frozen=True, slots=True)
class Health:
    """How the rollup is, by the database's clock.

    dirty_hours, dirty_days: hours and closed days that wait to be counted; oldest_mark: since when
    the first of them waits. newest_hour: that has rows. unwatched: tables whose changes go unseen.
    """

    now: datetime
    dirty_hours: int
    dirty_days: int
    oldest_mark: datetime | None
    newest_hour: datetime | None
    newest_event: datetime | None
    unwatched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """An hour, or a day, of a project that is stored otherwise than its events are."""

    hour_bucket: datetime | None
    day: date | None
    project_id: str
    stored: int
    counted: int


@dataclass(frozen=True, slots=True)
class CronJob:
    """A job of pg_cron. failures: how many of its last runs failed in a row."""

    job: str
    active: bool
    failures: int
    message: str | None


class Rollup(PostgresCalls):
    """Methods raise DatabaseError (storage/errors.py)."""

    def mark(
        self,
        first: datetime | None = None,
        after: datetime | None = None,
        *,
        days_too: bool = True,
    ) -> int:
        """Mark the hours of [first, after) to be counted again; without bounds, all. How many.

        days_too: their days as well, though their hours turn out to be as they were.
        """
        return int(self._fetch(MARK, (first, after, days_too))[0]["hours"])

    def clock(self) -> datetime:
        """The database's time, which marks go by."""
        now: datetime = self._fetch("select clock_timestamp() as now")[0]["now"]
        return now

    def left(self, since: datetime | None = None) -> int:
        """Hours and closed days that wait; of them, those marked up to `since`."""
        return int(self._fetch(LEFT, (since,))[0]["left_over"])

    def refresh(self, at_most: int, seconds: float) -> int:
        """Count what waits, newest hours first; begin none after `seconds`. How many were done."""

        def call(connection: psycopg.Connection[Any]) -> int:
            # No transaction around it: the procedure commits each hour by itself.
            row = connection.execute(REFRESH, (at_most, seconds)).fetchone()
            return int(row[0]) if row else 0

        return with_retries(lambda: self._guarded(call), self._attempts)

    def health(self) -> Health:
        row = self._fetch(HEALTH)[0]
        return Health(**{**row, "unwatched": tuple(row["unwatched"])})

    def check(self, sample: int) -> list[Difference]:
        """Count random closed hours and days again; those that are stored otherwise."""
        return [Difference(**row) for row in self._fetch(CHECK, (sample,))]

    def upkeep(self) -> None:
        """Partitions ahead, missing triggers (then all is marked), compaction if it is on."""
        self._fetch("select public.analytics_rollup_upkeep()::text")

    def jobs(self) -> list[CronJob]:
        """pg_cron's jobs of the rollup; none where there is no pg_cron."""
        return [CronJob(**row) for row in self._fetch(JOBS)]
