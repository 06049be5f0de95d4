"""`aggregator.py social`: what is stored is what the platforms say, once, on the right day."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest

from models import days_between
from sandbox import Fault
from tests.end_to_end.social_runs import (
    IN_PROCESS,
    SocialRuns,
    days_up_to,
    differences,
    ids,
    open_social_runs,
    truth,
    versions,
    without_moments,
)
from tests.end_to_end.test_supabase import over_rest
from tests.end_to_end.visit_runs import COULD_NOT_RUN, last_run
from tests.integration.tables import execute, rows
from tests.services.postgrest import PostgrestServer

pytestmark = IN_PROCESS

YESTERDAY = date(2026, 11, 19)
WEEK = days_up_to(YESTERDAY, 7)
SETTLED = date(2026, 11, 16)
ONE_DAY = timedelta(days=1)

BEGINNING = """\
================================================================================
DAILY ANALYTICS COLLECTION STARTED
================================================================================
Found 2 users with active connections
"""
USER = """\
────────────────────────────────────────────────────────────────────────────────
Processing user: user-00N
────────────────────────────────────────────────────────────────────────────────
  Collecting X metrics...
    ✅ X: Inserted N metrics
  Collecting X metrics...
    ✅ X: Inserted N metrics
"""
SUMMARY = """\
================================================================================
DAILY ANALYTICS COLLECTION COMPLETED
================================================================================
Date: 2026-11-19
Duration: Ns
Users: 2/2 successful
Platforms: 4/4 successful
Total Metrics Inserted: N"""

COLLECTED_TODAY = """
SELECT
    platform,
    metric,
    COUNT(*) as user_count,
    SUM(value) as total_value
FROM analytics_snapshots
WHERE date = CURRENT_DATE
GROUP BY platform, metric;
"""
COVERAGE = """
SELECT
    platform,
    COUNT(DISTINCT user_id) as users_with_data,
    MAX(date) as last_collection_date
