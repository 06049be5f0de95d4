"""Changes of the visit log behind the program's back: visits and actions come late, actions go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sandbox.visit_log import VisitLog
from sandbox.visit_plan import day_start, local_day
from tests.end_to_end.chaos.plans import Change
from tests.end_to_end.chaos.world import ChaosWorld

HOUR = 3600


def change_log(log: VisitLog, world: ChaosWorld, change: Change) -> int | None:
    """One change of a day that has begun; its visit, None where there is nothing to change."""
    site = change.site
    day = local_day(world, site, world.now().timestamp()) - timedelta(days=change.days_ago)
    if change.kind == "add_visit":
        at = day_start(world, site, day) + change.nth * HOUR
        return log.add_visit(site, datetime.fromtimestamp(at, UTC), actions=1 + change.nth % 3)
    shown = [visit for visit, _ in log.shown(site, day).visits if len(visit.actions) > 1]
    if not shown:
        return None
    visit = shown[change.nth % len(shown)]
    if change.kind == "add_action":  # among the others, or later than all, perhaps the next day
        at = visit.actions[0].at + 1 + change.nth % 5 * HOUR
        log.add_action(site, visit.id_visit, datetime.fromtimestamp(at, UTC))
    else:
        log.remove_action(site, visit.id_visit, change.nth % len(visit.actions))
    return visit.id_visit
