"""Instagram's numbers of one account: which requests, which day, and what is never a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from fetchers.errors import (
    AccessDenied,
    FetchError,
    Interrupted,
    MetricRefused,
    NeedsReauth,
    SettingsError,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.graph import GraphApi
from fetchers.graph_insights import parse_fields, parse_series, parse_totals
from fetchers.instagram import get_instagram_data, refresh_instagram_token
from fetchers.social import Collected, SocialAccount
from fetchers.social_days import pacific_midnight
from fetchers.social_metrics import INSTAGRAM, metrics_of
from models import days_between
from tests.unit.fake_graph import (
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
    totals,
)
from tests.unit.helpers import REMOVED, InstantStop

ACCOUNT = SocialAccount("user-17", "17841400000000001", USER_TOKEN, login="instagram")
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)  # 02:00 of 2026-11-20 in Los Angeles
TODAY = date(2026, 11, 20)
WEEK = days_between(date(2026, 11, 13), date(2026, 11, 19))
SETTLED, UNSETTLED = WEEK[:5], WEEK[5:]  # the 17th ended 50 hours ago
NEWEST, NEWLY_SETTLED = WEEK[-1], SETTLED[-1]
REQUIRED = ("views", "total_interactions", "accounts_engaged")
ALL = [*REQUIRED, "profile_views", "website_clicks"]
LEVELS = {"followers_count": 255, "follows_count": 31, "media_count": 118}
SPLIT = ["views", "total_interactions"]


def number(name: str, day: date) -> int:
    return len(name) * 1000 + day.toordinal() % 1000


def healthy(asked: Asked) -> Reply:
    """An account with numbers for every day and metric."""
    if "fields" in asked.params:
        return ok({**LEVELS, "id": "17841400000000001"})
    if asked.params["metric_type"] == "time_series":
        return series({name: {d: number(name, d) for d in asked.days} for name in asked.metrics})
    [day] = asked.days
    parts = None
    if "breakdown" in asked.params:
        parts = {name: {"REELS": number(name, day) - 5, "FEED": 5} for name in asked.metrics}
    return totals({name: number(name, day) for name in asked.metrics}, parts)


def is_series(asked: Asked) -> bool:
    return asked.params.get("metric_type") == "time_series"


def is_total(asked: Asked) -> bool:
    return asked.params.get("metric_type") == "total_value"


def stored_from(*days: date, state: str = "final", reach: int | None = None) -> dict[Any, Any]:
    known: dict[tuple[str, date], tuple[float, str]] = {}
    for day in days:
        for name in REQUIRED:
            known[name, day] = (float(number(name, day)), state)
        known["reach", day] = (float(number("reach", day) if reach is None else reach), state)
    return known


def collect(
    rule: Rule = healthy,
    *,
    days: list[date] = WEEK,
    now: datetime = NOW,
    stored: Mapping[Any, Any] | None = None,
    levels: bool = False,
    account: SocialAccount = ACCOUNT,
    api: GraphApi | None = None,
) -> tuple[Collected, FakeGraph]:
    with serving(rule) as fake:
        found = get_instagram_data(
            account, days, api=api or make_api(), now=now, stored=stored or {}, levels=levels
        )
    return found, fake


def test_the_first_run_reads_everything_newest_day_first() -> None:
    found, fake = collect(levels=True)
    assert found.errors == []
    assert found.waiting == found.refused == set()
    kinds = [asked.params.get("metric_type", "node") for asked in fake.asked]
    assert kinds == ["time_series", "node", *["total_value"] * (len(UNSETTLED) + 2 * len(SETTLED))]
    asked_days = [asked.days[0] for asked in fake.asked if is_total(asked)]
    assert asked_days == sorted(asked_days, reverse=True)
    expected: dict[tuple[str, date], tuple[float, str]] = {}
    for day in WEEK:
        state = "final" if day in SETTLED else "provisional"
        for name in (*ALL, "reach", "follower_count"):
            expected[name, day] = (number(name, day), state)
        for name in SPLIT if day in SETTLED else ():
            expected[f"{name}:reels", day] = (number(name, day) - 5, state)
            expected[f"{name}:feed", day] = (5, state)
    expected |= {(name, TODAY): (value, "final") for name, value in LEVELS.items()}
    assert rows(found) == expected


def test_a_nightly_run_that_knows_the_rest_asks_five_requests() -> None:
    stored = stored_from(*SETTLED[:-1]) | stored_from(
        NEWLY_SETTLED, *UNSETTLED[:-1], state="provisional"
    )
    found, fake = collect(stored=stored, levels=True)
    totals_asked = [
        (asked.days, "breakdown" in asked.params) for asked in fake.asked if is_total(asked)
    ]
    assert totals_asked == [([NEWEST], False), ([NEWLY_SETTLED], True), ([NEWLY_SETTLED], False)]
    assert len(fake.asked) == 5
    assert found.errors == []


def test_nothing_new_asks_for_the_series_alone() -> None:
    stored = stored_from(*SETTLED) | stored_from(*UNSETTLED, state="provisional")
    _, fake = collect(stored=stored)
    assert len(fake.asked) == 1


@pytest.mark.parametrize("name", REQUIRED)
def test_a_day_without_one_of_the_required_totals_is_asked(name: str) -> None:
    stored = stored_from(*SETTLED) | stored_from(*UNSETTLED, state="provisional")
    del stored[name, WEEK[2]]
    _, fake = collect(stored=stored)
    assert [asked.days for asked in fake.asked if is_total(asked)] == [[WEEK[2]]] * 2


def test_a_revised_reach_has_the_days_totals_read_again() -> None:
    stored = stored_from(*WEEK) | stored_from(WEEK[1], reach=1)
    found, fake = collect(stored=stored)
    assert [asked.days for asked in fake.asked if is_total(asked)] == [[WEEK[1]]] * 2
    assert rows(found)["reach", WEEK[1]] == (number("reach", WEEK[1]), "final")


def test_a_revised_reach_is_kept_back_until_the_totals_came() -> None:
    """Stored at once, it would look as if the day's totals were up to date."""
    stored = stored_from(*WEEK) | stored_from(WEEK[1], reach=1)
    found, _ = collect(
        lambda a: error(2, "later", status=500) if is_total(a) else healthy(a), stored=stored
    )
    assert ("reach", WEEK[1]) not in rows(found)
    assert ("reach", WEEK[2]) in rows(found)
    assert ("follower_count", WEEK[1]) in rows(found)
    assert [e.kind for e in found.errors] == ["temporary"]


