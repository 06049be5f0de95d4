"""The scan for secrets sees what this program's secrets look like, and lets made-up ones be."""

from __future__ import annotations

import base64
import random
import string
import subprocess
from pathlib import Path

import jwt
import pytest

from checks.secrets import files_of, find_secrets, write_history

URL_SAFE = string.ascii_letters + string.digits + "-_"


def letters(number: int, alphabet: str = URL_SAFE) -> str:
    """Like a real one, and in no file: the scan would find it here."""
    chosen = random.Random(7)
    return "".join(chosen.choice(alphabet) for _ in range(number))


def hexadecimal(number: int) -> str:
    return letters(number, "0123456789abcdef")


FERNET_KEY = base64.urlsafe_b64encode(random.Random(7).randbytes(32)).decode()
LEAKS = {
    "a refresh token": ("seed.sql", f"insert into gsc_accounts values (1, '1//0{letters(60)}');"),
    "an access token": ("notes.md", f"curl -H 'Authorization: Bearer ya29.{letters(80)}'"),
    "a client secret": ("client.txt", f"GOCSPX-{letters(28)}"),
    "a client's file": ("client.json", f'{{"installed": "GOCSPX-{letters(28)}"}}'),
    "a service key": ("job.yml", f"  key: sb_secret_{letters(22)}_{letters(8)}"),
    "a legacy service key": (
        "run.sh",
        "export KEY=" + jwt.encode({"role": "service_role"}, letters(32), algorithm="HS256"),
    ),
    "a Fernet key": ("README.md", f"ENCRYPTION_KEY is {FERNET_KEY}"),
    "an encrypted token": ("dump.csv", f"7,gAAAAAB{letters(113)}=="),
    "Matomo's token in an address": ("a.txt", f"https://m/?token_auth={hexadecimal(32)}&x=1"),
    "Matomo's token in Python": ("a.py", f'token = "{hexadecimal(32)}"'),
    "a database's password": ("cron", f"DATABASE_URL=postgresql://u:{letters(16)}@db:5432/d"),
    "a copy of .env": (".env.old", f"MATOMO_API_TOKEN={hexadecimal(32)}"),
    "a private key": ("key.pem", "-----BEGIN PRIVATE " + "KEY-----\nMIGHAgEAMBMGByqGSM49\n"),
    "a chat's webhook": (
        "a.md",
        f"https://hooks.slack.com/services/T{letters(8, string.ascii_uppercase)}/"
        f"B{letters(8, string.ascii_uppercase)}/{letters(24, string.ascii_letters)}",
    ),
    "a health check": (
        "crontab",
        f"https://hc-ping.com/{hexadecimal(8)}-{hexadecimal(4)}-4000-8000-{hexadecimal(12)}",
    ),
    "one that a comment excuses": (
        "a.py",
        f'key = "sb_secret_{letters(22)}"  # pragma: allowlist secret',
    ),
}  # fmt: skip


def planted(folder: Path, name: str, text: str) -> list[str]:
    (folder / name).write_text(f"first line\n{text}\n")
    return find_secrets(folder, files_of(folder))


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_found_with_its_place_and_without_its_value(leak: str, tmp_path: Path) -> None:
    name, text = LEAKS[leak]
    found = planted(tmp_path, name, text)
    assert found
    assert {line.split(": ")[0] for line in found} == {f"{name}:2"}
    assert letters(20) not in str(found)
    assert hexadecimal(12) not in str(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", 'TOKEN = "1//0-sentinel-sentinel-sentinel-sentinel"'),
        ("a.md", "DATABASE_URL=postgresql://user:password@host:5432/database"),
        ("a.py", 'KEY = "c2VudGluZWwtZmVybmV0LWtleS1zZW50aW5lbC1rZXk="'),
        ("a.py", 'KEY = "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItb3Q="'),  # of 32 letters
        ("a.md", "a secret key (`sb_secret_…`; the legacy `service_role` key works too)"),
        ("a.py", "key = settings.supabase_service_key"),
    ],
)
def test_what_is_plainly_made_up_is_let_be(name: str, text: str, tmp_path: Path) -> None:
    assert planted(tmp_path, name, text) == []


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def commit(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change")


def test_what_was_committed_once_is_found_after_it_is_gone(
    repository: Path, tmp_path: Path
) -> None:
    commit(repository, "job.sh", f"KEY=sb_secret_{letters(30)}\n")
    commit(repository, "job.sh", "KEY=$(cat key)\n")
    (tmp_path / "old").mkdir()
    files = files_of(repository)
    assert find_secrets(repository, files) == []
    old = write_history(repository, files, tmp_path / "old")
    [found] = find_secrets(tmp_path / "old", old)
    assert "job.sh:1" in found


def test_what_is_not_committed_yet_is_looked_at_and_what_is_ignored_is_not(
    repository: Path,
) -> None:
    commit(repository, ".gitignore", ".env\n")
    (repository / ".env").write_text(f"SUPABASE_SERVICE_KEY=sb_secret_{letters(30)}\n")
    (repository / "copy of .env").write_text(f"SUPABASE_SERVICE_KEY=sb_secret_{letters(30)}\n")
    found = find_secrets(repository, files_of(repository))
    assert {line.split(":")[0] for line in found} == {"copy of .env"}


def test_without_git_whatever_lies_there_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "a").write_text("text")
    (tmp_path / "a").write_text("text")
    (tmp_path / ".env").write_text("text")
    assert files_of(tmp_path) == [tmp_path / "a"]
    assert write_history(tmp_path, [], tmp_path) == []
