"""The Matomo half of the nightly run: sites become idSites and back, doubt is no number."""

from __future__ import annotations

from datetime import date

import pytest

from config import Settings
from jobs.daily_matomo import MatomoResult, fetch_visits
from jobs.daily_plan import make_plan
from jobs.progress import Advance, Bars, silent
from models import Site, Window
from storage.errors import DatabaseUnavailable
from tests.unit.fake_database import FakeDatabase
from tests.unit.helpers import (
    MATOMO_TOKEN,
    MATOMO_URL,
    FakeMatomo,
    Reply,
    answering,
    days_from,
    json_reply,
    make_http,
    visits_of,
)

DAYS = days_from(date(2026, 11, 16), 3)
WINDOW = Window(DAYS[0], DAYS[-1])
SITES = [Site(f"s{n}", f"s{n}.test", matomo_site_id=n) for n in range(1, 8)]
SETTINGS = Settings(matomo_api_url=MATOMO_URL, matomo_api_token=MATOMO_TOKEN)


def fetch(
    matomo: FakeMatomo,
    sites: list[Site],
    database: FakeDatabase | None = None,
    *,
    accept_zeros: bool = False,
    bars: Bars | None = None,
) -> MatomoResult:
    with answering(matomo):
        return fetch_visits(
            make_plan(sites, [], WINDOW),
            SETTINGS,
            make_http(),
            database or FakeDatabase(),
            bars or Bars(silent),
            accept_zeros=accept_zeros,
        )


def no_visits(sites: tuple[int, ...], days: tuple[date, ...]) -> Reply:
    return json_reply(200, {str(site): {str(day): 0 for day in days} for site in sites})


def busy_week() -> FakeDatabase:
    database = FakeDatabase()
    for site in SITES:
        database.table[site.id, date(2026, 11, 15)] = {"matomo_visits": 4}
    return database


def test_numbers_come_back_under_the_sites_own_ids() -> None:
    result = fetch(FakeMatomo(range(1, 8)), SITES)
    assert result.visits == {f"s{n}": {d: visits_of(n, d) for d in DAYS} for n in range(1, 8)}
    assert (result.failures, result.sites) == ([], 7)


def test_two_sites_may_share_an_id_site_in_matomo() -> None:
    matomo = FakeMatomo([1])
    result = fetch(
        matomo, [SITES[0], Site(99, "twin.test", matomo_site_id=1), Site("none", "x.test")]
    )
    assert result.visits.keys() == {"s1", 99}
    assert result.visits["s1"] == result.visits[99] == {day: visits_of(1, day) for day in DAYS}
    assert matomo.asked == [((1,), DAYS)]


def test_a_failure_names_every_site_that_shares_the_id_site() -> None:
    result = fetch(FakeMatomo([1]), [SITES[0], SITES[1], Site(99, "twin.test", matomo_site_id=2)])
    [failure] = result.failures
    assert (failure.kind, failure.source) == ("permission", "matomo")
    assert (failure.sites, failure.days) == (("s2", 99), DAYS)
    assert result.sites == 1


def test_zeros_in_doubt_are_withheld_and_said() -> None:
    result = fetch(FakeMatomo(range(1, 8), no_visits), SITES, busy_week())
    assert result.visits == {site.id: {} for site in SITES}
    assert result.sites == 0
    assert [failure.days for failure in result.failures] == [(day,) for day in DAYS]
    assert {failure.sites for failure in result.failures} == {tuple(site.id for site in SITES)}
    assert {failure.kind for failure in result.failures} == {"not ready"}
    assert all("core:archive" in failure.mend for failure in result.failures)


def test_zeros_can_be_accepted() -> None:
    database = busy_week()
    result = fetch(FakeMatomo(range(1, 8), no_visits), SITES, database, accept_zeros=True)
    assert result.visits == {site.id: dict.fromkeys(DAYS, 0) for site in SITES}
    assert (result.failures, database.reads) == ([], [])


def test_believable_numbers_need_no_look_at_the_database() -> None:
    database = busy_week()
    fetch(FakeMatomo(range(1, 8)), SITES, database)
    assert database.reads == []


def test_zeros_that_cannot_be_checked_are_not_stored() -> None:
    database = FakeDatabase(broken=DatabaseUnavailable("no connection"))
    result = fetch(FakeMatomo(range(1, 8), no_visits), SITES, database)
    assert result.visits == {site.id: {} for site in SITES}
    assert {failure.message for failure in result.failures} == {
        "zeros of every site could not be checked: no connection"
    }


@pytest.mark.parametrize("viewable", [range(1, 8), range(1, 4), []])
def test_the_progress_bar_is_filled_whatever_happens(viewable: list[int]) -> None:
    totals, done = list[int](), list[int]()

    def add(_name: str, total: int) -> Advance:
        totals.append(total)
        return done.append

    fetch(FakeMatomo(viewable), SITES, bars=Bars(add))
    assert totals == [sum(done)] == [7 * 3]
