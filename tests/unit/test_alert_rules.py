"""When somebody is told: one table of runs after runs, each with what it must say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.alert_rules import (
    FAILED,
    LASTING,
    STALE,
    Alert,
    Decision,
    Outcome,
    as_json,
    decide,
    from_json,
    undelivered,
)
from models import Failure

NIGHT = datetime(2026, 11, 21, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DEAD_TOKEN = Failure("credentials", "gsc", "invalid_grant", "consent", (1, 2), (), "a")
HIDDEN = Failure("permission", "matomo", "may not view", "grant", (7,))
NO_DATABASE = Failure("temporary", "database", "no connection", "start it")
NIGHTLY = ("matomo", "gsc", "database", "run")


class Nights:
    """One night after the other; `told` is what each had to say."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.now = NIGHT
        self.last_complete: datetime | None = NIGHT - DAY

    def run(
        self,
        *failures: Failure,
        status: str | None = None,
        sources: Sequence[str] = NIGHTLY,
        after: timedelta = DAY,
        delivered: bool = True,
    ) -> Decision:
        self.now += after
        status = status or ("incomplete" if failures else "complete")
        outcome = Outcome(status, failures, sources, self.now, self.last_complete)
        decision = decide(self.alerts, outcome)
        kept = decision.alerts if delivered else undelivered(self.alerts, decision)
        self.alerts = from_json(json.loads(json.dumps(as_json(kept))))
        if status == "complete":
            self.last_complete = self.now
        return decision

    def fresh(self) -> Nights:
        """With a complete run so near that nothing is stale."""
        self.last_complete = self.now + 300 * DAY
        return self


def whats(decision: Decision) -> set[str]:
    return {
        *({FAILED} if decision.failed else ()),
        *({LASTING} if decision.lasting else ()),
        *({STALE} if decision.stale_since else ()),
        *({"recovered"} if decision.recovered else ()),
    }


def test_a_complete_run_says_nothing() -> None:
    assert not Nights().run()


def test_a_run_that_failed_is_told_at_once_and_every_day_and_its_end_once() -> None:
    nights = Nights().fresh()
    assert nights.run(NO_DATABASE, status="failed").failed == [NO_DATABASE]
    assert nights.run(NO_DATABASE, status="failed").failed == [NO_DATABASE]
    assert whats(nights.run()) == {"recovered"}
    assert not nights.run()


def test_a_run_that_fails_again_on_the_same_day_is_told_once() -> None:
    nights = Nights().fresh()
    hour = timedelta(hours=1)
    assert nights.run(NO_DATABASE, status="failed")
    assert not nights.run(NO_DATABASE, status="failed", after=hour)
    assert whats(nights.run(after=hour)) == {"recovered"}
    assert not nights.run(NO_DATABASE, status="failed", after=hour)
    assert not nights.run(after=hour), "nobody was told that it had come back"


def test_the_same_failure_is_told_in_its_third_run_and_never_again() -> None:
    nights = Nights().fresh()
    said = [nights.run(DEAD_TOKEN) for _ in range(6)]
    assert [whats(decision) for decision in said] == [set(), set(), {LASTING}, set(), set(), set()]
    assert said[2].lasting == [DEAD_TOKEN]
    assert [alert.source for alert in nights.run().recovered] == ["gsc"]
    assert not nights.run()


def test_three_runs_of_one_day_are_three_runs() -> None:
    nights = Nights().fresh()
    minute = timedelta(minutes=1)
    said = [nights.run(DEAD_TOKEN, after=minute) for _ in range(4)]
    assert [bool(decision) for decision in said] == [False, False, True, False]


def test_a_failure_with_pauses_never_lasts() -> None:
    nights = Nights().fresh()
    for _ in range(5):
        assert not nights.run(DEAD_TOKEN).lasting
        assert not nights.run(DEAD_TOKEN).lasting
        nights.run()


def test_a_run_that_failed_as_a_whole_neither_ends_nor_lengthens_a_failure() -> None:
    nights = Nights().fresh()
    nights.run(DEAD_TOKEN)
    nights.run(NO_DATABASE, status="failed")
    assert LASTING not in whats(nights.run(DEAD_TOKEN))
    assert LASTING in whats(nights.run(DEAD_TOKEN))


