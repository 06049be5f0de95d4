"""One Google account: its access token, its rate limit, and how its requests are sent."""

from __future__ import annotations

import http.client
import logging
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import google.auth.exceptions
import google_auth_httplib2
import httplib2
from google.auth.transport import Request
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from pyrate_limiter import Duration, InMemoryBucket, Limiter, Rate, SingleBucketFactory

from fetchers.errors import (
    CredentialsError,
    FetchError,
    Overloaded,
    SettingsError,
    Temporary,
    UnexpectedAnswer,
    interrupted,
)
from fetchers.google_errors import AccessTokenRefused, api_error, token_error
from fetchers.http import Http, network_reason
from logs import redact
from watchdog import cut_socket, watchdog

T = TypeVar("T")

log = logging.getLogger("aggregator.google")

RATE_POLL_SECONDS = 0.05
ACCESS_TOKEN = re.compile(r"[\x21-\x7e]+")

BROKEN_BODY = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""What Google's libraries raise over a body that they cannot read. A certificate that cannot be
verified is a ValueError too: OSError goes first."""

# httplib2 would send a request twice within one of our tries, unseen by the rate limit.
httplib2.RETRIES = 1


class SharedCredentials(Credentials):
    """Credentials of one account, used by many threads: only one of them refreshes.

    google-auth takes no lock (shared facts/gsc.md).
    """

    def __init__(self, token: str | None = None, **kwargs: Any) -> None:
        super().__init__(token, **kwargs)  # type: ignore[no-untyped-call]
        self._refreshing = threading.Lock()
        self._refused: google.auth.exceptions.RefreshError | None = None

    def refresh(self, request: Request) -> None:
        with self._refreshing:
            if self.valid:
                return
            if self._refused is not None:  # by another thread: a dead consent is not asked again
                raise self._refused
            try:
                super().refresh(request)  # type: ignore[no-untyped-call]
            except google.auth.exceptions.RefreshError as error:
                if isinstance(token_error(error), CredentialsError | SettingsError):
                    self._refused = error
                raise
            except OSError:
                raise
            except (OverflowError, *BROKEN_BODY):  # it expects JSON of a fixed shape
                self.token = None
            if not isinstance(self.token, str) or not ACCESS_TOKEN.fullmatch(self.token):
                self.token = None
                raise UnexpectedAnswer(
                    "Google's token endpoint: an answer without an access token", retry=True
                )
            redact.add([self.token])

    def drop(self, refused: str | None) -> None:
        """Forget a token that the API refused, unless another thread has replaced it already."""
        with self._refreshing:
            if self.token == refused:
                self.token = None


@dataclass(frozen=True, slots=True)
class GoogleApi:
    """One of Google's APIs: its service as the discovery knows it, and what its errors mean.

    name: as messages call it, where no address is configured.
    """

    name: str
    service: str
    version: str
    sort_error: Callable[[HttpError, str], FetchError]
    sort_token_error: Callable[[google.auth.exceptions.RefreshError], FetchError]


SEARCH_CONSOLE = GoogleApi("Search Console", "searchconsole", "v1", api_error, token_error)


class GoogleClient:
    """Sends requests of one account: `execute(client.service.sites().list())`."""

    def __init__(
        self,
        service: Any,
        credentials: SharedCredentials,
        *,
        requests_per_minute: int,
        http: Http,
        api_host: str,
        api: GoogleApi = SEARCH_CONSOLE,
    ) -> None:
        self.service = service
        self._api = api
        self._credentials = credentials
        self._http = http
        self._api_host = api_host
        self._local = threading.local()
        self._renewed = False
        self.refused: FetchError | None = None
        """Set by whoever learns that the account is refused: who still waits then asks no more."""
        # Without its own cleaning thread: one run's timestamps are a few kilobytes.
        bucket = InMemoryBucket([Rate(requests_per_minute, Duration.MINUTE)])
        self._limiter = Limiter(SingleBucketFactory(bucket, schedule_leak=False))

    def authorize(self) -> None:
        """Get the access token that all requests of this run share.

        Raises:
            CredentialsError: the account's consent is gone. SettingsError: our OAuth client is
                wrong, for every account. Temporary: the token endpoint did not answer.
        """
        token_host = urlsplit(self._credentials.token_uri).netloc
        self._http.retrying(lambda: self._guarded(self._refresh, token_host))

    def execute(self, request: Any) -> dict[str, Any]:
        """Send one googleapiclient request, with tries, and return its JSON object.

        Raises:
            FetchError: as fetchers/google_errors.py sorts it.
        """

        def attempt() -> dict[str, Any]:
            self._wait_for_rate()
            token = self._credentials.token
            try:
                return self._guarded(lambda: self._send(request))
            except AccessTokenRefused:
                if self._credentials.refresh_token is None:
                    raise
                if self._renewed and token == self._credentials.token:
                    raise
            # The token may have been revoked early: one forced refresh an account and run, by
            # whichever thread is first; the others find another token there and send again.
            self._renewed = True
            self._credentials.drop(token)
            self._wait_for_rate()
            return self._guarded(lambda: self._send(request))

        return self._http.retrying(attempt)

    def _send(self, request: Any) -> dict[str, Any]:
        log.debug("%s %s", request.method, request.uri)
        # googleapiclient hands a page of HTML on as text, and trips over bytes that are no UTF-8
        # and over error messages that are no text.
        connection = self._authorized_http()
        try:
            with self._limit(connection.http):
                answer = request.execute(http=connection, num_retries=0)
        except OSError:
            raise
        except BROKEN_BODY:
            answer = None
        if not isinstance(answer, dict):
            raise UnexpectedAnswer(
                f"{self._api_host}: an answer with a body that is no JSON object", retry=True
            )
        return answer

    def _refresh(self) -> None:
        plain = self._plain_http()
        with self._limit(plain):
            self._credentials.refresh(google_auth_httplib2.Request(plain))

    def _limit(self, plain: Any) -> AbstractContextManager[None]:
        """httplib2's time-out is per read: one that drips is cut off here."""

        def cut() -> None:
            for connection in list(plain.connections.values()):
                if connection.sock is not None:
                    cut_socket(connection.sock.fileno())

        return watchdog.limit(2 * self._http.timeout_seconds, cut)

    def _guarded(self, send: Callable[[], T], host: str | None = None) -> T:
        """Send within the run's limit of requests in flight, and name what goes wrong.

        host: who is asked, where it is not the API.
        """
        with self._http.slot():
            try:
                return send()
            except HttpError as error:
                raise self._api.sort_error(error, self._api_host) from None
            except google.auth.exceptions.RefreshError as error:
                raise self._api.sort_token_error(error) from None
            except google.auth.exceptions.TransportError as error:
                raise Temporary(f"Google's token endpoint: {network_reason(error)}") from None
            except TimeoutError:
                seconds = self._http.timeout_seconds
                raise Overloaded(
                    f"{host or self._api_host}: no answer within {seconds:.0f} s"
                ) from None
            except (httplib2.HttpLib2Error, http.client.HTTPException, OSError) as error:
                raise self._connection_error(error, host or self._api_host) from None

    def _connection_error(self, error: Exception, host: str) -> FetchError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return SettingsError(
                f"{host}: its TLS certificate cannot be verified",
                mend="see what stands between this machine and Google, or correct the endpoint",
            )
        return Temporary(f"{host}: {network_reason(error)}")

    def _wait_for_rate(self) -> None:
        while not self._limiter.try_acquire("requests", blocking=False):
            if self._http.stop.is_set():
                raise interrupted(self._http.stop)
            self._http.stop.sleep(RATE_POLL_SECONDS)
        if self.refused is not None:
            raise self.refused

    def _authorized_http(self) -> Any:
        """One connection per thread: httplib2 is not thread-safe. It never refreshes by itself."""
        if not hasattr(self._local, "http"):
            self._local.http = google_auth_httplib2.AuthorizedHttp(
                self._credentials, http=self._plain_http(), refresh_status_codes=()
            )
        return self._local.http

    def _plain_http(self) -> Any:
        plain = httplib2.Http(timeout=self._http.timeout_seconds)
        plain.follow_redirects = False  # a redirect would carry the token along
        return plain


