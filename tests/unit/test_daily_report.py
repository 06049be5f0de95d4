"""What a nightly run says in the end: the line of the contract last, whatever happened before."""

from __future__ import annotations

from datetime import date

import pytest

from jobs.daily_plan import make_plan
from jobs.daily_report import CHANGES_SHOWN, report_run, show_changes, summary_lines
from jobs.daily_store import Change
from jobs.recording import Run
from models import Failure, Site, Window
from tests.unit.helpers import days_from

FIRST, SECOND = days_from(date(2026, 11, 17), 2)
WINDOW = Window(FIRST, SECOND)
PLAN = make_plan([Site(n, f"s{n}.test", n) for n in range(200)], [], WINDOW)
COUNTS = {"sites": 198, "matomo": 195, "gsc": 180, "stored": 198}
CONTRACT = (
    "Processed 198 sites. Fetched Matomo data for 195. Fetched GSC data for 180. "
    "Stored 198 records."
)


def failure(message: str, *sites: int) -> Failure:
    return Failure("temporary", "matomo", message, "wait", sites, (FIRST,))


def print_summary(run: Run, window: Window) -> None:
    run.names = {site.id: site.domain for site in PLAN.sites.values()}
    run.summary = summary_lines(run, window)
    report_run(run)


def test_a_complete_run_says_so_and_ends_with_the_line_of_the_contract(
    caplog: pytest.LogCaptureFixture,
) -> None:
    print_summary(Run(counts=dict(COUNTS)), WINDOW)
    assert caplog.messages == ["COMPLETE: 2026-11-17 to 2026-11-18", CONTRACT]


def test_an_incomplete_run_counts_each_site_once_and_ends_with_the_same_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run([failure("HTTP 503", 1, 2), failure("HTTP 503", 3), failure("odd", 3)], dict(COUNTS))
    print_summary(run, WINDOW)
    assert caplog.messages[0].startswith("INCOMPLETE: 3 of 198 sites ")
    assert caplog.messages[0].endswith(" 2 reasons")
    assert "  matomo, 3 sites (s1.test, s2.test, s3.test), 2026-11-17" in caplog.messages
    assert caplog.messages[-1] == CONTRACT


def test_a_run_that_stored_nothing_says_zero(caplog: pytest.LogCaptureFixture) -> None:
    print_summary(Run(counts={"sites": 1, "matomo": 0, "gsc": 0}), Window(FIRST, FIRST))
    assert caplog.messages[0] == "COMPLETE: 2026-11-17"
    assert caplog.messages[-1].endswith("Stored 0 records.")


def test_a_dry_run_shows_old_and_new_numbers_by_site_and_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = [
        Change(2, SECOND, "gsc_clicks", 0, 5),
        Change(1, FIRST, "matomo_visits", None, 0),
        Change(2, SECOND, "gsc_impressions", 7, 9),
    ]
    show_changes(changes, PLAN)
    assert caplog.messages == [
        "would change s1.test 2026-11-17: matomo_visits unknown -> 0",
        "would change s2.test 2026-11-18: gsc_clicks 0 -> 5, gsc_impressions 7 -> 9",
        "dry run: 3 numbers would change, nothing was written",
    ]


def test_a_dry_run_of_many_changes_counts_all_and_shows_some(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = [Change(n, FIRST, "matomo_visits", 1, 2) for n in range(CHANGES_SHOWN + 3)]
    show_changes(iter(changes), PLAN)
    *shown, more, last = caplog.messages
    assert len(shown) == CHANGES_SHOWN
    assert more.startswith("... and 3 more")
    assert last == "dry run: 103 numbers would change, nothing was written"


def test_two_sites_of_one_domain_stay_apart_in_a_dry_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = make_plan([Site(n, "twin.test", n) for n in (1, 2)], [], WINDOW)
    show_changes([Change(n, FIRST, "matomo_visits", None, n) for n in (1, 2)], plan)
    assert len(caplog.messages) == 3
