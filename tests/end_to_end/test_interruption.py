"""Runs that are stopped, killed or out of time: what was complete is stored, the rest untouched."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from sandbox import Fault, World, seed
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import (
    Cells,
    Night,
    asking_for,
    final_days,
    truth,
    without_search,
    without_visits,
)

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
SECONDS_TO_EXIT = 3.0


def wait_until(happened: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def asked(night: Night, source: str, number: int) -> Callable[[], bool]:
    """Whether so many numbers were asked of a source."""
    return lambda: (
        sum(r.source == source and r.sites != () for r in night.sandbox.requests()) >= number
    )


def stop(process: subprocess.Popen[str], signum: signal.Signals) -> tuple[int, str, str]:
    """Exit status, output and error output; the process has three seconds."""
    sent_at = time.monotonic()
    process.send_signal(signum)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - sent_at < SECONDS_TO_EXIT, out
    return process.returncode, out, err


def only_true_numbers(stored: Cells, full: Cells) -> bool:
    """Each stored number is the true one or not known; clicks never come without impressions."""
    return all(
        all(number in (None, true) for number, true in zip(numbers, full[cell], strict=True))
        and (numbers[1] is None) == (numbers[2] is None)
        for cell, numbers in stored.items()
    )


@pytest.mark.parametrize(("signum", "status"), SIGNALS)
def test_a_signal_while_matomo_stalls_stores_everything_else(
    signum: signal.Signals, status: int, night: Night
) -> None:
    days = final_days(night.world)
    full = truth(night.world, night.world.site_numbers, days)
    night.sandbox.faults.add(Fault("matomo", "stall", site=4))
    with night.started(*asking_for(days), MATOMO_SITES_PER_REQUEST="1") as process:
        wait_until(asked(night, "matomo", 20))
        wait_until(asked(night, "query", 20))
        time.sleep(0.5)  # the last answers are on their way
        returned, out, err = stop(process, signum)
    assert (returned, err) == (status, ""), out
    assert night.stored() == without_visits(full, [4])
    assert signum.name in out
    assert out.rstrip().endswith("Stored 60 records.")
    [(recorded, _, failures)] = night.runs()
    assert recorded == "incomplete"
    assert [f["sites"] for f in failures] == [[seed.site_id(4)]]


@pytest.mark.parametrize("source", ["query", "token", "sites"])
def test_a_signal_while_google_stalls_stores_everything_else(source: str, night: Night) -> None:
    days = final_days(night.world)
    full = truth(night.world, night.world.site_numbers, days)
    stalled = [site for site in night.world.site_numbers if night.world.account_of(site) == 2]
    night.sandbox.faults.add(Fault(source, "stall", account=2))  # type: ignore[arg-type]
    with night.started(*asking_for(days)) as process:
        wait_until(asked(night, "matomo", 1))
        wait_until(asked(night, "query", 20 if source == "query" else 20 - len(stalled)))
        time.sleep(0.5)
        returned, out, err = stop(process, signal.SIGTERM)
    assert (returned, err) == (143, ""), out
    assert night.stored() == without_search(full, stalled)


def test_a_signal_before_matomo_has_listed_its_sites_still_stores_the_clicks(night: Night) -> None:
    days = final_days(night.world)
    full = truth(night.world, night.world.site_numbers, days)
    night.sandbox.faults.add(Fault("matomo", "stall"))
    with night.started(*asking_for(days)) as process:
        wait_until(asked(night, "query", 20))
        time.sleep(0.5)
        returned, out, _ = stop(process, signal.SIGTERM)
    assert returned == 143, out
    assert night.stored() == without_visits(full, night.world.site_numbers)


@pytest.mark.parametrize(("signum", "status"), SIGNALS)
@pytest.mark.parametrize("requests", [1, 20, 45])
def test_a_signal_in_the_midst_of_requests_leaves_only_true_numbers(
    requests: int, signum: signal.Signals, status: int, start_night: StartNight
) -> None:
    night = start_night(World(sites=60, accounts=3))
    days = final_days(night.world)
    full = truth(night.world, night.world.site_numbers, days)
    night.sandbox.latency_seconds = 0.15
    slow = {"CONCURRENCY": "4", "MATOMO_SITES_PER_REQUEST": "5"}
    with night.started(*asking_for(days), **slow) as process:
        wait_until(lambda: len(night.sandbox.requests()) >= requests)
        returned, out, _ = stop(process, signum)
    assert returned == status, out
    assert only_true_numbers(night.stored(), full)
    night.sandbox.latency_seconds = 0
    done = night.run(*asking_for(days))
    assert done.status == 0, done
    assert night.stored() == full


@pytest.mark.parametrize("delay_seconds", [0.05, 0.2, 0.35, 0.5])
def test_a_signal_while_the_program_starts_ends_it_without_a_trace_in_the_database(
    delay_seconds: float, night: Night
) -> None:
    """Before the run begins, Python's own handling ends it; a shell shows 143 for both."""
    night.sandbox.faults.add(Fault("matomo", "stall"), Fault("token", "stall"))
    with night.started() as process:
        time.sleep(delay_seconds)
        returned, out, _ = stop(process, signal.SIGTERM)
    assert returned in (143, -signal.SIGTERM), out
    assert only_true_numbers(night.stored(), dict.fromkeys(night.stored(), (None,) * 3))


