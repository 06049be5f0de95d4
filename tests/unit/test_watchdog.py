"""What lasts too long is cut off, and nothing else is."""

from __future__ import annotations

import threading
import time

import pytest

from watchdog import TICK_SECONDS, Watchdog


def test_a_call_that_lasts_too_long_is_cut_once() -> None:
    cut = threading.Event()
    began = time.monotonic()
    with Watchdog().limit(0.05, cut.set):
        assert cut.wait(5)
    assert time.monotonic() - began < 0.05 + 4 * TICK_SECONDS


def test_a_call_that_ends_in_time_is_left_alone() -> None:
    cut = threading.Event()
    dog = Watchdog()
    with dog.limit(0.01, lambda: None), dog.limit(2 * TICK_SECONDS, cut.set):
        pass
    assert not cut.wait(4 * TICK_SECONDS)


def test_a_call_that_fails_is_no_longer_watched() -> None:
    cut = threading.Event()
    dog = Watchdog()
    with pytest.raises(ZeroDivisionError), dog.limit(TICK_SECONDS, cut.set):
        _ = 1 // 0
    assert not cut.wait(3 * TICK_SECONDS)
