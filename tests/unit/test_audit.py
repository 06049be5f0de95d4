"""What the audit of pinned packages makes of the answers that pip-audit and npm give."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from checks.audit import (
    CLEAN,
    NOT_AUDITED,
    VULNERABLE,
    Verdict,
    exit_status,
    judge_npm,
    judge_python,
)

HOME = Path(__file__).parents[2]
IDNA = {
    "name": "idna",
    "version": "3.6",
    "vulns": [
        {
            "id": "PYSEC-2024-60",
            "fix_versions": ["3.7"],
            "aliases": ["CVE-2024-3651", "GHSA-jjg7-2v4v-x38h"],
            "description": "A specially crafted argument to idna.encode() takes long.",
        }
    ],
}
GOOD = {"name": "requests", "version": "2.34.2", "vulns": []}
UNKNOWN = {
    "name": "cryptography",
    "skip_reason": "Dependency not found on PyPI and could not be audited: cryptography (50.0.2)",
}
WARNINGS = (
    "WARNING:pip_audit._cli:--no-deps is supported, but users are encouraged to fully hash their "
    "pinned dependencies\nNo known vulnerabilities found\n"
)
# The ends of what pip-audit writes to standard error where nobody answers.
SILENCE = {
    "no such host": (
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='advisories.example', "
        "port=443): Max retries exceeded with url: /v1/query (Caused by NameResolutionError("
        "\"Failed to resolve 'advisories.example' ([Errno -2] Name or service not known)\"))"
    ),
    "a firewall": (
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\nERROR:pip_audit._cli:"
        "Tip: your network may be blocking this service. Try another service with `-s SERVICE`"
    ),
    "an answer of no use": "pip_audit._service.interface.ServiceError",
    "too slow": "timed out",
}


def of(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_vulnerability_is_named_with_what_mends_it_and_fails() -> None:
    verdict = judge_python(of(GOOD, IDNA), "Found 1 known vulnerability in 1 package")
    assert verdict == Verdict(2, ("idna 3.6: PYSEC-2024-60, mended in 3.7",))
    assert verdict.lines("Python") == [
        "Python: VULNERABLE: idna 3.6: PYSEC-2024-60, mended in 3.7",
        "Python: 2 packages audited, 1 vulnerable",
    ]
    for in_ci in (True, False):
        assert exit_status([Verdict(5), verdict], in_ci=in_ci) == VULNERABLE


def test_one_that_nothing_mends_yet_fails_too() -> None:
    unmended = IDNA | {"vulns": [{"id": "PYSEC-1", "fix_versions": [], "aliases": []}]}
    assert judge_python(of(unmended), "").found == ("idna 3.6: PYSEC-1, no version mends it yet",)


@pytest.mark.parametrize("name", ["PYSEC-2024-60", "CVE-2024-3651"])
def test_one_that_does_not_concern_us_is_left_out_by_any_of_its_names(name: str) -> None:
    assert judge_python(of(IDNA), "", {name: "no host name comes from outside"}) == Verdict(1)


def test_nothing_found_is_said_with_how_many_were_asked() -> None:
    verdict = judge_python(of(GOOD, GOOD), WARNINGS)
    assert verdict.lines("Python") == ["Python: 2 packages audited, none vulnerable"]
    assert exit_status([verdict], in_ci=False) == CLEAN


def test_a_registry_without_advisories_is_no_clean_bill() -> None:
    """pip-audit itself says "No known vulnerabilities found" and exits 0."""
    verdict = judge_python(of(UNKNOWN, UNKNOWN), WARNINGS)
    [line] = verdict.lines("Python")
    assert line.startswith("Python: NOT AUDITED: ")
    assert exit_status([verdict], in_ci=True) == CLEAN
    assert exit_status([verdict], in_ci=False) == NOT_AUDITED


def test_packages_that_are_not_known_are_named_beside_those_that_are() -> None:
    verdict = judge_python(of(GOOD, UNKNOWN, IDNA), "")
    assert verdict.audited == 2
    assert verdict.found
    assert "does not know cryptography" in verdict.not_audited


@pytest.mark.parametrize("silence", SILENCE)
def test_a_service_that_does_not_answer_is_no_clean_bill(silence: str) -> None:
    verdict = judge_python("", SILENCE[silence])
    assert verdict == Verdict(not_audited="the advisory service did not answer")
    assert exit_status([verdict], in_ci=True) == CLEAN


@pytest.mark.parametrize(
    "err", ["No module named pip_audit", "ERROR:pip_audit._cli:requirement x is not pinned"]
)
def test_an_audit_that_did_not_begin_is_an_error_and_not_silence(err: str) -> None:
    for judge in (judge_python, judge_npm):
        with pytest.raises(ValueError, match="failed"):
            judge("", err)


def npm_report(**vulnerabilities: object) -> str:
    return json.dumps(
        {
            "auditReportVersion": 2,
            "vulnerabilities": vulnerabilities,
            "metadata": {"dependencies": {"prod": 9, "total": 9}},
        }
    )


def test_npms_report_is_read() -> None:
    assert judge_npm(npm_report(), "") == Verdict(9)
    verdict = judge_npm(npm_report(tar={"name": "tar", "severity": "high", "via": []}), "")
    assert verdict == Verdict(9, ("tar: high",))


@pytest.mark.parametrize(
    ("out", "err"),
    [
        ('{"message": "405 Method Not Allowed - POST https://registry.example/x"}', "npm error"),
        ('{"error": {"code": "ENOTFOUND", "summary": "getaddrinfo"}}', "npm error"),
        ("", "timed out"),
    ],
)
def test_an_npm_registry_without_advisories_is_no_clean_bill(out: str, err: str) -> None:
    assert judge_npm(out, err).not_audited
    assert judge_npm(out, err).audited == 0


def test_every_pinned_package_is_asked_for() -> None:
    """pip-audit follows no -r line, so each file of pins is named to it; each pin is exact."""
    pins = sorted(path.name for path in HOME.glob("requirements*.txt"))
    assert pins == ["requirements-audit.txt", "requirements-dev.txt", "requirements.txt"]
    source = (HOME / "checks" / "audit.py").read_text()
    assert all(f'"-r", "{name}"' in source for name in pins)
    for name in pins:
        lines = [line for line in (HOME / name).read_text().splitlines() if line.strip()]
        for line in lines:
            assert line.startswith(("#", "-r ")) or re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line), line


def test_ci_audits_after_the_tests() -> None:
    text = (HOME / ".ci" / "run").read_text()
    assert text.index("\nmake test\n") < text.index("\nmake audit\n")
