"""LinkedIn: UTC days, a literal query, and what each answer means."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    Interrupted,
    NeedsReauth,
    Overloaded,
    SettingsError,
    TargetMisnamed,
    Temporary,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.http import Answer
from fetchers.linkedin import LinkedInApi, get_linkedin_data, refresh_linkedin_token, urn_of
from fetchers.linkedin_answers import (
    next_start,
    parse_followers,
    parse_new_token,
    parse_statistics,
)
from fetchers.linkedin_errors import parse_answer, parse_token_answer
from fetchers.social import Collected, SocialAccount
from fetchers.social_metrics import LINKEDIN, metrics_of
from fetchers.throttle import Throttle
from stopping import Stop
from tests.unit.helpers import (
    REMOVED,
    RESPONSES,
    InstantStop,
    Reply,
    days_from,
    json_reply,
    make_http,
    seldom,
)

RECORDED = RESPONSES.parent / "social"
BASE = "https://linkedin.test"
TOKEN_URI = "https://login.linkedin.test/oauth/v2/accessToken"
TOKEN = "sentinel-linkedin-token"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAYS = days_from(date(2026, 11, 11), 7)
"""The last of them, 2026-11-17, ended 2.5 days ago."""
ACCOUNT = SocialAccount("user-1", "5000004", TOKEN, "sentinel-linkedin-refresh")
STATISTICS = metrics_of(LINKEDIN, "statistics")
[LEVEL] = metrics_of(LINKEDIN, "node")
SHARE, FOLLOWERS, PAGE, SIZE = (
    "organizationalEntityShareStatistics",
    "organizationalEntityFollowerStatistics",
    "organizationPageStatistics",
    "networkSizes",
)
FIELDS = {SHARE: "totalShareStatistics", FOLLOWERS: "followerGains", PAGE: "totalPageStatistics"}
RANGE = re.compile(
    r"&timeIntervals=\(timeRange:\(start:(\d+),end:(\d+)\),timeGranularityType:DAY\)(?:&start=(\d+))?$"
)

Rule = Callable[[str], Reply | None]
"""What is asked (SHARE …) -> another answer than the usual one."""


def milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def number_of(name: str, day: date) -> int:
    return [metric.name for metric in STATISTICS].index(name) * 100 + day.day


def element_of(field: str, day: date) -> dict[str, Any]:
    element: dict[str, Any] = {
        "timeRange": {
            "start": milliseconds(day),
            "end": milliseconds(day + timedelta(days=1)),
        }
    }
    for metric in STATISTICS:
        if metric.path[0] == field:
            inner = element
            for name in metric.path[:-1]:
                inner = inner.setdefault(name, {})
            inner[metric.path[-1]] = number_of(metric.name, day)
    return element


class FakeLinkedIn:
    """Computes statistics from the query, as a server that reads Restli 2.0 alone."""

    def __init__(self, rule: Rule | None = None, *, page: int = 1000) -> None:
        self.rule = rule
        self.page = page
        self.requests: list[requests.PreparedRequest] = []

    def __call__(self, request: requests.PreparedRequest) -> Any:
        self.requests.append(request)
        parts = urlsplit(request.url or "")
        kind = parts.path.removeprefix("/rest/").split("/")[0]
        reply = self.rule(kind) if self.rule else None
        if isinstance(reply, Exception):
            raise reply
        return reply or json_reply(200, self._answer(kind, parts.path, parts.query))

    def _answer(self, kind: str, path: str, query: str) -> dict[str, Any]:
        urn = "urn%3Ali%3Aorganization%3A5000004"
        if kind == SIZE:
            assert (path, query) == (
                f"/rest/networkSizes/{urn}",
                "edgeType=COMPANY_FOLLOWED_BY_MEMBER",
            )
            return {"firstDegreeSize": 2310}
        name = "organization" if kind == PAGE else "organizationalEntity"
        assert query.startswith(f"q={name}&{name}={urn}&timeIntervals=(")
        found = RANGE.search(query)
        assert found, query
        first, last = (
            datetime.fromtimestamp(int(text) / 1000, UTC).date() for text in found.groups()[:2]
        )
        elements = [element_of(FIELDS[kind], day) for day in days_from(first, (last - first).days)]
        start = int(found[3] or 0)
        shown = elements[start : start + self.page]
        more = start + len(shown) < len(elements)
        links = [{"rel": "next", "href": f"/trap?token={TOKEN}"}] if more else []
        paging = {"start": start, "count": self.page, "links": links}
        return {"paging": paging, "elements": shown}

    @property
    def kinds(self) -> list[str]:
        return [urlsplit(r.url or "").path.split("/")[2] for r in self.requests]


@contextmanager
def answering(fake: Any, method: str = "GET", url: Any = re.compile(BASE)) -> Iterator[None]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(method, url, callback=fake, content_type=None)
        yield


def make_api(stop: Stop | None = None, *, attempts: int = 4) -> LinkedInApi:
    stop = stop or InstantStop()
    http = make_http(stop, attempts=attempts)
    secrets = ("client-id", "sentinel-client-secret")
    return LinkedInApi(BASE, "202603", TOKEN_URI, *secrets, http, Throttle(stop))


class PassingStop(InstantStop):
    """Its clock is set forward by what is slept."""

    def clock(self) -> float:
        return sum(self.slept)


def make_waiting_api() -> tuple[LinkedInApi, PassingStop]:
    stop = PassingStop(deadline_seconds=3600)
    return replace(make_api(stop), throttle=Throttle(stop, stop.clock)), stop


def collect(
    fake: FakeLinkedIn,
    days: Sequence[date] = DAYS,
    *,
    account: SocialAccount = ACCOUNT,
    api: LinkedInApi | None = None,
    now: datetime = NOW,
    levels: bool = True,
) -> Collected:
    with answering(fake):
        return get_linkedin_data(account, days, api=api or make_api(), now=now, levels=levels)


def known(collected: Collected) -> dict[tuple[str, date], int | float]:
    return {(value.name, value.day): value.value for value in collected.values}


def test_every_number_of_every_day_comes_in_four_requests() -> None:
    fake = FakeLinkedIn()
    collected = collect(fake)
    assert collected.errors == []
    assert collected.waiting == set()
    assert known(collected) == {
        ("firstDegreeSize", date(2026, 11, 20)): 2310,
        **{(m.name, day): number_of(m.name, day) for m in STATISTICS for day in DAYS},
    }
    assert {value.data_state for value in collected.values} == {"final"}
    assert fake.kinds == [SHARE, FOLLOWERS, PAGE, SIZE]


def test_the_level_is_asked_for_only_when_it_is_wanted() -> None:
    fake = FakeLinkedIn()
    collected = collect(fake, levels=False)
    assert fake.kinds == [SHARE, FOLLOWERS, PAGE]
    assert LEVEL.name not in {value.name for value in collected.values}


def test_the_level_is_of_the_utc_day_of_the_reading() -> None:
    evening = datetime.fromisoformat("2026-11-19T23:30:00-08:00")
    [value] = collect(FakeLinkedIn(), [], now=evening).values
    assert (value.name, value.day) == ("firstDegreeSize", date(2026, 11, 20))


def test_the_query_stays_literal_and_the_token_is_in_a_header() -> None:
    fake = FakeLinkedIn()
    collect(fake)
    assert fake.requests[0].url == (
        f"{BASE}/rest/organizationalEntityShareStatistics?q=organizationalEntity"
        "&organizationalEntity=urn%3Ali%3Aorganization%3A5000004"
        f"&timeIntervals=(timeRange:(start:{milliseconds(DAYS[0])},"
        f"end:{milliseconds(date(2026, 11, 18))}),timeGranularityType:DAY)"
    )
    for request in fake.requests:
        assert TOKEN not in (request.url or "")
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert request.headers["LinkedIn-Version"] == "202603"
        assert request.headers["X-Restli-Protocol-Version"] == "2.0.0"


@pytest.mark.parametrize(
    ("account_id", "urn"),
    [
        ("5000004", "urn:li:organization:5000004"),
        ("urn:li:organization:5000004", "urn:li:organization:5000004"),
        ("urn:li:organizationBrand:7", "urn:li:organizationBrand:7"),
    ],
)
def test_an_account_is_a_number_or_a_urn(account_id: str, urn: str) -> None:
    assert urn_of(account_id) == urn


@pytest.mark.parametrize(
    "account_id", ["", "acme", "urn:li:organization:", "1)&q=x", "urn:li:a:1:2", "1\n", "\u0661"]
)
def test_an_account_that_is_neither_is_not_asked(account_id: str) -> None:
    fake = FakeLinkedIn()
    collected = collect(fake, account=SocialAccount("u", account_id, TOKEN))
    [error] = collected.errors
    assert (type(error), error.kind) == (TargetMisnamed, "settings")
    assert fake.requests == []


@pytest.mark.parametrize("stored", ["", "sentinel token", "sentinel\ntoken", "sentinel-t\u00f6ken"])
def test_a_token_that_fits_into_no_header_is_not_sent(stored: str) -> None:
    fake = FakeLinkedIn()
    collected = collect(fake, account=SocialAccount("u", "1", stored))
    assert [type(error) for error in collected.errors] == [NeedsReauth]
    assert fake.requests == []
    assert "sentinel" not in str(collected)


@pytest.mark.parametrize("stored", ["", "sentinel token"])
def test_without_an_access_token_a_refresh_token_is_no_dead_connection(stored: str) -> None:
    """Marked dead, it would not be renewed either."""
    fake = FakeLinkedIn()
    collected = collect(fake, account=SocialAccount("u", "1", stored, "sentinel-refresh"))
    [error] = collected.errors
    assert type(error) is CredentialsError
    assert "set LINKEDIN_CLIENT_ID and LINKEDIN_CLIENT_SECRET" in error.mend
    assert "connect the LinkedIn account again" in error.mend
    assert fake.requests == []
    assert "sentinel" not in f"{error} {error.mend} {collected}"


@pytest.mark.parametrize(
    ("now", "last"),
    [
        # 2026-11-18 ends at 2026-11-19T00:00Z; 48 hours later it may be asked for.
        (datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC), date(2026, 11, 17)),
        (datetime(2026, 11, 21, tzinfo=UTC), date(2026, 11, 18)),
        (datetime.fromisoformat("2026-11-20T16:00:00-08:00"), date(2026, 11, 18)),
    ],
)
def test_days_that_ended_less_than_48_hours_ago_are_waiting_and_not_asked_for(
    now: datetime, last: date
) -> None:
    fake, days = FakeLinkedIn(), days_from(date(2026, 11, 15), 6)
    collected = collect(fake, days, now=now, levels=False)
    assert collected.waiting == {day for day in days if day > last}
    assert {value.day for value in collected.values} == {day for day in days if day <= last}
    assert f"end:{milliseconds(last + timedelta(days=1))})" in (fake.requests[0].url or "")
    assert collected.errors == []


def test_where_no_day_is_published_yet_nothing_is_asked() -> None:
    fake, days = FakeLinkedIn(), days_from(date(2026, 11, 18), 3)
    collected = collect(fake, days, levels=False)
    assert (collected.waiting, collected.values, collected.errors) == (set(days), [], [])
    assert fake.requests == []


def test_days_before_the_12_months_are_an_error_and_cost_the_others_nothing() -> None:
    now = datetime(2028, 2, 29, 0, 0, 1, tzinfo=UTC)
    days = days_from(date(2027, 2, 25), 10)
    collected = collect(FakeLinkedIn(), days, now=now, levels=False)
    [error] = collected.errors
    assert (error.kind, "12 months" in error.message) == ("settings", True)
    oldest = min(value.day for value in collected.values)
    assert datetime(oldest.year, oldest.month, oldest.day, tzinfo=UTC) >= now - timedelta(days=365)
    assert oldest == date(2027, 3, 2)
    assert error.mend == f"ask for days from {oldest} on (--from and --to)"
    assert collected.waiting == set()


def element_day(element: Mapping[str, Any]) -> date:
    return datetime.fromtimestamp(element["timeRange"]["start"] / 1000, UTC).date()


class Changed(FakeLinkedIn):
    """An answer to one kind of question is changed before it is sent."""

    def __init__(self, kind: str, change: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.kind, self.change = kind, change

    def _answer(self, kind: str, path: str, query: str) -> dict[str, Any]:
        body = super()._answer(kind, path, query)
        if kind == self.kind:
            self.change(body)
        return body


def test_a_day_without_an_element_is_waiting_and_no_zero() -> None:
    def change(body: dict[str, Any]) -> None:
        body["elements"] = [e for e in body["elements"] if element_day(e) != DAYS[2]]

    collected = collect(Changed(FOLLOWERS, change))
    assert (collected.waiting, collected.errors) == ({DAYS[2]}, [])
    gone = {"organicFollowerGain", "paidFollowerGain"}
    assert {v.name for v in collected.values if v.day == DAYS[2]} == {
        metric.name for metric in STATISTICS if metric.name not in gone
    }


@pytest.mark.parametrize("value", [REMOVED, None])
def test_a_missing_field_is_absent_and_a_zero_is_a_zero(value: object) -> None:
    def change(body: dict[str, Any]) -> None:
        for element in body["elements"]:
            gains = element["followerGains"]
            gains["organicFollowerGain"] = 0
            gains["paidFollowerGain"] = value
            if value is REMOVED:
                del gains["paidFollowerGain"]

    numbers = known(collect(Changed(FOLLOWERS, change)))
    assert numbers["organicFollowerGain", DAYS[0]] == 0
    assert ("paidFollowerGain", DAYS[0]) not in numbers


def test_days_that_were_not_asked_for_are_not_taken() -> None:
    """Whether a range's end is exclusive is not certain (facts 4.3)."""
    extra = element_of("totalShareStatistics", date(2026, 11, 18))
    collected = collect(Changed(SHARE, lambda body: body["elements"].append(extra)), levels=False)
    assert {value.day for value in collected.values} == set(DAYS)
    apart = collect(FakeLinkedIn(), [DAYS[6], DAYS[0]], levels=False)
    assert {value.day for value in apart.values} == {DAYS[0], DAYS[6]}


