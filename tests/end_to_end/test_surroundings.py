"""Where settings come from: `.env` beside the script, the environment, cron's almost empty one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.night import Finished, Night, copy_program


@pytest.fixture
def own_program(tmp_path: Path, night: Night) -> Path:
    """A copy of the program with the night's settings in its `.env`, in a folder with a blank."""
    program = copy_program(tmp_path / "analytics aggregator")
    lines = [f"{name}={value}\n" for name, value in night.environment.items() if name != "PATH"]
    (program / ".env").write_text("# nightly\n\n" + "".join(lines))
    return program


def run(program: Path, cwd: Path, environment: dict[str, str], *arguments: str) -> Finished:
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr, 0.0)


def test_settings_are_found_beside_the_script_from_another_directory(
    own_program: Path, tmp_path: Path, night: Night
) -> None:
    done = run(own_program / "aggregator.py", tmp_path, {"PATH": "/usr/bin:/bin"})
    assert done.status == 0, done
    assert len(night.stored()) == 80


def test_an_empty_environment_as_crons_is_enough(own_program: Path, night: Night) -> None:
    done = run(own_program / "aggregator.py", Path("/"), {})
    assert done.status == 0, done
    assert len(night.stored()) == 80
    assert done.err == ""


def test_the_script_may_be_called_by_a_relative_path_and_through_a_link(
    own_program: Path, tmp_path: Path, night: Night
) -> None:
    link = tmp_path / "link"
    link.symlink_to(own_program / "aggregator.py")
    for script in (link, Path("link"), Path("analytics aggregator/aggregator.py")):
        done = run(script, tmp_path, {}, "--dry-run")
        assert done.status == 0, done
    assert night.stored() == {}


def test_the_process_environment_wins_over_the_file(own_program: Path, night: Night) -> None:
    with (own_program / ".env").open("a") as file:
        file.write("LOOKBACK_DAYS=7\nMATOMO_API_TOKEN=from-the-file\n")
    given = {"LOOKBACK_DAYS": "2", "MATOMO_API_TOKEN": night.environment["MATOMO_API_TOKEN"]}
    done = run(own_program / "aggregator.py", Path("/"), given)
    assert done.status == 0, done
    assert len(night.stored()) == 40


def test_an_empty_variable_is_not_set(own_program: Path, night: Night) -> None:
    with (own_program / ".env").open("a") as file:
        file.write("SUPABASE_URL=\nTIMEZONE=\nLOOKBACK_DAYS=3\n")
    given = {"DATABASE_URL": "", "LOOKBACK_DAYS": "  ", "HTTP_TIMEOUT": "", "GSC_SEARCH_TYPE": ""}
    done = run(own_program / "aggregator.py", Path("/"), given)
    assert done.status == 0, done
    assert len(night.stored()) == 60


def test_the_names_of_older_tools_are_read_too(night: Night) -> None:
    environment = night.environment
    done = night.run(
        DATABASE_URL="", PGDATABASE=environment["DATABASE_URL"],
        MATOMO_API_URL="", MATOMO_URL=environment["MATOMO_API_URL"] + "index.php",
        MATOMO_API_TOKEN="", MATOMO_KEY=environment["MATOMO_API_TOKEN"],
    )  # fmt: skip
    assert done.status == 0, done
    assert len(night.stored()) == 80


def test_nothing_is_written_beside_the_program_but_python_s_own_cache(
    own_program: Path, night: Night
) -> None:
    def files() -> set[str]:
        paths = own_program.rglob("*")
        return {str(path) for path in paths if "__pycache__" not in path.parts}

    before = files()
    assert run(own_program / "aggregator.py", Path("/"), {}).status == 0
    assert files() == before
