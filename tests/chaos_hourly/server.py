"""A server of the tests that can be killed, with everything it has in memory."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.services.postgres import PostgresServer

SETTLE_SECONDS = 30.0

BACKENDS = """
select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
"""


class MortalServer(PostgresServer):
    """fsync is off: what was written is lost by a crash of the machine, not by a kill."""

    def kill(self) -> None:
        """kill -9 of the postmaster and of all its processes; then it starts again."""
        process = self._process
        assert process is not None
        for pid in (process.pid, *_children(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(SETTLE_SECONDS)
        self._process = None
        give_up_at = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                self._start()
            except RuntimeError:  # the last processes of the old one are still there
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.1)
            else:
                return

    def wait(self) -> None:
        """Until it answers, after a kill."""
        assert self._process is not None
        self._wait_until_it_answers(self._process)

    def kill_backend(self, choose: int) -> None:
        """kill -9 of one session: the postmaster ends all others and recovers."""
        gone = (psycopg.OperationalError, ProcessLookupError)
        with suppress(*gone), psycopg.connect(self.url()) as connection:
            pids = [pid for (pid,) in connection.execute(BACKENDS)]
            if pids:
                os.kill(pids[choose % len(pids)], signal.SIGKILL)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
