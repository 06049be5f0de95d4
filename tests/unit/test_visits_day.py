"""A day of the visit log: what is handed over, and how it compares with the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest

from fetchers.errors import BrokenOff, FetchError
from fetchers.matomo_health import MatomoHealth
from fetchers.matomo_visits import day_of_site
from jobs.visit_rows import VisitRows
from jobs.visits_day import PROBLEMS_NAMED, DayRead, Tools, read_day
from jobs.visits_plan import SitePlan
from models import Watermark, Window
from tests.unit.helpers import JSON_HEADERS, Reply, error_reply, json_reply, make_http
from tests.unit.live import DAY, DAY_BEGINS, SERVER, SITE, Entry, FakeLive, live, visit

PLAN = SitePlan(SITE, Window(DAY, DAY), Watermark(date(2026, 11, 17)), resumed=False)
LOG = [(number, DAY_BEGINS + 10 * number) for number in range(5)]


class Matomo(FakeLive):
    """A visit log and a report; `counts` are its answers in turn, the last one for ever.

    found_later: entries that are in the log from the first count on. odd: what else is in a page.
    """

    def __init__(
        self,
        entries: Sequence[Entry] = LOG,
        counts: Sequence[int | Reply] = (),
        found_later: Sequence[Entry] = (),
        odd: Sequence[object] = (),
    ) -> None:
        super().__init__(entries)
        self.counts, self.found_later, self.odd = list(counts), found_later, odd
        self.before = self.count

    def count(self, _live: FakeLive, query: Mapping[str, str]) -> Reply | None:
        if query["method"] == "VisitsSummary.getVisits":
            self.entries += self.found_later
            count = self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]
            return json_reply(200, {str(DAY): count}) if isinstance(count, int) else count
        page: list[Any] = self.answer(query)
        return 200, JSON_HEADERS, json.dumps([*self.odd, *page])

    def asked(self, method: str) -> int:
        return sum(query["method"] == method for query in self.queries)


def read(
    matomo: FakeLive, expected: int | FetchError | None, page_visits: int = 100
) -> tuple[DayRead, list[VisitRows]]:
    """The day and the rows that were handed over."""
    put: list[VisitRows] = []
    health = MatomoHealth(lambda: None)
    tools = Tools(SERVER, make_http(attempts=1), health, page_visits, true_utc=False)
    with live(matomo):
        result = read_day(
            PLAN, day_of_site(SITE, DAY), expected, tools, lambda _, rows: put.extend(rows)
        )
    return result, put


def ids(put: Sequence[VisitRows]) -> list[str]:
    return [rows.id_visit for rows in put]


def test_a_closed_day_is_complete_when_the_report_says_the_same_number() -> None:
    matomo = Matomo()
    result, put = read(matomo, 5, page_visits=2)
    assert (result.complete, result.visits, result.actions, result.failures) == (True, 5, 5, [])
    assert ids(put) == ["0", "1", "2", "3", "4"]  # each once, though pages overlap
    assert matomo.asked("VisitsSummary.getVisits") == 0
    assert read(Matomo([]), 0)[0].complete


def test_an_open_day_is_not_compared_and_never_complete() -> None:
    result, _ = read(Matomo(), None)
    assert (result.complete, result.failed, result.last_action) == (False, False, LOG[-1][1])


def test_a_visit_of_the_next_days_first_second_is_not_of_this_day() -> None:
    result, put = read(Matomo([*LOG, (9, DAY_BEGINS + 86_400)]), 5)
    assert result.complete
    assert "9" not in ids(put)


def test_a_report_that_was_older_than_the_log_is_asked_again() -> None:
    matomo = Matomo(counts=[5])
    assert read(matomo, 4)[0].complete
    assert matomo.asked("Live.getLastVisitsDetails") == 1


def test_a_visit_that_was_tracked_while_the_day_was_read_is_found_by_reading_again() -> None:
    matomo = Matomo(counts=[6], found_later=[(7, DAY_BEGINS + 500)])
    result, put = read(matomo, 6)
    assert (result.complete, result.visits) == (True, 6)
    assert "7" in ids(put)


@pytest.mark.parametrize("count", [6, error_reply(500, "no memory")])
def test_a_difference_that_stays_names_site_day_and_both_numbers(count: int | Reply) -> None:
    result, put = read(Matomo(counts=[count]), 6)
    [failure] = result.failures
    said = "site 7, 2026-11-18: the visit log holds 5 visits, Matomo's report says 6"
    assert (failure.message, failure.sites, failure.days) == (said, (7,), (DAY,))
    assert (result.failed, result.complete) == (True, False)
    assert set(ids(put)) == {"0", "1", "2", "3", "4"}  # what is there is stored


def test_more_visits_than_the_report_knows_are_a_difference_too() -> None:
    result, _ = read(Matomo(counts=[4]), 4)
    assert result.failed
    assert "holds 5 visits, Matomo's report says 4" in result.failures[0].message


def test_a_report_of_nothing_beside_visits_is_not_archived_yet() -> None:
    result, _ = read(Matomo(counts=[0]), 0)
    assert (result.failed, result.unarchived, result.failures) == (True, 5, [])


def test_a_number_that_could_not_be_had_keeps_the_day_from_being_complete() -> None:
    result, put = read(Matomo(), BrokenOff("matomo.test: the connection broke"))
    assert (result.complete, len(put)) == (False, 5)
    assert "could not be compared: matomo.test" in result.failures[0].message


def test_what_was_read_before_a_failure_is_handed_over() -> None:
    matomo = Matomo()
    answers = iter([None, (502, {"content-type": "text/html"}, "Bad Gateway")])
    matomo.before = lambda _live, _query: next(answers)
    result, put = read(matomo, 5, page_visits=2)
    assert ids(put) == ["0", "1"]
    assert (result.failed, result.failures[0].kind) == (True, "temporary")
    assert matomo.asked("VisitsSummary.getVisits") == 0


def test_visits_that_cannot_be_read_are_counted_and_named_once_up_to_ten() -> None:
    bad = [visit(n, DAY_BEGINS + n, actionDetails=[]) for n in range(100, 103)]
    bad += [visit(n, DAY_BEGINS + n, lastActionTimestamp=None) for n in range(200, 212)]
    result, put = read(Matomo(odd=bad), 20)
    assert (result.visits, result.complete) == (20, True)
    assert len(put) == 5
    messages = [failure.message for failure in result.failures]
    assert messages[0] == "visit 100 has no actionDetails"
    assert "visit 200 has no time of its last action" in messages
    assert len(messages) == PROBLEMS_NAMED + 1
    assert messages[-1] == "and 5 more visits or actions like these"


def test_a_broken_visit_that_comes_again_with_every_page_counts_once() -> None:
    result, _ = read(Matomo(odd=[visit(9, 1, lastActionTimestamp=None)]), 6, page_visits=3)
    assert (result.visits, len(result.failures)) == (6, 1)


def test_actions_that_matomo_cut_off_are_counted() -> None:
    long = visit(8, DAY_BEGINS + 5, truncatedActionsCount=120)
    result, [rows, *_] = read(Matomo(odd=[long]), 6)
    assert (result.cut_visits, result.cut_actions, rows.whole) == (1, 120, False)
    assert datetime.fromtimestamp(rows.first_second, UTC).date() == DAY
