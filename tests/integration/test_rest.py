"""Supabase's REST API in trouble: what is tried again, what is not, and how often it is asked."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import UTC, date, datetime

import pytest

from config import Settings
from db import open_database
from jobs.alerts import Alerts
from jobs.daily_plan import choose_sites
from jobs.recording import recorded_run
from jobs.run_failures import CannotRun
from models import Master, days_between
from storage.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable
from tests.integration.databases import DAYS, Store
from tests.integration.tables import rows
from tests.services.gateway import Action, Answer, Fault, Request

HTML = "<html><head><title>502 Bad Gateway</title></head><body>sorry</body></html>"

PASSING: dict[str, Action] = {
    "503 json": Answer(503, {"message": "upstream timeout"}),
    "429": Answer(429, {"message": "Too many requests"}),
    "408": Answer(408, {"message": "timeout"}),
    "500 html": Answer(500, HTML, {"Content-Type": "text/html"}),
    "502 html": Answer(502, HTML, {"Content-Type": "text/html"}),
    "504 empty": Answer(504, ""),
    "drop": "drop",
    "drop_after": "drop_after",
    "serialization": Answer(500, {"code": "40001", "message": "could not serialize access"}),
    "deadlock": Answer(500, {"code": "40P01", "message": "deadlock detected"}),
    "statement timeout": Answer(500, {"code": "57014", "message": "canceling statement"}),
    "no connection": Answer(503, {"code": "PGRST000", "message": "Database connection error"}),
    "pool timeout": Answer(504, {"code": "PGRST003", "message": "Timed out acquiring"}),
    "too many connections": Answer(503, {"code": "53300", "message": "too many clients"}),
}
FINAL: dict[str, Action] = {
    "401": Answer(401, {"message": "Invalid API key", "hint": "Double check"}),
    "401 jwt": Answer(401, {"code": "PGRST301", "message": "JWT expired"}),
    "403": Answer(403, {"code": "42501", "message": "permission denied for table"}),
    "400": Answer(400, {"code": "PGRST102", "message": "All object keys must match"}),
    "404 html": Answer(404, HTML, {"Content-Type": "text/html"}),
    "no unique key": Answer(400, {"code": "42P10", "message": "there is no unique constraint"}),
}
ALL: dict[str, Action] = PASSING | FINAL


def upserts(store: Store) -> list[Request]:
    assert store.postgrest is not None
    requests = store.postgrest.proxy.requests
    return [r for r in requests if r.method == "POST" and r.path == "/rest/v1/daily_analytics"]


def break_next(store: Store, action: Action, times: int = 1) -> None:
    assert store.postgrest is not None
    store.postgrest.proxy.faults[:] = [Fault(action, times=times)]


@pytest.mark.parametrize("fault", PASSING)
def test_an_upsert_is_sent_again_and_stored_once(fault: str, rest: Store) -> None:
    sites = rest.add_sites(3)
    rest.upsert({site: {DAYS[0]: {"gsc_clicks": 1}} for site in sites})
    before = rest.count("daily_analytics")
    upserts(rest).clear()
    break_next(rest, PASSING[fault])
    stored = rest.upsert({site: {DAYS[0]: {"matomo_visits": 5}} for site in sites})
    assert (stored.rows, stored.refused) == (3, [])
    assert rest.numbers() == {(site, DAYS[0]): (5, 1, None) for site in sites}
    assert rest.count("daily_analytics") == before
    assert len(upserts(rest)) == 3  # the first upsert, the broken one and its second try


@pytest.mark.parametrize("fault", PASSING)
def test_a_read_is_sent_again(fault: str, rest: Store) -> None:
    sites = rest.add_sites(3)
    break_next(rest, PASSING[fault])
    assert [site.id for site in rest.database.read_sites()] == sites


def test_an_answer_cut_in_the_middle_is_asked_for_again(rest: Store) -> None:
    sites = rest.add_sites(30)
    break_next(rest, "cut")
    assert [site.id for site in rest.database.read_sites()] == sites


@pytest.mark.parametrize("fault", PASSING)
def test_tries_end_and_the_failure_is_temporary(fault: str, rest: Store) -> None:
    [site] = rest.add_sites(1)
    break_next(rest, PASSING[fault], times=9)
    with pytest.raises(DatabaseUnavailable) as caught:
        rest.upsert({site: {DAYS[0]: {"matomo_visits": 5}}})
    assert len(upserts(rest)) == 2
    assert caught.value.mend


@pytest.mark.parametrize("fault", FINAL)
def test_a_refusal_is_never_sent_again(fault: str, rest: Store) -> None:
    [site] = rest.add_sites(1)
    break_next(rest, FINAL[fault], times=9)
    with pytest.raises(DatabaseRefused) as caught:
        rest.upsert({site: {DAYS[0]: {"matomo_visits": 5}}})
    assert len(upserts(rest)) == 1
    assert caught.value.mend


@pytest.mark.parametrize("status", [200, 201])
def test_a_page_in_place_of_an_answer_is_no_success(status: int, rest: Store) -> None:
    """A login page answers with 200: what it swallowed must not count as stored."""
    [site] = rest.add_sites(1)
    break_next(rest, Answer(status, HTML, {"Content-Type": "text/html"}), times=9)
    with pytest.raises(DatabaseError):
        rest.upsert({site: {DAYS[0]: {"matomo_visits": 5}}})


def test_a_page_in_place_of_the_sites_is_no_empty_list(rest: Store) -> None:
    rest.add_sites(1)
    break_next(rest, Answer(200, HTML, {"Content-Type": "text/html"}), times=9)
    with pytest.raises(DatabaseRefused, match="no list of rows"):
        rest.database.read_sites()


def test_one_request_for_each_set_of_metrics_and_5000_rows(rest: Store) -> None:
    sites = rest.add_sites(60)
    days = days_between(date(2026, 1, 1), date(2026, 7, 19))
    assert len(days) == 200
    master: Master = {
        site: {day: {"matomo_visits": 1, "gsc_clicks": 2, "gsc_impressions": 3} for day in days}
        for site in sites
    }
    for site in sites[:5]:
        master[site] = {day: {"matomo_visits": 1} for day in days}
    for site in sites[5:7]:
        master[site] = {}
    stored = rest.upsert(master, dict.fromkeys(sites, days))
    assert (stored.rows, stored.refused) == (12_000, [])
    bodies = [request.json() for request in upserts(rest)]
    assert Counter(len(body[0]) - 2 for body in bodies) == {3: 3, 1: 1, 0: 1}
    assert max(map(len, bodies)) == 5000
    assert rest.count("daily_analytics") == 12_000
    assert rest.count("daily_analytics where gsc_impressions = 3") == 53 * 200
    assert rest.count("daily_analytics where matomo_visits is null") == 2 * 200


def test_a_deleted_site_among_5000_rows_costs_a_few_requests(rest: Store) -> None:
    sites = rest.add_sites(500)
    gone = "77777777-7777-7777-7777-777777777777"
    stored = rest.upsert({s: {day: {"matomo_visits": 1} for day in DAYS} for s in [*sites, gone]})
    assert stored.rows == 5000
    assert [site for site, _, _ in stored.refused] == [gone]
    assert rest.count("daily_analytics") == 5000
    # Halving 501 sites down to one is nine levels of two requests, beside the first ones.
    assert len(upserts(rest)) <= 2 + 2 * 9


def test_an_upsert_names_its_conflict_key_and_wants_no_rows_back(rest: Store) -> None:
    [site] = rest.add_sites(1)
    rest.upsert({site: {DAYS[0]: {"matomo_visits": 5}}})
    [request] = upserts(rest)
    prefers = {part.strip() for part in request.headers["prefer"].split(",")}
    assert {"return=minimal", "resolution=merge-duplicates"} <= prefers
    assert "on_conflict=date%2Csite_id" in request.query


@pytest.mark.parametrize("key", ["anon_key", "publishable_key"])
def test_a_key_bound_by_row_level_security_sees_no_sites_and_is_named(
    key: str, rest: Store
) -> None:
    assert rest.postgrest is not None
    rest.add_sites(3)
    settings = Settings(
        supabase_url=rest.postgrest.url, supabase_service_key=getattr(rest.postgrest, key)
    )
    with open_database(settings) as database:
        sites = database.read_sites()
        with pytest.raises(DatabaseError):
            database.upsert_rows(["matomo_visits"], [(DAYS[0], "00000000-0000-0000-0000-00", 1)])
    assert sites == []
    with pytest.raises(CannotRun) as caught:
        choose_sites(sites, [])
    assert "SUPABASE_SERVICE_KEY" in caught.value.mend


def test_a_wrong_service_key_is_refused_once_and_never_shown(rest: Store) -> None:
    assert rest.postgrest is not None
    settings = Settings(
        supabase_url=rest.postgrest.url, supabase_service_key="sb_secret_sentinel", http_attempts=4
    )
    with open_database(settings) as database, pytest.raises(DatabaseRefused) as caught:
        database.read_sites()
    assert len(rest.postgrest.proxy.requests) == 1
    assert "SUPABASE_SERVICE_KEY" in caught.value.mend
    assert "sentinel" not in f"{caught.value} {caught.value.mend}"


@pytest.mark.parametrize("fault", ALL)
def test_no_message_holds_the_key(fault: str, rest: Store) -> None:
    assert rest.postgrest is not None
    [site] = rest.add_sites(1)
    break_next(rest, ALL[fault], times=9)
    said = ""
    with contextlib.suppress(DatabaseError):
        rest.upsert({site: {DAYS[0]: {"matomo_visits": 5}}})
    try:
        rest.database.read_sites()
    except DatabaseError as error:
        said = f"{error!r} {error.message} {error.mend} {error.__cause__!r}"
    assert rest.postgrest.service_key not in said


@pytest.mark.parametrize("action", ["drop", "drop_after"])
def test_a_run_whose_first_answer_is_lost_has_one_row(action: Action, rest: Store) -> None:
    assert rest.postgrest is not None
    rest.postgrest.proxy.faults[:] = [Fault(action, when=lambda r: r.method == "POST", times=1)]
    now = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
    with recorded_run(rest.database, None, Settings(), Alerts(Settings(), "daily", now)):
        pass
    assert rows(rest.url, "select status from public.aggregator_runs") == [("complete",)]
