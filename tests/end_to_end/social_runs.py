"""Runs of `aggregator.py social` at a time of the test's choosing, and what must be stored then.

Most runs happen in this process: `jobs.social.collect_social` with the clock of the sandbox's
accounts. What is expected is written here anew, from docs/social.md and the sandbox's own numbers.
"""

from __future__ import annotations

import gc
import itertools
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.types.json import Jsonb

import cli
from config import examine_settings
from jobs.alerts import Alerts
from jobs.run_failures import CannotRun
from jobs.social import collect_social
from sandbox import Sandbox, SocialWorld, World, seed
from storage.errors import DatabaseError
from tests.end_to_end.visit_runs import COULD_NOT_RUN, Clock, Ran, collected_log, utc
from tests.integration.tables import execute, rows

# httplib2, by which Google's client asks, leaves its sockets to the garbage collector.
IN_PROCESS = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

KEY = "c2VudGluZWwtZmVybmV0LWtleS1zZW50aW5lbC1rZXk="
NOW = "2026-11-20 21:00"
"""Instagram's and Facebook's numbers of the day before are out by now."""

PACIFIC = ZoneInfo("America/Los_Angeles")

APIS = {
    "instagram": ("instagram_graph", "v25.0"),
    "facebook": ("facebook_graph", "v25.0"),
    "youtube": ("youtube_analytics", "v2"),
    "linkedin": ("linkedin_rest", "202603"),
}
LEGACY_NAMES = {
    ("instagram", "views"): "impressions",
    ("facebook", "page_media_view"): "page_impressions",
    ("facebook", "page_post_engagements"): "page_engaged_users",
    ("facebook", "page_views_total"): "page_views",
}
POST_TYPES = {
    "reels": "reel",
    "feed": "post",
    "post": "post",
    "story": "story",
    "carousel_container": "post",
    "ad": "ad",
    "shorts": "short",
    "videoondemand": "video",
    "livestream": "live",
}
LEVELS = {
    "instagram": ("followers_count", "follows_count", "media_count"),
    "linkedin": ("firstDegreeSize",),
}

Key = tuple[int, str, date]
"""Number of the connection, metric, day."""

Rows = dict[Key, tuple[float, dict[str, Any]]]
"""Value and metadata."""

Failures = list[dict[str, Any]]


@dataclass
class SocialRuns:
    """Runs the command in this process. `out` is what was logged and reported, line by line."""

    sandbox: Sandbox
    clock: Clock
    database_url: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def world(self) -> SocialWorld:
        return self.sandbox.social.world

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "ENCRYPTION_KEY": KEY,
            "HTTP_ATTEMPTS": "1",
            **self.sandbox.environment(),
            **self.variables,
        }

    def run(self, *arguments: str, **variables: str) -> Ran:
        """One run at the clock's time. `FAILED` begins the line of one that could not run."""
        settings, problems = examine_settings(self.environment | variables, None, ("database",))
        assert not problems, problems
        wanted = cli.parse_arguments(["social", *arguments])
        alerts = Alerts(settings, "social", self.clock.now, memory=Path("/dev/null"))
        with collected_log() as lines:
            logging.getLogger("aggregator").setLevel("DEBUG" if wanted.verbose else "INFO")
            try:
                status = collect_social(wanted, settings, self.clock.now, alerts)
            except (CannotRun, DatabaseError) as error:
                status = COULD_NOT_RUN
                lines.append(f"FAILED {error.message} -> {error.mend}")
        return Ran(status, "\n".join(lines))

    def whole(self, *arguments: str, **variables: str) -> Ran:
        """A run that must be complete."""
        done = self.run(*arguments, **variables)
        assert done.status == 0, done
        return done

    def stored(self, connections: Collection[int] = ()) -> Rows:
        """Every row, or those of these connections; each as the contract has it."""
        return stored(self.world, self.database_url, connections)

    def asked(self, connection: int) -> int:
        """How many requests were made for a connection so far."""
        return sum(
            record.account == connection and record.source in {*APIS, "token"}
            for record in self.sandbox.requests()
        )


