"""A day of the visit log is read whole, whatever happens between its pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import hypothesis
import pytest
from hypothesis import strategies as st

from fetchers.errors import (
    BrokenOff,
    CredentialsError,
    FetchError,
    Overloaded,
    SettingsError,
    UnexpectedAnswer,
)
from fetchers.matomo_health import MatomoHealth
from fetchers.matomo_visits import (
    SUCCESSES_TO_GROW,
    DayReader,
    MatomoSite,
    PageSize,
    day_of_site,
    last_action,
    parse_sites,
    parse_zone,
)
from fetchers.visit_answers import Visit
from tests.unit.helpers import MATOMO_TOKEN, Reply, error_reply, make_http, recorded, seldom
from tests.unit.live import DAY, DAY_BEGINS, SERVER, SITE, Entry, FakeLive, live

ASKED = day_of_site(SITE, DAY)
TOO_MUCH = error_reply(500, "Allowed memory size of 134217728 bytes exhausted")


def read(
    fake: FakeLive, page_visits: int = 3, size: PageSize | None = None
) -> tuple[list[Entry], MatomoHealth]:
    """(idVisit, last second) of everything that came, in order."""
    health = MatomoHealth(lambda: None)
    reader = DayReader(ASKED, SERVER, make_http(attempts=2), size or PageSize(page_visits), health)
    with live(fake):
        found = [
            (v.id_visit, v.last_action_timestamp) for page in reader.pages() for v in page.visits
        ]
    return found, health


def entries(*seconds: int) -> list[Entry]:
    return [(number, DAY_BEGINS + second) for number, second in enumerate(seconds)]


@seldom
@hypothesis.given(
    seconds=st.lists(st.integers(0, 12), max_size=30),
    page=st.integers(1, 6),
    inclusive=st.booleans(),
)
def test_every_visit_comes_however_many_share_a_second(
    seconds: list[int], page: int, inclusive: bool
) -> None:
    log = entries(*seconds)
    found, _ = read(FakeLive(log, inclusive=inclusive), page)
    assert set(found) == set(log)


def test_a_visit_that_goes_on_between_two_pages_costs_no_other() -> None:
    """Whoever counts visits misses one for each that moves to the end (facts/visits.md, A12)."""
    log = entries(*range(0, 90, 10))

    def go_on(fake: FakeLive, query: Mapping[str, str]) -> None:
        moved = len(fake.queries) - 1
        if moved < 3:
            fake.entries[moved] = (moved, DAY_BEGINS + 1000 + moved)

    found, _ = read(FakeLive(log, before=go_on))
    assert {number for number, _ in found} == {number for number, _ in log}
    assert {(0, DAY_BEGINS + 1000), (1, DAY_BEGINS + 1001)} <= set(found)


def test_one_site_and_one_day_are_asked_for_with_the_token_in_the_body_alone() -> None:
    fake = FakeLive(entries(1, 2, 3, 4))
    read(fake)
    assert fake.queries[0] == {
        "module": "API",
        "format": "JSON",
        "method": "Live.getLastVisitsDetails",
        "idSite": "7",
        "period": "day",
        "date": "2026-11-18",
        "filter_limit": "3",
        "filter_sort_order": "asc",
        "minTimestamp": str(DAY_BEGINS - 1),
    }
    assert fake.queries[1]["minTimestamp"] == str(DAY_BEGINS + 2)
    assert fake.bodies == [f"token_auth={MATOMO_TOKEN}"] * len(fake.queries)


@pytest.mark.parametrize(
    ("answer", "limits"),
    [
        (TOO_MUCH, ["12", "6", "3", "3"]),
        # It may pass: the same is asked for again before less is.
        (error_reply(504, "Gateway Time-out"), ["12", "12", "6", "6", "3"]),
    ],
)
def test_a_page_that_is_too_much_is_halved_and_stays_so(answer: Reply, limits: list[str]) -> None:
    def refuse(_fake: FakeLive, query: Mapping[str, str]) -> Reply | None:
        return answer if int(query["filter_limit"]) > 3 else None

    log, size = entries(*range(20)), PageSize(12)
    fake = FakeLive(log, before=refuse)
    found, _ = read(fake, size=size)
    assert set(found) == set(log)
    assert [q["filter_limit"] for q in fake.queries][: len(limits)] == limits
    assert size.visits == 3


def test_pages_grow_again_after_a_while() -> None:
    size = PageSize(500)
    size.too_many(500)
    size.too_many(500)  # another thread had asked for as many
    assert size.visits == 250
    for _ in range(SUCCESSES_TO_GROW):
        size.was_right()
    assert size.visits == 500


def test_a_single_visit_that_is_too_large_is_named_and_those_behind_it_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fetchers.matomo_visits.LARGEST_PAGE_BYTES", 900)
    fake = FakeLive(entries(1, 2, 3))
    fake.large = 1
    health = MatomoHealth(lambda: None)
    reader = DayReader(ASKED, SERVER, make_http(attempts=2), PageSize(2), health)
    with live(fake):
        found = list(reader.pages())
    assert {v.id_visit for page in found for v in page.visits} == {0, 2}
    assert [b.message for page in found for b in page.broken][:1] == [
        "a visit of more than 8 MB was not read"
    ]


def test_a_server_that_does_not_heed_the_offset_is_found_out() -> None:
    class Deaf(FakeLive):
        def answer(self, query: Mapping[str, str]) -> list[dict[str, object]]:
            return super().answer({**query, "filter_offset": "0"})

    with pytest.raises(UnexpectedAnswer, match="filter_offset"):
        read(Deaf(entries(*[5] * 20)))


def test_nothing_is_asked_for_behind_the_end_of_the_day() -> None:
    log = [*entries(1, 2), *((9, ASKED.ends + second) for second in range(9))]
    fake = FakeLive(log)
    read(fake)
    assert len(fake.queries) == 1


def test_a_single_visit_that_is_too_much_fails_the_day_after_its_tries() -> None:
    fake = FakeLive(entries(1), before=lambda _fake, _query: TOO_MUCH)
    with pytest.raises(Overloaded):
        read(fake, 4)
    assert [q["filter_limit"] for q in fake.queries] == ["4", "2", "1", "1"]


@pytest.mark.parametrize(
    ("answer", "kind", "tries"),
    [
        (error_reply(502, "x"), BrokenOff, 2),
        (error_reply(401, "Unable to authenticate"), CredentialsError, 1),
        ((302, {"location": "https://other.example/"}, ""), SettingsError, 1),
        ((200, {"content-type": "text/html"}, "<p>sign in"), UnexpectedAnswer, 1),
        ((200, {"content-type": "application/json"}, '{"a": 1}'), UnexpectedAnswer, 1),
        ((200, {"content-type": "application/json"}, '[{"idVisit": 1'), UnexpectedAnswer, 1),
        (error_reply(200, "The plugin Live is not activated"), UnexpectedAnswer, 1),
    ],
)
def test_any_other_failure_is_named_after_its_tries(
    answer: Reply, kind: type[FetchError], tries: int
) -> None:
    fake = FakeLive(entries(1), before=lambda _fake, _query: answer)
    with pytest.raises(kind):
        read(fake)
    assert len(fake.queries) == tries


def test_pages_read_before_a_failure_are_handed_over() -> None:
    def fail_later(fake: FakeLive, _query: Mapping[str, str]) -> Reply | None:
        return error_reply(502, "x") if len(fake.queries) > 1 else None

    health = MatomoHealth(lambda: None)
    reader = DayReader(ASKED, SERVER, make_http(attempts=1), PageSize(2), health)
    with live(FakeLive(entries(1, 2, 3), before=fail_later)):
        pages = reader.pages()
        assert [visit.id_visit for visit in next(pages).visits] == [0, 1]
        with pytest.raises(BrokenOff):
            next(pages)


def test_a_server_that_does_not_heed_the_cursor_is_found_out() -> None:
    class Deaf(FakeLive):
        def answer(self, query: Mapping[str, str]) -> list[dict[str, object]]:
            return super().answer({**query, "minTimestamp": "0"})

    with pytest.raises(UnexpectedAnswer, match="minTimestamp"):
        read(Deaf(entries(1, 2, 3, 4, 5, 6)))


def test_after_a_refused_token_nothing_more_is_asked() -> None:
    fake = FakeLive(entries(1), before=lambda _f, _q: error_reply(401, "Unable to authenticate"))
    health = MatomoHealth(lambda: None)
    for _ in range(3):
        reader = DayReader(ASKED, SERVER, make_http(), PageSize(3), health)
        with live(fake), pytest.raises(CredentialsError):
            list(reader.pages())
    assert len(fake.queries) == 1


def test_an_answer_without_end_is_asked_for_in_smaller_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fetchers.matomo_visits.LARGEST_PAGE_BYTES", 900)
    log = entries(*range(10))
    fake = FakeLive(log)
    found, _ = read(fake, 8)
    assert set(found) == set(log)
    assert int(fake.queries[-1]["filter_limit"]) < 8


@pytest.mark.parametrize(
    ("value", "second"),
    [
        (1_794_009_570, 1_794_009_570),
        (1_794_009_570.5, 1_794_009_570.5),
        ("1794009570", 1_794_009_570),
        (None, None),
        ("", None),
        ("soon", None),
        (True, None),
        (float("inf"), None),
        (float("nan"), None),
        (10**400, None),
        ([], None),
    ],
)
def test_the_time_of_the_last_action_is_a_number_or_not_known(
    value: object, second: float | None
) -> None:
    assert last_action(Visit(last_action_timestamp=value)) == second


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Paris", date(2026, 10, 25), 25),
        ("Europe/Paris", date(2026, 3, 29), 23),
        ("America/Los_Angeles", date(2026, 11, 1), 25),
        ("Australia/Sydney", date(2026, 10, 4), 23),
        ("Asia/Kolkata", date(2026, 11, 18), 24),
        ("UTC+5.5", date(2026, 11, 18), 24),
    ],
)
def test_a_day_is_as_long_as_it_is_at_the_site(zone: str, day: date, hours: int) -> None:
    asked = day_of_site(MatomoSite(1, "x", zone, parse_zone(zone)), day)
    assert asked.ends - asked.begins == hours * 3600
    assert asked.after == asked.begins - 1
    assert asked.holds(asked.begins)
    assert not asked.holds(asked.begins - 1)
    assert asked.holds(asked.ends - 1)
    assert not asked.holds(asked.ends)  # Matomo's own end is inclusive


def test_a_day_may_be_read_from_an_instant_on_and_never_from_before_it_began() -> None:
    noon = datetime(2026, 11, 18, 12, tzinfo=UTC)
    assert day_of_site(SITE, DAY, noon).after == noon.timestamp() - 1
    assert day_of_site(SITE, DAY, noon - timedelta(days=3)).after == DAY_BEGINS - 1


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Asia/Tokyo", ZoneInfo("Asia/Tokyo")),
        ("UTC", ZoneInfo("UTC")),
        ("UTC+3", timezone(timedelta(hours=3))),
        ("UTC-9.5", timezone(timedelta(hours=-9.5))),
        ("UTC+5.75", timezone(timedelta(hours=5, minutes=45))),
        ("UTC+99", None),
        ("Mars/Olympus", None),
        ("", None),
        ("../../etc/passwd", None),
    ],
)
def test_time_zones_are_read_as_matomo_writes_them(name: str, zone: tzinfo | None) -> None:
    assert parse_zone(name) == zone


def test_the_recorded_list_of_sites_is_understood() -> None:
    sites = parse_sites(json.loads(recorded("sites_view_super_post_query").body), "m.test")
    assert sites[1].name
    assert {site.zone_name for site in sites.values()} >= {"UTC", "Europe/Paris", "Asia/Tokyo"}
    assert all(site.zone is not None for site in sites.values())


BROKEN_LISTS: Sequence[object] = (
    {"idsite": 1},
    [{"idsite": "x", "name": "a", "timezone": "UTC"}],
    [{"idsite": 1, "timezone": "UTC"}],
    [{"idsite": 1, "name": "a"}],
    [1],
    None,
)


@pytest.mark.parametrize("payload", BROKEN_LISTS)
def test_a_list_of_sites_of_another_form_is_an_unexpected_answer(payload: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_sites(payload, "m.test")