def test_the_requests_are_as_the_api_wants_them() -> None:
    _, fake = collect(levels=True)
    series_asked, node = fake.asked[:2]
    since, until = pacific_midnight(WEEK[0]), pacific_midnight(WEEK[-1] + timedelta(days=1))
    assert series_asked.params == {
        "metric": "reach,follower_count",
        "period": "day",
        "metric_type": "time_series",
        "since": str(since),
        "until": str(until),
    }
    assert series_asked.path == "/v25.0/17841400000000001/insights"
    assert node.path == "/v25.0/17841400000000001"
    assert node.params == {"fields": "followers_count,follows_count,media_count"}
    [split] = [a for a in fake.asked if a.params.get("breakdown") and a.days == [NEWLY_SETTLED]]
    assert split.metrics == SPLIT
    assert split.params["breakdown"] == "media_product_type"
    assert {asked.token for asked in fake.asked} == {USER_TOKEN}
    assert {asked.host for asked in fake.asked} == {"graph.instagram.test"}


def test_a_login_through_facebook_is_answered_by_its_host() -> None:
    _, fake = collect(account=SocialAccount("1", "178", USER_TOKEN))
    assert {asked.host for asked in fake.asked} == {"graph.facebook.test"}


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 11, 17), 24)]
)
def test_a_day_is_asked_for_from_midnight_to_midnight(day: date, hours: int) -> None:
    found, fake = collect(days=[day])
    for asked in fake.insights:
        assert int(asked.params["since"]) == pacific_midnight(day)
        assert int(asked.params["until"]) - int(asked.params["since"]) == hours * 3600
    assert {key[1] for key in rows(found)} == {day}


