"""A Page's numbers: which token, which day, and what an empty answer means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    Interrupted,
    NeedsReauth,
    SettingsError,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.facebook import get_facebook_data
from fetchers.graph import GraphApi
from fetchers.graph_insights import ranges
from fetchers.social import Collected, SocialAccount
from fetchers.social_days import pacific_midnight
from logs import redact
from models import days_between
from tests.unit.fake_graph import (
    PAGE_TOKEN,
    USER_TOKEN,
    Asked,
    FakeGraph,
    Reply,
    Rule,
    documented,
    error,
    make_api,
    messages,
    ok,
    rows,
    series,
    serving,
)
from tests.unit.helpers import InstantStop

ACCOUNT = SocialAccount("user-17", "100000000000002", USER_TOKEN)
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
TODAY = date(2026, 11, 20)
WEEK = days_between(date(2026, 11, 13), date(2026, 11, 19))
SETTLED = WEEK[:5]
REQUIRED = ["page_media_view", "page_post_engagements", "page_views_total"]
OPTIONAL = [
    "page_total_media_view_unique",
    "page_daily_follows_unique",
    "page_daily_unfollows_unique",
    "page_follows",
]
PERMISSIONS = ("pages_show_list", "pages_read_engagement", "read_insights")


def number(name: str, day: date) -> int:
    return len(name) * 1000 + day.toordinal() % 1000


def permissions(**status: str) -> Reply:
    listed = {**dict.fromkeys(PERMISSIONS, "granted"), **status}
    entries = [{"permission": name, "status": word} for name, word in listed.items() if word]
    return ok({"data": entries})


def healthy(asked: Asked) -> Reply:
    """A Page with numbers for every day and metric."""
    if asked.path.endswith("/me/permissions"):
        return permissions()
    if asked.params.get("fields") == "access_token":
        return ok({"access_token": PAGE_TOKEN, "id": "100000000000002"})
    if asked.token != PAGE_TOKEN:
        return error(190, "(#190) This method must be called with a Page Access Token")
    return series({name: {d: number(name, d) for d in asked.days} for name in asked.metrics})


def is_insights(asked: Asked) -> bool:
    return asked.path.endswith("/insights")


def collect(
    rule: Rule = healthy,
    *,
    days: list[date] = WEEK,
    now: datetime = NOW,
    account: SocialAccount = ACCOUNT,
    api: GraphApi | None = None,
) -> tuple[Collected, FakeGraph]:
    with serving(rule) as fake:
        found = get_facebook_data(account, days, api=api or make_api(), now=now)
    return found, fake


def insights(reply: Reply) -> Callable[[Asked], Reply]:
    return lambda asked: reply if is_insights(asked) else healthy(asked)


def test_a_week_is_two_requests() -> None:
    found, fake = collect()
    assert rows(found) == {
        (name, day): (number(name, day), "final" if day in SETTLED else "provisional")
        for name in (*REQUIRED, *OPTIONAL)
        for day in WEEK
    }
    assert (found.errors, found.waiting, found.refused) == ([], set(), set())
    token, asked = fake.asked
    assert (token.path, token.params) == ("/v25.0/100000000000002", {"fields": "access_token"})
    assert token.token == USER_TOKEN
    assert (asked.path, asked.token) == ("/v25.0/100000000000002/insights", PAGE_TOKEN)
    assert set(asked.metrics) == {*REQUIRED, *OPTIONAL}
    when = {key: asked.params[key] for key in ("period", "since", "until")}
    assert when == {
        "period": "day",
        "since": str(pacific_midnight(WEEK[0])),
        "until": str(pacific_midnight(TODAY)),
    }
    assert set(asked.params) == {"metric", "period", "since", "until"}


def test_a_pages_token_is_never_printed() -> None:
    collect()
    assert redact(f"x {PAGE_TOKEN} y") == "x *** y"


def test_a_page_is_on_one_host_however_its_token_looks() -> None:
    _, fake = collect(account=SocialAccount("1", "2", USER_TOKEN, login="instagram"))
    assert {asked.host for asked in fake.asked} == {"graph.facebook.test"}


@pytest.mark.parametrize("change", [date(2026, 3, 8), date(2026, 11, 1)])
def test_values_are_dated_by_their_end_time_over_the_change_of_clocks(change: date) -> None:
    days = days_between(change - timedelta(days=3), change + timedelta(days=3))
    found, fake = collect(days=days)
    assert {day for _, day in rows(found)} == set(days)
    assert rows(found)["page_follows", change] == (number("page_follows", change), "final")
    [asked] = fake.insights
    seconds = int(asked.params["until"]) - int(asked.params["since"])
    assert seconds - 7 * 86_400 == (-3600 if change.month == 3 else 3600)


def test_an_end_time_is_not_the_day_that_it_names() -> None:
    found, _ = collect(insights(ok(documented("facebook_series"))))
    assert rows(found)["page_media_view", date(2026, 11, 15)] == (66226, "final")
    assert rows(found)["page_media_view", date(2026, 11, 16)] == (0, "final")
    assert rows(found)["page_media_view", date(2026, 11, 17)] == (512, "final")
    assert found.waiting == {day for day in WEEK if not 15 <= day.day <= 17}


def test_odd_values_are_absent_and_metrics_go_by_name() -> None:
    found, _ = collect(insights(ok(documented("facebook_series_odd_values"))))
    assert rows(found) == {
        ("page_media_view", date(2026, 11, 15)): (5, "final"),
        ("page_media_view", date(2026, 11, 17)): (7, "final"),
    }
    assert found.errors == []
    by_kind = series({"page_views_total": {WEEK[0]: {"like": 3}, WEEK[1]: 4, WEEK[2]: None}})
    found, _ = collect(insights(by_kind))
    assert rows(found) == {("page_views_total", WEEK[1]): (4, "final")}


def test_other_periods_are_not_taken_for_a_day() -> None:
    found, _ = collect(insights(ok(documented("facebook_no_period"))))
    assert rows(found) == {("page_media_view", date(2026, 11, 17)): (512, "final")}


def test_days_that_are_not_over_are_not_asked() -> None:
    found, fake = collect(days=[TODAY])
    assert (found.waiting, fake.asked) == ({TODAY}, [])


def test_more_than_90_days_are_several_requests_of_one_token() -> None:
    days = days_between(date(2026, 5, 1), date(2026, 11, 19))
    found, fake = collect(days=days)
    spans = [int(a.params["until"]) - int(a.params["since"]) for a in fake.insights]
    assert max(spans) <= 90 * 86_400
    assert len(spans) == 3
    assert len(fake.asked) == 4
    assert {day for _, day in rows(found)} == set(days)


@pytest.mark.parametrize("longest_days", [1, 2, 30, 90])
def test_ranges_are_few_and_none_is_too_long(longest_days: int) -> None:
    """A day of 25 hours alone is too long for a day: it is still one range."""
    days = days_between(date(2026, 1, 1), date(2026, 12, 31))
    found = ranges(days, longest_days * 86_400)
    assert [day for part in found for day in part] == days
    for part in found:
        seconds = pacific_midnight(part[-1] + timedelta(days=1)) - pacific_midnight(part[0])
        assert seconds <= longest_days * 86_400 or len(part) == 1
    assert len(found) <= len(days) // longest_days + 3


@pytest.mark.parametrize(
    "empty",
    [{"data": []}, {"data": [{"name": n, "period": "day", "values": []} for n in REQUIRED]}],
)
def test_an_empty_answer_is_told_apart_from_a_missing_permission(empty: object) -> None:
    found, fake = collect(insights(ok(empty)))
    assert (found.errors, found.waiting) == ([], set(WEEK))
    asked = fake.asked[-1]
    assert (asked.path, asked.token) == ("/v25.0/me/permissions", USER_TOKEN)
    assert len(fake.asked) == 3
    for status in ("declined", "expired", ""):
        for name in ("read_insights", "pages_read_engagement"):
            reply = permissions(**{name: status})
            found, _ = collect(
                lambda a, reply=reply: (
                    reply  # type: ignore[misc]
                    if a.path.endswith("/me/permissions")
                    else insights(ok(empty))(a)
                )
            )
            [failure] = found.errors
            assert type(failure) is AccessDenied
            assert name in failure.message
            assert name in failure.mend


def test_a_permission_that_was_declined_is_not_granted() -> None:
    def rule(asked: Asked) -> Reply:
        if asked.path.endswith("/me/permissions"):
            return ok(documented("facebook_permissions_declined"))
        return ok(documented("facebook_empty")) if is_insights(asked) else healthy(asked)

    [failure] = collect(rule)[0].errors
    assert "read_insights" in failure.message
    assert "pages_read_engagement" not in failure.message


def test_permissions_are_asked_once_even_for_many_ranges() -> None:
    days = days_between(date(2026, 5, 1), date(2026, 11, 19))
    _, fake = collect(insights(ok({"data": []})), days=days)
    assert len([a for a in fake.asked if a.path.endswith("/me/permissions")]) == 1


def test_one_number_is_enough_to_know_that_the_permission_is_there() -> None:
    _, fake = collect(insights(series({"page_follows": {WEEK[0]: 0}})))
    assert len(fake.asked) == 2


def test_permissions_of_a_pages_own_token_cannot_be_asked() -> None:
    def rule(asked: Asked) -> Reply:
        if asked.path.endswith("/me/permissions"):
            return error(100, "(#100) Tried accessing nonexisting field (permissions)")
        return insights(ok({"data": []}))(asked)

    found, _ = collect(rule)
    assert (found.errors, found.waiting) == ([], set(WEEK))


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": [1]}])
def test_permissions_of_odd_shape_are_a_failure(answer: object) -> None:
    def rule(asked: Asked) -> Reply:
        if asked.path.endswith("/me/permissions"):
            return ok(answer)
        return insights(ok({"data": []}))(asked)

    assert [type(e) for e in collect(rule)[0].errors] == [UnexpectedAnswer]


def test_a_user_who_gets_no_page_token_has_no_access() -> None:
    found, fake = collect(lambda _: ok({"id": "100000000000002"}))
    assert [type(e) for e in found.errors] == [AccessDenied]
    assert len(fake.asked) == 1


def test_what_has_no_page_token_is_no_page() -> None:
    text = "(#100) Tried accessing nonexisting field (access_token) on node type (User)"
    found, fake = collect(lambda _: error(100, text))
    assert [type(e) for e in found.errors] == [AccessDenied]
    assert len(fake.asked) == 1


@pytest.mark.parametrize("token", [5, [], True, {"x": 1}, "", "sentinel two", "séntinel"])
def test_a_page_token_of_odd_shape_is_not_used(token: object) -> None:
    found, fake = collect(lambda _: ok({"access_token": token}))
    assert [type(e) for e in found.errors] == [UnexpectedAnswer]
    assert len(fake.asked) == 1


@pytest.mark.parametrize("subcode", [None, 461, 492])
def test_a_pages_token_that_is_refused_is_not_the_users(subcode: int | None) -> None:
    """Its mark would keep the user's token, which is good, from being tried again."""
    [failure] = collect(insights(error(190, "Invalid token", subcode=subcode)))[0].errors
    assert type(failure) is CredentialsError
    assert "Page's own token" in failure.message
    assert failure.mend


