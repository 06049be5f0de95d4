"""Progress bars on a terminal; nothing at all in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
AdvanceRows = Callable[[float, int], None]


def silent(_name: str, _total: int) -> Advance:
    return lambda _done: None


def silent_rows(_name: str, _total: int) -> AdvanceRows:
    return lambda _done, _rows: None


class Bars:
    """Bars by name. Without a terminal every bar is silent."""

    def __init__(
        self,
        add: Callable[[str, int], Advance],
        add_rows: Callable[[str, int], AdvanceRows] = silent_rows,
    ) -> None:
        self._add = add
        self._add_rows = add_rows

    def rows_bar(self, name: str, total: int) -> AdvanceRows:
        """A bar that also shows rows per second; call the result with (parts of) things done, and
        rows."""
        return self._add_rows(name, total)

    def bar(self, name: str, total: int) -> Advance:
        """A new bar; call the result with the number of things done. Nothing to do, no bar."""
        return self._add(name, total) if total else silent(name, total)


@contextmanager
def progress_bars(*, wanted: bool) -> Iterator[Bars]:
    """Bars on standard error while the block runs, if that is a terminal."""
    if not (wanted and sys.stderr.isatty()):
        yield Bars(silent)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:

        def add(name: str, total: int) -> Advance:
            task = progress.add_task(name, total=total, speed="")
            return lambda done: progress.update(task, advance=done)

        def add_rows(name: str, total: int) -> AdvanceRows:
            task = progress.add_task(name, total=total, speed="")
            began, seen = time.monotonic(), 0

            def advance(done: float, rows: int) -> None:
                nonlocal seen
                seen += rows
                speed = seen / max(0.001, time.monotonic() - began)
                progress.update(task, advance=done, speed=f"{speed:,.0f} rows/s")

            return advance

        yield Bars(add, add_rows)