def test_a_series_over_the_end_of_summer_time_is_dated_by_each_end_time() -> None:
    days = days_between(date(2026, 10, 31), date(2026, 11, 2))
    answer = ok(documented("instagram_series_dst"))
    found, _ = collect(lambda a: answer if is_series(a) else healthy(a), days=days)
    reach = [found_row for key, found_row in sorted(rows(found).items()) if key[0] == "reach"]
    assert reach == [(10, "final"), (11, "final"), (12, "final")]


def test_a_series_may_bring_other_days_which_nobody_asked_for() -> None:
    more = days_between(WEEK[0] - timedelta(days=3), TODAY + timedelta(days=3))
    answer = series({"reach": dict.fromkeys(more, 1), "unheard_of": {WEEK[0]: 5}})
    found, _ = collect(lambda a: answer if is_series(a) else healthy(a))
    assert {day for name, day in rows(found) if name == "reach"} == set(WEEK)
    assert not any(name == "unheard_of" for name, _ in rows(found))


def test_a_month_over_the_end_of_summer_time_is_an_hour_too_long_for_one_request() -> None:
    """30 days, 30 days and an hour: 2592000 s is the limit (facts 1.3)."""
    month = days_between(date(2026, 10, 15), date(2026, 11, 13))
    _, fake = collect(days=month, now=NOW + timedelta(days=400))
    spans = [int(a.params["until"]) - int(a.params["since"]) for a in fake.asked if is_series(a)]
    assert max(spans) <= 30 * 86_400
    assert len(spans) == 2
    _, fake = collect(days=month[:-1], now=NOW + timedelta(days=400))
    assert len([a for a in fake.asked if is_series(a)]) == 1


def test_the_count_of_new_followers_is_asked_for_30_days_alone() -> None:
    days = days_between(date(2026, 10, 1), date(2026, 11, 19))
    found, fake = collect(days=days)
    asked = [a for a in fake.asked if is_series(a)]
    with_count = [day for a in asked if "follower_count" in a.metrics for day in a.days]
    assert with_count[0] == date(2026, 10, 22)  # the 21st began 30 days and 3 hours ago
    assert sorted(day for a in asked for day in a.days) == days
    assert {day for name, day in rows(found) if name == "reach"} == set(days)


def test_days_that_are_not_over_wait_and_are_not_asked() -> None:
    found, fake = collect(days=[*WEEK, TODAY, TODAY + timedelta(days=1)])
    assert found.waiting == {TODAY, TODAY + timedelta(days=1)}
    assert TODAY not in {day for asked in fake.insights for day in asked.days}
    assert found.errors == []


def test_days_that_instagram_forgot_are_not_asked() -> None:
    old = date(2024, 11, 19)
    found, fake = collect(days=[old, NEWEST])
    assert [type(e) for e in found.errors] == [SettingsError]
    assert found.errors[0].mend == "ask for days from 2024-11-21 on (--from and --to)"
    assert {day for asked in fake.insights for day in asked.days} == {NEWEST}


def test_a_day_that_is_not_published_waits() -> None:
    def rule(asked: Asked) -> Reply:
        if is_series(asked):
            return series({"reach": {day: 9 for day in asked.days if day != NEWEST}})
        return ok({"data": []}) if asked.days == [NEWEST] else healthy(asked)

    found, _ = collect(rule)
    assert found.waiting == {NEWEST}
    assert rows(found, NEWEST) == {}
    assert found.errors == []


def test_a_day_without_a_series_waits_though_its_totals_are_known() -> None:
    def rule(asked: Asked) -> Reply:
        return series({"reach": {day: 9 for day in asked.days if day != WEEK[2]}})

    stored = stored_from(*SETTLED) | stored_from(*UNSETTLED, state="provisional")
    found, _ = collect(rule, stored=stored | stored_from(*SETTLED, reach=9))
    assert found.waiting == {WEEK[2]}


def test_a_zero_is_a_number() -> None:
    def rule(asked: Asked) -> Reply:
        if is_series(asked):
            return series({name: dict.fromkeys(asked.days, 0) for name in asked.metrics})
        return totals(dict.fromkeys(asked.metrics, 0))

    found, _ = collect(rule)
    assert rows(found)["views", NEWEST] == (0, "provisional")
    assert rows(found)["views", SETTLED[0]] == (0, "final")
    assert found.waiting == set()