@contextmanager
def open_social_runs(
    database_url: str, now: str = NOW, *, connections: int = 8, small: Iterable[int] = ()
) -> Iterator[SocialRuns]:
    """The sandbox with these accounts at this time, and their rows in a migrated database."""
    clock = Clock(utc(now))
    world = SocialWorld(
        users=(connections + 1) // 2, connections=connections, small=frozenset(small), now=clock
    )
    fill(database_url, world)
    with Sandbox(World(sites=1, accounts=1), social=world) as sandbox:
        yield SocialRuns(sandbox, clock, database_url)
        assert sandbox.social.leaks == [], "a secret in a URL"
        assert sandbox.social.trapped == [], "a link to other times was followed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # while it is known whose sockets they are


def fill(url: str, world: SocialWorld) -> None:
    """The world's connections, their tokens encrypted."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        found = [
            row | {"metadata": Jsonb(row["metadata"])} for row in seed.connection_rows(world, [KEY])
        ]
        names = list(found[0])
        values = ", ".join(f"%({name})s" for name in names)
        statement = f"insert into platform_connections ({', '.join(names)}) values ({values})"
        cursor.executemany(statement.encode(), found)


def stored(world: SocialWorld, url: str, connections: Collection[int] = ()) -> Rows:
    """analytics_snapshots by connection, metric and day."""
    numbers = {
        (world.user_of(n), world.platform_of(n), world.account_id(n)): n
        for n in world.connection_numbers
    }
    query = (
        "select user_id, platform, account_id, source, post_id, metric, date, value, metadata "
        "from analytics_snapshots"
    )
    found: Rows = {}
    for *whose, source, post_id, metric, day, value, metadata in rows(url, query):
        assert (source, post_id) == ("social_media", None)
        key = (numbers[tuple(whose)], metric, day)
        assert key not in found, f"stored twice: {key}"
        found[key] = (float(value), metadata)
    return {key: row for key, row in found.items() if not connections or key[0] in connections}


def truth(runs: SocialRuns, days: Iterable[date], *, levels: bool = False) -> Rows:
    """What a run without a failure stores at the clock's time, of these days."""
    found: Rows = {}
    days = list(days)
    for n in runs.world.connection_numbers:
        platform, now = runs.world.platform_of(n), runs.clock.now
        for day in days:
            hours = (now - end_of(platform, day)) / timedelta(hours=1)
            if hours < (48 if platform == "linkedin" else 0):
                continue  # not over, or LinkedIn refuses to be asked
            final = hours >= {"linkedin": 48, "youtube": 72}.get(platform, 48)
            for said, value in runs.sandbox.social.numbers.of_a_day(n, day).items():
                metric = f"{said}s" if said.endswith(":reel") else said  # one part, two spellings
                if platform == "instagram" and not final and ":" in metric:
                    continue  # what is not settled is asked as a whole
                if metric == "follower_count" and hours > 30 * 24 - day_hours(day):
                    continue  # it is kept for 30 days
                found[n, metric, day] = (
                    float(value),
                    metadata(runs, n, metric, day, state="final" if final else "provisional"),
                )
        for metric in LEVELS.get(platform, ()) if levels else ():
            today = now.astimezone(zone(platform)).date()
            value = runs.sandbox.social.numbers.get(n, metric, today)
            found[n, metric, today] = (
                float(value),
                metadata(runs, n, metric, today, state="final"),
            )
    return found


def metadata(
    runs: SocialRuns, connection: int, metric: str, day: date, *, state: str
) -> dict[str, Any]:
    """As docs/social.md has it."""
    world = runs.world
    platform = world.platform_of(connection)
    whole, _, part = metric.partition(":")
    api, version = APIS[platform]
    version_name = {"linkedin": "LINKEDIN_VERSION", "youtube": ""}.get(
        platform, "GRAPH_API_VERSION"
    )
    said = {
        "api": api,
        "api_version": runs.variables.get(version_name, version),
        "period": "day",
        "account_id": world.account_id(connection),
        "fetched_at": f"{runs.clock.now:%Y-%m-%dT%H:%M:%SZ}",
        "data_state": state,
    }
    if (platform, whole) in LEGACY_NAMES and not part:  # or the parts would be counted twice
        said["legacy_name"] = LEGACY_NAMES[platform, whole]
    if part:
        said["post_type"] = POST_TYPES[part]
    by_starts_since = date(2025, 3, 31) if part == "shorts" else date(2026, 8, 24)
    if platform == "youtube" and whole == "views" and day >= by_starts_since:
        said["definition"] = "playback starts"
    return said


