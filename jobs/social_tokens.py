"""The upkeep of the connections' tokens: renewed before they end, stored at once, expiry told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from fetchers.errors import FetchError
from fetchers.instagram import refresh_instagram_token
from fetchers.linkedin import refresh_linkedin_token
from fetchers.social import NewToken
from fetchers.social_metrics import INSTAGRAM, LINKEDIN, YOUTUBE
from jobs.social_apis import SocialApis
from jobs.social_plan import Work
from jobs.stored_tokens import encrypt
from logs import printable, redact
from models import Connection, SiteId
from storage.errors import DatabaseError

RENEW_BEFORE = timedelta(days=14)
"""Every night of two weeks tries: Instagram's and LinkedIn's tokens live for 60 days."""

TOLD_BEFORE = timedelta(days=7)

Store = Callable[[SiteId, str, str, datetime, str | None], bool]
"""(connection, stored access token, new one, its end, new refresh token): False if it changed
meanwhile."""

log = logging.getLogger("aggregator.social")


@dataclass(slots=True)
class Upkeep:
    """Renews tokens during a run, on any thread.

    unstored: new tokens that the database did not take. Nobody else knows them: the platform may
    have made the stored ones void.
    """

    apis: SocialApis
    keys: Sequence[str]
    store: Store
    now: datetime
    unstored: list[tuple[Connection, Callable[[], bool]]] = field(default_factory=list)

    def renew_if_due(self, work: Work) -> None:
        """Go on with a new token where the old one ends within two weeks, or nobody knows when."""
        renewal = renewal_of(work, self.apis)
        ends_at = work.connection.token_expires_at
        if renewal is not None and (ends_at is None or ends_at <= self.now + RENEW_BEFORE):
            self._renew(work, renewal)

    def renew_refused(self, work: Work) -> bool:
        """Whether there is a new token in place of one that was refused. Not for Instagram's: there
        the old one is what a new one is asked with."""
        renewal = renewal_of(work, self.apis)
        return work.connection.platform == LINKEDIN and bool(renewal and self._renew(work, renewal))

    def store_the_rest(self) -> Iterator[tuple[Connection, DatabaseError]]:
        """Try again to store what could not be; the connections whose new token is lost."""
        for connection, store in self.unstored:
            try:
                store()
            except DatabaseError as error:
                yield connection, error

    def _renew(self, work: Work, renewal: Callable[[], NewToken]) -> bool:
        """Get a new token, store it encrypted, and go on with it.

        A renewal that fails is a warning: the old token may be good, and the next run tries again.
        """
        connection = work.connection
        if not self.keys:
            log.warning("the token of connection %s is due: set ENCRYPTION_KEY", connection.id)
            return False
        try:
            new = renewal()
        except FetchError as error:
            log.warning(
                "the token of connection %s could not be renewed: %s -> %s",
                connection.id,
                error.message,
                error.mend,
            )
            return False
        redact.add([token for token in (new.access_token, new.refresh_token) if token])
        work.account = replace(
            work.account,
            access_token=new.access_token,
            refresh_token=new.refresh_token or work.account.refresh_token,
        )
        self._keep(work, new)
        return True

    def _keep(self, work: Work, new: NewToken) -> None:
        connection = work.connection
        refresh = encrypt(new.refresh_token, self.keys) if new.refresh_token else None
        stored_as = encrypt(new.access_token, self.keys)

        def store() -> bool:
            old = connection.access_token
            return self.store(connection.id, old, stored_as, new.expires_at, refresh)

        try:
            stored = store()
        except DatabaseError as error:
            log.warning("the new token of connection %s: %s", connection.id, error.message)
            self.unstored.append((connection, store))
            return
        if not stored:
            log.warning("connection %s was given another token meanwhile", connection.id)
            return
        work.connection = replace(
            connection,
            access_token=stored_as,
            refresh_token=refresh or connection.refresh_token,
            token_expires_at=new.expires_at,
        )
        until = new.expires_at.astimezone(UTC)
        log.info("the token of connection %s is renewed until %s", connection.id, f"{until:%F}")


def renewal_of(work: Work, apis: SocialApis) -> Callable[[], NewToken] | None:
    """How this connection's token is renewed; None where it cannot be."""
    connection, account, linkedin = work.connection, work.account, apis.linkedin
    if connection.platform == INSTAGRAM and account.login == "instagram":
        return lambda: refresh_instagram_token(account, api=apis.graph)
    allowed = account.refresh_token and linkedin.client_id and linkedin.client_secret
    if connection.platform == LINKEDIN and allowed:
        return lambda: refresh_linkedin_token(account, api=linkedin)
    return None


def expires_soon(connection: Connection, now: datetime) -> bool:
    """Whether somebody has to act within 7 days. YouTube's access tokens live for an hour, and are
    got anew with the refresh token."""
    if connection.platform == YOUTUBE and connection.refresh_token:
        return False
    ends_at = connection.token_expires_at
    return ends_at is not None and ends_at <= now + TOLD_BEFORE


def expiry_line(connection: Connection) -> str:
    """One line for the report."""
    assert connection.token_expires_at is not None
    return printable(
        f"{connection.platform} {connection.user_id}/{connection.account_id} ({connection.id}): "
        f"its token ends on {connection.token_expires_at.astimezone(UTC):%F} "
        "-> connect the account again before"
    )