@pytest.mark.parametrize("day", [NEWEST, NEWLY_SETTLED])
def test_a_total_of_0_on_a_day_with_reach_contradicts_itself(day: date) -> None:
    def rule(asked: Asked) -> Reply:
        if is_total(asked) and asked.days == [day]:
            return totals({**dict.fromkeys(asked.metrics, 7), "views": 0})
        return healthy(asked)

    found, _ = collect(rule)
    of_series = {"follower_count"} if day in SETTLED else {"reach", "follower_count"}
    assert {name for name, _ in rows(found, day)} == of_series
    assert found.waiting == {day}
    assert ("views", WEEK[0]) in rows(found)
    assert found.errors == []


NO_SERIES = [error(2, "later", status=500), ok({"data": []})]


def zeros(of_series: Reply) -> Rule:
    """Totals of 0 and this in place of a series."""
    return lambda a: of_series if is_series(a) else totals(dict.fromkeys(a.metrics, 0))


def reach_of(number: int) -> Reply:
    return series({"reach": dict.fromkeys(WEEK, number)})


@pytest.mark.parametrize("of_series", NO_SERIES)
def test_a_total_of_0_without_a_known_reach_is_not_believed_at_any_age(of_series: Reply) -> None:
    found, _ = collect(zeros(of_series))
    assert found.values == []
    assert found.waiting == set(WEEK)


@pytest.mark.parametrize("of_series", NO_SERIES)
@pytest.mark.parametrize(
    ("reach", "views", "believed"),
    [(9, None, False), (0, None, True), (0, 0, True), (0, 7, False), (None, 7, False)],
)
def test_where_the_series_says_nothing_what_is_stored_decides(
    of_series: Reply, reach: int | None, views: int | None, believed: bool
) -> None:
    known = {"reach": reach, "views": views}
    stored = {
        (name, day): (float(n), "provisional")
        for name, n in known.items()
        for day in WEEK
        if n is not None
    }
    found, _ = collect(zeros(of_series), stored=stored)
    assert {day for name, day in rows(found) if name == "views"} == (
        set(WEEK) if believed else set()
    )


@pytest.mark.parametrize(("reach", "believed"), [(0, True), (9, False)])
def test_the_series_decides_before_what_is_stored(reach: int, believed: bool) -> None:
    stored = stored_from(*WEEK, state="provisional", reach=0 if reach else 5)
    found, _ = collect(zeros(reach_of(reach)), stored=stored)
    days = set(SETTLED) if believed else set()
    assert {day for name, day in rows(found) if name == "views"} == days


@pytest.mark.parametrize("half", [True, False])
def test_the_reach_of_a_settled_day_waits_for_its_totals_in_any_run(half: bool) -> None:
    """A run over given days is not told what is stored. half: which of the two requests fails."""

    def rule(asked: Asked) -> Reply:
        bad = asked.days == [WEEK[1]] and ("breakdown" in asked.params) is half
        return error(2, "later", status=500) if bad else healthy(asked)

    found, _ = collect(rule, stored={})
    assert {day for name, day in rows(found) if name == "reach"} == {*WEEK} - {WEEK[1]}
    assert {day for name, day in rows(found) if name == "follower_count"} == set(WEEK)


def test_a_reach_whose_totals_are_not_asked_for_waits_for_nothing() -> None:
    stored = stored_from(*SETTLED) | stored_from(*UNSETTLED, state="provisional")
    found, _ = collect(stored=stored)
    assert {day for name, day in rows(found) if name == "reach"} == set(WEEK)


def test_a_reach_waits_for_no_totals_where_all_are_gone() -> None:
    gone = error(100, ALLOWED.format("none_of_them"))
    found, _ = collect(lambda a: gone if is_total(a) else healthy(a))
    assert {day for name, day in rows(found) if name == "reach"} == set(WEEK)


