"""`aggregator.py tokens`: add a token, encrypt what is stored plain, change the key."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TextIO

from config import Settings
from db import Database, open_database
from exit_status import COMPLETE, INCOMPLETE
from jobs.run_failures import CannotRun
from jobs.standard_input import read_line
from jobs.stored_tokens import (
    UnreadableToken,
    check_kind,
    decrypt,
    encrypt,
    find_account,
    find_connection,
    is_encrypted,
    is_under_newest_key,
    refusal,
    store_connection_token,
    store_token,
)
from logs import redact, report, report_error
from storage.errors import RowsRefused
from storage.social_rows import Which
from summary import count

PASSES = 3
"""A token that somebody else changed meanwhile is read again, so often at most."""

NO_REFRESH_TOKENS = {"4/": "an authorization code", "ya29.": "an access token"}
UNREADABLE = "no key of ENCRYPTION_KEY reads it"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One token and where it is. `replace(old, new)` is False if it is not `old` any more."""

    place: str
    stored: str = field(repr=False)
    replace: Callable[[str, str], bool]


@dataclass(slots=True)
class Outcome:
    """changed, fine: how many tokens. failed: why by place; moved: changed by somebody else."""

    changed: int = 0
    fine: int = 0
    empty: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)


def change_tokens(arguments: argparse.Namespace, settings: Settings) -> int:
    """Add one token, or change how all are stored. Returns an exit status of the contract.

    Raises:
        CannotRun, DatabaseError.
    """
    if arguments.action == "add" and arguments.connection is not None:
        which: Which = "refresh" if arguments.refresh else "access"
        return add_connection_token(settings, arguments.connection, which, sys.stdin)
    if arguments.action == "add":
        return add_token(settings, arguments.account, sys.stdin)
    keys = settings.encryption_keys
    with open_database(settings) as database:
        outcome = Outcome()
        try:
            rewrite_all(database, keys, outcome, is_fine=is_fine_for(arguments.action, keys))
        finally:
            _report_counts(arguments.action, outcome)
    return _report_rest(arguments.action, outcome, keys)


def add_token(settings: Settings, account_id: str | None, source: TextIO | None) -> int:
    """Store the refresh token that `source` holds, in a new row or in this account's.

    Raises:
        CannotRun: no such account, or no refresh token. DatabaseError.
    """
    with open_database(settings) as database:
        if account_id is not None:
            find_account(database, account_id)
        token = read_refresh_token(source, settings.encryption_keys)
        stored_as = store_token(database, token, settings.encryption_keys, account_id)
    report(f"Stored, encrypted: account {stored_as}", account=stored_as)
    if account_id is None:
        report("Put this id into sites.gsc_account_id of the sites whose property it sees.")
    return COMPLETE


def add_connection_token(
    settings: Settings, connection_id: str, which: Which, source: TextIO | None
) -> int:
    """Store the token that `source` holds in place of this connection's access or refresh token.

    Raises:
        CannotRun: no such connection, or no token of a kind that it uses. DatabaseError.
    """
    keys = settings.encryption_keys
    with open_database(settings) as database:
        check_kind(find_connection(database, connection_id), which)
        token = read_token(
            source,
            keys,
            what=f"{which} token",
            mend=f"pass the connection's {which} token on standard input",
        )
        stored_as = store_connection_token(database, token, keys, connection_id, which)
    report(f"Stored, encrypted: {which} token of connection {stored_as}", connection=stored_as)
    return COMPLETE


def read_refresh_token(source: TextIO | None, keys: Sequence[str]) -> str:
    """One refresh token of Google's, as `read_token` reads it.

    Raises:
        CannotRun: there is none, or it is something else.
    """
    mend = "pass one refresh token (1//…) on standard input, or run connect-gsc"
    token = read_token(source, keys, what="refresh token", mend=mend)
    for beginning, what in NO_REFRESH_TOKENS.items():
        if token.startswith(beginning):
            raise CannotRun(f"this is {what}, which does not last", mend)
    return token


