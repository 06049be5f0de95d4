"""From fetched numbers to stored rows: nothing unknown is written, nothing refused unsaid."""

from __future__ import annotations

from datetime import date

from fetchers.gsc import Clicks
from jobs.daily_plan import make_plan
from jobs.daily_store import Change, build_master, find_changes, store
from models import Failure, Master, Site, StoredDay, Window
from storage.errors import DatabaseUnavailable
from tests.unit.fake_database import FakeDatabase
from tests.unit.helpers import days_from

FIRST, SECOND = days_from(date(2026, 11, 17), 2)
SITES = [Site(name, f"{name}.test", 1, "g") for name in ("a", "b", "c")]
PLAN = make_plan(SITES, [], Window(FIRST, SECOND))
MASTER: Master = {
    "a": {FIRST: {"matomo_visits": 3}},
    "b": {SECOND: {"gsc_clicks": 0, "gsc_impressions": 4}},
}


def test_the_master_dict_holds_what_either_source_knows() -> None:
    master = build_master(
        {"a": {FIRST: 3, SECOND: 0}, "b": {}},
        {"a": {FIRST: Clicks(0, 9)}, "c": {SECOND: Clicks(1, 2)}},
    )
    assert master == {
        "a": {
            FIRST: {"matomo_visits": 3, "gsc_clicks": 0, "gsc_impressions": 9},
            SECOND: {"matomo_visits": 0},
        },
        "c": {SECOND: {"gsc_clicks": 1, "gsc_impressions": 2}},
    }
    assert build_master({}, {}) == {}


def test_a_failed_source_never_overwrites_a_stored_number() -> None:
    database, failures = FakeDatabase(), list[Failure]()
    store(database, build_master({"a": {FIRST: 3}}, {"a": {FIRST: Clicks(1, 2)}}), PLAN, failures)
    store(database, build_master({"a": {FIRST: 7}}, {}), PLAN, failures)
    store(database, {}, PLAN, failures)
    numbers = {"matomo_visits": 7, "gsc_clicks": 1, "gsc_impressions": 2}
    assert database.table["a", FIRST] == numbers
    assert failures == []


def test_every_site_gets_its_rows_fetched_or_not() -> None:
    database = FakeDatabase()
    assert store(database, MASTER, PLAN, []) == 6
    assert database.table.keys() == {(site.id, day) for site in SITES for day in (FIRST, SECOND)}
    assert database.table["c", FIRST] == {}


def test_a_number_that_nobody_asked_to_store_is_not_stored() -> None:
    database = FakeDatabase()
    store(database, {"z": {FIRST: {"matomo_visits": 1}}}, PLAN, [])
    assert not [key for key in database.table if key[0] == "z"]


def test_a_refused_row_is_a_failure_and_the_others_are_stored() -> None:
    database, failures = FakeDatabase(bad_rows=[("a", FIRST)], gone_sites=["c"]), list[Failure]()
    assert store(database, MASTER, PLAN, failures) == 3
    assert database.table.keys() == {("a", SECOND), ("b", FIRST), ("b", SECOND)}
    assert {(f.kind, f.source, f.sites, f.days) for f in failures} == {
        ("rejected", "database", ("c",), (FIRST, SECOND)),
        ("rejected", "database", ("a",), (FIRST,)),
    }
    [mend] = [f.mend for f in failures if f.sites == ("c",)]
    assert "gone from the table sites" in mend


def test_a_database_that_is_down_is_one_failure_for_all_rows() -> None:
    database, failures = FakeDatabase(broken=DatabaseUnavailable("no connection")), list[Failure]()
    assert store(database, MASTER, PLAN, failures) == 0
    [failure] = failures
    assert (failure.kind, failure.source, failure.message) == (
        "temporary",
        "database",
        "no connection",
    )
    assert (failure.sites, failure.days) == (("a", "b", "c"), (FIRST, SECOND))


def test_a_dry_run_shows_each_number_that_differs() -> None:
    stored = [
        StoredDay("a", FIRST, {"matomo_visits": 3, "gsc_clicks": 1, "gsc_impressions": 2}),
        StoredDay("b", SECOND, {"matomo_visits": 9, "gsc_clicks": None, "gsc_impressions": 0}),
    ]
    master: Master = {**MASTER, "c": {SECOND: {"matomo_visits": 0}, FIRST: {"matomo_visits": 1}}}
    assert list(find_changes(master, stored)) == [
        Change("b", SECOND, "gsc_clicks", None, 0),
        Change("b", SECOND, "gsc_impressions", 0, 4),
        Change("c", FIRST, "matomo_visits", None, 1),
        Change("c", SECOND, "matomo_visits", None, 0),
    ]