def test_one_odd_value_costs_its_metric_alone() -> None:
    def rule(asked: Asked) -> Reply:
        if "fields" in asked.params:
            return ok({**LEVELS, "media_count": "x"})
        if is_series(asked):
            of_count: dict[date, object] = {**dict.fromkeys(WEEK, 3), WEEK[0]: "x"}
            return series({"reach": dict.fromkeys(WEEK, 3), "follower_count": of_count})
        return totals({**dict.fromkeys(asked.metrics, 7), "profile_views": 2**70, "views": []})

    found, _ = collect(rule, levels=True)
    names = {"reach", *ALL} - {"profile_views", "views"}
    expected = {(name, day) for name in names for day in UNSETTLED}
    assert {key for key in rows(found) if key[1] in UNSETTLED} == expected
    assert {name for name, _ in rows(found, TODAY)} == {"followers_count", "follows_count"}
    assert len(found.errors) == 3
    for name in ("profile_views", "follower_count", "media_count"):
        assert any(f"a value of {name} is" in message for message in messages(found))
    assert found.waiting == set()


def test_a_reach_is_kept_back_while_a_total_of_its_day_is_odd() -> None:
    stored = stored_from(*WEEK) | stored_from(WEEK[1], reach=1)

    def rule(asked: Asked) -> Reply:
        numbers: dict[str, object] = {**dict.fromkeys(asked.metrics, 7)}
        if "accounts_engaged" in numbers:
            numbers["accounts_engaged"] = "x"
        return totals(numbers) if is_total(asked) else healthy(asked)

    found, _ = collect(rule, stored=stored)
    assert rows(found, WEEK[1])["views", WEEK[1]] == (7, "final")
    assert ("reach", WEEK[1]) not in rows(found)


def test_an_empty_list_in_place_of_a_total_is_no_total() -> None:
    entries = [
        {"name": "views", "period": "day", "total_value": []},
        {"name": "total_interactions", "period": "day", "total_value": {"value": 4}},
    ]
    found, _ = collect(
        lambda a: ok({"data": entries}) if is_total(a) else healthy(a), days=[NEWEST]
    )
    assert ("views", NEWEST) not in rows(found)
    assert rows(found)["total_interactions", NEWEST] == (4, "provisional")
    assert found.errors == []


def test_a_revised_day_that_contradicts_itself_is_read_again_the_next_time() -> None:
    stored = stored_from(*WEEK) | stored_from(WEEK[1], reach=1)

    def rule(asked: Asked) -> Reply:
        return totals(dict.fromkeys(asked.metrics, 0)) if is_total(asked) else healthy(asked)

    found, _ = collect(rule, stored=stored)
    assert ("reach", WEEK[1]) not in rows(found)


@pytest.mark.parametrize("name", ["instagram_total_no_value", "instagram_total_empty_value"])
def test_a_total_without_a_value_is_absent(name: str) -> None:
    answer = ok(documented(name))
    found, _ = collect(lambda a: answer if is_total(a) else healthy(a), days=[NEWEST])
    assert rows(found, NEWEST)["views", NEWEST] == (224, "provisional")
    assert {key[0] for key in rows(found)} == {"views", "reach", "follower_count"}
    assert found.errors == []


def test_parts_are_stored_beside_the_total_with_their_post_type() -> None:
    parts = {"REELS": 1, "REEL": 2, "STORY": 3, "AD": 4, "POST": 5, "FEED": 6, "NEWS": 8}
    parts["CAROUSEL_CONTAINER"] = 7
    answer = totals(dict.fromkeys(SPLIT, 9), {"views": parts})
    found, _ = collect(lambda a: answer if "breakdown" in a.params else healthy(a), days=[WEEK[0]])
    of_parts = {v.name: (v.value, v.extra) for v in found.values if v.part}
    assert of_parts == {
        "views:reels": (3, {"post_type": "reel"}),  # one name for both spellings
        "views:story": (3, {"post_type": "story"}),
        "views:ad": (4, {"post_type": "ad"}),
        "views:post": (5, {"post_type": "post"}),
        "views:feed": (6, {"post_type": "post"}),
        "views:carousel_container": (7, {"post_type": "post"}),
        "views:news": (8, {"post_type": "news"}),
    }
    assert next(v for v in found.values if v.name == "views").extra == {}


def test_a_breakdown_may_have_no_parts() -> None:
    answer = ok(documented("instagram_total_breakdown_empty"))
    found, _ = collect(lambda a: answer if "breakdown" in a.params else healthy(a), days=[WEEK[0]])
    assert not any(v.part for v in found.values)
    assert found.errors == []


