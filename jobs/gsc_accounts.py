"""The Google accounts of a run: their sites, and their tokens as stored, plain or encrypted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fetchers.errors import CredentialsError, FetchError, SettingsError
from fetchers.google_client import GoogleClient
from jobs.stored_tokens import UnreadableToken, decrypt
from models import GscAccount, Site, SiteId


@dataclass(slots=True)
class Account:
    """One account's part of the work, and the error that ended it, if any."""

    id: SiteId
    stored_token: str | None = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    sites: list[Site] = field(default_factory=list)
    client: GoogleClient | None = None
    ended_by: FetchError | None = None


def group_by_account(sites: Iterable[Site], accounts: Iterable[GscAccount]) -> list[Account]:
    """These sites by their account, so that each account is opened once."""
    tokens = {account.id: account.refresh_token for account in accounts}
    groups: dict[SiteId, Account] = {}
    for site in sites:
        if site.gsc_account_id is not None:
            account_id = site.gsc_account_id
            group = groups.setdefault(account_id, Account(account_id, tokens.get(account_id)))
            group.sites.append(site)
    return list(groups.values())


def name_account(mend: str, account_id: SiteId | None) -> str:
    """What mends it, with this account's id where the command wants one."""
    if account_id is None:
        return mend
    return mend.replace("--account ID", f"--account {account_id}")


def decrypt_token(account_id: SiteId, stored: str | None, keys: Sequence[str]) -> str:
    """The refresh token of an account, and never printed from here on.

    Raises:
        CredentialsError: there is none, or no key reads it. SettingsError: there is no key at all.
    """
    if stored is None:
        raise CredentialsError(
            f"account {account_id} is not in gsc_accounts",
            mend="correct sites.gsc_account_id, or add the account",
        )
    stored = stored.strip()
    if not stored:
        raise CredentialsError(
            f"account {account_id} has no refresh token",
            mend=f"give consent: aggregator.py connect-gsc --account {account_id}",
        )
    try:
        return decrypt(stored, keys)
    except UnreadableToken:
        if not keys:
            raise SettingsError(
                "refresh tokens are stored encrypted, and ENCRYPTION_KEY is not set or not usable",
                mend="set ENCRYPTION_KEY to the key they were encrypted with",
            ) from None
        raise CredentialsError(
            f"the refresh token of account {account_id} cannot be decrypted with ENCRYPTION_KEY",
            mend="add the key it was encrypted with to ENCRYPTION_KEY (a comma list)",
        ) from None
