"""A hundred times as many sites: memory, speed, and whether a site's cost stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from bench.nightly import FINAL_DAYS_AGO, nightly_window
from bench.numbers import check_stored
from bench.results import Row, median_run, seconds
from bench.runs import Bench, Run
from bench.servers import Api, empty, fill, running_sandbox
from sandbox import World, seed

ACCOUNTS = 20
"""Google allows 1,000 properties an account, so 20,000 sites are 20 full accounts. Such an account
stays within GSC_REQUESTS_PER_MINUTE's default of 1,200, which therefore never makes the run wait.
2,000 sites have as many: a cost that grows with an account's sites then shows as not flat."""

FEW, MANY = World(sites=2_000, accounts=ACCOUNTS), World(sites=20_000, accounts=ACCOUNTS)
FEW_REPEATS = 3
MOST_MB = 400
SITES_PER_SECOND = 300
FLAT_WITHIN = 1.2
PLAIN_SAMPLE = (100, 400)


def many_sites(bench: Bench) -> Iterator[Row]:
    """The nightly run of 20,000 sites without latency, beside 2,000 and beside plain."""
    start, few, plain_rate = _few(bench)
    many = _many(bench)
    rate = MANY.sites / many.wall_seconds
    costs = {
        world.sites: (run.wall_seconds - start) / world.sites * 1000
        for world, run in ((FEW, few), (MANY, many))
    }
    yield Row(
        f"{MANY.sites:,} sites, {MANY.accounts} accounts, no latency: memory",
        f"{many.peak_mb:.0f} MB at the peak",
        f"under {MOST_MB} MB",
        f"{few.peak_mb:.0f} MB for {FEW.sites:,} sites",
        few.peak_mb / many.peak_mb,
        many.peak_mb < MOST_MB,
    )
    yield Row(
        f"{MANY.sites:,} sites: speed",
        f"{rate:.0f} sites/s ({seconds(many.wall_seconds)})",
        f"at least {SITES_PER_SECOND} sites/s",
        f"plain, one day: {plain_rate:.0f} sites/s ({PLAIN_SAMPLE[1]} sites timed)",
        rate / plain_rate,
        rate >= SITES_PER_SECOND,
        many.binds(),
    )
    yield Row(
        f"{MANY.sites:,} sites: cost per site, without {seconds(start)} of start",
        f"{costs[MANY.sites]:.2f} ms",
        f"at most {FLAT_WITHIN} x that of {FEW.sites:,} sites",
        f"{costs[FEW.sites]:.2f} ms for {FEW.sites:,} sites",
        costs[FEW.sites] / costs[MANY.sites],
        costs[MANY.sites] <= FLAT_WITHIN * costs[FEW.sites],
        few.binds(),
    )


def _few(bench: Bench) -> tuple[float, Run, float]:
    """Duration of a run over one site, a run over 2,000, and plain's sites per second."""
    url, plain_url = (bench.postgres.new_database(f"few{suffix}") for suffix in ("", "_plain"))
    fill(url, FEW)
    fill(plain_url, FEW, with_property=True)
    starts, runs = [], []
    with running_sandbox(FEW, 0) as api:
        for _ in range(FEW_REPEATS):
            starts.append(bench.aggregator(api, url, "--site", seed.site_id(1)))
            runs.append(_nightly(bench, api, url, FEW))
        plain_rate = _plain_rate(bench, api, plain_url)
    return median_run(starts).wall_seconds, median_run(runs), plain_rate


def _many(bench: Bench) -> Run:
    url = bench.postgres.new_database("many")
    fill(url, MANY)
    with running_sandbox(MANY, 0) as api:
        return _nightly(bench, api, url, MANY)


def _nightly(bench: Bench, api: Api, url: str, world: World) -> Run:
    empty(url)
    run = bench.aggregator(api, url)
    check_stored(url, world, list(nightly_window()))
    return run


def _plain_rate(bench: Bench, api: Api, url: str) -> float:
    day = datetime.now(UTC).date() - timedelta(days=FINAL_DAYS_AGO)
    small, large = (
        bench.plain(api, url, "--date", str(day), "--sites", str(sites)) for sites in PLAIN_SAMPLE
    )
    check_stored(url, FEW, [day], PLAIN_SAMPLE[1])
    return (PLAIN_SAMPLE[1] - PLAIN_SAMPLE[0]) / (large.wall_seconds - small.wall_seconds)
