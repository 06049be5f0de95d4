"""Doctor's look at Search Console: each account's consent, its properties, each site's choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fetchers.errors import FetchError, SettingsError, interrupted, outcome_of
from fetchers.gsc import list_properties
from fetchers.gsc_property import Properties, Property, choose_property, explain_choice
from jobs.findings import FAIL, OK, Finding
from jobs.gsc_accounts import Account, decrypt_token, group_by_account, name_account
from jobs.sources import open_google_account
from models import Site, SiteId
from summary import count
from workers import Workers

if TYPE_CHECKING:
    from jobs.doctor import Examination

Outcome = tuple[Account, list[Property] | FetchError]


def check_google(seen: Examination) -> Iterator[Finding]:
    """Each account that a site names: two requests, all accounts side by side."""
    without = sum(site.gsc_account_id is None for site in seen.sites)
    if without:
        message = f"{count(without, 'site')} without a Search Console account: not asked"
        yield Finding(OK, "google", message)
    can_ask = seen.settings.google_client_id and seen.settings.google_client_secret
    if seen.accounts is None or not can_ask:
        return
    accounts = group_by_account(seen.sites, seen.accounts)
    accounts.sort(key=lambda account: str(account.id))
    workers: Workers[Outcome] = Workers(seen.settings.concurrency, seen.http.stop)
    for account in accounts:
        workers.submit(partial(_open, account, seen))
    outcomes = {account.id: listed for account, listed in workers.results()}
    for account in accounts:
        listed = outcomes.get(account.id)
        yield from _account_findings(
            account, interrupted(seen.http.stop) if listed is None else listed
        )


def _open(account: Account, seen: Examination) -> Outcome:
    def listed() -> list[Property]:
        keys = seen.settings.encryption_keys
        token = decrypt_token(account.id, account.stored_token, keys)
        return list_properties(open_google_account(token, seen.settings, seen.http))

    return account, outcome_of(listed)


def _account_findings(account: Account, listed: list[Property] | FetchError) -> Iterator[Finding]:
    if isinstance(listed, FetchError):
        ids = tuple(site.id for site in account.sites)
        # Our own settings are no account's failure, and said once for all of them.
        whose = None if isinstance(listed, SettingsError) else account.id
        mend = name_account(listed.mend, whose)
        yield Finding(FAIL, "google", listed.message, mend, ids, whose)
        return
    chosen = list(_choices(account.sites, listed, account.id))
    well = sum(finding.status == OK for finding in chosen)
    verified = sum(p.verified for p in listed)
    message = (
        f"consent is alive, {count(verified, 'property', 'properties')}, "
        f"{well} of {count(len(account.sites), 'site')} covered"
    )
    yield Finding(OK, "google", message, account=account.id)
    yield from chosen


def _choices(
    sites: Sequence[Site], listed: Sequence[Property], account_id: SiteId
) -> Iterator[Finding]:
    properties = Properties(listed)
    for site in sites:
        url = outcome_of(partial(choose_property, site.domain, site.gsc_property, properties))
        if isinstance(url, FetchError):
            yield Finding(FAIL, "google", url.message, url.mend, (site.id,), account_id)
        else:
            message = f"{url} ({explain_choice(url, site.gsc_property)})"
            yield Finding(OK, "google", message, "", (site.id,), account_id, detail=True)
