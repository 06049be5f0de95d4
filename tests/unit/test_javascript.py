"""How JavaScript writes values; the expectations are what Node 20 printed."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.javascript import (
    column_text,
    is_truthy,
    key_order,
    number_text,
    stringify,
    to_number,
    to_string,
)
from tests.unit.helpers import seldom

STRING_OF = {
    # JSON number: String(JSON.parse(it))
    "0": "0",
    "-0": "0",
    "-0.0": "0",
    "1.0": "1",
    "-1.50": "-1.5",
    "100": "100",
    "1e5": "100000",
    "123.456": "123.456",
    "4.35": "4.35",
    "0.1": "0.1",
    "0.30000000000000004": "0.30000000000000004",
    "1e-6": "0.000001",
    "0.000001234": "0.000001234",
    "1e-7": "1e-7",
    "1.25e-7": "1.25e-7",
    "5e-324": "5e-324",
    "1e20": "100000000000000000000",
    "123456789012345680000": "123456789012345680000",
    "999999999999999900000": "999999999999999900000",
    "1e21": "1e+21",
    "-1e21": "-1e+21",
    "12345678901234567890123": "1.2345678901234568e+22",
    "1.5e300": "1.5e+300",
    "1.7976931348623157e308": "1.7976931348623157e+308",
    "9007199254740992": "9007199254740992",
    "9007199254740993": "9007199254740992",
    "-9007199254740993": "-9007199254740992",
    "1e400": "Infinity",
    "-1e400": "-Infinity",
    "9" * 400: "Infinity",
    "-" + "9" * 400: "-Infinity",
}
NUMBER_OF = {
    "": 0,
    " ": 0,
    "\t\n\ufeff\u00a0 7 \u2028": 7,
    "1.50": 1.5,
    "0x1F": 31,
    "0b101": 5,
    "0o17": 15,
    "+7": 7,
    "-7.": -7,
    ".5": 0.5,
    " 1e3": 1000,
    "01": 1,
    "1e400": math.inf,
    "0x" + "f" * 300: math.inf,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
    **dict.fromkeys(["abc", "-0x1F", ".", "1e", "1_000", "infinity", "NaN", "12px"], math.nan),
    **dict.fromkeys(["\u0661", "0x", "1,5", "--1", "1 2", "\u200b1"], math.nan),
}


@pytest.mark.parametrize("number", STRING_OF, ids=lambda text: text[:24])
def test_numbers_are_written_as_javascript_does(number: str) -> None:
    assert number_text(json.loads(number)) == STRING_OF[number]


def test_no_number_has_its_name() -> None:
    assert number_text(math.nan) == "NaN"


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(2.0**53)
@example(5e-324)
@seldom
def test_a_written_number_is_the_same_when_read(number: float) -> None:
    text = number_text(number)
    assert float(text) == number
    digits = text.lstrip("-").partition("e")[0].replace(".", "").strip("0")
    shortest = repr(number).lstrip("-").partition("e")[0].replace(".", "").strip("0")
    assert digits == shortest
    assert ("e" in text) == (number != 0 and not 1e-6 <= abs(number) < 1e21)


@given(st.integers())
@example(2**1024)
@seldom
def test_whole_numbers_are_exact_as_far_as_a_double_is(number: int) -> None:
    text = number_text(number)
    assert text == (str(number) if abs(number) <= 2**53 else number_text(float(text)))


@pytest.mark.parametrize("text", NUMBER_OF, ids=lambda text: ascii(text[:24]))
def test_text_is_read_as_a_number_as_javascript_does(text: str) -> None:
    assert to_number(text) == pytest.approx(NUMBER_OF[text], abs=0, rel=0, nan_ok=True)


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        (None, 0, "null"),
        (True, 1, "true"),
        (False, 0, "false"),
        ([], 0, ""),
        ([5], 5, "5"),
        ([[4]], 4, "4"),
        (["3"], 3, "3"),
        ([None], 0, ""),
        ([1, 2], math.nan, "1,2"),
        ({}, math.nan, "[object Object]"),
        (2**53 + 1, 2**53, "9007199254740992"),
        (1.5, 1.5, "1.5"),
    ],
)
def test_other_values_as_a_number_and_as_text(value: object, number: float, text: str) -> None:
    assert to_number(value) == pytest.approx(number, abs=0, rel=0, nan_ok=True)
    assert to_string(value) == text


@pytest.mark.parametrize("value", ["0", "false", " ", [], {}, [0], {"a": 1}, 1, -1, 0.1, True])
def test_true_is_more_than_in_python(value: object) -> None:
    assert is_truthy(value)


@pytest.mark.parametrize("value", ["", 0, -0.0, 0.0, False, None])
def test_false_is_what_is_empty_or_nothing(value: object) -> None:
    assert not is_truthy(value)


def test_integer_like_keys_come_first_and_ascending() -> None:
    keys = ["b", "10", "2", "01", "-1", "4294967295", "4294967294", "1.5", "0", "a", "\u0661"]
    first = ["0", "2", "10", "4294967294"]
    assert key_order(keys) == [*first, "b", "01", "-1", "4294967295", "1.5", "a", "\u0661"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1.0, "2": [1e21, math.inf, None], "": {}}, '{"2":[1e+21,null,null],"b":1,"":{}}'),
        ('"\\/\b\f\n\r\t\x1f\x7f\u2028é😀', '"\\"\\\\/\\b\\f\\n\\r\\t\\u001f\x7f\u2028é😀"'),
        ("a\0b", '"ab"'),
        ({"k\0": 1, "x": 3, "k": 2}, '{"k":2,"x":3}'),
        ([True, False, [], [[]], -0.0], "[true,false,[],[[]],0]"),
    ],
)
def test_json_is_compact_and_keeps_what_is_not_ascii(value: object, text: str) -> None:
    assert stringify(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\0\tb", "a\tb"),
        (1e21, "1e+21"),
        (False, "false"),
        ([], "{}"),
        ([[], [None, [1]]], '{{},{NULL,{"1"}}}'),
        (['a"\\', "", "NULL", "x,y", 1.0, True], '{"a\\"\\\\","","NULL","x,y","1","true"}'),
        ([{"a": '"'}], '{"{\\"a\\":\\"\\\\\\"\\"}"}'),
        ({"a": [1.0]}, '{"a":[1]}'),
    ],
)
def test_a_text_column_gets_what_node_pg_sends(value: object, text: str) -> None:
    assert column_text(value) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
@seldom
def test_json_text_means_the_same_value_without_nul(value: object) -> None:
    def cleaned(part: object) -> object:
        match part:
            case str():
                return part.replace("\0", "")
            case list():
                return [cleaned(entry) for entry in part]
            case dict():
                return {cleaned(key): cleaned(entry) for key, entry in part.items()}
            case _:
                return part

    assert json.loads(stringify(value)) == cleaned(value)
