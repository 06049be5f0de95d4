"""Every column of the visit log by its rule in the shared facts (visits.md, part 1, section 5)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from jobs.visit_rows import RENDERED_COLUMNS
from storage.visit_columns import DIMENSIONS, STAGE_COLUMNS
from tests.unit.visit_copy import row

GENERAL = {
    # JSON: what node-pg writes into a text column
    '"x"': "x",
    "0": "0",
    "-0": "0",
    "false": "false",
    "true": "true",
    "7": "7",
    "1.0": "1",
    "2.50": "2.5",
    "1e21": "1e+21",
    "1e-7": "1e-7",
    "1e400": "Infinity",
    "9007199254740993": "9007199254740992",
    '"01"': "01",
    '" x "': " x ",
    '"tab\\tline\\nreturn\\rback\\\\slash"': "tab\tline\nreturn\rback\\slash",
    r'"\\N"': r"\N",
    '"é 日本 😀 \\u00e9 \\ud83d\\ude00 a\\/b"': "é 日本 😀 é 😀 a/b",
    '"nul\\u0000inside"': "nulinside",
    '"half \\ud83d pair"': "half \ufffd pair",
    "[]": "{}",
    '["a","b c",null,1.0,true]': '{"a","b c",NULL,"1","true"}',
    r'[["q\"\\"],[null,[]],{"k":"v"}]': r'{{"q\"\\"},{NULL,{}},"{\"k\":\"v\"}"}',
    "{}": "{}",
    '{"b": 1.0, "10": [], "2": null, "a\\u0000": "\\n"}': '{"2":null,"10":[],"b":1,"a":"\\n"}',
}
FALSY = ('""', "0", "-0", "0.0", "false", "null")

VISIT_NULL = {
    "actions": "actions",
    "country": "country",
    "region": "region",
    "city": "city",
    "operatingsystemname": "operatingSystemName",
    "devicemodel": "deviceModel",
    "devicebrand": "deviceBrand",
    "visitduration": "visitDuration",
    "dayssincefirstvisit": "daysSinceFirstVisit",
    "visitortype": "visitorType",
    "sitename": "siteName",
    "userid": "userId",
    "visitorid": "visitorId",
    "referrertype": "referrerType",
    "referrername": "referrerName",
    "resolution": "resolution",
}
ACTION_NULL = {
    "action_url": "url",
    "sitesearchkeyword": "siteSearchKeyword",
    "action_title": "title",
}
ACTION_EMPTY = {
    "action_type": "type",
    "action_eventcategory": "eventCategory",
    "action_eventaction": "eventAction",
    "action_eventname": "eventName",
}
TEXT_RULES = [
    *((column, "visit", field, None) for column, field in VISIT_NULL.items()),
    ("idsite", "visit", "idSite", ""),
    *((column, "action", field, None) for column, field in ACTION_NULL.items()),
    *((column, "action", field, "") for column, field in ACTION_EMPTY.items()),
    ("action_timespent", "action", "timeSpent", "0"),
]


def cell(column: str, owner: str, field: str, value: str | None) -> str | None:
    """What a column holds for a field's JSON text; None: the field is not there."""
    members = {} if value is None else {field: value}
    return row(members)[column] if owner == "visit" else row(None, members)[column]


def test_a_line_holds_the_columns_of_the_stage_in_their_order() -> None:
    assert RENDERED_COLUMNS == STAGE_COLUMNS
    assert len(STAGE_COLUMNS) == 43


@pytest.mark.parametrize(
    ("column", "owner", "field", "default"),
    [
        pytest.param(*rule, id=f"{rule[0]}: {rule[1]}.{rule[2]} ?? {rule[3]!r}")
        for rule in TEXT_RULES
    ],
)
def test_a_text_column_is_written_as_node_pg_does(
    column: str, owner: str, field: str, default: str | None
) -> None:
    assert cell(column, owner, field, None) == default
    assert cell(column, owner, field, "null") == default
    assert cell(column, owner, field, '""') == ""
    assert {value: cell(column, owner, field, value) for value in GENERAL} == GENERAL


def test_every_text_column_has_its_rule() -> None:
    tested_below = {
        *("action_id", "action_timestamp", "idvisit", "serverdateprettyfirstaction"),
        *("action_eventvalue", "usercustomproperties", "usercustomdimensions", "experiments"),
        *DIMENSIONS,
    }
    assert {rule[0] for rule in TEXT_RULES} | tested_below == set(STAGE_COLUMNS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("135", "135"),
        ("1.0", "1"),
        ('"01"', "01"),
        ("9007199254740993", "9007199254740992"),
        ('"a\\tb\\u0000"', "a\tb"),
    ],
)
def test_action_id_is_the_visits_id_and_the_position_from_0(value: str, expected: str) -> None:
    only = row({"idVisit": value})
    assert only["action_id"] == f"{expected}_0"
    assert only["idvisit"] == expected


