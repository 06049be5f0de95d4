"""The access token of a Google account: fetched once, renewed once, and what its refusals mean."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import pytest
from google.auth.exceptions import RefreshError

from fetchers.errors import (
    CredentialsError,
    FetchError,
    SettingsError,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.google_errors import token_error
from fetchers.http import is_retryable
from tests.unit.google import (
    REFRESH_TOKEN,
    Call,
    FakeGoogle,
    OfflineClient,
    Reply,
    error_body,
    token,
)

REFUSED: Reply = (401, error_body("Invalid Credentials", "authError", code=401))
FINE: Reply = (200, {"siteEntry": []})


def test_one_refresh_serves_all_requests() -> None:
    google = FakeGoogle([FINE])
    client = OfflineClient(google)
    client.authorize()
    client.authorize()
    for _ in range(5):
        assert client.list_sites() == {"siteEntry": []}
    assert len(google.token_calls) == 1
    assert {call["token"] for call in google.api_calls} == {"access-1"}


def test_the_refresh_asks_for_no_scopes() -> None:
    google = FakeGoogle([FINE])
    OfflineClient(google).authorize()
    [body] = google.token_calls
    form = parse_qs(body.removeprefix("b'").removesuffix("'"))
    assert form == {
        "grant_type": ["refresh_token"],
        "client_id": ["client-id"],
        "client_secret": ["sentinel-client-secret"],
        "refresh_token": [REFRESH_TOKEN],
    }


def test_a_refresh_of_many_threads_happens_once() -> None:
    google = FakeGoogle([FINE])
    client = OfflineClient(google)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: client.list_sites(), range(64)))
    assert len(google.token_calls) == 1
    assert len(google.api_calls) == 64


def test_a_refused_token_is_renewed_once() -> None:
    google = FakeGoogle([REFUSED, FINE])
    client = OfflineClient(google)
    client.authorize()
    assert client.list_sites() == {"siteEntry": []}
    assert [call["token"] for call in google.api_calls] == ["access-1", "access-2"]


def test_a_renewed_token_that_is_refused_too_ends_it() -> None:
    google = FakeGoogle([REFUSED])
    client = OfflineClient(google)
    client.authorize()
    with pytest.raises(CredentialsError, match="HTTP 401: Invalid Credentials"):
        client.list_sites()
    assert (len(google.api_calls), len(google.token_calls)) == (2, 2)
    with pytest.raises(CredentialsError):
        client.list_sites()
    assert (len(google.api_calls), len(google.token_calls)) == (3, 2)


def test_a_token_that_many_threads_see_refused_is_renewed_for_all_of_them() -> None:
    """All requests in flight are refused at once; the account is not to blame for any of them."""
    both_sent = threading.Barrier(2, timeout=5)

    def api(call: Call) -> Reply:
        if call["token"] == "access-1":
            both_sent.wait()
            return REFUSED
        return FINE

    google = FakeGoogle(api)
    client = OfflineClient(google)
    client.authorize()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.list_sites) for _ in range(2)]
    assert [answer.exception() for answer in answers] == [None, None]
    assert len(google.token_calls) == 2


@pytest.mark.parametrize(
    ("reply", "kind", "requests"),
    [
        (
            (400, {"error": "invalid_grant", "error_description": "Token has been revoked."}),
            CredentialsError,
            1,
        ),
        ((401, {"error": "invalid_client", "error_description": "Unauthorized"}), SettingsError, 1),
        ((502, "<html>"), Temporary, 4),
        ((200, "<html>"), UnexpectedAnswer, 4),
        ((200, b"\xff\xfe"), UnexpectedAnswer, 4),
        ((200, {"token_type": "Bearer"}), Temporary, 4),
        ((200, {"access_token": None, "expires_in": 3599}), UnexpectedAnswer, 4),
        (ConnectionResetError(104, "Connection reset by peer"), Temporary, 4),
        (TimeoutError("timed out"), Temporary, 4),
    ],
    ids=repr,
)
def test_each_failure_of_the_token_endpoint_has_its_kind(
    reply: Reply, kind: type[FetchError], requests: int
) -> None:
    google = FakeGoogle([FINE], tokens=[reply])
    with pytest.raises(FetchError) as caught:
        OfflineClient(google).authorize()
    assert isinstance(caught.value, kind)
    assert len(google.token_calls) == requests
    assert REFRESH_TOKEN not in str(caught.value)
    assert google.api_calls == []


@pytest.mark.parametrize(
    "reply",
    [(200, "<html>"), (200, {"expires_in": "soon"}), (200, b"\xff\xfe"), (200, []), (502, b"\xff")],
    ids=repr,
)
def test_a_token_endpoint_that_talks_nonsense_in_the_middle_of_a_run_is_a_failure_and_no_bug(
    reply: Reply,
) -> None:
    client = OfflineClient(FakeGoogle([REFUSED], tokens=[token(), reply]))
    client.authorize()
    with pytest.raises(FetchError):
        client.list_sites()


# arguments of google-auth's RefreshError, retryable, kind, part of the message, part of the mend
REFUSALS: list[tuple[tuple[Any, ...], bool, type[FetchError], str, str]] = [
    (
        (
            "x",
            {"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
        ),
        False,
        CredentialsError,
        "Google refused the refresh token (invalid_grant: Token has been expired or revoked.)",
        "connect-gsc --account",
    ),
    (
        ("x", {"error": "unauthorized_client"}),
        False,
        CredentialsError,
        "unauthorized_client",
        "consent",
    ),
    (("x", {"error": "invalid_scope"}), False, CredentialsError, "invalid_scope", "consent"),
    *(
        (
            ("x", {"error": code, "error_description": "Unauthorized"}),
            False,
            SettingsError,
            f"Google does not accept our OAuth client ({code}: Unauthorized)",
            "GOOGLE_CLIENT_SECRET",
        )
        for code in ("invalid_client", "deleted_client", "disabled_client")
    ),
    (("<html>502</html>",), False, Temporary, "no JSON", "next nightly"),
    (("<html>503</html>",), True, Temporary, "no JSON", "next nightly"),
    (("x", {"error": "internal_failure"}), True, Temporary, "internal_failure", "next nightly"),
    (("x", {"error": "server_error"}), True, Temporary, "server_error", "next nightly"),
    (("No access token in response.", {}), False, Temporary, "no JSON", "next nightly"),
    (("x", {"error": "invalid_request"}), False, UnexpectedAnswer, "invalid_request", "report it"),
    (("x", {"error": {"code": 400}}), False, UnexpectedAnswer, "400", "report it"),
    (("x", ["list"]), False, Temporary, "no JSON", "next nightly"),
    ((), False, Temporary, "no JSON", "next nightly"),
]


@pytest.mark.parametrize(("arguments", "retryable", "kind", "message", "mend"), REFUSALS)
def test_each_refusal_of_the_token_endpoint_has_its_kind(
    arguments: tuple[Any, ...], retryable: bool, kind: type[FetchError], message: str, mend: str
) -> None:
    error = token_error(RefreshError(*arguments, retryable=retryable))  # type: ignore[no-untyped-call]
    assert type(error) is kind
    assert message in error.message
    assert mend in error.mend
    assert is_retryable(error) is (kind is Temporary and not retryable)
    assert "<" not in error.message
