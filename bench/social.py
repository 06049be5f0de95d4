"""The social platforms' numbers of 150 users, beside the design's own loop.

A first run over an empty table, then a night as most are: of each account everything is stored that
the night before could know.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from bench.results import CouldNotRun, Row, median_run, seconds
from bench.runs import CONCURRENCY, Bench, Run
from bench.servers import Api, running_sandbox
from fetchers.social_days import is_settled, last_linkedin_day, pacific_day
from jobs.demo import ENCRYPTION_KEY
from jobs.social_plan import SHORTEST_WINDOW
from models import days_between
from sandbox import SocialWorld, World, seed
from sandbox.social_numbers import SocialNumbers
from sandbox.social_world import PLATFORMS

SOCIAL = SocialWorld(users=150, connections=300)
LATENCY_SECONDS = 0.1
REPEATS = 3

MOST_REQUESTS = 5
OVER_REQUESTS, START_SECONDS = 1.3, 1.5
TIMES_FASTER = 10

SAMPLE = (4, 12)
"""Connections of the loop's two timed runs: one and three of each platform."""

LEVELS = ("followers_count", "follows_count", "media_count", "firstDegreeSize")
ONE_DAY = timedelta(days=1)

Key = tuple[str, str, str, date]
"""Platform, account, metric, day."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one run asked for: requests by connection."""

    by_connection: Mapping[int, int]

    @property
    def average(self) -> float:
        return sum(self.by_connection.values()) / SOCIAL.connections

    @property
    def most(self) -> int:
        return max(self.by_connection.values())

    def by_platform(self) -> str:
        """`instagram 14, facebook 2, …`: the most of any connection."""
        of = {p: [self.by_connection.get(n, 0) for n in SOCIAL.numbers_of(p)] for p in PLATFORMS}
        return ", ".join(f"{platform} {max(numbers)}" for platform, numbers in of.items())


def social(bench: Bench) -> Iterator[Row]:
    """`aggregator.py social` with its usual settings, process start included, database up."""
    url = bench.postgres.new_database("social")
    fill_connections(url, SOCIAL)
    first: list[Run] = []
    nights: list[Run] = []
    asked: list[Asked] = []
    # The sandbox's own accounts are those of SOCIAL.
    with running_sandbox(World(sites=1, accounts=1), LATENCY_SECONDS) as plain_api:
        api = replace(
            plain_api, environment={**plain_api.environment, "ENCRYPTION_KEY": ENCRYPTION_KEY}
        )
        for _ in range(REPEATS):
            _empty(url)
            first.append(_run(bench, api, url, asked))
            check_stored(url)
            to_the_night_before(url)
            nights.append(_run(bench, api, url, asked))
            check_stored(url)
        before = _versions(url)
        bench.aggregator(api, url, "social")
        changed = _versions(url) ^ before
        loop = _loop(bench, api)
    of_first, of_night = asked[0], asked[1]
    yield Row(
        f"social: {SOCIAL.connections} connections, {SHORTEST_WINDOW} days, the first run",
        f"{of_first.average:.2f} requests per connection; at most: {of_first.by_platform()}",
        f"at most {MOST_REQUESTS} on average",
        met=of_first.average <= MOST_REQUESTS,
    )
    yield _wall_row("social, the first run", median_run(first))
    yield Row(
        "social, a night as most are",
        f"{of_night.average:.2f} requests per connection; at most: {of_night.by_platform()}",
        f"at most {MOST_REQUESTS} for every connection",
        met=of_night.most <= MOST_REQUESTS,
    )
    yield _wall_row("social, a night as most are", median_run(nights))
    wall = median_run(first).wall_seconds
    yield Row(
        "social, the first run, against the design's loop",
        seconds(wall),
        f"{TIMES_FASTER} x faster",
        f"the loop: {seconds(loop)} ({SAMPLE[0]} and {SAMPLE[1]} connections timed, the rest a "
        "straight line)",
        loop / wall,
        loop >= TIMES_FASTER * wall,
    )
    yield Row("social, the same run again", f"{len(changed)} rows change", "none", met=not changed)


def _run(bench: Bench, api: Api, url: str, asked: list[Asked]) -> Run:
    before = _requests(api)
    run = bench.aggregator(api, url, "social")
    asked.append(Asked(_requests(api) - before))
    return run


def _requests(api: Api) -> Counter[int]:
    """Requests by connection since the sandbox started; YouTube's for tokens are among them."""
    address = f"{api.environment['GRAPH_API_URL'].rpartition('/')[0]}/sandbox/requests"
    with urllib.request.urlopen(address, timeout=60) as answer:
        by_account = json.load(answer)["by_account"]
    found: Counter[int] = Counter()
    for source in ("token", *PLATFORMS):
        found.update({int(number): times for number, times in by_account[source].items()})
    return found


