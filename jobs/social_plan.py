"""What a run of `aggregator.py social` is about: its days, its connections, and their tokens."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from config import Settings
from db import Database
from fetchers.errors import CredentialsError, FetchError, NeedsReauth, SettingsError
from fetchers.social import Login, SocialAccount, StoredNumbers
from fetchers.social_days import pacific_day
from fetchers.social_metrics import CATALOGUE, YOUTUBE
from jobs.run_failures import CannotRun, WrongRequest
from jobs.stored_tokens import UnreadableToken, decrypt
from models import Connection, SiteId, Window

SHORTEST_WINDOW = 7
"""Platforms publish late and revise for days (facts/social.md 1.3, 3.4)."""

LOGIN_KEYS = ("login", "login_type", "login_flow", "auth_type")

NO_KEY = "access tokens are stored encrypted, and ENCRYPTION_KEY is not set or not usable"
UNREADABLE = "its token cannot be decrypted with ENCRYPTION_KEY"
ADD_KEY = "add the key it was encrypted with to ENCRYPTION_KEY (a comma list)"
NONE_READABLE = "no stored token can be decrypted with ENCRYPTION_KEY"
CORRECT_KEY = "set ENCRYPTION_KEY to the key they were encrypted with"


@dataclass(slots=True)
class Work:
    """One connection's part of a run. stored: what is known of its days."""

    connection: Connection
    account: SocialAccount
    stored: StoredNumbers = field(default_factory=dict)


@dataclass(slots=True)
class SocialPlan:
    """days: oldest first. levels: whether followers and the like are read too, which are of now.

    failed: connections that cannot be asked, with why. unknown: of platforms that have no fetcher.
    """

    connections: list[Connection]
    days: tuple[date, ...]
    levels: bool
    work: list[Work] = field(default_factory=list)
    failed: list[tuple[Connection, FetchError]] = field(default_factory=list)
    unknown: list[Connection] = field(default_factory=list)

    @property
    def known(self) -> list[Connection]:
        """Those of platforms that can be asked."""
        return [c for c in self.connections if c.platform in CATALOGUE]

    @property
    def names(self) -> dict[SiteId, str]:
        return {connection.id: name_of(connection) for connection in self.connections}


def name_of(connection: Connection) -> str:
    """Whose it is, and the id that commands take."""
    return f"{connection.user_id}/{connection.account_id or '(own channel)'} ({connection.id})"


def choose_social_window(
    arguments: argparse.Namespace, settings: Settings, now: datetime
) -> Window:
    """The days asked for, else LOOKBACK_DAYS days, at least 7, ending on the last Pacific day that
    is over: most platforms' days are Pacific ones.

    Raises:
        WrongRequest: a day that is not over.
    """
    last = pacific_day(now) - timedelta(days=1)
    if arguments.date:
        window = Window(arguments.date, arguments.date)
    elif arguments.first:
        window = Window(arguments.first, arguments.last)
    else:
        length = max(SHORTEST_WINDOW, settings.lookback_days)
        window = Window(last - timedelta(days=length - 1), last)
    if window.last > last:
        raise WrongRequest(
            f"{window.last} is not over in the platforms' time zone (the last day is {last})",
            "ask for days that are over",
        )
    return window


def load_social_plan(
    database: Database, arguments: argparse.Namespace, window: Window, settings: Settings
) -> SocialPlan:
    """Read the connections, make their tokens readable, and see what is stored of the days.

    Raises:
        CannotRun: there are no connections. WrongRequest: an asked one is none. DatabaseError.
    """
    connections = choose_connections(database.read_connections(), arguments.connections)
    explicit = bool(arguments.date or arguments.first)
    plan = SocialPlan(connections, tuple(window), levels=not explicit)
    for connection in connections:
        if connection.platform not in CATALOGUE:
            plan.unknown.append(connection)
            continue
        try:
            plan.work.append(Work(connection, open_connection(connection, settings)))
        except FetchError as error:
            plan.failed.append((connection, error))
    _say_once_if_none_is_readable(plan)
    if not explicit:  # whoever names days wants them read, whatever is known
        _see_what_is_stored(plan.work, database, window)
    return plan


def choose_connections(
    connections: Iterable[Connection], wanted: Collection[str]
) -> list[Connection]:
    """The connections to work on: all, or those of `--connection`.

    Raises:
        CannotRun: there are none. WrongRequest: an asked one is not among them.
    """
    connections = list(connections)
    if not connections:
        raise CannotRun(
            "no connections to work on: platform_connections shows no row with is_active",
            "insert one row per account (docs/social.md); if there are rows, is_active is not true "
            "there, or row level security hides them: use the service key, or the tables' owner",
        )
    ids = {str(connection.id) for connection in connections}
    unknown = [words for words in wanted if words.strip() not in ids]
    if unknown:
        raise WrongRequest(
            f"no active connection has the id {', '.join(unknown)}",
            "take it from the table platform_connections; is_active must be true",
        )
    asked = {words.strip() for words in wanted}
    return [c for c in connections if not asked or str(c.id) in asked]


