"""`aggregator.py hourly` as a process: its exit status, its words, and who hears of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from datetime import date, timedelta
from pathlib import Path

from sandbox.world import utc_now
from tests.end_to_end.event_runs import (
    COUNTABLE,
    UNCOUNTABLE,
    counted,
    different,
    fill,
    hourly,
    last_run,
    left,
    open_process,
)
from tests.end_to_end.night import Finished, Night
from tests.end_to_end.test_interruption import stop, wait_until
from tests.integration.tables import execute, rows
from tests.services.receiver import Receiver

DAY = "2026-05-05"
SLOW = """
create function slow() returns trigger language plpgsql as
$$ begin perform pg_sleep(0.1); return null; end $$;
create trigger slow before insert on analytics_events_hourly_agg
  for each statement execute function slow()
"""
QUICK_AGAIN = "drop trigger slow on analytics_events_hourly_agg"
HOURS = "select count(distinct hour_bucket) from analytics_events_hourly_agg"
OPEN_RUNS = "select count(*) from aggregator_runs where status = 'running'"


def number(url: str, query: str) -> int:
    [(found,)] = rows(url, query)
    return int(found)


def test_a_run_says_what_it_counted_in_words_and_as_json(program: Path, migrated_url: str) -> None:
    with open_process(program, migrated_url) as events:
        fill(migrated_url, f"{DAY} 00:00+00")
        done = events.run("hourly")
        assert (done.status, done.err) == (0, ""), done
        assert different(migrated_url) == []
        assert re.search(r"COMPLETE: events by hour and day, as of 20\d\d-.* UTC\n", done.out)
        assert re.fullmatch(
            r"Counted \d+ hours and days; none waits, newest hour 2026-05-05 23:00 UTC\.",
            done.last_line,
        )
        done = events.run(
            "hourly", "--from", DAY, "--to", f"{DAY}T05", "--log-format", "json", "-v"
        )
        assert (done.status, done.err) == (0, ""), done
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert any("6 hours marked" in line["message"] for line in lines)
        job, status, counts, _ = last_run(migrated_url)
        assert (job, status) == ("hourly", "complete")
        assert lines[-1]["counts"] == counts
        window = "select window_from, window_to from aggregator_runs order by id"
        assert rows(migrated_url, window) == [(None, None), (date(2026, 5, 5),) * 2]


def interrupted(events: Night, signum: signal.Signals) -> tuple[int, str, str]:
    """A drain that gets the signal once hours are being counted."""
    url = events.database_url
    before = number(url, HOURS)
    with events.started("hourly") as process:
        wait_until(lambda: number(url, OPEN_RUNS) == 1 and number(url, HOURS) > before + 1)
        return stop(process, signum)


def test_a_run_that_is_stopped_keeps_what_it_counted_and_the_next_goes_on(
    program: Path, migrated_url: str
) -> None:
    execute(migrated_url, SLOW)
    fill(migrated_url, "2026-05-02 00:00+00", "9 days", 864)
    waited = left(migrated_url)
    with open_process(program, migrated_url) as events:
        for signum, exit_status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            status, out, err = interrupted(events, signum)
            assert (status, err) == (exit_status, ""), out
            assert "INCOMPLETE: events by hour and day" in out
            assert "run it again: it goes on where it stopped" in out
            job, state, counts, [failure] = last_run(migrated_url)
            assert (job, state, failure["kind"]) == ("hourly", "incomplete", "interrupted")
            assert f"Counted {counts['counted']} hours and days" in out
        # Each hour is whole: what is not as its events are was not counted at all.
        gaps = [(what, at) for what, at, *_ in different(migrated_url)]
        assert {what for what, _ in gaps} == {"not stored"}
        status, out, err = interrupted(events, signal.SIGKILL)
        assert (status, number(migrated_url, OPEN_RUNS)) == (-signal.SIGKILL, 1)
        assert 6 <= number(migrated_url, HOURS) < waited
        execute(migrated_url, QUICK_AGAIN)
        done = events.run("hourly")
    assert done.status == 0, done
    assert "never ended: closed as failed" in done.out
    assert different(migrated_url) == []
    assert number(migrated_url, OPEN_RUNS) == 0


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    assert err == ""
    return process.returncode, out


def test_two_runs_at_once_share_the_work(program: Path, migrated_url: str) -> None:
    fill(migrated_url, "2026-01-29 00:00+00", "8 days", 400)
    with (
        open_process(program, migrated_url) as events,
        events.started("hourly") as one,
        events.started("hourly") as other,
    ):
        found = [ended(one), ended(other)]
    assert [status for status, _ in found] == [0, 0], found
    assert different(migrated_url) == []
    assert left(migrated_url) == 0
    runs = "select job, status, failures from aggregator_runs"
    assert rows(migrated_url, runs) == [("hourly", "complete", [])] * 2


def check_could_not_run(done: Finished, *words: str) -> None:
    assert done.status == 2, done
    assert "Could not run:" in done.err
    assert "  -> " in done.err
    for word in words:
        assert word in done.err, done


def test_what_keeps_it_from_running_is_said_with_what_mends_it(
    program: Path, migrated_url: str, database_url: str
) -> None:
    rest = {
        "SUPABASE_URL": "https://p.supabase.example",
        "SUPABASE_SERVICE_KEY": "sentinel-service-key",
    }
    with open_process(program, migrated_url, HTTP_ATTEMPTS="1") as events:
        for words, variables, said in (
            (["hourly"], {"DATABASE_URL": ""}, ["DATABASE_URL is missing"]),
            (["hourly", "--check"], {"DATABASE_URL": "", **rest}, ["DATABASE_URL is missing",
                                                                   "Session pooler"]),
            (["hourly"], {"DATABASE_URL": database_url}, ["analytics_", "aggregator.py migrate"]),
            (["hourly", "--check"], {"DATABASE_URL": database_url}, ["aggregator.py migrate"]),
        ):  # fmt: skip
            done = events.run(*words, **variables)
            check_could_not_run(done, *said)
            assert "sentinel" not in str(done)
    assert rows(migrated_url, "select * from aggregator_runs") == []


def test_health_check_and_webhook_hear_of_it(program: Path, migrated_url: str) -> None:
    fill(migrated_url, f"{DAY} 00:00+00")
    with Receiver() as receiver, open_process(program, migrated_url) as events:
        events.environment |= receiver.environment()
        done = events.run("hourly")
        (start, _), (success, body) = receiver.pings()
        assert (start, success) == ("/start", "")
        assert body.endswith(done.last_line)
        assert events.run("hourly", "--all").status == 0
        assert receiver.pings() == [], "whoever asks for hours sits at a terminal"
        for job in ("hourly", "hourly-check"):
            words, variables = job.replace("-", " --").split()[1:], receiver.environment()
            if job == "hourly":
                execute(migrated_url, UNCOUNTABLE)
            told = []
            for _ in range(3):
                ran = hourly(migrated_url, *words, **variables)
                assert ran.status == 1, ran
                told.append(receiver.messages())
            assert [len(messages) for messages in told] == [0, 0, 1]
            assert f", {job} on" in told[2][0]
            assert {what for what, _ in receiver.pings()} == {"/start", "/fail"}
            if job == "hourly":
                execute(migrated_url, COUNTABLE)
                assert hourly(migrated_url, **variables).status == 0
                [text] = receiver.messages()
                assert "recovered" in text
                assert [what for what, _ in receiver.pings()] == ["/start", ""]


def test_old_months_go_into_files_and_their_numbers_stay(
    program: Path, migrated_url: str, tmp_path: Path
) -> None:
    month = (utc_now().date() - timedelta(days=150)).replace(day=1)
    execute(migrated_url, "select analytics_rollup_make_month('analytics_events', %s)", month)
    fill(migrated_url, f"{month} 00:00+00", "20 days", 300)
    fill(migrated_url, f"{utc_now().date()} 00:00+00", "1 minute", 7)
    counted(migrated_url)
    numbers = "select h::text from analytics_events_hourly_agg h union all "
    numbers += "select d::text from analytics_events_daily_agg d order by 1"
    before = rows(migrated_url, numbers)
    archive = tmp_path / "archive"
    with open_process(program, migrated_url) as events:
        done = events.run("hourly", "--archive", str(archive))
        assert (done.status, done.err) == (0, ""), done
        assert done.last_line == f"Archived 300 events into {archive}: {month:%Y-%m}."
        job, status, counts, _ = last_run(migrated_url)
        assert (job, status) == ("hourly-archive", "complete")
        assert counts == {"months": 1, "events": 300}
        assert [path.name for path in archive.glob("*.parquet")] == [
            f"analytics_events_{month:%Y-%m}.parquet"
        ]
        assert number(migrated_url, "select count(*) from analytics_events") == 7
    ran = hourly(migrated_url, "--all")
    assert (ran.status, rows(migrated_url, numbers)) == (0, before), ran
