"""What `doctor` says of the social accounts: dead tokens, ends to come, open tables, or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import examine_settings
from db import open_database
from jobs.doctor import Examination
from jobs.doctor_social import check_social
from jobs.findings import Finding
from jobs.sources import open_http
from sandbox import Fault, Sandbox, SocialWorld, World, seed
from stopping import Stop
from tests.end_to_end.night import Night
from tests.end_to_end.social_runs import (
    IN_PROCESS,
    KEY,
    SocialRuns,
    all_tokens,
    expire_in,
    fill,
    marks,
    open_social_runs,
    stored_token,
)
from tests.integration.tables import execute, rows
from tests.integration.tables import fill as fill_sites

pytestmark = IN_PROCESS


@pytest.fixture
def runs(migrated_url: str) -> Iterator[SocialRuns]:
    with open_social_runs(migrated_url) as found:
        yield found


def look(runs: SocialRuns, **variables: str) -> list[Finding]:
    """The findings at the clock's time; each that is not well says what mends it."""
    settings, _ = examine_settings(runs.environment | variables, None, ())
    http = open_http(settings, Stop(60))
    with open_database(settings) as database:
        found = list(check_social(Examination(settings, runs.clock.now, http, database)))
    for finding in found:
        assert finding.area == "social"
        assert finding.status == "ok" or finding.mend or "nothing here asks" in finding.message
        assert not any(token in f"{finding}" for token in all_tokens(runs.world))
    return found


def of_status(found: list[Finding], status: str) -> list[Finding]:
    return [finding for finding in found if finding.status == status]


def test_accounts_that_are_well_are_one_finding(runs: SocialRuns) -> None:
    [finding] = look(runs)
    assert (finding.status, finding.message) == ("ok", "8 of 8 connections can be asked")
    assert all(runs.asked(n) <= 3 for n in runs.world.connection_numbers)
    assert runs.stored() == {}


@pytest.mark.parametrize(
    "change",
    [
        "delete from platform_connections",
        "update platform_connections set is_active = false",
        "drop table platform_connections",
    ],
)
def test_where_there_are_no_accounts_nothing_is_said(change: str, runs: SocialRuns) -> None:
    execute(runs.database_url, change)
    assert look(runs) == []
    assert runs.sandbox.requests() == []


def test_accounts_that_cannot_be_asked_are_named_with_what_mends_them(runs: SocialRuns) -> None:
    expire_in(runs.database_url, runs, 5, days=3)
    before = rows(runs.database_url, "select c::text from platform_connections c order by 1")
    runs.sandbox.faults.add(
        Fault("instagram", "graph_190_460", account=1),
        Fault("facebook", "no_read_insights", account=2),
        Fault("facebook", "graph_10", account=6),
        Fault("token", "invalid_grant", account=3),
        Fault("linkedin", "linkedin_403", account=8),
    )
    found = look(runs)
    failed = of_status(found, "FAIL")
    assert len(failed) == 5
    for connection, mend in ((1, "connect the account again"), (2, "read_insights"),
                             (6, "grant the permissions"), (3, "give consent again"),
                             (8, "rw_organization_admin")):  # fmt: skip
        one = seed.connection_id(connection)
        [finding] = [finding for finding in failed if one in finding.message]
        assert (
            f"{runs.world.platform_of(connection)} {runs.world.user_of(connection)}"
            in finding.message
        )
        assert mend in finding.mend
    [well] = of_status(found, "ok")
    assert well.message == "3 of 8 connections can be asked"
    assert marks(runs.database_url) == {}
    assert stored_token(runs.database_url, 5) == runs.world.access_token(5)
    query = "select c::text from platform_connections c order by 1"
    assert rows(runs.database_url, query) == before


def test_the_same_trouble_of_many_is_one_finding(runs: SocialRuns) -> None:
    runs.sandbox.faults.add(Fault("linkedin", "linkedin_500"))
    [failed] = of_status(look(runs), "FAIL")
    assert failed.message.startswith("2 connections (linkedin user-002/5000004")
    assert all(seed.connection_id(n) in failed.message for n in (4, 8))


def test_nobody_waits_for_a_limit_to_be_over(runs: SocialRuns) -> None:
    """Neither who is blocked, nor those who share the limit, nor who has nearly used it up."""
    runs.sandbox.faults.add(
        Fault("facebook", "usage_account", account=2),
        Fault("facebook", "graph_80001", account=6, seconds=600),
        Fault("linkedin", "linkedin_429", account=4),
    )
    began = time.monotonic()
    failed = of_status(look(runs, HTTP_ATTEMPTS="1"), "FAIL")
    assert time.monotonic() - began < 5
    named = {
        n
        for n in runs.world.connection_numbers
        if any(seed.connection_id(n) in finding.message for finding in failed)
    }
    assert {4, 6} <= named <= {4, 6, 8}  # one app: perhaps 8 was asked before 4 was refused
    assert len(failed) == 2
    assert any("too many calls" in finding.message for finding in failed)


