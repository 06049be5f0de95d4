"""One row of `aggregator_runs`, in the table's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from models import SiteId
from storage.rows import parse_id

COLUMNS = ("id", "job", "started_at", "finished_at", "status", "window_from", "window_to", "counts")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is written of a run; None fields are not written, so an update keeps them.

    status: 'running', 'complete', 'incomplete' or 'failed'.
    """

    status: str
    job: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    window_from: date | None = None
    window_to: date | None = None
    counts: dict[str, Any] | None = None
    failures: list[dict[str, Any]] | None = None

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One row as it is read. `failures` is None where it was not asked for: it may be long."""

    id: SiteId
    job: str
    started_at: datetime
    finished_at: datetime | None
    status: str
    window_from: date | None
    window_to: date | None
    counts: dict[str, Any] = field(default_factory=dict)
    failures: list[dict[str, Any]] | None = None

    def is_nightly(self, target_days_ago: int) -> bool:
        """Whether it asked for what a nightly run asks for: all sites, up to the target date.

        A backfill of older days, or a run of some sites, says nothing of last night. A run that
        failed before it knew its days counts: it was to be one.
        """
        if self.counts.get("only_sites"):
            return False
        # A day more than the setting, since "today" is that of a time zone.
        newest = self.started_at.date() - timedelta(days=target_days_ago + 1)
        return self.window_to is None or self.window_to >= newest


def parse_run(row: Mapping[str, Any]) -> StoredRun:
    """A run from its row, from either database: REST hands times and days over as text."""
    return StoredRun(
        id=parse_id(row["id"]),
        job=row["job"],
        started_at=_time(row["started_at"]),
        finished_at=_time(row["finished_at"]) if row["finished_at"] else None,
        status=row["status"],
        window_from=_day(row["window_from"]),
        window_to=_day(row["window_to"]),
        counts=row["counts"] if isinstance(row["counts"], dict) else {},
        failures=_objects(row["failures"]) if "failures" in row else None,
    )


def _objects(value: object) -> list[dict[str, Any]]:
    """What this program wrote; anything else in the column is somebody else's."""
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]


def _time(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _day(value: str | date | None) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else value