def _wall_row(case: str, run: Run) -> Row:
    most = OVER_REQUESTS * run.requests_seconds + START_SECONDS
    return Row(
        f"{case}: duration",
        f"{seconds(run.wall_seconds)} for {run.requests} requests",
        f"at most {seconds(most)}: {OVER_REQUESTS} x ({run.requests} / {CONCURRENCY} x "
        f"{LATENCY_SECONDS} s) + {START_SECONDS} s",
        f"{seconds(run.requests_seconds)}: nothing but waiting for the requests",
        run.requests_seconds / run.wall_seconds,
        run.wall_seconds <= most,
        run.binds(),
    )


def _loop(bench: Bench, api: Api) -> float:
    """How long the design's loop takes for all connections: a straight line through two runs."""
    url = bench.postgres.new_database("social_loop")
    fill_connections(url, SOCIAL)
    took = []
    for connections in SAMPLE:
        words = ["--connections", str(connections), "--days", str(SHORTEST_WINDOW)]
        took.append(bench.module(api, url, "bench.social_plain", *words).wall_seconds)
    slope = (took[1] - took[0]) / (SAMPLE[1] - SAMPLE[0])
    return took[0] + slope * (SOCIAL.connections - SAMPLE[0])


def fill_connections(url: str, world: SocialWorld) -> None:
    """Store the connections of a world."""
    rows = seed.connection_rows(world, (ENCRYPTION_KEY,))
    names = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    places = sql.SQL(", ").join(sql.Placeholder() * len(rows[0]))
    statement = sql.SQL("insert into public.platform_connections ({}) values ({})")
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            statement.format(names, places),
            [[Jsonb(v) if isinstance(v, dict) else v for v in row.values()] for row in rows],
        )


def expected(now: datetime) -> dict[Key, int | float]:
    """The rows of a run at this moment, but for what is as it is at the moment of reading."""
    numbers = SocialNumbers(replace(SOCIAL, now=lambda: now))
    last = pacific_day(now) - ONE_DAY
    days = days_between(last - (SHORTEST_WINDOW - 1) * ONE_DAY, last)
    found: dict[Key, int | float] = {}
    for number in SOCIAL.connection_numbers:
        platform, account = SOCIAL.platform_of(number), SOCIAL.account_id(number)
        for day in days:
            if platform == "linkedin" and day > last_linkedin_day(now):
                continue
            whole_only = platform == "instagram" and not is_settled(day, now)
            for metric, value in numbers.of_a_day(number, day).items():
                if not (whole_only and ":" in metric):
                    name = f"{metric}s" if metric.endswith(":reel") else metric  # one part
                    found[platform, account, name, day] = value
    return found


def check_stored(url: str) -> None:
    """Compare what is stored with the world.

    Raises:
        CouldNotRun: a row too many or too few, or any wrong number.
    """
    wanted = expected(datetime.now(UTC))
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select platform, account_id, metric, date, value from public.analytics_snapshots "
            "where metric <> all(%s)",
            (list(LEVELS),),
        ).fetchall()
    stored = {(platform, account, metric, day): v for platform, account, metric, day, v in rows}
    wrong = [key for key in wanted if key not in stored or float(stored[key]) != wanted[key]]
    if wrong or len(stored) != len(wanted):
        raise CouldNotRun(
            f"{len(stored)} rows are stored, {len(wanted)} were due, {len(wrong)} are missing or "
            f"wrong: {wrong[:1]}"
        )


def to_the_night_before(url: str) -> None:
    """Take back what a run 24 hours ago could not have stored."""
    earlier = datetime.now(UTC) - ONE_DAY
    known = expected(earlier)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        rows = cursor.execute(
            "select id, platform, account_id, metric, date from public.analytics_snapshots"
        ).fetchall()
        unknown = [row_id for row_id, *key in rows if tuple(key) not in known]
        cursor.execute("delete from public.analytics_snapshots where id = any(%s)", (unknown,))
        for platform, hours in (("instagram", 48), ("facebook", 48), ("youtube", 72)):
            days = {day for _, p, _, _, day in rows if p == platform}
            open_days = [day for day in days if not is_settled(day, earlier, hours)]
            cursor.execute(
                "update public.analytics_snapshots set metadata = metadata || "
                '\'{"data_state": "provisional"}\' where platform = %s and date = any(%s)',
                (platform, open_days),
            )


def _versions(url: str) -> set[tuple[object, ...]]:
    """Each row with the transaction that wrote it."""
    with psycopg.connect(url) as connection:
        query = "select id, xmin::text, updated_at, value from public.analytics_snapshots"
        return set(connection.execute(query).fetchall())


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate public.analytics_snapshots")
        connection.execute("checkpoint")
