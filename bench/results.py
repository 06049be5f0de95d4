"""What a case found, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Protocol, TypeVar

from rich.console import Console
from rich.table import Table

NARROWEST = 160
"""Columns of the table where the output is no terminal."""


class CouldNotRun(Exception):
    """A case could not run, or stored wrong numbers: the message says which."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. factor: how many times better than the baseline (below 1: worse).

    met: None where there is nothing to reach and the line is for information.
    """

    case: str
    measured: str
    target: str = ""
    baseline: str = ""
    factor: float | None = None
    met: bool | None = None
    binds: str = ""


class Timed(Protocol):
    @property
    def wall_seconds(self) -> float: ...


T = TypeVar("T", bound=Timed)


def median_run(runs: Iterable[T]) -> T:
    """The run of median duration, whole: its parts then belong together."""
    runs = list(runs)
    middle = median_low(run.wall_seconds for run in runs)
    return next(run for run in runs if run.wall_seconds == middle)


def verdict(row: Row) -> str:
    if row.met is None:
        return ""
    return "[green]met[/green]" if row.met else "[bold red]missed[/bold red]"


def print_table(rows: Sequence[Row], title: str) -> None:
    """One readable table on standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=NARROWEST)
    table = Table(title=title, title_justify="left", show_lines=True)
    for name in ("case", "measured", "target", "baseline", "factor", "verdict", "what binds"):
        table.add_column(name, justify="right" if name == "factor" else "left")
    for row in rows:
        factor = "" if row.factor is None else _times(row.factor)
        cells = (row.case, row.measured, row.target, row.baseline, factor, verdict(row), row.binds)
        table.add_row(*cells)
    console.print(table)


def seconds(number: float) -> str:
    """`0.42 s`, `37.1 s`, `12.3 h`."""
    if number >= 2 * 3600:
        return f"{number / 3600:.1f} h"
    return f"{number:.2f} s" if number < 10 else f"{number:.1f} s"


def _times(factor: float) -> str:
    return f"{factor:,.0f} x" if factor >= 20 else f"{factor:.2f} x"