@pytest.mark.parametrize("subcode", [458, 460, 463, 467])
def test_a_persons_session_ends_the_pages_token_with_the_users(subcode: int) -> None:
    [failure] = collect(insights(error(190, "Gone", subcode=subcode)))[0].errors
    assert isinstance(failure, NeedsReauth)


def test_one_odd_value_costs_its_metric_alone() -> None:
    def rule(asked: Asked) -> Reply:
        if not is_insights(asked):
            return healthy(asked)
        numbers: dict[str, dict[date, object]] = {n: dict.fromkeys(WEEK, 4) for n in asked.metrics}
        numbers["page_views_total"][WEEK[1]] = "many"
        numbers["page_follows"][WEEK[2]] = []  # as PHP writes an empty object
        return series(numbers)

    found, _ = collect(rule)
    lost = {("page_follows", WEEK[2]), *(("page_views_total", day) for day in WEEK)}
    assert set(rows(found)) == {(n, d) for n in (*REQUIRED, *OPTIONAL) for d in WEEK} - lost
    assert messages(found) == ["a value of page_views_total is no number"]
    assert found.waiting == set()


def test_a_day_with_nothing_but_odd_values_is_not_called_unpublished() -> None:
    found, _ = collect(insights(series({"page_views_total": dict.fromkeys(WEEK, "many")})))
    assert (found.values, found.waiting) == ([], set())
    assert [type(e) for e in found.errors] == [UnexpectedAnswer]


