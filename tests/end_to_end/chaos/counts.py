"""One run of `aggregator.py hourly` while a plan goes wrong around it, and what it left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from hypothesis import strategies as st

from tests.end_to_end.chaos import plans, stores
from tests.end_to_end.chaos.evidence import Stored, Trace
from tests.end_to_end.chaos.plans import Ask, Change, Plan
from tests.end_to_end.chaos.program import run_program
from tests.end_to_end.chaos.stage import Run, Stage
from tests.end_to_end.chaos.stores import DatabaseFault
from tests.end_to_end.event_runs import DIFFERENT, UNMARKED

SOON_SECONDS = 0.05
"""By then a run has begun to count."""

WriteKind = Literal["insert", "move", "relabel", "delete"]
STATEMENTS: dict[WriteKind, str] = {
    "insert": "insert into public.analytics_events "
    "(project_id, visitor_id, session_id, event_type, event_label, created_at) "
    "select 'p' || n % 2, nullif('v' || n % 7, 'v0'), 's' || n % 5, 'type ' || n % 2, "
    "nullif('label ' || n % 3, 'label 0'), now() - interval '{hours} h' - n * interval '9 min' "
    "from generate_series(1, {number}) n",
    "move": "update public.analytics_events set created_at = created_at - interval '{hours} h' "
    "where id % {number} = 0",
    "relabel": "update public.analytics_events set event_label = 'other {hours}', "
    "visitor_id = 'v{hours}' where id % {number} = 0",
    "delete": "delete from public.analytics_events where id % {number} = 0",
}


@dataclass(frozen=True)
class Write:
    """Events come, move to other hours, change or go; number: how many, or every how manieth."""

    kind: WriteKind
    hours: int = 1
    number: int = 20

    @property
    def statement(self) -> str:
        return STATEMENTS[self.kind].format(hours=self.hours, number=self.number)


@dataclass(frozen=True)
class Count:
    """A plan, and what is written before and during its run; terminated: then every session of it
    is ended."""

    plan: Plan
    before: tuple[Write, ...] = ()
    during: tuple[Write, ...] = ()
    terminated: bool = False


@dataclass(frozen=True, kw_only=True)
class Counted(Trace):
    """One run. different: what is stored otherwise than the events say; unmarked: and nothing
    says that it waits. left: what waits. daily: another job's table, before and after."""

    during: bool
    different: list[tuple[Any, ...]]
    unmarked: list[tuple[Any, ...]]
    left: int
    daily: tuple[Stored, Stored]


def a_count(stage: Stage, count: Count, run: Run = run_program, **more: Any) -> Counted:
    """Write, then run `aggregator.py hourly` once, as `Stage.night` runs the nightly job."""
    stage.tally.met["count of the events"] += 1
    stage.events_touched = True
    stage.store.write_events(write.statement for write in count.before)
    daily = stage.store.stored()
    with _meanwhile(stage, count):
        trace = stage.run(count.plan, words(count.plan.ask), run, **more)
    [(left,)] = stage.store.ask("select public.analytics_rollup_left()")
    return Counted(
        **trace,
        during=bool(count.during),
        different=stage.store.ask(DIFFERENT),
        unmarked=stage.store.ask(UNMARKED),
        left=left,
        daily=(daily, stage.store.stored()),
    )


@contextmanager
def _meanwhile(stage: Stage, count: Count) -> Iterator[None]:
    """While the block runs others write, and a restart ends everybody's sessions."""

    def others() -> None:
        stage.store.write_events(write.statement for write in count.during)
        if count.terminated:
            time.sleep(SOON_SECONDS)
            stage.change(Change("terminate"))

    thread = threading.Thread(target=others)
    thread.start()
    yield
    thread.join()


def words(ask: Ask) -> list[str]:
    """The command line; days are days before the real today, which is the database's."""
    found = ["hourly", *ask.style, *(["--all"] if ask.gaps and ask.days is None else [])]
    if ask.days is not None:
        today = datetime.now(UTC).date()
        first, last = (today - timedelta(days=ago) for ago in ask.days)
        found += ["--from", str(first), "--to", f"{last}T22"]
    return found


writes = st.builds(
    Write,
    kind=st.sampled_from(["insert", "insert", *STATEMENTS]),
    hours=st.sampled_from([0, 1, 5, 20, 40]),
    number=st.sampled_from([2, 5, 20]),
)
few = st.lists(writes, max_size=3).map(tuple)
faults = st.builds(
    DatabaseFault,
    kind=st.sampled_from(stores.COUNT_KINDS),
    at=st.integers(1, 4) | st.integers(1, 40),
    times=st.sampled_from([1, 1, 2, 1000]),
    relation=st.sampled_from(stores.COUNT_TABLES),
)
counts = st.builds(
    Count,
    plan=st.builds(
        Plan,
        ask=st.builds(
            Ask,
            days=st.none() | st.none() | plans.log_spans,
            gaps=st.booleans(),
            style=st.sampled_from([(), ("-v",), ("-q",), ("--log-format", "json", "-v")]),
        ),
        database=st.none() | faults,
        deadline_seconds=st.sampled_from([60.0] * 9 + [0.03]),
    ),
    before=few.map(lambda some: (Write("insert"), *some)),
    during=st.just(()) | few,
    terminated=st.sampled_from([False] * 5 + [True]),
)
"""Counts of which many meet something."""
