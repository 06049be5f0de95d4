"""What a social run is about: its days, whom it asks, with which token, and what it knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from config import Settings
from fetchers.errors import CredentialsError, FetchError, NeedsReauth, SettingsError
from jobs.run_failures import CannotRun, WrongRequest
from jobs.social_plan import (
    NO_KEY,
    NONE_READABLE,
    UNREADABLE,
    choose_connections,
    choose_social_window,
    load_social_plan,
    login_of,
    open_connection,
    token_digest,
)
from models import Connection, Window
from tests.unit.fake_database import FakeDatabase, snapshot_key
from tests.unit.social import (
    KEY,
    NOW,
    OLDER_KEY,
    OTHER_KEY,
    SETTINGS,
    YESTERDAY,
    connection,
    snapshot,
    words,
)

TOKEN = "sentinel-access"
WEEK = Window(YESTERDAY - timedelta(days=6), YESTERDAY)


def sealed(token: str, key: str = KEY) -> str:
    return Fernet(key).encrypt(token.encode()).decode()


def refusal(item: Connection, settings: Settings = SETTINGS) -> FetchError:
    with pytest.raises(FetchError) as caught:
        open_connection(item, settings)
    assert "sentinel" not in f"{caught.value.message} {caught.value.mend}"
    assert caught.value.mend
    return caught.value


def remembering(item: Connection, **changed: object) -> Connection:
    """The connection as a run left it whose token was refused."""
    digest = token_digest(open_connection(item, SETTINGS))
    mark = {"since": "2026-11-18T02:00:09Z", "reason": "it has expired", "token": digest}
    return replace(item, metadata={**item.metadata, "needs_reauth": {**mark, **changed}})


# Days


@pytest.mark.parametrize(("lookback", "days"), [(1, 7), (4, 7), (7, 7), (8, 8), (30, 30)])
def test_without_dates_it_is_a_week_or_more_up_to_the_last_day_that_is_over(
    lookback: int, days: int
) -> None:
    window = choose_social_window(words(), replace(SETTINGS, lookback_days=lookback), NOW)
    assert window == Window(YESTERDAY - timedelta(days=days - 1), YESTERDAY)


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2026, 11, 20, 7, 59, tzinfo=UTC), date(2026, 11, 18)),
        (datetime(2026, 11, 20, 8, 0, tzinfo=UTC), date(2026, 11, 19)),
        (datetime(2026, 7, 20, 6, 59, tzinfo=UTC), date(2026, 7, 18)),
        (datetime(2026, 7, 20, 7, 0, tzinfo=UTC), date(2026, 7, 19)),
    ],
)
def test_the_last_day_is_one_that_is_over_in_the_platforms_time_zone(
    now: datetime, last: date
) -> None:
    assert choose_social_window(words(), SETTINGS, now).last == last
    assert choose_social_window(words(f"--date {last}"), SETTINGS, now) == Window(last, last)
    with pytest.raises(WrongRequest) as caught:
        choose_social_window(words(f"--date {last + timedelta(days=1)}"), SETTINGS, now)
    assert str(last) in caught.value.message


def test_dates_are_taken_as_they_are_asked_for() -> None:
    window = choose_social_window(words("--from 2026-10-30 --to 2026-11-02"), SETTINGS, NOW)
    assert window == Window(date(2026, 10, 30), date(2026, 11, 2))


# Whom


def test_only_the_named_connections_are_asked() -> None:
    all_of_them = [connection(1), connection(2), connection("b-3")]
    assert choose_connections(all_of_them, []) == all_of_them
    assert [c.id for c in choose_connections(all_of_them, ["b-3", " 1 "])] == [1, "b-3"]


def test_a_connection_that_is_none_is_named() -> None:
    with pytest.raises(WrongRequest) as caught:
        choose_connections([connection(1)], ["1", "7", "8"])
    assert "id 7, 8" in caught.value.message


def test_without_connections_there_is_nothing_to_run() -> None:
    with pytest.raises(CannotRun) as caught:
        choose_connections([], ["1"])
    assert "row level security" in caught.value.mend


def test_a_name_says_whose_connection_it_is() -> None:
    database = FakeDatabase(
        connections=[connection(1), connection(2, "youtube", account_id="", user="user-2")]
    )
    plan = load_social_plan(database, words(), WEEK, SETTINGS)
    assert plan.names == {1: "user-1/account-1 (1)", 2: "user-2/(own channel) (2)"}


# With which token


@pytest.mark.parametrize(
    "stored",
    [TOKEN, f" {TOKEN}\n", sealed(TOKEN), sealed(TOKEN, OLDER_KEY), f"{sealed(TOKEN)}\n"],
    ids=["plain", "plain line", "newest key", "older key", "encrypted line"],
)
def test_a_token_is_read_plain_or_under_any_key(stored: str) -> None:
    item = connection(access_token=stored, refresh_token=sealed("sentinel-refresh"))
    account = open_connection(item, SETTINGS)
    assert (account.access_token, account.refresh_token) == (TOKEN, "sentinel-refresh")
    assert (account.user_id, account.account_id) == ("user-1", "account-1")
    assert "sentinel" not in repr(account)


@pytest.mark.parametrize(
    ("item", "settings", "kind", "said"),
    [
        (connection(access_token=sealed(TOKEN, OTHER_KEY)), SETTINGS, CredentialsError, UNREADABLE),
        (connection(refresh_token=sealed("x", OTHER_KEY)), SETTINGS, CredentialsError, UNREADABLE),
        (
            connection(access_token=sealed(TOKEN)),
            replace(SETTINGS, encryption_keys=()),
            SettingsError,
            NO_KEY,
        ),
        (connection(access_token=""), SETTINGS, CredentialsError, "the connection has no token"),
        (connection(access_token=" "), SETTINGS, CredentialsError, "the connection has no token"),
        (connection(account_id=""), SETTINGS, SettingsError, "the connection names no account"),
        (
            connection(platform="youtube", refresh_token="sentinel-refresh"),
            replace(SETTINGS, google_client_secret=None),
            SettingsError,
            "GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are missing",
        ),
    ],
)
def test_a_connection_that_cannot_be_asked_says_why(
    item: Connection, settings: Settings, kind: type[FetchError], said: str
) -> None:
    error = refusal(item, settings)
    assert type(error) is kind
    assert error.message == said


def test_youtube_needs_no_account_and_without_a_refresh_token_no_client() -> None:
    settings = replace(SETTINGS, google_client_id=None)
    account = open_connection(connection(platform="youtube", account_id=""), settings)
    assert account.account_id == ""


@pytest.mark.parametrize(
    "access", ["", sealed(TOKEN, OTHER_KEY), TOKEN], ids=["none", "unreadable", "plain"]
)
def test_youtube_is_asked_with_its_refresh_token_whatever_else_is_stored(access: str) -> None:
    item = connection(platform="youtube", access_token=access, refresh_token="sentinel-refresh")
    account = open_connection(item, SETTINGS)
    assert (account.access_token, account.refresh_token) == ("", "sentinel-refresh")


@pytest.mark.parametrize(("platform", "option"), [("youtube", True), ("linkedin", False)])
def test_what_mends_a_dead_token_is_the_right_command(platform: str, option: bool) -> None:
    mend = refusal(connection(platform=platform, access_token="")).mend
    assert ("--connection ID --refresh" in mend) is option


@pytest.mark.parametrize(
    ("metadata", "token", "login"),
    [
        ({"login": "instagram"}, "EAA", "instagram"),
        ({"login": "facebook"}, "IGAA", "facebook"),
        ({"login_type": "Instagram Login"}, "EAA", "instagram"),
        ({"login_flow": "business_login_for_instagram"}, "EAA", "instagram"),
        ({"auth_type": "FACEBOOK"}, "IGAA", "facebook"),
        ({}, "IGAAexample", "instagram"),
        ({}, "EAAexample", "facebook"),
        ({"login": ""}, "IGAAexample", "instagram"),
        ({"login": None, "auth_type": "instagram"}, "EAA", "instagram"),
    ],
)
def test_the_login_is_the_one_that_is_noted_or_else_the_tokens(
    metadata: dict[str, Any], token: str, login: str
) -> None:
    item = connection(metadata=metadata)
    assert login_of(item, token) == login
    assert open_connection(replace(item, access_token=token), SETTINGS).login == login


def test_a_token_that_was_refused_is_not_tried_again() -> None:
    error = refusal(remembering(connection(refresh_token="sentinel-refresh")))
    assert isinstance(error, NeedsReauth)
    assert "refused on 2026-11-18" in error.message
    assert "it has expired" in error.message


@pytest.mark.parametrize(
    "changed",
    [
        {"access_token": "sentinel-new"},
        {"refresh_token": "sentinel-new"},
        {"metadata": {"login": "instagram"}},
    ],
    ids=str,
)
def test_a_token_that_has_changed_is_tried_again(changed: dict[str, Any]) -> None:
    item = remembering(connection(refresh_token="sentinel-refresh"))
    metadata = {**item.metadata, **changed.get("metadata", {})}
    open_connection(replace(item, **{**changed, "metadata": metadata}), SETTINGS)


def test_a_token_that_was_only_encrypted_anew_has_not_changed() -> None:
    item = remembering(connection(access_token=sealed(TOKEN, OLDER_KEY)))
    assert isinstance(refusal(replace(item, access_token=sealed(TOKEN))), NeedsReauth)


@pytest.mark.parametrize("mark", [True, "yes", [], {}, {"since": "2026-11-18"}, {"token": None}])
def test_a_mark_of_somebody_else_keeps_nobody_from_asking(mark: object) -> None:
    open_connection(connection(metadata={"needs_reauth": mark}), SETTINGS)


def test_the_digest_tells_nothing_and_moves_with_either_token() -> None:
    account = open_connection(connection(refresh_token="sentinel-refresh"), SETTINGS)
    digest = token_digest(account)
    assert "sentinel" not in digest
    others = [
        replace(account, access_token="sentinel-other"),
        replace(account, refresh_token=""),
        replace(account, access_token=f"{account.access_token}\n", refresh_token="sentinel"),
    ]
    assert len({digest, *map(token_digest, others)}) == 4


# The plan


def test_one_connection_that_cannot_be_asked_costs_no_other() -> None:
    bad = connection(2, access_token=sealed(TOKEN, OTHER_KEY))
    database = FakeDatabase(connections=[connection(1), bad, connection(3, "tiktok")])
    plan = load_social_plan(database, words(), WEEK, SETTINGS)
    assert [work.connection.id for work in plan.work] == [1]
    assert [(c.id, error.message) for c, error in plan.failed] == [(2, UNREADABLE)]
    assert [c.id for c in plan.unknown] == [3]
    assert plan.days == tuple(WEEK)


def test_if_no_token_is_readable_the_key_is_wrong() -> None:
    unreadable = [connection(n, access_token=sealed(TOKEN, OTHER_KEY)) for n in (1, 2)]
    database = FakeDatabase(connections=[*unreadable, connection(3, access_token="")])
    plan = load_social_plan(database, words(), WEEK, SETTINGS)
    assert plan.work == []
    assert [(c.id, error.kind, error.message) for c, error in plan.failed] == [
        (1, "settings", NONE_READABLE),
        (2, "settings", NONE_READABLE),
        (3, "credentials", "the connection has no token"),
    ]


def test_each_account_gets_what_is_stored_of_itself_alone() -> None:
    mine, other_account = connection(1), connection(2)
    other_user = connection(3, user="user-2", account_id="account-1")
    other_platform = connection(4, "facebook", account_id="account-1")
    database = FakeDatabase(connections=[mine, other_account, other_user, other_platform])
    rows = [
        snapshot("views", n, of=c, metadata={"data_state": "final"})
        for n, c in enumerate(database.connections, start=10)
    ]
    rows += [snapshot("reach", 5, metadata={}), snapshot("old", 1, day=date(2026, 1, 1))]
    database.snapshots = {snapshot_key(row): row for row in rows}
    plan = load_social_plan(database, words(), WEEK, SETTINGS)
    stored = {work.connection.id: work.stored for work in plan.work}
    assert stored == {
        1: {("views", YESTERDAY): (10.0, "final"), ("reach", YESTERDAY): (5.0, "")},
        2: {("views", YESTERDAY): (11.0, "final")},
        3: {("views", YESTERDAY): (12.0, "final")},
        4: {("views", YESTERDAY): (13.0, "final")},
    }
    assert plan.levels


@pytest.mark.parametrize("days", ["--date 2026-11-19", "--from 2026-11-13 --to 2026-11-19"])
def test_whoever_names_days_wants_all_of_them_read_and_no_levels(days: str) -> None:
    database = FakeDatabase(connections=[connection(1)])
    row = snapshot("views", 10)
    database.snapshots = {snapshot_key(row): row}
    arguments = words(days)
    window = choose_social_window(arguments, SETTINGS, NOW)
    plan = load_social_plan(database, arguments, window, SETTINGS)
    assert [work.stored for work in plan.work] == [{}]
    assert not plan.levels
    assert "snapshots" not in {what for what, _ in database.reads}
