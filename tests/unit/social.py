"""Connections and settings for the tests of the social run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import cli
from config import Settings
from jobs.social_plan import SocialPlan
from models import Connection, SiteId, Snapshot
from tests.unit.helpers import fernet_key

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
"""18:00 of the 20th in Los Angeles: the last day that is over there is the 19th."""

YESTERDAY = date(2026, 11, 19)
KEY, OLDER_KEY, OTHER_KEY = fernet_key(1), fernet_key(2), fernet_key(3)
SETTINGS = Settings(
    encryption_keys=(KEY, OLDER_KEY),
    google_client_id="example",
    google_client_secret="sentinel-google-secret",
)


def words(text: str = "") -> Namespace:
    return cli.parse_arguments(["social", *text.split()])


def connection(
    number: SiteId = 1, platform: str = "instagram", user: str = "user-1", **more: Any
) -> Connection:
    """One whose tokens are stored plain, with an account of its own."""
    fields: dict[str, Any] = {
        "account_id": f"account-{number}",
        "access_token": f"sentinel-access-{number}",
    }
    return Connection(number, user, platform, **{**fields, **more})


def plan_of(*connections: Connection) -> SocialPlan:
    return SocialPlan(list(connections), (YESTERDAY,), levels=True)


def snapshot(
    metric: str,
    value: float,
    *,
    day: date = YESTERDAY,
    of: Connection | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Snapshot:
    of = of or connection()
    return Snapshot(
        of.user_id, of.platform, of.account_id, metric, day, value, metadata or {"api": "example"}
    )
