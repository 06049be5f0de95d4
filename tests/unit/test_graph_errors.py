"""What Facebook's and Instagram's errors mean, by code (shared facts/social.md 1.8)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    MetricRefused,
    NeedsReauth,
    SettingsError,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.graph_errors import (
    MetricUnknown,
    ScopeThrottled,
    SessionEnded,
    UnknownError,
    Usage,
    account_usage,
    app_usage,
    parse_graph_answer,
)
from fetchers.http import Answer, is_retryable
from logs import redact
from tests.unit.fake_graph import DOCUMENTED, Reply, documented, error

HOST = "graph.facebook.test"
ASKED = ("views", "impressions", "profile_views")
JSON = {"content-type": "application/json"}


def sorted_error(reply: Reply, asked: Sequence[str] = ASKED, token: str = "") -> FetchError:
    assert isinstance(reply, tuple)
    status, headers, body = reply
    answer = Answer(status, {k.lower(): v for k, v in headers.items()}, body.encode())
    with pytest.raises(FetchError) as caught:
        parse_graph_answer(answer, HOST, asked=asked, token=token)
    assert caught.value.mend, "nobody is told what to do"
    return caught.value


CODES: list[tuple[int, int | None, type[FetchError]]] = [
    (190, None, NeedsReauth),
    *((190, subcode, SessionEnded) for subcode in (458, 460, 463, 467)),
    *((190, subcode, CredentialsError) for subcode in (459, 464)),
    *((190, subcode, NeedsReauth) for subcode in (492, 461)),
    (102, None, NeedsReauth),
    (102, 459, CredentialsError),
    (104, 463, SessionEnded),
    (3, None, AccessDenied),
    (10, None, AccessDenied),
    (200, None, AccessDenied),
    (283, None, AccessDenied),
    (299, None, AccessDenied),
    (368, None, AccessDenied),
    (100, 33, AccessDenied),
    (100, None, MetricRefused),
    (100, 1504016, UnexpectedAnswer),
    (3001, 1504028, UnexpectedAnswer),
    (1, None, UnknownError),
    (2, None, Temporary),
]


@pytest.mark.parametrize(("code", "subcode", "kind"), CODES)
@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_the_code_decides_whatever_the_http_status(
    code: int, subcode: int | None, kind: type[FetchError], status: int
) -> None:
    assert type(sorted_error(error(code, "(#1) No.", subcode=subcode, status=status))) is kind


SCOPES = {
    **dict.fromkeys((4, 341, 613), "app"),
    **dict.fromkeys((17, 32), "user"),
    **dict.fromkeys((80000, 80001, 80002, 80014), "account"),
}


@pytest.mark.parametrize("code", SCOPES)
def test_a_throttle_says_what_it_counts_by(code: int) -> None:
    found = sorted_error(error(code, f"(#{code}) too many calls", status=403))
    assert isinstance(found, ScopeThrottled)
    assert (found.scope, found.retry_after, found.kind) == (SCOPES[code], None, "temporary")


def test_an_account_is_held_for_as_many_minutes_as_its_header_says() -> None:
    usage = {"178": [{"type": "instagram", "estimated_time_to_regain_access": 7}]}
    headers = {"X-Business-Use-Case-Usage": json.dumps(usage)}
    account = sorted_error(error(80002, "too many", headers=headers))
    app = sorted_error(error(4, "too many", headers=headers))
    assert isinstance(account, ScopeThrottled)
    assert isinstance(app, ScopeThrottled)
    assert (account.retry_after, app.retry_after) == (420, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UnexpectedAnswer),
        (404, UnexpectedAnswer),
        (401, CredentialsError),
        (403, AccessDenied),
        (408, Temporary),
        (429, ScopeThrottled),
        (500, Temporary),
        (503, Temporary),
        (302, SettingsError),
    ],
)
def test_an_unknown_code_is_sorted_by_its_http_status(status: int, kind: type[FetchError]) -> None:
    found = sorted_error(error(987, "?", status=status))
    assert type(found) is kind
    assert not isinstance(found, NeedsReauth)  # nobody said that the token is dead for good


def test_is_transient_decides_before_the_http_status() -> None:
    assert type(sorted_error(error(987, "?", is_transient=True))) is Temporary
    assert type(sorted_error(error(987, "?", is_transient=False))) is UnexpectedAnswer
    assert type(sorted_error(error(10, "?", is_transient=True))) is AccessDenied


def test_only_what_may_pass_is_tried_again() -> None:
    retried = {
        code
        for code, subcode, _ in CODES
        if is_retryable(sorted_error(error(code, subcode=subcode)))
    }
    assert retried == {1, 2}


def test_a_user_token_in_place_of_a_pages_is_not_a_dead_one() -> None:
    text = "(#190) This method must be called with a Page Access Token"
    assert type(sorted_error(error(190, text))) is AccessDenied


def test_every_error_of_the_documentation_has_its_kind() -> None:
    listed = json.loads((DOCUMENTED / "graph_errors.json").read_text())["errors"]
    for entry in listed:
        reply = (entry["status"], JSON | entry["headers"], json.dumps(entry["json"]))
        kind = type(sorted_error(reply)).__name__
        code = entry["json"]["error"]["code"]
        subcode = entry["json"]["error"].get("error_subcode")
        expected = {(c, s): k.__name__ for c, s, k in CODES}.get((code, subcode))
        if entry["kind"] == "graph_190_page_token":
            expected = "AccessDenied"
        elif code in (4, 17, 32, 341, 613, 80001, 80002):
            expected = "ScopeThrottled"
        elif entry["kind"] == "graph_transient":
            expected = "Temporary"
        elif code == 2500:
            expected = "UnexpectedAnswer"
        elif entry["kind"] in ("graph_100", "graph_104"):
            expected = {"graph_100": "MetricUnknown", "graph_104": "UnexpectedAnswer"}[
                entry["kind"]
            ]
        elif subcode == 2108006:
            expected = "MetricRefused"
        assert kind == expected, entry["kind"]
    assert len(listed) >= 25


def refused(name: str, asked: Sequence[str]) -> FetchError:
    return sorted_error((400, JSON, json.dumps(documented(name))), asked)


def test_the_list_of_what_is_allowed_names_what_is_not_refused() -> None:
    found = refused("instagram_error_unknown_metric", ASKED)
    assert isinstance(found, MetricUnknown)
    assert found.names == ("impressions",)


def test_a_list_of_what_is_allowed_without_a_refused_one_refuses_nothing_by_name() -> None:
    found = refused("instagram_error_unknown_metric", ("views", "reach"))
    assert type(found) is MetricRefused
    assert found.names == ()


def test_metrics_that_a_refusal_names_are_those_refused() -> None:
    found = refused("instagram_error_metric_type", ("reach", "views", "accounts_engaged"))
    assert type(found) is MetricRefused  # they exist: asked in another way they answer
    assert found.names == ("views", "accounts_engaged")
    text = "Starting from version v22.0 the impressions metric is no longer supported for media"
    gone = sorted_error(error(100, text))
    assert isinstance(gone, MetricUnknown)
    assert gone.names == ("impressions",)


def test_a_refusal_may_name_nothing() -> None:
    found = refused("facebook_error_retired_metric", ("page_media_view", "page_impressions"))
    assert isinstance(found, MetricUnknown)
    assert found.names == ()


@pytest.mark.parametrize("name", ["instagram_error_30_days", "facebook_error_range"])
def test_a_range_that_is_too_long_refuses_no_metric(name: str) -> None:
    assert type(refused(name, ASKED)) is UnexpectedAnswer


def test_a_metric_with_shorter_memory_is_refused_but_not_unknown() -> None:
    found = refused("instagram_error_follower_count_30_days", ("reach", "follower_count"))
    assert type(found) is MetricRefused
    assert found.names == ("follower_count",)


def test_messages_name_no_account_and_no_moment() -> None:
    texts = (
        "Error validating access token: Session has expired on Tuesday, 17-Nov-26 08:00:00 PST.",
        "Error validating access token: Session has expired on Friday, 20-Nov-26 09:00:00 PST.",
    )
    one, other = (sorted_error(error(190, text, subcode=463)).message for text in texts)
    assert one == other
    assert "expired" in one
    for code, subcode in ((100, 33), (10, None)):
        ids = ("17841400000000001", "17841400000000002")
        objects = [f"(#{code}) Object with ID '{number}' does not exist" for number in ids]
        one, other = (sorted_error(error(code, text, subcode=subcode)).message for text in objects)
        assert one == other


@pytest.mark.parametrize("subcode", [459, 464])
def test_a_token_that_waits_for_a_login_is_not_dead_for_good(subcode: int) -> None:
    found = sorted_error(error(190, "The user is enrolled in a checkpoint", subcode=subcode))
    assert not isinstance(found, NeedsReauth)
    assert found.kind == "credentials"
    assert found.mend == "let its owner log in at facebook.com; it is tried again every night"


def refusal(text: str, token: str = "", subcode: int | None = None) -> str:
    found = sorted_error(error(190, text, subcode=subcode), token=token)
    assert isinstance(found, NeedsReauth)
    return found.message.removeprefix(f"{HOST} refuses the token: ")


def test_a_dead_token_of_unknown_subcode_is_told_of_in_the_apis_words() -> None:
    assert refusal("Invalid OAuth 2 access token") == "error 190: Invalid OAuth … access token"
    assert refusal("Cannot parse access token", subcode=461).endswith(
        "461: Cannot parse access token"
    )
    assert refusal("") == "error 190"
    assert refusal("bad sentinel-1 of 17841400000000001", "sentinel-1") == "error 190: bad *** of …"
    assert "sentinel" not in refusal("Malformed access token EAAB" + "sentinel" * 20)


@pytest.mark.parametrize(
    "moment",
    [
        "on {:%A, %d-%b-%y %H:%M:%S} PST. The current time is {:%A, %d-%b-%y %H:%M:%S} PST.",
        "on {:%a, %d %b %Y %H:%M:%S} +0000",
        "at {:%Y-%m-%dT%H:%M:%S}+0000",
        "on {:%d-%b-%y %H:%M:%S} PST",
        "since {:%s}",
    ],
)
def test_times_do_not_make_many_reasons_of_one(moment: str) -> None:
    begin = datetime(2026, 11, 20, 1, tzinfo=UTC)
    moments = [begin + timedelta(days=3 * n, hours=n) for n in range(50)]
    prefix = "Error validating access token: Session has expired"
    texts = {refusal(f"{prefix} {moment.format(at, at)}") for at in moments}
    assert len(texts) == 1
    assert texts.pop().startswith(f"error 190: {prefix}")


def test_an_apis_own_words_are_quoted_but_never_a_token() -> None:
    token = "sentinel token, unknown to the log"
    found = sorted_error(error(10, f"(#10) No permission for {token}"), token=token)
    assert "No permission for ***" in found.message
    long = "EAAB" + "sentinel" * 20
    assert long[:20] not in sorted_error(error(10, f"Malformed access token {long}")).message
    redact.add(["sentinel-of-another-account"])
    found = sorted_error(error(2, "oh sentinel-of-another-account\x1b[31m", status=500))
    assert found.message.endswith("oh *** [31m")


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind"),
    [
        (302, {}, "", SettingsError),
        (404, {}, "<html>", SettingsError),
        (200, {"content-type": "text/html"}, "<html>", UnexpectedAnswer),
        (200, JSON, '{"data": [', UnexpectedAnswer),
        (200, JSON, '{"data": NaN}', UnexpectedAnswer),
        (200, JSON, "[" * 100_000, UnexpectedAnswer),
        (200, JSON, "[]", UnexpectedAnswer),
        (400, JSON, '{"error": "invalid"}', UnexpectedAnswer),
        (502, {}, "<html>", Temporary),
        (429, {"retry-after": "30"}, "", ScopeThrottled),
        (401, {}, "", CredentialsError),
    ],
)
def test_what_is_no_answer_of_the_api_has_a_name(
    status: int, headers: dict[str, str], body: str, kind: type[FetchError]
) -> None:
    assert type(sorted_error((status, headers, body))) is kind


def test_a_broken_body_is_asked_for_again_a_login_page_is_not() -> None:
    assert is_retryable(sorted_error((200, JSON, '{"data": [')))
    assert not is_retryable(sorted_error((200, {"content-type": "text/html"}, "<html>")))


@pytest.mark.parametrize("field", ["code", "message", "error_subcode"])
@pytest.mark.parametrize("value", [None, "190", [], {}, True, 1.5])
def test_an_error_of_odd_shape_is_still_an_error(field: str, value: object) -> None:
    assert isinstance(error(190, "gone"), tuple)
    body = {"error": {"message": "gone", "code": 987, "error_subcode": 1, field: value}}
    assert type(sorted_error((400, JSON, json.dumps(body)))) is UnexpectedAnswer


def test_an_object_is_an_answer() -> None:
    answer = Answer(200, JSON, b'{"data": []}')
    assert parse_graph_answer(answer, HOST) == {"data": []}


def test_usage_is_the_largest_percentage() -> None:
    text = json.dumps({"call_count": 28, "total_time": 90.5, "total_cputime": 25})
    assert app_usage({"x-app-usage": text}) == Usage(90.5)
    entries = [{"call_count": 3, "estimated_time_to_regain_access": 0}, {"total_time": 80}]
    one = json.dumps({"1": entries, "2": [{"estimated_time_to_regain_access": 2}]})
    assert account_usage({"x-business-use-case-usage": one}) == Usage(80, 120)


@pytest.mark.parametrize(
    "text",
    ["", "?", "[]", "1", '{"1": 2}', '{"1": [2]}', '{"call_count": "9"}', '{"call_count": NaN}'],
)
def test_usage_that_cannot_be_read_is_none(text: str) -> None:
    headers = {"x-app-usage": text, "x-business-use-case-usage": text}
    assert (app_usage(headers), account_usage(headers)) == (Usage(), Usage())


def test_usage_may_be_any_number() -> None:
    text = '{"1": [{"estimated_time_to_regain_access": 1' + "0" * 400 + "}]}"
    assert account_usage({"x-business-use-case-usage": text}).blocked_seconds >= 1e9
