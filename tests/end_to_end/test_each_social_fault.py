"""Faults of the social platforms over REST, each in a run of its own: named, nothing of another
connection is touched, and the next run makes it good.

Every eighth kind: `make chaos` goes through all of them on both databases, test_social_faults.py
through all on Postgres. Sequences of all jobs: test_faults.py.
"""

from __future__ import annotations

from tests.end_to_end.chaos.plans import SOCIAL_KINDS, TOKEN_KINDS
from tests.end_to_end.chaos.run import run_each_social_fault
from tests.end_to_end.chaos.stage import Tally, open_stage
from tests.services.postgres import PostgresServer

KINDS = (*SOCIAL_KINDS, *TOKEN_KINDS)[::8]


def test_faults_of_a_platform_cost_their_connection_alone(postgres: PostgresServer) -> None:
    tally = Tally()
    with open_stage("rest", postgres, tally) as stage:
        run_each_social_fault(stage, KINDS)
    assert {f"{source} {kind}" for source, kind in KINDS} <= tally.met.keys()
