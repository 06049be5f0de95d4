"""A few seconds of everything at once: python -m tests.chaos_hourly goes on for longer."""

from __future__ import annotations

from tests.chaos_hourly.machine import Machine, Plan
from tests.chaos_hourly.server import MortalServer
from tests.integration.tables import migrate

PLAN = Plan(
    seconds=9.0,
    seed=20261121,
    writers=3,
    refreshers=2,
    readers=2,
    patience=0.5,
    kill_every=3.0,
    last_questions=8,
)


def test_writers_refreshes_and_kills_never_make_an_answer_wrong() -> None:
    with MortalServer() as server:
        migrate(server.create_database("chaos"))
        report = Machine(server, "chaos", PLAN).run()
    assert not report.findings()
    assert report.compared["answers from clean days"] > 20
    assert report.compared["day rows"] > 100
    assert report.done["refreshed"] > 10
    assert sum(times for kind, times in report.done.items() if "kill" in kind) >= 2
