"""Real UTC from Matomo's action times, which are the site's wall clock read as UTC (matomo#22720).

In autumn an hour of the wall clock happens twice. Which of the two an action belongs to is told by
its visit's first and last moment, which are real UTC, and by the action in front of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache

EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)


def true_seconds(
    walls: Sequence[float], zone: tzinfo, first: float | None = None, last: float | None = None
) -> list[float]:
    """Epoch seconds of one visit's actions, in their order.

    Args:
        walls: their wall clock read as UTC, at least a day inside the years 1 to 9999.
        zone: the site's time zone, or a fixed offset.
        first: when the visit began; None if not known.
        last: when it ended; None if not known, or if its last actions are not in `walls`.
    """
    low = -math.inf if first is None else first
    high = math.inf if last is None else last
    found: list[float] = []
    for wall in walls:
        offsets = _offsets_at(zone, int(wall // 60))
        if len(offsets) == 1:
            found.append(wall - offsets[0])
            continue
        early, late = (wall - offset for offset in offsets)
        goes_back = bool(found) and early < found[-1]
        ends_the_visit = len(found) == len(walls) - 1 and late == last
        outside = [max(low - second, second - high, 0) for second in (early, late)]
        is_late = goes_back or ends_the_visit or outside[1] < outside[0]
        found.append(late if is_late else early)
    return found


@lru_cache(maxsize=16384)
def _offsets_at(zone: tzinfo, minute: int) -> tuple[int, ...]:
    """Seconds that the zone may be ahead of UTC when its clock shows this minute.

    Two, the earlier moment's first, where the clock was put back. A time that it skipped is read
    with the offset before: by a clock that was not put forward. Zones change at whole minutes.
    """
    shown = EPOCH + timedelta(minutes=minute)
    before, after = (
        (shown.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()) // SECOND
        for fold in (0, 1)
    )
    return (before, after) if before > after else (before,)
