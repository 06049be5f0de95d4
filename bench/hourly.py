"""The initial backfill of the hourly rollup and the same again, beside the design's statement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg

from bench import hourly_design as design
from bench.hourly_check import check_daily, check_hourly
from bench.hourly_events import DAYS, Shape
from bench.hourly_fills import Fill, design_fill, hourly_fill, megabytes
from bench.hourly_server import ROLLED_UP, database_with_events, keep_rolled_up
from bench.results import CouldNotRun, Row, seconds
from bench.runs import Bench

FIRST_FASTER, AGAIN_FASTER = 2.3, 4.0
LONGEST_STATEMENT = 60.0
FLAT = 1.25
"""How much more memory the whole may take than its last day alone."""

PROGRAM_MB = 200


def hourly_backfill(bench: Bench) -> Iterator[Row]:
    """Both from the same events to committed rows, each twice.

    The rollup's run goes on after the hours, with days and their visitors: both times are told.
    """
    url = database_with_events(ROLLED_UP)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select count(*) from analytics_events where event_data is not null")
        for statements in (design.TABLE, design.INDEXES):
            connection.execute(statements.encode())
    theirs = design_fill(url)
    check_hourly(url, f"{design.SCHEMA}.analytics_events_hourly_agg")
    theirs_again = design_fill(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop schema design cascade")
    ours = hourly_fill(bench, url, "--all")
    check_hourly(url)
    check_daily(url)
    started_at = _now(url)
    again = hourly_fill(bench, url, "--all")
    check_hourly(url)
    if rewritten := _rows_written_since(url, started_at):
        raise CouldNotRun(f"{rewritten} rows were written though nothing had changed")
    keep_rolled_up()
    last_day = str(Shape().to_at.date() - timedelta(days=1))
    one_day = hourly_fill(bench, url, "--from", last_day, "--to", last_day)
    yield from _rows(ours, again, one_day, theirs, theirs_again)


def _rows(
    ours: Fill, again: Fill, one_day: Fill, theirs: Fill, theirs_again: Fill
) -> Iterator[Row]:
    what = f"hourly rollup, {ours.events:,} events of {DAYS} days"
    hours_speed = ours.events / ours.seen.hours_seconds
    yield Row(
        f"{what}, initial backfill of the hourly rows, which is what the design has",
        f"{hours_speed:,.0f} events/s ({seconds(ours.seen.hours_seconds)})",
        f"at least {FIRST_FASTER} x the design's speed",
        f"the design's one statement: {theirs}",
        hours_speed / theirs.speed,
        hours_speed >= FIRST_FASTER * theirs.speed,
        "with the visitors of each hour; from then on readers answer",
    )
    yield Row(
        "the same to its end: closed days by three grains, their visitors, who returned",
        str(ours),
        "",
        f"the design's one statement, which has none of it: {theirs}",
        ours.speed / theirs.speed,
        None,
        f"{_cpu_factor(ours, theirs)}; {ours.used()}; tables {megabytes(ours.bytes_after)}, "
        f"the design's {megabytes(theirs.bytes_after)}",
    )
    yield Row(
        "the same: longest statement, memory",
        f"{seconds(ours.longest_statement)}; {ours.seen.peak_mb:.0f} MB, again "
        f"{again.seen.peak_mb:.0f} MB",
        f"under {LONGEST_STATEMENT:.0f} s; at most {FLAT} x a single day's "
        f"{one_day.seen.peak_mb:.0f} MB, the program under {PROGRAM_MB} MB",
        f"the design: {seconds(theirs.longest_statement)}, {theirs.seen.peak_mb:.0f} MB",
        theirs.longest_statement / ours.longest_statement,
        ours.longest_statement < LONGEST_STATEMENT
        and max(ours.seen.peak_mb, again.seen.peak_mb) <= FLAT * one_day.seen.peak_mb
        and ours.program_mb < PROGRAM_MB,
    )
    yield Row(
        f"{what}, again, nothing changed",
        str(again),
        f"at least {AGAIN_FASTER} x the design's re-run, size unchanged",
        f"the design's again: {theirs_again} ({theirs_again.size()})",
        again.speed / theirs_again.speed,
        again.speed >= AGAIN_FASTER * theirs_again.speed
        and again.bytes_after == again.bytes_before
        and again.longest_statement < LONGEST_STATEMENT,
        f"{again.size()}; longest statement {seconds(again.longest_statement)}; "
        f"{_cpu_factor(again, theirs_again)}; {again.used()}",
    )


def _cpu_factor(ours: Fill, theirs: Fill) -> str:
    """What a busy machine changes least."""
    return f"by the database's CPU {theirs.database_seconds / ours.database_seconds:.2f} x"


def _rows_written_since(url: str, at: datetime) -> int:
    """Rows that tell when they were written: hourly and daily ones."""
    with psycopg.connect(url) as connection:
        query = """
          select (select count(*) from analytics_events_hourly_agg where updated_at >= %(at)s)
            + (select count(*) from analytics_events_daily_agg where updated_at >= %(at)s)
        """
        row = connection.execute(query, {"at": at}).fetchone()
        return int(row[0]) if row else 0


def _now(url: str) -> datetime:
    with psycopg.connect(url) as connection:
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        found: datetime = row[0]
        return found
