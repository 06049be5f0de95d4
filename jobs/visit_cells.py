"""The cells of a line of the visit log: JSON values as COPY text.

Rules of shared facts/visits.md, part 1, 5; NUL and halves of surrogate pairs are left to `encode`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from jobs.javascript import (
    SAFE_INTEGER,
    column_text,
    is_truthy,
    number_text,
    stringify,
    to_number,
    to_string,
)
from storage.visit_columns import DIMENSIONS

NULL = r"\N"

_CUSTOM_VARIABLES = range(1, 10)
_ABSENT = object()

# A day within the dates that Python knows, since a time zone may move them.
_OLDEST = datetime(1000, 1, 1, tzinfo=UTC).timestamp()
_NEWEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
_SECONDS = [f":{second:02d}" for second in range(60)]

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def plain_text(value: Any) -> str:
    """A value as it is stored in a text column that is not null, without COPY's escapes."""
    return _LONE_SURROGATE.sub("\ufffd", "" if value is None else column_text(value))


def text_cells(values: Iterable[Any], nulls: Sequence[str]) -> list[str]:
    """Text columns; for each, what stands in place of a null."""
    return [
        null if value is None else escaped(value) if type(value) is str else _other_cell(value)
        for value, null in zip(values, nulls, strict=True)
    ]


def _other_cell(value: Any) -> str:
    if type(value) is int and -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return str(value)
    return escaped(column_text(value))


def escaped(text: str) -> str:
    """As COPY reads text."""
    if "\\" in text or "\t" in text or "\n" in text or "\r" in text:
        return text.translate(_ESCAPES)
    return text


def json_cell(value: Any) -> str:
    """A json or jsonb column."""
    return stringify(value).replace("\\", r"\\")


def event_value(value: Any) -> str:
    """A numeric column: what JavaScript takes for a number, NaN too; 0 for the falsy."""
    return number_text(to_number(value)) if is_truthy(value) else "0"


def dimension_cells(of_action: Iterable[Any], of_visit: Iterable[Any]) -> str:
    """usercustomdimensions and dimension1 to dimension10: the action's, else the visit's."""
    cells = [NULL] * len(DIMENSIONS)
    members = []
    for index, (own, inherited) in enumerate(zip(of_action, of_visit, strict=True)):
        value = own if own is not None and is_truthy(own) else inherited
        if value is not None and is_truthy(value):
            cells[index] = escaped(value) if type(value) is str else _other_cell(value)
            members.append(f'"{DIMENSIONS[index]}":{json_cell(value)}')
    return "\t".join([f"{{{','.join(members)}}}", *cells])


def custom_variables(variables: Any) -> str:
    """{name: value} of the first nine, under either spelling of their keys.

    matomo-postgres knows the names of a visit's variables only; pages' are called otherwise.
    """
    if not variables:
        return "{}"
    found: dict[str, Any] = {}
    for number in _CUSTOM_VARIABLES:
        variable = _entry(variables, number)
        if is_truthy(variable):
            name = _either(variable, "Name", number)
            name = "undefined" if name is _ABSENT else to_string(name)
            found[name.replace("\0", "")] = _either(variable, "Value", number)
    return json_cell({name: value for name, value in found.items() if value is not _ABSENT})


def _entry(variables: Any, number: int) -> Any:
    if isinstance(variables, dict):
        return variables.get(str(number))
    if isinstance(variables, list) and number < len(variables):
        return variables[number]
    return None


def _either(variable: Any, part: str, number: int) -> Any:
    if not isinstance(variable, dict):
        return _ABSENT
    of_page = variable.get(f"customVariablePage{part}{number}", _ABSENT)
    return variable.get(f"customVariable{part}{number}", of_page)


def usable_second(value: Any) -> float | None:
    """Epoch seconds, whole milliseconds as a JavaScript Date has them; None for what is no time."""
    if isinstance(value, str):
        value = to_number(value) if value.strip() else None
    if type(value) is not int and type(value) is not float:
        return None
    if not _OLDEST <= value <= _NEWEST:
        return None
    if type(value) is int:
        return value
    milliseconds = math.trunc(value * 1000)
    return milliseconds / 1000 if milliseconds % 1000 else milliseconds // 1000


def stamp(second: float) -> str:
    """2026-11-06 23:59:30+00"""
    if type(second) is int:
        minute, rest = divmod(second, 60)
        return f"{_minute(minute)}{_SECONDS[rest]}+00"
    whole, milliseconds = divmod(round(second * 1000), 1000)
    minute, rest = divmod(whole, 60)
    return f"{_minute(minute)}{_SECONDS[rest]}.{milliseconds:03d}+00"


@lru_cache(maxsize=16384)
def _minute(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).isoformat(" ", "minutes")[:16]


def encode(lines: str) -> bytes:
    """UTF-8 without NUL; half a surrogate pair is U+FFFD, as Node encodes it."""
    lines = lines.replace("\0", "")
    try:
        return lines.encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", lines).encode()
