"""When a run has to stop: its deadline, the first signal in order, the second one at once."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from stopping import Stop, stopped_by_signals

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def test_without_deadline_and_signal_a_run_goes_on() -> None:
    stop = Stop()
    assert stop.remaining_seconds() == float("inf")
    assert not stop.is_set()


def test_a_deadline_comes_nearer_and_stops_the_run() -> None:
    stop = Stop(0.03)
    assert 0 < stop.remaining_seconds() <= 0.03
    assert not stop.is_set()
    time.sleep(0.04)
    assert stop.is_set()
    assert stop.remaining_seconds() == 0
    assert stop.signal is None
    assert "RUN_DEADLINE" in str(stop.error())


@pytest.mark.parametrize("signum", HANDLED)
def test_a_request_stops_the_run_and_is_named(signum: signal.Signals) -> None:
    stop = Stop(3600)
    stop.request(signum)
    assert stop.is_set()
    assert stop.remaining_seconds() == 0
    assert stop.signal is signum
    assert signum.name in str(stop.error())


def test_a_sleep_lasts_as_long_as_asked() -> None:
    began = time.monotonic()
    Stop().sleep(0.05)
    assert 0.04 < time.monotonic() - began < 1


def test_a_sleep_ends_with_the_deadline() -> None:
    began = time.monotonic()
    Stop(0.05).sleep(10)
    assert time.monotonic() - began < 1


def test_a_sleep_ends_with_a_request() -> None:
    stop, began = Stop(), time.monotonic()
    threading.Timer(0.03, stop.request, [signal.SIGTERM]).start()
    stop.sleep(10)
    assert time.monotonic() - began < 1
    stop.sleep(10)  # and there is no sleeping after it
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("signum", HANDLED)
def test_the_first_signal_stops_in_order_and_the_second_at_once(signum: signal.Signals) -> None:
    received: list[int] = []
    before = signal.signal(signum, lambda number, _frame: received.append(number))
    try:
        stop = Stop()
        with stopped_by_signals(stop):
            os.kill(os.getpid(), signum)
            assert (stop.signal, received) == (signum, [])
            # The kernel's own action: it works inside a call that never returns, too.
            assert {signal.getsignal(known) for known in HANDLED} == {signal.SIG_DFL}
    finally:
        signal.signal(signum, before)


def test_handlers_are_put_back_after_the_run() -> None:
    before = [signal.getsignal(s) for s in HANDLED]
    with stopped_by_signals(Stop()):
        assert [signal.getsignal(s) for s in HANDLED] != before
    assert [signal.getsignal(s) for s in HANDLED] == before


def test_a_signal_that_was_ignored_before_stays_ignored() -> None:
    """`nohup` means it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with stopped_by_signals(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, inside = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with stopped_by_signals(Stop()):
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]
