"""Doctor's look at the social accounts: tokens, permissions, and versions that end soon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from config import Settings
from db import open_database
from fetchers.errors import FetchError, Throttled, interrupted, outcome_of
from fetchers.social_metrics import (
    CATALOGUE,
    FACEBOOK,
    GRAPH_VERSION_ENDS,
    INSTAGRAM,
    LINKEDIN,
    linkedin_version_ends,
)
from fetchers.throttle import Throttle
from jobs.doctor_database import open_tables
from jobs.findings import ADVICE, FAIL, OK, Finding
from jobs.social_apis import SocialApis, open_social_apis, probe_connection
from jobs.social_plan import Work, name_of, open_connection
from jobs.social_tokens import expires_soon, expiry_line
from logs import printable
from models import Connection
from stopping import Stop
from storage.errors import DatabaseError, MissingRelation
from summary import count, name_sites
from workers import Workers

if TYPE_CHECKING:
    from jobs.doctor import Examination

AREA = "social"
TOLD_BEFORE = timedelta(days=60)
"""A version of LinkedIn's API lives for a year: two months to raise it."""

TABLES = ("platform_connections", "analytics_snapshots")

T = TypeVar("T")

Outcome = tuple[Connection, FetchError | None]


class _Impatient(Throttle):
    """Nobody waits at a terminal until a limit is over: whom it concerns is told of at once."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self._told: dict[str, Throttled] = {}

    def call(
        self,
        attempt: Callable[[], T],
        scopes: tuple[str, ...],
        scope_of: Callable[[Throttled], str],
    ) -> T:
        for scope in scopes:
            if scope in self._told:  # to keep calling would extend the block
                raise self._told[scope]
        try:
            return attempt()
        except Throttled as error:
            self._told[scope_of(error)] = error
            raise


def check_social(seen: Examination) -> Iterator[Finding]:
    """Whether every connection can be asked; nothing where there are none. Read-only."""
    if not (seen.settings.supabase_url or seen.settings.database_url):
        return  # check_settings has said so
    try:
        # A connection of its own: other checks use the common one at the same time.
        with open_database(seen.settings) as database:
            connections = database.read_connections()
            schema = database.read_schema()
    except MissingRelation:
        return  # check_migrations says what is pending
    except DatabaseError as error:
        yield Finding(ADVICE, AREA, f"not looked at: {error.message}", error.mend)
        return
    if not connections:
        return
    yield from open_tables(AREA, TABLES, schema, seen)
    yield from version_findings(seen.settings, connections, seen.now.date())
    yield from _connection_findings(connections, seen)


def version_findings(
    settings: Settings, connections: list[Connection], today: date
) -> Iterator[Finding]:
    """Versions and metrics that are over, or end within 60 days."""
    platforms = {connection.platform for connection in connections}
    ends = []
    if platforms & {INSTAGRAM, FACEBOOK} and settings.graph_api_version in GRAPH_VERSION_ENDS:
        last = GRAPH_VERSION_ENDS[settings.graph_api_version]
        ends.append(("Facebook's and Instagram's API", "raise GRAPH_API_VERSION", last))
    if LINKEDIN in platforms:
        last = linkedin_version_ends(settings.linkedin_version)
        ends.append(("LinkedIn's API", "raise LINKEDIN_VERSION", last))
    for what, mend, last in ends:
        if today >= last:
            yield Finding(FAIL, AREA, f"the version of {what} ended on {last}", mend)
        elif today + TOLD_BEFORE >= last:
            yield Finding(ADVICE, AREA, f"the version of {what} ends on {last}", mend)
    for platform in sorted(platforms & CATALOGUE.keys()):
        for metric in CATALOGUE[platform]:
            if metric.ends is not None and today + TOLD_BEFORE >= metric.ends:
                message = f"{platform}'s metric {metric.name} ends on {metric.ends}"
                yield Finding(ADVICE, AREA, message, "update this program before")


def _connection_findings(connections: list[Connection], seen: Examination) -> Iterator[Finding]:
    """One to three requests per connection, all side by side."""
    apis = open_social_apis(seen.settings, seen.http, _Impatient(seen.http.stop))
    known = [c for c in connections if c.platform in CATALOGUE]
    workers: Workers[Outcome] = Workers(seen.settings.concurrency, seen.http.stop)
    for connection in known:
        workers.submit(partial(_ask, connection, apis, seen))
    outcomes = {connection.id: error for connection, error in workers.results()}
    failed: dict[tuple[str, str], list[Connection]] = {}
    for connection in known:
        error = outcomes.get(connection.id, interrupted(seen.http.stop))
        if error is not None:
            failed.setdefault((error.message, error.mend), []).append(connection)
    for (message, mend), of_these in failed.items():
        yield Finding(FAIL, AREA, f"{_named(of_these)}: {message}", mend)
    if well := len(known) - sum(map(len, failed.values())):
        yield Finding(OK, AREA, f"{well} of {count(len(known), 'connection')} can be asked")
    yield from _advice(connections, seen)


def _advice(connections: list[Connection], seen: Examination) -> Iterator[Finding]:
    """What is no failure yet."""
    known = [connection for connection in connections if connection.platform in CATALOGUE]
    for connection in known:
        if expires_soon(connection, seen.now):
            what, _, mend = expiry_line(connection).partition(" -> ")
            yield Finding(ADVICE, AREA, what, mend)
    accounts = Counter((c.user_id, c.platform, c.account_id) for c in known)
    doubled = [c for c in known if accounts[c.user_id, c.platform, c.account_id] > 1]
    if doubled:
        message = f"{_named(doubled)}: several active rows of one account, each is asked"
        yield Finding(ADVICE, AREA, message, "keep one")
    if unknown := {c.platform for c in connections} - CATALOGUE.keys():
        named = ", ".join(sorted(printable(platform) or "(none)" for platform in unknown))
        yield Finding(ADVICE, AREA, f"connections of platforms that nothing here asks: {named}")


def _ask(connection: Connection, apis: SocialApis, seen: Examination) -> Outcome:
    def asked() -> None:
        account = open_connection(connection, seen.settings)
        probe_connection(Work(connection, account), apis, seen.now)

    outcome = outcome_of(asked)
    return connection, outcome if isinstance(outcome, FetchError) else None


def _named(connections: list[Connection]) -> str:
    names = {c.id: f"{c.platform} {name_of(c)}" for c in connections}
    return name_sites(list(names), names, "connection")
