"""The numbers which the sandbox reports: those of the world, unless one was revised since."""

from __future__ import annotations

from datetime import date

from sandbox.world import METRICS, Metric, World


class Numbers:
    """Numbers by metric, site and day, computed once; dict.setdefault keeps it thread-safe."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[tuple[Metric, int, date], int] = {}

    def get(self, metric: Metric, site: int, day: date) -> int:
        known = self._known.get((metric, site, day))
        if known is not None:
            return known
        # A revision may have come in since: it stays.
        return self._known.setdefault((metric, site, day), self._world.number(metric, site, day))

    def set(self, metric: Metric, site: int, day: date, value: int) -> None:
        if metric not in METRICS:
            raise ValueError(f"no metric {metric!r}")
        self._known[metric, site, day] = value

    def clear(self) -> None:
        self._known.clear()