def test_every_page_of_a_long_list_is_read_and_no_link_followed() -> None:
    fake, days = FakeLinkedIn(page=10), days_from(date(2026, 10, 1), 25)
    collected = collect(fake, days, levels=False)
    assert len(collected.values) == len(days) * len(STATISTICS)
    assert fake.kinds == [kind for kind in (SHARE, FOLLOWERS, PAGE) for _ in range(3)]
    assert not any("trap" in (request.url or "") for request in fake.requests)


def test_a_list_without_end_is_no_answer() -> None:
    def change(body: dict[str, Any]) -> None:
        body["paging"]["links"] = [{"rel": "next"}]

    fake = Changed(SHARE, change)
    collected = collect(fake)
    assert [type(error) for error in collected.errors] == [UnexpectedAnswer]
    assert len(fake.requests) < 100


def error_json(status: int, message: str, **headers: str) -> Reply:
    return status, headers, json.dumps({"status": status, "message": message})


ENDS: list[tuple[str, type[FetchError], int, str]] = [
    ("linkedin_400", UnexpectedAnswer, 4, "report it"),
    ("linkedin_401_65600", NeedsReauth, 1, "tokens --add --connection ID"),
    ("linkedin_401_65601", NeedsReauth, 1, "connect"),
    ("linkedin_401_65602", NeedsReauth, 1, "connect"),
    ("linkedin_403", AccessDenied, 1, "rw_organization_admin"),
    ("linkedin_404", AccessDenied, 1, "account_id"),
    ("linkedin_426", SettingsError, 1, "raise LINKEDIN_VERSION"),
    ("linkedin_429", Throttled, 3, "next nightly"),
    ("linkedin_500", Temporary, 16, "next nightly"),
    ("linkedin_503", Temporary, 16, "next nightly"),
]


