"""Whatever is fetched and whatever fails, in any order: the table is what a dict would hold."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import METRICS, Master, SiteId
from tests.integration.databases import DAYS, OpenStore, Store

Model = dict[tuple[SiteId, date], dict[str, int | None]]

SITES = 4
GONE = SITES
"""The index of a site that was deleted: its rows are refused."""

cells = st.tuples(st.integers(0, GONE), st.integers(0, 3))
numbers = st.dictionaries(st.sampled_from(METRICS), st.integers(0, 2**62))
steps = st.lists(
    st.tuples(st.dictionaries(cells, numbers, max_size=12), st.sets(cells, max_size=6)),
    min_size=1,
    max_size=5,
)  # of each step: what was fetched, and further rows that are wanted


def check_against_a_dict(
    store: Store, sites: list[SiteId], moves: list[tuple[dict[Any, Any], set[Any]]]
) -> None:
    store.execute("truncate public.daily_analytics")
    model: Model = {}
    for fetched, further in moves:
        master: Master = {}
        wanted: dict[SiteId, set[date]] = {}
        for (site, day), known in fetched.items():
            master.setdefault(sites[site], {})[DAYS[day]] = known
        for site, day in {*fetched, *further}:
            wanted.setdefault(sites[site], set()).add(DAYS[day])
        stored = store.upsert(master, wanted) if wanted else store.upsert({}, {})
        refused = {(s, d) for s, days, _ in stored.refused for d in days}
        all_wanted = {(s, d) for s, days in wanted.items() for d in days}
        assert refused == {cell for cell in all_wanted if cell[0] == sites[GONE]}
        assert stored.rows == len(all_wanted - refused)
        for site_id, day_of in all_wanted - refused:
            row = model.setdefault((site_id, day_of), dict.fromkeys(METRICS))
            row.update(master.get(site_id, {}).get(day_of, {}))
        assert store.numbers() == {cell: tuple(row.values()) for cell, row in model.items()}


def all_sites(store: Store) -> list[SiteId]:
    return [*store.add_sites(SITES), "ffffffff-0000-0000-0000-000000000000"]


@pytest.mark.parametrize(("kind", "examples"), [("postgres", 60), ("rest", 12)])
def test_any_sequence_of_partial_results_leaves_what_a_dict_would_hold(
    kind: str, examples: int, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind)
    sites = all_sites(store)

    @settings(deadline=None, max_examples=examples)
    @given(moves=steps)
    def check(moves: list[tuple[dict[Any, Any], set[Any]]]) -> None:
        check_against_a_dict(store, sites, moves)

    check()
