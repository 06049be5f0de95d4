"""Google's consent: what is asked, which answers are believed, what a token answer must hold."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from typing import Any, TextIO
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
import responses

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    SettingsError,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.google_consent import (
    SCOPE,
    Client,
    Consent,
    NotTheAnswer,
    begin_consent,
    exchange_code,
    parse_tokens,
    read_answer,
    read_pasted,
)
from fetchers.http import Answer
from jobs.connect_gsc import NOWHERE, paste_answer
from logs import redact
from tests.unit.helpers import make_http

CLIENT = Client("client-id", "sentinel-client-secret", "https://token.test/token")
CONSENT = Consent("https://accounts.test/?x", "the-state", NOWHERE, "sentinel-verifier")
CODE = "4/0Asentinel-code_x.~y"
TOKENS = {
    "access_token": "ya29.sentinel-access-token",
    "expires_in": 3599,
    "refresh_token": "1//sentinel-consent-token",
    "scope": SCOPE,
    "token_type": "Bearer",
}


def address(**query: str) -> str:
    return f"{NOWHERE}?{urlencode(query)}"


GOOD = address(state="the-state", code=CODE, scope=SCOPE)


def test_the_address_asks_for_one_scope_for_good_and_with_pkce() -> None:
    consent = begin_consent(CLIENT, NOWHERE)
    assert consent.url.startswith("https://accounts.google.com/o/oauth2/auth?")
    digest = hashlib.sha256(consent.verifier.encode()).digest()
    assert parse_qs(urlsplit(consent.url).query) == {
        "response_type": ["code"],
        "client_id": ["client-id"],
        "redirect_uri": [NOWHERE],
        "scope": ["https://www.googleapis.com/auth/webmasters.readonly"],
        "state": [consent.state],
        "code_challenge": [base64.urlsafe_b64encode(digest).decode().rstrip("=")],
        "code_challenge_method": ["S256"],
        "access_type": ["offline"],
        "prompt": ["consent"],
    }
    assert len(consent.state) >= 20
    assert 43 <= len(consent.verifier) <= 128


def test_two_consents_share_nothing() -> None:
    first, second = begin_consent(CLIENT, NOWHERE), begin_consent(CLIENT, NOWHERE)
    assert first.state != second.state
    assert first.verifier != second.verifier


def test_secrets_are_in_no_text_of_a_consent() -> None:
    consent = begin_consent(CLIENT, NOWHERE)
    assert consent.verifier not in f"{consent!r} {consent.url}"
    assert CLIENT.secret not in f"{CLIENT!r} {consent.url}"
    assert redact(f"x {consent.verifier} x") == "x *** x"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"<{GOOD}>",
        f'"{GOOD}"',
        GOOD.removeprefix("http://"),
        f"{GOOD}#",
        CODE,
        "4%2F0Asentinel-code_x.~y",
    ],
    ids=range(8),
)
def test_the_address_or_the_code_may_be_pasted(text: str) -> None:
    assert read_pasted(text, CONSENT) == CODE
    assert redact(CODE) == "***"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rubbish",
        "4/short",
        "4/with spaces in it",
        NOWHERE,
        CONSENT.url,
        address(state="the-state"),
        address(state="the-state", code=""),
        address(code=CODE),
        address(state="", code=CODE),
        address(state="the-stat", code=CODE),
        address(state="the-state-", code=CODE),
        address(error="access_denied"),
        address(state="another", error="access_denied"),
        f"{NOWHERE}?state=\udcff&code={CODE}",
        "1//a-refresh-token-by-mistake",
    ],
    ids=range(16),
)
def test_anything_else_is_not_the_answer_and_is_not_repeated(text: str) -> None:
    with pytest.raises(NotTheAnswer) as caught:
        read_pasted(text, CONSENT)
    assert caught.value.mend
    assert "sentinel" not in f"{caught.value.message}{caught.value.mend}"


def test_a_request_to_the_loopback_needs_the_state_always() -> None:
    with pytest.raises(NotTheAnswer):
        read_answer(CODE, CONSENT)


def test_a_refused_consent_says_so() -> None:
    with pytest.raises(AccessDenied, match="access_denied") as caught:
        read_answer(address(state="the-state", error="access_denied"), CONSENT)
    assert "test users" in caught.value.mend


def test_other_errors_in_the_address_are_our_clients() -> None:
    with pytest.raises(SettingsError, match="invalid_scope") as caught:
        read_answer(address(state="the-state", error="invalid_scope"), CONSENT)
    assert "Desktop app" in caught.value.mend


def answer(status: int = 200, body: object = None, **changed: object) -> Answer:
    tokens = {**TOKENS, **changed} if body is None else body
    text = tokens if isinstance(tokens, str) else json.dumps(tokens)
    return Answer(status, {"content-type": "application/json"}, text.encode())


def test_a_good_answer_gives_the_refresh_token_and_hides_both() -> None:
    assert parse_tokens(answer()) == TOKENS["refresh_token"]
    assert redact(f"{TOKENS['refresh_token']} {TOKENS['access_token']}") == "*** ***"


@pytest.mark.parametrize("scope", [SCOPE, f"openid {SCOPE}", f"{SCOPE} email"])
def test_the_scope_may_stand_among_others(scope: str) -> None:
    assert parse_tokens(answer(scope=scope))


def test_an_answer_that_names_no_scope_gives_what_was_asked_for() -> None:
    body = {name: value for name, value in TOKENS.items() if name != "scope"}
    assert parse_tokens(answer(body=body))


@pytest.mark.parametrize("scope", ["", "openid", f"{SCOPE}.x", SCOPE.removesuffix(".readonly"), 5])
def test_an_unticked_scope_is_refused(scope: object) -> None:
    with pytest.raises(AccessDenied, match="not ticked") as caught:
        parse_tokens(answer(scope=scope))
    assert "tick it" in caught.value.mend


@pytest.mark.parametrize("token", [None, "", 5, "two words", "line\nbreak", ["1//x"]])
def test_an_answer_without_a_refresh_token_is_refused(token: object) -> None:
    with pytest.raises(CredentialsError, match="no refresh token") as caught:
        parse_tokens(answer(refresh_token=token))
    assert "myaccount.google.com" in caught.value.mend


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_grant", "error_description": "Malformed"}, CredentialsError),
        (401, {"error": "invalid_client"}, SettingsError),
        (401, {"error": "deleted_client"}, SettingsError),
        (400, {"error": "redirect_uri_mismatch"}, SettingsError),
        (401, {"error": "unauthorized_client"}, SettingsError),
        (500, {"error": "internal_failure"}, Temporary),
        (503, "<html>no</html>", Temporary),
        (429, {"error": "rate_limit_exceeded"}, Temporary),
        (302, "", SettingsError),
        (200, "<html>sign in</html>", UnexpectedAnswer),
        (200, "[]", UnexpectedAnswer),
        (400, '{"error": {"code": 400}}', UnexpectedAnswer),
        (404, "", UnexpectedAnswer),
        (200, "[" * 100_000, UnexpectedAnswer),
    ],
    ids=range(14),
)
def test_every_other_answer_is_named_by_who_can_mend_it(
    status: int, body: object, kind: type[FetchError]
) -> None:
    with pytest.raises(FetchError) as caught:
        parse_tokens(answer(status, body))
    assert type(caught.value) is kind
    assert caught.value.mend


def test_the_exchange_sends_its_secrets_in_the_body_alone() -> None:
    with responses.RequestsMock() as mock:
        mock.post(CLIENT.token_uri, json=TOKENS)
        assert exchange_code(CODE, CONSENT, CLIENT, make_http()) == TOKENS["refresh_token"]
        [call] = mock.calls
    assert call.request.url == CLIENT.token_uri
    assert parse_qs(str(call.request.body)) == {
        "grant_type": ["authorization_code"],
        "code": [CODE],
        "code_verifier": ["sentinel-verifier"],
        "redirect_uri": [NOWHERE],
        "client_id": ["client-id"],
        "client_secret": ["sentinel-client-secret"],
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 503},
        {"body": requests.ReadTimeout()},
        {"body": requests.ConnectionError(ConnectionResetError())},
    ],
    ids=["server error", "time-out", "broken"],
)
def test_a_code_is_sent_once(answer: dict[str, Any]) -> None:
    """The first request may have used it up."""
    with responses.RequestsMock() as mock:
        mock.post(CLIENT.token_uri, **answer)
        with pytest.raises(Temporary) as caught:
            exchange_code(CODE, CONSENT, CLIENT, make_http(attempts=4))
        assert len(mock.calls) == 1
    assert caught.value.mend == "run connect-gsc again; nothing was stored"


def test_a_code_that_could_not_be_sent_is_sent_again() -> None:
    with responses.RequestsMock() as mock:
        mock.post(CLIENT.token_uri, body=requests.ConnectionError(ConnectionRefusedError()))
        mock.post(CLIENT.token_uri, json=TOKENS)
        assert exchange_code(CODE, CONSENT, CLIENT, make_http()) == TOKENS["refresh_token"]


def read(text: str) -> str:
    return read_pasted(text, CONSENT)


@pytest.mark.parametrize("before", [0, 1, 2])
def test_what_cannot_be_used_may_be_pasted_again(before: int) -> None:
    source = io.StringIO("rubbish\n" * before + GOOD + "\n")
    assert paste_answer(CONSENT.url, read, source) == CODE


def undecodable() -> TextIO:
    return io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (lambda: None, "nothing was pasted"),
        (lambda: io.StringIO(""), "nothing was pasted"),
        (lambda: io.StringIO("\n"), "nothing was pasted"),
        (lambda: io.StringIO("rubbish\n"), "neither the address"),
        (lambda: io.StringIO("rubbish\n" * 9 + GOOD), "neither the address"),
        (undecodable, "neither the address"),
    ],
    ids=range(6),
)
def test_pasting_ends_after_three_lines_or_with_the_input(
    source: Callable[[], TextIO | None], said: str
) -> None:
    with pytest.raises(NotTheAnswer, match=said):
        paste_answer(CONSENT.url, read, source())


def test_a_refusal_is_not_asked_for_again() -> None:
    refused = address(state="the-state", error="access_denied")
    with pytest.raises(AccessDenied):
        paste_answer(CONSENT.url, read, io.StringIO(f"{refused}\n{GOOD}\n"))
