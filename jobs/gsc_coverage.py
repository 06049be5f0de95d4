"""Which sites a Google account covers, and the SQL that links those which have no account yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fetchers.errors import FetchError, TargetDenied
from fetchers.gsc_property import Properties, Property, choose_property
from logs import report
from models import Site, SiteId
from summary import count

IDS_PER_LINE = 2


@dataclass(slots=True)
class Coverage:
    """covered: sites of this account, and of none, with their property. denied: this account's
    own sites that it does not cover, with why. others: how many sites of other accounts it covers.
    """

    covered: list[tuple[Site, str]] = field(default_factory=list)
    others: dict[SiteId, int] = field(default_factory=dict)
    denied: list[tuple[Site, FetchError]] = field(default_factory=list)

    @property
    def to_link(self) -> list[Site]:
        return [site for site, _ in self.covered if site.gsc_account_id is None]


def find_coverage(
    sites: Iterable[Site], account_id: SiteId, listed: Sequence[Property]
) -> Coverage:
    """The deployed sites that this account's properties cover; other accounts' are only counted."""
    properties, coverage = Properties(listed), Coverage()
    for site in sites:
        linked_to = site.gsc_account_id
        try:
            url = choose_property(site.domain, site.gsc_property, properties)
        except TargetDenied as error:
            if linked_to == account_id:
                coverage.denied.append((site, error))
            continue
        if linked_to in (None, account_id):
            coverage.covered.append((site, url))
        elif linked_to is not None:
            coverage.others[linked_to] = coverage.others.get(linked_to, 0) + 1
    return coverage


def link_statement(account_id: SiteId, sites: Sequence[Site]) -> list[str]:
    """The lines of one UPDATE that gives these sites their account."""
    ids = [sql_literal(site.id) for site in sites]
    lines = [
        ", ".join(ids[n : n + IDS_PER_LINE]) + ("," if n + IDS_PER_LINE < len(ids) else "")
        for n in range(0, len(ids), IDS_PER_LINE)
    ]
    update = f"update public.sites set gsc_account_id = {sql_literal(account_id)} where id in ("
    if len(lines) == 1:
        return [f"{update}{lines[0]});"]
    return [update, *(f"  {line}" for line in lines), ");"]


def sql_literal(value: SiteId) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def report_coverage(account_id: SiteId, listed: Sequence[Property], coverage: Coverage) -> None:
    """Say which sites are covered, which of this account's are not, and what links the rest."""
    verified = sum(p.verified for p in listed)
    report(
        f"The account sees {verified} properties and covers {count(len(coverage.covered), 'site')}"
        + (":" if coverage.covered else "; none of the sites without an account is among them"),
        properties=verified,
        covered=len(coverage.covered),
    )
    for site, url in coverage.covered:
        new = "" if site.gsc_account_id is not None else "  (not linked yet)"
        report(f"  {site.domain}  {url}{new}", site=site.id, property=url)
    for other, number in coverage.others.items():
        report(f"Linked to account {other} already: {count(number, 'site')} that it sees.")
        report(f"If that one's consent has ended, renew it: connect-gsc --account {other}")
    if coverage.denied:
        _report_denied(coverage)
    if coverage.to_link:
        report("This links those which have no account yet:", sites=len(coverage.to_link))
        for line in link_statement(account_id, coverage.to_link):
            report(line)


def _report_denied(coverage: Coverage) -> None:
    """Why this account's own sites are not covered, each reason once."""
    by_reason: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site, error in coverage.denied:
        by_reason[error.message, error.mend].append(site)
    report(f"Not covered, of this account's own sites: {len(coverage.denied)}")
    for (message, mend), sites in by_reason.items():
        domains = ", ".join(site.domain for site in sites)
        report(f"  {domains}: {message}", sites=[site.id for site in sites])
        report(f"    -> {mend}")
