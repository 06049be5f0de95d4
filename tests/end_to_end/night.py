"""A database, the sandbox and the real program as a process of its own: what every test here needs.

The program runs from a copy without `.env`: a developer's own settings name a real database, and a
variable of theirs cannot be unset from outside (empty means not set).
"""

from __future__ import annotations

import atexit
import compileall
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from models import days_between
from sandbox import Sandbox, World, seed
from tests.integration.tables import Numbers, fill, read_numbers, rows

SOURCE = Path(__file__).parents[2]
NOT_COPIED = (".*", "__pycache__", "tests", "bench", "docs", "examples", "node_modules")
TIMEOUT_SECONDS = 90

Cells = dict[tuple[int, date], Numbers]
"""What is stored by (number of the site in its World, day)."""


@dataclass(frozen=True)
class Finished:
    """What became of one command."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def last_line(self) -> str:
        return self.out.rstrip("\n").rpartition("\n")[2]

    def __str__(self) -> str:
        return f"exit {self.status} after {self.seconds:.1f} s\n{self.out}\n--- stderr\n{self.err}"


@dataclass
class Night:
    """Run `aggregator.py` against a sandbox and a database, and see what it stored."""

    program: Path
    sandbox: Sandbox
    database_url: str
    environment: dict[str, str] = field(default_factory=dict)
    stdin: int = subprocess.DEVNULL

    @property
    def world(self) -> World:
        return self.sandbox.world

    def run(self, *arguments: str, **variables: str) -> Finished:
        """One command with these further variables; an empty one is passed on as empty."""
        started_at = time.monotonic()
        with self.started(*arguments, **variables) as process:
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
            return Finished(process.returncode, out, err, time.monotonic() - started_at)

    @contextmanager
    def started(self, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; whatever happens, it is gone afterwards."""
        with subprocess.Popen(
            [sys.executable, self.program / "aggregator.py", *arguments],
            stdin=self.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env=self.environment | variables,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def stored(self) -> Cells:
        """All of daily_analytics."""
        numbers = {seed.site_id(site): site for site in self.world.site_numbers}
        return {(numbers[str(s)], d): n for (s, d), n in read_numbers(self.database_url).items()}

    def runs(self) -> list[tuple[str, dict[str, int], list[dict[str, object]]]]:
        """(status, counts, failures) of the run history, oldest first."""
        query = "select status, counts, failures from public.aggregator_runs order by id"
        return [
            (status, counts, failures)
            for status, counts, failures in rows(self.database_url, query)
        ]


@contextmanager
def open_night(program: Path, database_url: str, world: World) -> Iterator[Night]:
    """The world's sandbox, running, and its sites in the (migrated) database."""
    fill(database_url, world)
    with Sandbox(world) as sandbox:
        environment = {
            "PATH": os.defpath,
            "DATABASE_URL": database_url,
            "HTTP_ATTEMPTS": "2",
            **sandbox.environment(),
        }
        yield Night(program, sandbox, database_url, environment)


def copy_program(target: Path) -> Path:
    """The program's files in `target`, without settings and tests, and compiled already."""
    shutil.copytree(_compiled_program(), target)
    return target


@functools.cache
def _compiled_program() -> Path:
    """A copy to make others from: each would compile the same files anew."""
    folder = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = Path(folder) / "program"
    shutil.copytree(SOURCE, program, ignore=shutil.ignore_patterns(*NOT_COPIED))
    compileall.compile_dir(program, quiet=2)
    return program


def final_days(world: World, number: int = 3) -> list[date]:
    """Days so far back that Search Console has settled them."""
    last = world.today() - timedelta(days=10)
    return days_between(last - timedelta(days=number - 1), last)


def asking_for(days: list[date]) -> list[str]:
    """The options that ask for these days."""
    return ["--from", str(days[0]), "--to", str(days[-1])]


def truth(world: World, sites: Iterable[int], days: Iterable[date]) -> Cells:
    """What a run without any failure stores, from the pure functions of the world alone."""
    days = list(days)
    return {(site, day): true_numbers(world, site, day) for site in sites for day in days}


def true_numbers(world: World, site: int, day: date) -> Numbers:
    """Visits, and clicks and impressions in the four states of facts/gsc.md."""
    clicks, impressions = world.clicks(site, day), world.impressions(site, day)
    published = world.search_state(day)
    if published in ("unpublished", "expired"):
        return (world.visits(site, day), None, None)
    if published == "provisional" and impressions == 0:
        later = days_between(day, world.newest())[1:]
        if not any(world.impressions(site, later_day) for later_day in later):
            return (world.visits(site, day), None, None)
    return (world.visits(site, day), clicks, impressions)


def without_visits(cells: Mapping[tuple[int, date], Numbers], sites: Iterable[int]) -> Cells:
    """The same, with the visits of these sites not known."""
    sites = set(sites)
    return {
        (site, day): ((None if site in sites else numbers[0]), *numbers[1:])
        for (site, day), numbers in cells.items()
    }


def without_search(cells: Mapping[tuple[int, date], Numbers], sites: Iterable[int]) -> Cells:
    """The same, with clicks and impressions of these sites not known."""
    sites = set(sites)
    return {
        (site, day): ((numbers[0], None, None) if site in sites else numbers)
        for (site, day), numbers in cells.items()
    }


def summary_line(sites: int, matomo: int, gsc: int, stored: int) -> str:
    """The contract's last line."""
    return (
        f"Processed {sites} sites. Fetched Matomo data for {matomo}. "
        f"Fetched GSC data for {gsc}. Stored {stored} records."
    )