def get_google_client(
    refresh_token: str | None,
    *,
    client_id: str,
    client_secret: str,
    token_uri: str,
    api_endpoint: str | None,
    requests_per_minute: int,
    http: Http,
    api: GoogleApi = SEARCH_CONSOLE,
    access_token: str | None = None,
) -> GoogleClient:
    """Open one account: exchange its refresh token once and build the API's service.

    access_token: of an account without a refresh token; it is used as long as it is accepted.
    No scopes are sent: asking for more than was granted is refused (shared facts/gsc.md, OAuth).

    Raises:
        FetchError: as `GoogleClient.authorize`.
    """
    credentials = SharedCredentials(
        access_token,
        refresh_token=refresh_token,
        token_uri=token_uri,
        client_id=client_id,
        client_secret=client_secret,
    )
    service = build(
        api.service,
        api.version,
        http=httplib2.Http(timeout=http.timeout_seconds),  # replaced per thread at execute()
        static_discovery=True,
        cache_discovery=False,
        client_options={"api_endpoint": api_endpoint} if api_endpoint else None,
    )
    client = GoogleClient(
        service,
        credentials,
        requests_per_minute=requests_per_minute,
        http=http,
        api_host=urlsplit(api_endpoint).netloc if api_endpoint else api.name,
        api=api,
    )
    client.authorize()
    return client
