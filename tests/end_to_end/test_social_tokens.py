"""The connections' tokens: renewed before they end, stored encrypted at once, their end told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from fetchers.graph import GraphApi
from fetchers.instagram import refresh_instagram_token
from fetchers.social import NewToken, SocialAccount
from sandbox import Fault, seed
from tests.end_to_end.social_runs import (
    IN_PROCESS,
    SocialRuns,
    differences,
    ends_at,
    expire_in,
    failures,
    marks,
    open_social_runs,
    stored_token,
    truth,
)
from tests.end_to_end.test_supabase import over_rest
from tests.integration.tables import execute, rows
from tests.services.postgrest import PostgrestServer

pytestmark = IN_PROCESS

DAY = date(2026, 11, 16)
ON_DAY = ("--date", str(DAY))
BY_INSTAGRAM, PAGE, CHANNEL, ORGANIZATION, BY_FACEBOOK = 1, 2, 3, 4, 5
RENEWABLE = (BY_INSTAGRAM, ORGANIZATION)


@pytest.fixture
def runs(migrated_url: str) -> Iterator[SocialRuns]:
    """5 accounts: one of each platform, and one of Instagram that came through Facebook."""
    with open_social_runs(migrated_url, connections=5) as found:
        yield found


@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_a_token_is_renewed_two_weeks_before_it_ends_and_stored_encrypted(
    kind: str, runs: SocialRuns
) -> None:
    url = runs.database_url
    for connection in runs.world.connection_numbers:
        expire_in(url, runs, connection, days=13)
    with PostgrestServer(url) as postgrest:
        done = runs.whole(*ON_DAY, **(over_rest(postgrest) if kind == "rest" else {}))
        asked = [f"{request.path}?{request.query}" for request in postgrest.proxy.requests]
    assert bool(asked) == (kind == "rest")
    assert not any("sandbox-" in url or "gAAAAA" in url for url in asked)
    for connection in RENEWABLE:
        assert stored_token(url, connection) == f"sandbox-social-token-{connection}-1"
        days = (ends_at(url, connection) - datetime.now(UTC)) / timedelta(days=1)
        assert 59 < days < 61
        one = seed.connection_id(connection)
        assert f"the token of connection {one} is renewed until" in done.out
    for connection in (PAGE, CHANNEL, BY_FACEBOOK):
        assert stored_token(url, connection) == runs.world.access_token(connection)
        assert ends_at(url, connection) == runs.clock.now + timedelta(days=13)
    assert stored_token(url, ORGANIZATION, "refresh") == runs.world.refresh_token(ORGANIZATION)
    assert "its token ends on" not in done.out
    assert "sandbox-social" not in done.out
    assert differences(runs.stored(), truth(runs, [DAY])) == []
    for connection in RENEWABLE:
        runs.sandbox.social.tokens.revoke(runs.world.access_token(connection))
    runs.whole(*ON_DAY)
    assert stored_token(url, BY_INSTAGRAM) == f"sandbox-social-token-{BY_INSTAGRAM}-1"


def test_the_new_token_is_the_one_that_asks_and_outlives_a_run_that_fails(runs: SocialRuns) -> None:
    for connection in RENEWABLE:
        expire_in(runs.database_url, runs, connection, days=1)
    runs.sandbox.faults.add(
        Fault("instagram", "graph_190_463", account=BY_INSTAGRAM, days=(DAY,)),
        Fault("linkedin", "linkedin_500", account=ORGANIZATION),
    )
    assert runs.run(*ON_DAY).status == 1
    for connection in RENEWABLE:
        assert stored_token(runs.database_url, connection) == (
            f"sandbox-social-token-{connection}-1"
        )
    runs.sandbox.faults.clear()
    runs.sandbox.records.clear()
    assert runs.run(*ON_DAY).status == 1  # it is the new one that was refused
    assert runs.asked(BY_INSTAGRAM) == 0


def test_a_token_is_not_renewed_long_before_its_end(runs: SocialRuns) -> None:
    for connection in RENEWABLE:
        expire_in(runs.database_url, runs, connection, days=14, minutes=1)
    runs.whole(*ON_DAY)
    for connection in RENEWABLE:
        assert stored_token(runs.database_url, connection) == runs.world.access_token(connection)
    sources = {
        record.source for record in runs.sandbox.requests() if record.account == ORGANIZATION
    }
    assert sources == {"linkedin"}


@pytest.mark.parametrize("when", ["null", "now() - interval '1 day'"])
def test_a_token_of_which_nobody_knows_the_end_or_that_has_ended_is_tried(
    when: str, runs: SocialRuns
) -> None:
    execute(runs.database_url, f"update platform_connections set token_expires_at = {when}")
    runs.clock.now = datetime.now(UTC)
    runs.whole(*ON_DAY, LINKEDIN_VERSION=f"{runs.clock.now:%Y%m}")
    for connection in RENEWABLE:
        assert stored_token(runs.database_url, connection) == (
            f"sandbox-social-token-{connection}-1"
        )
        assert ends_at(runs.database_url, connection) > runs.clock.now + timedelta(days=59)


def test_a_refused_token_with_a_refresh_token_is_made_good_in_the_same_run(
    runs: SocialRuns,
) -> None:
    runs.sandbox.social.tokens.revoke(runs.world.access_token(ORGANIZATION))
    runs.whole(*ON_DAY)
    assert stored_token(runs.database_url, ORGANIZATION) == f"sandbox-social-token-{ORGANIZATION}-1"
    assert marks(runs.database_url) == {}
    assert differences(runs.stored(), truth(runs, [DAY])) == []


def test_a_new_token_that_cannot_be_stored_is_a_failure(runs: SocialRuns) -> None:
    """The platform may have made the old one void."""
    expire_in(runs.database_url, runs, ORGANIZATION, days=3)
    execute(
        runs.database_url,
        "alter table platform_connections add constraint example check "
        "(token_expires_at < now() + interval '55 days')",
    )
    done = runs.run(*ON_DAY)
    assert done.status == 1
    [failure] = failures(runs.database_url)
    assert failure["sites"] == [seed.connection_id(ORGANIZATION)]
    assert "its renewed token could not be stored" in failure["message"]
    assert failure["mend"]
    assert "sandbox-social" not in done.out
    assert "gAAAAA" not in done.out
    assert differences(runs.stored(), truth(runs, [DAY])) == []


def test_what_ends_within_a_week_stands_in_the_report(runs: SocialRuns) -> None:
    """Of what is renewed, or needs no renewal, nobody has to be told."""
    for connection in runs.world.connection_numbers:
        expire_in(runs.database_url, runs, connection, days=6.9)
    done = runs.whole(*ON_DAY)
    told = [line for line in done.out.splitlines() if "its token ends on" in line]
    assert sorted(told) == [
        f"{platform} {runs.world.user_of(n)}/{runs.world.account_id(n)} "
        f"({seed.connection_id(n)}): its token ends on "
        "2026-11-27 -> connect the account again before"
        for platform, n in (("facebook", PAGE), ("instagram", BY_FACEBOOK))
    ]
    for connection in (PAGE, BY_FACEBOOK):
        expire_in(runs.database_url, runs, connection, days=7.1)
    assert "its token ends on" not in runs.whole(*ON_DAY).out


def test_a_renewal_that_fails_is_a_warning_and_the_old_token_goes_on(runs: SocialRuns) -> None:
    for connection in RENEWABLE:
        expire_in(runs.database_url, runs, connection, days=3)
    runs.sandbox.faults.add(
        Fault("instagram", "graph_2", account=BY_INSTAGRAM, nth=1),
        Fault("token", "invalid_grant", account=ORGANIZATION),
    )
    done = runs.whole(*ON_DAY)
    for connection in RENEWABLE:
        one = seed.connection_id(connection)
        [line] = [line for line in done.out.splitlines() if f"{one} could not be renewed" in line]
        assert "WARNING" in line
        assert " -> " in line
        assert stored_token(runs.database_url, connection) == runs.world.access_token(connection)
    assert done.out.count("its token ends on 2026-11-23") == 2
    assert differences(runs.stored(), truth(runs, [DAY])) == []


def test_without_a_client_or_a_key_there_is_no_renewal(runs: SocialRuns) -> None:
    for connection in RENEWABLE:
        expire_in(runs.database_url, runs, connection, days=3)
        execute(
            runs.database_url,
            "update platform_connections set access_token_encrypted = %s where id = %s",
            runs.world.access_token(connection),
            seed.connection_id(connection),
        )
    done = runs.run(*ON_DAY, ENCRYPTION_KEY="", LINKEDIN_CLIENT_SECRET="")
    assert done.status == 1  # the others' tokens cannot be read
    assert "is due: set ENCRYPTION_KEY" in done.out
    assert differences(
        runs.stored([BY_INSTAGRAM]),
        {key: row for key, row in truth(runs, [DAY]).items() if key[0] == BY_INSTAGRAM},
    ) == []  # fmt: skip
    query = "select access_token_encrypted from platform_connections where id = %s"
    for connection in RENEWABLE:
        stored = rows(runs.database_url, query, seed.connection_id(connection))
        assert stored == [(runs.world.access_token(connection),)]


def test_a_token_that_somebody_stored_meanwhile_stays(
    runs: SocialRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner connects the account again while the run renews its token."""
    expire_in(runs.database_url, runs, BY_INSTAGRAM, days=3)

    def slowly(account: SocialAccount, *, api: GraphApi) -> NewToken:
        new = refresh_instagram_token(account, api=api)
        execute(
            runs.database_url,
            "update platform_connections set access_token_encrypted = 'example-of-the-owner' "
            "where id = %s",
            seed.connection_id(BY_INSTAGRAM),
        )
        return new

    monkeypatch.setattr("jobs.social_tokens.refresh_instagram_token", slowly)
    done = runs.whole(*ON_DAY)
    assert "is renewed until" not in done.out
    query = "select access_token_encrypted from platform_connections where id = %s"
    stored = rows(runs.database_url, query, seed.connection_id(BY_INSTAGRAM))
    assert stored == [("example-of-the-owner",)]