def test_parts_of_another_dimension_are_not_taken() -> None:
    total = {
        "value": 9,
        "breakdowns": [
            {
                "dimension_keys": ["follow_type"],
                "results": [{"dimension_values": ["FOLLOWER"], "value": 3}],
            }
        ],
    }
    answer = ok({"data": [{"name": "views", "period": "day", "total_value": total}]})
    found, _ = collect(lambda a: answer if "breakdown" in a.params else healthy(a), days=[WEEK[0]])
    assert not any(v.part for v in found.values)


ALLOWED = "(#100) metric[3] must be one of the following values: reach, follower_count, {}"


def test_a_retired_optional_metric_costs_the_others_nothing() -> None:
    """The message lists what is allowed: the metrics that it names are the good ones."""
    message = ALLOWED.format("views, total_interactions, accounts_engaged, website_clicks")

    def rule(asked: Asked) -> Reply:
        return error(100, message) if "profile_views" in asked.metrics else healthy(asked)

    api = make_api()
    found, fake = collect(rule, api=api)
    assert (found.refused, found.errors) == ({"profile_views"}, [])
    assert len([a for a in fake.asked if "profile_views" in a.metrics]) == 1
    for day in WEEK:
        names = {name for name, _ in rows(found, day)}
        assert {*ALL, "reach", "follower_count"} - names == {"profile_views"}
    other, fake = collect(rule, api=api)
    assert not any("profile_views" in asked.metrics for asked in fake.asked)
    assert other.refused == {"profile_views"}


def test_a_retired_required_metric_is_a_failure_and_costs_the_others_nothing() -> None:
    message = ALLOWED.format("total_interactions, accounts_engaged, profile_views, website_clicks")

    def rule(asked: Asked) -> Reply:
        return error(100, message) if "views" in asked.metrics else healthy(asked)

    found, fake = collect(rule)
    assert found.refused == {"views"}
    [failure] = found.errors
    assert type(failure) is MetricRefused
    assert failure.message.startswith("views is refused")
    for day in SETTLED:
        assert rows(found, day)["total_interactions:reels", day][1] == "final"
        assert rows(found, day)["accounts_engaged", day] == (
            number("accounts_engaged", day),
            "final",
        )
    assert len([a for a in fake.asked if "views" in a.metrics]) <= 2
    found, _ = collect(rule, days=[WEEK[0]])  # the first request that it is part of is a split one
    assert messages(found) == [failure.message]
    assert rows(found)["total_interactions:feed", WEEK[0]] == (5, "final")


def test_where_the_answer_names_no_metric_each_is_asked_alone() -> None:
    def rule(asked: Asked) -> Reply:
        if "website_clicks" in asked.metrics:
            return error(100, "(#100) The value must be a valid insights metric")
        return healthy(asked)

    found, _ = collect(rule)
    assert (found.refused, found.errors) == ({"website_clicks"}, [])
    assert {name for name, _ in rows(found, NEWEST)} == {*ALL, "reach", "follower_count"} - {
        "website_clicks"
    }


def test_a_breakdown_that_is_gone_leaves_the_totals() -> None:
    """It gives an unknown error without a word about the breakdown (facts 1.3)."""

    def rule(asked: Asked) -> Reply:
        if "breakdown" in asked.params:
            return error(1, "An unknown error has occurred.", status=500)
        return healthy(asked)

    found, fake = collect(rule)
    assert len([a for a in fake.asked if "breakdown" in a.params]) == 2  # the tries of one request
    for day in SETTLED:
        assert rows(found, day)["views", day] == (
            number("views", day),
            "provisional",
        )  # asked again
        assert rows(found, day)["accounts_engaged", day][1] == "final"
    assert found.errors
    assert all("media_product_type" in e.message for e in found.errors)


def test_fewer_than_100_followers_have_no_count_of_new_ones() -> None:
    def rule(asked: Asked) -> Reply:
        if is_series(asked):
            return series({"reach": dict.fromkeys(asked.days, 3)})
        return healthy(asked)

    found, _ = collect(rule)
    assert not any(name == "follower_count" for name, _ in rows(found))
    assert found.waiting == set()
    assert found.errors == []


