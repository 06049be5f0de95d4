"""Tokens as they are stored: plain, or encrypted with Fernet under a key of ENCRYPTION_KEY.

Whatever passes through here is never printed from then on.
"""

from __future__ import annotations

from collections.abc import Sequence

from db import Database
from jobs.run_failures import CannotRun
from logs import redact
from models import GscAccount, SiteId
from storage.errors import DatabaseRefused, DatabaseUnavailable, RowsRefused

FERNET_PREFIX = "gAAAAA"
NAMED_IN_A_MESSAGE = 10
TRIES = 3


class UnreadableToken(Exception):
    """An encrypted token that none of the keys reads."""


def is_encrypted(stored: str) -> bool:
    return stored.strip().startswith(FERNET_PREFIX)


def encrypt(token: str, keys: Sequence[str]) -> str:
    """The token as it is stored, under the newest key (the first)."""
    from cryptography.fernet import Fernet

    stored = Fernet(keys[0]).encrypt(token.encode()).decode()
    redact.add([token, stored])
    return stored


def decrypt(stored: str, keys: Sequence[str]) -> str:
    """The token itself; a plain one is taken as it is.

    Raises:
        UnreadableToken: no key reads it.
    """
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet

    stored = stored.strip()
    redact.add([stored])
    if not is_encrypted(stored):
        return stored
    if not keys:
        raise UnreadableToken
    try:
        token = MultiFernet([Fernet(key) for key in keys]).decrypt(stored).decode()
    except (InvalidToken, ValueError):
        raise UnreadableToken from None
    redact.add([token])
    return token


def is_under_newest_key(stored: str, keys: Sequence[str]) -> bool:
    try:
        return is_encrypted(stored) and bool(decrypt(stored, keys[:1]))
    except UnreadableToken:
        return False


def find_account(database: Database, account_id: str) -> GscAccount:
    """The row of gsc_accounts with this id, as somebody typed it.

    Raises:
        CannotRun: there is none. DatabaseError: the table cannot be read.
    """
    accounts = database.read_gsc_accounts()
    found = next((a for a in accounts if str(a.id) == account_id.strip()), None)
    if found is not None:
        return found
    ids = [str(account.id) for account in accounts]
    listed = ", ".join(ids[:NAMED_IN_A_MESSAGE]) or "none yet"
    more = f" and {len(ids) - NAMED_IN_A_MESSAGE} more" if len(ids) > NAMED_IN_A_MESSAGE else ""
    raise CannotRun(
        f"gsc_accounts has no row with the id {account_id!r}",
        f"name one of its ids ({listed}{more}), or leave --account out for a new row",
    )


def store_token(
    database: Database, token: str, keys: Sequence[str], account_id: str | None
) -> SiteId:
    """Store a refresh token encrypted, in a new row or in place of an account's; returns its id.

    Raises:
        CannotRun: the row is gone, or the table wants more than a token. DatabaseError: else.
    """
    stored = encrypt(token, keys)
    try:
        if account_id is None:
            return _add(database, stored)
        for _ in range(TRIES):
            account = find_account(database, account_id)
            # The same already: an earlier try did it, and its answer was lost.
            if account.refresh_token == stored or database.replace_gsc_token(
                account.id, account.refresh_token, stored
            ):
                return account.id
    except RowsRefused as error:
        raise CannotRun(
            refusal(error),
            "add the row by hand, with any text as oauth_refresh_token, and name its id: "
            "--account ID",
        ) from None
    raise DatabaseRefused(
        f"the token of account {account_id} changes all the time", mend="run it again"
    )


def refusal(error: RowsRefused) -> str:
    """What the database said, without the row: Postgres quotes it, and with it half a token."""
    return error.message.partition("Failing row")[0].strip()


def _add(database: Database, stored: str) -> SiteId:
    """Add a row, once: where the answer was lost, the row may be there and is looked for."""
    try:
        return database.add_gsc_account(stored)
    except DatabaseUnavailable:
        accounts = database.read_gsc_accounts()
        there = next((a.id for a in accounts if a.refresh_token == stored), None)
        return database.add_gsc_account(stored) if there is None else there
