"""What a nightly run asks for: the window, the sites, the gaps."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from cli import parse_arguments
from config import Settings
from jobs.daily_plan import Plan, choose_sites, choose_window, load_plan, make_plan
from jobs.run_failures import CannotRun
from models import GscAccount, Site, StoredDay, Window
from tests.unit.fake_database import FakeDatabase
from tests.unit.helpers import days_from

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
FIRST, SECOND, THIRD = DAYS = list(days_from(date(2026, 11, 16), 3))
WINDOW = Window(FIRST, THIRD)
BOTH = Site("both", "both.test", matomo_site_id=1, gsc_account_id="g")
MATOMO = Site("matomo", "matomo.test", matomo_site_id=2)
GSC = Site("gsc", "gsc.test", gsc_account_id="g")
NEITHER = Site("neither", "neither.test")
SITES = [BOTH, MATOMO, GSC, NEITHER]
ACCOUNTS = [GscAccount("g", "token")]


def window_of(*words: str, **changes: object) -> Window:
    settings = Settings(**changes)  # type: ignore[arg-type]
    return choose_window(parse_arguments(list(words)), settings, NOW)


@pytest.mark.parametrize(
    ("changes", "first", "last"),
    [
        ({}, date(2026, 11, 15), date(2026, 11, 18)),
        ({"lookback_days": 1}, date(2026, 11, 18), date(2026, 11, 18)),
        ({"target_days_ago": 0, "lookback_days": 1}, date(2026, 11, 20), date(2026, 11, 20)),
        ({"target_days_ago": 3, "lookback_days": 7}, date(2026, 11, 11), date(2026, 11, 17)),
        # at 02:00 UTC it is still the day before in New York, and well into the day in Auckland
        ({"timezone": ZoneInfo("America/New_York")}, date(2026, 11, 14), date(2026, 11, 17)),
        ({"timezone": ZoneInfo("Pacific/Auckland")}, date(2026, 11, 15), date(2026, 11, 18)),
    ],
)
def test_without_dates_the_window_ends_on_the_target_date(
    changes: dict[str, object], first: date, last: date
) -> None:
    assert window_of(**changes) == Window(first, last)


def test_a_date_is_that_day_alone() -> None:
    assert window_of("--date", "2026-01-31") == Window(date(2026, 1, 31), date(2026, 1, 31))


def test_both_ends_of_a_range_belong_to_it() -> None:
    window = window_of("--from", "2026-10-30", "--to", "2026-11-02")
    assert list(window) == list(days_from(date(2026, 10, 30), 4))
    assert (len(window), str(window)) == (4, "2026-10-30 to 2026-11-02")


@pytest.mark.parametrize(
    ("zone", "refused"), [("UTC", True), ("Pacific/Auckland", True), ("Pacific/Kiritimati", True)]
)
def test_a_day_that_has_not_begun_is_refused(zone: str, refused: bool) -> None:
    with pytest.raises(CannotRun, match="2026-11-21 is in the future"):
        window_of("--date", "2026-11-21", timezone=ZoneInfo(zone))
    assert window_of("--date", "2026-11-20").last == date(2026, 11, 20)
    with pytest.raises(CannotRun, match="in the future"):
        window_of("--date", "2026-11-20", timezone=ZoneInfo("America/New_York"))


def test_no_sites_is_an_error_that_says_what_to_check() -> None:
    with pytest.raises(CannotRun, match="no sites to work on") as caught:
        choose_sites([], [])
    assert "status_deployment = 'deployed'" in caught.value.mend
    assert "SUPABASE_SERVICE_KEY" in caught.value.mend


def test_sites_are_chosen_by_their_id_whatever_its_type() -> None:
    sites = [Site(1, "a.test"), Site(20, "b.test"), Site("c", "c.test")]
    assert choose_sites(sites, []) == sites
    assert [site.id for site in choose_sites(sites, ["c", "20", "c"])] == ["c", 20]


def test_a_site_is_known_by_its_domain_too_in_whatever_case() -> None:
    sites = [Site("AB-1", "One.test"), Site(2, "two.test"), Site(3, "two.test")]
    assert [s.id for s in choose_sites(sites, ["one.TEST", "ab-1"])] == ["AB-1"]
    assert [s.id for s in choose_sites(sites, [" two.test "])] == [2, 3]


def test_unknown_sites_are_all_named() -> None:
    with pytest.raises(CannotRun, match=r"the id or domain x, y$"):
        choose_sites(SITES, ["both", "x", "y"])


def test_each_source_is_asked_for_the_sites_it_knows_and_every_site_gets_its_rows() -> None:
    plan = make_plan(SITES, ACCOUNTS, WINDOW)
    assert plan.matomo == {"both": DAYS, "matomo": DAYS}
    assert plan.gsc == {"both": DAYS, "gsc": DAYS}
    assert plan.rows == dict.fromkeys(("both", "matomo", "gsc", "neither"), DAYS)


def test_sites_that_no_source_knows_are_an_error_that_says_what_to_fill_in() -> None:
    with pytest.raises(CannotRun) as caught:
        make_plan([NEITHER], ACCOUNTS, WINDOW)
    assert "matomo_site_id" in caught.value.mend
    assert "gsc_account_id" in caught.value.mend


@pytest.mark.parametrize(
    ("source", "matomo", "gsc"),
    [("matomo", {"both", "matomo"}, set()), ("gsc", set(), {"both", "gsc"})],
)
def test_a_single_source_leaves_the_other_alone(
    source: str, matomo: set[str], gsc: set[str]
) -> None:
    plan = make_plan(SITES, ACCOUNTS, WINDOW, source=source)
    assert (set(plan.matomo), set(plan.gsc)) == (matomo, gsc)
    assert len(plan.rows) == 4


def stored(
    site: str, day: date, visits: int | None, clicks: int | None, impressions: int | None
) -> StoredDay:
    numbers = {"matomo_visits": visits, "gsc_clicks": clicks, "gsc_impressions": impressions}
    return StoredDay(site, day, numbers)


def test_only_gaps_are_asked_for_and_a_zero_is_none() -> None:
    rows = [
        stored("both", FIRST, 0, 0, 0),
        stored("both", SECOND, None, 1, 2),
        stored("both", THIRD, 5, None, None),
        stored("matomo", FIRST, 1, None, None),
        stored("gsc", FIRST, None, 3, None),  # half known
    ]
    plan = make_plan(SITES, ACCOUNTS, WINDOW, stored=rows)
    assert plan.matomo == {"both": [SECOND], "matomo": [SECOND, THIRD]}
    assert plan.gsc == {"both": [THIRD], "gsc": DAYS}
    assert plan.rows == {
        "both": [SECOND, THIRD],
        "matomo": [SECOND, THIRD],
        "gsc": DAYS,
        "neither": DAYS,
    }


def test_without_gaps_nothing_is_asked_and_no_row_is_written() -> None:
    rows = [
        stored(site.id, day, 1, 2, 3) for site in SITES for day in DAYS if isinstance(site.id, str)
    ]
    plan = make_plan(SITES, ACCOUNTS, WINDOW, stored=rows)
    assert not any([*plan.matomo.values(), *plan.gsc.values(), *plan.rows.values()])


def test_the_gaps_of_one_source_leave_those_of_the_other() -> None:
    plan = make_plan(
        [BOTH], ACCOUNTS, WINDOW, source="matomo", stored=[stored("both", FIRST, 1, None, None)]
    )
    assert (plan.matomo, plan.gsc) == ({"both": [SECOND, THIRD]}, {})


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        ([], ["sites", "accounts"]),
        (["--source", "matomo"], ["sites"]),
        (["--source", "gsc"], ["sites", "accounts"]),
        (["--gaps"], ["sites", "accounts", "days"]),
        (["--site", "matomo"], ["sites"]),
        (["--site", "neither", "--gaps"], ["sites", "days"]),
    ],
)
def test_the_database_is_read_only_for_what_the_run_needs(
    words: list[str], reads: list[str]
) -> None:
    database = FakeDatabase(sites=SITES, accounts=ACCOUNTS)
    load_plan(database, parse_arguments(words), WINDOW)
    assert [what for what, _ in database.reads] == reads


def test_reads_are_narrowed_to_the_chosen_sites() -> None:
    database = FakeDatabase(sites=SITES)
    plan = load_plan(database, parse_arguments(["--site", "matomo", "--gaps"]), WINDOW)
    assert _days_read(database) == [(WINDOW, ("matomo",))]
    assert plan.only_sites == ("matomo",)
    assert _whole_plan(["--gaps"]).only_sites == ()


def _days_read(database: FakeDatabase) -> list[object]:
    return [how for what, how in database.reads if what == "days"]


def _whole_plan(words: list[str]) -> Plan:
    return load_plan(FakeDatabase(sites=SITES), parse_arguments(words), WINDOW)
