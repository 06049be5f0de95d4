"""From what a platform said to rows of analytics_snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from fetchers.social import Collected, SocialValue
from jobs.social_apis import API_NAMES
from models import Connection, Snapshot


def snapshots(
    connection: Connection, collected: Collected, version: str, now: datetime
) -> Iterator[Snapshot]:
    """One row per metric, part and day."""
    for value in collected.values:
        yield Snapshot(
            user_id=connection.user_id,
            platform=connection.platform,
            account_id=connection.account_id,
            metric=value.name,
            day=value.day,
            value=value.value,
            metadata=_metadata(connection, value, version, now),
        )


def _metadata(
    connection: Connection, value: SocialValue, version: str, now: datetime
) -> dict[str, object]:
    said: dict[str, object] = {
        "api": API_NAMES[connection.platform],
        "api_version": version,
        "period": "day",
        "account_id": connection.account_id,
        "fetched_at": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "data_state": value.data_state,
    }
    if value.metric.legacy_name is not None and value.part is None:
        said["legacy_name"] = value.metric.legacy_name
    return {**said, **value.extra}
