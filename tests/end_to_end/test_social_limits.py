"""Throttles, retired metrics, refused and unreadable tokens: who waits, who fails, who does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from cryptography.fernet import Fernet

from sandbox import Fault, seed
from sandbox.messages import Source
from stopping import Stop
from tests.end_to_end.social_runs import (
    IN_PROCESS,
    SocialRuns,
    all_tokens,
    days_up_to,
    differences,
    failed_connections,
    failures,
    ids,
    marks,
    open_social_runs,
    set_token,
    truth,
)
from tests.integration.tables import execute, rows

pytestmark = IN_PROCESS

DAY = date(2026, 11, 16)
ON_DAY = ("--date", str(DAY))
OTHER_KEY = "c2VudGluZWwtb3RoZXIta2V5LW9mLWFuLWV4YW1wbGU="


@pytest.fixture
def runs(migrated_url: str) -> Iterator[SocialRuns]:
    """8 accounts: 1 and 5 of Instagram, 2 and 6 of Facebook, and so on; 1 and 2 of one user."""
    with open_social_runs(migrated_url) as found:
        yield found


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each wait would have been; none takes any time."""
    waits: list[float] = []

    def sleep(_self: Stop, seconds: float) -> None:
        waits.append(seconds)
        time.sleep(0.001)

    monkeypatch.setattr(Stop, "sleep", sleep)
    return waits


Throttled = tuple[Source, int, str, float | None]
"""Source, connection, kind and what the platform says of the time."""


@pytest.mark.parametrize(
    ("throttled", "expected"),
    [
        (("instagram", 1, "graph_4", None), 60),
        (("facebook", 2, "graph_17", None), 60),
        (("facebook", 6, "graph_32", None), 60),
        (("instagram", 5, "graph_341", None), 60),
        (("instagram", 1, "graph_613", None), 60),
        (("facebook", 2, "graph_80001", 600.0), 600),
        (("instagram", 5, "graph_80002", 120.0), 120),
        (("facebook", 6, "http_429", 7.0), 7),
        (("linkedin", 4, "linkedin_429", 90.0), 90),
        (("linkedin", 4, "http_429", 45.0), 45),
        (("instagram", 5, "usage_app", None), 48),
        (("facebook", 2, "usage_account", None), 48),
    ],
)
def test_who_is_throttled_waits_as_long_as_the_platform_says_and_is_complete(
    throttled: Throttled, expected: float, runs: SocialRuns, slept: list[float]
) -> None:
    source, connection, kind, seconds = throttled
    runs.sandbox.faults.add(Fault(source, kind, account=connection, times=1, seconds=seconds))
    runs.whole(*ON_DAY, RUN_DEADLINE="3000")
    assert differences(runs.stored(), truth(runs, [DAY])) == []
    assert max(slept) == pytest.approx(expected, rel=0.05, abs=1)


@pytest.mark.parametrize(
    ("throttled", "fail"),
    [
        (("instagram", 1, "graph_4", None), [1, 2, 5, 6]),
        (("facebook", 6, "graph_341", None), [1, 2, 5, 6]),
        (("facebook", 6, "graph_613", None), [1, 2, 5, 6]),
        (("instagram", 5, "http_429", 300.0), [1, 2, 5, 6]),
        (("instagram", 1, "graph_17", None), [1, 2]),
        (("facebook", 6, "graph_32", None), [5, 6]),
        (("instagram", 1, "graph_80002", 3600.0), [1]),
        (("facebook", 2, "graph_80001", 3600.0), [2]),
        (("linkedin", 4, "linkedin_429", None), [4, 8]),
    ],
)
def test_what_lasts_longer_than_the_run_is_said_at_once_by_those_whom_it_concerns(
    throttled: Throttled, fail: list[int], runs: SocialRuns
) -> None:
    """The others of Meta and LinkedIn are slow, so that they have not ended when it happens."""
    source, connection, kind, seconds = throttled
    platforms = {n: runs.world.platform_of(n) for n in runs.world.connection_numbers}
    runs.sandbox.faults.add(Fault(source, kind, account=connection, seconds=seconds))
    runs.sandbox.faults.add(
        *(
            Fault(of, "slow", account=n, nth=1, seconds=0.6)
            for n, of in platforms.items()
            if n != connection and of != "youtube"
        )
    )
    began = time.monotonic()
    done = runs.run(*ON_DAY, RUN_DEADLINE="30")
    assert done.status == 1, done
    assert time.monotonic() - began < 10
    found = failures(runs.database_url)
    assert failed_connections(found) == ids(fail)
    for failure in found:
        assert failure["kind"] == "temporary"
        assert "which is after the end of this run" in failure["message"]
        assert failure["message"] in done.out
        assert failure["mend"]
    assert len({failure["message"] for failure in found}) == 1
    everything = truth(runs, [DAY])
    others = {key: row for key, row in everything.items() if key[0] not in fail}
    is_there = runs.stored()
    assert differences({k: row for k, row in is_there.items() if k[0] not in fail}, others) == []
    assert all(everything[key] == row for key, row in is_there.items())
    assert not any(n == connection for n, _, _ in is_there)
    assert marks(runs.database_url) == {}


