"""The requests of one Google account: limited, tried again, and every error has a kind."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import httplib2
import pytest

from fetchers.errors import (
    AccessDenied,
    FetchError,
    Interrupted,
    Overloaded,
    SettingsError,
    Temporary,
    UnexpectedAnswer,
)
from stopping import Stop
from tests.unit.google import (
    Call,
    FakeGoogle,
    OfflineClient,
    Reply,
    error_body,
)
from tests.unit.helpers import InstantStop, make_http

REFUSED: Reply = (401, error_body("Invalid Credentials", "authError", code=401))
FINE: Reply = (200, {"siteEntry": []})
HTML: Reply = (200, "<html>login</html>")


@pytest.mark.parametrize(
    "page",
    [
        HTML,
        (200, "<html>caf\u00e9</html>".encode("latin-1")),
        (200, ""),
        (200, []),
        (200, "null"),
        (200, '"text"'),
    ],
    ids=repr,
)
def test_a_page_in_place_of_json_is_tried_again(page: Reply) -> None:
    google = FakeGoogle([page, page, FINE])
    assert OfflineClient(google).list_sites() == {"siteEntry": []}
    assert len(google.api_calls) == 3
    with pytest.raises(UnexpectedAnswer, match="no JSON object"):
        OfflineClient(FakeGoogle([page])).list_sites()


CERTIFICATE = ssl.SSLCertVerificationError(
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
)


@pytest.mark.parametrize(
    ("reply", "kind", "requests"),
    [
        ((500, "x"), Temporary, 4),
        ((503, error_body("Backend Error", "backendError")), Temporary, 4),
        ((429, error_body("Rate Limit Exceeded", "rateLimitExceeded")), Temporary, 4),
        ((403, error_body("QPS quota exceeded", "quotaExceeded")), Temporary, 4),
        ((403, error_body("load quota exceeded", "quotaExceeded")), Temporary, 1),
        ((403, error_body("off", "accessNotConfigured")), AccessDenied, 1),
        ((400, error_body("bad", "badRequest")), UnexpectedAnswer, 1),
        ((302, ""), SettingsError, 1),
        (TimeoutError("timed out"), Overloaded, 4),
        (ConnectionResetError(104, "Connection reset by peer"), Temporary, 4),
        (socket.gaierror(-2, "Name or service not known"), Temporary, 4),
        (httplib2.ServerNotFoundError("https://api.test/?x"), Temporary, 4),
        (http.client.RemoteDisconnected("Remote end closed connection"), Temporary, 4),
        (http.client.IncompleteRead(b"half"), Temporary, 4),
        (CERTIFICATE, SettingsError, 1),
    ],
    ids=repr,
)
def test_each_failure_has_its_kind_and_number_of_tries(
    reply: Reply, kind: type[FetchError], requests: int
) -> None:
    google = FakeGoogle([reply])
    client = OfflineClient(google)
    client.authorize()
    with pytest.raises(FetchError) as caught:
        client.list_sites()
    assert type(caught.value) is kind
    assert len(google.api_calls) == requests
    assert caught.value.message.startswith("Search Console: ")
    assert "api.test" not in caught.value.message


def test_a_message_that_is_no_text_is_a_failure_and_no_bug() -> None:
    """googleapiclient itself stumbles over it."""
    client = OfflineClient(FakeGoogle([(403, {"error": {"message": {"a": 1}}})]))
    with pytest.raises(FetchError):
        client.list_sites()


def test_the_rate_limit_holds_the_next_request_back_until_the_run_must_stop() -> None:
    class Impatient(Stop):
        polls = 0

        def sleep(self, _seconds: float) -> None:
            self.polls += 1
            if self.polls == 5:
                self.request(signal.SIGTERM)

    google, stop = FakeGoogle([FINE]), Impatient()
    client = OfflineClient(google, make_http(stop), requests_per_minute=3)
    for _ in range(3):
        client.list_sites()
    with pytest.raises(Interrupted):
        client.list_sites()
    assert (len(google.api_calls), stop.polls) == (3, 5)


def test_tries_count_against_the_rate_limit_too() -> None:
    google, stop = FakeGoogle([(503, "")]), InstantStop(0.5)
    client = OfflineClient(google, make_http(stop, attempts=20), requests_per_minute=2)
    with pytest.raises(FetchError):
        client.list_sites()
    assert len(google.api_calls) <= 2


def test_requests_in_flight_stay_within_the_limit_of_the_run() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def api(_call: Call) -> Reply:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.005)
        with lock:
            running -= 1
        return FINE

    client = OfflineClient(FakeGoogle(api), make_http(concurrency=3))
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: client.list_sites(), range(24)))
    assert most == 3


def test_a_stopped_run_asks_nothing_more() -> None:
    google, stop = FakeGoogle([FINE]), Stop()
    client = OfflineClient(google, make_http(stop))
    stop.request(signal.SIGINT)
    with pytest.raises(Interrupted):
        client.list_sites()
    assert (google.api_calls, google.token_calls) == ([], [])
