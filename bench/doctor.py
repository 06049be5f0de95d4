"""Doctor looking at 200 sites, beside one look at a single site after the other."""

from __future__ import annotations

from collections.abc import Iterator

from bench.results import Row, median_run, seconds
from bench.runs import Bench
from bench.servers import fill, running_sandbox
from sandbox import World, seed

WORLD = World(sites=200, accounts=5)
LATENCY_SECONDS = 0.1
REPEATS = 3
MOST_SECONDS = 10.0


def doctor(bench: Bench) -> Iterator[Row]:
    """The whole command, process start included, database already up; a first nightly run done."""
    url = bench.postgres.new_database("doctor")
    fill(url, WORLD)
    with running_sandbox(WORLD, LATENCY_SECONDS) as api:
        bench.aggregator(api, url)
        run = median_run(bench.aggregator(api, url, "doctor") for _ in range(REPEATS))
        single = median_run(
            bench.aggregator(api, url, "doctor", "--site", seed.site_id(1)) for _ in range(REPEATS)
        )
    one_by_one = single.wall_seconds * WORLD.sites
    yield Row(
        f"doctor: {WORLD.sites} sites, {WORLD.accounts} accounts, {LATENCY_SECONDS} s",
        f"{seconds(run.wall_seconds)}, {run.requests} requests",
        f"under {seconds(MOST_SECONDS)}",
        f"doctor --site for each: {seconds(one_by_one)} (computed)",
        one_by_one / run.wall_seconds,
        run.wall_seconds < MOST_SECONDS,
        run.binds(),
    )