def recorded_errors(name: str = "linkedin_errors") -> dict[str, dict[str, Any]]:
    errors = json.loads((RECORDED / f"{name}.json").read_text())["errors"]
    return {error["kind"]: error for error in errors}


@pytest.mark.parametrize(("name", "kind", "asked", "mend"), ENDS)
def test_each_recorded_error_has_its_kind_and_number_of_tries(
    name: str, kind: type[FetchError], asked: int, mend: str
) -> None:
    """Temporary and odd answers do not keep the other three questions from being asked."""
    found = recorded_errors()[name]
    fake = FakeLinkedIn(lambda _kind: json_reply(found["status"], found["json"]))
    collected = collect(fake)
    [error] = collected.errors
    assert type(error) is kind
    assert mend in error.mend
    assert f"linkedin.test: HTTP {found['status']}" in error.message
    assert len(fake.requests) == asked
    assert (collected.values, collected.waiting) == ([], set())


def test_every_recorded_error_is_tried_above() -> None:
    assert set(recorded_errors()) == {row[0] for row in ENDS}


@pytest.mark.parametrize("reply", [json_reply(503, {}), json_reply(200, {"elements": 5})])
def test_one_failed_question_costs_the_other_three_nothing(reply: Reply) -> None:
    collected = collect(FakeLinkedIn(lambda kind: reply if kind == FOLLOWERS else None))
    assert len(collected.errors) == 1
    names = {value.name for value in collected.values}
    gone = {metric.name for metric in STATISTICS if metric.path[0] == "followerGains"}
    assert names == {metric.name for metric in (*STATISTICS, LEVEL)} - gone
    assert collected.waiting == set()


