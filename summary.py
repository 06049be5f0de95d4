"""The end of a run in words: what is missing, why, what mends it, and one summary line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from logs import printable
from models import SOCIAL_PLATFORMS, Failure, SiteId

SITES_NAMED = 5
SOCIAL = "social"
"""The source of what concerns the social accounts of all platforms, or their rows."""


def merge_failures(failures: Iterable[Failure], *, exact: bool = False) -> list[Failure]:
    """One failure per reason: those that differ only in sites and days become one, largest first.

    Days are joined over the sites, for people. `exact` joins only sites that miss the same days,
    so that each failure still spans exactly the unknown cells.
    """
    merged: dict[tuple[object, ...], tuple[dict[SiteId, None], set[date]]] = {}
    for failure in failures:
        reason = (failure.kind, failure.source, failure.account, failure.message, failure.mend)
        key = (*reason, failure.days if exact else ())
        sites, days = merged.setdefault(key, ({}, set()))
        sites.update(dict.fromkeys(failure.sites))
        days.update(failure.days)
    joined = [
        Failure(kind, source, message, mend, tuple(sites), tuple(sorted(days)), account)  # type: ignore[arg-type]
        for (kind, source, account, message, mend, _), (sites, days) in merged.items()
    ]
    return sorted(joined, key=lambda failure: (failure.kind, -len(failure.sites)))


def failure_lines(failures: Sequence[Failure], names: Mapping[SiteId, str]) -> list[str]:
    """The failures grouped by kind, as lines to print. `names`: domain of each site."""
    lines: list[str] = []
    kind = None
    for failure in merge_failures(failures):
        if failure.kind != kind:
            kind = failure.kind
            lines += ["", f"{kind}:"]
        lines.append(f"  {_whose(failure, names)}")
        lines.append(f"    {printable(failure.message)}")
        lines.append(f"    -> {printable(failure.mend)}")
    return lines


def describe_days(days: Sequence[date]) -> str:
    """`2026-11-19`, `2026-11-16 to 2026-11-19`, or with holes `12 days from … to …`."""
    if len(days) == 1:
        return str(days[0])
    span = (days[-1] - days[0]).days + 1
    if span == len(days):
        return f"{days[0]} to {days[-1]}"
    return f"{len(days)} days from {days[0]} to {days[-1]}"


def name_sites(sites: Sequence[SiteId], names: Mapping[SiteId, str], what: str = "site") -> str:
    """`7 sites (a.example, b.example, … and 2 more)`; a site without a name by its id."""
    domains = sorted(printable(str(names.get(site) or site)) for site in sites)
    named = ", ".join(domains[:SITES_NAMED])
    more = len(sites) - SITES_NAMED
    return f"{count(len(sites), what)} ({f'{named} and {more} more' if more > 0 else named})"


def noun_of(source: str) -> str:
    """What the `sites` of a source's failures are."""
    return "connection" if source in (*SOCIAL_PLATFORMS, SOCIAL) else "site"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 site`, `3 sites`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def _whose(failure: Failure, names: Mapping[SiteId, str]) -> str:
    parts = [failure.source]
    if failure.account is not None:
        parts.append(f"account {failure.account}")
    if failure.sites:
        parts.append(name_sites(failure.sites, names, noun_of(failure.source)))
    if failure.days:
        parts.append(describe_days(failure.days))
    return ", ".join(parts)