def open_connection(connection: Connection, settings: Settings) -> SocialAccount:
    """The account with its tokens readable, and never printed from here on.

    Raises:
        CredentialsError: there is no token, no key reads it, or the platform refused this very one
            before. SettingsError: no account is named, or the OAuth client is not set.
    """
    keys = settings.encryption_keys
    client = settings.google_client_id and settings.google_client_secret
    if connection.platform == YOUTUBE and connection.refresh_token and not client:
        raise SettingsError(
            "GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are missing",
            mend="set them in .env (README, Google Search Console)",
        )
    if not connection.account_id and connection.platform != YOUTUBE:
        raise SettingsError(
            "the connection names no account",
            mend="fill in platform_connections.account_id (docs/social.md)",
        )
    if not (connection.access_token.strip() or connection.refresh_token.strip()):
        raise CredentialsError("the connection has no token", mend=reconnect(connection.platform))
    # YouTube is asked with the refresh token: whatever else is stored is of no use.
    alone = connection.platform == YOUTUBE and bool(connection.refresh_token.strip())
    try:
        access = "" if alone else decrypt(connection.access_token, keys)
        refresh = decrypt(connection.refresh_token, keys)
    except UnreadableToken:
        if not keys:
            raise SettingsError(NO_KEY, mend=CORRECT_KEY) from None
        raise CredentialsError(UNREADABLE, mend=ADD_KEY) from None
    account = SocialAccount(
        connection.user_id,
        connection.account_id,
        access,
        refresh,
        login_of(connection, access),
    )
    refused = refused_before(connection, account)
    if refused is not None:
        raise refused
    return account


def login_of(connection: Connection, access_token: str) -> Login:
    """Through which dialog an Instagram token came: metadata says it, else the token's beginning.

    `IG…` is what Instagram Login hands out (facts/social.md 1.1).
    """
    said = next((str(connection.metadata[k]) for k in LOGIN_KEYS if connection.metadata.get(k)), "")
    by_instagram = "instagram" in said.lower() if said else access_token.startswith("IG")
    return "instagram" if by_instagram else "facebook"


def reconnect(platform: str) -> str:
    """What mends a connection without a good token."""
    option = " --refresh" if platform == YOUTUBE else ""
    return f"connect the account again, or: aggregator.py tokens --add --connection ID{option}"


def token_digest(account: SocialAccount) -> str:
    """By which tokens are known again that were refused; it says nothing of them. The login goes
    with them: at the wrong host a good token is refused as well."""
    both = f"{account.access_token}\n{account.refresh_token}\n{account.login}"
    return hashlib.sha256(both.encode()).hexdigest()[:32]


def refused_before(connection: Connection, account: SocialAccount) -> NeedsReauth | None:
    """The refusal that the connection's metadata remembers, if its tokens are still the same."""
    mark = connection.metadata.get("needs_reauth")
    if not isinstance(mark, dict) or mark.get("token") != token_digest(account):
        return None
    since = str(mark.get("since", ""))[:10]
    return NeedsReauth(
        f"not asked: its token was refused on {since} and is still the same ({mark.get('reason')})",
        mend=reconnect(connection.platform),
    )


def _say_once_if_none_is_readable(plan: SocialPlan) -> None:
    """If no token at all can be read, the key is wrong, not the connections."""
    unreadable = [error for _, error in plan.failed if error.message == UNREADABLE]
    if unreadable and not plan.work:
        error = SettingsError(NONE_READABLE, mend=CORRECT_KEY)
        plan.failed = [
            (connection, error if found.message == UNREADABLE else found)
            for connection, found in plan.failed
        ]


def _see_what_is_stored(work: Sequence[Work], database: Database, window: Window) -> None:
    """Settled days need not be asked again one by one."""
    known: dict[tuple[str, str, str], dict[tuple[str, date], tuple[float, str]]] = {}
    for row in database.read_snapshots(window):
        of_account = known.setdefault((row.user_id, row.platform, row.account_id), {})
        state = str(row.metadata.get("data_state", ""))
        of_account[row.metric, row.day] = (float(row.value), state)
    for item in work:
        c = item.connection
        item.stored = known.get((c.user_id, c.platform, c.account_id), {})