def test_who_has_used_up_most_of_a_limit_slows_down_alone(
    runs: SocialRuns, slept: list[float]
) -> None:
    runs.sandbox.faults.add(Fault("instagram", "usage_account", account=1))
    runs.whole(*ON_DAY, RUN_DEADLINE="3000")
    assert len([seconds for seconds in slept if seconds > 40]) == 2  # between its three requests


def test_a_fault_that_passes_is_tried_again(runs: SocialRuns, slept: list[float]) -> None:
    for n, kind in ((1, "graph_2"), (2, "http_502_html"), (3, "backend_error"), (4, "drop"),
                    (5, "not_json_200"), (6, "graph_transient"), (8, "linkedin_503")):  # fmt: skip
        runs.sandbox.faults.add(Fault(runs.world.platform_of(n), kind, account=n, times=2))
    runs.whole(*ON_DAY, HTTP_ATTEMPTS="3")
    assert differences(runs.stored(), truth(runs, [DAY])) == []


def test_a_metric_that_is_gone_fails_alone(runs: SocialRuns) -> None:
    """Version 23 has no page_media_view, and no page_total_media_view_unique, which is optional."""
    runs.variables["GRAPH_API_VERSION"] = "v23.0"
    done = runs.run(*ON_DAY)
    assert done.status == 1
    gone = ("page_media_view", "page_total_media_view_unique")
    expected = {k: row for k, row in truth(runs, [DAY]).items() if k[1] not in gone}
    assert differences(runs.stored(), expected) == []
    [failure] = failures(runs.database_url)
    assert (failure["kind"], failure["source"]) == ("retired metric", "facebook")
    assert failed_connections([failure]) == ids([2, 6])
    assert failure["message"].startswith("page_media_view is refused")
    line = "facebook does not know page_total_media_view_unique (any more): left out for 2 accounts"
    assert line in done.out


def test_views_are_missed_where_the_version_is_too_old(runs: SocialRuns) -> None:
    runs.variables["GRAPH_API_VERSION"] = "v21.0"
    done = runs.run(*ON_DAY)
    assert done.status == 1
    found = runs.stored([1, 5])
    assert {metric for _, metric, _ in found} >= {"reach", "accounts_engaged", "profile_views"}
    assert not any(metric.startswith("views") for _, metric, _ in found)
    told = [failure for failure in failures(runs.database_url) if "views is" in failure["message"]]
    assert [failure["kind"] for failure in told] == ["retired metric"]
    assert failed_connections(told) == ids([1, 5])