def zone(platform: str) -> ZoneInfo:
    return ZoneInfo("UTC") if platform == "linkedin" else PACIFIC


def end_of(platform: str, day: date) -> datetime:
    """The moment at which a platform's day is over, in UTC."""
    midnight = datetime.combine(day + timedelta(days=1), time(), zone(platform))
    return midnight.astimezone(UTC)


def day_hours(day: date) -> float:
    """How long a Pacific day is."""
    return (end_of("", day) - end_of("", day - timedelta(days=1))) / timedelta(hours=1)


def days_up_to(last: date, number: int) -> list[date]:
    return [last - timedelta(days=n) for n in reversed(range(number))]


def differences(is_there: Rows, expected: Rows) -> list[str]:
    """The first few differences in words: an assertion over hundreds of rows says too much."""
    found = [f"missing: {key}" for key in sorted(expected.keys() - is_there.keys())]
    found += [f"should not be there: {key}" for key in sorted(is_there.keys() - expected.keys())]
    found += [
        f"{key}: {is_there[key]}, not {row}"
        for key, row in sorted(expected.items())
        if key in is_there and is_there[key] != row
    ]
    return found[:10]


def without_moments(found: Rows) -> Rows:
    """Without the time of each fetch."""
    return {
        key: (value, {name: said for name, said in more.items() if name != "fetched_at"})
        for key, (value, more) in found.items()
    }


def versions(url: str) -> dict[int, tuple[Any, ...]]:
    """Which transaction wrote each row last, where it lies, and when its value changed."""
    query = "select id, xmin::text, ctid::text, updated_at from analytics_snapshots"
    return {row_id: tuple(more) for row_id, *more in rows(url, query)}


def failures(url: str) -> Failures:
    """Of the newest row of the run history."""
    query = "select failures from public.aggregator_runs order by id desc limit 1"
    [(found,)] = rows(url, query)
    return list(found)


def failed_connections(found: Failures) -> set[str]:
    return {str(connection) for failure in found for connection in failure["sites"]}


def ids(connections: Iterable[int]) -> set[str]:
    return {seed.connection_id(n) for n in connections}


def marks(url: str) -> dict[str, Mapping[str, Any]]:
    """metadata.needs_reauth of the connections that have one, by id."""
    query = "select id::text, metadata -> 'needs_reauth' from platform_connections"
    return {one: mark for one, mark in rows(url, query) if mark is not None}


def set_token(url: str, connection: int, token: str, which: str = "access") -> None:
    """Store a token of a connection, as the app in which people connect their accounts would."""
    text = Fernet(KEY).encrypt(token.encode()).decode()
    statement = f"update platform_connections set {which}_token_encrypted = %s where id = %s"
    execute(url, statement, text, seed.connection_id(connection))


def stored_token(url: str, connection: int, which: str = "access") -> str:
    """A connection's token, decrypted: it must be stored encrypted."""
    query = f"select {which}_token_encrypted from platform_connections where id = %s"
    [(text,)] = rows(url, query, seed.connection_id(connection))
    return Fernet(KEY).decrypt(text.encode()).decode()


def expire_in(url: str, runs: SocialRuns, connection: int, **ahead: float) -> None:
    """Let a connection's token end so long after the clock's time."""
    statement = "update platform_connections set token_expires_at = %s where id = %s"
    ends_at = runs.clock.now + timedelta(**ahead)
    execute(url, statement, ends_at, seed.connection_id(connection))


def ends_at(url: str, connection: int) -> datetime:
    """When a connection's token ends, as it is stored."""
    query = "select token_expires_at from platform_connections where id = %s"
    [(moment,)] = rows(url, query, seed.connection_id(connection))
    assert isinstance(moment, datetime)
    return moment


def all_tokens(world: SocialWorld) -> set[str]:
    """Every secret of the world's connections, as their platforms know it."""
    found = (
        (world.access_token(n), world.refresh_token(n), world.page_token(n))
        for n in world.connection_numbers
    )
    return {token for token in itertools.chain(*found) if token}