def test_a_token_that_was_refused_in_a_run_is_not_asked_with(runs: SocialRuns) -> None:
    runs.sandbox.faults.add(Fault("linkedin", "linkedin_401_65601", account=4))
    assert runs.run("--date", "2026-11-16").status == 1
    runs.sandbox.reset()
    [failed] = of_status(look(runs), "FAIL")
    assert "refused on 2026-11-20" in failed.message
    assert runs.asked(4) == 0


VERSIONS: dict[str, tuple[str, ...]] = {
    "LINKEDIN_VERSION 202601 2026-11-15": (),
    "LINKEDIN_VERSION 202601 2026-11-17": ("advice", "ends on 2027-01-15"),
    "LINKEDIN_VERSION 202510 2026-11-20": ("FAIL", "ended on 2026-10-15"),
    "GRAPH_API_VERSION v24.0 2027-12-01": (),
    "GRAPH_API_VERSION v24.0 2027-12-25": ("advice", "ends on 2028-02-18"),
    "GRAPH_API_VERSION v20.0 2026-11-20": ("FAIL", "ended on 2026-09-24"),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_versions_are_told_of_sixty_days_before_their_end(case: str, runs: SocialRuns) -> None:
    name, version, today = case.split()
    runs.clock.set(f"{today} 12:00")
    variables = {"LINKEDIN_VERSION": f"{runs.clock.now:%Y%m}", name: version}
    versions = [f for f in look(runs, **variables) if "the version of" in f.message]
    assert len(versions) == len(VERSIONS[case][:1])
    for finding in versions:
        status, words = VERSIONS[case]
        assert finding.status == status
        assert words in finding.message
        assert name in finding.mend


def test_a_version_of_a_platform_that_nobody_uses_is_not_told_of(runs: SocialRuns) -> None:
    execute(runs.database_url, "delete from platform_connections where platform <> 'youtube'")
    found = look(runs, LINKEDIN_VERSION="202510", GRAPH_API_VERSION="v20.0")
    assert [finding.status for finding in found] == ["ok"]


@pytest.mark.parametrize("table", ["platform_connections", "analytics_snapshots"])
def test_a_table_that_any_key_reads_is_told_of(table: str, runs: SocialRuns) -> None:
    execute(runs.database_url, f"alter table {table} disable row level security")
    [finding] = of_status(look(runs), "advice")
    assert f"table {table} has no row level security" in finding.message
    assert "enable row level security" in finding.mend


def test_tokens_that_end_within_a_week_and_unknown_platforms_are_advice(runs: SocialRuns) -> None:
    expire_in(runs.database_url, runs, 2, days=6)
    expire_in(runs.database_url, runs, 6, days=8)
    execute(
        runs.database_url,
        "insert into platform_connections (user_id, platform) values ('u', 'Example')",
    )
    ends, unknown = of_status(look(runs), "advice")
    assert runs.world.account_id(2) in ends.message
    assert "its token ends on 2026-11-26" in ends.message
    assert ends.mend == "connect the account again before"
    assert unknown.message.endswith(": example")


def test_an_account_that_stands_there_twice_is_told_of(runs: SocialRuns) -> None:
    execute(
        runs.database_url,
        "insert into platform_connections (user_id, platform, account_id, access_token_encrypted) "
        "select user_id, platform, account_id, access_token_encrypted from platform_connections "
        "where platform = 'facebook' and user_id = 'user-001'",
    )
    [advice] = of_status(look(runs), "advice")
    assert advice.message.startswith("2 connections (facebook user-001/")
    assert advice.mend == "keep one"


def test_a_wrong_key_is_what_is_told(runs: SocialRuns) -> None:
    failed = of_status(look(runs, ENCRYPTION_KEY=KEY[::-1].replace("=", "") + "="), "FAIL")
    assert failed
    assert all("ENCRYPTION_KEY" in f"{f.message} {f.mend}" for f in failed)
    assert runs.sandbox.requests() == []


def test_doctor_looks_at_the_accounts_of_this_machine(program: Path, migrated_url: str) -> None:
    sites, social = World(sites=2, accounts=1), SocialWorld(users=2, connections=4)
    fill_sites(migrated_url, sites)
    fill(migrated_url, social)
    with Sandbox(sites, social=social) as sandbox:
        environment = {
            "PATH": "/usr/bin", "DATABASE_URL": migrated_url, "ENCRYPTION_KEY": KEY,
            "LINKEDIN_VERSION": f"{datetime.now(UTC):%Y%m}", **sandbox.environment(),
        }  # fmt: skip
        night = Night(program, sandbox, migrated_url, environment)
        well = night.run("doctor")
        sandbox.faults.add(Fault("facebook", "graph_190_458", account=2))
        ill = night.run("doctor", "--json", "-v")
        leaks = sandbox.social.leaks
    assert (well.status, well.err) == (0, ""), well
    assert "4 of 4 connections can be asked" in well.out
    assert ill.status == 1, ill
    [problem] = [f for f in json.loads(ill.out)["findings"] if f["status"] == "FAIL"]
    assert problem["area"] == "social"
    assert "its owner has removed the app" in problem["message"]
    assert seed.connection_id(2) in problem["message"]
    assert leaks == []
    assert not any(token in ill.out + ill.err for token in all_tokens(social))
