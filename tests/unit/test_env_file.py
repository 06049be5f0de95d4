"""Who else may read `.env`."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import env_file_warning


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o610, 0o777])
def test_a_file_of_secrets_that_others_can_get_at_is_warned_of(mode: int, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("MATOMO_API_TOKEN=sentinel\n")
    dotenv.chmod(mode)
    warning = env_file_warning(dotenv)
    assert warning is not None
    assert warning.startswith(f"{dotenv} is open to other users (mode {mode:o})")
    assert warning.endswith(f"chmod 600 {dotenv}")
    assert "sentinel" not in warning


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_its_owner_alone_is_fine(mode: int, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.touch()
    dotenv.chmod(mode)
    assert env_file_warning(dotenv) is None


def test_what_a_link_leads_to_counts_not_the_link(tmp_path: Path) -> None:
    secrets, dotenv = tmp_path / "secrets", tmp_path / ".env"
    secrets.touch()
    dotenv.symlink_to(secrets)
    secrets.chmod(0o600)
    assert env_file_warning(dotenv) is None
    secrets.chmod(0o640)
    assert env_file_warning(dotenv) is not None


def test_without_the_file_there_is_nothing_to_warn_of(tmp_path: Path) -> None:
    assert env_file_warning(tmp_path / ".env") is None
    assert env_file_warning(tmp_path / "file" / ".env") is None


def test_the_command_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    folder.mkdir()
    (folder / ".env").touch(0o644)
    (folder / ".env").chmod(0o644)
    warning = env_file_warning(folder / ".env")
    assert warning is not None
    assert "it'\"'\"'s mine/.env'" in warning.partition("chmod 600 ")[2]
