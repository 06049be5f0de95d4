"""One night and 16 months of 198 sites, beside the plain version of the design."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.numbers import check_stored
from bench.results import Row, median_run, seconds
from bench.runs import CONCURRENCY, Bench, Run
from bench.servers import Api, empty, fill, running_sandbox
from config import Settings
from fetchers.gsc import oldest_kept_day, pacific_today
from models import Window, days_between
from sandbox import World

WORLD = World(sites=198, accounts=5)
LATENCY_SECONDS = 0.1
REPEATS = 3

OVER_REQUESTS, START_SECONDS = 1.3, 1.5
TIMES_FASTER = 10
BACKFILL_REQUESTS, BACKFILL_SECONDS = 300, 30.0

SAMPLE = (WORLD.accounts, 3 * WORLD.accounts)
"""Sites of the plain version's two timed runs: 1 and 3 of each account."""

FINAL_DAYS_AGO = 10
"""The plain version takes an absent row for a zero, so it is given a day where that is true."""


@dataclass(frozen=True, slots=True)
class Plain:
    """The plain version's duration, a line through two timed runs of one day."""

    small: Run
    large: Run

    def seconds(self, sites: int, days: int) -> float:
        small_sites, large_sites = SAMPLE
        slope = (self.large.wall_seconds - self.small.wall_seconds) / (large_sites - small_sites)
        return self.small.wall_seconds + slope * (sites * days - small_sites)

    @staticmethod
    def requests(sites: int, days: int) -> int:
        """A request of each source per site and day, and one token refresh per account and day."""
        return days * (2 * sites + WORLD.accounts)


def nightly(bench: Bench) -> Iterator[Row]:
    """The nightly run with its usual settings, process start included, database already up."""
    url = bench.postgres.new_database("nightly")
    fill(url, WORLD)
    window = nightly_window()
    runs, plain_runs = [], []
    with running_sandbox(WORLD, LATENCY_SECONDS) as api:
        plain_url = _plain_database(bench, "nightly_plain")
        for _ in range(REPEATS):
            empty(url)
            runs.append(bench.aggregator(api, url))
            check_stored(url, WORLD, list(window))
            plain_runs.append(_run_plain(bench, api, plain_url))
    run, plain = median_run(runs), _median_plain(plain_runs)
    one_day, same_days = (plain.seconds(WORLD.sites, days) for days in (1, len(window)))
    most = OVER_REQUESTS * run.requests_seconds + START_SECONDS
    yield Row(
        f"nightly: {WORLD.sites} sites, {len(window)} days, latency {LATENCY_SECONDS} s",
        f"{seconds(run.wall_seconds)} for {run.requests} requests",
        f"at most {seconds(most)}: {OVER_REQUESTS} x ({run.requests} / {CONCURRENCY} x "
        f"{LATENCY_SECONDS} s) + {START_SECONDS} s",
        f"{seconds(run.requests_seconds)}: nothing but waiting for the requests",
        run.requests_seconds / run.wall_seconds,
        run.wall_seconds <= most,
        run.binds(),
    )
    yield Row(
        "nightly, against plain",
        seconds(run.wall_seconds),
        f"{TIMES_FASTER} x faster than plain's one day",
        f"plain, one day: {seconds(one_day)}; as many days: {seconds(same_days)} "
        f"({SAMPLE[0]} and {SAMPLE[1]} sites timed, the rest a straight line)",
        one_day / run.wall_seconds,
        one_day >= TIMES_FASTER * run.wall_seconds,
    )


def backfill(bench: Bench) -> Iterator[Row]:
    """All that Search Console keeps, up to the target date: 485 or 486 days, by the hour."""
    url = bench.postgres.new_database("backfill")
    fill(url, WORLD)
    first, last = oldest_kept_day(pacific_today(datetime.now(UTC))), nightly_window().last
    days = days_between(first, last)
    runs = []
    with running_sandbox(WORLD, LATENCY_SECONDS) as api:
        plain_url = _plain_database(bench, "backfill_plain")
        plain = _run_plain(bench, api, plain_url)
        for _ in range(REPEATS):
            empty(url)
            runs.append(bench.aggregator(api, url, "--from", str(first), "--to", str(last)))
            check_stored(url, WORLD, days)
    run = median_run(runs)
    plain_requests = plain.requests(WORLD.sites, len(days))
    plain_seconds = plain.seconds(WORLD.sites, len(days))
    yield Row(
        f"16 months: {WORLD.sites} sites, {len(days)} days",
        f"{run.requests} requests",
        f"at most {BACKFILL_REQUESTS}",
        f"plain: {plain_requests:,} requests (computed)",
        plain_requests / run.requests,
        run.requests <= BACKFILL_REQUESTS,
    )
    yield Row(
        "16 months, duration",
        seconds(run.wall_seconds),
        f"under {seconds(BACKFILL_SECONDS)}",
        f"plain: {seconds(plain_seconds)} (the straight line of {SAMPLE[1]} sites and one day)",
        plain_seconds / run.wall_seconds,
        run.wall_seconds < BACKFILL_SECONDS,
        run.binds(),
    )


def nightly_window() -> Window:
    """The days of a nightly run with its usual settings."""
    settings = Settings()
    target = datetime.now(UTC).date() - timedelta(days=settings.target_days_ago)
    return Window(target - timedelta(days=settings.lookback_days - 1), target)


def _plain_database(bench: Bench, name: str) -> str:
    url = bench.postgres.new_database(name)
    fill(url, WORLD, with_property=True)
    return url


def _run_plain(bench: Bench, api: Api, url: str) -> Plain:
    day = datetime.now(UTC).date() - timedelta(days=FINAL_DAYS_AGO)
    small, large = (
        bench.plain(api, url, "--date", str(day), "--sites", str(sites)) for sites in SAMPLE
    )
    check_stored(url, WORLD, [day], SAMPLE[1])
    return Plain(small, large)


def _median_plain(runs: list[Plain]) -> Plain:
    return Plain(median_run(run.small for run in runs), median_run(run.large for run in runs))
