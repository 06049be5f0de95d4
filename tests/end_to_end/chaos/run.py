"""Runs sequences of the state machine, and says what they met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from sandbox import Fault
from sandbox.faults import VISIT_KINDS
from sandbox.messages import Source
from sandbox.social_world import PLATFORMS, Platform
from tests.end_to_end.chaos.count_invariants import run_each_count_database_fault
from tests.end_to_end.chaos.import_invariants import check_import
from tests.end_to_end.chaos.imports import an_import
from tests.end_to_end.chaos.invariants import check
from tests.end_to_end.chaos.machine import machine_of
from tests.end_to_end.chaos.plans import NIGHTS, SLOW, Ask, Change, Plan, Profile
from tests.end_to_end.chaos.recovery import check_import_recovery, check_recovery
from tests.end_to_end.chaos.social_invariants import (
    APP_WIDE,
    FAMILY,
    USER_WIDE,
    check_collection,
    check_social_recovery,
)
from tests.end_to_end.chaos.socials import a_collection, ready
from tests.end_to_end.chaos.stage import Stage
from tests.end_to_end.chaos.stores import (
    IMPORT_KINDS,
    IMPORT_TABLES,
    KINDS,
    SNAPSHOTS,
    SOCIAL_KINDS,
    SOCIAL_TABLES,
    STATES,
    TABLES,
    VISIT_LOG,
    DatabaseFault,
)
from tests.end_to_end.chaos.world import LOG_SITES

STEPS = 4

# Where each kind meets something: a connection's first messages, a run's first requests.
AT = {"wire_cut": 20, "wire_cut_after": 20, "rest_drop_after": 4, "rest_cut": 4}


def run_each_fault(stage: Stage, kinds: Sequence[tuple[Source, str]]) -> None:
    """A short sequence for each kind of fault of a source, met by every site and account."""
    for source, kind in kinds:
        cells = 0 if kind == "too_many_cells" else None
        _one_night(stage, Plan(faults=(Fault(source, kind, cells=cells, seconds=SLOW.get(kind)),)))


def run_each_import_fault(stage: Stage, kinds: Sequence[tuple[Source, str]]) -> None:
    """An import of one site's yesterday for each kind, and one after it that makes it good; where
    pages are spoiled, once more over what is there."""
    for number, (source, kind) in enumerate(kinds):
        stage.begin(Profile(attempts=1, partitioned=number % 2 == 1), NIGHTS[-1], [1])
        fault = Fault(
            source,
            kind,
            cells=0 if kind == "too_many_cells" else None,
            visits=1 if kind == "page_too_large" else None,
            seconds=SLOW.get(kind),
        )
        for _ in range(2 if kind in VISIT_KINDS else 1):
            _yesterday(stage, Plan(faults=(fault,)))


def run_each_import_database_fault(stage: Stage) -> None:
    """The same for the database: where rows are written, and once at each other table."""
    faults = [DatabaseFault(kind, AT.get(kind, 1), 2, VISIT_LOG, 9) for kind in IMPORT_KINDS]
    faults += [DatabaseFault("internal", 1, 2, table) for table in IMPORT_TABLES[1:]]
    for fault in faults:
        stage.begin(Profile(attempts=1), NIGHTS[-1], [1])
        _yesterday(stage, Plan(database=fault))


def _yesterday(stage: Stage, plan: Plan) -> None:
    ask = Ask(days=(1, 1), sites=LOG_SITES[:1])
    check_import(an_import(stage, replace(plan, ask=ask)))
    stage.forget_own_open_runs()
    check_import_recovery(stage)


def run_each_social_fault(stage: Stage, kinds: Sequence[tuple[Source, str]]) -> None:
    """Collections of which each meets one kind at one connection of each platform, while another
    one of it meets none; and those after it that make it good."""
    by_platform: dict[Platform, list[Fault]] = {platform: [] for platform in PLATFORMS}
    alone: list[tuple[Fault, ...]] = []
    for source, kind in kinds:
        platform: Any = "youtube" if source == "token" else source
        [_, connection] = stage.heard.social.world.numbers_of(platform)
        fault = Fault(source, kind, account=connection, seconds=SLOW.get(kind))
        if kind in SLOW or kind in USER_WIDE | APP_WIDE.get(FAMILY[platform], frozenset()):
            alone.append((fault,))
        else:
            by_platform[platform].append(fault)
    together = [tuple(filter(None, faults)) for faults in zip_longest(*by_platform.values())]
    for number, faults in enumerate([*together, *alone]):
        _one_collection(stage, Plan(faults=faults), number)


def run_each_social_database_fault(stage: Stage) -> None:
    """The same for the database: where numbers are written, and once at each other table."""
    kinds = SOCIAL_KINDS[stage.store.kind]
    faults = [DatabaseFault(kind, AT.get(kind, 1), 2, SNAPSHOTS, 5) for kind in kinds]
    faults += [DatabaseFault("internal", 1, 2, table) for table in SOCIAL_TABLES[1:]]
    for number, fault in enumerate(faults):
        _one_collection(stage, Plan(database=fault, changes=(Change("social_revoke", 2),)), number)


def _one_collection(stage: Stage, plan: Plan, number: int) -> None:
    profile = Profile(attempts=1, encrypted=number % 2 == 1)
    stage.begin(profile, NIGHTS[stage.tally.sequences % len(NIGHTS)], [1])
    ready(stage)
    check_collection(a_collection(stage, plan))
    stage.forget_own_open_runs()
    if ready(stage).marked_at:  # and whose token is dead is not asked again
        check_collection(a_collection(stage, Plan()))
        stage.forget_own_open_runs()
    check_social_recovery(stage)


def run_each_database_fault(stage: Stage) -> None:
    """The same for each kind of fault of this database, where numbers and history are written."""
    for kind in KINDS[stage.store.kind]:
        for table in TABLES if kind in STATES else TABLES[:1]:
            _one_night(stage, Plan(database=DatabaseFault(kind, AT.get(kind, 1), 2, table)))
    # A run's second statement: over psycopg the first one is taken back with it.
    _one_night(stage, Plan(database=DatabaseFault("disk_full", at=2)))
    if stage.store.kind == "psycopg":
        run_each_import_database_fault(stage)
        run_each_count_database_fault(stage)


def _one_night(stage: Stage, plan: Plan) -> None:
    start = NIGHTS[stage.tally.sequences % len(NIGHTS)]
    stage.begin(Profile(attempts=1), start, stage.world.site_numbers)
    check(stage.night(plan))
    stage.forget_own_open_runs()
    check_recovery(stage)


def run_sequences(
    stage: Stage,
    kinds: Sequence[tuple[Source, str]],
    number: int,
    *,
    random_seed: int | None = None,
    shrink: bool = True,
) -> None:
    """So many sequences; without a seed always the same ones.

    Raises:
        AssertionError: what does not hold, with the shortest sequence found that shows it.
    """
    machine = machine_of(stage, kinds)
    if random_seed is not None:
        machine = seed(random_seed)(machine)
    chosen = settings(
        max_examples=number,
        stateful_step_count=STEPS,
        derandomize=random_seed is None,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),  # a sequence takes half a second
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )
    run_state_machine_as_test(machine, settings=chosen)
