"""`aggregator.py visits` as a process: killed at any moment, terminated, its exit status."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from models import days_between
from sandbox import Fault, Sandbox, World
from sandbox.world import MATOMO_TOKEN, utc_now
from tests.end_to_end.night import Night
from tests.end_to_end.test_interruption import wait_until
from tests.end_to_end.visit_runs import (
    Clock,
    VisitRuns,
    asking_for,
    differences,
    forget,
    last_run,
    stored,
    truth,
    watermarks,
)
from tests.services.postgres import PostgresServer
from tests.services.postgres_proxy import PostgresProxy

FIRST = utc_now().date() - timedelta(days=7)
LAST = FIRST + timedelta(days=2)
DAYS = asking_for(FIRST, LAST)
WORLD = World(sites=2, time_zones=("Europe/Paris", "Asia/Tokyo"), visits_per_day=12)


@contextmanager
def open_process(program: Path, database_url: str) -> Iterator[Night]:
    """Runs of the program as a process, with the real time."""
    with Sandbox(WORLD) as sandbox:
        variables = {"PATH": os.defpath, "DATABASE_URL": database_url, "RESULTPERPAGE": "5"}
        yield Night(program, sandbox, database_url, variables | sandbox.environment())


def in_this_process(night: Night, database_url: str = "") -> VisitRuns:
    runs = VisitRuns(night.sandbox, Clock(utc_now()), database_url or night.database_url)
    runs.variables["RESULTPERPAGE"] = "5"
    return runs


def check_complete(night: Night) -> None:
    expected = truth(night.sandbox, WORLD.site_numbers, days_between(FIRST, LAST))
    assert differences(stored(night.database_url), expected) == []
    assert watermarks(night.database_url) == dict.fromkeys(WORLD.site_numbers, LAST)


def last_of(texts: Sequence[str], beginning: str) -> int:
    """The number of the last statement that begins like this."""
    return max(n for n, text in enumerate(texts, start=1) if text.startswith(beginning))


MOMENTS = ("insert into public.visit_log_tables", "copy ", 'insert into "public"')
"""The table is claimed; rows are on their way; they are merged."""


def test_a_run_that_is_killed_is_made_good_by_the_next(
    program: Path, postgres: PostgresServer, migrated_url: str
) -> None:
    direct = postgres.url(urlsplit(migrated_url).path.removeprefix("/"), tcp=True)
    with open_process(program, migrated_url) as night, PostgresProxy(direct) as proxy:
        proxy.at(0)
        in_this_process(night, proxy.url).whole(*DAYS)
        moments = [last_of(proxy.texts, beginning) for beginning in MOMENTS]
        # The watermark's transaction: it ends with the statement after the watermarks.
        moments.append(last_of(proxy.texts, "insert into public.visit_log_watermarks") + 1)
        for moment in moments:
            forget(migrated_url)
            with night.started("visits", *DAYS, DATABASE_URL=proxy.url) as process:
                proxy.at(moment, call=process.kill)
                assert process.wait(20) == -signal.SIGKILL
            assert last_run(migrated_url)["status"] == "running"
            done = in_this_process(night).whole(*DAYS)
            assert "never ended: closed as failed" in done.out
            check_complete(night)


def test_a_run_that_is_terminated_stores_what_it_has_and_the_next_goes_on(
    program: Path, migrated_url: str
) -> None:
    with open_process(program, migrated_url) as night:
        night.sandbox.faults.add(Fault("visits", "stall", nth=9))
        with night.started("visits", *DAYS, "-v") as process:
            wait_until(lambda: number_asked(night) >= 12)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (143, ""), out
        assert "SIGTERM" in out
        assert MATOMO_TOKEN not in out
        assert "INCOMPLETE: visit log" in out
        night.sandbox.faults.clear()
        done = night.run("visits", *DAYS)
        assert (done.status, done.err) == (0, ""), done
        assert done.last_line.startswith("Read 6 site-days of 2 sites: 72 visits, ")
        check_complete(night)


def number_asked(night: Night) -> int:
    return sum(record.source == "visits" for record in night.sandbox.requests())


def test_without_a_postgres_connection_string_the_run_says_where_to_find_one(
    program: Path, migrated_url: str
) -> None:
    with open_process(program, migrated_url) as night:
        only_rest = {
            "DATABASE_URL": "",
            "SUPABASE_URL": night.sandbox.url,
            "SUPABASE_SERVICE_KEY": "sentinel-service-key",
        }
        done = night.run("visits", HTTP_ATTEMPTS="1", **only_rest)
    assert done.status == 2, done
    assert "DATABASE_URL is missing" in done.err
    assert "Session pooler" in done.err
    assert "sentinel" not in str(done)
    assert number_asked(night) == 0
