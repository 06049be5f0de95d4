"""Doctor's look at who hears of a run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from fetchers.alert_targets import check_reachable
from fetchers.errors import FetchError, outcome_of
from jobs.findings import ADVICE, OK, Finding

if TYPE_CHECKING:
    from jobs.doctor import Examination


def check_alerts(seen: Examination) -> Iterator[Finding]:
    """Whether anybody hears of a run; a target is not told anything, only looked for."""
    targets = {
        "the health check (HEALTHCHECK_URL)": seen.settings.healthcheck_url,
        "the webhook (ALERT_WEBHOOK_URL)": seen.settings.alert_webhook_url,
    }
    if not any(targets.values()):
        yield Finding(
            ADVICE,
            "alerts",
            "nobody is told when a run fails, or when cron stops starting it",
            "set HEALTHCHECK_URL or ALERT_WEBHOOK_URL (.env.example)",
        )
    for name, url in targets.items():
        if url is not None:
            unreachable = outcome_of(partial(check_reachable, url))
            if isinstance(unreachable, FetchError):
                message = f"{name} cannot be reached: {unreachable.message}"
                yield Finding(ADVICE, "alerts", message, unreachable.mend)
            else:
                yield Finding(OK, "alerts", f"{name} can be reached")
