"""The same upsert over all three databases: a number that is not known is never written."""

from __future__ import annotations

from datetime import date

from models import Master, SiteId
from tests.integration.databases import DAYS, Store
from tests.integration.tables import Numbers, rows

NOT_THERE: dict[type, list[SiteId]] = {
    int: [900_001, 900_002, 900_003],
    str: [f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2, 3)],
}


def full(site: SiteId, day: date, n: int) -> Master:
    return {site: {day: {"matomo_visits": n, "gsc_clicks": n + 1, "gsc_impressions": n + 2}}}


def test_a_stored_row_holds_what_was_fetched(store: Store) -> None:
    one, two = store.add_sites(2)
    large = 2**40
    stored = store.upsert({
        one: {DAYS[0]: {"matomo_visits": 0, "gsc_clicks": 0, "gsc_impressions": 0}},
        two: {DAYS[0]: {"matomo_visits": large, "gsc_clicks": 3, "gsc_impressions": large}},
    })  # fmt: skip
    assert (stored.rows, stored.refused) == (2, [])
    assert store.numbers() == {(one, DAYS[0]): (0, 0, 0), (two, DAYS[0]): (large, 3, large)}


def test_each_source_writes_its_own_columns_only(store: Store) -> None:
    sites = store.add_sites(4)
    old: Master = {site: full(site, DAYS[0], 100)[site] for site in sites}
    store.upsert(old)
    stored = store.upsert({
        sites[0]: {DAYS[0]: {"matomo_visits": 7}},
        sites[1]: {DAYS[0]: {"gsc_clicks": 8, "gsc_impressions": 9}},
        sites[2]: {DAYS[0]: {"gsc_impressions": 5}},
        sites[3]: {DAYS[0]: {"matomo_visits": 1, "gsc_clicks": 2, "gsc_impressions": 3}},
    })  # fmt: skip
    assert (stored.rows, stored.refused) == (4, [])
    assert [store.numbers()[site, DAYS[0]] for site in sites] == [
        (7, 101, 102), (100, 8, 9), (100, 101, 5), (1, 2, 3),
    ]  # fmt: skip


def test_a_zero_replaces_a_number_and_the_unknown_never_does(store: Store) -> None:
    zero, unknown = store.add_sites(2)
    store.upsert({site: full(site, DAYS[0], 50)[site] for site in (zero, unknown)})
    store.upsert({zero: {DAYS[0]: {"matomo_visits": 0}}, unknown: {DAYS[0]: {}}})
    assert store.numbers() == {
        (zero, DAYS[0]): (0, 51, 52), (unknown, DAYS[0]): (50, 51, 52),
    }  # fmt: skip


def test_a_site_of_which_nothing_is_known_gets_its_row(store: Store) -> None:
    fetched, silent = store.add_sites(2)
    store.upsert(full(silent, DAYS[0], 10))
    master: Master = {fetched: {DAYS[1]: {"matomo_visits": 4}}}
    stored = store.upsert(master, {fetched: DAYS[:2], silent: DAYS[:2]})
    assert stored.rows == 4
    nothing: Numbers = (None, None, None)
    assert store.numbers() == {
        (fetched, DAYS[0]): nothing, (fetched, DAYS[1]): (4, None, None),
        (silent, DAYS[0]): (10, 11, 12), (silent, DAYS[1]): nothing,
    }  # fmt: skip


def test_twice_changes_nothing_and_updated_at_stays(store: Store) -> None:
    sites = store.add_sites(5)
    master: Master = {site: {day: {"matomo_visits": 3} for day in DAYS} for site in sites}
    master[sites[0]] = {day: {"gsc_clicks": 1, "gsc_impressions": 2} for day in DAYS}
    master[sites[1]] = {day: {} for day in DAYS}
    store.upsert(master)
    before = store.numbers(), store.updated_at()
    stored = store.upsert(master)
    assert (store.numbers(), store.updated_at()) == before
    assert stored.rows == 50


def test_updated_at_moves_with_a_value_and_only_there(store: Store) -> None:
    one, two = store.add_sites(2)
    master = full(one, DAYS[0], 1) | full(two, DAYS[0], 1)
    master[one][DAYS[1]] = {"matomo_visits": 5}
    store.upsert(master)
    before = store.updated_at()
    master[two][DAYS[0]]["gsc_clicks"] = 77
    master[one][DAYS[1]] = {"matomo_visits": 5, "gsc_clicks": 0, "gsc_impressions": 0}
    store.upsert(master)
    after = store.updated_at()
    moved = {cell for cell in after if after[cell] != before[cell]}
    assert moved == {(str(two), DAYS[0]), (str(one), DAYS[1])}


