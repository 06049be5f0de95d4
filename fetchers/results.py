"""What a fetcher hands back: the numbers it got, and what it could not get and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Generic, TypeVar

from fetchers.errors import FetchError

Target = TypeVar("Target")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Missed(Generic[Target]):
    """Targets and days that stay unknown, with the one error that explains them."""

    targets: tuple[Target, ...]
    days: tuple[date, ...]
    error: FetchError


@dataclass(slots=True)
class Fetched(Generic[Target, Value]):
    """values[target][day] holds only what the source said; everything else is in `missed`."""

    values: dict[Target, dict[date, Value]] = field(default_factory=dict)
    missed: list[Missed[Target]] = field(default_factory=list)

    def add(self, target: Target, day: date, value: Value) -> None:
        self.values.setdefault(target, {})[day] = value

    def miss(self, targets: Iterable[Target], days: Sequence[date], error: FetchError) -> None:
        targets = tuple(targets)
        if targets:
            self.missed.append(Missed(targets, tuple(days), error))