def test_a_level_that_is_absent_is_not_a_number() -> None:
    def rule(asked: Asked) -> Reply:
        return ok({"followers_count": 0, "id": "1"}) if "fields" in asked.params else healthy(asked)

    found, _ = collect(rule, levels=True)
    assert rows(found, TODAY) == {("followers_count", TODAY): (0, "final")}


def test_levels_are_dated_the_day_that_is_not_over_in_pacific_time() -> None:
    for now, day in (
        (datetime(2026, 11, 2, 7, 59, tzinfo=UTC), date(2026, 11, 1)),
        (datetime(2026, 11, 2, 8, 0, tzinfo=UTC), date(2026, 11, 2)),
        (datetime(2026, 3, 9, 6, 59, tzinfo=UTC), date(2026, 3, 8)),
    ):
        found, _ = collect(days=[], levels=True, now=now)
        assert {(v.name, v.day) for v in found.values} == {(name, day) for name in LEVELS}


ENDS: list[tuple[Reply, type[FetchError]]] = [
    (error(190, "gone", subcode=463), NeedsReauth),
    (error(10, "(#10) Application does not have permission", status=403), AccessDenied),
    (error(100, "no such object", subcode=33), AccessDenied),
    (error(4, "limit", status=403), Throttled),
    ((404, {}, "<html>"), SettingsError),
]


@pytest.mark.parametrize(("reply", "kind"), ENDS)
def test_after_a_failure_of_the_account_nothing_more_is_asked(
    reply: Reply, kind: type[FetchError]
) -> None:
    found, fake = collect(lambda _: reply, levels=True)
    assert [isinstance(e, kind) for e in found.errors] == [True]
    assert found.values == []
    assert len(fake.asked) <= (3 if kind is Throttled else 1)
    found, fake = collect(lambda a: reply if a.days == [NEWEST] else healthy(a))
    assert [isinstance(e, kind) for e in found.errors] == [True]
    assert {name for name, _ in rows(found)} == {"reach", "follower_count"}  # what it got


def test_a_stop_ends_the_account() -> None:
    stop = InstantStop()

    def rule(asked: Asked) -> Reply:
        stop.remaining_seconds = lambda: 0.0  # type: ignore[method-assign]
        return healthy(asked)

    found, fake = collect(rule, api=make_api(stop))
    assert [type(e) for e in found.errors] == [Interrupted]
    assert len(fake.asked) == 1
    assert {name for name, _ in rows(found)} == {"reach", "follower_count"}


def test_one_failed_request_costs_only_its_own_numbers() -> None:
    def rule(asked: Asked) -> Reply:
        bad = asked.days == [WEEK[3]] and "breakdown" not in asked.params
        return error(2, "later", status=500) if bad else healthy(asked)

    found, _ = collect(rule)
    whole, _ = collect()
    lost = {key for key in rows(whole) if key not in rows(found)}
    names = ("accounts_engaged", "profile_views", "website_clicks", "reach")
    assert lost == {(name, WEEK[3]) for name in names}
    assert [e.kind for e in found.errors] == ["temporary"]
    assert found.waiting == set()


def test_a_failed_series_leaves_the_totals() -> None:
    found, _ = collect(lambda a: error(2, "later", status=500) if is_series(a) else healthy(a))
    assert {day for name, day in rows(found) if name == "views"} == set(WEEK)
    assert found.waiting == set()
    assert len(found.errors) == 1


def test_a_dead_server_is_not_asked_for_every_day() -> None:
    found, fake = collect(lambda _: error(2, "later", status=500), levels=True)
    assert len(fake.asked) == 4  # two requests of two tries
    assert len(found.errors) == 1


