"""The social platforms of the sandbox: which one answers a path, and how they are changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import date
from typing import Any

from sandbox.messages import Request
from sandbox.social_access import SocialTokens, has_secret
from sandbox.social_graph import FACEBOOK_PATH, INSTAGRAM_PATH, GraphApi
from sandbox.social_linkedin import (
    LINKEDIN_PATH,
    LINKEDIN_TOKEN_PATH,
    REST,
    LinkedIn,
    LinkedInToken,
)
from sandbox.social_numbers import SocialNumbers
from sandbox.social_world import LINKEDIN_CLIENT_ID, LINKEDIN_CLIENT_SECRET, SocialWorld
from sandbox.social_youtube import YOUTUBE_PATH, YouTubeAnalytics

SocialApi = GraphApi | YouTubeAnalytics | LinkedIn | LinkedInToken


class Social:
    """The stand-ins of Instagram, Facebook, YouTube and LinkedIn, and what a test asks of them.

    numbers: what they report, to be revised and held back. tokens: who holds which.
    """

    def __init__(self, world: SocialWorld) -> None:
        self.world = world
        self.numbers = SocialNumbers(world)
        self.tokens = SocialTokens(world)
        self._graph = GraphApi(self.numbers, self.tokens)
        self._youtube = YouTubeAnalytics(self.numbers, self.tokens)
        self._linkedin = LinkedIn(self.numbers, self.tokens)
        self._linkedin_token = LinkedInToken(world, self.tokens)
        self._leaks: list[str] = []
        self._lock = threading.Lock()

    def api(self, path: str) -> SocialApi | None:
        if path.startswith((f"{FACEBOOK_PATH}/", f"{INSTAGRAM_PATH}/")):
            return self._graph
        if path == YOUTUBE_PATH:
            return self._youtube
        if path.startswith(REST):
            return self._linkedin
        return self._linkedin_token if path == LINKEDIN_TOKEN_PATH else None

    def environment(self, url: str) -> dict[str, str]:
        """The variables which point the program at these stand-ins, on the server at `url`."""
        return {
            "GRAPH_API_URL": f"{url}{FACEBOOK_PATH}",
            "INSTAGRAM_API_URL": f"{url}{INSTAGRAM_PATH}",
            "YOUTUBE_API_ENDPOINT": url,
            "LINKEDIN_API_URL": f"{url}{LINKEDIN_PATH}",
            "LINKEDIN_TOKEN_URI": f"{url}{LINKEDIN_TOKEN_PATH}",
            "LINKEDIN_CLIENT_ID": LINKEDIN_CLIENT_ID,
            "LINKEDIN_CLIENT_SECRET": LINKEDIN_CLIENT_SECRET,
        }

    def watch(self, request: Request) -> None:
        """Notes a request whose URL holds a secret."""
        if has_secret(request.target):
            with self._lock:
                self._leaks.append(f"{request.method} {request.path}")

    @property
    def leaks(self) -> list[str]:
        """The requests whose URL held a secret: method and path. Empty for a sound program."""
        return list(self._leaks)

    @property
    def trapped(self) -> list[str]:
        """The paging links that were followed: paths. Empty for a sound program."""
        return list(self._graph.trapped)

    def change(self, change: Mapping[str, Any]) -> object:
        """One change of POST /sandbox/social, its fields named as the methods' arguments:

        {"do": "set", "connection": 1, "metric": "views", "day": "2026-11-17", "value": 5},
        hold_back and publish (connection, day, metric or not), of_a_day (connection, day; returns
        the numbers), revoke (token).
        """
        fields = {name: value for name, value in change.items() if name != "do"}
        if "day" in fields:
            fields["day"] = date.fromisoformat(fields["day"])
        methods: dict[str, Any] = {
            "set": self.numbers.set,
            "hold_back": self.numbers.hold_back,
            "publish": self.numbers.publish,
            "of_a_day": self.numbers.of_a_day,
            "revoke": self.tokens.revoke,
        }
        return methods[change["do"]](**fields)

    def reset(self) -> None:
        """Back to the world as it was; nothing leaked, nothing trapped."""
        self.numbers.clear()
        self.tokens.clear()
        with self._lock:
            self._leaks.clear()
        self._graph.trapped.clear()
