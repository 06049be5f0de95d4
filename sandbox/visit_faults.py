"""Faults in a page of the visit log: answers that arrive whole and are wrong in one place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sandbox.faults import Fault
from sandbox.visit_samples import Part
from sandbox.visit_shapes import php_json


def spoiled(bodies: Sequence[bytes], ids: Sequence[int], faults: Sequence[Fault]) -> bytes:
    """The page with the faults in it, each in its own visit, or in the one in the middle."""
    visits: list[Any] = [json.loads(body) for body in bodies]
    for fault in faults:
        place = _place(ids, fault)
        if place is not None:
            _spoil(visits, place, fault.kind)
            ids = [visit["idVisit"] if isinstance(visit, dict) else 0 for visit in visits]
    kinds = {fault.kind for fault in faults}
    answer: object = {"value": len(visits)} if "not_a_list" in kinds else visits
    return php_json(answer, escaped="raw_utf8" not in kinds)


def _place(ids: Sequence[int], fault: Fault) -> int | None:
    if fault.visit is None:
        return len(ids) // 2 if ids else None
    return ids.index(fault.visit) if fault.visit in ids else None


def _spoil(visits: list[Any], place: int, kind: str) -> None:
    if kind == "lost_visit":
        del visits[place]
    elif kind == "doubled_visit":
        visits.insert(place, visits[place])
    elif kind == "broken_visit":
        visits[place] = "an example of no object"
    elif kind in _IN_A_VISIT and _has_actions(visits[place]):
        _IN_A_VISIT[kind](visits[place])


def _has_actions(visit: Any) -> bool:
    """Another fault may have spoiled it before."""
    return isinstance(visit, dict) and bool(visit.get("actionDetails"))


def _no_actions(visit: Part) -> None:
    del visit["actionDetails"]


def _empty_actions(visit: Part) -> None:
    visit["actionDetails"] = []


def _no_timestamp(visit: Part) -> None:
    actions = visit["actionDetails"]
    actions[len(actions) // 2].pop("timestamp", None)


def _nul(visit: Part) -> None:
    action = visit["actionDetails"][0]
    action["title"] = f"nul\0in {action['title']}"
    action["url"] = f"{action['url']}\0"


_IN_A_VISIT: dict[str, Callable[[Part], None]] = {
    "no_actions": _no_actions,
    "empty_actions": _empty_actions,
    "no_timestamp": _no_timestamp,
    "nul": _nul,
}
