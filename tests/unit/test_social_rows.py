"""From what a platform said to rows: under whose name, and what their metadata say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fetchers.social import Collected, SocialValue
from fetchers.social_metrics import CATALOGUE, Metric
from jobs.social_apis import API_NAMES
from jobs.social_rows import snapshots
from models import Snapshot
from tests.unit.social import NOW, YESTERDAY, connection

REACH = Metric("reach", "series", "unique")
VIEWS = Metric("views", "total_value", "count", legacy_name="impressions")


def row_of(value: SocialValue, platform: str = "instagram", now: datetime = NOW) -> Snapshot:
    [row] = snapshots(connection(platform=platform), Collected([value]), "v25.0", now)
    return row


def test_a_number_is_a_row_under_the_apis_own_name() -> None:
    row = row_of(SocialValue(REACH, YESTERDAY, 7))
    assert row == Snapshot(
        "user-1",
        "instagram",
        "account-1",
        "reach",
        YESTERDAY,
        7,
        {
            "api": "instagram_graph",
            "api_version": "v25.0",
            "period": "day",
            "account_id": "account-1",
            "fetched_at": "2026-11-21T02:00:00Z",
            "data_state": "final",
        },
    )


@pytest.mark.parametrize(
    ("value", "name", "more"),
    [
        (SocialValue(VIEWS, YESTERDAY, 0), "views", {"legacy_name": "impressions"}),
        (
            SocialValue(VIEWS, YESTERDAY, 1, "reels", extra={"post_type": "reel"}),
            "views:reels",
            {"post_type": "reel"},
        ),
        (
            SocialValue(REACH, YESTERDAY, 1, data_state="provisional"),
            "reach",
            {"data_state": "provisional"},
        ),
    ],
)
def test_its_metadata_say_what_else_is_known(
    value: SocialValue, name: str, more: Mapping[str, Any]
) -> None:
    row = row_of(value)
    assert (row.metric, row.value) == (name, value.value)
    assert {**row.metadata, **more} == row.metadata
    assert ("post_type" in row.metadata) is ("post_type" in more)
    assert ("legacy_name" in row.metadata) is ("legacy_name" in more)


def test_the_moment_is_in_utc_and_to_the_second() -> None:
    now = NOW.replace(microsecond=999_999).astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert row_of(SocialValue(REACH, YESTERDAY, 1), now=now).metadata["fetched_at"] == (
        "2026-11-21T02:00:00Z"
    )


def test_every_platform_of_the_catalogue_has_a_name_for_its_api() -> None:
    assert API_NAMES.keys() == CATALOGUE.keys()
    for platform, name in API_NAMES.items():
        assert row_of(SocialValue(REACH, YESTERDAY, 1), platform).metadata["api"] == name
