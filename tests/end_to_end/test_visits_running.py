"""Imports while visits go on: in the end the table is that of one import after the days closed."""

from __future__ import annotations

from datetime import date, timedelta

from sandbox import World
from tests.end_to_end.visit_runs import (
    asking_for,
    differences,
    different_rows,
    open_runs,
    stored,
    truth,
    utc,
    watermarks,
)
from tests.integration.tables import execute

FIRST, LAST = date(2026, 11, 16), date(2026, 11, 17)
WORLD = World(
    sites=2, time_zones=("Europe/Paris", "America/Los_Angeles"), visits_per_day=30,
    midnight_visits=2,
)  # fmt: skip
HALF_HOURLY = {"DESTINATION_TABLE": "half_hourly"}
HOURLY = {"DESTINATION_TABLE": "hourly", "PARTITIONED": "true"}
AT_ONCE = {"DESTINATION_TABLE": "at_once"}
AROUND_MIDNIGHT = (22, 23, 0, 7, 8, 9)
"""In Paris and at the Pacific site, in UTC: days end there, and are closed."""
ENDED = utc("2026-11-18 12:00")
"""Both days have ended for more than an hour, at the Pacific site too."""


def test_hourly_and_half_hourly_runs_over_two_days_leave_what_one_import_afterwards_does(
    migrated_url: str,
) -> None:
    with open_runs(migrated_url, WORLD, "2026-11-16 06:00") as runs:
        runs.variables["STARTDATE"] = str(FIRST)
        while runs.clock.now <= ENDED:
            at = runs.clock.now
            if at.minute == 0:
                runs.whole(**HOURLY)
            if at.hour in AROUND_MIDNIGHT:
                runs.whole(**HALF_HOURLY)
            runs.clock.now += timedelta(minutes=30)
        runs.whole(*asking_for(FIRST, LAST), **AT_ONCE)
        expected = truth(runs.sandbox, WORLD.site_numbers, [FIRST, LAST])
    assert differences(stored(migrated_url, "at_once"), expected) == []
    for table in ("hourly", "half_hourly"):
        assert set(watermarks(migrated_url, table).values()) == {LAST}
        # What came after the two days is not in the one import.
        later = "idvisit not in (select idvisit from at_once)"
        execute(migrated_url, f"delete from {table} where {later}")
        assert different_rows(migrated_url, table, "at_once") == 0
