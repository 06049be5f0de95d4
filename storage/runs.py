"""One row of `aggregator_runs`, in the table's own words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any


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
