"""The rules of the fault test: any sequence of nights, changes, clocks and interruptions.

`machine_of(stage, kinds)` is a hypothesis state machine over one stage, with faults of `kinds`.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sandbox.messages import Source
from tests.end_to_end.chaos import counts, plans
from tests.end_to_end.chaos.count_invariants import check_count, check_count_refused_over_rest
from tests.end_to_end.chaos.counts import Count, a_count
from tests.end_to_end.chaos.import_invariants import check_import, check_refused_over_rest
from tests.end_to_end.chaos.imports import an_import
from tests.end_to_end.chaos.invariants import check
from tests.end_to_end.chaos.plans import Change, Plan, Profile
from tests.end_to_end.chaos.recovery import check_recovery
from tests.end_to_end.chaos.social_invariants import check_collection
from tests.end_to_end.chaos.socials import a_collection
from tests.end_to_end.chaos.stage import Interruption, Stage
from tests.end_to_end.chaos.stores import COUNT_TABLES, IMPORT_TABLES, SOCIAL_TABLES, TABLES
from tests.end_to_end.chaos.together import check_together

LATENCY_SECONDS = 0.01

at_a_request = st.builds(
    Interruption,
    signum=st.sampled_from(
        [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    ),
    at=st.integers(1, 20),
)


def while_it_writes(tables: Sequence[str]) -> st.SearchStrategy[Interruption]:
    return st.builds(
        Interruption,
        signum=st.sampled_from([signal.SIGKILL, signal.SIGTERM]),
        at=st.integers(1, 2),
        relation=st.sampled_from(tables),
    )


interruptions = at_a_request | while_it_writes(TABLES)
collection_interruptions = at_a_request | while_it_writes(SOCIAL_TABLES)
import_interruptions = at_a_request | while_it_writes(IMPORT_TABLES)


def machine_of(stage: Stage, kinds: Sequence[tuple[Source, str]]) -> type[RuleBasedStateMachine]:
    """The class whose sequences hypothesis makes up."""
    nights = plans.plans(kinds, stage.store.kind)
    collections = plans.collections(stage.store.kind)

    class Nights(RuleBasedStateMachine):
        @initialize(
            profile=plans.profiles,
            start=st.sampled_from(plans.NIGHTS),
            sites=st.sets(plans.sites, min_size=4),
        )
        def begin(self, profile: Profile, start: Any, sites: set[int]) -> None:
            stage.begin(profile, start, sorted(sites))

        @rule(hours=st.sampled_from([1, 7, 24, 24, 49]))
        def time_passes(self, hours: int) -> None:
            stage.now += timedelta(hours=hours)

        @rule(skew=st.sampled_from(plans.SKEWS))
        def the_clock_jumps(self, skew: timedelta) -> None:
            stage.skew = timedelta(0) if stage.skew else skew
            stage.tally.met["clock jump"] += 1

        @rule(changes=st.lists(plans.changes, min_size=1, max_size=4))
        def things_change(self, changes: list[Change]) -> None:
            for change in changes:
                stage.change(replace(change, at=0))

        @rule(plan=nights)
        def a_night(self, plan: Plan) -> None:
            stage.well = False
            check(stage.night(plan))
            stage.forget_own_open_runs()
            stage.well = True

        @rule(plan=nights)
        def another_night(self, plan: Plan) -> None:  # most steps are nights in this process
            self.a_night(plan)

        @rule(plan=nights, hours=st.sampled_from([24, 48]))
        def a_later_night(self, plan: Plan, hours: int) -> None:
            stage.now += timedelta(hours=hours)
            self.a_night(plan)

        @rule(plan=plans.refusals() | nights, concurrency=st.integers(1, 3))
        def a_night_at_the_limits(self, plan: Plan, concurrency: int) -> None:
            """Few requests at once and a minute, at sources that take their time."""
            profile, stage.profile = stage.profile, plans.narrow(stage.profile, concurrency)
            stage.heard.latency_seconds = LATENCY_SECONDS
            self.a_night(plan)
            stage.heard.latency_seconds, stage.profile = 0.0, profile

        @rule(plan=nights, interruption=st.none() | interruptions | interruptions)
        def a_night_in_processes(self, plan: Plan, interruption: Interruption | None) -> None:
            """A run that gets a signal, or two runs at once."""
            stage.well = False
            if interruption is not None:
                check(stage.interrupted_night(plan, interruption))
            else:
                plan = replace(plan, ask=replace(plan.ask, gaps=False, dry_run=False))
                check_together(*stage.two_nights(plan))
            stage.well = True

        @rule(plan=plans.imports)
        def an_import(self, plan: Plan) -> None:
            """The visit log is imported."""
            stage.well = False
            if stage.store.kind == "rest":
                check_refused_over_rest(an_import(stage, replace(plan, database=None, changes=())))
            else:
                check_import(an_import(stage, plan))
            stage.forget_own_open_runs()
            stage.well = True

        @precondition(lambda self: stage.store.kind == "psycopg")
        @rule(plan=plans.imports, interruption=st.none() | import_interruptions)
        def an_import_in_processes(self, plan: Plan, interruption: Interruption | None) -> None:
            """One that gets a signal, or two at once, of which one waits for the other."""
            stage.well = False
            if interruption is not None:
                plan, run, more = stage.interrupting(plan, interruption)
            else:
                (run, _), more = stage.twice(), {"alone": False}
            check_import(an_import(stage, plan, run, **more))
            stage.well = True

        @rule(count=counts.counts)
        def a_count(self, count: Count) -> None:
            """Events are written, and counted by hour and day."""
            stage.well = False
            if stage.store.kind == "rest":
                count = Count(replace(count.plan, database=None), count.before)
                check_count_refused_over_rest(a_count(stage, count))
            else:
                check_count(a_count(stage, count))
            stage.forget_own_open_runs()
            stage.well = True

        @precondition(lambda self: stage.store.kind == "psycopg")
        @rule(count=counts.counts, interruption=st.none() | while_it_writes(COUNT_TABLES))
        def a_count_in_processes(self, count: Count, interruption: Interruption | None) -> None:
            """One that gets a signal, or two at once, which share the work."""
            stage.well = False
            if interruption is not None:
                plan, run, more = stage.interrupting(count.plan, interruption)
                count = replace(count, plan=plan)
            else:
                (run, _), more = stage.twice(), {"alone": False}
            check_count(a_count(stage, count, run, **more))
            stage.well = True

        @rule(plan=collections, hours=st.sampled_from([0, 0, 24]))
        def a_collection(self, plan: Plan, hours: int) -> None:
            """The numbers of the social platforms."""
            stage.now += timedelta(hours=hours)
            stage.well = False
            check_collection(a_collection(stage, plan))
            stage.forget_own_open_runs()
            stage.well = True

        @rule(plan=collections, interruption=st.none() | collection_interruptions)
        def a_collection_in_processes(self, plan: Plan, interruption: Interruption | None) -> None:
            """One that gets a signal, or two at once."""
            stage.well = False
            if interruption is not None:
                plan, run, more = stage.interrupting(plan, interruption)
            else:
                (run, _), more = stage.twice(), {"alone": False}
            check_collection(a_collection(stage, plan, run, **more))
            stage.well = True

        def teardown(self) -> None:
            if stage.well:  # else the failure that ended the sequence is what there is to say
                check_recovery(stage)

    return Nights
