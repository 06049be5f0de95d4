"""What doctor found, and how it is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from exit_status import COMPLETE, COULD_NOT_RUN, INCOMPLETE
from logs import printable, silence_standard_output
from models import SiteId
from summary import count, name_sites

OK, ADVICE, FAIL, BLOCKED = "ok", "advice", "FAIL", "BLOCKED"
STYLES = {OK: "green", ADVICE: "yellow", FAIL: "red", BLOCKED: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    status: ok; advice: works, and could be better or safer; FAIL: some numbers will be missing;
    BLOCKED: no run is possible. area: settings, database, clock, matomo, google, history, alerts,
    visits, events, site; doctor where a check itself fails.
    detail: shown with -v and --json only, since there is one for each site that is well.
    """

    status: str
    area: str
    message: str
    mend: str = ""
    sites: tuple[SiteId, ...] = ()
    account: SiteId | None = None
    detail: bool = False


def exit_status(findings: Iterable[Finding]) -> int:
    """2: no run is possible; 1: something is missing; 0: all is well, advice apart."""
    found = {finding.status for finding in findings}
    return COULD_NOT_RUN if BLOCKED in found else INCOMPLETE if FAIL in found else COMPLETE


def print_json(findings: Sequence[Finding], indent: int | None = 2) -> None:
    """Everything as one JSON object, one entry for each finding; without `indent` on one line.

    All of it is ASCII: an id may be any text, and a terminal obeys some.
    """
    entries = [
        {
            "status": finding.status,
            "area": finding.area,
            "message": printable(finding.message),
            "mend": printable(finding.mend) or None,
            "sites": list(finding.sites),
            "account": finding.account,
        }
        for finding in findings
    ]
    report = {"exit_status": exit_status(findings), "findings": entries}
    _print(json.dumps(report, indent=indent))


def print_findings(
    findings: Sequence[Finding], names: Mapping[SiteId, str], *, details: bool, quiet: bool
) -> None:
    """A coloured table on a terminal, else one line each; then one line of totals."""
    shown = [
        finding
        for finding in join_sites(findings)
        if (details or not finding.detail) and not (quiet and finding.status == OK)
    ]
    if sys.stdout.isatty():
        _print_table(shown, names)
    else:
        for finding in shown:
            mend = f" -> {printable(finding.mend)}" if finding.mend else ""
            _print(f"{finding.status:<7}  {finding.area:<8}  {_message(finding, names)}{mend}")
    _print(total_line(findings))


def total_line(findings: Sequence[Finding]) -> str:
    """`Some numbers will be missing: 2 problems, 1 advice, 12 well.`"""
    joined = join_sites(findings)
    problems = sum(finding.status in (FAIL, BLOCKED) for finding in joined)
    advice = sum(finding.status == ADVICE for finding in joined)
    well = sum(finding.status == OK and not finding.detail for finding in joined)
    verdict = {
        COMPLETE: "Ready",
        INCOMPLETE: "Some numbers will be missing",
        COULD_NOT_RUN: "No run is possible",
    }[exit_status(findings)]
    return f"{verdict}: {count(problems, 'problem')}, {advice} advice, {well} well."


def join_sites(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that differ only in their sites become one."""
    joined: dict[Finding, dict[SiteId, None]] = {}
    for finding in findings:
        same = replace(finding, sites=())
        joined.setdefault(same, {}).update(dict.fromkeys(finding.sites))
    return [replace(finding, sites=tuple(sites)) for finding, sites in joined.items()]


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError:  # a closed pipe: `doctor | head`
        silence_standard_output()


def _message(finding: Finding, names: Mapping[SiteId, str]) -> str:
    parts = [f"account {finding.account}"] if finding.account is not None else []
    parts += [name_sites(finding.sites, names)] if finding.sites else []
    whose = ", ".join(parts)
    return printable(f"{whose}: {finding.message}" if whose else finding.message)


def _print_table(findings: Iterable[Finding], names: Mapping[SiteId, str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "area", "what was found, and what mends it"):
        table.add_column(name)
    for finding in findings:
        text = Text(_message(finding, names))
        if finding.mend:
            text.append(f"\n-> {printable(finding.mend)}", style="bold")
        table.add_row(Text(finding.status, STYLES[finding.status]), finding.area, text)
    Console(highlight=False).print(table)
