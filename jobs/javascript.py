"""How JavaScript and node-pg write JSON values: what matomo-postgres stores in every text column.

Values are those of a JSON reader: None, bool, int, float, str, list, dict. NUL, which Postgres
cannot hold, is removed from all text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any

SAFE_INTEGER = 2**53
"""Up to here a double holds every whole number."""
LARGEST_INDEX = 2**32 - 2
"""Keys up to here are array indices to JavaScript: they come first, ascending."""

_BLANKS = (
    " \t\n\v\f\r\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PREFIXED = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_INFINITE = re.compile(r"[+-]?Infinity")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


def number_text(number: int | float) -> str:
    """String(n): 1.0 is 1, 1e21 is 1e+21, 2**53 + 1 is rounded as a double is."""
    if isinstance(number, int):
        if -SAFE_INTEGER <= number <= SAFE_INTEGER:
            return str(int(number))
        number = to_double(number)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    return sign + _positive_text(abs(number))


def _positive_text(number: float) -> str:
    """Number::toString of ECMA-262 from the shortest digits, which Python finds the same way."""
    mantissa, _, power = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    all_digits = whole + fraction
    digits = all_digits.lstrip("0")
    point = len(whole) + int(power or 0) - (len(all_digits) - len(digits))
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        return f"{digits[:point]:0<{point}}" + (f".{digits[point:]}" if digits[point:] else "")
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if digits[1:] else ""
    return f"{digits[0]}{tail}e{point - 1:+d}"


def to_double(number: int | float) -> float:
    """The double that JavaScript reads for a number, infinite where it is too large."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def to_number(value: Any) -> float:
    """Number(value); NaN for what is none."""
    if value is None:
        return 0.0
    if isinstance(value, int | float):
        return to_double(value)
    if isinstance(value, dict):
        return math.nan
    text = to_string(value).strip(_BLANKS)
    if not text:
        return 0.0
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _PREFIXED.fullmatch(text):
        return to_double(int(text, 0))
    if _INFINITE.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan


def to_string(value: Any) -> str:
    """String(value), as a template or an object's key has it."""
    match value:
        case None:
            return "null"
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case list():
            return ",".join("" if entry is None else to_string(entry) for entry in value)
        case _:
            return "[object Object]"


def is_truthy(value: Any) -> bool:
    """[] and {} are true, and so is "0"."""
    return bool(value) or isinstance(value, list | dict)


def stringify(value: Any) -> str:
    """JSON.stringify(value): compact, non-ASCII as it is, no number beyond a double."""
    match value:
        case str():
            return encode_basestring(value.replace("\0", ""))
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            text = number_text(value)
            return "null" if text[-1] in "yN" else text
        case list():
            return f"[{','.join(map(stringify, value))}]"
        case _:
            members = {key.replace("\0", ""): entry for key, entry in value.items()}
            pairs = (
                f"{encode_basestring(key)}:{stringify(members[key])}" for key in key_order(members)
            )
            return f"{{{','.join(pairs)}}}"


def key_order(keys: Iterable[str]) -> list[str]:
    """The order in which JavaScript goes through an object's keys."""
    indices: list[str] = []
    names: list[str] = []
    for key in keys:
        is_index = _INDEX.fullmatch(key) and int(key) <= LARGEST_INDEX
        (indices if is_index else names).append(key)
    return sorted(indices, key=int) + names


def column_text(value: Any) -> str:
    """What node-pg sends for a value that is not null into a text column."""
    match value:
        case str():
            return value.replace("\0", "")
        case list():
            return _array_literal(value)
        case dict():
            return stringify(value)
        case _:
            return to_string(value)


def _array_literal(entries: list[Any]) -> str:
    return f"{{{','.join(map(_array_element, entries))}}}"


def _array_element(entry: Any) -> str:
    if entry is None:
        return "NULL"
    if isinstance(entry, list):
        return _array_literal(entry)
    escaped = column_text(entry).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
