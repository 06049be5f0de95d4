"""`aggregator.py social` as a program: what it prints, its exit status, and what ends it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import cli
from sandbox import Fault, Sandbox, SocialWorld, World, seed
from tests.end_to_end.night import Night
from tests.end_to_end.social_runs import KEY, PACIFIC, failures, fill, stored
from tests.end_to_end.test_interruption import SIGNALS, stop, wait_until
from tests.integration.tables import execute

WORLD = SocialWorld(users=2, connections=4)


@pytest.fixture
def night(program: Path, migrated_url: str) -> Iterator[Night]:
    """One account of each platform, at the time of this machine."""
    fill(migrated_url, WORLD)
    with Sandbox(World(sites=1, accounts=1), social=WORLD) as sandbox:
        environment = {
            "PATH": "/usr/bin", "DATABASE_URL": migrated_url, "ENCRYPTION_KEY": KEY,
            "HTTP_ATTEMPTS": "1", "LINKEDIN_VERSION": f"{datetime.now(UTC):%Y%m}",
            **sandbox.environment(),
        }  # fmt: skip
        yield Night(program, sandbox, migrated_url, environment)
        assert sandbox.social.leaks == []


def connections_stored(night: Night) -> set[int]:
    return {n for n, _, _ in stored(WORLD, night.database_url)}


def test_a_complete_run_ends_with_the_summary_and_0(night: Night) -> None:
    done = night.run("social", "-q")
    assert (done.status, done.err) == (0, ""), done
    number = len(stored(WORLD, night.database_url))
    yesterday = datetime.now(PACIFIC).date() - timedelta(days=1)
    assert done.last_line == f"Total Metrics Inserted: {number}"
    assert f"\nDate: {yesterday}\n" in done.out
    assert "Users: 2/2 successful\nPlatforms: 4/4 successful\n" in done.out
    assert "Processing user" not in done.out  # that is the log
    assert connections_stored(night) == {1, 2, 3, 4}


def test_an_incomplete_run_says_so_as_json_too_and_ends_with_1(night: Night) -> None:
    night.sandbox.faults.add(Fault("facebook", "graph_10", account=2))
    done = night.run("social", "--log-format", "json")
    assert (done.status, done.err) == (1, ""), done
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert any(line["message"].startswith("Total Metrics Inserted:") for line in lines)
    assert lines[-1]["counts"]["platforms_successful"] == 3
    assert lines[-1]["failures"] == 1
    assert connections_stored(night) == {1, 3, 4}


def test_a_run_that_cannot_begin_ends_with_2(night: Night) -> None:
    execute(night.database_url, "drop table platform_connections")
    done = night.run("social")
    assert done.status == 2, done
    assert done.err.startswith("Could not run:")
    assert "platform_connections" in done.err
    assert "-> " in done.err
    assert "migrate" in done.err
    assert night.sandbox.requests() == []


DAYS_THAT_ARE_NONE = (
    "--date 2026-02-30",
    "--from 2026-11-02 --to 2026-11-01",
    "--date 2026-11-01 --from 2026-11-01",
    "--to 2026-11-01",
)


@pytest.mark.parametrize("words", DAYS_THAT_ARE_NONE)
def test_days_that_are_none_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parse_arguments(["social", *words.split()])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(("signum", "status"), SIGNALS)
def test_a_signal_ends_a_run_with_what_it_has(
    signum: signal.Signals, status: int, night: Night
) -> None:
    night.sandbox.faults.add(Fault("facebook", "stall", account=2, seconds=30))
    with night.started("social") as process:
        wait_until(lambda: len(night.sandbox.requests()) >= 10)
        time.sleep(0.4)  # the last answers are on their way
        returned, out, err = stop(process, signum)
    assert (returned, err) == (status, ""), out
    assert signum.name in out
    assert connections_stored(night) == {1, 3, 4}
    [failure] = failures(night.database_url)
    assert (failure["kind"], failure["sites"]) == ("interrupted", [seed.connection_id(2)])
    assert "Total Metrics Inserted:" in out
