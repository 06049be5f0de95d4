"""The one way to talk HTTP: time-outs, tries, how many at once, and what a broken answer means."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from fetchers.errors import (
    AnswerTooLarge,
    BrokenOff,
    FetchError,
    Overloaded,
    SettingsError,
    Temporary,
    UnexpectedAnswer,
    interrupted,
)
from logs import excerpt
from retrying import call_with_retries
from stopping import Stop

T = TypeVar("T")

log = logging.getLogger("aggregator.http")

CHUNK_BYTES = 64 * 1024
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
NO_CONNECTION = (urllib3.exceptions.NewConnectionError, socket.gaierror, ConnectionRefusedError)
NO_TLS = re.compile("wrong.version.number|record.layer.failure", re.IGNORECASE)
UNREACHABLE = (
    "correct the address in .env if it never worked; else the next nightly run tries again"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read to its end. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()


class Http:
    """Shared by all fetchers of one run, so that its limits hold over all sources together.

    concurrency: requests in flight at once; attempts: tries of a request that can be retried.
    """

    def __init__(
        self, *, timeout_seconds: float, attempts: int, concurrency: int, stop: Stop
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.attempts = attempts
        self.concurrency = concurrency
        self.stop = stop
        self._slots = threading.BoundedSemaphore(concurrency)
        self._local = threading.local()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the places for a request in flight.

        Raises:
            Interrupted: when the run must stop; nothing new is asked then.
        """
        with self._slots:
            if self.stop.is_set():
                raise interrupted(self.stop)
            yield

    def retrying(
        self, attempt: Callable[[], T], retryable: Callable[[FetchError], bool] | None = None
    ) -> T:
        """Call `attempt` until it answers, fails for good, or tries or time run out.

        Raises:
            FetchError: the last one seen.
        """
        decide = retryable or is_retryable
        return call_with_retries(
            attempt,
            retryable=lambda error: isinstance(error, FetchError) and decide(error),
            attempts=self.attempts,
            stop=self.stop,
        )

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        largest_bytes: int = LARGEST_ANSWER_BYTES,
    ) -> Answer:
        """Send one request, once, following no redirect; `data` is a form, or the body itself.

        Secrets belong in `data`, never in `params`.

        Raises:
            Temporary: no connection, or it broke. Overloaded: no whole answer within the time-out.
            AnswerTooLarge: it is longer than that. SettingsError: the server's certificate does
            not hold.
        """
        host = urlsplit(url).netloc
        with self.slot():
            budget = min(self.timeout_seconds, self.stop.remaining_seconds())
            if budget <= 0:
                raise interrupted(self.stop)
            began = time.monotonic()
            asked = requests.Request(method, url, headers, params=params, data=data)
            try:
                answer = self._read(asked, budget, largest_bytes)
                seconds = time.monotonic() - began
                shown = f"{method} {url} {dict(params or {})}"
                log.debug("%s: %d, %.2f s", shown, answer.status, seconds)
                return answer
            except requests.exceptions.SSLError as error:
                if NO_TLS.search(str(error)):
                    raise SettingsError(
                        f"{host} does not speak TLS",
                        mend="correct the port, or begin the address with http:// if that is meant",
                    ) from None
                raise SettingsError(
                    f"{host}: its TLS certificate cannot be verified",
                    mend="renew the server's certificate, or correct the address",
                ) from None
            except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
                if self.stop.is_set():  # it was the run that had no more time
                    raise interrupted(self.stop) from None
                raise Overloaded(f"{host}: no answer within {budget:.0f} s") from None
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                if not any(isinstance(e, NO_CONNECTION) for e in causes(error)):
                    raise BrokenOff(f"{host}: {network_reason(error)}") from None
                raise Temporary(f"{host}: {network_reason(error)}", mend=UNREACHABLE) from None
            except OSError as error:  # a file of certificates that is not there, for one
                raise SettingsError(
                    f"{host}: {excerpt(str(error))}", mend="correct what it names"
                ) from None

    def _read(self, request: requests.Request, budget: float, largest_bytes: int) -> Answer:
        ends_at = time.monotonic() + budget
        with self._session().request(
            request.method,
            request.url,
            params=request.params,
            data=request.data,
            headers=request.headers,
            timeout=budget,
            allow_redirects=False,
            stream=True,
        ) as response:
            body = bytearray()
            # requests' time-out is per read, and its iter_content waits for whole chunks: a server
            # that drips would be waited for for ever.
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                body += chunk
                if time.monotonic() > ends_at:
                    raise TimeoutError
                if len(body) > largest_bytes:
                    host = urlsplit(request.url).netloc
                    raise AnswerTooLarge(f"{host}: an answer without end")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, headers, bytes(body))

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = _Session()
        session: requests.Session = self._local.session
        return session


class _Session(requests.Session):
    """requests reads a redirect's whole body, and parses where it points, even if it follows none:
    past our limits of time and size, and with errors of its own over a broken address."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def is_retryable(error: FetchError) -> bool:
    """Whether the same request may be sent again. Everything we send is idempotent.

    A refused credential never is: 21 refused logins lock the address out of Matomo for an hour
    (facts/matomo.md C).
    """
    return isinstance(error, Temporary | UnexpectedAnswer) and error.retry


def parse_retry_after(text: str | None) -> float | None:
    """Seconds from a Retry-After header; None without one, or where it holds a date."""
    digits = re.fullmatch(r"\s*([0-9]+)\s*", text or "", re.ASCII)
    return float(digits[1]) if digits else None


def network_reason(error: BaseException) -> str:
    """Why a connection failed, in a few words: library messages quote whole URLs."""
    found = causes(error)
    for cause in found:
        if isinstance(cause, socket.gaierror):
            return "the host name was not found"
        if isinstance(cause, OSError) and cause.strerror and cause.errno:
            return f"no connection ({cause.strerror.lower()})"
    return f"the connection broke ({type(found[-1]).__name__})"


def causes(error: BaseException) -> list[BaseException]:
    """An error and everything it wraps, in whatever way the libraries wrapped it."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        item = queue.pop(0)
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            inner = (getattr(item, "reason", None), item.__cause__, item.__context__)
            queue += [*item.args, *inner]
    return found
