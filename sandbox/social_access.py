"""Whose token a request carries, and the tokens that are given out in exchange."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_plus

from sandbox.messages import Request
from sandbox.social_world import Platform, SocialWorld

TokenKind = Literal["user", "page", "refresh"]

SECRET = re.compile(
    r"sandbox-(social-(token|refresh|access)|page-token|refresh-token|access-token|matomo-token"
    r"|client-secret|linkedin-client-secret)"
)


@dataclass(frozen=True)
class Holder:
    """Whose token it is. user: it speaks for the person; page: for the page alone."""

    connection: int
    kind: TokenKind


class SocialTokens:
    """The tokens of every connection, and those issued since; older ones stay good."""

    def __init__(self, world: SocialWorld) -> None:
        self._world = world
        self._holders: dict[str, Holder] = {}
        self._issued: Counter[int] = Counter()
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """The tokens of the world alone."""
        world, holders = self._world, dict[str, Holder]()
        for connection in world.connection_numbers:
            holders[world.access_token(connection)] = Holder(connection, "user")
            if refresh_token := world.refresh_token(connection):
                holders[refresh_token] = Holder(connection, "refresh")
            if world.platform_of(connection) == "facebook":
                holders[world.page_token(connection)] = Holder(connection, "page")
        with self._lock:
            self._holders = holders
            self._issued.clear()

    def holder(self, token: str) -> Holder | None:
        return self._holders.get(token)

    def by_refresh_token(self, token: str, platform: Platform) -> int | None:
        """The connection of a refresh token of the platform."""
        holder = self.holder(token)
        if holder is None or holder.kind != "refresh":
            return None
        is_its = self._world.platform_of(holder.connection) == platform
        return holder.connection if is_its else None

    def issue(self, connection: int, name: str = "token") -> str:
        """A new access token of the connection."""
        with self._lock:
            self._issued[connection] += 1
            token = f"sandbox-social-{name}-{connection}-{self._issued[connection]}"
            self._holders[token] = Holder(connection, "user")
        return token

    def revoke(self, token: str) -> None:
        """Lets a token be refused from now on."""
        with self._lock:
            self._holders.pop(token, None)


def bearer(request: Request) -> str:
    """The token in the header, or the one in the URL, which Graph takes too; empty without."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else dict(request.query).get("access_token", "")


def has_secret(target: str) -> bool:
    """Whether a URL holds any secret of the sandbox."""
    return SECRET.search(unquote_plus(target)) is not None
