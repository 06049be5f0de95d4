"""A made-up visit has the keys and types of those that a Matomo 5.0.2 answered with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.visit_sandbox import DAY, OFFSET, PACIFIC, TOKYO, WORLD, Server, recorded

RECORDED = [
    visit
    for name in ("live_day_asc", "live_la_day_dst", "live_tokyo_day")
    for visit in recorded(name)
]
# With GeoIP, which the recorded server had not (facts/matomo.md, E).
PLACE = {"region", "regionCode", "city", "latitude", "longitude"}
# Of plugins, at the first of three sites only.
OF_PLUGINS = {"dimension3", "experiments", "customVariables"}
Part = dict[str, Any]


@pytest.fixture(scope="module")
def made_up() -> dict[int, list[Part]]:
    world = replace(WORLD, visits_per_day=120)
    return {site: Server(world).page(site, DAY) for site in (PACIFIC, TOKYO, OFFSET)}


def types(parts: Iterable[Part]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for part in parts:
        for key, value in part.items():
            found[key].add(type(value).__name__)
    return found


def actions(visits: Iterable[Part]) -> dict[object, list[Part]]:
    """Actions by type."""
    found = defaultdict(list)
    for visit in visits:
        for action in visit["actionDetails"]:
            found[action["type"]].append(action)
    return found


@pytest.mark.parametrize(("site", "like"), [(TOKYO, 3), (OFFSET, 1)])
def test_a_visit_has_the_recorded_keys_in_their_order(
    made_up: dict[int, list[Part]], site: int, like: int
) -> None:
    real = next(visit for visit in RECORDED if visit["idSite"] == like)
    assert "totalEcommerceItems" in made_up[TOKYO][0]
    assert all(list(visit) == list(real) for visit in made_up[site])


def test_each_type_of_action_has_the_recorded_keys_in_their_order(
    made_up: dict[int, list[Part]],
) -> None:
    examples = recorded("live_action_examples")
    found = actions(made_up[TOKYO])
    assert {str(kind) for kind in found} == examples.keys()
    for kind, of_kind in found.items():
        optional = {"eventName", "eventValue"}
        for action in of_kind:
            expected = [key for key in examples[str(kind)] if key not in optional - action.keys()]
            assert list(action) == expected


def test_values_have_the_recorded_types(made_up: dict[int, list[Part]]) -> None:
    every = [visit for visits in made_up.values() for visit in visits]
    real = types(RECORDED)
    for key, found in types(every).items():
        if key not in OF_PLUGINS:
            assert found <= real[key] | ({"str"} if key in PLACE else set()), key
    real_actions, examples = actions(RECORDED), recorded("live_action_examples")
    for kind, of_kind in actions(every).items():
        real = types([*real_actions[kind], examples[str(kind)]])
        for key, found in types(of_kind).items():
            if key not in OF_PLUGINS:
                assert found <= real[key], (kind, key)


def test_numbers_in_a_visit_follow_from_its_actions_as_recorded(
    made_up: dict[int, list[Part]],
) -> None:
    for visit in [*RECORDED, *made_up[TOKYO], *made_up[OFFSET]]:
        kinds = [action["type"] for action in visit["actionDetails"]]
        counted = [kind for kind in kinds if kind not in {"goal", "ecommerceOrder", 13}]
        assert visit["actions"] == len(counted)
        assert visit["events"] == kinds.count("event")
        assert visit["searches"] == kinds.count("search")
        assert visit["goalConversions"] == kinds.count("goal")
        assert visit["interactions"] == kinds.count("action") + kinds.count("search")
        took = visit["lastActionTimestamp"] - visit["firstActionTimestamp"]
        assert visit["visitDuration"] == (took + 1 if took else 0)


def test_the_time_on_a_page_ends_with_the_next_one_or_the_visit_as_recorded(
    made_up: dict[int, list[Part]],
) -> None:
    for visit in [*RECORDED, *made_up[TOKYO], *made_up[OFFSET]]:
        view: Part = {}
        since = 0
        for action in visit["actionDetails"]:
            if action["type"] == "action":
                assert view.get("timeSpent") == (action["timestamp"] - since if view else None)
                view = action
            # An order, or a goal sent by hand, belongs to no page view and starts the clock anew.
            if action["type"] == "action" or action["idpageview"] is None:
                since = action["timestamp"]
        if view:
            spent = visit["actionDetails"][-1]["timestamp"] - view["timestamp"]
            assert view["timeSpent"] == (spent + 1 if spent else 0)


def test_actions_and_their_ids_ascend_and_are_nowhere_the_same(
    made_up: dict[int, list[Part]],
) -> None:
    every = [visit for visits in made_up.values() for visit in visits]
    ids = [a["pageId"] for visit in every for a in visit["actionDetails"] if "pageId" in a]
    assert len(ids) == len(set(ids))
    for visit in every:
        at = [action["timestamp"] for action in visit["actionDetails"]]
        assert at == sorted(at)
    assert len({visit["idVisit"] for visit in every}) == len(every)


def test_a_visit_has_1_to_9_actions_about_5() -> None:
    world = replace(WORLD, visits_per_day=400)
    counts = [len(visit["actionDetails"]) for visit in Server(world).page(OFFSET, DAY)]
    assert set(counts) == set(range(1, 10))
    assert 4.7 < sum(counts) / len(counts) < 5.3


def test_where_plugins_are_in_use_their_fields_come_in_every_form(
    made_up: dict[int, list[Part]],
) -> None:
    visits = made_up[PACIFIC]
    assert {bool(visit["experiments"]) for visit in visits} == {True, False}
    variables = [
        slot
        for visit in visits
        for action in visit["actionDetails"]
        for slot in action.get("customVariables", {}).items()
    ]
    names = {"".join(sorted(slot)) + str(sorted(value)) for slot, value in variables}
    assert any("'customVariableName1'" in name for name in names)
    assert any("'customVariablePageName2'" in name for name in names)
    dimensions = {a["dimension3"] for visit in visits for a in visit["actionDetails"]}
    assert dimensions == {None, "", "of the action", "0"}
    assert not OF_PLUGINS & made_up[TOKYO][0].keys()
