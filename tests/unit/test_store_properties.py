"""Whatever fails in whatever order: merge and upsert never lose a number and never invent one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import group_rows, upsert_daily_analytics
from fetchers.gsc import Clicks
from jobs.daily_plan import make_plan
from jobs.daily_store import build_master, find_changes, store
from models import METRICS, Failure, Master, Site, SiteId, Window
from storage.errors import DatabaseRefused
from storage.rows import Row
from tests.unit.fake_database import FakeDatabase
from tests.unit.helpers import days_from, seldom

DAYS = days_from(date(2026, 11, 15), 4)
SITES: list[SiteId] = ["a", "b", "c", 1, 2, 30]
CELLS = [(site, day) for site in SITES for day in DAYS]

cells = st.sampled_from(CELLS)
counts = st.integers(0, 10**9)
fetched_visits = st.dictionaries(cells, counts)
fetched_clicks = st.dictionaries(cells, st.builds(Clicks, counts, counts))
masters = st.builds(
    lambda visits, clicks: build_master(_by_site(visits), _by_site(clicks)),
    fetched_visits,
    fetched_clicks,
)
wanted = st.dictionaries(st.sampled_from(SITES), st.lists(st.sampled_from(DAYS), unique=True))
ALL_WANTED = {site: list(DAYS) for site in SITES}
refusals = st.tuples(st.frozensets(cells), st.frozensets(st.sampled_from(SITES), max_size=3))


@given(fetched_visits, fetched_clicks)
@seldom
def test_the_master_dict_holds_exactly_what_was_fetched(
    visits: dict[Any, int], clicks: dict[Any, Clicks]
) -> None:
    master = build_master(_by_site(visits), _by_site(clicks))
    expected = {(cell, "matomo_visits"): n for cell, n in visits.items()}
    expected |= {(cell, "gsc_clicks"): c.clicks for cell, c in clicks.items()}
    expected |= {(cell, "gsc_impressions"): c.impressions for cell, c in clicks.items()}
    assert _numbers(master) == expected


@given(masters, wanted)
@seldom
def test_grouped_rows_are_the_wanted_cells_once_each_with_their_numbers(
    master: Master, wanted: dict[SiteId, list[date]]
) -> None:
    groups = group_rows(master, wanted)
    rows = [(metrics, row) for metrics, rows in groups.items() for row in rows]
    asked = [(site, day) for site, days in wanted.items() for day in days]
    assert sorted(((row[1], row[0]) for _, row in rows), key=str) == sorted(asked, key=str)
    for metrics, (day, site, *numbers) in rows:
        assert dict(zip(metrics, numbers, strict=True)) == master.get(site, {}).get(day, {})


@given(masters, wanted)
@seldom
def test_a_group_has_one_set_of_columns_and_a_fixed_order(
    master: Master, wanted: dict[SiteId, list[date]]
) -> None:
    groups = group_rows(master, wanted)
    for metrics, rows in groups.items():
        assert [m for m in METRICS if m in metrics] == list(metrics)
        assert {len(row) for row in rows} == {2 + len(metrics)}
        assert [(str(row[1]), row[0]) for row in rows] == sorted(
            (str(row[1]), row[0]) for row in rows
        )
    backwards = {site: days[::-1] for site, days in reversed(wanted.items())}
    assert group_rows(master, backwards) == groups


@given(st.lists(masters, min_size=1, max_size=4))
@seldom
def test_any_order_of_partial_failures_leaves_the_last_known_number(nights: list[Master]) -> None:
    database = FakeDatabase()
    expected: dict[Any, int] = {}
    for master in nights:
        upsert_daily_analytics(database, master, ALL_WANTED)
        expected |= _numbers(master)
    assert _stored(database) == expected
    assert database.table.keys() == set(CELLS)


@given(masters, refusals)
@seldom
def test_exactly_the_refused_rows_are_not_stored_and_all_of_them_named(
    master: Master, refused: tuple[frozenset[Any], frozenset[SiteId]]
) -> None:
    bad_rows, gone_sites = refused
    database = FakeDatabase(bad_rows=bad_rows, gone_sites=gone_sites)
    stored = upsert_daily_analytics(database, master, ALL_WANTED)
    refused_cells = {(s, d) for s, d in CELLS if s in gone_sites or (s, d) in bad_rows}
    named = [(site, day) for site, days, _ in stored.refused for day in days]
    assert sorted(named, key=str) == sorted(refused_cells, key=str)
    assert database.table.keys() == set(CELLS) - refused_cells
    assert stored.rows == len(CELLS) - len(refused_cells)
    assert all(site in gone_sites for site, _, e in stored.refused if getattr(e, "whole_site", 0))


@given(masters, refusals)
@seldom
def test_refused_rows_are_found_with_a_bounded_number_of_statements(
    master: Master, refused: tuple[frozenset[Any], frozenset[SiteId]]
) -> None:
    bad_rows, gone_sites = refused
    database = FakeDatabase(bad_rows=bad_rows, gone_sites=gone_sites)
    stored = upsert_daily_analytics(database, master, ALL_WANTED)
    depth = math.ceil(math.log2(len(SITES))) + math.ceil(math.log2(len(DAYS)))
    groups = len(group_rows(master, ALL_WANTED))
    assert len(database.upserts) <= groups + 2 * depth * len(stored.refused)


@given(masters, masters)
@seldom
def test_a_dry_run_foretells_what_a_run_changes(before: Master, after: Master) -> None:
    database = FakeDatabase()
    upsert_daily_analytics(database, before, ALL_WANTED)
    then = _stored(database)
    changes = list(find_changes(after, database.read_days(Window(DAYS[0], DAYS[-1]))))
    upsert_daily_analytics(database, after, ALL_WANTED)
    now = _stored(database)
    foretold = {
        ((change.site_id, change.day), change.metric): (change.old, change.new)
        for change in changes
    }
    assert foretold == {key: (then.get(key), n) for key, n in now.items() if then.get(key) != n}
    assert len(changes) == len(foretold)


@given(masters, st.sets(st.sampled_from(SITES)))
@seldom
def test_every_row_of_a_run_is_stored_or_among_its_failures(
    master: Master, gone: set[SiteId]
) -> None:
    plan = make_plan(
        [Site(site, f"{site}.test", 1) for site in SITES], [], Window(DAYS[0], DAYS[-1])
    )
    failures: list[Failure] = []
    stored = store(FakeDatabase(gone_sites=gone), master, plan, failures)
    assert stored + sum(len(failure.days) for failure in failures) == len(CELLS)
    assert {site for failure in failures for site in failure.sites} == gone


def test_many_rows_are_sent_in_chunks_and_one_bad_row_in_thousands_is_found() -> None:
    sites = [f"s{n:05}" for n in range(12_000)]
    master: Master = {site: {DAYS[0]: {"matomo_visits": 1}} for site in sites}
    database = FakeDatabase(bad_rows=[("s07777", DAYS[0])])
    stored = upsert_daily_analytics(database, master, {site: [DAYS[0]] for site in sites})
    assert stored.rows == 11_999
    assert [refused[0] for refused in stored.refused] == ["s07777"]
    assert max(len(rows) for _, rows in database.upserts) == 5000
    assert len(database.upserts) <= 3 + 2 * 13


def test_a_deleted_site_costs_no_halving_of_its_days() -> None:
    days = days_from(date(2025, 1, 1), 400)
    database = FakeDatabase(gone_sites=["a"])
    stored = upsert_daily_analytics(database, {}, {"a": days, "b": days})
    assert [(site, len(of_site)) for site, of_site, _ in stored.refused] == [("a", 400)]
    assert len(database.upserts) == 3


def _by_site(fetched: Mapping[Any, Any]) -> dict[SiteId, dict[date, Any]]:
    by_site: dict[SiteId, dict[date, Any]] = {}
    for (site, day), value in fetched.items():
        by_site.setdefault(site, {})[day] = value
    return by_site


def _numbers(master: Master) -> dict[Any, int]:
    return {
        ((site, day), metric): n
        for site, days in master.items()
        for day, numbers in days.items()
        for metric, n in numbers.items()
    }


def _stored(database: FakeDatabase) -> dict[Any, int | None]:
    return {
        (cell, metric): n
        for cell, numbers in database.table.items()
        for metric, n in numbers.items()
    }


def test_without_transactions_earlier_chunks_stay_stored_and_are_told_apart() -> None:
    class Failing(FakeDatabase):
        def upsert_rows(self, metrics: Sequence[str], rows: Sequence[Row]) -> None:
            if self.table:
                raise DatabaseRefused("no more")
            super().upsert_rows(metrics, rows)

    sites: list[SiteId] = [f"s{n}" for n in range(4)]
    master: Master = {site: {DAYS[0]: {"matomo_visits": 1}} for site in sites}
    rows = {site: [DAYS[0]] for site in sites}
    stored = upsert_daily_analytics(Failing(chunk_rows=2, transactional=False), master, rows)
    assert (stored.rows, [site for site, _, _ in stored.refused]) == (2, ["s2", "s3"])
    with pytest.raises(DatabaseRefused):
        upsert_daily_analytics(Failing(chunk_rows=2), master, rows)
