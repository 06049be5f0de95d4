"""The sandbox's visit log changes behind a program's back, and spoils answers, as asked to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from sandbox import Fault, Sandbox
from sandbox.messages import Call
from sandbox.world import MATOMO_TOKEN
from tests.unit.visit_sandbox import DAY, PACIFIC, TOKYO, WORLD, Server

NOON = datetime(2026, 11, 10, 3, tzinfo=UTC)  # in Tokyo


@pytest.fixture
def matomo() -> Server:
    return Server(WORLD)


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def one(server: Server, id_visit: int, day: date = DAY) -> dict[str, Any]:
    visits = server.page(TOKYO, day)
    found: dict[str, Any] = next(visit for visit in visits if visit["idVisit"] == id_visit)
    return found


def a_long_one(server: Server) -> dict[str, Any]:
    visits = server.page(TOKYO, DAY)
    longest: dict[str, Any] = max(visits, key=lambda visit: visit["visitDuration"])
    return longest


def test_a_late_action_moves_those_after_it_up(matomo: Server) -> None:
    before = a_long_one(matomo)
    second = before["firstActionTimestamp"]
    index = matomo.log.add_action(TOKYO, before["idVisit"], at(second + 1))
    after = one(matomo, before["idVisit"])["actionDetails"]
    old = [action.get("pageId") for action in before["actionDetails"]]
    assert 0 < index < len(old)
    assert [action.get("pageId") for action in after[:index] + after[index + 1 :]] == old
    assert after[index]["timestamp"] == second + 1 + 9 * 3600
    assert after[index]["pageId"] > max(number or 0 for number in old)


def test_a_further_action_moves_the_visit_to_another_day(matomo: Server) -> None:
    id_visit = a_long_one(matomo)["idVisit"]
    matomo.log.add_action(TOKYO, id_visit, NOON + timedelta(days=1))
    assert id_visit not in matomo.ids(TOKYO, DAY)
    assert id_visit in matomo.ids(TOKYO, DAY + timedelta(days=1))
    assert matomo.number(TOKYO, DAY) == 11
    assert matomo.number(TOKYO, DAY + timedelta(days=1)) == 13


def test_a_removed_action_moves_those_after_it_down(matomo: Server) -> None:
    before = a_long_one(matomo)
    matomo.log.remove_action(TOKYO, before["idVisit"], 0)
    after = one(matomo, before["idVisit"])
    old = [action.get("pageId") for action in before["actionDetails"]]
    assert [action.get("pageId") for action in after["actionDetails"]] == old[1:]
    for _ in old[1:]:
        matomo.log.remove_action(TOKYO, before["idVisit"], 0)
    assert before["idVisit"] not in matomo.ids(TOKYO, DAY)
    with pytest.raises(KeyError):
        matomo.log.remove_action(TOKYO, before["idVisit"], 0)


def test_added_and_removed_visits_are_counted_until_cleared(matomo: Server) -> None:
    before = matomo.ids(TOKYO, DAY)
    added = matomo.log.add_visit(TOKYO, NOON, 3)
    assert len(one(matomo, added)["actionDetails"]) == 3
    assert matomo.number(TOKYO, DAY) == 13
    matomo.log.remove_visit(TOKYO, added)
    matomo.log.remove_visit(TOKYO, before[0])
    assert matomo.ids(TOKYO, DAY) == before[1:]
    assert matomo.number(TOKYO, DAY) == 11
    matomo.log.clear()
    assert matomo.ids(TOKYO, DAY) == before


def test_a_visit_added_ahead_of_the_clock_comes_when_it_has_begun(matomo: Server) -> None:
    added = matomo.log.add_visit(TOKYO, matomo.now + timedelta(minutes=5), 2, 600)
    today = date(2026, 11, 20)
    assert added not in matomo.ids(TOKYO, today)
    matomo.now += timedelta(minutes=6)
    assert len(one(matomo, added, today)["actionDetails"]) == 1
    matomo.now += timedelta(minutes=10)
    assert len(one(matomo, added, today)["actionDetails"]) == 2


def spoiled(matomo: Server, kind: str, **more: Any) -> Any:
    return matomo.page(TOKYO, DAY, Fault("visits", kind, **more))


def fault_seen(visit: Any) -> str:
    """What is wrong with a visit, in the words of the faults."""
    if not isinstance(visit, dict):
        return "broken_visit"
    if "actionDetails" not in visit:
        return "no_actions"
    if any("\0" in action["title"] for action in visit["actionDetails"]):
        return "nul"
    timeless = ["timestamp" not in action for action in visit["actionDetails"]]
    return "no_timestamp" if sum(timeless) == 1 else "" if timeless else "empty_actions"


def test_a_spoiled_visit_leaves_the_others_alone(matomo: Server) -> None:
    sound = matomo.page(TOKYO, DAY)
    fourth = sound[3]["idVisit"]
    for kind in ("no_actions", "empty_actions", "no_timestamp", "nul", "broken_visit"):
        wrong = spoiled(matomo, kind, visit=fourth)
        assert wrong[:3] + wrong[4:] == sound[:3] + sound[4:]
        assert fault_seen(wrong[3]) == kind


def test_without_a_name_the_visit_in_the_middle_is_spoiled(matomo: Server) -> None:
    sound = matomo.page(TOKYO, DAY)
    assert spoiled(matomo, "lost_visit") == sound[:6] + sound[7:]
    assert spoiled(matomo, "doubled_visit") == sound[:7] + sound[6:]
    assert spoiled(matomo, "lost_visit", visit=1) == sound
    assert matomo.page(TOKYO, DAY, Fault("visits", "nul"), filter_limit=0) == []


def test_an_answer_may_be_no_list_or_in_plain_utf_8(matomo: Server) -> None:
    assert isinstance(spoiled(matomo, "not_a_list"), dict)
    assert spoiled(matomo, "raw_utf8") == matomo.page(TOKYO, DAY)
    asked = {"idSite": TOKYO, "period": "day", "date": DAY}
    body = matomo.body("Live.getLastVisitsDetails", Fault("visits", "raw_utf8"), **asked)
    assert not body.isascii()


def test_only_a_page_larger_than_the_fault_allows_exhausts_the_memory(matomo: Server) -> None:
    fault = Fault("visits", "page_too_large", visits=250)
    asked = {limit: Call("visits", (TOKYO,), None, (DAY, DAY), limit) for limit in (250, 251)}
    assert [fault.matches(call) for call in asked.values()] == [False, True]
    with Sandbox(WORLD) as sandbox:
        sandbox.faults.add(fault)
        answers = [live(sandbox, limit) for limit in (250, 500, -1)]
    assert [isinstance(answer, list) for answer in answers] == [True, False, False]
    assert "Allowed memory size" in answers[1]["message"]
    with pytest.raises(ValueError, match="page_too_large"):
        Fault("visits", "page_too_large")


def live(sandbox: Sandbox, limit: int = -1) -> Any:
    url = f"{sandbox.matomo_url}index.php?module=API&format=JSON&method=Live.getLastVisitsDetails"
    asked = {"idSite": "1", "period": "day", "date": str(DAY), "filter_limit": str(limit)}
    form = {"token_auth": MATOMO_TOKEN, "filter_sort_order": "asc"}
    return requests.post(url, params=asked, data=form, timeout=5).json()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(WORLD) as running:
        yield running


def test_faults_of_matomo_and_of_its_visit_log_are_apart(sandbox: Sandbox) -> None:
    sandbox.reset()
    sandbox.faults.replace([Fault("matomo", "drop"), Fault("visits", "result_error", nth=2)])
    assert len(live(sandbox)) == 12
    assert "plugin Live" in live(sandbox)["message"]
    assert [record.source for record in sandbox.requests()] == ["visits", "visits"]
    assert sandbox.requests()[0].days == (DAY, DAY)


def test_another_process_looks_into_the_log_and_changes_it(sandbox: Sandbox) -> None:
    sandbox.reset()
    url, query = f"{sandbox.url}/sandbox/visits", {"site": str(PACIFIC), "day": str(DAY)}
    before = requests.get(url, query, timeout=5).json()
    assert before == live(sandbox)
    noon = "2026-11-10T12:00:00-08:00"
    changes = [
        {"do": "add_visit", "site": PACIFIC, "at": noon, "actions": 2},
        {"do": "remove_visit", "site": PACIFIC, "id_visit": before[0]["idVisit"]},
        {"do": "warm", "site": PACIFIC, "days": [str(DAY)]},
    ]
    added = requests.post(url, json=changes, timeout=5).json()["values"][0]
    ids = {visit["idVisit"] for visit in live(sandbox)}
    assert ids == {visit["idVisit"] for visit in before[1:]} | {added}
    more = {"do": "add_action", "site": PACIFIC, "id_visit": added, "at": noon}
    assert requests.post(url, json=[more], timeout=5).json()["values"] == [1]
    assert requests.post(url, json=[{"do": "add_action"}], timeout=5).status_code == 400
    sandbox.reset()
    assert live(sandbox) == before