def test_other_columns_of_the_users_own_are_left_alone(store: Store) -> None:
    [site] = store.add_sites(1)
    store.execute("alter table public.daily_analytics add column remark text default 'none'")
    store.upsert(full(site, DAYS[0], 1))
    store.execute("update public.daily_analytics set remark = 'checked by hand'")
    store.upsert(full(site, DAYS[0], 2))
    assert store.count("public.daily_analytics where remark = 'checked by hand'") == 1


def test_updated_at_stays_where_the_user_has_computed_columns(store: Store) -> None:
    """A generated column has no value yet when a BEFORE trigger compares the row."""
    [site] = store.add_sites(1)
    store.execute(
        "alter table public.daily_analytics add column rate numeric "
        "generated always as (gsc_clicks::numeric / nullif(gsc_impressions, 0)) stored"
    )
    store.upsert(full(site, DAYS[0], 1))
    before = store.updated_at()
    store.upsert(full(site, DAYS[0], 1))
    assert store.updated_at() == before


def test_rows_of_deleted_sites_are_refused_by_name_and_all_others_stored(store: Store) -> None:
    good = store.add_sites(9)
    gone = NOT_THERE[type(good[0])]
    mixed = [good[0], gone[0], *good[1:5], gone[1], *good[5:], gone[2]]
    master: Master = {site: {day: {"matomo_visits": 6} for day in DAYS} for site in mixed}
    stored = store.upsert(master)
    assert stored.rows == 90
    assert {site: days for site, days, _ in stored.refused} == {s: tuple(DAYS) for s in gone}
    for site, _, error in stored.refused:
        assert str(site) in error.message
        assert "the site is gone" in error.mend
    assert store.numbers() == {(site, day): (6, None, None) for site in good for day in DAYS}


def test_many_deleted_sites_leave_the_few_others_stored(store: Store) -> None:
    [good] = store.add_sites(1)
    gone: list[SiteId] = (
        list(range(800_000, 800_040))
        if isinstance(good, int)
        else [f"00000000-0000-0000-0000-0000000001{n:02}" for n in range(40)]
    )
    master: Master = {site: {DAYS[0]: {"matomo_visits": 1}} for site in [*gone, good]}
    stored = store.upsert(master)
    assert stored.rows == 1
    assert {site for site, _, _ in stored.refused} == set(gone)
    assert store.numbers() == {(good, DAYS[0]): (1, None, None)}


def test_single_bad_rows_of_a_site_are_refused_and_its_others_stored(store: Store) -> None:
    one, two = store.add_sites(2)
    store.execute(
        "alter table public.daily_analytics add constraint small check (matomo_visits < 1000)"
    )
    master: Master = {site: {day: {"matomo_visits": 3} for day in DAYS} for site in (one, two)}
    for day in (DAYS[2], DAYS[9]):
        master[one][day] = {"matomo_visits": 5000}
    stored = store.upsert(master)
    assert stored.rows == 18
    assert sorted(stored.refused[0][1] + stored.refused[1][1]) == [DAYS[2], DAYS[9]]
    assert {site for site, _, _ in stored.refused} == {one}
    assert all("small" in error.message for _, _, error in stored.refused)
    assert len(store.numbers()) == 18


def test_a_number_too_large_for_the_column_costs_no_other_row(store: Store) -> None:
    sites = store.add_sites(3)
    master: Master = {site: {DAYS[0]: {"matomo_visits": 3}} for site in sites}
    master[sites[1]] = {DAYS[0]: {"matomo_visits": 2**63}}
    stored = store.upsert(master)
    assert (stored.rows, [site for site, _, _ in stored.refused]) == (2, [sites[1]])
    assert set(store.numbers()) == {(sites[0], DAYS[0]), (sites[2], DAYS[0])}


def test_a_constraint_that_is_checked_at_the_end_refuses_its_rows_too(store: Store) -> None:
    [good] = store.add_sites(1)
    gone = NOT_THERE[type(good)][0]
    [(name,)] = rows(
        store.url,
        "select conname from pg_constraint "
        "where conrelid = 'public.daily_analytics'::regclass and contype = 'f'",
    )
    store.execute(
        f"alter table public.daily_analytics alter constraint {name} deferrable initially deferred"
    )
    stored = store.upsert({s: {DAYS[0]: {"matomo_visits": 1}} for s in (good, gone)})
    assert (stored.rows, [site for site, _, _ in stored.refused]) == (1, [gone])


def test_nothing_wanted_writes_nothing(store: Store) -> None:
    stored = store.upsert({}, {})
    assert (stored.rows, stored.refused) == (0, [])
    assert store.numbers() == {}