def test_the_wrong_kind_of_token_is_not_a_dead_one() -> None:
    reply = error(190, "(#190) This method must be called with a Page Access Token")
    [failure] = collect(insights(reply))[0].errors
    assert type(failure) is AccessDenied


def test_a_retired_metric_costs_the_others_nothing() -> None:
    """The answer says of the whole request that a metric is none (facts 2.2)."""
    gone = ("page_follows", "page_views_total")

    def rule(asked: Asked) -> Reply:
        if is_insights(asked) and set(gone) & set(asked.metrics):
            return error(100, "(#100) The value must be a valid insights metric")
        return healthy(asked)

    api = make_api()
    found, fake = collect(rule, api=api)
    assert found.refused == set(gone)
    assert {name for name, _ in rows(found)} == {*REQUIRED, *OPTIONAL} - set(gone)
    [failure] = found.errors
    assert failure.kind == "retired metric"
    assert "page_views_total" in failure.message
    assert len(fake.insights) == 1 + len(REQUIRED) + len(OPTIONAL)
    again, fake = collect(rule, api=api)
    assert not any("page_follows" in asked.metrics for asked in fake.insights)
    assert again.refused == set(gone)


def test_where_every_metric_is_refused_no_permission_is_blamed() -> None:
    found, fake = collect(insights(error(100, "(#100) The value must be a valid insights metric")))
    assert {e.kind for e in found.errors} == {"retired metric"}
    assert len(found.errors) == len(REQUIRED)
    assert not any(a.path.endswith("/me/permissions") for a in fake.asked)
    assert found.waiting == set()


