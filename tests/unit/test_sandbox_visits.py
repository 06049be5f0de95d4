"""Pages of the sandbox's visit log follow facts/matomo.md, A and E."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sandbox import World
from sandbox.__main__ import _parser, world_of
from tests.unit.visit_sandbox import DAY, OFFSET, PACIFIC, TOKYO, WORLD, ZONES, Server, recorded

ONE_DAY = timedelta(days=1)
LA = ZoneInfo("America/Los_Angeles")


def server(**more: Any) -> Server:
    return Server(replace(WORLD, **more))


def test_a_page_holds_100_visits_unless_asked_for_others() -> None:
    matomo = server(visits_per_day=130)
    every = matomo.ids(TOKYO, DAY)
    assert len(every) == len(set(every)) == 130
    assert matomo.ids(TOKYO, DAY, filter_limit="") == every[:100]
    assert matomo.ids(TOKYO, DAY, filter_limit=0) == []
    assert matomo.ids(TOKYO, DAY, filter_limit=50, filter_offset=100) == every[100:]
    assert matomo.ids(TOKYO, DAY, filter_offset=10_000) == []


def test_the_newest_comes_first_unless_asked_for_the_oldest() -> None:
    matomo = server()
    oldest_first = matomo.ids(TOKYO, DAY)
    assert matomo.ids(TOKYO, DAY, filter_sort_order="desc") == oldest_first[::-1]
    assert (
        matomo.ids(TOKYO, DAY, filter_sort_order="other", filter_limit=5)
        == (oldest_first[: -5 - 1 : -1])
    )
    lasts = [visit["lastActionTimestamp"] for visit in matomo.page(TOKYO, DAY)]
    assert lasts == sorted(lasts)


def test_min_timestamp_is_exclusive_and_real_time() -> None:
    matomo = server()
    visits = matomo.page(TOKYO, DAY)
    third = visits[2]["lastActionTimestamp"]
    assert matomo.ids(TOKYO, DAY, minTimestamp=third) == [each["idVisit"] for each in visits[3:]]
    assert matomo.ids(TOKYO, DAY, minTimestamp=third - 1, filter_limit=1) == [visits[2]["idVisit"]]
    newest = matomo.ids(TOKYO, DAY, minTimestamp=third, filter_sort_order="desc", filter_limit=2)
    assert newest == [visits[-1]["idVisit"], visits[-2]["idVisit"]]


def test_a_cursor_over_overlapping_pages_finds_every_visit() -> None:
    matomo = server(visits_per_day=130)
    found: set[int] = set()
    after, page = 0, matomo.page(PACIFIC, DAY, filter_limit=20)
    while len(page) == 20:
        found |= {visit["idVisit"] for visit in page}
        after = page[-1]["lastActionTimestamp"] - 1
        page = matomo.page(PACIFIC, DAY, filter_limit=20, minTimestamp=after)
    assert found | {visit["idVisit"] for visit in page} == set(matomo.ids(PACIFIC, DAY))


def test_visits_of_one_second_come_in_an_order_that_stays_and_is_not_that_of_ids() -> None:
    matomo = server(visits_per_day=60, same_second_visits=40)
    together = [
        visit
        for visit in matomo.page(TOKYO, DAY)
        if visit["lastActionTimestamp"] == datetime(2026, 11, 10, 3, tzinfo=UTC).timestamp()
    ]
    ids = [visit["idVisit"] for visit in together]
    assert len(ids) == 40
    assert ids != sorted(ids)
    pages = (matomo.ids(TOKYO, DAY, filter_limit=7, filter_offset=at) for at in range(0, 60, 7))
    assert list(chain.from_iterable(pages)) == matomo.ids(TOKYO, DAY)


@pytest.mark.parametrize(("day", "hours"), [("2026-11-01", 25), ("2026-03-08", 23), (DAY, 24)])
def test_a_day_is_the_sites_own_also_when_clocks_change(day: str, hours: int) -> None:
    day_of = date.fromisoformat(str(day))
    matomo = server(visits_per_day=300)
    lasts = [visit["lastActionTimestamp"] for visit in matomo.page(PACIFIC, day_of)]
    assert {datetime.fromtimestamp(last, LA).date() for last in lasts} == {day_of}
    assert (hours - 1) * 3600 < lasts[-1] - lasts[0] < hours * 3600


@pytest.mark.parametrize("day", [date(2026, 11, 1), date(2026, 3, 8), DAY])
def test_the_timestamp_of_an_action_is_the_sites_wall_clock(day: date) -> None:
    matomo = server()
    for visit in matomo.page(PACIFIC, day):
        for key, action in (("first", 0), ("last", -1)):
            truth = datetime.fromtimestamp(visit[f"{key}ActionTimestamp"], LA)
            told = visit["actionDetails"][action]["timestamp"]
            assert datetime.fromtimestamp(told, UTC).replace(tzinfo=None) == truth.replace(
                tzinfo=None
            )
            assert visit["serverTimestamp"] == visit["lastActionTimestamp"]
    in_tokyo = matomo.page(TOKYO, day)[0]
    assert in_tokyo["actionDetails"][0]["timestamp"] - in_tokyo["firstActionTimestamp"] == 9 * 3600


def test_a_visit_that_ends_at_midnight_comes_on_both_days_and_counts_once() -> None:
    matomo = server(midnight_visits=2)
    midnight = datetime(2026, 11, 11, tzinfo=LA).timestamp()
    both = set(matomo.ids(PACIFIC, DAY)) & set(matomo.ids(PACIFIC, DAY + ONE_DAY))
    ended = {visit["lastActionTimestamp"] for visit in matomo.page(PACIFIC, DAY)[-2:]}
    assert (len(both), ended) == (2, {midnight})
    assert len(matomo.ids(PACIFIC, DAY)) == 14
    assert matomo.number(PACIFIC, DAY) == matomo.number(PACIFIC, DAY + ONE_DAY) == 12
    assert {visit["idVisit"] for visit in matomo.log.visits(PACIFIC, DAY)}.isdisjoint(both)
    assert both <= {visit["idVisit"] for visit in matomo.log.visits(PACIFIC, DAY + ONE_DAY)}
    matomo.log.add_visit(PACIFIC, datetime(2026, 11, 10, 12, tzinfo=LA))
    assert (len(matomo.ids(PACIFIC, DAY)), matomo.number(PACIFIC, DAY)) == (15, 13)


def test_the_current_date_brings_yesterday_along_and_the_next_is_empty() -> None:
    matomo = server()
    today = date(2026, 11, 20)
    yesterday = matomo.ids(TOKYO, today - ONE_DAY)
    so_far = matomo.ids(TOKYO, today)
    assert so_far[:12] == yesterday
    assert 12 < len(so_far) < 24
    assert matomo.number(TOKYO, today) == len(so_far) - 12 == len(matomo.log.visits(TOKYO, today))
    assert matomo.ids(TOKYO, today + ONE_DAY) == []
    assert matomo.number(TOKYO, today + ONE_DAY) == 0


def test_a_running_visit_shows_what_has_happened_and_grows() -> None:
    matomo = server(actions_per_visit=9)
    matomo.now = datetime(2026, 11, 30, tzinfo=UTC)
    closed = {visit["idVisit"]: visit for visit in matomo.page(OFFSET, DAY)}
    starts = sorted(visit["firstActionTimestamp"] for visit in closed.values())
    grown = 0
    for start in starts:
        matomo.now = datetime.fromtimestamp(start + 120, UTC)
        for visit in matomo.page(OFFSET, DAY):
            if visit["idVisit"] not in closed:
                continue  # of the day before
            whole = closed[visit["idVisit"]]
            count, past = len(visit["actionDetails"]), start + 120
            at = [action["timestamp"] - 3 * 3600 for action in whole["actionDetails"]]
            assert count == sum(each <= past for each in at)
            assert visit["lastActionTimestamp"] == at[count - 1]
            assert visit["visitDuration"] in {0, at[count - 1] - at[0] + 1}
            assert visit["visitDuration"] > 0 or at[count - 1] == at[0]
            views = [each for each in visit["actionDetails"] if each["type"] == "action"]
            rest = at[count - 1] - (views[-1]["timestamp"] - 3 * 3600)
            assert views[-1]["timeSpent"] == (rest + 1 if rest else 0)
            grown += count < len(at)
    assert grown >= 6


def test_at_any_hour_the_number_of_visits_is_that_of_the_log() -> None:
    matomo = server(midnight_visits=1, visits_per_day=40)
    for hour in range(0, 60, 7):
        matomo.now = datetime(2026, 11, 9, 12, tzinfo=UTC) + timedelta(hours=hour)
        for site in (PACIFIC, TOKYO, OFFSET):
            for ago in range(3):
                day = DAY + timedelta(days=1 - ago)
                assert matomo.number(site, day) == len(matomo.log.visits(site, day))


def test_a_clock_that_is_put_back_takes_back_what_was_shown() -> None:
    matomo = server()
    matomo.now = datetime(2026, 11, 10, 3, tzinfo=UTC)
    before = len(matomo.log.visits(TOKYO, DAY))
    matomo.now = datetime(2026, 11, 20, tzinfo=UTC)
    assert len(matomo.log.visits(TOKYO, DAY)) == 12 > before
    matomo.now = datetime(2026, 11, 10, 3, tzinfo=UTC)
    assert len(matomo.log.visits(TOKYO, DAY)) == before


def test_a_revised_number_is_that_of_the_log_too() -> None:
    matomo = server()
    before = matomo.ids(TOKYO, DAY)
    matomo.numbers.set("visits", TOKYO, DAY, 15)
    assert len(matomo.ids(TOKYO, DAY)) == matomo.number(TOKYO, DAY) == 15
    assert set(before) < set(matomo.ids(TOKYO, DAY))


def test_a_world_without_a_word_about_visits_keeps_its_numbers_of_today() -> None:
    matomo = Server(World(sites=1))
    today = matomo.world.today()
    plain = World(sites=1)
    assert not plain.logs_visits
    assert plain.zone_name(1) == "America/Los_Angeles"
    assert matomo.number(1, today - 30 * ONE_DAY) == plain.visits(1, today - 30 * ONE_DAY)


def test_of_620_actions_500_are_shown_and_120_counted() -> None:
    matomo = server(long_visits=1, visits_per_day=2)
    visits = matomo.page(OFFSET, DAY)
    whole = next(visit for visit in visits if "truncatedActionsCount" in visit)
    assert whole["truncatedActionsCount"] == 120
    assert len(whole["actionDetails"]) == 500
    assert whole["actions"] == whole["interactions"] == 620
    spread = whole["lastActionTimestamp"] - whole["firstActionTimestamp"]
    assert (spread, whole["visitDuration"]) == (1238, 1239)
    example = recorded("live_visit_620_actions_trimmed")
    assert [whole[key] for key in ("actions", "visitDuration", "truncatedActionsCount")] == [
        example[key] for key in ("actions", "visitDuration", "truncatedActionsCount")
    ]


def test_an_answer_is_escaped_as_php_does() -> None:
    matomo = server(visits_per_day=60)
    asked = {"idSite": TOKYO, "period": "day", "date": DAY, "filter_limit": -1}
    body = matomo.body("Live.getLastVisitsDetails", **asked)
    assert body.isascii()
    for text in (rb"\ud83d\ude00 title\ttab", rb"Two\nlines\r\nand \\N", rb"https:\/\/", rb"\"quo"):
        assert text in body
    assert b"/" not in body.replace(rb"\/", b"")


def test_sites_are_cut_at_100_and_have_the_recorded_keys() -> None:
    matomo = Server(World(sites=125, time_zones=ZONES))
    method = "SitesManager.getSitesWithAtLeastViewAccess"
    assert len(json.loads(matomo.body(method))) == 100
    rows = json.loads(matomo.body(method, filter_limit=-1))
    assert [row["idsite"] for row in rows] == list(range(1, 126))
    assert [row["timezone"] for row in rows[:4]] == [*ZONES, ZONES[0]]
    real = recorded("sites_view_super_post_query")[0]
    assert all(list(row) == list(real) for row in rows)
    assert {key: type(rows[1][key]) for key in real} == {key: type(real[key]) for key in real}
    names = "".join(row["name"] for row in rows[:4])
    assert "&" in names
    assert "<b>" in names
    assert not names.isascii()


def test_the_program_makes_the_world_that_its_options_describe() -> None:
    words = "--sites 4 --visits-per-day 20000 --actions-per-visit 5 --time-zones Asia/Tokyo,UTC+3"
    world = world_of(_parser().parse_args(words.split()))
    assert (world.visits(1, DAY), world.actions_per_visit) == (20_000, 5)
    assert [world.zone_name(site) for site in (1, 2, 3)] == ["Asia/Tokyo", "UTC+3", "Asia/Tokyo"]
    assert world_of(_parser().parse_args([])) == World()
