"""Runs a program against the sandbox and a database, and says what the run took."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from compileall import compile_dir
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processors import cpu_seconds, machine_busy_seconds
from bench.results import CouldNotRun, seconds
from bench.servers import Api, Postgres
from config import HOME, Settings

CONCURRENCY = Settings().concurrency
LAUNCH = Path(__file__).with_name("launch.py")
NOT_COPIED = (".*", "tests", "bench", "docs", "__pycache__")
LINES_SHOWN = 8
OTHERS_COUNT_FROM = 0.1


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cases share. program: the folder of the copy that is measured."""

    postgres: Postgres
    program: Path

    def aggregator(self, api: Api, url: str, *arguments: str) -> Run:
        """One run of aggregator.py, from the start of its process to its end."""
        command = [sys.executable, str(self.program / "aggregator.py"), "-q", *arguments]
        return self._run(command, api, url)

    def plain(self, api: Api, url: str, *arguments: str) -> Run:
        """One run of the plain version."""
        return self.module(api, url, "bench.plain", *arguments)

    def module(self, api: Api, url: str, name: str, *arguments: str) -> Run:
        """One run of a module of this package."""
        return self._run([sys.executable, "-m", name, *arguments], api, url)

    def _run(self, command: Sequence[str], api: Api, url: str) -> Run:
        before = self._clocks(api)
        requests_before = api.count_requests()
        took = launch(command[1:], {**api.environment, "DATABASE_URL": url})
        machine, sandbox, database = (
            after - b for after, b in zip(self._clocks(api), before, strict=True)
        )
        return Run(
            **took,
            sandbox_seconds=sandbox,
            database_seconds=database,
            others_seconds=machine - took["cpu_seconds"] - sandbox - database,
            requests=api.count_requests() - requests_before,
            latency_seconds=api.latency_seconds,
        )

    def _clocks(self, api: Api) -> tuple[float, float, float]:
        return machine_busy_seconds(), cpu_seconds(api.pid), cpu_seconds(self.postgres.pid)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took. Processor times of: the program, the sandbox, the database, the rest."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    sandbox_seconds: float
    database_seconds: float
    others_seconds: float
    requests: int
    latency_seconds: float

    @property
    def requests_seconds(self) -> float:
        """The least time that the requests alone take: all places for one taken all the time."""
        return self.requests / CONCURRENCY * self.latency_seconds

    def binds(self) -> str:
        """The parts of the run's duration, longest first. They overlap."""
        parts = {
            "own CPU": self.cpu_seconds,
            "requests": self.requests_seconds,
            "sandbox CPU": self.sandbox_seconds,
            "database CPU": self.database_seconds,
        }
        if self.others_seconds > OTHERS_COUNT_FROM * self.wall_seconds:
            parts["other programs' CPU"] = self.others_seconds
        return describe_parts(parts)


def describe_parts(parts: Mapping[str, float]) -> str:
    """`own CPU 1.10 s, requests 0.90 s`, longest first, without what took nothing."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {seconds(took)}" for name, took in ordered if took >= 0.005)


@contextmanager
def program_copy() -> Iterator[Path]:
    """A copy of the program without its `.env`: that could name somebody's own database.

    Compiled, as after a first run.
    """
    with tempfile.TemporaryDirectory(prefix="bench-program-") as folder:
        copy = Path(folder) / "program"
        shutil.copytree(HOME, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        compile_dir(copy, quiet=1)
        yield copy


def launch(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Run Python through launch.py; its duration, processor time and peak memory."""
    command = [sys.executable, *arguments]
    with tempfile.TemporaryDirectory(prefix="bench-launch-") as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCH), str(report), *command],
            cwd=HOME,
            env={"PATH": os.environ.get("PATH", os.defpath), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-LINES_SHOWN:])
            raise CouldNotRun(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
        took: dict[str, float] = json.loads(report.read_text())
        return took
