"""Doctor's look at the clocks: days, signatures and tokens depend on them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fetchers.clock import measure_clock
from fetchers.errors import FetchError, outcome_of
from jobs.findings import ADVICE, FAIL, OK, Finding

if TYPE_CHECKING:
    from jobs.doctor import Examination

TOLERATED = timedelta(seconds=30)
DANGEROUS = timedelta(minutes=5)
"""Google refuses tokens, and days begin and end elsewhere."""


def check_clocks(seen: Examination) -> Iterator[Finding]:
    """This machine's clock against every server's Date header."""
    settings = seen.settings
    for name, url in (
        ("Matomo", settings.matomo_api_url),
        ("Google", settings.google_token_uri if seen.accounts else None),
        ("Supabase", settings.supabase_url),
    ):
        if url is None:
            continue
        ahead = outcome_of(partial(measure_clock, url, seen.http))
        if isinstance(ahead, FetchError):
            # Whether the server works is another check's matter.
            host = urlsplit(url).netloc
            yield Finding(ADVICE, "clock", f"{name} ({host}) told no time: {ahead.message}")
        else:
            yield clock_finding(name, ahead)


def clock_finding(name: str, ahead: timedelta) -> Finding:
    """What to say of a server's clock that is so far before ours."""
    if abs(ahead) <= TOLERATED:
        return Finding(OK, "clock", f"this machine and {name} agree on the time")
    seconds = abs(ahead).total_seconds()
    shown = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    way = "behind" if ahead > timedelta() else "ahead of"
    return Finding(
        FAIL if abs(ahead) > DANGEROUS else ADVICE,
        "clock",
        f"this machine's clock is {shown} {way} {name}'s",
        "switch time synchronisation on (timedatectl set-ntp true)",
    )
