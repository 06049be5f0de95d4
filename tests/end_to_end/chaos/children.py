"""Runs in a process of their own, for signals, kills and two at once.

A fork server has the program loaded, so a child begins in milliseconds, with any clock.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from config import Settings
from tests.end_to_end.chaos.program import Outcome, call_program

SECONDS = 30

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        __name__,
        "jobs.daily_gsc",
        "jobs.visits",
        "jobs.hourly",
        "jobs.social",
        "storage.postgres",
        "storage.rest",
    ]
)


class Child:
    """One run that began; `end` waits for it."""

    def __init__(self, words: Sequence[str], settings: Settings, now: datetime) -> None:
        handle, name = tempfile.mkstemp(prefix="chaos-")
        os.close(handle)
        self._output = Path(name)
        self._process = _processes.Process(target=_run, args=(name, words, settings, now))
        self._process.start()

    def send(self, signum: signal.Signals) -> None:
        """From whatever thread; a process that has ended gets none."""
        pid = self._process.pid
        with suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signum)

    def runs(self) -> bool:
        return self._process.is_alive()

    def end(self) -> Outcome:
        """Exit status (negative: killed by that signal) and output; it has 30 seconds."""
        self._process.join(SECONDS)
        status = self._process.exitcode
        if status is None:
            self._process.kill()
            self._process.join()
        printed = self._output.read_text()
        self._output.unlink()
        self._process.close()
        if status is None:
            raise AssertionError(f"a run has not ended within {SECONDS} s:\n{printed}")
        return Outcome(status, printed)


def _run(output: str, words: Sequence[str], settings: Settings, now: datetime) -> None:
    target = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    status = call_program(words, settings, now)
    sys.stdout.flush()
    os._exit(status)