TIMES = {
    "1794009570": "2026-11-06 23:59:30+00",
    "1794009570.0": "2026-11-06 23:59:30+00",
    "1794009570.1239": "2026-11-06 23:59:30.123+00",
    "1.001": "1970-01-01 00:00:01+00",  # 1.001 * 1000 is less than 1001 to a double
    "0": "1970-01-01 00:00:00+00",
    "-1": "1969-12-31 23:59:59+00",
    "-1.5": "1969-12-31 23:59:58.500+00",
    '"1794009570"': "2026-11-06 23:59:30+00",
    '" 1.794e9 "': "2026-11-06 21:20:00+00",
    "221800000000": "8998-07-24 15:06:40+00",
    "-30609000000": "1000-01-15 04:00:00+00",
}


@pytest.mark.parametrize("value", TIMES)
def test_action_timestamp_is_utc_to_the_millisecond(value: str) -> None:
    assert row(None, {"timestamp": value})["action_timestamp"] == TIMES[value]


EVENT_VALUES = {
    **dict.fromkeys(FALSY, "0"),
    '"1.50"': "1.5",
    "2.50": "2.5",
    "-3": "-3",
    '"abc"': "NaN",
    '"01"': "1",
    '"0"': "0",
    '" "': "0",
    '"0x1F"': "31",
    '"Infinity"': "Infinity",
    "1e21": "1e+21",
    "1e-7": "1e-7",
    "9007199254740993": "9007199254740992",
    "true": "1",
    "[]": "0",
    "[5]": "5",
    "[1,2]": "NaN",
    "{}": "NaN",
}


@pytest.mark.parametrize("value", EVENT_VALUES)
def test_action_eventvalue_is_0_for_the_falsy_and_else_a_javascript_number(value: str) -> None:
    assert cell("action_eventvalue", "action", "eventValue", value) == EVENT_VALUES[value]


def test_action_eventvalue_is_0_without_one() -> None:
    assert cell("action_eventvalue", "action", "eventValue", None) == "0"


@pytest.mark.parametrize("column", DIMENSIONS)
def test_a_dimension_is_the_actions_or_else_the_visits_and_null_if_falsy(column: str) -> None:
    for value in (*FALSY, None):
        own = {} if value is None else {column: value}
        for of_visit in (*FALSY, None):
            theirs = {} if of_visit is None else {column: of_visit}
            neither = row(theirs, own)
            assert neither[column] is None
            assert neither["usercustomdimensions"] == "{}"
        assert row({column: '"visit"'}, own)[column] == "visit"
    assert row({column: '"visit"'}, {column: '"action"'})[column] == "action"
    truthy = {value: text for value, text in GENERAL.items() if value not in FALSY}
    assert {value: row({column: '"visit"'}, {column: value})[column] for value in truthy} == truthy
    assert {value: row({column: value})[column] for value in truthy} == truthy


def test_usercustomdimensions_holds_native_values_in_the_order_1_to_10() -> None:
    of_visit = {"dimension10": "[]", "dimension2": '"v2"', "dimension1": '"é\\n\\t\\"\\\\"'}
    of_action = {"dimension3": "1.0", "dimension2": '"a2"', "dimension4": "true"}
    only = row(of_visit, {**of_action, "dimension5": "{}", "dimension6": '"0"'})
    assert only["usercustomdimensions"] == (
        r'{"dimension1":"é\n\t\"\\","dimension2":"a2","dimension3":1,"dimension4":true,'
        '"dimension5":{},"dimension6":"0","dimension10":[]}'
    )
    assert [only[name] for name in DIMENSIONS] == (
        ['é\n\t"\\', "a2", "1", "true", "{}", "0", None, None, None, "{}"]
    )


def custom_variables(value: str) -> str | None:
    return row(None, {"customVariables": value})["usercustomproperties"]


@pytest.mark.parametrize("value", [*FALSY, "[]", "{}", "5", "true", '"text"', "[1,2,3]"])
def test_usercustomproperties_is_an_empty_object_without_variables(value: str) -> None:
    assert custom_variables(value) == "{}"
    assert row()["usercustomproperties"] == "{}"