def test_a_refusal_ends_the_account_and_keeps_what_it_had() -> None:
    fake = FakeLinkedIn(lambda kind: error_json(403, "no") if kind == FOLLOWERS else None)
    collected = collect(fake)
    assert fake.kinds == [SHARE, FOLLOWERS]
    assert len(collected.values) == 7 * len(DAYS)


def test_an_error_that_passes_is_not_seen() -> None:
    replies = [json_reply(503, {}), requests.ConnectionError("reset"), json_reply(200, [])]
    fake = FakeLinkedIn(lambda _kind: replies.pop() if replies else None)
    collected = collect(fake)
    assert (collected.errors, collected.waiting) == ([], set())
    assert len(fake.requests) == 7


@pytest.mark.parametrize(
    ("status", "body", "kind", "mend"),
    [
        (302, "", SettingsError, "LINKEDIN_API_URL"),
        (404, "<html>", SettingsError, "LINKEDIN_API_URL"),
        (403, "<html>", UnexpectedAnswer, "proxy"),
        (400, "<html>", UnexpectedAnswer, "proxy"),
        (401, "", SettingsError, "stands between"),
        (401, "<html>", SettingsError, "LINKEDIN_API_URL"),
        (401, '{"error": "login first"}', SettingsError, "LINKEDIN_API_URL"),
        (401, '["status"]', SettingsError, "LINKEDIN_API_URL"),
        (401, '{"status": 401}', NeedsReauth, "connect"),
        (401, '{"code": "EXPIRED_ACCESS_TOKEN"}', NeedsReauth, "connect"),
        (401, '{"serviceErrorCode": 65602}', NeedsReauth, "connect"),
        (408, "", Overloaded, "next nightly"),
        (504, "", Overloaded, "next nightly"),
        (200, "<html>", UnexpectedAnswer, "proxy"),
        (200, "[]", UnexpectedAnswer, "proxy"),
        (200, "\udcff", UnexpectedAnswer, "proxy"),
        (426, "", SettingsError, "LINKEDIN_VERSION"),
        (403, '{"message": {"a": 1}}', AccessDenied, "administrator"),
    ],
)
def test_an_answer_without_linkedins_words_leaves_the_status(
    status: int, body: str, kind: type[FetchError], mend: str
) -> None:
    with pytest.raises(FetchError) as caught:
        parse_answer(Answer(status, {}, body.encode(errors="surrogateescape")), "h", "202603")
    assert type(caught.value) is kind
    assert mend in caught.value.mend
    assert "<" not in caught.value.message


