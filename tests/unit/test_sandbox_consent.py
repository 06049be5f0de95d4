"""The sandbox's consent page and its codes: as strict as Google's."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from sandbox import Fault, Sandbox, World
from sandbox.consent import CONSENT_PATH, SCOPE, challenge_of
from sandbox.world import CLIENT_ID, CLIENT_SECRET

VERIFIER = "a-verifier-of-at-least-forty-three-characters-"
REDIRECT = "http://127.0.0.1:4711/"
ASKED = {
    "client_id": CLIENT_ID,
    "redirect_uri": REDIRECT,
    "response_type": "code",
    "scope": SCOPE,
    "state": "the-state",
    "access_type": "offline",
    "prompt": "consent",
    "code_challenge": challenge_of(VERIFIER),
    "code_challenge_method": "S256",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(World(sites=4, accounts=2)) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


def send(sandbox: Sandbox, method: str, path: str, body: str = "") -> tuple[int, str, bytes]:
    """Status, Location and body."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    connection.request(method, path, body, FORM)
    answer = connection.getresponse()
    body_read = answer.read()
    connection.close()
    return answer.status, answer.headers.get("Location", ""), body_read


def consent(sandbox: Sandbox, **changed: str) -> dict[str, str]:
    """The query that the browser is sent back with."""
    status, location, _ = send(sandbox, "GET", f"{CONSENT_PATH}?{urlencode(ASKED | changed)}")
    assert status == 302
    assert location.startswith(f"{REDIRECT}?")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def exchange(sandbox: Sandbox, code: str, /, **changed: str) -> tuple[int, Any]:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": VERIFIER,
        "redirect_uri": REDIRECT,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    status, _, body = send(sandbox, "POST", "/token", urlencode(form | changed))
    return status, json.loads(body)


def test_a_code_is_worth_a_refresh_token_of_its_account(sandbox: Sandbox) -> None:
    back = consent(sandbox, authuser="2")
    assert (back["state"], back["scope"]) == ("the-state", SCOPE)
    status, tokens = exchange(sandbox, back["code"])
    assert status == 200
    assert (tokens["scope"], tokens["token_type"]) == (SCOPE, "Bearer")
    form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "refresh_token"}
    form["refresh_token"] = tokens["refresh_token"]
    assert send(sandbox, "POST", "/token", urlencode(form))[0] == 200
    assert [request.account for request in sandbox.requests()] == [2, 2, 2]


def test_each_consent_has_a_refresh_token_of_its_own(sandbox: Sandbox) -> None:
    codes = [consent(sandbox)["code"] for _ in range(2)]
    assert len({exchange(sandbox, code)[1]["refresh_token"] for code in codes}) == 2


def test_a_code_works_once(sandbox: Sandbox) -> None:
    code = consent(sandbox)["code"]
    exchange(sandbox, code)
    assert exchange(sandbox, code) == (
        400,
        {"error": "invalid_grant", "error_description": "Malformed auth code."},
    )


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("code_verifier", "another", "invalid_grant"),
        ("redirect_uri", "http://127.0.0.1:4712/", "redirect_uri_mismatch"),
        ("client_secret", "another", "invalid_client"),
        ("code", "4/0Aanother", "invalid_grant"),
    ],
)
def test_an_exchange_that_does_not_fit_is_refused(
    field: str, value: str, error: str, sandbox: Sandbox
) -> None:
    status, answer = exchange(sandbox, consent(sandbox)["code"], **{field: value})
    assert status in (400, 401)
    assert answer["error"] == error


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("client_id", "another", "invalid_client"),
        ("redirect_uri", "http://127.0.0.1.evil.test:80/", "redirect_uri_mismatch"),
        ("redirect_uri", "urn:ietf:wg:oauth:2.0:oob", "redirect_uri_mismatch"),
        ("response_type", "token", "invalid_request"),
        ("state", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("scope", f"{SCOPE} openid", "invalid_scope"),
        ("authuser", "3", "invalid_request"),
    ],
)
def test_a_wrong_request_is_a_page_that_sends_nobody_back(
    field: str, value: str, name: str, sandbox: Sandbox
) -> None:
    asked = urlencode(ASKED | {field: value})
    status, location, page = send(sandbox, "GET", f"{CONSENT_PATH}?{asked}")
    assert (status, location) == (400, "")
    assert f"Error 400: {name}".encode() in page


def test_without_offline_and_prompt_there_is_no_refresh_token(sandbox: Sandbox) -> None:
    for changed in ({"access_type": "online"}, {"prompt": "none"}):
        assert "refresh_token" not in exchange(sandbox, consent(sandbox, **changed)["code"])[1]


def test_what_a_person_may_do(sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault("consent", "access_denied")])
    assert consent(sandbox) == {"error": "access_denied", "state": "the-state"}
    sandbox.faults.replace([Fault("consent", "scope_unticked")])
    assert SCOPE not in exchange(sandbox, consent(sandbox)["code"])[1]["scope"]
    sandbox.faults.replace([Fault("consent", "no_refresh_token")])
    assert "refresh_token" not in exchange(sandbox, consent(sandbox)["code"])[1]
