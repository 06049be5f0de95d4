"""Pages of the visit log: whatever is in them, one bad visit costs no other."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchers.visit_answers import Action, Visit, parse_page
from jobs.visit_rows import render_visit
from tests.unit.helpers import seldom
from tests.unit.visit_copy import recorded_visits

RECORDED = ("live_day_asc", "live_la_day_dst", "live_tokyo_day")
GOOD = '{"idVisit":1,"country":"\\u00e9\\/","actionDetails":[{"timestamp":5}]}'


def test_a_field_is_called_as_matomo_does() -> None:
    names = {
        kind: {part.encode_name for part in msgspec.structs.fields(kind)}
        for kind in (Visit, Action)
    }
    recorded = [visit for name in RECORDED for visit in recorded_visits(name)]
    of_visits = {key for visit in recorded for key in visit}
    of_actions = {key for visit in recorded for action in visit["actionDetails"] for key in action}
    rare = {f"dimension{number}" for number in range(3, 11)} | {"dimension1", "dimension2"}
    assert names[Visit] - of_visits - rare == {"truncatedActionsCount", "experiments"}
    assert names[Action] - of_actions - rare == {"customVariables"}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_page_is_read_field_by_field(name: str) -> None:
    recorded = recorded_visits(name)
    body = json.dumps(recorded).replace("/", "\\/").encode()
    page = parse_page(body)
    assert page.broken == []
    assert page == parse_page(json.dumps(recorded, ensure_ascii=False).encode())
    assert [as_read(visit) for visit in page.visits] == [
        {
            **kept(Visit, visit),
            "action_details": [kept(Action, action) for action in visit["actionDetails"]],
        }
        for visit in recorded
    ]


def as_read(visit: Visit) -> dict[str, Any]:
    details = visit.action_details or []
    return {
        **msgspec.structs.asdict(visit),
        "action_details": [msgspec.structs.asdict(action) for action in details],
    }


def kept(kind: type[Visit | Action], value: dict[str, Any]) -> dict[str, Any]:
    return {part.name: value.get(part.encode_name) for part in msgspec.structs.fields(kind)}


def test_the_actions_of_a_cut_visit_are_counted() -> None:
    value = {"idVisit": 1, "truncatedActionsCount": 120, "actionDetails": [{}]}
    (visit,) = parse_page(json.dumps([value]).encode()).visits
    assert visit.truncated_actions_count == 120


@pytest.mark.parametrize("body", ["[]", " [ ] ", "\ufeff[]", "\r\n\t[\n]"])
def test_an_empty_page_has_no_visits(body: str) -> None:
    page = parse_page(body.encode())
    assert (page.visits, page.broken) == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        *("", " ", "{}", "null", "5", '"[]"', "[", "]", "[[]", "[]]", "][", "[]x", "[,]"),
        *("[{},]", "[{}{}]", "[{]}", "[{}}", "[{}", "[NaN]", "[Infinity]", "[01]", "['a']"),
        *('["a\nb"]', '["\\x"]', '["a]', "[{}] []", "[1 2]", "\ufeff\ufeff[]", "[tru]", "[{},,{}]"),
        '[{"idVisit":1,"x":NaN}]',
        '[{"idVisit":1},{"idVisit":2,}]',
        '{"result":"error","message":"no"}',
        "<html>",
    ],
)
def test_what_is_no_json_list_is_an_error(body: str) -> None:
    with pytest.raises(ValueError, match="the answer is no JSON list"):
        parse_page(body.encode())


@pytest.mark.parametrize("depth", [(100_001, 100_000), (100_000, 100_001)])
def test_deep_brackets_that_do_not_match_are_no_json_list(depth: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="the answer is no JSON list"):
        parse_page(b"[" * depth[0] + b"]" * depth[1])


@pytest.mark.parametrize("where", ["country", "ignored"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xf5\x80\x80\x80"])
def test_invalid_utf_8_is_an_error_wherever_it_is(where: str, bad: bytes) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        parse_page(b'[{"idVisit":1,"' + where.encode() + b'":"' + bad + b'"}]')


ODD_VALUES = {
    # JSON that not every reader takes: as JavaScript reads it
    '"\\ud800"': "\ud800",
    '"\\udc00\\ud83d x"': "\udc00\ud83d x",
    "1e400": math.inf,
    "-1e400": -math.inf,
    "-" + "9" * 5000: -math.inf,
    "[1e400]": [math.inf],
    '{"a":"\\udfff"}': {"a": "\udfff"},
}


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda text: text[:16])
def test_an_odd_value_is_read_as_javascript_does_and_costs_no_other_visit(value: str) -> None:
    odd = f'{{"idVisit":2,"country":{value},"actionDetails":[{{"url":{value},"timestamp":6}}]}}'
    page = parse_page(f" [{GOOD} , {odd},\n{GOOD}]\n".encode())
    assert page.broken == []
    assert [visit.id_visit for visit in page.visits] == [1, 2, 1]
    assert page.visits[0] == page.visits[2] == parse_page(f"[{GOOD}]".encode()).visits[0]
    assert page.visits[0].country == "é/"
    actions = page.visits[1].action_details
    assert actions is not None
    assert page.visits[1].country == actions[0].url == ODD_VALUES[value]
    assert actions[0].timestamp == 6


@pytest.mark.parametrize("value", ["1e400", '"\\ud800"', "9" * 5000, "[[[1]]]"])
def test_an_odd_value_of_a_field_that_is_not_kept_does_no_harm(value: str) -> None:
    page = parse_page(f'[{{"idVisit":2,"plugins":{value}}},{GOOD}]'.encode())
    assert [visit.id_visit for visit in page.visits] == [2, 1]


@pytest.mark.parametrize("details", ["null", "5", '"x"', '{"0":{"timestamp":5}}', "true"])
def test_action_details_that_are_no_list_are_none(details: str) -> None:
    page = parse_page(f'[{{"idVisit":2,"actionDetails":{details}}},{GOOD}]'.encode())
    assert page.broken == []
    assert [visit.action_details is None for visit in page.visits] == [True, False]
    assert page.visits[0].id_visit == 2


@pytest.mark.parametrize("odd", ["null", "5", '"x"', "[]", "[{}]"])
def test_an_action_that_is_no_object_keeps_its_place(odd: str) -> None:
    body = f'[{{"idVisit":2,"actionDetails":[{{"timestamp":5}},{odd},{{"timestamp":7}}]}}]'
    (visit,) = parse_page(body.encode()).visits
    assert visit.action_details is not None
    assert [action.timestamp for action in visit.action_details] == [5, None, 7]


@pytest.mark.parametrize("odd", ["null", "5", '"{}"', "[]", '[{"idVisit":3}]'])
def test_an_entry_that_is_no_object_is_a_broken_visit(odd: str) -> None:
    page = parse_page(f"[{GOOD},{odd},{GOOD}]".encode())
    assert len(page.visits) == 2
    (broken,) = page.broken
    assert broken.id_visit is None
    assert broken.message == f"entry 2 of the answer is no visit: {odd}"


@pytest.mark.parametrize("deep", ["[" * 100_000 + "]" * 100_000, '{"a":' * 9999 + "0" + "}" * 9999])
@pytest.mark.parametrize("field", ["experiments", "plugins"])
def test_a_visit_nested_too_deeply_is_broken_and_named(field: str, deep: str) -> None:
    odd = f'{{"{field}":{deep}, "idVisit": "2", "actionDetails":[]}}'
    page = parse_page(f"[{GOOD},{odd},{GOOD}]".encode())
    assert len(page.visits) == 2
    (broken,) = page.broken
    assert broken.id_visit == "2"
    assert broken.message == "visit 2 is nested too deeply"


def test_a_long_foreign_text_is_cut_in_a_message() -> None:
    (broken,) = parse_page(json.dumps(["\x1b[31m" + "x" * 5000]).encode()).broken
    assert len(broken.message) < 120
    assert "\x1b" not in broken.message


words = st.sampled_from(
    [part.encode_name for kind in (Visit, Action) for part in msgspec.structs.fields(kind)]
)
fields = words | st.text(max_size=3)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "1794009570", 1794009570, 10**400, 1e300])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(fields, inner, max_size=6),
    max_leaves=25,
)
visits = st.fixed_dictionaries(
    {"actionDetails": values | st.lists(st.dictionaries(words, scalars), max_size=3)},
    optional={"idVisit": scalars, "idSite": scalars, "experiments": values},
)
pages = st.lists(values | visits, max_size=4).map(lambda page: json.dumps(page).encode())


@given(st.binary(max_size=40) | pages | st.tuples(pages, st.binary(max_size=3)).map(b"".join))
@example(b"[" * 100_000)
@example(b"[" * 100_000 + b"]" * 100_000)
@example(b'[{"idVisit":1,"a":"\\ud8')
@example(b'[{"actionDetails":[{"timestamp":1}],"idVisit":1' + b"0" * 350 + b"}]")
@seldom
def test_any_bytes_are_a_page_or_a_value_error(body: bytes) -> None:
    try:
        page = parse_page(body)
    except ValueError:
        return
    for visit in page.visits:
        rendered = render_visit(visit)
        assert rendered.rows == rendered.lines.count(b"\n")
        assert rendered.problems or rendered.rows


@given(st.lists(visits, max_size=4), st.data())
@seldom
def test_a_page_taken_apart_is_the_page_read_in_one_go(
    page: list[dict[str, Any]], data: st.DataObject
) -> None:
    """An entry that is no visit makes the reader go through them one by one."""
    try:
        whole = parse_page(json.dumps(page).encode())
    except ValueError:  # NaN
        return
    at = data.draw(st.integers(0, len(page)))
    apart = parse_page(json.dumps([*page[:at], 5, *page[at:]]).encode())
    assert repr(apart.visits) == repr(whole.visits)
    assert len(apart.broken) == len(whole.broken) + 1