def test_a_login_page_of_a_proxy_marks_no_connection_as_dead() -> None:
    fake = FakeLinkedIn(lambda _kind: (401, {}, "<html>Please sign in</html>"))
    [error] = collect(fake).errors
    assert type(error) is SettingsError
    assert len(fake.requests) == 1


def test_a_version_that_is_over_is_named() -> None:
    found = recorded_errors()["linkedin_426"]
    collected = collect(FakeLinkedIn(lambda _kind: json_reply(426, found["json"])))
    assert "version 202603 is no longer served" in collected.errors[0].message


def test_the_same_failure_has_the_same_text_for_every_organization() -> None:
    texts = set()
    for number in (5000004, 5000005):
        body = json.dumps({"message": f"no access to urn:li:organization:{number}"})
        with pytest.raises(AccessDenied) as caught:
            parse_answer(Answer(403, {}, body.encode()), "h", "202603")
        texts.add(caught.value.message)
    assert texts == {"h: HTTP 403: no access to urn:li:organization:..."}


DAY_LIMIT = "Resource level throttle DAY limit for calls to this resource is reached."
MEMBER_LIMIT = "Resource level throttle MEMBER DAY limit for calls to this resource is reached."


def test_a_throttle_is_waited_out_for_as_long_as_it_says() -> None:
    replies = [(429, {"Retry-After": "40"}, json.dumps({"message": DAY_LIMIT}))]
    api, stop = make_waiting_api()
    fake = FakeLinkedIn(lambda _kind: replies.pop() if replies else None)
    collected = collect(fake, api=api)
    assert collected.errors == []
    assert len(collected.values) == len(STATISTICS) * len(DAYS) + 1
    assert [round(seconds) for seconds in stop.slept] == [40]


