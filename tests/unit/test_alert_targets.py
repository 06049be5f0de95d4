"""What a health check and a webhook are sent, and what their answers mean."""

from __future__ import annotations

import json

import pytest
import requests
import responses

from fetchers.alert_targets import MESSAGE_CHARACTERS, ping, send_message
from fetchers.errors import FetchError, SettingsError, Temporary

CHECK = "https://check.test/ping/secret-uuid"
HOOK = "https://hooks.test/services/T/B/secret"


def sent() -> tuple[str, str]:
    (call,) = responses.calls
    body = call.request.body
    assert isinstance(body, bytes)
    return str(call.request.url), body.decode()


@responses.activate
@pytest.mark.parametrize(
    ("url", "what", "asked"),
    [
        (CHECK, "start", f"{CHECK}/start"),
        (CHECK, "success", CHECK),
        (CHECK, "fail", f"{CHECK}/fail"),
        (f"{CHECK}/", "fail", f"{CHECK}/fail"),
        (f"{CHECK}?create=1", "fail", f"{CHECK}/fail?create=1"),
    ],
)
def test_a_ping_goes_to_the_address_of_what_happened(url: str, what: str, asked: str) -> None:
    responses.post(asked, body="OK")
    ping(url, what, "söme lines")  # type: ignore[arg-type]
    assert sent() == (asked, "söme lines")


@responses.activate
def test_a_message_is_one_json_object_with_a_text() -> None:
    responses.post(HOOK, body="ok")
    send_message(HOOK, "a\nb")
    assert json.loads(sent()[1]) == {"text": "a\nb"}


@responses.activate
def test_a_name_cannot_call_a_channel() -> None:
    responses.post(HOOK, body="ok")
    send_message(HOOK, "<!channel> & -> x")
    assert json.loads(sent()[1])["text"] == "&lt;!channel&gt; &amp; -&gt; x"


@responses.activate
def test_a_message_without_end_is_cut() -> None:
    responses.post(HOOK, body="ok")
    send_message(HOOK, "x" * 100_000)
    assert len(json.loads(sent()[1])["text"]) == MESSAGE_CHARACTERS + 2


@responses.activate
@pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 410])
def test_an_address_that_is_no_longer_good_is_a_matter_of_settings(status: int) -> None:
    responses.post(HOOK, status=status, headers={"Location": "https://elsewhere.test/"})
    with pytest.raises(SettingsError) as caught:
        send_message(HOOK, "x")
    assert f"hooks.test: HTTP {status}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(responses.calls) == 1, "no redirect is followed"


@responses.activate
def test_a_deleted_check_answers_200_and_is_found_out() -> None:
    responses.post(CHECK, body="OK (not found)")
    with pytest.raises(SettingsError):
        ping(CHECK, "success", "")


@responses.activate
@pytest.mark.parametrize(
    "broken",
    [requests.ConnectionError("gone"), requests.Timeout("late"), requests.exceptions.SSLError("x")],
)
def test_no_answer_is_a_named_failure_without_the_address(broken: Exception) -> None:
    responses.post(CHECK, body=broken)
    with pytest.raises(FetchError) as caught:
        ping(CHECK, "success", "")
    assert "secret" not in f"{caught.value} {caught.value.mend}"


@responses.activate
@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_overloaded_target_is_temporary(status: int) -> None:
    responses.post(CHECK, status=status)
    with pytest.raises(Temporary):
        ping(CHECK, "success", "")
