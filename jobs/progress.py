"""Progress bars on a terminal; nothing at all in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


class Bars:
    """Bars by name. Without a terminal every bar is silent."""

    def __init__(self, add: Callable[[str, int], Advance]) -> None:
        self._add = add

    def bar(self, name: str, total: int) -> Advance:
        """A new bar; call the result with the number of things done. Nothing to do, no bar."""
        return self._add(name, total) if total else silent(name, total)


def silent(_name: str, _total: int) -> Advance:
    return lambda _done: None


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

    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:

        def add(name: str, total: int) -> Advance:
            task = progress.add_task(name, total=total)
            return lambda done: progress.update(task, advance=done)

        yield Bars(add)
