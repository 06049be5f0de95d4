"""The upkeep of connections' tokens: renewed in time, stored at once, and never printed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses
from cryptography.fernet import Fernet

from jobs.social_apis import open_social_apis
from jobs.social_plan import Work, open_connection
from jobs.social_tokens import Upkeep, expires_soon, expiry_line, renewal_of
from logs import redact
from models import Connection, SiteId
from storage.errors import DatabaseError, DatabaseUnavailable
from tests.unit.helpers import make_http
from tests.unit.social import KEY, NOW, SETTINGS, connection

KEYS = SETTINGS.encryption_keys
BY_INSTAGRAM = {"login": "instagram"}
REFRESH = "sentinel-refresh"
NEW, NEW_REFRESH = "sentinel-new-access", "sentinel-new-refresh"
TOKEN_URL = "https://linkedin.test/token"
INSTAGRAM_URL = "https://instagram.test"
CLIENT = {"linkedin_client_id": "example", "linkedin_client_secret": "sentinel-client"}


def work_of(item: Connection) -> Work:
    return Work(item, open_connection(item, SETTINGS))


def due(platform: str = "instagram", **more: Any) -> Connection:
    """A connection whose token is to be renewed."""
    fields = {"token_expires_at": NOW + timedelta(days=13), "metadata": BY_INSTAGRAM}
    refresh = {"refresh_token": REFRESH} if platform == "linkedin" else {}
    return connection(platform=platform, **{**fields, **refresh, **more})


class Stores:
    """Stores tokens: remembers them, and says or raises its answers in turn, the last for good."""

    def __init__(self, *answers: bool | DatabaseError) -> None:
        self.answers = list(answers or [True])
        self.stored: list[tuple[SiteId, str, str, datetime, str | None]] = []

    def __call__(
        self, who: SiteId, old: str, new: str, ends_at: datetime, refresh: str | None
    ) -> bool:
        self.stored.append((who, old, new, ends_at, refresh))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, DatabaseError):
            raise answer
        return answer


def upkeep_of(
    stores: Stores, keys: Sequence[str] = KEYS, settings: Mapping[str, Any] = CLIENT
) -> Upkeep:
    addresses: dict[str, Any] = {
        "linkedin_token_uri": TOKEN_URL,
        "instagram_api_url": INSTAGRAM_URL,
    }
    apis = open_social_apis(replace(SETTINGS, **addresses, **settings), make_http(attempts=1))
    return Upkeep(apis, keys, stores, NOW)


@contextmanager
def platforms(
    *, refresh: str | None = NEW_REFRESH, status: int = 200
) -> Iterator[responses.RequestsMock]:
    """Both platforms give the new token, or refuse."""
    token = {"access_token": NEW, "expires_in": 60 * 86_400, "token_type": "bearer"}
    of_linkedin = token | ({"refresh_token": refresh} if refresh else {})
    refused = {"error": "invalid_grant", "error_description": "an example of a refusal"}
    graph_refused = {"error": {"code": 190, "message": "an example of a refusal"}}
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        good = status == 200
        mock.post(TOKEN_URL, json=of_linkedin if good else refused, status=status)
        mock.get(
            f"{INSTAGRAM_URL}/refresh_access_token",
            json=token if good else graph_refused,
            status=status,
        )
        yield mock


def opened(stored: str | None) -> str:
    return Fernet(KEY).decrypt(stored or "").decode()


@pytest.mark.parametrize(
    ("ends_in", "wanted"),
    [
        (None, True),
        (timedelta(days=-1), True),
        (timedelta(0), True),
        (timedelta(days=14), True),
        (timedelta(days=14, seconds=1), False),
    ],
)
@pytest.mark.parametrize("platform", ["instagram", "linkedin"])
def test_a_token_is_renewed_in_its_last_two_weeks_or_if_nobody_knows_its_end(
    platform: str, ends_in: timedelta | None, wanted: bool
) -> None:
    stores = Stores()
    ends_at = None if ends_in is None else NOW + ends_in
    with platforms() as mock:
        upkeep_of(stores).renew_if_due(work_of(due(platform, token_expires_at=ends_at)))
        assert len(mock.calls) == wanted
    assert len(stores.stored) == wanted


@pytest.mark.parametrize(
    ("item", "settings", "wanted"),
    [
        (due(), CLIENT, True),
        (due(metadata={"login": "facebook"}), CLIENT, False),
        (due("facebook"), CLIENT, False),
        (due("youtube", refresh_token=REFRESH), CLIENT, False),
        (due("linkedin", refresh_token=""), CLIENT, False),
        (due("linkedin"), CLIENT, True),
        (due("linkedin"), CLIENT | {"linkedin_client_id": None}, False),
        (due("linkedin"), CLIENT | {"linkedin_client_secret": None}, False),
    ],
)
def test_only_what_its_platform_renews_without_its_owner_is_renewed(
    item: Connection, settings: dict[str, Any], wanted: bool
) -> None:
    apis = upkeep_of(Stores(), settings=settings).apis
    assert (renewal_of(work_of(item), apis) is not None) is wanted


def test_a_new_token_is_stored_encrypted_and_used_from_now_on() -> None:
    work, stores = work_of(due("linkedin")), Stores()
    with platforms():
        upkeep_of(stores).renew_if_due(work)
    [(who, old, stored, ends_at, refresh)] = stores.stored
    assert (who, old) == (1, "sentinel-access-1")
    assert (opened(stored), opened(refresh)) == (NEW, NEW_REFRESH)
    assert (work.account.access_token, work.account.refresh_token) == (NEW, NEW_REFRESH)
    assert timedelta(days=59) < ends_at - datetime.now(UTC) <= timedelta(days=60)
    assert work.connection == replace(
        due("linkedin"), access_token=stored, refresh_token=refresh or "", token_expires_at=ends_at
    )
    assert redact(f"{NEW} {NEW_REFRESH} {stored}") == "*** *** ***"


def test_without_a_new_refresh_token_the_old_one_stays() -> None:
    work, stores = work_of(due("linkedin")), Stores()
    with platforms(refresh=None):
        upkeep_of(stores).renew_if_due(work)
    assert stores.stored[0][-1] is None
    assert work.account.refresh_token == work.connection.refresh_token == REFRESH


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("platform", ["instagram", "linkedin"])
def test_a_token_that_cannot_be_renewed_is_used_as_long_as_it_lives(
    platform: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    item, stores = due(platform), Stores()
    work = work_of(item)
    with platforms(status=status):
        upkeep_of(stores).renew_if_due(work)
    assert stores.stored == []
    assert work == work_of(item)
    [warning] = caplog.messages
    assert "the token of connection 1 could not be renewed" in warning
    assert "sentinel" not in warning


def test_without_a_key_a_token_that_could_not_be_stored_is_not_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with platforms() as mock:
        upkeep_of(Stores(), keys=()).renew_if_due(work_of(due()))
        assert len(mock.calls) == 0  # the old token might be void then
    assert "set ENCRYPTION_KEY" in caplog.text


@pytest.mark.parametrize(
    ("item", "renewed"),
    [
        (due("linkedin", token_expires_at=NOW + timedelta(days=50)), True),
        (due("linkedin", refresh_token=""), False),
        (due(), False),
        (due("facebook"), False),
    ],
)
def test_a_refused_token_is_renewed_where_another_one_asks_for_it(
    item: Connection, renewed: bool
) -> None:
    work, stores = work_of(item), Stores()
    with platforms():
        assert upkeep_of(stores).renew_refused(work) is renewed
    assert (work.account.access_token == NEW) is renewed
    assert len(stores.stored) == renewed


def test_a_refused_token_that_cannot_be_renewed_stays_refused() -> None:
    with platforms(status=400):
        assert not upkeep_of(Stores()).renew_refused(work_of(due("linkedin")))


def test_a_token_that_somebody_else_replaced_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    item, stores = due(), Stores(False)
    work, upkeep = work_of(item), upkeep_of(stores)
    with platforms():
        upkeep.renew_if_due(work)
    assert work.connection == item
    assert work.account.access_token == NEW  # it is as good as the other one
    assert "was given another token meanwhile" in caplog.text
    assert list(upkeep.store_the_rest()) == []
    assert len(stores.stored) == 1


def test_a_token_that_could_not_be_stored_serves_the_run_and_is_stored_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    item, stores = due(), Stores(DatabaseUnavailable("the server is gone"), True)
    work, upkeep = work_of(item), upkeep_of(stores)
    with platforms():
        upkeep.renew_if_due(work)
    assert work.account.access_token == NEW
    assert work.connection == item
    assert "the server is gone" in caplog.text
    assert "is renewed" not in caplog.text
    assert "sentinel" not in caplog.text
    assert list(upkeep.store_the_rest()) == []
    first, second = stores.stored
    assert first == second


def test_a_token_that_is_lost_is_said() -> None:
    gone = DatabaseUnavailable("the server is gone")
    item, upkeep = due(), upkeep_of(Stores(gone))
    with platforms():
        upkeep.renew_if_due(work_of(item))
    assert list(upkeep.store_the_rest()) == [(item, gone)]


@pytest.mark.parametrize(
    ("platform", "ends_in", "refresh", "told"),
    [
        ("facebook", timedelta(days=7), "", True),
        ("facebook", timedelta(days=7, seconds=1), "", False),
        ("facebook", timedelta(days=-3), "", True),
        ("linkedin", timedelta(days=1), "sentinel-refresh", True),
        ("youtube", timedelta(hours=1), "sentinel-refresh", False),
        ("youtube", timedelta(hours=1), "", True),
        ("instagram", None, "", False),
    ],
)
def test_what_its_owner_must_renew_within_a_week_is_told(
    platform: str, ends_in: timedelta | None, refresh: str, told: bool
) -> None:
    ends_at = None if ends_in is None else NOW + ends_in
    item = connection(platform=platform, token_expires_at=ends_at, refresh_token=refresh)
    assert expires_soon(item, NOW) is told


def test_the_line_says_whose_token_ends_and_when() -> None:
    line = expiry_line(due(token_expires_at=NOW))
    assert line.startswith("instagram user-1/account-1 (1): its token ends on 2026-11-21 ")