@pytest.mark.parametrize("spelling", ["customVariable", "customVariablePage"])
def test_usercustomproperties_reads_variables_1_to_9_under_both_names(spelling: str) -> None:
    variables = {
        str(k): {f"{spelling}Name{k}": f"n{k}", f"{spelling}Value{k}": f"v{k}"}
        for k in range(11, 0, -1)
    }
    expected = {f"n{k}": f"v{k}" for k in range(1, 10)}
    text = custom_variables(json.dumps(variables))
    assert text == json.dumps(expected, separators=(",", ":"))


def variable(k: int, name: object, value: object) -> dict[str, object]:
    return {f"customVariableName{k}": name, f"customVariableValue{k}": value}


CUSTOM_VARIABLES: dict[str, tuple[object, str]] = {
    # what it shows: (customVariables, usercustomproperties)
    "null values are kept": ({"1": variable(1, "", None)}, '{"":null}'),
    "later equal names win": (
        {"1": variable(1, "n", 1), "2": variable(2, "m", 2), "3": variable(3, "n", 3)},
        '{"n":3,"m":2}',
    ),
    "integer-like names come first, ascending": (
        {"1": variable(1, "b", 1), "2": variable(2, 10, 2), "3": variable(3, "9", 3)},
        '{"9":3,"10":2,"b":1}',
    ),
    "null is not absent": (
        {"1": {**variable(1, None, None), "customVariablePageName1": "page"}},
        '{"null":null}',
    ),
    "the visit's spelling goes before the page's": (
        {
            "1": {
                "customVariablePageName1": "p",
                "customVariablePageValue1": 1,
                **variable(1, "n", 2),
            }
        },
        '{"n":2}',
    ),
    "name and value may be spelled differently": (
        {"1": {"customVariableName1": "n", "customVariablePageValue1": "v"}},
        '{"n":"v"}',
    ),
    "another number in the name": ({"1": variable(2, "n", "v")}, "{}"),
    "other key names": ({"1": {"name": "n", "value": "v"}}, "{}"),
    "no value": ({"1": {"customVariableName1": "n"}}, "{}"),
    "no name": ({"1": {"customVariableValue1": "v"}}, '{"undefined":"v"}'),
    "a list counts from 0": ([None, variable(1, "n", [1.0])], '{"n":[1]}'),
    "NUL is removed": ({"1": variable(1, "n\0", "v\0")}, '{"n":"v"}'),
    "quotes, tab, backslash, non-ASCII": (
        {"1": variable(1, 'q"', "é\t\\")},
        r'{"q\"":"é\t\\"}',
    ),
}


@pytest.mark.parametrize("what", CUSTOM_VARIABLES)
def test_usercustomproperties(what: str) -> None:
    given, expected = CUSTOM_VARIABLES[what]
    assert custom_variables(json.dumps(given)) == expected


EXPERIMENTS = {
    "[]": "[]",
    "{}": "{}",
    "0": "0",
    "false": "false",
    '""': '""',
    '"x"': '"x"',
    "1.0": "1",
    "1e400": "null",
    '[{"variation": {"id": 2, "10": 1, "9": "\\u0000é"}, "idexperiment": "5"}]': (
        '[{"variation":{"9":"é","10":1,"id":2},"idexperiment":"5"}]'
    ),
    '{"a\\u0000": 1, "b": "\\\\\\t", "a": 2}': r'{"a":2,"b":"\\\t"}',
    '"\\ud800"': '"\ufffd"',
}


@pytest.mark.parametrize("value", EXPERIMENTS)
def test_experiments_is_compact_json(value: str) -> None:
    assert row({"experiments": value})["experiments"] == EXPERIMENTS[value]


def test_experiments_is_null_without_any() -> None:
    assert row()["experiments"] is None
    assert row({"experiments": "null"})["experiments"] is None


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, "1970-01-01") for value in (*FALSY, "[]", "1", "true")),
        ("1794009570", "2026-11-07"),
        ("1793890799", "2026-11-05"),
        ("1793890799.9999", "2026-11-05"),
        ('"1793890800"', "2026-11-06"),
        ("-40000", "1969-12-31"),
        ("-32400.0005", "1970-01-01"),  # JavaScript cuts towards zero: midnight here
    ],
)
def test_serverdateprettyfirstaction_is_the_day_of_the_first_action_where_this_process_is(
    value: str, expected: str
) -> None:
    day = row({"firstActionTimestamp": value}, {"timestamp": "0"})["serverdateprettyfirstaction"]
    assert day == expected
    assert row()["serverdateprettyfirstaction"] == "1970-01-01"
