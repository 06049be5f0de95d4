"""`python -m checks.secrets`: no secret in any file of this repository, nor in its history.

A made-up secret of a test says so with one of the words of MADE_UP; the few others are listed.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

HOME = Path(__file__).resolve().parents[1]
NOT_OURS = {
    *(".git", ".venv", "node_modules", ".env", ".demo", ".state", "__pycache__", ".hypothesis"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache"),
}
"""What .gitignore names, for a folder without git."""

PATTERNS = Path(__file__).with_name("secret_patterns.py")

MADE_UP = re.compile(
    r"sentinel|sandbox|example|made.?up|mistyped|no.such|secret.word|from.the.file", re.IGNORECASE
)
FERNET_KEY = re.compile(r"[\w-]{43}=", re.ASCII)
VISITOR_ID = re.compile("[0-9a-f]{16}")
"""Matomo's visitorId and fingerprint in recorded visits; its tokens have 32 digits."""
SHORTEST = 8
"""Shorter ones (`pw`, `key`) are nobody's."""

ALLOWED = {
    "password",  # postgresql://user:password@host
}
PLUGINS: list[dict[str, object]] = [
    {"name": "SecretOfThisProgram", "path": f"file://{PATTERNS}"},
    {"name": "Base64HighEntropyString", "limit": 4.5},
    {"name": "HexHighEntropyString", "limit": 3.0},
    {"name": "AWSKeyDetector"},
    {"name": "AzureStorageKeyDetector"},
    {"name": "BasicAuthDetector"},
    {"name": "DiscordBotTokenDetector"},
    {"name": "GitHubTokenDetector"},
    {"name": "GitLabTokenDetector"},
    {"name": "JwtTokenDetector"},
    {"name": "KeywordDetector"},
    {"name": "NpmDetector"},
    {"name": "OpenAIDetector"},
    {"name": "PrivateKeyDetector"},
    {"name": "PypiTokenDetector"},
    {"name": "SendGridDetector"},
    {"name": "SlackDetector"},
    {"name": "StripeDetector"},
    {"name": "TelegramBotTokenDetector"},
    {"name": "TwilioKeyDetector"},
]
# Not among them: a comment in a line, which would let a secret in without this list knowing.
FILTERS = [
    {"path": f"detect_secrets.filters.heuristic.{name}"}
    for name in (
        *("is_indirect_reference", "is_likely_id_string", "is_lock_file", "is_templated_secret"),
        *("is_not_alphanumeric_string", "is_prefixed_with_dollar_sign", "is_sequential_string"),
    )
]


def find_secrets(root: Path, files: Iterable[Path]) -> list[str]:
    """`file:line: what it looks like` of all that is not plainly made up; never the value."""
    found = set()
    with transient_settings({"plugins_used": PLUGINS, "filters_used": FILTERS}):
        for path in files:
            for secret in scan_file(str(path)):
                if not _is_made_up(secret.secret_value or ""):
                    found.add((str(path.relative_to(root)), secret.line_number, secret.type))
    return [f"{file}:{line}: {kind}" for file, line, kind in sorted(found)]


def files_of(root: Path) -> list[Path]:
    """What is committed, or would be with the next `git add`; without git whatever lies there."""
    try:
        names = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        files = [root / name for name in names.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        files = [p for p in root.rglob("*") if not NOT_OURS & set(p.relative_to(root).parts)]
    return sorted(path for path in files if path.is_file() and not path.is_symlink())


def write_history(root: Path, files: Iterable[Path], target: Path) -> list[Path]:
    """Every line that the history added and that is gone since, in files of the old names.

    A shallow clone has less of it, a folder without git none.
    """
    try:
        log = _git(root, "log", "--all", "-p", "-U0", "--no-color", "--no-renames", "--format=")
    except (OSError, subprocess.CalledProcessError):
        return []
    present = {line for path in files for line in path.read_text(errors="replace").splitlines()}
    gone: dict[str, dict[str, None]] = defaultdict(dict)
    name = ""
    for line in log.splitlines():
        if line.startswith("+++ "):
            name = line.removeprefix("+++ ").removeprefix("b/").strip('"\t')
        elif line.startswith("+") and line[1:] not in present:
            gone[name][line[1:]] = None
    written = []
    for number, (name, lines) in enumerate(gone.items()):
        path = target / str(number) / Path(name).name
        path.parent.mkdir()
        path.write_text("\n".join(lines))
        written.append(path)
    return written


def main() -> int:
    files = files_of(HOME)
    found = find_secrets(HOME, files)
    with tempfile.TemporaryDirectory() as folder:
        old = write_history(HOME, files, Path(folder))
        found += [f"history, {line}" for line in find_secrets(Path(folder), old)]
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print(
            "If it is real: revoke it first (SECURITY.md), then take it out. If it is made up: "
            "put the word sentinel into it, or list it in checks/secrets.py.",
            file=sys.stderr,
        )
    print(f"{len(files)} files and what {len(old)} held before: {len(found)} secrets")
    return 1 if found else 0


def _is_made_up(value: str) -> bool:
    if len(value) < SHORTEST or value in ALLOWED or MADE_UP.search(value):
        return True
    if VISITOR_ID.fullmatch(value):
        return True
    # A Fernet key is 32 bytes by chance; one of 32 letters was written by a person.
    return bool(FERNET_KEY.fullmatch(value)) and base64.urlsafe_b64decode(value).isascii()


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        # The checkout of a CI machine may belong to another user.
        ["git", "-C", str(root), "-c", "safe.directory=*", *arguments],
        check=True,
        capture_output=True,
        errors="replace",
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
