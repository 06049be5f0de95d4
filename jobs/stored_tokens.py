"""Tokens as they are stored: plain, or encrypted with Fernet under a key of ENCRYPTION_KEY.

Whatever passes through here is never printed from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from db import Database
from jobs.run_failures import CannotRun
from logs import redact
from models import Connection, GscAccount, SiteId
from storage.errors import DatabaseRefused, DatabaseUnavailable, RowsRefused
from storage.social_rows import Which

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
    raise CannotRun(
        f"gsc_accounts has no row with the id {account_id!r}",
        f"name one of its ids ({_listed(a.id for a in accounts)}), or leave --account out for a "
        "new row",
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


def find_connection(database: Database, connection_id: str) -> Connection:
    """The row of platform_connections with this id, as somebody typed it, active or not.

    Raises:
        CannotRun: there is none. DatabaseError: the table cannot be read.
    """
    connections = database.read_connections(inactive_too=True)
    found = next((c for c in connections if str(c.id) == connection_id.strip()), None)
    if found is not None:
        return found
    if not connections:
        raise CannotRun(
            "platform_connections holds no connection yet",
            "add the row first, as docs/social.md says",
        )
    raise CannotRun(
        f"platform_connections has no row with the id {connection_id!r}",
        f"name one of its ids ({_listed(c.id for c in connections)})",
    )


def check_kind(connection: Connection, which: Which) -> None:
    """Nothing is asked with a token of the wrong kind, and nobody would hear of it.

    Raises:
        CannotRun: this platform has no use for an access, or a refresh token.
    """
    if connection.platform == "youtube" and which == "access":
        raise CannotRun("YouTube connections are asked with a refresh token", "add --refresh")
    if connection.platform in ("instagram", "facebook") and which == "refresh":
        raise CannotRun(
            f"{connection.platform.capitalize()} connections have no refresh token",
            "leave --refresh out, and pass their access token",
        )


def store_connection_token(
    database: Database, token: str, keys: Sequence[str], connection_id: str, which: Which
) -> SiteId:
    """Store a token encrypted in place of a connection's; returns its id.

    With a new access token nothing is known of its end, and what was noted against the old one is
    taken away.

    Raises:
        CannotRun: the row is gone, or refuses the token. DatabaseError: else.
    """
    stored = encrypt(token, keys)
    try:
        for _ in range(TRIES):
            old = find_connection(database, connection_id)
            if which == "access":
                done = database.renew_connection_token(old.id, old.access_token, stored, None, None)
            else:
                done = database.replace_connection_token(old.id, which, old.refresh_token, stored)
            if done:
                database.mark_connection(old.id, None)
                return old.id
    except RowsRefused as error:
        raise CannotRun(refusal(error), "store it by hand") from None
    raise DatabaseRefused(
        f"the token of connection {connection_id} changes all the time", mend="run it again"
    )


def refusal(error: RowsRefused) -> str:
    """What the database said, without the row: Postgres quotes it, and with it half a token."""
    return error.message.partition("Failing row")[0].strip()


def _listed(ids: Iterable[SiteId]) -> str:
    words = [str(one) for one in ids]
    named = ", ".join(words[:NAMED_IN_A_MESSAGE]) or "none yet"
    more = len(words) - NAMED_IN_A_MESSAGE
    return f"{named} and {more} more" if more > 0 else named


def _add(database: Database, stored: str) -> SiteId:
    """Add a row, once: where the answer was lost, the row may be there and is looked for."""
    try:
        return database.add_gsc_account(stored)
    except DatabaseUnavailable:
        accounts = database.read_gsc_accounts()
        there = next((a.id for a in accounts if a.refresh_token == stored), None)
        return database.add_gsc_account(stored) if there is None else there
