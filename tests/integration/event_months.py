"""analytics_events for the tests of the archive: its shapes, filled, and what is left of them."""

from __future__ import annotations

import os
import signal
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.hourly_archive import Archived, Say, archive_months
from stopping import Stop
from tests.integration.tables import execute, rows

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MAY = "analytics_events_2026-05.parquet"

SHAPES = {
    # A partition of exactly the month: it is detached and dropped.
    "partition": "select public.analytics_rollup_make_month('analytics_events', '2026-05-10')",
    # Rows of the month lie in the default partition.
    "default": "select 1",
    # A table of the user's own, whose ids are no key and may be the same twice.
    "plain": """
alter table public.analytics_events rename to before;
create table public.analytics_events (
  id uuid, project_id text not null, visitor_id uuid, session_id text, event_type varchar(40),
  event_label text, event_data json, created_at timestamptz default now()
);
create index on public.analytics_events (created_at);
select public.analytics_rollup_watch();
""",
    # ... and one whose times are UTC without saying so.
    "local times": """
drop table public.analytics_events cascade;
create table public.analytics_events (
  id serial, project_id text not null, visitor_id text, session_id text, event_type text,
  event_label text, event_data jsonb, created_at timestamp default now()
);
create index on public.analytics_events (created_at);
select public.analytics_rollup_watch();
""",
}

FILL = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, event_data, created_at)
select 'p' || mod(n, 2), md5(n::text)::uuid, 's' || mod(n, 3), 'impression',
  case when mod(n, 4) > 0 then 'label ' || mod(n, 4) end, json_build_object('n', n),
  moment + n * interval '7 min'
from unnest(%s::timestamptz[]) moment, generate_series(0, 8) n
"""
HOURS = ["2026-05-01 00:00+00", "2026-05-17 13:00+00", "2026-05-31 23:15+00"]
"""Of the last one, two events lie in June."""


def make(url: str, shape: str, hours: list[str] | None = None) -> None:
    """Give the table this shape, nine events after each of the moments, and count them."""
    execute(url, SHAPES[shape])
    execute(url, FILL, HOURS if hours is None else hours)
    count_hours(url)


def count_hours(url: str) -> None:
    execute(url, "call public.refresh_hourly(10000)")


def insert(url: str, at: str = "2026-05-17 13:30+00", project: str = "p0") -> None:
    """One more event."""
    execute(
        url,
        "insert into public.analytics_events (project_id, visitor_id, event_type, created_at) "
        "values (%s, gen_random_uuid(), 'late', %s)",
        project,
        at,
    )


def archive(
    url: str,
    directory: Path,
    *,
    before: date = date(2026, 8, 23),
    say: Say = lambda _line: None,
    stop: Stop | None = None,
) -> Archived:
    """Archive as `hourly --archive` does."""
    return archive_months(
        url, directory, before, NOW, say=say, stop=stop or Stop(),
        attempts=1,
    )  # fmt: skip


def in_table(url: str, where: str = "true") -> list[str]:
    """The events of the table, as far as every shape and the file show them alike."""
    found = rows(
        url,
        "select concat_ws(' ', project_id, visitor_id, session_id, event_type, event_label, "
        "event_data, (extract(epoch from created_at) * 1000000)::bigint) "
        f"from public.analytics_events where {where} order by 1",
    )
    return [line for (line,) in found]


def in_files(directory: Path) -> list[str]:
    """The same of all files of the directory that have their name."""
    names = ("project_id", "visitor_id", "session_id", "event_type", "event_label", "event_data")
    found = [
        " ".join(
            [str(row[name]) for name in names if row[name] is not None]
            + [str(round(row["created_at"].replace(tzinfo=UTC).timestamp() * 1_000_000))]
        )
        for path in directory.glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    return sorted(found)


def aggregates(url: str) -> list[tuple[Any, ...]]:
    """Everything that was counted."""
    return [
        *rows(url, "select h::text from public.analytics_events_hourly_agg h order by 1"),
        *rows(url, "select d::text from public.analytics_events_daily_agg d order by 1"),
        *rows(url, "select v::text from public.analytics_visitor_hour v order by 1"),
        *rows(url, "select v::text from public.analytics_visitor_day v order by 1"),
    ]


def frozen_before(url: str) -> str:
    found = rows(url, "select frozen_before::text from public.analytics_rollup_state")
    return str(found[0][0])


class StopAt(Stop):
    """Stops the run, or kills the process, when it is asked for the nth time. once_frozen: counted
    from when the month of this database is frozen."""

    def __init__(self, times: int, *, kill: bool = False, once_frozen: str = "") -> None:
        super().__init__()
        self._left = times
        self._kill = kill
        self._url = once_frozen

    def is_set(self) -> bool:
        if self._url and frozen_before(self._url) == "-infinity":
            return False
        self._left -= 1
        if self._left == 0 and self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._left <= 0