@pytest.mark.parametrize("requests", [1, 10, 30, 60])
def test_a_killed_run_is_closed_and_made_good_by_the_next(
    requests: int, start_night: StartNight
) -> None:
    night = start_night(World(sites=40, accounts=4))
    days = final_days(night.world)
    full = truth(night.world, night.world.site_numbers, days)
    night.sandbox.latency_seconds = 0.1
    slow = {"CONCURRENCY": "4", "MATOMO_SITES_PER_REQUEST": "2"}
    with night.started(*asking_for(days), **slow) as process:
        wait_until(lambda: len(night.sandbox.requests()) >= requests)
        process.kill()
        process.wait()
    assert only_true_numbers(night.stored(), full)
    assert [status for status, _, _ in night.runs()] == ["running"]

    night.sandbox.latency_seconds = 0
    done = night.run(*asking_for(days))

    assert done.status == 0, done
    assert night.stored() == full
    [(killed, _, failures), (complete, _, _)] = night.runs()
    assert (killed, complete) == ("failed", "complete")
    assert [failure["kind"] for failure in failures] == ["interrupted"]
    assert "never ended: closed as failed" in done.out


SLOW_HANDLER = """
import signal, threading, time
from stopping import Stop
from workers import POLL_SECONDS, Workers
stop = Stop()

def on_alarm(signum, frame):
    time.sleep(2 * POLL_SECONDS)
    stop.request(signal.Signals(signum))

signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, POLL_SECONDS / 2)
workers = Workers(1, stop)
workers.submit(threading.Event().wait)
print(list(workers.results()))
"""


def test_a_signal_that_is_handled_slowly_is_not_slept_through(night: Night) -> None:
    """On a busy machine the handler ends after the poll that it interrupted has run out of time."""
    done = subprocess.run(
        [sys.executable, "-c", SLOW_HANDLER],
        cwd=night.program, capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_the_deadline_is_kept_while_both_sources_stall(night: Night) -> None:
    days = final_days(night.world)
    full = truth(night.world, night.world.site_numbers, days)
    stalled = [site for site in night.world.site_numbers if night.world.account_of(site) == 2]
    night.sandbox.faults.add(Fault("matomo", "stall", site=4), Fault("query", "stall", account=2))
    done = night.run(*asking_for(days), MATOMO_SITES_PER_REQUEST="1", RUN_DEADLINE="3")
    assert done.status == 1, done
    assert done.seconds < 3 + SECONDS_TO_EXIT
    assert night.stored() == without_search(without_visits(full, [4]), stalled)
    assert "RUN_DEADLINE" in done.out


def test_the_deadline_ends_tries_that_would_go_on(night: Night) -> None:
    days = final_days(night.world)
    night.sandbox.faults.add(Fault("matomo", "http_503_html"), Fault("query", "http_429"))
    done = night.run(*asking_for(days), HTTP_ATTEMPTS="20", RUN_DEADLINE="3")
    assert done.status == 1, done
    assert done.seconds < 3 + SECONDS_TO_EXIT
