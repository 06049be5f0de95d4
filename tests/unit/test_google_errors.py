"""What Google's errors mean: each row of shared facts/gsc.md, in each style of error object."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    Overloaded,
    QuotaExhausted,
    SettingsError,
    TargetDenied,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.google_errors import AccessTokenRefused, api_error
from fetchers.http import is_retryable
from tests.unit.google import error_body, http_error
from tests.unit.helpers import seldom

HOST = "Search Console"
FORBIDDEN = (
    "User does not have sufficient permission for site 'https://a.test/'. "
    "See also: https://support.google.com/webmasters/answer/2451999."
)

Row = tuple[int, str, str, type[FetchError], bool, str]
"""status, reason, message, kind, sent again, part of the mend"""
TABLE: list[Row] = [
    (403, "quotaExceeded", "Search Analytics QPS quota exceeded.", Temporary, True, "next nightly"),
    (
        403,
        "quotaExceeded",
        "Search Analytics load quota exceeded.",
        Temporary,
        False,
        "next nightly",
    ),
    (
        429,
        "quotaExceeded",
        "Search Analytics Load Quota exceeded.",
        Temporary,
        False,
        "next nightly",
    ),
    (403, "rateLimitExceeded", "Rate Limit Exceeded", Temporary, True, "next nightly"),
    (403, "userRateLimitExceeded", "User Rate Limit Exceeded", Temporary, True, "next nightly"),
    (403, "dailyLimitExceeded", "Daily Limit Exceeded", QuotaExhausted, False, "next nightly"),
    (403, "forbidden", FORBIDDEN, TargetDenied, False, "as a user of the property"),
    (
        403,
        "accessNotConfigured",
        "API has not been used in project 1",
        AccessDenied,
        False,
        "enable",
    ),
    (403, "SERVICE_DISABLED", "API has not been used in project 1", AccessDenied, False, "enable"),
    (403, "insufficientPermissions", "Insufficient Permission", CredentialsError, False, "scope"),
    (
        403,
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "insufficient scopes",
        CredentialsError,
        False,
        "scope",
    ),
    (429, "rateLimitExceeded", "Rate Limit Exceeded", Temporary, True, "next nightly"),
    (
        429,
        "RATE_LIMIT_EXCEEDED",
        "Quota exceeded for quota metric",
        Temporary,
        True,
        "next nightly",
    ),
    (
        400,
        "invalidParameter",
        "'x' is not a valid Search Console site URL.",
        UnexpectedAnswer,
        False,
        "",
    ),
    (400, "badRequest", "Invalid value at 'start_date'", UnexpectedAnswer, False, "report it"),
    (401, "authError", "Invalid Credentials", AccessTokenRefused, False, "connect-gsc --account"),
    (500, "backendError", "Backend Error", Temporary, True, "next nightly"),
    (502, "backendError", "Bad Gateway", Temporary, True, "next nightly"),
    (503, "backendError", "Backend Error", Temporary, True, "next nightly"),
    (504, "internalError", "Deadline exceeded", Overloaded, True, "next nightly"),
]


@pytest.mark.parametrize("style", ["errors", "details", "both"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]}")
def test_each_row_of_the_facts_has_its_kind(row: Row, style: str) -> None:
    status, reason, message, kind, again, mend = row
    body = error_body(message, reason, style=style, code=status)
    error = api_error(http_error(status, body), HOST)
    assert type(error) is kind
    assert is_retryable(error) is again
    assert error.message == f"{HOST}: HTTP {status}: {message}"
    assert mend in error.mend


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, SettingsError),
        (308, SettingsError),
        (401, AccessTokenRefused),
        (403, UnexpectedAnswer),
        (404, SettingsError),
        (408, Overloaded),
        (409, UnexpectedAnswer),
        (413, UnexpectedAnswer),
        (429, Temporary),
        (500, Temporary),
        (502, Temporary),
        (503, Temporary),
        (504, Overloaded),
    ],
)
@pytest.mark.parametrize(
    "body",
    ["<html><title>Error</title></html>", "", "[]", "{}", '{"error": "x"}', b"\xff\xfe", "null"],
)
def test_a_body_that_says_nothing_leaves_the_status(
    status: int, kind: type[FetchError], body: object
) -> None:
    error = api_error(http_error(status, body), HOST)
    assert type(error) is kind
    assert error.message.startswith(f"{HOST}: HTTP {status}")
    assert "<" not in error.message
    assert error.mend


@pytest.mark.parametrize(
    ("header", "seconds"), [("30", 30.0), (None, None), ("Fri, 20 Nov 2026 07:28:00 GMT", None)]
)
@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "rateLimitExceeded"), (403, "quotaExceeded"), (503, "backendError"), (504, "x")],
)
def test_retry_after_reaches_the_one_who_waits(
    status: int, reason: str, header: str | None, seconds: float | None
) -> None:
    headers = {} if header is None else {"retry-after": header}
    error = api_error(http_error(status, error_body("m", reason), headers=headers), HOST)
    assert isinstance(error, Temporary)
    assert error.retry_after == seconds


def test_a_message_is_one_short_line_without_the_url_of_the_request() -> None:
    error = api_error(http_error(400, error_body("a\n b\t" + "x" * 5000, "badRequest")), HOST)
    assert error.message.startswith(f"{HOST}: HTTP 400: a b xxx")
    assert len(error.message) < 300
    assert "api.test" not in error.message


@pytest.mark.parametrize("beside", ["x", 5, None, {}])
def test_a_reason_is_found_beside_an_item_without_one(beside: object) -> None:
    body = error_body("Daily Limit Exceeded", "dailyLimitExceeded")
    body["error"]["errors"].insert(0, beside)
    assert isinstance(api_error(http_error(403, body), HOST), QuotaExhausted)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "errors", "details", "reason", "code", "status", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([302, 400, 401, 403, 404, 429, 500, 503]))
@seldom
def test_any_error_object_is_sorted_without_a_bug(body: Any, status: int) -> None:
    error = api_error(http_error(status, body), HOST)
    assert isinstance(error, FetchError)
    assert error.message
