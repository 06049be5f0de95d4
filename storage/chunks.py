"""Rows stored in chunks, of which one that the database refuses costs no other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

from storage.errors import DatabaseError, RowsRefused

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Outcome(Protocol[R_contra]):
    """What becomes of rows: how many are stored, and those that are not, with why.

    gave_up: what ended the work before all were tried.
    """

    rows: int
    gave_up: DatabaseError | None

    def refuse(self, rows: Sequence[R_contra], error: DatabaseError) -> None: ...


def store_in_chunks(
    rows: Sequence[R],
    size: int,
    write: Callable[[Sequence[R]], None],
    owner_of: Callable[[R], Hashable],
    outcome: Outcome[R],
    *,
    transactional: bool,
) -> None:
    """Store rows, `size` of them at once; where some are refused, halve until those are alone.

    Rows are sorted by owner (a site, an account), and halved between owners first: those of a
    deleted one go together. `transactional`: what fails takes everything back.

    Raises:
        DatabaseError: the database is unavailable or refuses everything, and nothing is stored.
    """

    def store(chunk: Sequence[R]) -> None:
        try:
            write(chunk)
            outcome.rows += len(chunk)
        except RowsRefused as error:
            owners = list(dict.fromkeys(map(owner_of, chunk)))
            if len(owners) == 1 and (len(chunk) == 1 or error.of_owner):
                outcome.refuse(chunk, error)
                return
            middle = len(chunk) // 2
            if len(owners) > 1:
                first_half = set(owners[: len(owners) // 2])
                middle = sum(owner_of(row) in first_half for row in chunk)
            store(chunk[:middle])
            store(chunk[middle:])
        except DatabaseError as error:
            if transactional or not outcome.rows:
                raise
            outcome.refuse(chunk, error)  # what earlier requests stored stays stored
            outcome.gave_up = error

    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        if outcome.gave_up is not None:
            outcome.refuse(chunk, outcome.gave_up)
        else:
            store(chunk)
