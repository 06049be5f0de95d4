"""Which numbers the social stand-ins say of which day; facts/social.md 1.6, 2.4, 3.4."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
import requests

from sandbox import Sandbox, World
from tests.unit.social_sandbox import (
    DAY,
    NUMBER,
    ONE_DAY,
    SOCIAL,
    USUAL,
    ask,
    documented,
    insights,
    reports,
    seconds,
    statistics,
    totals,
    values,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(World(sites=3, accounts=1), social=SOCIAL) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


def test_a_series_has_pacific_days_also_when_the_clocks_change(sandbox: Sandbox) -> None:
    first, last = date(2026, 10, 31), date(2026, 11, 2)
    number = sandbox.social.numbers.get
    ends = ["2026-11-01T07:00:00+0000", "2026-11-02T08:00:00+0000", "2026-11-03T08:00:00+0000"]
    days = [first, first + ONE_DAY, last]
    for platform, metric in (("instagram", "reach"), ("facebook", "page_media_view")):
        response = ask(sandbox, platform, insights(platform, metric, first=first, last=last))
        expected = [
            (number(NUMBER[platform], metric, day), end)
            for day, end in zip(days, ends, strict=True)
        ]
        assert values(response) == {metric: expected}


def test_a_total_is_that_of_the_time_asked_for_to_the_second(sandbox: Sandbox) -> None:
    for day, value in ((DAY, 240_000), (DAY + ONE_DAY, 24_000)):
        sandbox.social.numbers.set(1, "views", day, value)

    def total(path: str) -> int:
        found = ask(sandbox, "instagram", path).json()["data"][0]["total_value"]["value"]
        assert isinstance(found, int)
        return found

    assert total(totals("views")) == 240_000
    assert total(totals("views", last=DAY + ONE_DAY)) == 264_000
    span = f"since={seconds(DAY)}&until={seconds(DAY + ONE_DAY)}"
    later = f"since={seconds(DAY) + 3600}&until={seconds(DAY + ONE_DAY) + 3600}"
    assert total(totals("views").replace(span, later)) == 231_000


def test_thirty_pacific_days_with_the_end_of_summer_time_are_too_many(sandbox: Sandbox) -> None:
    def status(days: int, last: date) -> int:
        path = insights("instagram", "reach", first=last - timedelta(days=days - 1), last=last)
        return int(ask(sandbox, "instagram", path).status_code)

    assert status(30, date(2026, 10, 31)) == 200
    assert status(30, date(2026, 11, 15)) == 400
    assert status(29, date(2026, 11, 15)) == 200
    last = date(2026, 10, 31)
    for days, expected in ((90, 200), (91, 400)):
        path = insights(
            "facebook", "page_follows", first=last - timedelta(days=days - 1), last=last
        )
        assert ask(sandbox, "facebook", path).status_code == expected


def test_a_day_that_is_not_out_is_absent_and_never_zero(sandbox: Sandbox) -> None:
    today = date(2026, 11, 20)
    assert ask(sandbox, "instagram", totals("views", first=today, last=today)).json()["data"] == []
    path = insights("instagram", "reach", first=today - ONE_DAY, last=today)
    assert len(values(ask(sandbox, "instagram", path))["reach"]) == 1
    sandbox.social.numbers.hold_back(1, today - ONE_DAY)
    assert values(ask(sandbox, "instagram", path)) == {}
    sandbox.social.numbers.publish(1, today - ONE_DAY)
    assert len(values(ask(sandbox, "instagram", path))["reach"]) == 1
    answer = ask(sandbox, "youtube", reports("views", date(2026, 11, 18), today)).json()
    assert "rows" not in answer
    sandbox.social.numbers.hold_back(4, DAY)
    assert ask(sandbox, "linkedin", statistics()).json()["elements"] == []


def test_a_part_of_nothing_is_not_there(sandbox: Sandbox) -> None:
    path = f"{totals('views')}&breakdown=media_product_type"

    def total() -> Any:
        return ask(sandbox, "instagram", path).json()["data"][0]["total_value"]

    sandbox.social.numbers.set(1, "views", DAY, 100)
    sandbox.social.numbers.set(1, "views:story", DAY, 0)
    results = total()["breakdowns"][0]["results"]
    assert [(part["dimension_values"], part["value"]) for part in results] == [
        (["REELS"], 55),
        (["FEED"], 30),
    ]
    sandbox.social.numbers.set(1, "views", DAY, 0)
    assert (
        total() == documented("instagram_total_breakdown_empty")["json"]["data"][0]["total_value"]
    )
    assert "views:story" not in sandbox.social.numbers.of_a_day(1, DAY)


def test_a_late_metric_hides_the_others_of_its_row_at_youtube(sandbox: Sandbox) -> None:
    sandbox.social.numbers.hold_back(3, DAY, "likes")
    both = ask(sandbox, "youtube", reports("views,likes", DAY, DAY + ONE_DAY)).json()
    assert [row[0] for row in both["rows"]] == [str(DAY + ONE_DAY)]
    alone = ask(sandbox, "youtube", reports("views", DAY, DAY + ONE_DAY)).json()
    assert len(alone["rows"]) == 2


def test_a_revised_number_is_what_it_says_from_then_on(sandbox: Sandbox) -> None:
    changes = [
        {"do": "set", "connection": n, "metric": metric, "day": str(DAY), "value": 4321}
        for n, metric in ((1, "reach"), (2, "page_media_view"), (3, "views"), (4, "clickCount"))
    ]
    response = requests.post(f"{sandbox.url}/sandbox/social", json=changes, timeout=5)
    assert response.json() == {"result": "success", "values": [None] * 4}
    for platform in NUMBER:
        assert "4321" in ask(sandbox, platform, USUAL[platform]).text
    sandbox.reset()
    for platform in NUMBER:
        assert "4321" not in ask(sandbox, platform, USUAL[platform]).text
    changes[0]["metric"] = "reech"
    response = requests.post(f"{sandbox.url}/sandbox/social", json=changes, timeout=5)
    assert response.status_code == 400


def test_a_small_account_says_less(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {SOCIAL.access_token(5)}"}
    path = insights("instagram", "reach,follower_count", number=5)
    response = requests.get(f"{sandbox.url}/graph.facebook{path}", headers=headers, timeout=5)
    assert list(values(response)) == ["reach"]
    path = insights("facebook", "page_media_view", number=6)
    response = ask(sandbox, "facebook", path, SOCIAL.page_token(6))
    assert response.json()["data"] == []
    assert "follower_count" not in sandbox.social.numbers.of_a_day(5, DAY)
    assert sandbox.social.numbers.of_a_day(6, DAY) == {}


def heard(sandbox: Sandbox, number: int, day: date) -> dict[str, int | float]:
    """Every number of a day, read from the answers by hand."""
    platform = SOCIAL.platform_of(number)
    found: dict[str, int | float] = {}
    if platform in {"instagram", "facebook"}:
        series = "reach,follower_count"
        if platform == "facebook":
            series = (
                "page_media_view,page_total_media_view_unique,page_post_engagements,page_follows,"
                "page_views_total,page_daily_follows_unique,page_daily_unfollows_unique"
            )
        path = insights(platform, series, first=day, last=day)
        found |= {name: value[0][0] for name, value in values(ask(sandbox, platform, path)).items()}
    if platform == "instagram":
        plain = totals("accounts_engaged,profile_views,website_clicks", first=day, last=day)
        split = totals("views,total_interactions", first=day, last=day)
        blocks = ask(sandbox, platform, plain).json()["data"]
        blocks += ask(sandbox, platform, f"{split}&breakdown=media_product_type").json()["data"]
        for block in blocks:
            found[block["name"]] = block["total_value"]["value"]
            for breakdown in block["total_value"].get("breakdowns", ()):
                for part in breakdown.get("results", ()):
                    name = f"{block['name']}:{part['dimension_values'][0].lower()}"
                    found[name] = part["value"]
    if platform == "youtube":
        for metrics, dimensions in (
            (
                "views,engagedViews,estimatedMinutesWatched,averageViewDuration,subscribersGained,"
                "subscribersLost,likes,comments,shares",
                "day",
            ),
            ("views,engagedViews,estimatedMinutesWatched", "day,creatorContentType"),
        ):
            answer = ask(sandbox, platform, reports(metrics, day, day, dimensions)).json()
            width = len(dimensions.split(","))
            for row in answer.get("rows", ()):
                part = "".join(f":{p.lower().replace('_', '')}" for p in row[1:width])
                pairs = zip(metrics.split(","), row[width:], strict=True)
                found |= {f"{metric}{part}": value for metric, value in pairs}
    if platform == "linkedin":
        for what, finder in (
            ("organizationalEntityShareStatistics", "organizationalEntity"),
            ("organizationalEntityFollowerStatistics", "organizationalEntity"),
            ("organizationPageStatistics", "organization"),
        ):
            (element,) = ask(sandbox, platform, statistics(what, day, day, finder)).json()[
                "elements"
            ]
            found |= element.get("totalShareStatistics", {}) | element.get("followerGains", {})
            if "totalPageStatistics" in element:
                views = element["totalPageStatistics"]["views"]["allPageViews"]
                found["allPageViews"] = views["pageViews"]
    return found


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_what_a_collection_must_have_is_what_the_answers_say(sandbox: Sandbox, number: int) -> None:
    for ago in range(6, 18):
        day = date(2026, 11, 20) - timedelta(days=ago)
        expected = sandbox.social.numbers.of_a_day(number, day)
        assert heard(sandbox, number, day) == expected
        assert len(expected) >= 7


def test_what_no_collection_can_have_any_more_or_yet_is_not_expected(sandbox: Sandbox) -> None:
    expected = sandbox.social.numbers.of_a_day
    newest, too_new = date(2026, 11, 17), date(2026, 11, 18)
    assert expected(4, newest)
    assert expected(4, too_new) == {}
    assert "follower_count" in expected(1, date(2026, 10, 21))
    assert "follower_count" not in expected(1, date(2026, 10, 20))
    for day, status in ((date(2026, 10, 21), 200), (date(2026, 10, 20), 400)):
        path = insights("instagram", "follower_count", first=day, last=day)
        assert ask(sandbox, "instagram", path).status_code == status


def test_the_numbers_differ_and_some_are_zero() -> None:
    days = [DAY - timedelta(days=ago) for ago in range(300)]
    for number, metric in ((1, "views"), (2, "page_media_view"), (3, "views"), (4, "clickCount")):
        found = [SOCIAL.number(number, metric, day) for day in days]
        assert 2 <= found.count(0) < 150
        assert len(set(found)) >= 5
    levels = [SOCIAL.number(2, "page_follows", day) for day in days]
    assert levels == sorted(levels, reverse=True)
