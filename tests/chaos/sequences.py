"""One process's half of the sequences."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.end_to_end.chaos.plans import LOG_KINDS, SOCIAL_KINDS, SOURCE_KINDS, TOKEN_KINDS
from tests.end_to_end.chaos.run import (
    run_each_database_fault,
    run_each_fault,
    run_each_import_fault,
    run_each_social_database_fault,
    run_each_social_fault,
    run_sequences,
)
from tests.end_to_end.chaos.stage import Tally, open_stage
from tests.services.postgres import PostgresServer

SEQUENCES = 10_000
STORES = ("psycopg", "rest")
AT_ONCE = 50
"""Sequences of one seed: so many at most come again when a finding is repeated."""


@dataclass
class Part:
    """What one process has done."""

    tally: Tally = field(default_factory=Tally)
    finding: str = ""


def run_half(store: str, share: int, ends_at: float, seed: int) -> Part:
    """This process's half of the sequences; the first finding ends it."""
    part = Part()
    with PostgresServer(18, tcp=True) as postgres, open_stage(store, postgres, part.tally) as stage:

        def each_kind() -> None:
            run_each_fault(stage, SOURCE_KINDS)
            if store == "psycopg":
                run_each_import_fault(stage, LOG_KINDS)
            run_each_social_fault(stage, (*SOCIAL_KINDS, *TOKEN_KINDS))
            run_each_database_fault(stage)
            run_each_social_database_fault(stage)

        part.finding = _finding(f"{store}, each fault", each_kind)
        while not part.finding and part.tally.sequences < share and time.time() < ends_at:
            number = min(AT_ONCE, share - part.tally.sequences)
            some = partial(run_sequences, stage, SOURCE_KINDS, number, random_seed=seed)
            part.finding = _finding(f"{store}, seed {seed}", some)
            seed += 1
    if part.finding:  # the other half may go on for an hour
        print(part.finding, flush=True)
    return part


def _finding(name: str, sequences: Callable[[], None]) -> str:
    """What was printed and raised, or nothing where all holds."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            sequences()
    except Exception:
        return f"--- {name}\n{shown.getvalue()}{traceback.format_exc()}"
    return ""