def spoiled(answer: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Where something in an answer may be missing or odd, and in what way."""
    items = answer.items() if isinstance(answer, dict) else enumerate(answer)
    for key, value in items:
        odds: tuple[object, ...] = (REMOVED, None, "x", True, [], {}, [1], 1e400, 2**70)
        for odd in odds:
            yield (*path, key), odd
        if isinstance(value, dict | list):
            yield from spoiled(value, (*path, key))


def spoil(answer: Any, path: tuple[Any, ...], odd: object) -> Any:
    key, *rest = path
    copy = dict(answer) if isinstance(answer, dict) else list(answer)
    if rest:
        copy[key] = spoil(answer[key], tuple(rest), odd)
    elif odd is REMOVED:
        del copy[key]
    else:
        copy[key] = odd
    return copy


Told = dict[tuple[str, object], float]


Odd = list[UnexpectedAnswer]


def told_series(answer: Any, odd: Odd) -> Told:
    days = days_between(date(2026, 11, 15), date(2026, 11, 17))
    found = parse_series(answer, metrics_of(INSTAGRAM, "series"), days, odd)
    return {(metric.name, day): value for (metric, day), value in found.items()}


def told_totals(answer: Any, odd: Odd) -> Told:
    told: Told = {}
    metrics = metrics_of(INSTAGRAM, "total_value")
    for metric, total in parse_totals(answer, metrics, odd).items():
        told |= {(metric.name, part): value for part, value in total.parts.items()}
        if total.value is not None:
            told[metric.name, None] = total.value
    return told


def told_fields(answer: Any, odd: Odd) -> Told:
    found = parse_fields(answer, metrics_of(INSTAGRAM, "node"), odd)
    return {(metric.name, None): value for metric, value in found.items()}


@pytest.mark.parametrize(
    ("name", "tell", "least"),
    [
        ("instagram_series", told_series, 6),
        ("instagram_total_breakdown", told_totals, 8),
        ("instagram_total_value", told_totals, 5),
        ("instagram_node", told_fields, 3),
    ],
)
def test_an_answer_of_odd_shape_gives_no_wrong_number(
    name: str, tell: Callable[[Any, Odd], Told], least: int
) -> None:
    answer = documented(name)
    whole = tell(answer, [])
    assert len(whole) == least
    refused = 0
    for path, odd in spoiled(answer):
        left_out: Odd = []
        try:
            found = tell(spoil(answer, path, odd), left_out)
        except UnexpectedAnswer:
            refused += 1
            continue
        refused += bool(left_out)
        wrong = {key for key, value in found.items() if whole.get(key) != value}
        renamed = "dimension_values" in path and odd == "x"
        assert wrong == set() or renamed, (path, odd)
    assert refused > 10


def test_an_account_without_an_id_is_not_asked() -> None:
    found, fake = collect(account=SocialAccount("1", "", USER_TOKEN))
    assert [type(e) for e in found.errors] == [SettingsError]
    assert fake.asked == []


def test_no_message_holds_a_token_or_an_account() -> None:
    text = f"(#10) {USER_TOKEN} may not read 17841400000000001"
    found, _ = collect(lambda _: error(10, text))
    [message] = messages(found)
    assert USER_TOKEN not in message
    assert "17841400000000001" not in message


def test_a_token_is_refreshed_with_itself_in_a_header() -> None:
    before = datetime.now(UTC)
    with serving(lambda _: ok(documented("instagram_refresh"))) as fake:
        new = refresh_instagram_token(ACCOUNT, api=make_api())
    [asked] = fake.asked
    assert (asked.path, asked.params) == (
        "/refresh_access_token",
        {"grant_type": "ig_refresh_token"},
    )
    assert (asked.host, asked.token) == ("graph.instagram.test", USER_TOKEN)
    assert new.access_token == "example-long-lived-token-2"
    assert new.refresh_token is None
    late = new.expires_at - before - timedelta(seconds=5183944)
    assert timedelta(0) <= late < timedelta(minutes=1)
    assert "example" not in repr(new)


@pytest.mark.parametrize("field", ["access_token", "expires_in"])
@pytest.mark.parametrize("odd", [REMOVED, None, "", "two words", True, -1, 1.5, 10**12, [], {}])
def test_a_new_token_of_odd_shape_is_not_taken(field: str, odd: object) -> None:
    answer = spoil(documented("instagram_refresh"), (field,), odd)
    with serving(lambda _: ok(answer)), pytest.raises(UnexpectedAnswer):
        refresh_instagram_token(ACCOUNT, api=make_api())


def test_an_expired_token_is_not_refreshed() -> None:
    with serving(lambda _: error(190, "expired", subcode=463)), pytest.raises(NeedsReauth):
        refresh_instagram_token(ACCOUNT, api=make_api())