def test_a_limit_of_the_day_that_outlasts_the_run_is_not_waited_for_by_anyone() -> None:
    """It lasts until 00:00 UTC, in 12 hours."""
    stop = InstantStop(deadline_seconds=3600)
    api, fake = make_api(stop), FakeLinkedIn(lambda _kind: error_json(429, DAY_LIMIT))
    accounts = [SocialAccount(f"user-{n}", str(n), TOKEN) for n in (1, 2)]
    errors = [error for a in accounts for error in collect(fake, api=api, account=a).errors]
    assert [type(error) for error in errors] == [Throttled, Throttled]
    assert len({error.message for error in errors}) == 1
    assert (len(fake.requests), stop.slept) == (1, [])


def test_the_day_of_a_limit_ends_at_midnight_utc() -> None:
    now = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    api, stop = make_waiting_api()
    replies = [error_json(429, DAY_LIMIT)]
    fake = FakeLinkedIn(lambda _kind: replies.pop() if replies else None)
    assert collect(fake, api=api, now=now).errors == []
    assert [round(seconds) for seconds in stop.slept] == [30 * 60]


def test_the_limit_of_one_member_holds_no_other_up() -> None:
    api = make_api(InstantStop(deadline_seconds=3600))
    first = collect(FakeLinkedIn(lambda _kind: error_json(429, MEMBER_LIMIT)), api=api)
    assert isinstance(first.errors[0], Throttled)
    assert "member" in first.errors[0].message
    fake = FakeLinkedIn()
    again = collect(fake, api=api)
    assert (type(again.errors[0]), fake.requests) == (Throttled, [])
    assert collect(fake, api=api, account=SocialAccount("user-2", "5000004", TOKEN)).errors == []


def test_a_stopped_run_asks_nothing() -> None:
    fake = FakeLinkedIn()
    collected = collect(fake, api=make_api(Stop(deadline_seconds=0)))
    assert [type(error) for error in collected.errors] == [Interrupted]
    assert fake.requests == []


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"linkedin_{name}.json").read_text())["json"]


def test_recorded_statistics_are_read() -> None:
    by_field = {field: [m for m in STATISTICS if m.path[0] == field] for field in FIELDS.values()}
    share = parse_statistics(recorded("share"), by_field["totalShareStatistics"]).numbers
    first = min(share)
    assert first == date(2026, 11, 15)
    assert share[first] == {
        "impressionCount": 640,
        "uniqueImpressionsCount": 410,
        "clickCount": 15,
        "likeCount": 12,
        "commentCount": 2,
        "shareCount": 1,
        "engagement": 0.046875,
    }
    assert share[max(share)]["likeCount"] == -1
    page = parse_statistics(recorded("page"), by_field["totalPageStatistics"]).numbers
    assert [numbers["allPageViews"] for numbers in page.values()] == [30, 0]
    gains = parse_statistics(recorded("followers"), by_field["followerGains"]).numbers
    assert {"organicFollowerGain", "paidFollowerGain"} == set(gains[min(gains)])
    late = parse_statistics(recorded("missing_day"), by_field["followerGains"])
    assert late.odd == []
    assert late.numbers == {date(2026, 11, 16): {"organicFollowerGain": 4}}
    assert parse_followers(recorded("network_size"), LEVEL) == 2310


def spoil(body: Any, path: tuple[Any, ...], value: object) -> Any:
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    if value is REMOVED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return body


