"""Feeds every parser for its share of the time, and says what it tripped over."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from tests.fuzz.parsers import PARSERS

AT_ONCE = 500


def feed(parser: Callable[[st.DataObject], None], examples: int, seed: int) -> None:
    """So many answers, always the same ones for a seed. Raises what the parser does."""

    @with_seed(seed)
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def fed(data: st.DataObject) -> None:
        parser(data)

    fed()


def fuzz(seconds: float, seed: int) -> list[str]:
    """What was found; a parser that trips is not fed further."""
    findings = []
    for parser in PARSERS:
        ends_at, fed, finding = time.monotonic() + seconds / len(PARSERS), 0, ""
        while time.monotonic() < ends_at and not finding:
            shown = io.StringIO()
            try:
                with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
                    feed(parser, AT_ONCE, seed + fed)
            except Exception:
                finding = f"--- {parser.__name__}, seed {seed + fed}\n{traceback.format_exc()}"
                findings.append(finding + shown.getvalue())
            fed += AT_ONCE
        print(f"{fed:8} answers for {parser.__name__}{': a finding' * bool(finding)}", flush=True)
    return findings