ENDS: list[tuple[Reply, type[FetchError], int]] = [
    (error(190, "gone", subcode=460), NeedsReauth, 1),
    (error(200, "(#200) Requires pages_read_engagement", status=403), AccessDenied, 1),
    (error(32, "(#32) Page request limit reached"), Throttled, 3),
    (error(80001, "(#80001) too many calls"), Throttled, 3),
    (error(3001, "no metric", subcode=1504028), UnexpectedAnswer, 1),
    ((302, {"location": "https://elsewhere.test/"}, ""), SettingsError, 1),
]


@pytest.mark.parametrize(("reply", "kind", "tries"), ENDS)
def test_a_failure_is_the_accounts_and_writes_nothing(
    reply: Reply, kind: type[FetchError], tries: int
) -> None:
    for rule, before in ((insights(reply), 1), (lambda _: reply, 0)):
        found, fake = collect(rule)
        assert [isinstance(e, kind) for e in found.errors] == [True]
        assert (found.values, found.waiting) == ([], set())
        assert len(fake.asked) == before + tries


def test_a_stop_ends_the_account() -> None:
    stop = InstantStop()

    def rule(asked: Asked) -> Reply:
        stop.remaining_seconds = lambda: 0.0  # type: ignore[method-assign]
        return healthy(asked)

    found, fake = collect(rule, api=make_api(stop))
    assert [type(e) for e in found.errors] == [Interrupted]
    assert len(fake.asked) == 1


def test_no_message_holds_a_token_or_an_account() -> None:
    text = f"(#10) {PAGE_TOKEN} may not read 100000000000002"
    [message] = messages(collect(insights(error(10, text)))[0])
    assert PAGE_TOKEN not in message
    assert "100000000000002" not in message
