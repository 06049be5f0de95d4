"""`--help` answers at once; `migrate`; the demo runs from a folder that is closed to others."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

import cli
from storage.embedded import EmbeddedPostgres
from tests.end_to_end.night import Night, copy_program
from tests.integration.tables import rows

HEAVY = (
    "cryptography", "google", "googleapiclient", "httplib2", "httpx", "psycopg", "requests", "rich",
    "supabase", "tenacity", "urllib3",
)  # fmt: skip


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)], ids=str)
def test_help_answers_at_once_with_an_example(command: list[str], program: Path) -> None:
    line = [sys.executable, str(program / "aggregator.py"), *command, "--help"]
    seconds = []
    for _ in range(3):
        started_at = time.perf_counter()
        done = subprocess.run(line, env={}, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started_at)
    assert "example:\n  aggregator.py" in done.stdout
    assert "exit status:" in done.stdout
    assert min(seconds) < 1, seconds  # 0.3 s on an idle machine


def test_help_loads_nothing_heavy(program: Path) -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['aggregator.py', 'daily', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        f"print('heavy:', sorted(set(sys.modules) & set({HEAVY!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{code}"],
        cwd=program, env={}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_migrate_makes_the_tables_once_and_lists_them(night: Night, database_url: str) -> None:
    def run(*options: str) -> list[str]:
        done = night.run("migrate", *options, DATABASE_URL=database_url)
        assert done.status == 0, done
        return done.out.splitlines()

    files = sorted(path.name for path in (night.program / "supabase/migrations").glob("*.sql"))
    assert run("--status") == [f"pending  {name}" for name in files]
    assert rows(database_url, "select count(*) from pg_tables where schemaname = 'public'") == [
        (0,)
    ]
    assert run() == [
        *(f"applied  {name}" for name in files),
        "made     table matomo, for the visit log",
        f"{len(files)} applied, nothing pending",
    ]
    assert run() == ["nothing pending"]
    assert run("--status") == [f"applied  {name}" for name in files]


def modes_of_parents(path: Path) -> dict[Path, int]:
    return {place: stat.S_IMODE(place.stat().st_mode) for place in [path, *path.parents]}


def test_the_demo_runs_in_a_closed_folder_and_changes_no_mode(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = copy_program(closed / "program")
    before = modes_of_parents(program)
    started_at = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, program / "aggregator.py", "demo"],
            env={"PATH": os.environ["PATH"]}, cwd="/",
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        seconds = time.monotonic() - started_at
        assert done.returncode == 0, done.stdout + done.stderr
        assert seconds < 30  # 15 s on an idle machine
        assert "What daily_analytics holds now" in done.stdout
        assert "Stored 792 records." in done.stdout
        assert "give consent again" in done.stdout
        check_demo_events(done.stdout)
        check_demo_social(done.stdout)
        assert modes_of_parents(program) == before
        check_demo_database(program / ".demo" / "postgres")
    finally:
        shutil.rmtree(where_the_data_are(program / ".demo" / "postgres"), ignore_errors=True)


def check_demo_events(shown: str) -> None:
    """Late ones are counted alone; the numbers are the same each time."""
    first, late = re.findall(r"Counted (\d+) hours and days; none waits", shown)
    assert int(first) >= 72
    assert int(late) == 2
    [numbers] = re.findall(r"all of them +([\d,]+) +([\d,]+) +([\d,]+)", shown)
    assert numbers == ("6,767", "401", "5,603")


def check_demo_social(shown: str) -> None:
    """One token is dead; everything that the platforms have published is there of the others."""
    assert "Platforms: 7/8 successful" in shown
    accounts = re.findall(r"^ +(facebook|instagram|linkedin|youtube) +(\d+) ", shown, re.MULTILINE)
    assert dict(accounts) == {"facebook": "2", "instagram": "1", "linkedin": "2", "youtube": "2"}


def where_the_data_are(directory: Path) -> Path:
    """The directory, or for root the one under /var/tmp that a server of its own can get to."""
    server = EmbeddedPostgres(directory)
    server.start()
    server.stop()
    return server.location


def check_demo_database(directory: Path) -> None:
    """What the demo stored stays: 28 days of 198 sites, and events."""
    server = EmbeddedPostgres(directory)
    try:
        with psycopg.connect(server.start()) as connection:
            [found] = connection.execute(
                "select (select count(*) from daily_analytics), "
                "(select count(*) from analytics_events), "
                "(select sum(event_count) from analytics_events_hourly_agg)"
            ).fetchall()
    finally:
        server.stop()
    assert found == (28 * 198, 20_600, 20_600)