TOO_LARGE: list[object] = [10**400, 2**63, float("inf"), float("nan")]
START = ("elements", 0, "timeRange", "start")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("elements",), REMOVED),
        (("elements",), None),
        (("elements",), 5),
        (("elements", 0), "x"),
        (("elements", 0, "timeRange"), REMOVED),
        (("elements", 0, "timeRange"), 5),
        (START, REMOVED),
        (START, "1794700800000"),
        (START, 1794700800001),
        (START, 1794787200000),
        (START, 10**30),
        (START, 10**400),
        (START, float("inf")),
        (START, None),
        (("elements", 0, "timeRange", "end"), REMOVED),
        (("elements", 0, "timeRange", "end"), 1794873600000),
        (("elements", 1, "timeRange"), {"start": 1794700800000, "end": 1794787200000}),
    ],
    ids=repr,
)
def test_statistics_of_another_shape_are_no_number(path: tuple[Any, ...], value: object) -> None:
    """One without its time is the worst of them: it is the sum of all times."""
    metrics = [metric for metric in STATISTICS if metric.path[0] == "totalShareStatistics"]
    parse_statistics(recorded("share"), metrics)
    with pytest.raises(UnexpectedAnswer):
        parse_statistics(spoil(recorded("share"), path, value), metrics)


NO_COUNTS: list[object] = ["15", True, {}, *TOO_LARGE, -(2**63)]


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda value: repr(value)[:20])
def test_one_odd_field_costs_its_own_number_alone(value: object) -> None:
    """Of two days, but it is told of once."""
    odd = {("clickCount", DAYS[1]), ("clickCount", DAYS[4])}

    def change(body: dict[str, Any]) -> None:
        for name, day in odd:
            body["elements"][DAYS.index(day)]["totalShareStatistics"][name] = value

    collected = collect(Changed(SHARE, change))
    [error] = collected.errors
    assert type(error) is UnexpectedAnswer
    assert error.message.startswith("LinkedIn: clickCount is ")
    everything = {(metric.name, day) for metric in STATISTICS for day in DAYS}
    assert known(collected).keys() == everything - odd | {(LEVEL.name, NOW.date())}
    assert collected.waiting == set()


def test_an_odd_object_is_told_of_once_and_costs_what_lies_in_it() -> None:
    def change(body: dict[str, Any]) -> None:
        body["elements"][0]["totalShareStatistics"] = []

    collected = collect(Changed(SHARE, change), levels=False)
    assert [str(e) for e in collected.errors] == ["LinkedIn: totalShareStatistics is no object"]
    names = {metric.name for metric in STATISTICS if metric.path[0] != "totalShareStatistics"}
    assert {value.name for value in collected.values if value.day == DAYS[0]} == names
    assert {value.name for value in collected.values if value.day == DAYS[1]} > names


def test_the_largest_count_is_one() -> None:
    def change(body: dict[str, Any]) -> None:
        body["elements"][0]["totalShareStatistics"]["clickCount"] = 2**63 - 1

    collected = collect(Changed(SHARE, change))
    assert collected.errors == []
    assert known(collected)["clickCount", DAYS[0]] == 2**63 - 1


@pytest.mark.parametrize(
    "body",
    [{}, *({"firstDegreeSize": value} for value in (None, "5", *TOO_LARGE))],
    ids=lambda body: repr(body)[:40],
)
def test_followers_that_are_not_there_are_no_zero(body: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_followers(body, LEVEL)
    collected = collect(FakeLinkedIn(lambda kind: json_reply(200, body) if kind == SIZE else None))
    assert LEVEL.name not in {value.name for value in collected.values}
    assert len(collected.errors) == 1


@pytest.mark.parametrize("start", [*TOO_LARGE, -1, "1"], ids=lambda s: repr(s)[:20])
def test_a_page_that_begins_nowhere_costs_the_other_questions_nothing(start: object) -> None:
    def change(body: dict[str, Any]) -> None:
        body["paging"] = {"start": start, "links": [{"rel": "next"}]}

    fake = Changed(SHARE, change)
    collected = collect(fake)
    assert [type(error) for error in collected.errors] == [UnexpectedAnswer]
    assert fake.kinds == [SHARE, FOLLOWERS, PAGE, SIZE]
    assert {"organicFollowerGain", LEVEL.name} <= {value.name for value in collected.values}


@pytest.mark.parametrize(
    "paging", [5, {"links": 5}, {"links": [{}]}, {"links": [{"rel": "next"}]}, {"links": [5]}]
)
def test_pages_of_another_shape_are_no_end(paging: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        next_start({"paging": paging, "elements": [1]})


def test_a_next_page_after_an_empty_one_is_no_list() -> None:
    with pytest.raises(UnexpectedAnswer):
        next_start({"paging": {"start": 0, "links": [{"rel": "next"}]}, "elements": []})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["elements", "timeRange", "start", "end", "paging", "links", "rel"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["elements", "paging"]), json_values))