FROM analytics_snapshots
WHERE date >= CURRENT_DATE - INTERVAL '7 days'
GROUP BY platform;
"""


@pytest.fixture
def runs(migrated_url: str) -> Iterator[SocialRuns]:
    """8 accounts: two of each platform, of Instagram one per login."""
    with open_social_runs(migrated_url) as found:
        yield found


@pytest.fixture
def few(migrated_url: str) -> Iterator[SocialRuns]:
    """One account of each platform."""
    with open_social_runs(migrated_url, connections=4) as found:
        yield found


def test_a_night_stores_what_the_platforms_say_and_a_second_changes_nothing(
    runs: SocialRuns,
) -> None:
    runs.whole()
    assert differences(runs.stored(), truth(runs, WEEK, levels=True)) == []
    before, moments = versions(runs.database_url), runs.stored()
    runs.clock.now += timedelta(minutes=10)
    runs.whole()
    assert versions(runs.database_url) == before
    assert runs.stored() == moments  # when it was fetched again is no change either


def test_over_rest_the_same_rows_are_stored_and_a_second_run_changes_nothing(
    runs: SocialRuns,
) -> None:
    runs.whole()
    direct = runs.stored()
    execute(runs.database_url, "truncate analytics_snapshots")
    with PostgrestServer(runs.database_url, max_rows=100) as postgrest:
        rest = over_rest(postgrest)
        runs.whole(**rest)
        assert differences(runs.stored(), direct) == []
        before = versions(runs.database_url)
        runs.sandbox.records.clear()
        runs.whole(**rest)
        assert runs.asked(1) == 2, "what is stored was not read whole"
        urls = "\n".join(f"{r.path}?{r.query}" for r in postgrest.proxy.requests)
    assert versions(runs.database_url) == before
    assert "analytics_snapshots" in urls
    assert "sandbox-" not in urls
    assert "gAAAAA" not in urls


def test_the_log_and_the_summary_are_those_of_the_design(few: SocialRuns) -> None:
    done = few.whole()
    number = len(few.stored())
    assert f"Total Metrics Inserted: {number}" in done.out
    said = re.sub(r"^\S+Z INFO {4}", "", done.out, flags=re.MULTILINE)
    said = re.sub(r"(Inserted|Inserted:|Duration:) [\d.]+", r"\1 N", said)
    assert said.startswith(BEGINNING)
    assert said.endswith(SUMMARY)
    for platform in ("instagram", "facebook", "youtube", "linkedin"):
        assert f"  Collecting {platform} metrics...\n    ✅ {platform}: Inserted N metrics" in said
    of_users = re.sub(
        r"instagram|facebook|youtube|linkedin", "X", said.replace("user-001", "user-00N")
    )
    assert of_users.replace("user-002", "user-00N").count(USER) == 2
    assert "COMPLETE: 2026-11-13 to 2026-11-19" in said
    assert "youtube has not published 2026-11-18 to 2026-11-19 yet (1 account)" in said
    run = last_run(few.database_url)
    assert (run["job"], run["status"], run["failures"]) == ("social", "complete", [])
    assert (run["window_from"], run["window_to"]) == (WEEK[0], YESTERDAY)
    expected = {
        "users": 2, "users_successful": 2, "platforms": 4, "platforms_successful": 4,
        "stored": number,
    }  # fmt: skip
    assert expected.items() <= run["counts"].items()


def test_the_monitoring_queries_of_the_design_work(few: SocialRuns) -> None:
    few.clock.now = datetime.now(UTC).replace(microsecond=0)
    few.whole(LINKEDIN_VERSION=f"{few.clock.now:%Y%m}")
    found = few.stored()
    [(today,)] = rows(few.database_url, "select current_date")
    now = {
        (few.world.platform_of(n), m): v for (n, m, day), (v, _) in found.items() if day == today
    }
    assert now
    collected = rows(few.database_url, COLLECTED_TODAY)
    assert {(p, m): (number, float(total)) for p, m, number, total in collected} == {
        key: (1, value) for key, value in now.items()
    }
    coverage = {
        platform: (users, last) for platform, users, last in rows(few.database_url, COVERAGE)
    }
    assert coverage.keys() == {"instagram", "facebook", "youtube", "linkedin"}
    for number in few.world.connection_numbers:
        newest = max(day for n, _, day in found if n == number)
        assert coverage[few.world.platform_of(number)] == (1, newest)


def test_few_requests_are_made_and_fewer_where_days_are_known(runs: SocialRuns) -> None:
    runs.whole()
    tomorrow = {1: 5, 5: 5, 2: 2, 3: 3, 4: 4}
    assert [runs.asked(n) for n in (2, 3, 4)] == [tomorrow[n] for n in (2, 3, 4)]
    assert runs.asked(1) <= 2 + 7 * 2
    runs.sandbox.records.clear()
    runs.clock.now += ONE_DAY
    runs.whole()
    assert {n: runs.asked(n) for n in tomorrow} == tomorrow
    expected = truth(runs, days_up_to(YESTERDAY + ONE_DAY, 7), levels=True)
    is_there = {key: row for key, row in runs.stored().items() if key in expected}
    assert without_moments(is_there) == without_moments(expected)


def test_revised_numbers_overwrite_and_only_those(runs: SocialRuns) -> None:
    runs.whole()
    before, old = versions(runs.database_url), runs.stored()
    numbers = runs.sandbox.social.numbers
    changes = [
        (1, "reach", SETTLED), (5, "reach", SETTLED), (1, "views", SETTLED),
        (2, "page_media_view", SETTLED), (6, "page_follows", WEEK[0]),
        (3, "estimatedMinutesWatched", SETTLED), (7, "views", WEEK[1]),
        (4, "impressionCount", SETTLED), (8, "allPageViews", WEEK[0]),
    ]  # fmt: skip
    for place, (connection, metric, day) in enumerate(changes):
        numbers.set(connection, metric, day, 400_000 + place)
    runs.whole()
    now = truth(runs, WEEK, levels=True)
    assert without_moments(runs.stored()) == without_moments(now)
    changed = {key for key, (value, _) in now.items() if key not in old or old[key][0] != value}
    assert changed >= set(changes)
    after = versions(runs.database_url)
    assert sum(after[one] != before.get(one) for one in after) == len(changed)
    assert set(before) <= set(after)


def test_a_revision_of_zero_is_stored_as_zero(few: SocialRuns) -> None:
    few.whole()
    zeros = [(2, "page_media_view"), (3, "likes"), (4, "impressionCount"), (1, "reach")]
    for connection, metric in zeros:
        few.sandbox.social.numbers.set(connection, metric, SETTLED, 0)
    few.whole()
    assert [few.stored()[n, metric, SETTLED][0] for n, metric in zeros] == [0] * 4


def test_late_days_are_waited_for_and_stored_when_they_come(runs: SocialRuns) -> None:
    numbers = runs.sandbox.social.numbers
    for connection in runs.world.connection_numbers:
        numbers.hold_back(connection, SETTLED)
    numbers.hold_back(4, WEEK[1], "organizationPageStatistics")
    done = runs.whole()
    assert f"instagram has not published {SETTLED} yet (2 accounts)" in done.out
    expected = truth(runs, WEEK, levels=True)
    del expected[4, "allPageViews", WEEK[1]]
    assert differences(runs.stored(), expected) == []
    assert not any(day == SETTLED for _, _, day in runs.stored())
    before = versions(runs.database_url)
    for connection in runs.world.connection_numbers:
        numbers.publish(connection, SETTLED)
    numbers.publish(4, WEEK[1], "organizationPageStatistics")
    runs.whole()
    assert differences(runs.stored(), truth(runs, WEEK, levels=True)) == []
    after = versions(runs.database_url)
    assert {one: after[one] for one in before} == before


@pytest.mark.parametrize("kind", ["missing_value", "null_value", "missing_day", "withdrawn"])
def test_what_is_absent_never_overwrites_and_is_never_zero(kind: str, few: SocialRuns) -> None:
    few.whole()
    before = few.stored()
    days = (SETTLED, YESTERDAY)
    if kind == "withdrawn":
        for connection, day in ((c, day) for c in few.world.connection_numbers for day in days):
            few.sandbox.social.numbers.hold_back(connection, day)
    else:
        kept = {"youtube": "missing_value"} if kind == "missing_value" else {}
        few.sandbox.faults.add(
            *(
                Fault(few.world.platform_of(n), kind, days=days)
                for n in few.world.connection_numbers
                if few.world.platform_of(n) not in kept
            )
        )
    few.whole("--from", str(WEEK[0]), "--to", str(YESTERDAY))
    assert few.stored() == before
    execute(few.database_url, "truncate analytics_snapshots")
    few.whole()
    is_there = few.stored()
    assert {key: row for key, row in before.items() if key in is_there} == is_there
    assert kind == "null_value" or (2, "page_media_view", SETTLED) not in is_there


def test_small_accounts_have_less_and_that_is_no_failure(migrated_url: str) -> None:
    with open_social_runs(migrated_url, small=[1, 2]) as runs:
        runs.whole()
        found = runs.stored()
        assert differences(found, truth(runs, WEEK, levels=True)) == []
        assert not any(n == 2 or (n, m) == (1, "follower_count") for n, m, _ in found)
        assert (5, "follower_count", SETTLED) in found


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-11-02 07:30", date(2026, 10, 31)),  # 23:30 on November 1, of 25 hours
        ("2026-11-02 08:30", date(2026, 11, 1)),
        ("2026-11-05 12:00", date(2026, 11, 4)),
        ("2027-03-15 06:30", date(2027, 3, 13)),  # 23:30 on March 14, of 23 hours
        ("2027-03-15 07:30", date(2027, 3, 14)),
        ("2027-03-18 07:30", date(2027, 3, 17)),
    ],
)
def test_numbers_stand_on_their_day_when_clocks_change(
    now: str, last: date, migrated_url: str
) -> None:
    with open_social_runs(migrated_url, now, connections=5) as runs:
        runs.variables["LINKEDIN_VERSION"] = "202610"
        runs.whole()
        expected = truth(runs, days_up_to(last, 7), levels=True)
        assert len(expected) > 200
        assert differences(runs.stored(), expected) == []
        assert last_run(migrated_url)["window_to"] == last


def test_only_the_named_connections_are_asked_and_stored(runs: SocialRuns) -> None:
    asked = [word for one in sorted(ids([2, 5])) for word in ("--connection", one)]
    done = runs.whole(*asked)
    assert "Platforms: 2/2 successful" in done.out
    assert {n for n, _, _ in runs.stored()} == {2, 5}
    assert {record.account for record in runs.sandbox.requests()} == {2, 5}
    everything = truth(runs, WEEK, levels=True)
    expected = {key: row for key, row in everything.items() if key[0] in (2, 5)}
    assert differences(runs.stored(), expected) == []


def test_named_days_are_asked_whole_and_leave_followers_alone(runs: SocialRuns) -> None:
    runs.whole("--date", str(SETTLED))
    assert differences(runs.stored(), truth(runs, [SETTLED])) == []
    first = date(2026, 10, 20)
    runs.sandbox.records.clear()
    runs.whole("--from", str(first), "--to", str(SETTLED))
    days = days_between(first, SETTLED)
    assert differences(runs.stored(), truth(runs, days)) == []
    runs.sandbox.social.numbers.set(1, "views", SETTLED, 77)
    runs.whole("--date", str(SETTLED))
    assert runs.stored()[1, "views", SETTLED][0] == 77


def test_long_ranges_are_asked_in_parts_as_the_platforms_allow(few: SocialRuns) -> None:
    """A Page's 90 days, and an Instagram account's 30, of which one has an hour more."""
    for connection, first, number in ((2, date(2026, 8, 10), 2), (1, date(2026, 10, 12), 2)):
        days = days_between(first, SETTLED)
        [one] = ids([connection])
        few.whole("--connection", one, "--from", str(first), "--to", str(SETTLED))
        expected = {key: row for key, row in truth(few, days).items() if key[0] == connection}
        assert differences(few.stored([connection]), expected) == []
        series = [r for r in few.sandbox.requests() if r.days and r.days[0] != r.days[1]]
        assert len(series) == number
        few.sandbox.records.clear()


@pytest.mark.parametrize(("lookback", "days"), [("3", 7), ("12", 12)])
def test_the_window_is_lookback_days_but_a_week_at_least(
    lookback: str, days: int, few: SocialRuns
) -> None:
    few.whole(LOOKBACK_DAYS=lookback)
    assert differences(few.stored(), truth(few, days_up_to(YESTERDAY, days), levels=True)) == []


def test_a_dry_run_shows_what_would_change_and_writes_nothing(few: SocialRuns) -> None:
    query = "select c::text from platform_connections c order by 1"
    before = rows(few.database_url, query)
    execute(
        few.database_url,
        "update platform_connections set token_expires_at = %s",
        few.clock.now + timedelta(days=3),
    )
    before = rows(few.database_url, query)
    done = few.whole("--dry-run")
    number = len(truth(few, WEEK, levels=True))
    assert f"dry run: {number} numbers would change, nothing was written" in done.out
    assert "Read " in done.out
    assert "Inserted 0" not in done.out
    assert few.stored() == {}
    assert rows(few.database_url, query) == before
    assert rows(few.database_url, "select * from aggregator_runs") == []
    few.whole()
    few.sandbox.social.numbers.set(2, "page_media_view", SETTLED, 12_345_678)
    value = f"{few.stored()[2, 'page_media_view', SETTLED][0]:g}"
    done = few.whole("--dry-run")
    account = few.world.account_id(2)
    assert (
        f"would change facebook user-001/{account} {SETTLED}: page_media_view {value} -> 12345678"
        in done.out
    )
    assert "dry run: 1 number would change" in done.out
    few.sandbox.faults.add(Fault("linkedin", "linkedin_401_65601", account=4))
    assert few.run("--dry-run").status == 1
    assert rows(few.database_url, "select metadata from platform_connections where platform = "
                "'linkedin'") == [({},)]  # fmt: skip


def test_rows_are_read_as_people_and_apps_write_them(few: SocialRuns) -> None:
    """Platforms in any case, tokens in plain text, a channel without its id, a URN, one switched
    off, and a platform of tomorrow."""
    url, world = few.database_url, few.world
    for change in (
        "platform = upper(platform) where platform = 'instagram'",
        f"access_token_encrypted = '{world.access_token(2)}' where platform = 'facebook'",
        "account_id = null where platform = 'youtube'",
        "account_id = 'urn:li:organization:' || account_id where platform = 'linkedin'",
    ):
        execute(url, f"update platform_connections set {change}")
    execute(url, "insert into platform_connections (user_id, platform) values ('u', 'example')")
    execute(
        url, "insert into platform_connections (user_id, platform, is_active) values "
        "('gone', 'instagram', false)",
    )  # fmt: skip
    done = few.whole()
    assert "1 connection of example: this program knows no such platform" in done.out
    assert "Found 2 users" in done.out
    assert "Platforms: 4/4 successful" in done.out
    query = "select distinct platform, account_id from analytics_snapshots order by 1"
    assert rows(url, query) == [
        ("facebook", world.account_id(2)),
        ("instagram", world.account_id(1)),
        ("linkedin", f"urn:li:organization:{world.account_id(4)}"),
        ("youtube", ""),
    ]
    expected = truth(few, WEEK, levels=True)
    [(number,)] = rows(url, "select count(*) from analytics_snapshots")
    assert number == len(expected)


def test_two_accounts_of_one_platform_and_user_are_kept_apart(runs: SocialRuns) -> None:
    execute(runs.database_url, "update platform_connections set user_id = 'one'")
    runs.whole()
    query = "select platform, account_id, count(*) from analytics_snapshots group by 1, 2"
    is_there = {(platform, account): n for platform, account, n in rows(runs.database_url, query)}
    expected = Counter(n for n, _, _ in truth(runs, WEEK, levels=True))
    world = runs.world
    assert is_there == {
        (world.platform_of(n), world.account_id(n)): number for n, number in expected.items()
    }


def test_two_runs_at_the_same_time_are_harmless(runs: SocialRuns) -> None:
    runs.sandbox.latency_seconds = 0.02
    with ThreadPoolExecutor(2) as pool:
        dones = list(pool.map(lambda _: runs.run(), range(2)))
    assert [done.status for done in dones] == [0, 0], dones
    assert differences(runs.stored(), truth(runs, WEEK, levels=True)) == []


@pytest.mark.parametrize(
    ("change", "words", "why", "mend"),
    [
        ("delete from platform_connections", [], "no connections to work on", "insert one row"),
        (
            "update platform_connections set is_active = false",
            [],
            "with is_active",
            "insert one row",
        ),
        ("drop table platform_connections", [], "platform_connections", "aggregator.py migrate"),
        ("drop table analytics_snapshots", [], "analytics_snapshots", "aggregator.py migrate"),
        ("select 1", ["--connection", "nobody"], "no active connection has the id nobody", "take"),
        ("select 1", ["--date", "2026-11-20"], "2026-11-20 is not over", "days that are over"),
    ],
)
def test_a_run_that_cannot_begin_says_why(
    change: str, words: list[str], why: str, mend: str, few: SocialRuns
) -> None:
    execute(few.database_url, change)
    done = few.run(*words)
    assert done.status == COULD_NOT_RUN, done
    [line] = [line for line in done.out.splitlines() if line.startswith("FAILED")]
    said, _, what_mends = line.partition(" -> ")
    assert why in said
    assert mend in what_mends
    assert few.sandbox.requests() == []
