"""`aggregator.py connect-gsc`: Google's consent for one account, stored, and what it covers."""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from typing import TextIO
from urllib.parse import urlsplit

from config import LOOPBACK, InvalidSettings, Settings
from db import Database, open_database
from exit_status import COMPLETE, COULD_NOT_RUN, INCOMPLETE
from fetchers.errors import FetchError, SettingsError, outcome_of
from fetchers.google_consent import (
    AGAIN,
    Client,
    NotTheAnswer,
    begin_consent,
    exchange_code,
    read_answer,
    read_pasted,
)
from fetchers.gsc import list_properties
from fetchers.gsc_property import Property
from fetchers.http import Http
from fetchers.loopback import Loopback
from jobs.gsc_coverage import find_coverage, report_coverage
from jobs.run_failures import CannotRun
from jobs.sources import open_google_account, open_http
from jobs.standard_input import read_line
from jobs.stored_tokens import find_account, store_token
from logs import report, report_error
from models import Site, SiteId
from stopping import Stop
from summary import count

WAIT_SECONDS = 300.0
PASTES = 3
NOWHERE = "http://localhost:53682/"
"""Where another machine's browser is sent: nothing answers there, and its address bar keeps the
answer."""


def connect_gsc(arguments: argparse.Namespace, settings: Settings) -> int:
    """Ask for consent, store its refresh token and list the sites it covers.

    Returns:
        0; 1: no token was given, or it is stored and the sites could not be listed; 2: our OAuth
        client or an address is wrong.

    Raises:
        CannotRun, InvalidSettings: before consent is asked for. DatabaseError.
    """
    check_token_address(settings)
    with open_database(settings) as database:
        check_account(database, arguments.account)
    http = open_http(settings, Stop())
    try:
        token = ask_consent(arguments, settings, http)
    except FetchError as error:
        report_error("Not connected, nothing was stored:", [error.message], error.mend)
        return COULD_NOT_RUN if isinstance(error, SettingsError) else INCOMPLETE
    listed = outcome_of(lambda: list_properties(open_google_account(token, settings, http)))
    # Opened again: a consent may take minutes, and connections that rest are cut.
    with open_database(settings) as database:
        sites = database.read_sites()
        if arguments.account is not None:
            if isinstance(listed, FetchError):
                title = "Whose consent this is could not be seen, nothing was stored:"
                report_error(title, [listed.message], listed.mend)
                return INCOMPLETE
            check_same_account(sites, find_account(database, arguments.account).id, listed)
        account_id = store_token(database, token, settings.encryption_keys, arguments.account)
    report(f"Connected. The refresh token is stored: account {account_id}", account=account_id)
    if isinstance(listed, FetchError):
        title = "Connected, but which sites it covers could not be listed:"
        report_error(title, [listed.message], listed.mend)
        return INCOMPLETE
    report_coverage(account_id, listed, find_coverage(sites, account_id, listed))
    return COMPLETE


def check_same_account(
    sites: Sequence[Site], account_id: SiteId, listed: Sequence[Property]
) -> None:
    """A consent given with another Google account must not replace a token that may be good.

    Raises:
        CannotRun: none of the account's own sites is covered by what this one sees.
    """
    coverage = find_coverage(sites, account_id, listed)
    own = [site for site, _ in coverage.covered if site.gsc_account_id == account_id]
    if coverage.denied and not own:
        raise CannotRun(
            f"this Google account covers none of the {count(len(coverage.denied), 'site')} of "
            f"account {account_id}: nothing was stored",
            "sign in with the Google account that sees their properties; for another account leave "
            "--account out",
        )


def check_token_address(settings: Settings) -> None:
    """A code and the client's secret go there: over TLS, or not off this machine.

    Raises:
        InvalidSettings.
    """
    parts = urlsplit(settings.google_token_uri)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise InvalidSettings(
            ["GOOGLE_TOKEN_URI begins with http:// and is not on this machine: use https://"]
        )


def check_account(database: Database, account_id: str | None) -> None:
    """That there will be somewhere to store the token: before anybody is asked for consent.

    Raises:
        CannotRun: no such account. DatabaseError: the table cannot be read.
    """
    if account_id is None:
        database.read_gsc_accounts()
    else:
        find_account(database, account_id)


def ask_consent(arguments: argparse.Namespace, settings: Settings, http: Http) -> str:
    """The refresh token of whoever gives consent now.

    Raises:
        FetchError: there is none.
    """
    client = Client(
        settings.google_client_id or "",
        settings.google_client_secret or "",
        settings.google_token_uri,
    )
    if arguments.no_browser:
        consent = begin_consent(client, NOWHERE)
        code = paste_answer(consent.url, lambda text: read_pasted(text, consent), sys.stdin)
        return exchange_code(code, consent, client, http)
    with Loopback() as loopback:
        consent = begin_consent(client, loopback.redirect_uri)
        code = loopback.wait(
            lambda target: read_answer(target, consent),
            WAIT_SECONDS,
            lambda: open_browser(consent.url),
        )
    return exchange_code(code, consent, client, http)


def open_browser(url: str) -> None:
    """Open the address, and print it too: the browser may be signed in with another account."""
    report("Sign in with the Google account that sees the properties, and allow it to read them.")
    report("If no browser opens, open this address on this machine (from another: --no-browser):")
    report(url, url=url)
    # Some browsers are waited for until they end.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def paste_answer(url: str, read: Callable[[str], str], source: TextIO | None) -> str:
    """Have the address opened elsewhere, and read from `source` what the browser ends up at.

    Raises:
        FetchError: as `read`; what cannot be used may be pasted again.
    """
    report("Open this address in a browser, on any machine, signed in with the Google account")
    report("that sees the properties:")
    report(url, url=url)
    report(f"After consent the browser shows a page that cannot be reached ({NOWHERE}…): that")
    report("is right. Copy the whole address from its address bar and paste it here:")
    problem = NotTheAnswer("nothing was pasted", mend=AGAIN)
    for _ in range(PASTES):
        text = read_line(source)
        if not text:
            break
        try:
            return read(text)
        except NotTheAnswer as error:
            problem = error
            report(f"{error.message[0].upper()}{error.message[1:]}: {error.mend}. Paste it here:")
    raise problem