def read_token(source: TextIO | None, keys: Sequence[str], *, what: str, mend: str) -> str:
    """One token from a pipe, or typed unseen at a terminal; one encrypted by us will do.

    Raises:
        CannotRun: there is none, or it is something else; with `mend`.
    """
    text = read_line(source, hidden_prompt=f"{what.capitalize()}: ")
    redact.add([text])
    text = text.strip("\"'")
    redact.add([text])
    if source is not None and not source.isatty() and read_line(source):
        raise CannotRun("standard input holds more than one line", mend)
    if not text:
        raise CannotRun("standard input holds no token", mend)
    if not text.isascii() or not text.isprintable() or " " in text:
        article = "an" if what.startswith("a") else "a"
        raise CannotRun(f"{article} {what} is one word of ASCII characters: this is not", mend)
    try:
        return decrypt(text, keys)
    except UnreadableToken:
        raise CannotRun("this is encrypted with a key that ENCRYPTION_KEY lacks", mend) from None


def stored_tokens(database: Database) -> Iterator[StoredToken]:
    """Every token that this program stores; a further table joins here.

    Those of connections that are switched off too: they may be switched on again, and the key they
    are under is dropped meanwhile.
    """
    for account in database.read_gsc_accounts():
        replace = partial(database.replace_gsc_token, account.id)
        yield StoredToken(f"account {account.id}", account.refresh_token, replace)
    if database.lacks_columns("platform_connections", ("id",)):
        return
    for connection in database.read_connections(inactive_too=True):
        tokens: tuple[tuple[Which, str], ...] = (
            ("access", connection.access_token),
            ("refresh", connection.refresh_token),
        )
        for which, stored in tokens:
            if stored.strip():  # many have one of the two
                replace = partial(database.replace_connection_token, connection.id, which)
                yield StoredToken(f"connection {connection.id}, {which} token", stored, replace)


def is_fine_for(action: str, keys: Sequence[str]) -> Callable[[str], bool]:
    """Whether a stored token is already as `encrypt` or `rotate` wants it."""
    return is_encrypted if action == "encrypt" else partial(is_under_newest_key, keys=keys)


def rewrite_all(
    database: Database, keys: Sequence[str], outcome: Outcome, *, is_fine: Callable[[str], bool]
) -> None:
    """Store every token that is not fine under the newest key; `outcome` is true at any time.

    Raises:
        DatabaseError: what was changed before it stays changed.
    """
    pending: set[str] | None = None
    for _ in range(PASSES):
        outcome.moved = []
        for token in stored_tokens(database):
            if pending is None or token.place in pending:
                _rewrite(token, keys, outcome, is_fine)
        pending = set(outcome.moved)
        if not pending:
            return


def _rewrite(
    token: StoredToken, keys: Sequence[str], outcome: Outcome, is_fine: Callable[[str], bool]
) -> None:
    if not token.stored.strip():
        outcome.empty += 1
    elif is_fine(token.stored):
        outcome.fine += 1
    else:
        try:
            if token.replace(token.stored, encrypt(decrypt(token.stored, keys), keys)):
                outcome.changed += 1
            else:
                outcome.moved.append(token.place)
        except UnreadableToken:
            outcome.failed[token.place] = UNREADABLE
        except RowsRefused as error:
            outcome.failed[token.place] = refusal(error)


def _report_counts(action: str, outcome: Outcome) -> None:
    done = "encrypted" if action == "encrypt" else "encrypted under the first key"
    line = f"{count(outcome.changed, 'token')} {done}, {outcome.fine} already there"
    if outcome.empty:
        line += f", {count(outcome.empty, 'account')} without one"
    report(line, changed=outcome.changed, fine=outcome.fine, empty=outcome.empty)


def _report_rest(action: str, outcome: Outcome, keys: Sequence[str]) -> int:
    """What was left as it is, and whether the old keys are still needed."""
    failed = outcome.failed | dict.fromkeys(outcome.moved, "it changes all the time: run it again")
    if failed:
        report_error(
            "Left as they are:",
            [f"{place}: {why}" for place, why in failed.items()],
            "add the missing key to ENCRYPTION_KEY (a comma list, newest first), or store a new "
            "token: connect-gsc --account ID, tokens --add --connection ID; drop no key before all "
            "are readable",
        )
        return INCOMPLETE
    if action == "rotate" and len(keys) > 1:
        if not outcome.changed:
            report("Nothing has changed: if the first key of ENCRYPTION_KEY is not your new one,")
            report("put the new one first and run this again.")
        report("Every token is under the FIRST key of ENCRYPTION_KEY: only the keys behind it")
        report("may be dropped, on every machine that reads these tokens.")
    return COMPLETE
