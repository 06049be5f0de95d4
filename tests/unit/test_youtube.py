"""YouTube: the right day, absent is never zero, and one refused metric costs the others nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from google.auth.exceptions import RefreshError
from hypothesis import given
from hypothesis import strategies as st

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    Interrupted,
    MetricRefused,
    NeedsReauth,
    QuotaExhausted,
    SettingsError,
    TargetMisnamed,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.google_client import GoogleClient
from fetchers.google_errors import AccessTokenRefused
from fetchers.social import Collected, SocialAccount
from fetchers.social_metrics import YOUTUBE, metrics_of
from fetchers.youtube import YouTubeApi, get_youtube_data
from fetchers.youtube_answers import extra_of, parse_report, part_of
from fetchers.youtube_errors import youtube_error, youtube_token_error
from stopping import Stop
from tests.unit.google import TOKEN_URI, Call, FakeGoogle, Reply, error_body, http_error
from tests.unit.helpers import REMOVED, RESPONSES, days_from, make_http, seldom

RECORDED = RESPONSES.parent / "social"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAYS = days_from(date(2026, 11, 13), 7)
ACCOUNT = SocialAccount("user-1", "UCsandbox1", "sentinel-access", "sentinel-refresh")
ALONE = SocialAccount("user-1", "UCsandbox1", "sentinel-access")
NAMES = [metric.name for metric in metrics_of(YOUTUBE, "report")]
SPLIT = "creatorContentType"
PARTS = ("SHORTS", "videoOnDemand", "LIVE_STREAM")
UNNAMED = "The query is not supported. Check the documentation for supported queries."

Query = Mapping[str, str]
Rule = Callable[[Query], Reply | None]


def number_of(metric: str, day: date, part: str | None = None) -> int:
    return NAMES.index(metric) * 1000 + day.day * 10 + (0 if part is None else PARTS.index(part))


class Channel:
    """Computes a report from the query; its columns are not in the order of the question.

    published: the last day that has a row. rule: another answer to some queries.
    """

    def __init__(self, rule: Rule | None = None, published: date = DAYS[-1]) -> None:
        self.rule = rule
        self.published = published
        self.queries: list[Query] = []

    def __call__(self, call: Call) -> Reply:
        parts = urlsplit(call["uri"])
        assert parts.path == "/v2/reports"
        query = {name: texts[0] for name, texts in parse_qs(parts.query).items()}
        self.queries.append(query)
        return (self.rule and self.rule(query)) or (200, self.table(query))

    def table(self, query: Query) -> dict[str, Any]:
        metrics = query["metrics"].split(",")[::-1]
        split = query["dimensions"] == f"day,{SPLIT}"
        first = date.fromisoformat(query["startDate"])
        last = min(date.fromisoformat(query["endDate"]), self.published)
        rows = [
            [
                *(number_of(m, day, part) for m in metrics),
                day.isoformat(),
                *([part] if part else []),
            ]
            for day in days_from(first, (last - first).days + 1)
            for part in (PARTS if split else (None,))
        ]
        names = [*metrics, "day", *([SPLIT] if split else [])]
        table: dict[str, Any] = {"columnHeaders": [{"name": name} for name in names]}
        return {**table, "rows": rows} if rows else table

    def asked(self, split: bool = False) -> list[list[str]]:
        """The metrics of each request."""
        return [
            q["metrics"].split(",") for q in self.queries if (SPLIT in q["dimensions"]) is split
        ]


@pytest.fixture
def collect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Collected]:
    def get(
        channel: Any,
        days: Any = DAYS,
        *,
        account: SocialAccount = ACCOUNT,
        tokens: list[Reply] | None = None,
        now: datetime = NOW,
        api: YouTubeApi | None = None,
    ) -> Collected:
        get.google = google = FakeGoogle(channel, tokens)  # type: ignore[attr-defined]
        monkeypatch.setattr(GoogleClient, "_plain_http", lambda _self: google)
        return get_youtube_data(account, days, api=api or make_api(), now=now)

    return get


def make_api(stop: Stop | None = None) -> YouTubeApi:
    return YouTubeApi(None, TOKEN_URI, "client-id", "sentinel-secret", 10_000, make_http(stop))


def bad_query(message: str) -> Reply:
    return 400, error_body(message, "badRequest", code=400)


def refuses(*metrics: str, split: bool | None = None, named: bool = True) -> Rule:
    """A channel that does not know these metrics, in reports of this kind or in all."""

    def rule(query: Query) -> Reply | None:
        unknown = [name for name in query["metrics"].split(",") if name in metrics]
        if not unknown or split not in (None, SPLIT in query["dimensions"]):
            return None
        text = f"Unknown identifier ({unknown[0]}) given in field parameters.metrics."
        return bad_query(text if named else UNNAMED)

    return rule


def totals(collected: Collected) -> dict[tuple[str, date], int | float]:
    return {(v.name, v.day): v.value for v in collected.values if v.part is None}


def test_every_number_of_every_day_comes_in_three_requests(collect: Any) -> None:
    channel = Channel()
    collected = collect(channel)
    assert collected.errors == []
    assert not collected.waiting | collected.refused
    assert totals(collected) == {(m, day): number_of(m, day) for m in NAMES for day in DAYS}
    parts = {(v.name, v.day): v.value for v in collected.values if v.part is not None}
    assert parts == {
        (f"{metric}:{part.lower().replace('_', '')}", day): number_of(metric, day, part)
        for metric in ("views", "engagedViews", "estimatedMinutesWatched")
        for part in PARTS
        for day in DAYS
    }
    assert (len(channel.queries), len(collect.google.token_calls)) == (2, 1)
    assert channel.queries[0] == {
        "ids": "channel==UCsandbox1",
        "startDate": "2026-11-13",
        "endDate": "2026-11-19",
        "metrics": ",".join(NAMES),
        "dimensions": "day",
        "sort": "day",
        "alt": "json",
    }


def test_a_connection_without_an_id_is_asked_for_its_own_channel(collect: Any) -> None:
    channel = Channel()
    collect(channel, account=SocialAccount("u", "", "sentinel-access", "sentinel-refresh"))
    assert {query["ids"] for query in channel.queries} == {"channel==MINE"}


def test_an_id_that_would_change_the_question_is_not_asked(collect: Any) -> None:
    channel = Channel()
    collected = collect(channel, account=SocialAccount("u", "UC1;x==y", "a", "b"))
    assert [type(error) for error in collected.errors] == [TargetMisnamed]
    assert channel.queries == []


def test_no_days_are_no_requests(collect: Any) -> None:
    assert collect(Channel(), []) == Collected()
    assert collect.google.token_calls == []


def test_a_day_without_a_row_is_waiting_and_no_zero(collect: Any) -> None:
    collected = collect(Channel(published=DAYS[4]))
    assert collected.waiting == set(DAYS[5:])
    assert {value.day for value in collected.values} == set(DAYS[:5])
    nothing = collect(Channel(published=date(2026, 11, 1)))
    assert (nothing.values, nothing.waiting, nothing.errors) == ([], set(DAYS), [])


def test_days_between_the_asked_ones_are_not_taken(collect: Any) -> None:
    channel = Channel()
    collected = collect(channel, [DAYS[6], DAYS[0]])
    assert {value.day for value in collected.values} == {DAYS[0], DAYS[6]}
    assert len(channel.queries) == 2


@pytest.mark.parametrize(
    ("now", "final"),
    [
        # The Pacific day 2026-11-16 ends at 2026-11-17T08:00Z; 72 hours later it is final.
        (datetime(2026, 11, 20, 7, 59, 59, tzinfo=UTC), DAYS[2]),
        (datetime(2026, 11, 20, 8, tzinfo=UTC), DAYS[3]),
    ],
)
def test_a_day_is_final_72_hours_after_its_pacific_end(
    now: datetime, final: date, collect: Any
) -> None:
    states = {(v.day, v.data_state) for v in collect(Channel(), now=now).values}
    assert states == {(d, "final" if d <= final else "provisional") for d in DAYS}


@pytest.mark.parametrize(
    ("metric", "day", "part", "extra"),
    [
        ("views", date(2026, 8, 23), None, {}),
        ("views", date(2026, 8, 24), None, {"definition": "playback starts"}),
        ("views", date(2026, 8, 23), "videoondemand", {"post_type": "video"}),
        (
            "views",
            date(2026, 8, 24),
            "livestream",
            {"post_type": "live", "definition": "playback starts"},
        ),
        ("views", date(2025, 3, 30), "shorts", {"post_type": "short"}),
        (
            "views",
            date(2025, 3, 31),
            "shorts",
            {"post_type": "short", "definition": "playback starts"},
        ),
        ("engagedViews", date(2026, 9, 1), None, {}),
        ("engagedViews", date(2026, 9, 1), "unspecified", {}),
    ],
)
def test_what_a_view_is_and_which_kind_of_video_it_was_is_noted(
    metric: str, day: date, part: str | None, extra: dict[str, str], collect: Any
) -> None:
    assert extra_of(metric, day, part) == extra


def test_the_notes_reach_the_values(collect: Any) -> None:
    extras = {v.name: v.extra for v in collect(Channel()).values}
    assert extras["views"] == {"definition": "playback starts"}
    assert extras["views:shorts"] == {"definition": "playback starts", "post_type": "short"}
    assert extras["engagedViews:videoondemand"] == {"post_type": "video"}


@pytest.mark.parametrize(
    "spellings",
    [
        ("SHORTS", "shorts", "Shorts"),
        ("VIDEO_ON_DEMAND", "videoOnDemand"),
        ("LIVE_STREAM", "liveStream"),
    ],
)
def test_a_part_has_one_name_however_it_is_spelled(spellings: tuple[str, ...]) -> None:
    assert len({part_of(text) for text in spellings}) == 1


def test_days_before_a_metric_began_are_asked_without_it(collect: Any) -> None:
    channel = Channel()
    days = days_from(date(2025, 3, 29), 4)
    collected = collect(channel, days)
    without = [name for name in NAMES if name != "engagedViews"]
    assert channel.asked() == [without, NAMES]
    assert [(q["startDate"], q["endDate"]) for q in channel.queries[:2]] == [
        ("2025-03-29", "2025-03-30"),
        ("2025-03-31", "2025-04-01"),
    ]
    assert ("views", days[0]) in totals(collected)
    assert ("engagedViews", days[0]) not in totals(collected)
    assert collected.refused == set()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("refused", ["likes", "shares"])
def test_a_refused_optional_metric_costs_nothing(refused: str, named: bool, collect: Any) -> None:
    channel = Channel(refuses(refused, named=named))
    collected = collect(channel)
    rest = [name for name in NAMES if name != refused]
    assert totals(collected) == {(m, day): number_of(m, day) for m in rest for day in DAYS}
    assert (collected.errors, collected.refused) == ([], {refused})
    assert channel.asked() == [NAMES, rest] if named else [NAMES, *([name] for name in NAMES)]


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_metric_that_must_be_there_is_an_error_and_costs_the_others_nothing(
    named: bool, collect: Any
) -> None:
    collected = collect(Channel(refuses("subscribersLost", "likes", named=named)))
    rest = [name for name in NAMES if name not in ("subscribersLost", "likes")]
    assert totals(collected) == {(m, day): number_of(m, day) for m in rest for day in DAYS}
    assert collected.refused == {"subscribersLost", "likes"}
    [error] = collected.errors
    assert isinstance(error, MetricRefused)
    assert (error.kind, error.names) == ("retired metric", ("subscribersLost",))
    assert error.mend


@pytest.mark.parametrize("named", [True, False])
def test_what_can_be_spared_is_refused_once_for_all_channels(named: bool, collect: Any) -> None:
    def rule(query: Query) -> Reply | None:
        parts = refuses("engagedViews", split=True, named=named)
        return refuses("likes", "shares", named=named)(query) or parts(query)

    api, channel = make_api(), Channel(rule)
    first = collect(channel, api=api)
    asked = len(channel.queries)
    second = collect(channel, api=api)
    assert len(channel.queries) - asked == 2
    assert totals(second) == totals(first)
    assert second.refused == first.refused == {"likes", "shares", f"engagedViews:{SPLIT}"}
    assert second.errors == []


@pytest.mark.parametrize("named", [True, False])
def test_one_channel_takes_no_metric_that_must_be_there_from_the_others(
    named: bool, collect: Any
) -> None:
    api = make_api()
    first = collect(Channel(refuses("views", "likes", split=False, named=named)), api=api)
    assert [error.names for error in first.errors] == [("views",)]
    second = collect(Channel(), api=api)
    assert second.errors == []
    assert ("views", DAYS[0]) in totals(second)
    assert second.refused == {"likes"}


def test_what_a_channel_was_refused_once_it_is_not_asked_again(collect: Any) -> None:
    """The days before engagedViews began are a report of their own."""
    channel = Channel(refuses("views", split=False))
    collected = collect(channel, days_from(date(2025, 3, 29), 4))
    assert ["views" in names for names in channel.asked()] == [True, False, False]
    assert [type(error) for error in collected.errors] == [MetricRefused]


@pytest.mark.parametrize("account_id", ["views", "likes", "a-subscribersLost-b", "-views"])
def test_a_channel_that_is_called_like_a_metric_loses_none_by_it(
    account_id: str, collect: Any
) -> None:
    def rule(query: Query) -> Reply | None:
        if "likes" in query["metrics"].split(","):
            return bad_query(f"Unknown identifier (likes) in the query of channel=={account_id}.")
        return None

    channel = Channel(rule)
    collected = collect(channel, account=SocialAccount("u", account_id, "", "sentinel-refresh"))
    assert (collected.errors, collected.refused) == ([], {"likes"})
    assert {name for name, _ in totals(collected)} == set(NAMES) - {"likes"}


def test_an_id_leaves_no_word_that_is_a_metric(collect: Any) -> None:
    """Only as a whole is it an id."""

    def rule(query: Query) -> Reply | None:
        named = "comments" in query["metrics"].split(",")
        return bad_query("xlikes are no comments") if named else None

    account = SocialAccount("u", "x", "", "sentinel-refresh")
    assert collect(Channel(rule), account=account).refused == {"comments"}


@pytest.mark.parametrize("named", [True, False])
def test_a_metric_that_is_not_split_keeps_its_total(named: bool, collect: Any) -> None:
    collected = collect(Channel(refuses("engagedViews", split=True, named=named)))
    assert collected.errors == []
    assert collected.refused == {f"engagedViews:{SPLIT}"}
    names = {value.name for value in collected.values}
    assert {"engagedViews", "views:shorts"} <= names
    assert "engagedViews:shorts" not in names


def test_a_query_that_is_refused_whatever_it_asks_for_is_no_retired_metric(collect: Any) -> None:
    api, channel = make_api(), Channel(lambda _query: bad_query(UNNAMED))
    collected = collect(channel, api=api)
    assert [type(error) for error in collected.errors] == [UnexpectedAnswer]
    assert (collected.values, collected.refused, api.refused) == ([], set(), set())
    assert channel.asked(split=True) == []


def test_an_error_that_names_every_metric_names_none(collect: Any) -> None:
    """As one would that lists which there are."""

    def rule(query: Query) -> Reply | None:
        if "likes" in query["metrics"].split(","):
            return bad_query(f"one of these is wrong: {', '.join(NAMES)}")
        return None

    assert collect(Channel(rule)).refused == {"likes"}


def test_a_split_that_fails_leaves_the_totals(collect: Any) -> None:
    def rule(query: Query) -> Reply | None:
        return (503, error_body("Backend Error", "backendError")) if SPLIT in str(query) else None

    collected = collect(Channel(rule))
    assert [type(error) for error in collected.errors] == [Temporary]
    assert len(totals(collected)) == len(collected.values) == len(NAMES) * len(DAYS)


ENDS: list[tuple[str, type[FetchError], int, str]] = [
    ("auth_error", AccessTokenRefused, 2, "tokens --add --connection ID --refresh"),
    ("forbidden", AccessDenied, 1, "account_id"),
    ("insufficient_scope", AccessDenied, 1, "yt-analytics.readonly"),
    ("access_not_configured", AccessDenied, 1, "enable the YouTube Analytics API"),
    ("quota_exceeded", Temporary, 4, "next nightly"),
    ("daily_limit_exceeded", QuotaExhausted, 1, "next nightly"),
    ("rate_limit_exceeded", Temporary, 4, "next nightly"),
    ("user_rate_limit_exceeded", Temporary, 4, "next nightly"),
    ("http_429", Temporary, 4, "next nightly"),
    ("http_500_json", Temporary, 4, "next nightly"),
    ("backend_error", Temporary, 4, "next nightly"),
]


@pytest.mark.parametrize(("name", "kind", "requests", "mend"), ENDS, ids=str)
def test_each_recorded_error_ends_the_channel_with_its_kind(
    name: str, kind: type[FetchError], requests: int, mend: str, collect: Any
) -> None:
    errors = json.loads((RECORDED / "youtube_errors.json").read_text())["errors"]
    [found] = [error for error in errors if error["kind"] == name]
    channel = Channel(lambda _query: (found["status"], found["json"]))
    collected = collect(channel)
    [error] = collected.errors
    assert type(error) is kind
    assert mend in error.mend
    assert error.message.startswith(f"YouTube: HTTP {found['status']}: ")
    assert len(channel.queries) == requests
    assert (collected.values, collected.waiting) == ([], set())


def test_every_recorded_error_is_tried_above() -> None:
    errors = json.loads((RECORDED / "youtube_errors.json").read_text())["errors"]
    assert {error["kind"] for error in errors} - {"unsupported_query"} == {row[0] for row in ENDS}


def test_a_dead_refresh_token_needs_a_new_consent(collect: Any) -> None:
    gone = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
    channel = Channel()
    collected = collect(channel, tokens=[(400, gone)])
    [error] = collected.errors
    assert type(error) is NeedsReauth
    assert "tokens --add --connection ID --refresh" in error.mend
    assert "connect-gsc" not in error.mend
    assert channel.queries == []
    assert "sentinel" not in f"{error} {error.mend} {collected!r}"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_grant", NeedsReauth),
        ("unauthorized_client", CredentialsError),
        ("invalid_scope", CredentialsError),
        ("invalid_client", SettingsError),
        ("server_error", Temporary),
    ],
)
def test_only_a_consent_that_is_gone_is_not_tried_again(code: str, kind: type[FetchError]) -> None:
    error = RefreshError("x", {"error": code}, retryable=code == "server_error")  # type: ignore[no-untyped-call]
    assert type(youtube_token_error(error)) is kind


def test_an_access_token_alone_is_used_as_it_is(collect: Any) -> None:
    channel = Channel()
    collected = collect(channel, account=ALONE)
    assert collected.errors == []
    assert len(collected.values) > len(DAYS)
    assert collect.google.token_calls == []
    assert {call["token"] for call in collect.google.api_calls} == {"sentinel-access"}


def test_an_access_token_alone_that_is_refused_needs_a_new_consent(collect: Any) -> None:
    refused = (401, error_body("Invalid Credentials", "authError", code=401))
    collected = collect(Channel(lambda _query: refused), account=ALONE)
    [error] = collected.errors
    assert type(error) is NeedsReauth
    assert "refresh token" in error.mend
    assert (len(collect.google.api_calls), len(collect.google.token_calls)) == (1, 0)


@pytest.mark.parametrize("body", ["", "<html>Please sign in</html>", {"error": "no"}, ["error"]])
@pytest.mark.parametrize("account", [ALONE, ACCOUNT], ids=["alone", "with a refresh token"])
def test_a_refusal_without_googles_words_says_nothing_about_the_token(
    account: SocialAccount, body: object, collect: Any
) -> None:
    channel = Channel(lambda _query: (401, body))
    [error] = collect(channel, account=account).errors
    assert type(error) is SettingsError
    assert "YOUTUBE_API_ENDPOINT" in error.mend
    assert "stands between" in error.mend
    assert len(channel.queries) == 1


@pytest.mark.parametrize("stored", ["", "sentinel token", "sentinel\ntoken", "sentinel-t\u00f6ken"])
def test_a_token_that_fits_into_no_header_is_not_sent(stored: str, collect: Any) -> None:
    channel = Channel()
    collected = collect(channel, account=SocialAccount("u", "UC1", stored))
    assert [type(error) for error in collected.errors] == [NeedsReauth]
    assert channel.queries == []
    assert "sentinel" not in str(collected)


def test_a_stored_access_token_beside_a_refresh_token_is_not_used(collect: Any) -> None:
    collect(Channel())
    assert {call["token"] for call in collect.google.api_calls} == {"access-1"}


def test_a_stopped_run_asks_nothing(collect: Any) -> None:
    channel = Channel()
    collected = collect(channel, api=make_api(Stop(deadline_seconds=0)))
    assert [type(error) for error in collected.errors] == [Interrupted]
    assert (channel.queries, collect.google.token_calls) == ([], [])


@pytest.mark.parametrize(
    ("status", "body", "kind", "mend"),
    [
        (302, "", SettingsError, "YOUTUBE_API_ENDPOINT"),
        (404, "<html>", SettingsError, "YOUTUBE_API_ENDPOINT"),
        (404, error_body("no channel", "notFound", code=404), AccessDenied, "account_id"),
        (403, "<html>", UnexpectedAnswer, "proxy"),
        (403, {"error": {"code": 403, "message": "no"}}, AccessDenied, "account_id"),
        (400, "<html>", UnexpectedAnswer, "proxy"),
        (400, {"error": {"code": 400, "message": "no"}}, MetricRefused, "optional"),
        (401, "", SettingsError, "YOUTUBE_API_ENDPOINT"),
        (401, {"error": {"code": 401, "message": "no"}}, AccessTokenRefused, "consent"),
    ],
)
def test_an_error_of_something_in_between_is_not_googles(
    status: int, body: object, kind: type[FetchError], mend: str
) -> None:
    error = youtube_error(http_error(status, body), "YouTube")
    assert type(error) is kind
    assert mend in error.mend
    assert "Search Console" not in error.mend


def test_the_same_failure_has_the_same_text_for_every_channel() -> None:
    texts = {
        youtube_error(http_error(403, error_body(f"no access to {name}", "forbidden")), "h").message
        for name in ("UCsandbox000000000000001", "UCsandbox000000000000002")
    }
    assert len(texts) == 1


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"youtube_{name}.json").read_text())["json"]


def test_recorded_reports_are_read_by_their_headers() -> None:
    report = parse_report(recorded("day"))
    assert report.numbers["views", date(2026, 11, 16), None] == 0
    assert report.numbers["shares", date(2026, 11, 17), None] == 1
    assert report.metrics == set(NAMES)
    other = parse_report(recorded("other_columns"))
    day = date(2026, 11, 15)
    assert other.numbers == {("likes", day, None): 60, ("views", day, None): 1234}
    assert parse_report(recorded("no_rows")).days == frozenset()


@pytest.mark.parametrize("name", ["day_content_type", "day_content_type_camel"])
def test_recorded_splits_have_the_same_parts(name: str) -> None:
    report = parse_report(recorded(name), SPLIT)
    parts = {part for metric, day, part in report.numbers if day == date(2026, 11, 15)}
    assert parts == {"shorts", "videoondemand", "livestream"}


def test_a_cell_without_a_number_is_not_known() -> None:
    table = recorded("other_columns")
    table["rows"][0][0] = None
    assert [cell[0] for cell in parse_report(table).numbers] == ["views"]


def test_a_column_that_is_missing_is_a_refused_metric_of_this_channel(collect: Any) -> None:
    gone = {"subscribersGained", "likes"}

    class Without(Channel):
        def table(self, query: Query) -> dict[str, Any]:
            names = [name for name in query["metrics"].split(",") if name not in gone]
            return super().table({**query, "metrics": ",".join(names)})

    api = make_api()
    collected = collect(Without(), api=api)
    assert collected.refused == gone
    [error] = collected.errors
    assert isinstance(error, MetricRefused)
    assert error.names == ("subscribersGained",)
    assert len(totals(collected)) == (len(NAMES) - 2) * len(DAYS)
    other = collect(Channel(), api=api)
    assert (other.errors, other.refused) == ([], set())
    assert len(totals(other)) == len(NAMES) * len(DAYS)


NO_COUNTS: list[object] = ["12", True, [], float("nan"), float("inf"), 10**400, 2**63, -(2**63)]


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda value: repr(value)[:20])
def test_one_odd_cell_costs_its_own_number_alone(value: object, collect: Any) -> None:
    """Of two days, in the totals and among the parts, but it is told of once."""

    class Odd(Channel):
        def table(self, query: Query) -> dict[str, Any]:
            table = super().table(query)
            place = [header["name"] for header in table["columnHeaders"]].index("views")
            table["rows"][0][place] = table["rows"][-1][place] = value
            return table

    collected = collect(Odd())
    assert [(type(e), str(e)) for e in collected.errors] == [
        (UnexpectedAnswer, "YouTube: a value of views is no number")
    ]
    everything = {(name, day) for name in NAMES for day in DAYS}
    assert totals(collected).keys() == everything - {("views", DAYS[0]), ("views", DAYS[-1])}
    assert ("views:shorts", DAYS[1]) in {(v.name, v.day) for v in collected.values}
    assert not collected.refused | collected.waiting


def test_the_largest_count_is_one() -> None:
    table = recorded("other_columns")
    table["rows"][0][0] = 2**63 - 1
    report = parse_report(table)
    assert (max(report.numbers.values()), report.odd) == (2**63 - 1, frozenset())


def spoil(table: Any, path: tuple[Any, ...], value: object) -> Any:
    inner = table
    for step in path[:-1]:
        inner = inner[step]
    if value is REMOVED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return table


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("columnHeaders",), REMOVED),
        (("columnHeaders",), None),
        (("columnHeaders", 0, "name"), REMOVED),
        (("columnHeaders", 0, "name"), "week"),
        (("columnHeaders", 1, "name"), "contentType"),
        (("rows",), {}),
        (("rows",), None),
        (("rows", 0), "row"),
        (("rows", 0), []),
        (("rows", 0), ["2026-11-15", "SHORTS", 1, 2, 3, 4]),
        (("rows", 0, 0), "yesterday"),
        (("rows", 0, 0), 20261115),
        (("rows", 0, 1), "a b"),
        (("rows", 0, 1), ""),
        (("rows", 0, 1), None),
        (("rows", 0, 1), "VIDEO_ON_DEMAND"),
        (("errors",), {"code": "BAD_REQUEST"}),
    ],
    ids=repr,
)
def test_a_report_of_another_shape_is_no_number(path: tuple[Any, ...], value: object) -> None:
    table = recorded("day_content_type")
    parse_report(table, SPLIT)
    with pytest.raises(UnexpectedAnswer):
        parse_report(spoil(table, path, value), SPLIT)


def test_days_that_were_not_asked_for_are_no_answer(collect: Any) -> None:
    class Late(Channel):
        def table(self, query: Query) -> dict[str, Any]:
            return super().table({**query, "startDate": "2026-11-12"})

    collected = collect(Late())
    assert [type(error) for error in collected.errors] == [UnexpectedAnswer]
    assert collected.values == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["columnHeaders", "rows", "name", "day", "errors", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["columnHeaders", "rows", "kind"]), json_values))
@seldom
def test_any_object_is_a_report_or_an_unexpected_answer(answer: dict[str, Any]) -> None:
    with suppress(UnexpectedAnswer):
        parse_report(answer)