@seldom
def test_any_object_is_statistics_or_an_unexpected_answer(body: dict[str, Any]) -> None:
    with suppress(UnexpectedAnswer):
        parse_statistics(body, STATISTICS)
    with suppress(UnexpectedAnswer):
        next_start(body)


class TokenEndpoint:
    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[requests.PreparedRequest] = []

    def __call__(self, request: requests.PreparedRequest) -> Any:
        self.requests.append(request)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def refresh(endpoint: TokenEndpoint) -> Any:
    with answering(endpoint, "POST", TOKEN_URI):
        return refresh_linkedin_token(ACCOUNT, api=make_api())


def test_a_token_is_refreshed_with_its_secrets_in_the_body() -> None:
    endpoint = TokenEndpoint(json_reply(200, recorded("token")))
    before = datetime.now(UTC)
    new = refresh(endpoint)
    assert new.access_token == "example-linkedin-token-2"
    assert new.refresh_token == "example-linkedin-refresh"
    life = timedelta(seconds=5_184_000)
    assert before + life <= new.expires_at <= datetime.now(UTC) + life
    [request] = endpoint.requests
    assert request.url == TOKEN_URI
    assert parse_qs(str(request.body)) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["sentinel-linkedin-refresh"],
        "client_id": ["client-id"],
        "client_secret": ["sentinel-client-secret"],
    }
    assert "example" not in repr(new)


@pytest.mark.parametrize(
    ("status", "body", "kind", "asked", "mend"),
    [
        (400, {"error": "invalid_grant"}, NeedsReauth, 1, "connect"),
        (400, {"error": "invalid_request"}, CredentialsError, 1, "connect"),
        (401, {"error": "invalid_client"}, SettingsError, 1, "LINKEDIN_CLIENT_SECRET"),
        (400, {"error": "unauthorized_client"}, SettingsError, 1, "LINKEDIN_CLIENT_ID"),
        (302, {}, SettingsError, 1, "LINKEDIN_TOKEN_URI"),
        (404, {}, SettingsError, 1, "LINKEDIN_TOKEN_URI"),
        (429, {}, Throttled, 4, "next nightly"),
        (503, {}, Temporary, 4, "next nightly"),
        (400, "<html>", UnexpectedAnswer, 1, "proxy"),
        (200, "<html>", UnexpectedAnswer, 4, "proxy"),
        (200, {}, UnexpectedAnswer, 1, "proxy"),
    ],
)
def test_a_refresh_that_fails_has_its_kind(
    status: int, body: object, kind: type[FetchError], asked: int, mend: str
) -> None:
    endpoint = TokenEndpoint(json_reply(status, body))
    with pytest.raises(FetchError) as caught:
        refresh(endpoint)
    assert type(caught.value) is kind
    assert mend in caught.value.mend
    assert len(endpoint.requests) == asked
    assert "sentinel" not in f"{caught.value} {caught.value.mend}"


@pytest.mark.parametrize("found", recorded_errors("linkedin_token_errors").values(), ids=repr)
def test_recorded_refusals_of_a_refresh_are_sorted(found: dict[str, Any]) -> None:
    kinds = {"invalid_grant": NeedsReauth, "invalid_client": SettingsError}
    answer = Answer(found["status"], {}, json.dumps(found["json"]).encode())
    with pytest.raises(FetchError) as caught:
        parse_token_answer(answer, TOKEN_URI)
    assert type(caught.value) is kinds[found["kind"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("access_token", REMOVED),
        ("access_token", ""),
        ("access_token", "sentinel\ntoken"),
        ("access_token", 5),
        ("expires_in", REMOVED),
        ("expires_in", 0),
        ("expires_in", -5),
        ("expires_in", True),
        ("expires_in", "60"),
        ("expires_in", 10**12),
    ],
)
def test_a_token_without_its_end_is_no_token(field: str, value: object) -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        parse_new_token(spoil(recorded("token"), (field,), value))
    assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize("value", [REMOVED, None, "", 5])
def test_without_a_new_refresh_token_the_old_one_stays(value: object) -> None:
    assert (
        parse_new_token(spoil(recorded("token"), ("refresh_token",), value)).refresh_token is None
    )
