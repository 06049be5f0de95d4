"""One way to talk HTTP: what a broken connection is called, and how many requests at once."""

from __future__ import annotations

import errno
import gzip
import io
import json
import signal
import socket
import ssl
import threading
import time
from urllib.parse import parse_qs

import pytest
import requests
import responses
import urllib3.exceptions

from fetchers.errors import (
    BrokenOff,
    FetchError,
    Interrupted,
    Overloaded,
    SettingsError,
    Temporary,
)
from fetchers.http import Answer, Http, network_reason
from stopping import Stop
from tests.unit.helpers import InstantStop, make_http

URL = "https://api.test/index.php"


@responses.activate
def test_parameters_go_into_the_url_and_the_secret_only_into_the_body() -> None:
    responses.post(URL, json=[1])
    answer = _post()
    [call] = responses.calls
    assert call.request.url == f"{URL}?module=API"
    assert parse_qs(str(call.request.body)) == {"token_auth": ["sentinel"]}
    assert answer == Answer(200, answer.headers, b"[1]")
    assert answer.content_type == "application/json"


@responses.activate
def test_a_redirect_is_not_followed() -> None:
    responses.post(URL, status=302, headers={"Location": "https://elsewhere.test/"})
    answer = _post()
    assert (answer.status, answer.headers["location"]) == (302, "https://elsewhere.test/")
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ("application/json; charset=utf-8", "application/json"),
        ("TEXT/HTML", "text/html"),
        ("application/json", "application/json"),
    ],
)
def test_the_content_type_is_compared_without_its_parameters(text: str, content_type: str) -> None:
    responses.post(URL, body=b"", content_type=text)
    assert _post().content_type == content_type


@responses.activate
def test_a_compressed_answer_is_unpacked() -> None:
    text = json.dumps({str(n): n for n in range(50_000)}).encode()
    responses.post(URL, body=gzip.compress(text), headers={"Content-Encoding": "gzip"})
    assert _post().body == text


BROKEN: list[tuple[Exception, type[FetchError]]] = [
    (requests.ConnectionError(ConnectionRefusedError(111, "Connection refused")), Temporary),
    (requests.ConnectionError(socket.gaierror(-2, "unknown")), Temporary),
    (requests.ConnectionError(f"Max retries exceeded with url: {URL}?secret"), BrokenOff),
    (requests.exceptions.ProxyError("https://user:sentinel@proxy.test"), BrokenOff),
    (requests.exceptions.ChunkedEncodingError("cut"), BrokenOff),
    (requests.exceptions.ContentDecodingError("gzip"), BrokenOff),
    (requests.exceptions.InvalidURL(URL), BrokenOff),
    (
        urllib3.exceptions.ProtocolError("cut", ConnectionResetError(errno.ECONNRESET, "Reset")),
        BrokenOff,
    ),
    (requests.ConnectTimeout(URL), Overloaded),
    (requests.ReadTimeout(URL), Overloaded),
    (urllib3.exceptions.ReadTimeoutError(None, URL, "read"), Overloaded),  # type: ignore[arg-type]
    (TimeoutError(URL), Overloaded),
    (requests.exceptions.SSLError(ssl.SSLCertVerificationError(URL)), SettingsError),
]


@responses.activate
@pytest.mark.parametrize(
    ("broken", "kind"), BROKEN, ids=lambda x: getattr(x, "__name__", type(x).__name__)
)
def test_a_broken_connection_has_a_kind_and_a_message_without_url_and_secret(
    broken: Exception, kind: type[FetchError]
) -> None:
    responses.post(URL, body=broken)
    with pytest.raises(FetchError) as caught:
        _post()
    assert type(caught.value) is kind
    said = f"{caught.value} {caught.value.mend}"
    assert "api.test" in said
    assert not [
        hidden for hidden in ("index.php", "sentinel", "secret", "module") if hidden in said
    ]
    assert caught.value.__suppress_context__


@responses.activate
@pytest.mark.parametrize("announced", [11, 1_000_000])
def test_a_body_that_ends_too_early_is_no_answer(announced: int) -> None:
    responses.post(URL, body=b'{"1": 15,', headers={"Content-Length": str(announced)})
    with pytest.raises(Temporary, match="broke"):
        _post()


class Drip(io.BufferedReader):
    """A server that sends a byte now and then, for ever."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())

    def read1(self, _size: int = -1) -> bytes:
        time.sleep(0.02)
        return b" "


@responses.activate
def test_an_answer_that_drips_is_given_up_at_the_time_out() -> None:
    responses.post(URL, body=Drip())
    began = time.monotonic()
    with pytest.raises(Overloaded, match="no answer within"):
        _post(make_http(timeout_seconds=0.1))
    assert time.monotonic() - began < 2


@responses.activate
def test_nothing_is_asked_once_the_run_must_stop() -> None:
    responses.post(URL, json=[])
    stop = Stop()
    stop.request(signal.SIGINT)
    with pytest.raises(Interrupted, match="SIGINT"):
        _post(make_http(stop))
    assert len(responses.calls) == 0


class StopsInBetween(Stop):
    """The signal comes after the run was asked whether to stop, and before the request is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = [1.0, 0.0]

    def remaining_seconds(self) -> float:
        return self.answers.pop(0) if self.answers else 0.0


@responses.activate
def test_a_stop_just_before_a_request_is_an_interruption_and_no_bug() -> None:
    # requests refuses a time-out of 0 with a ValueError, which would be a traceback.
    responses.post(URL, json=[])
    with pytest.raises(Interrupted):
        _post(make_http(StopsInBetween()))
    assert len(responses.calls) == 0


def test_no_more_slots_are_taken_than_there_are() -> None:
    http, lock = make_http(concurrency=3), threading.Lock()
    in_flight, most = 0, 0

    def take() -> None:
        nonlocal in_flight, most
        with http.slot():
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            time.sleep(0.01)
            with lock:
                in_flight -= 1

    threads = [threading.Thread(target=take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, in_flight) == (3, 0)


def test_a_slot_is_given_back_after_a_failure() -> None:
    http = make_http(InstantStop(), concurrency=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), http.slot():
            raise ValueError("x")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ECONNREFUSED, "Connection refused"), "no connection (connection refused)"),
        (socket.gaierror(-2, "Name or service not known"), "the host name was not found"),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("x", OSError(104, "Reset"))),
            "no connection (reset)",
        ),
        (requests.ConnectionError(URL), "the connection broke (ConnectionError)"),
    ],
)
def test_the_reason_of_a_broken_connection_is_found_inside_it(error: Exception, said: str) -> None:
    assert network_reason(error) == said


def _post(http: Http | None = None) -> Answer:
    http = http or make_http()
    return http.request("POST", URL, params={"module": "API"}, data={"token_auth": "sentinel"})
