"""Sequences of nights on which anything may go wrong: see the package chaos.

Half of them are short and go through every kind of fault, the others are made up at random, and the
same ones each time; `make chaos` makes up new ones.
"""

from __future__ import annotations

import pytest

from tests.end_to_end.chaos.plans import SOURCE_KINDS
from tests.end_to_end.chaos.run import run_each_database_fault, run_each_fault, run_sequences
from tests.end_to_end.chaos.stage import Tally, open_stage
from tests.end_to_end.chaos.stores import KINDS
from tests.services.postgres import PostgresServer

STORES = ("psycopg", "rest")
GROUPS = 8
RANDOM_SEQUENCES = 4


@pytest.mark.parametrize("group", range(GROUPS))
def test_whatever_happens_the_table_tells_the_truth(group: int, postgres: PostgresServer) -> None:
    tally, kinds = Tally(), SOURCE_KINDS[group::GROUPS]
    with open_stage(STORES[group % 2], postgres, tally) as stage:
        run_each_fault(stage, kinds)
        run_sequences(
            stage, kinds, RANDOM_SEQUENCES, shrink=False
        )  # make chaos looks for the shortest
    assert {f"{source} {kind}" for source, kind in kinds} <= tally.met.keys()
    assert tally.sequences >= len(kinds) + RANDOM_SEQUENCES


@pytest.mark.parametrize("store", STORES)
def test_whatever_befalls_the_database_the_table_tells_the_truth(
    store: str, postgres: PostgresServer
) -> None:
    tally = Tally()
    with open_stage(store, postgres, tally) as stage:
        run_each_database_fault(stage)
    assert {f"{store} {kind}" for kind in KINDS[store]} <= tally.met.keys()
