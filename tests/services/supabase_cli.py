"""The real Supabase CLI, pushing a folder's migrations: no login, no Docker, no telemetry."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from tests.services.programs import SUPABASE, existing

TIMEOUT_SECONDS = 120


def push(
    project_dir: Path, db_url: str, dry_run: bool = False, include_all: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs `supabase db push` for `project_dir`/supabase/migrations, whatever its exit status.

    `db_url` must be a TCP address: the CLI knows no unix sockets. `include_all` also applies
    migrations older than the newest that is recorded, which the CLI refuses otherwise.
    """
    flags = ["--dry-run"] * dry_run + ["--include-all"] * include_all
    return _supabase(project_dir, db_url, *flags)


def pending(project_dir: Path, db_url: str) -> list[str]:
    """File names of the migrations that a push would apply, in order; fails where a push would."""
    done = _supabase(project_dir, db_url, "--dry-run", "--output-format", "json")
    if done.returncode:
        raise RuntimeError(f"supabase db push --dry-run failed:\n{done.stdout}{done.stderr}")
    names: list[str] = json.loads(done.stdout)["migrations"]
    return names


def _supabase(project_dir: Path, db_url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    program = str(existing(SUPABASE))
    command = [program, "db", "push", "--agent=no", "--yes", f"--workdir={project_dir}"]
    with tempfile.TemporaryDirectory(prefix="supabase-home-") as home:
        return subprocess.run(
            [*command, f"--remote={db_url}", *flags],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            env={
                "PATH": os.defpath,
                "HOME": home,
                "NO_COLOR": "1",
                "PGSSLMODE": "disable",
                # Without these two the CLI looks up its telemetry host (seen with strace).
                "DO_NOT_TRACK": "1",
                "SUPABASE_TELEMETRY_DISABLED": "1",
                "SUPABASE_NO_UPDATE_NOTIFIER": "1",
            },
        )
