"""The control requests by which another process looks into the visit log and changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from sandbox.visit_log import VisitLog


def shown_visits(log: VisitLog, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """GET /sandbox/visits?site=1&day=2026-11-06: what a complete import of the day must have."""
    return log.visits(int(query["site"]), date.fromisoformat(query["day"]))


def change_visits(log: VisitLog, change: Mapping[str, Any]) -> object:
    """One change of POST /sandbox/visits, its fields named as the arguments of VisitLog's methods:

    {"do": "add_action", "site": 1, "id_visit": 7, "at": "2026-11-06T10:00:00+00:00"} (returns its
    index), remove_action (index), add_visit (at, actions, seconds_apart; returns idVisit),
    remove_visit, warm (site, days), clear.
    """
    fields = {name: value for name, value in change.items() if name != "do"}
    if "at" in fields:
        fields["at"] = datetime.fromisoformat(fields["at"])
    if "days" in fields:
        fields["days"] = [date.fromisoformat(day) for day in fields["days"]]
    methods: dict[str, Callable[..., object]] = {
        "add_action": log.add_action,
        "remove_action": log.remove_action,
        "add_visit": log.add_visit,
        "remove_visit": log.remove_visit,
        "warm": log.warm,
        "clear": log.clear,
    }
    return methods[change["do"]](**fields)
