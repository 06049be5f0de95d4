"""Who hears of a run: a health check that is pinged, and a webhook that gets one JSON message.

Whoever knows these addresses may write to them: only their host is ever printed.
"""

from __future__ import annotations

import json
import socket
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from fetchers.errors import SettingsError, Temporary
from fetchers.http import Answer, Http, network_reason
from logs import redact
from stopping import Stop, Stopped
from workers import interruptible

TIMEOUT_SECONDS = 10.0
PING_CHARACTERS = 30_000
"""Health checks keep 100 kB of a body; a character is four bytes at most, less is read anyway."""

MESSAGE_CHARACTERS = 3_500
"""Slack shows about 4,000 characters of a message well."""

Ping = Literal["start", "success", "fail"]


def ping(url: str, what: Ping, body: str) -> None:
    """Tell a health check that a run starts (/start), succeeded (bare) or failed (/fail).

    Raises:
        SettingsError: the check is gone. Temporary: it did not answer.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + ("" if what == "success" else f"/{what}")
    answer = _send(parts._replace(path=path).geturl(), "text/plain", body[:PING_CHARACTERS])
    # healthchecks answers 200 "OK (not found)" for a check that was deleted.
    _check(url, answer, gone=answer.status in (404, 410) or b"(not found)" in answer.body)


def send_message(url: str, text: str) -> None:
    """Post {"text": …}, as Slack and those who imitate it take it.

    Raises:
        SettingsError: the webhook is gone or refuses. Temporary: it did not answer.
    """
    shown = text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + " …"
    # Slack's own rule: these three, else a site's name could call a whole channel (<!channel>).
    for character, spelled in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        shown = shown.replace(character, spelled)
    answer = _send(url, "application/json", json.dumps({"text": shown}))
    _check(url, answer, gone=answer.status in (400, 401, 403, 404, 405, 410))


def check_reachable(url: str) -> None:
    """Whether somebody listens at the address. Nothing is sent: a GET would count as a ping.

    Raises:
        SettingsError: nobody does.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connect = partial(socket.create_connection, (parts.hostname, port), TIMEOUT_SECONDS)
        interruptible(connect, Stop(TIMEOUT_SECONDS)).close()
    except (OSError, Stopped) as error:
        why = "no answer" if isinstance(error, Stopped) else network_reason(error)
        raise SettingsError(f"{parts.hostname}: {why}", mend="correct the address") from None


def _send(url: str, content_type: str, body: str) -> Answer:
    """One request with a limit of its own, name look-up included: a run that stops tells so too."""
    http = Http(timeout_seconds=TIMEOUT_SECONDS, attempts=1, concurrency=1, stop=Stop())
    headers = {"Content-Type": f"{content_type}; charset=utf-8"}
    data = body.encode(errors="replace")
    # What is sent is another spelling of the address than the one that was set.
    parts = urlsplit(url)
    redact.add([url, parts._replace(scheme="", netloc="").geturl().lstrip("/")])
    try:
        return interruptible(
            lambda: http.request("POST", url, data=data, headers=headers), Stop(TIMEOUT_SECONDS + 1)
        )
    except Stopped:
        host, seconds = urlsplit(url).hostname, TIMEOUT_SECONDS
        raise Temporary(f"{host}: no answer within {seconds:.0f} s") from None


def _check(url: str, answer: Answer, *, gone: bool) -> None:
    host = urlsplit(url).hostname
    if gone or 300 <= answer.status < 400:
        raise SettingsError(
            f"{host}: HTTP {answer.status}, the address is no longer good",
            mend="make a new one there and set it",
        )
    if answer.status >= 400:
        raise Temporary(f"{host}: HTTP {answer.status}")
