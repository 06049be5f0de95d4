"""`doctor --site`: each of the last ten days, and the reason of what is not known."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from jobs.doctor_site import explain_site
from jobs.findings import ADVICE, OK, Finding
from models import Site, Window, days_between
from storage.errors import DatabaseUnavailable, MissingRelation
from tests.unit.examinations import TroubledDatabase, a_run, examination

SITE = Site("s", "s.test", 7, "g")
LAST = date(2026, 11, 18)
DAYS = days_between(LAST - timedelta(days=9), LAST)
WINDOW = Window(DAYS[0], LAST)
NUMBERS = {"matomo_visits": 12, "gsc_clicks": 3, "gsc_impressions": 0}
WHEN = "2026-11-20 02:00"


def stored(**numbers: int | None) -> TroubledDatabase:
    database = TroubledDatabase(sites=[SITE])
    for day in DAYS:
        database.table["s", day] = {**NUMBERS, **numbers}
    return database


def explained(database: TroubledDatabase, site: Site = SITE) -> list[Finding]:
    """What is said of the last of the ten days comes last."""
    first, *days = explain_site(examination(database, sites=[site]))
    assert first.status == OK
    assert site.domain in first.message
    assert [f.message[:10] for f in days] == [str(day) for day in DAYS]
    return days


def failure(**more: Any) -> dict[str, Any]:
    usual = {"source": "gsc", "message": "it is closed", "mend": "open it", "sites": ["s"]}
    return {**usual, "days": [str(day) for day in DAYS], **more}


def test_the_row_of_the_site_is_told() -> None:
    [first, *_] = explain_site(examination(stored(), sites=[SITE]))
    assert first.message == "s.test: Matomo site 7, account g, gsc_property chosen by the program"


def test_days_that_are_known_are_told_with_their_numbers() -> None:
    days = explained(stored())
    assert {(f.status, f.mend) for f in days} == {(OK, "")}
    assert days[-1].message == "2026-11-18: visits 12, clicks 3, impressions 0"


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (Site("s", "s.test", 7), "2026-11-18: visits 12"),
        (Site("s", "s.test", None, "g"), "2026-11-18: clicks 3, impressions 0"),
        (Site("s", "s.test"), "2026-11-18: nothing is asked of this site"),
    ],
)
def test_what_is_not_asked_of_a_site_is_not_unknown(site: Site, message: str) -> None:
    last = explained(stored(), site)[-1]
    assert (last.status, last.message) == (OK, message)


def test_a_day_that_no_run_asked_for_is_told_with_the_command() -> None:
    days = explained(TroubledDatabase(sites=[SITE]))
    assert {f.status for f in days} == {ADVICE}
    assert days[-1].message == "2026-11-18: visits unknown, clicks unknown, impressions unknown"
    assert days[-1].mend == "no run has asked for it: aggregator.py --date 2026-11-18"


@pytest.mark.parametrize("how", ["sites", "none", "database", "run"])
def test_the_failure_of_the_last_run_is_the_reason(how: str) -> None:
    database = stored(gsc_clicks=None)
    more: dict[str, dict[str, Any]] = {
        "none": {"sites": []},
        "database": {"source": "database"},
        "run": {"source": "run"},
    }
    last_run = a_run(10, "incomplete", window=WINDOW, failures=[failure(**more.get(how, {}))])
    database.past_runs = [last_run, a_run(34, window=WINDOW, counts={"gsc": 1})]
    assert explained(database)[-1].mend == f"it is closed (run of {WHEN}): open it"


@pytest.mark.parametrize(
    "other",
    [
        {"sites": ["another"]},
        {"days": ["2026-11-01"]},
        {"source": "matomo"},
    ],
)
def test_anothers_failure_is_no_reason(other: dict[str, Any]) -> None:
    database = stored(gsc_clicks=None)
    database.past_runs = [
        a_run(10, "incomplete", window=WINDOW, failures=[failure(**other)], counts={"gsc": 9})
    ]
    assert explained(database)[-1].mend == f"Search Console had not published it at {WHEN}"


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        ("complete", {"gsc": 0}),  # --source matomo
        ("complete", {}),
        ("complete", {"gsc": 1, "only_sites": 1}),  # --site of another, perhaps
        ("failed", {"gsc": 1}),
        ("running", {"gsc": 1}),
    ],
)
def test_a_run_that_did_not_ask_for_every_sites_clicks_is_no_reason(
    status: str, counts: dict[str, Any]
) -> None:
    database = stored(gsc_clicks=None)
    database.past_runs = [a_run(10, status, window=WINDOW, counts=counts)]
    assert "no run has asked for it" in explained(database)[-1].mend


def test_a_site_that_came_later_was_not_asked_for() -> None:
    """Every run leaves a row of each of its days and sites, known or not."""
    site = Site("s", "s.test", None, "g")
    database = TroubledDatabase(sites=[site])
    database.past_runs = [a_run(10, window=WINDOW, counts={"gsc": 9})]
    mend = explained(database, site)[-1].mend
    assert mend == "no run has asked for it: aggregator.py --date 2026-11-18"


def test_a_run_of_other_days_is_no_reason() -> None:
    database = stored(matomo_visits=None)
    failed = [failure(source="matomo")]
    database.past_runs = [
        a_run(10, "incomplete", window=Window(DAYS[0], DAYS[4]), failures=failed),
        a_run(10, "failed", failures=[failure(source="run")]),
    ]
    days = explained(database)
    assert "it is closed" in days[4].mend
    assert "no run has asked for it" in days[5].mend


def test_without_a_history_the_numbers_are_told_all_the_same() -> None:
    for error in (MissingRelation("no table"), DatabaseUnavailable("gone")):
        database = stored(matomo_visits=None)
        database.errors["runs"] = error
        assert "visits unknown, clicks 3" in explained(database)[-1].message


def test_two_reasons_are_told_once_each() -> None:
    database = stored(matomo_visits=None, gsc_clicks=None)
    database.past_runs = [
        a_run(10, "incomplete", window=WINDOW, failures=[failure(source="run", sites=[])])
    ]
    assert explained(database)[-1].mend == f"it is closed (run of {WHEN}): open it"


def test_ids_that_are_numbers_are_the_same_in_the_history() -> None:
    site = Site(3, "s.test", None, "g")
    database = TroubledDatabase(sites=[site])
    database.past_runs = [a_run(10, "incomplete", window=WINDOW, failures=[failure(sites=[3])])]
    assert "it is closed" in explained(database, site)[-1].mend
