"""The port that a browser on this machine brings Google's answer to."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from fetchers.errors import AccessDenied, Temporary
from fetchers.google_consent import Consent, read_answer
from fetchers.loopback import Loopback

CODE = "4/0Asentinel-code"


def ask(consent: Consent, target: str) -> tuple[int, str]:
    address = urlsplit(consent.redirect_uri)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    connection.request("GET", target)
    answer = connection.getresponse()
    return answer.status, f"{answer.headers}{answer.read().decode()}"


def wait(loopback: Loopback, consent: Consent, *targets: str, seconds: float = 10.0) -> str:
    """What is found while a browser asks for these targets, one after the other."""

    def browse() -> None:
        for target in targets:
            with suppress(OSError, http.client.HTTPException):
                ask(consent, target)

    browser = threading.Thread(target=browse)
    try:
        return loopback.wait(lambda target: read_answer(target, consent), seconds, browser.start)
    finally:
        browser.join()


def consent_of(loopback: Loopback) -> Consent:
    return Consent("https://accounts.google.com/", "the-state", loopback.redirect_uri, "verifier")


def test_it_listens_on_this_machine_alone() -> None:
    with Loopback() as loopback:
        assert urlsplit(loopback.redirect_uri).hostname == "127.0.0.1"
        assert urlsplit(loopback.redirect_uri).port


def test_requests_that_are_not_the_answer_are_let_pass() -> None:
    with Loopback() as loopback:
        consent = consent_of(loopback)
        found = wait(
            loopback,
            consent,
            "/favicon.ico",
            "/4/0Asentinel-code-in-a-path",
            "/?code=4/0Astolen&state=another",
            "/?code=4/0Astolen",
            "/?error=access_denied&state=another",
            f"/?state=the-state&code={CODE}&scope=x",
        )
    assert found == CODE


def test_a_refusal_ends_the_waiting() -> None:
    with Loopback() as loopback, pytest.raises(AccessDenied):
        wait(loopback, consent_of(loopback), "/?error=access_denied&state=the-state")


def test_nothing_within_the_time_limit_is_said_so() -> None:
    began = time.monotonic()
    with Loopback() as loopback, pytest.raises(Temporary) as caught:
        wait(loopback, consent_of(loopback), seconds=0.3)
    assert "no answer came from the browser" in caught.value.message
    assert "run connect-gsc again" in caught.value.mend
    assert time.monotonic() - began < 5


def test_a_connection_without_a_request_holds_nothing_up() -> None:
    """Browsers open some in advance."""
    with Loopback() as loopback:
        consent = consent_of(loopback)
        address = urlsplit(loopback.redirect_uri)
        with socket.create_connection((address.hostname, address.port)):
            assert wait(loopback, consent, f"/?state=the-state&code={CODE}") == CODE


def test_the_page_repeats_nothing_and_keeps_its_address_to_itself() -> None:
    pages: list[tuple[int, str]] = []
    with Loopback() as loopback:
        consent = consent_of(loopback)
        target = f"/?state=the-state&code={CODE}"
        browser = threading.Thread(target=lambda: pages.append(ask(consent, target)))
        loopback.wait(lambda text: read_answer(text, consent), 10, browser.start)
        browser.join()
    [(status, page)] = pages
    assert status == 200
    assert "Close this page" in page
    assert CODE not in page
    assert "Referrer-Policy: no-referrer" in page


def test_the_port_is_free_again_afterwards() -> None:
    with Loopback() as loopback:
        consent = consent_of(loopback)
        wait(loopback, consent, f"/?state=the-state&code={CODE}")
    with pytest.raises(OSError, match="refused"):
        ask(consent, "/")
