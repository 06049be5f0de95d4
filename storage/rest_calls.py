"""How Supabase's REST API is asked: paging, tries, and what its errors mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import httpx
from postgrest.exceptions import APIError

from logs import excerpt
from stopping import Stop, Stopped
from storage.errors import (
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    MissingRelation,
    from_sqlstate,
)
from storage.retries import with_retries
from supabase import ClientOptions, create_client
from workers import interruptible

P = ParamSpec("P")
T = TypeVar("T")

PAGE_ROWS = 1000
WHOLE_ROW = "Failing row contains"
CHECK_URL = "SUPABASE_URL must be the project's own URL, https://<project>.supabase.co"
CHECK_CERTIFICATE = (
    "see what stands between this machine and Supabase (a proxy?), or correct SUPABASE_URL"
)
CHECK_KEY = "set SUPABASE_SERVICE_KEY to the project's service key (sb_secret_… or service_role)"


def of_other_rows(read: Callable[P, T]) -> Callable[P, T]:
    """Whatever answers in place of PostgREST may send JSON lists too: of other things."""

    @wraps(read)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DatabaseRefused(
                f"the answer holds no rows of this program's tables ({type(error).__name__})",
                mend=CHECK_URL,
            ) from None

    return guarded


class RestCalls:
    """One project, reached with its service key; what is asked of it is in rest.py."""

    def __init__(self, url: str, key: str, *, attempts: int, timeout_seconds: float) -> None:
        self._host = urlsplit(url).netloc
        self._attempts = attempts
        self._limit_seconds = 2 * timeout_seconds
        # HTTP/2 off: "Server disconnected" on kept connections is supabase-py's top complaint.
        self._http = httpx.Client(http2=False, timeout=timeout_seconds)
        self._client = create_client(
            url, key, ClientOptions(httpx_client=self._http, postgrest_client_retry=False)
        )

    def close(self) -> None:
        self._http.close()

    def _read_by_id(
        self, table: str, columns: str, narrow: Callable[[Any], Any]
    ) -> list[dict[str, Any]]:
        """All rows, page by page in the order of the id, until a page is empty.

        The server cuts every answer at its own cap (1,000 by default) without a word, so neither
        a short page nor the page size says anything.
        """
        rows: list[dict[str, Any]] = []
        while True:
            query = narrow(self._client.table(table).select(columns)).order("id").limit(PAGE_ROWS)
            if rows:
                query = query.gt("id", rows[-1]["id"])
            page = self._rows(query.execute)
            if not page:
                return rows
            if rows and page[-1]["id"] == rows[-1]["id"]:
                raise self._stuck()
            rows += page

    def _stuck(self) -> DatabaseError:
        return DatabaseRefused(
            f"{self._host}: the next page of rows is the last one again",
            mend="see whether a cache stands between this machine and the API",
        )

    def _rows(
        self, execute: Callable[[], Any], attempts: int | None = None
    ) -> list[dict[str, Any]]:
        data = self._send(execute, attempts).data
        if not isinstance(data, list):  # an HTML page with status 200 comes through as text
            raise DatabaseRefused(
                f"{self._host}: the answer is no list of rows",
                mend=CHECK_URL,
            )
        return data

    def _send(self, execute: Callable[[], T], attempts: int | None = None) -> T:
        def attempt() -> T:
            try:
                return interruptible(execute, Stop(self._limit_seconds))
            except Stopped:  # httpx's time-out is per read: a server may drip for ever
                seconds = f"{self._limit_seconds:.0f} s"
                raise DatabaseUnavailable(
                    f"{self._host}: no whole answer within {seconds}"
                ) from None
            except APIError as error:
                raise sort_api_error(error, self._host) from None
            except httpx.HTTPError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise DatabaseRefused(
                        f"{self._host}: its TLS certificate cannot be verified",
                        mend=CHECK_CERTIFICATE,
                    ) from None
                raise DatabaseUnavailable(
                    f"{self._host}: no connection ({type(error).__name__})"
                ) from None
            except (ValueError, RecursionError):  # supabase-py trips over JSON that none can read
                raise DatabaseRefused(
                    f"{self._host}: the answer cannot be read", mend=CHECK_URL
                ) from None

        return with_retries(attempt, attempts or self._attempts)


def sort_api_error(error: APIError, host: str) -> DatabaseError:
    """PostgREST's code is an SQLSTATE, PGRSTnnn, or the HTTP status of an answer without JSON."""
    code, details = str(error.code or ""), str(error.details or "").strip()
    if details.startswith(WHOLE_ROW):  # cut somewhere, perhaps in the middle of a token
        details = ""
    message = f"{error.message or ''} {details}".strip()
    said = f"{host}: {excerpt(message)}"
    if code in ("PGRST202", "PGRST204", "PGRST205", "42P01", "42703"):
        return MissingRelation(f"{said} ({code})")
    if code in ("PGRST301", "PGRST302", "PGRST303", "401", "403") or "api key" in said.lower():
        return DatabaseRefused(f"{said} ({code or 'key refused'})", mend=CHECK_KEY)
    if code in ("PGRST000", "PGRST001", "PGRST002", "PGRST003", "408", "429", ""):
        return DatabaseUnavailable(f"{said} {f'({code})' if code else ''}".strip())
    if code.isdecimal() and len(code) == 3:
        kind = DatabaseUnavailable if int(code) >= 500 else DatabaseRefused
        return kind(f"{host}: HTTP {code} without JSON", mend=CHECK_URL)
    return from_sqlstate(code, message)