def test_a_site_that_joins_a_failure_is_told_in_its_own_third_run() -> None:
    nights = Nights().fresh()
    more = Failure("permission", "matomo", "may not view", "grant", (7, 8))
    for _ in range(3):
        nights.run(HIDDEN)
    assert not nights.run(more)
    assert not nights.run(more)
    (told,) = nights.run(more).lasting
    assert told.sites == (8,)
    assert not nights.run(HIDDEN), "site 8 is well, site 7 is not: it is not over"
    assert nights.run().recovered


def test_a_site_that_was_well_in_between_is_told_again() -> None:
    nights = Nights().fresh()
    both = Failure("permission", "matomo", "may not view", "grant", (7, 8))
    for _ in range(3):
        nights.run(both)
    nights.run(HIDDEN)
    said = [nights.run(both).lasting for _ in range(3)]
    assert [[failure.sites for failure in failures] for failures in said] == [[], [], [(8,)]]


def test_two_accounts_are_two_failures() -> None:
    nights = Nights().fresh()
    other = Failure("credentials", "gsc", "invalid_grant", "consent", (3,), (), "b")
    nights.run(DEAD_TOKEN)
    nights.run(DEAD_TOKEN, other)
    assert nights.run(DEAD_TOKEN, other).lasting == [DEAD_TOKEN]
    assert nights.run(DEAD_TOKEN, other).lasting == [other]


def test_a_run_of_one_source_says_nothing_of_the_other() -> None:
    nights = Nights().fresh()
    for _ in range(3):
        nights.run(DEAD_TOKEN)
    assert not nights.run(sources=("matomo", "database", "run"))
    assert nights.run().recovered


def test_no_complete_run_for_26_hours_is_told_once_and_its_end_once() -> None:
    nights = Nights()
    nights.last_complete = NIGHT
    assert not nights.run(HIDDEN), "24 hours"
    second = nights.run(HIDDEN)
    assert second.stale_since == NIGHT
    third = nights.run(HIDDEN)
    assert (third.stale_since, bool(third.lasting)) == (None, True)
    assert {alert.what for alert in nights.run().recovered} == {STALE, LASTING}


@pytest.mark.parametrize(("hours", "stale"), [(26, False), (26.01, True)])
def test_the_limit_is_26_hours(hours: float, stale: bool) -> None:
    nights = Nights()
    nights.last_complete = NIGHT
    assert bool(nights.run(HIDDEN, after=timedelta(hours=hours)).stale_since) == stale


def test_what_was_not_delivered_is_told_by_the_next_run() -> None:
    nights = Nights().fresh()
    nights.run(DEAD_TOKEN)
    nights.run(DEAD_TOKEN)
    assert nights.run(DEAD_TOKEN, delivered=False).lasting
    assert nights.run(DEAD_TOKEN).lasting
    assert nights.run(delivered=False).recovered
    assert nights.run().recovered
    assert not nights.run()


def test_alerts_that_somebody_else_wrote_are_left_out() -> None:
    good = Alert(FAILED, "run", "settings", runs={"": 1}, told_on=NIGHT.date())
    kept = [*as_json([good]), None, 5, {}, {**as_json([good])[0], "told_on": "soon"}]
    assert from_json(kept) == [good]
    assert from_json("nothing of ours") == []


FAILURES = st.lists(st.sampled_from([DEAD_TOKEN, HIDDEN, NO_DATABASE]), unique=True)
NIGHTS = st.lists(
    st.tuples(FAILURES, st.booleans(), st.sampled_from([1, 5, 24, 30]), st.booleans()), max_size=25
)


@given(NIGHTS)
@settings(deadline=None)
def test_no_failure_is_told_twice_a_day_and_nothing_recovers_untold(
    plan: list[tuple[list[Failure], bool, int, bool]],
) -> None:
    nights = Nights()
    told: set[tuple[object, ...]] = set()
    open_now: set[tuple[object, ...]] = set()
    for failures, failed, hours, delivered in plan:
        status = "failed" if failed and failures else None
        decision = nights.run(
            *failures, status=status, after=timedelta(hours=hours), delivered=delivered
        )
        day = nights.now.date()
        said = [
            *((FAILED, f.source, f.kind, str(f.account or "")) for f in decision.failed),
            *((LASTING, f.source, f.kind, str(f.account or "")) for f in decision.lasting),
            *([(STALE, "", "", "")] if decision.stale_since else []),
        ]
        if not delivered:
            continue
        for key in said:
            assert (day, key) not in told
            told.add((day, key))
            open_now.add(key)
        for alert in decision.recovered:
            assert alert.key in open_now
            open_now.discard(alert.key)
