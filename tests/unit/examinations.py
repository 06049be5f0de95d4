"""What doctor's checks get to look at in unit tests, and its findings in short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import responses

from config import Settings
from fetchers.http import Http
from fetchers.matomo import VIEWABLE_SITES
from jobs.doctor import Examination
from jobs.findings import FAIL, Finding
from models import GscAccount, Site, Window
from storage.errors import DatabaseError
from storage.runs import StoredRun
from storage.schema import Schema, Table
from tests.unit.fake_database import FakeDatabase
from tests.unit.helpers import (
    MATOMO_TOKEN,
    MATOMO_URL,
    FakeMatomo,
    Reply,
    json_reply,
    make_http,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
YESTERDAY = date(2026, 11, 19)

SETTINGS = Settings(
    matomo_api_url=MATOMO_URL,
    matomo_api_token=MATOMO_TOKEN,
    google_client_id="client",
    google_client_secret="sentinel-client-secret",
)


class TroubledDatabase(FakeDatabase):
    """A FakeDatabase that raises `errors[what]` where it is asked for `what`."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.errors: dict[str, DatabaseError] = {}
        self.cap: int | None = None

    def row_cap(self) -> int | None:
        super().row_cap()
        return self.cap

    def _ask(self, what: str, how: Any = None) -> None:
        super()._ask(what, how)
        if what in self.errors:
            raise self.errors[what]


class Matomo(FakeMatomo):
    """A FakeMatomo that tells its version, and the visits that it is given."""

    def __init__(
        self, viewable: Sequence[int], version: Reply | None = None, visits: int | None = None
    ) -> None:
        super().__init__(viewable, self._visits_of if visits is not None else None)
        self.version = version or json_reply(200, {"value": "5.0.2"})
        self.visits: dict[int, int] = dict.fromkeys(viewable, visits or 0)

    def _answer(self, query: Mapping[str, str]) -> Reply:
        if query["method"] == "API.getMatomoVersion":
            return self.version
        assert query["method"] == VIEWABLE_SITES["method"] or "VisitsSummary" in query["method"]
        return super()._answer(query)

    def _visits_of(self, sites: tuple[int, ...], days: tuple[date, ...]) -> Reply:
        table = {str(s): {str(day): self.visits[s] for day in days} for s in sites}
        return json_reply(200, table if len(sites) > 1 else table[str(sites[0])])


def answering_requests(mock: responses.RequestsMock, matomo: Matomo) -> None:
    mock.add_callback(responses.POST, f"{MATOMO_URL}/index.php", callback=matomo, content_type=None)


def examination(
    database: FakeDatabase | None = None,
    *,
    sites: Sequence[Site] = (),
    accounts: Sequence[GscAccount] | None = None,
    settings: Settings = SETTINGS,
    http: Http | None = None,
) -> Examination:
    return Examination(
        settings,
        NOW,
        http or make_http(attempts=1),
        database or FakeDatabase(),
        all_sites=list(sites),
        sites=list(sites),
        accounts=None if accounts is None else list(accounts),
    )


def in_short(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """(status, message) of each."""
    return [(finding.status, finding.message) for finding in findings]


def troubles(findings: Iterable[Finding]) -> list[Finding]:
    """All that is not well; each says what mends it, where it costs numbers."""
    found = [finding for finding in findings if finding.status != "ok"]
    assert all(finding.mend for finding in found if finding.status == FAIL)
    return found


def good_schema(now: datetime | None = None) -> Schema:
    """The tables as the migrations make them, as far as doctor looks at them."""

    def table(key: Sequence[str], triggers: Sequence[str] = ()) -> Table:
        return Table({}, frozenset({frozenset(key)}), True, (), tuple(triggers))

    return Schema(
        now or datetime.now(UTC),
        {
            "sites": table(["id"]),
            "gsc_accounts": table(["id"]),
            "daily_analytics": table(["date", "site_id"], ["daily_analytics_updated_at"]),
            "aggregator_runs": table(["id"]),
        },
    )


def a_run(
    hours_ago: float,
    status: str = "complete",
    *,
    window: Window | None = None,
    counts: Mapping[str, Any] | None = None,
    failures: Sequence[Mapping[str, Any]] = (),
    job: str = "daily",
) -> StoredRun:
    started_at = NOW - timedelta(hours=hours_ago)
    return StoredRun(
        1, job, started_at, started_at, status, window.first if window else None,
        window.last if window else None, dict(counts or {}), [dict(f) for f in failures],
    )  # fmt: skip
