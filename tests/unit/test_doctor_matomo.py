"""Doctor's look at Matomo: its version, the token's rights, yesterday's numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import requests
import responses

from config import Settings
from jobs.doctor_matomo import check_matomo
from jobs.findings import ADVICE, FAIL, OK, Finding
from models import Site
from storage.errors import DatabaseUnavailable
from tests.unit.examinations import (
    SETTINGS,
    YESTERDAY,
    Matomo,
    TroubledDatabase,
    answering_requests,
    examination,
    in_short,
    troubles,
)
from tests.unit.helpers import JSON_HEADERS, Reply, error_reply, json_reply

SITES = [Site(f"s{n}", f"s{n}.test", n) for n in range(1, 9)]
IDS = [site.id for site in SITES]


def check(
    matomo: Matomo,
    sites: list[Site] | None = None,
    database: TroubledDatabase | None = None,
    settings: Settings = SETTINGS,
    *,
    all_sites: list[Site] | None = None,
) -> list[Finding]:
    sites = SITES if sites is None else sites
    seen = examination(database, sites=sites, settings=settings)
    seen.all_sites = sites if all_sites is None else all_sites
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        answering_requests(mock, matomo)
        return list(check_matomo(seen))


def with_a_week(visits: int = 5, days: int = 7) -> TroubledDatabase:
    """A database that knows so many visits of each site on each of the days before yesterday."""
    database = TroubledDatabase(sites=SITES)
    for n in range(1, days + 1):
        for site in SITES:
            database.table[site.id, YESTERDAY - timedelta(days=n)] = {"matomo_visits": visits}
    return database


def test_a_matomo_that_is_well() -> None:
    found = check(Matomo(range(1, 9), visits=3))
    assert in_short(f for f in found if not f.detail) == [
        (OK, "matomo.test is Matomo 5.0.2 and accepts the token"),
        (OK, "the token may view 8 sites"),
        (OK, "2026-11-19 is archived: 8 of 8 sites have visits"),
    ]
    assert [(f.sites, f.message) for f in found if f.detail] == [
        ((site.id,), f"Matomo site {site.matomo_site_id}, 3 visits on 2026-11-19") for site in SITES
    ]


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("5.0.2", OK), ("4.0.0", OK), ("10.1", OK), ("3.14.1", ADVICE), ("0.9", ADVICE),
        ("5", OK), ("next", OK), ("", FAIL), ("5.2.0-b5", OK),
    ],
)  # fmt: skip
def test_an_old_version_is_advice_and_an_odd_one_is_shown(version: str, status: str) -> None:
    found = check(Matomo(range(1, 9), json_reply(200, {"value": version}), visits=3))
    assert found[0].status == status
    assert version in found[0].message
    assert bool(found[0].mend) == (status != OK)
    assert len(found) == (1 if status == FAIL else 11)


def test_a_version_that_would_command_a_terminal_is_tamed() -> None:
    evil = "5\x1b]0;x\x07\x9b2J\u202e" + "9" * 500
    found = check(Matomo(range(1, 9), json_reply(200, {"value": evil}), visits=3))
    assert not set("\x1b\x07\x9b\u202e") & set(found[0].message)
    assert len(found[0].message) < 120


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (error_reply(401, "You can't access this resource"), "refused the token"),
        (error_reply(500, "Too many failed logins."), "locked this address out"),
        (json_reply(200, {"result": "error", "message": "no such method"}), "no such method"),
        (json_reply(200, {"value": 5}), "no version"),
        (json_reply(200, []), "no version"),
        (json_reply(200, None), "no version"),
        ((200, {"content-type": "text/html"}, "<html>"), "text/html"),
        ((200, JSON_HEADERS, "{"), "no valid JSON"),
        ((302, {"location": "https://else.test/"}, ""), "redirects"),
        ((404, {}, ""), "there is no Matomo"),
        (requests.ConnectionError("no"), "matomo.test"),
    ],
    ids=range(11),
)
def test_a_matomo_that_tells_no_version_is_asked_nothing_more(reply: Reply, words: str) -> None:
    matomo = Matomo(range(1, 9), reply)
    [found] = check(matomo)
    assert (found.status, found.area) == (FAIL, "matomo")
    assert words in found.message
    assert found.mend
    assert len(matomo.requests) == 1


def test_hidden_sites_are_named_and_the_others_are_well() -> None:
    found = check(Matomo([1, 2, 3, 5, 6, 7], visits=3))
    [hidden] = troubles(found)
    assert (hidden.status, set(hidden.sites)) == (FAIL, {"s4", "s8"})
    assert "may not view this site" in hidden.message
    assert (OK, "the token may view 6 sites") in in_short(found)


def test_a_token_that_may_view_none_is_a_failure_of_all() -> None:
    [hidden] = troubles(check(Matomo([])))
    assert set(hidden.sites) == set(IDS)
    assert "no site at all" in hidden.message


def test_two_sites_with_one_matomo_id_get_advice_and_the_same_visits() -> None:
    sites = [*SITES[:2], Site("twin", "twin.test", 2)]
    found = check(Matomo([1, 2], visits=3), sites)
    [twins] = troubles(found)
    assert (twins.status, set(twins.sites)) == (ADVICE, {"s2", "twin"})
    assert "the Matomo site 2" in twins.message
    assert (OK, "the token may view 3 sites") in in_short(found)
    assert {f.sites for f in found if f.detail} == {("s1",), ("s2",), ("twin",)}


def test_sites_without_a_matomo_id_are_counted_and_not_asked_for() -> None:
    matomo = Matomo([1], visits=3)
    found = check(matomo, [SITES[0], Site("x", "x.test"), Site("y", "y.test")])
    assert in_short(found)[0] == (OK, "2 sites without a Matomo site id: not asked")
    assert [cells[0] for cells in matomo.asked] == [(1,)]


def test_where_no_site_is_in_matomo_it_is_not_asked() -> None:
    matomo = Matomo([])
    assert [f.status for f in check(matomo, [Site("x", "x.test")])] == [OK]
    assert matomo.requests == []


def test_without_a_database_the_token_is_tried_all_the_same() -> None:
    matomo = Matomo([1, 2])
    assert in_short(check(matomo, []))[0][1].endswith("accepts the token")
    assert len(matomo.asked) == 0


@pytest.mark.parametrize("missing", ["matomo_api_url", "matomo_api_token"])
def test_without_its_settings_matomo_is_not_asked(missing: str) -> None:
    matomo = Matomo([1])
    settings = replace(SETTINGS, **{missing: None})  # type: ignore[arg-type]
    assert check(matomo, SITES, settings=settings) == []
    assert matomo.requests == []


def test_a_yesterday_of_zeros_after_a_busy_week_is_not_archived() -> None:
    found = check(Matomo(range(1, 9), visits=0), database=with_a_week())
    [unarchived] = troubles(found)
    assert unarchived.status == FAIL
    assert unarchived.message.startswith("2026-11-19: Matomo says 0 visits for every site")
    assert "core:archive" in unarchived.mend
    assert not any("is archived" in f.message for f in found)


def test_zeros_everywhere_with_nothing_to_compare_are_told_as_such() -> None:
    found = check(Matomo(range(1, 9), visits=0), database=TroubledDatabase())
    assert troubles(found) == []
    assert (OK, "2026-11-19: 0 visits everywhere, and nothing known to compare with") in in_short(
        found
    )


@pytest.mark.parametrize(
    ("visits", "days", "silent"), [(5, 7, True), (0, 7, False), (5, 6, False), (5, 0, False)]
)
def test_a_site_is_silent_after_a_week_with_visits_on_every_day(
    visits: int, days: int, silent: bool
) -> None:
    matomo = Matomo(range(1, 9), visits=3)
    matomo.visits[4] = 0
    found = troubles(check(matomo, database=with_a_week(visits, days)))
    expected = [(ADVICE, ("s4",))] if silent else []
    assert [(f.status, f.sites) for f in found] == expected
    assert all("tracking code" in f.mend for f in found)


def test_one_sites_zero_says_nothing_of_the_day() -> None:
    """`--site`: other sites were busy, but only this one was asked for."""
    found = check(Matomo(range(1, 9), visits=0), SITES[:1], with_a_week(), all_sites=SITES)
    assert [(f.status, f.sites) for f in troubles(found)] == [(ADVICE, ("s1",))]


def test_the_zeros_of_many_sites_are_compared_with_their_own_weeks() -> None:
    """Those that were busy are hidden from the token: of these nothing is known."""
    sites = [Site(f"t{n}", f"t{n}.test", n) for n in range(101, 161)]
    found = check(Matomo(range(101, 161), visits=0), [*SITES, *sites], with_a_week())
    assert {f.sites for f in troubles(found)} == {tuple(IDS)}


def test_a_database_that_fails_meanwhile_costs_the_comparison_alone() -> None:
    for visits in (0, 3):
        matomo = Matomo(range(1, 9), visits=visits)
        matomo.visits[4] = 0
        database = with_a_week()
        database.errors["days"] = DatabaseUnavailable("it is gone", mend="bring it back")
        found = check(matomo, database=database)
        assert [(f.status, f.message, f.mend) for f in troubles(found)] == [
            (ADVICE, "it is gone", "bring it back")
        ]
        assert (OK, "the token may view 8 sites") in in_short(found)


def test_many_sites_ids_go_into_no_query() -> None:
    """Over REST they would be an address of 40 kB."""
    sites = [Site(f"s{n}", f"s{n}.test", n) for n in range(1, 201)]
    matomo = Matomo(range(1, 201), visits=0)
    matomo.visits[1] = 7
    database = TroubledDatabase()
    check(matomo, sites, database)
    assert {ids for what, how in database.reads if what == "days" for ids in [how[1]]} == {()}