def test_optional_metrics_that_are_gone_are_a_line_in_the_report(
    runs: SocialRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox import social_metrics

    runs.whole(*ON_DAY)
    before = runs.stored()
    gone = {"profile_views", "website_clicks", "follower_count", "page_follows"}
    for name, where in (("ALLOWED", "social_insights"), ("PAGE_METRICS", "social_insights")):
        left = tuple(m for m in getattr(social_metrics, name) if m not in gone)
        monkeypatch.setattr(f"sandbox.{where}.{name}", left)
    execute(runs.database_url, "update analytics_snapshots set value = -7")
    done = runs.whole(*ON_DAY)
    for metric in gone:
        platform = "facebook" if metric.startswith("page") else "instagram"
        line = f"{platform} does not know {metric} (any more): left out for 2 accounts"
        assert line in done.out
    expected = {k: (-7.0 if k[1] in gone else v[0], v[1]) for k, v in before.items()}
    assert differences(runs.stored(), expected) == []


def test_a_column_that_one_channel_lacks_is_missed_by_nobody_else(runs: SocialRuns) -> None:
    runs.sandbox.faults.add(
        Fault("youtube", "missing_column", account=3),
        Fault("youtube", "slow", account=7, nth=1, seconds=0.3),
    )
    runs.whole(*ON_DAY)
    expected = {k: row for k, row in truth(runs, [DAY]).items() if k[0] != 3}
    others = {k: row for k, row in runs.stored().items() if k[0] != 3}
    assert differences(others, expected) == []


def test_a_page_without_permission_is_told_from_one_without_data(runs: SocialRuns) -> None:
    runs.sandbox.faults.add(
        Fault("facebook", "no_read_insights", account=2), Fault("facebook", "empty_data", account=6)
    )
    done = runs.run(*ON_DAY)
    assert done.status == 1
    [failure] = failures(runs.database_url)
    assert failure["kind"] == "permission"
    assert "read_insights" in failure["message"]
    assert failed_connections([failure]) == ids([2])
    assert f"facebook has not published {DAY} yet" in done.out
    permissions = [r for r in runs.sandbox.requests() if r.path.endswith("/me/permissions")]
    assert sorted(record.account or 0 for record in permissions) == [2, 6]
    expected = {k: row for k, row in truth(runs, [DAY]).items() if k[0] not in (2, 6)}
    assert differences(runs.stored(), expected) == []
    runs.sandbox.reset()
    runs.whole(*ON_DAY)
    assert not any(r.path.endswith("/me/permissions") for r in runs.sandbox.requests())


def test_a_refused_token_is_marked_and_not_asked_with_until_it_changes(runs: SocialRuns) -> None:
    url, dead = runs.database_url, [1, 3, 4]
    runs.sandbox.faults.add(
        Fault("instagram", "graph_190_463", account=1),
        Fault("token", "invalid_grant", account=3),
        Fault("linkedin", "linkedin_401_65602", account=4),
    )
    assert runs.run(*ON_DAY).status == 1
    marked = marks(url)
    assert set(marked) == ids(dead)
    for mark in marked.values():
        assert mark.keys() == {"since", "reason", "token"}
        assert mark["since"] == "2026-11-20T21:00:00Z"
        assert mark["reason"]
        assert not any(token in str(mark) for token in all_tokens(runs.world))
    query = "select metadata ->> 'login' from platform_connections where id = %s"
    assert rows(url, query, seed.connection_id(1)) == [("instagram",)]

    runs.sandbox.faults.clear()
    runs.sandbox.records.clear()
    runs.clock.now += timedelta(days=1)
    again = runs.run(*ON_DAY)
    assert again.status == 1
    assert [runs.asked(n) for n in dead] == [0, 0, 0]
    assert runs.asked(5) > 0
    assert marks(url) == marked
    found = failures(url)
    assert failed_connections(found) == ids(dead)
    assert all(failure["kind"] == "credentials" for failure in found)
    assert all("refused on 2026-11-20 and is still the same" in f["message"] for f in found)
    assert all("tokens --add --connection" in failure["mend"] for failure in found)

    tokens = runs.sandbox.social.tokens
    for n in (1, 4):
        set_token(url, n, tokens.issue(n))
    set_token(url, 3, "sandbox-social-refresh-of-nobody", "refresh")
    assert runs.run(*ON_DAY).status == 1
    remarked = marks(url)
    assert set(remarked) == ids([3])
    assert remarked[seed.connection_id(3)]["since"] == "2026-11-21T21:00:00Z"
    set_token(url, 3, runs.world.refresh_token(3), "refresh")
    runs.whole(*ON_DAY)
    assert marks(url) == {}
    assert rows(url, query, seed.connection_id(1)) == [("instagram",)]
    assert differences(runs.stored([1, 3, 4]), {
        key: row for key, row in truth(runs, [DAY]).items() if key[0] in (1, 3, 4)
    }) == []  # fmt: skip


def test_a_token_that_no_key_reads_costs_its_connection_alone(runs: SocialRuns) -> None:
    text = Fernet(OTHER_KEY).encrypt(b"sandbox-social-token-1").decode()
    execute(
        runs.database_url,
        "update platform_connections set access_token_encrypted = %s where id = %s",
        text,
        seed.connection_id(1),
    )
    done = runs.run(*ON_DAY)
    assert done.status == 1
    [failure] = failures(runs.database_url)
    assert (failure["kind"], failure["sites"]) == ("credentials", [seed.connection_id(1)])
    assert "cannot be decrypted" in failure["message"]
    assert "ENCRYPTION_KEY" in failure["mend"]
    expected = {k: row for k, row in truth(runs, [DAY]).items() if k[0] != 1}
    assert differences(runs.stored(), expected) == []
    runs.whole(*ON_DAY, ENCRYPTION_KEY=f"{OTHER_KEY},{runs.environment['ENCRYPTION_KEY']}")


@pytest.mark.parametrize("key", ["", OTHER_KEY], ids=["none", "another"])
def test_where_no_token_can_be_read_it_is_said_once_and_of_the_key(
    key: str, runs: SocialRuns
) -> None:
    done = runs.run(*ON_DAY, ENCRYPTION_KEY=key)
    assert done.status == 1
    [failure] = failures(runs.database_url)
    assert failure["kind"] == "settings"
    assert "ENCRYPTION_KEY" in failure["message"] + failure["mend"]
    assert failed_connections([failure]) == ids(range(1, 9))
    assert "INCOMPLETE: 8 of 8 connections failed, 1 reason" in done.out
    assert "Platforms: 0/8 successful" in done.out
    assert runs.sandbox.requests() == []
    assert runs.stored() == {}


LACKING = {
    "access_token_encrypted = null": ("credentials", "has no token", "connect the account again"),
    "access_token_encrypted = '  '": ("credentials", "has no token", "connect the account again"),
    "account_id = null": ("settings", "names no account", "account_id"),
    "account_id = ''": ("settings", "names no account", "account_id"),
    "metadata = '[1]'": ("credentials", "token", "connect"),
}


@pytest.mark.parametrize("change", LACKING)
def test_what_a_connection_lacks_is_said(change: str, runs: SocialRuns) -> None:
    kind, message, mend = LACKING[change]
    one = seed.connection_id(1)
    execute(runs.database_url, f"update platform_connections set {change} where id = '{one}'")
    done = runs.run(*ON_DAY)
    assert done.status == 1, done
    [failure] = failures(runs.database_url)
    assert (failure["kind"], failure["sites"]) == (kind, [one])
    assert message in failure["message"]
    assert mend in failure["mend"]
    expected = {k: row for k, row in truth(runs, [DAY]).items() if k[0] != 1}
    assert differences(runs.stored(), expected) == []


def test_without_an_oauth_client_channels_alone_are_not_asked(runs: SocialRuns) -> None:
    assert runs.run(*ON_DAY, GOOGLE_CLIENT_ID="").status == 1
    [failure] = failures(runs.database_url)
    assert failure["kind"] == "settings"
    assert "GOOGLE_CLIENT_ID" in failure["message"]
    assert failed_connections([failure]) == ids([3, 7])
    assert {n for n, _, _ in runs.stored()} == {1, 2, 4, 5, 6, 8}


def test_rows_that_the_database_refuses_cost_their_account_alone(runs: SocialRuns) -> None:
    account = runs.world.account_id(6)
    execute(
        runs.database_url,
        "alter table analytics_snapshots add constraint example check "
        f"(account_id <> '{account}' or metric <> 'page_follows')",
    )
    done = runs.run()
    assert done.status == 1
    found = failures(runs.database_url)
    assert {failure["source"] for failure in found} == {"social"}
    assert failed_connections(found) == ids([6])
    assert all(failure["mend"] for failure in found)
    assert sum(len(failure["days"]) for failure in found) == 7
    assert "INCOMPLETE: 1 of 8 connections failed, 1 reason" in done.out
    assert "❌ facebook: the database refused" in done.out
    assert done.out.count("✅ facebook: Inserted") == 1  # the other one
    week = days_up_to(date(2026, 11, 19), 7)
    expected = truth(runs, week, levels=True)
    refused = {key for key in expected if key[:2] == (6, "page_follows")}
    is_there = runs.stored()
    assert not refused & is_there.keys()
    assert differences(
        {k: row for k, row in is_there.items() if k[0] != 6},
        {k: row for k, row in expected.items() if k[0] != 6},
    ) == []  # fmt: skip
    assert all(expected[key] == row for key, row in is_there.items())
    assert "Platforms: 7/8 successful" in done.out


def test_a_bug_costs_no_more_than_the_connection_that_meets_it(
    runs: SocialRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trip(*_: object, **__: object) -> None:
        raise KeyError("example")

    monkeypatch.setattr("jobs.social_apis.get_facebook_data", trip)
    done = runs.run(*ON_DAY)
    assert done.status == 1
    [failure] = failures(runs.database_url)
    assert failed_connections([failure]) == ids([2, 6])
    assert "KeyError" in failure["message"]
    expected = {k: row for k, row in truth(runs, [DAY]).items() if k[0] not in (2, 6)}
    assert differences(runs.stored(), expected) == []


def test_the_deadline_ends_a_run_with_what_it_has(runs: SocialRuns) -> None:
    runs.sandbox.faults.add(Fault("facebook", "stall", account=2, seconds=30))
    done = runs.run(*ON_DAY, RUN_DEADLINE="2")
    assert done.status == 1
    [failure] = failures(runs.database_url)
    assert (failure["kind"], failure["sites"]) == ("interrupted", [seed.connection_id(2)])
    assert "RUN_DEADLINE" in failure["message"]
    expected = {k: row for k, row in truth(runs, [DAY]).items() if k[0] != 2}
    assert differences(runs.stored(), expected) == []
