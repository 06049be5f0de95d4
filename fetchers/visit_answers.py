"""A page of Live.getLastVisitsDetails: the fields that the visit log keeps, values as they came.

The common page is read in one go. One that cannot be (half a surrogate pair, 1e400, an action that
is no object) is taken apart, so that one bad visit costs no other.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from logs import excerpt

EXCERPT = 60
"""Characters of foreign text in a message."""
LONGEST_INTEGER = 400
"""Digits; beyond that a double is infinite, and Python refuses to convert very long ones."""


class Action(msgspec.Struct, gc=False, rename="camel"):
    """One entry of actionDetails; None for what is null or absent."""

    timestamp: Any = None
    type: Any = None
    event_category: Any = None
    event_action: Any = None
    event_name: Any = None
    event_value: Any = None
    time_spent: Any = None
    custom_variables: Any = None
    dimension1: Any = None
    dimension2: Any = None
    dimension3: Any = None
    dimension4: Any = None
    dimension5: Any = None
    dimension6: Any = None
    dimension7: Any = None
    dimension8: Any = None
    dimension9: Any = None
    dimension10: Any = None
    url: Any = None
    site_search_keyword: Any = None
    title: Any = None


class Visit(msgspec.Struct, gc=False, rename="camel"):
    """One visit; None for what is null or absent, and for an actionDetails that is no list.

    first_action_timestamp and last_action_timestamp are true UTC, the actions' are the site's
    wall clock read as UTC (facts/matomo.md E).
    """

    id_site: Any = None
    id_visit: Any = None
    action_details: list[Action] | None = None
    truncated_actions_count: Any = None
    first_action_timestamp: Any = None
    last_action_timestamp: Any = None
    actions: Any = None
    country: Any = None
    region: Any = None
    city: Any = None
    operating_system_name: Any = None
    device_model: Any = None
    device_brand: Any = None
    visit_duration: Any = None
    days_since_first_visit: Any = None
    visitor_type: Any = None
    site_name: Any = None
    user_id: Any = None
    visitor_id: Any = None
    referrer_type: Any = None
    referrer_name: Any = None
    resolution: Any = None
    experiments: Any = None
    dimension1: Any = None
    dimension2: Any = None
    dimension3: Any = None
    dimension4: Any = None
    dimension5: Any = None
    dimension6: Any = None
    dimension7: Any = None
    dimension8: Any = None
    dimension9: Any = None
    dimension10: Any = None


@dataclass(frozen=True, slots=True)
class BrokenVisit:
    """An entry of a page that is no visit; id_visit where one can be found in it."""

    id_visit: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Page:
    """The visits of an answer in its order, and what else stood between them."""

    visits: list[Visit]
    broken: list[BrokenVisit] = field(default_factory=list)


_PAGE = msgspec.json.Decoder(list[Visit])
_VISIT = msgspec.json.Decoder(Visit)
_JSON_NAMES = {
    kind: {part.encode_name: part.name for part in msgspec.structs.fields(kind)}
    for kind in (Visit, Action)
}
_BLANKS = " \t\n\r"  # what JSON takes for white space
# A string without end is taken to the end: looking for its quote again and again is quadratic.
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_ID_VISIT = re.compile(r'"idVisit"\s*:\s*"?(\w{1,40})')


def parse_page(body: bytes) -> Page:
    """Read a page, however odd its visits are.

    Raises:
        ValueError: it is no JSON list at all.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if not body.isascii():
        body.decode()  # what is skipped unread is not looked at otherwise
    try:
        return Page(_PAGE.decode(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _parse_one_by_one(body.decode())


def _parse_one_by_one(text: str) -> Page:
    page = Page([])
    for number, element in enumerate(_elements(text), 1):
        found = _parse_visit(element, number)
        if isinstance(found, Visit):
            page.visits.append(found)
        else:
            page.broken.append(found)
    return page


def _parse_visit(text: str, number: int) -> Visit | BrokenVisit:
    try:
        return _VISIT.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        value = _READER.decode(text.strip(_BLANKS))
    except RecursionError:
        found = _ID_VISIT.search(text)
        id_visit = found[1] if found else None
        return BrokenVisit(id_visit, f"visit {id_visit or number} is nested too deeply")
    except ValueError as error:
        raise ValueError(f"the answer is no JSON list: its entry {number} is no JSON") from error
    if not isinstance(value, dict):
        return BrokenVisit(None, f"entry {number} of the answer is no visit: {shorten(text)}")
    return _visit_of(value)


def shorten(text: str) -> str:
    """The beginning of foreign text for a message; secrets are looked for in some more of it."""
    return excerpt(text[: 10 * EXCERPT], EXCERPT)


def _visit_of(value: dict[str, Any]) -> Visit:
    visit = Visit(**_known(Visit, value))
    details = value.get("actionDetails")
    visit.action_details = None
    if isinstance(details, list):
        visit.action_details = [
            Action(**_known(Action, entry)) if isinstance(entry, dict) else Action()
            for entry in details
        ]
    return visit


def _known(kind: type[Visit | Action], value: dict[str, Any]) -> dict[str, Any]:
    names = _JSON_NAMES[kind]
    return {names[key]: value[key] for key in value.keys() & names.keys()}


def _elements(text: str) -> Iterator[str]:
    """The entries of a JSON list as text, taken apart without recursion however deep they are."""
    text = text.strip(_BLANKS)
    if len(text) < 2 or text[0] != "[" or text[-1] != "]":
        raise ValueError("the answer is no JSON list")
    inner = text[1:-1]
    if not inner.strip(_BLANKS):
        return
    depth = start = 0
    for token in _TOKENS.finditer(inner):
        mark = token[0]
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
            if depth < 0:
                break
        elif mark == "," and not depth:
            yield inner[start : token.start()]
            start = token.end()
    if depth:
        raise ValueError("the answer is no JSON list: its brackets do not match")
    yield inner[start:]


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < LONGEST_INTEGER else float(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_READER = json.JSONDecoder(parse_int=_integer, parse_constant=_no_number)
"""Reads what JavaScript reads: 1e400 is Infinity, half a surrogate pair is a character."""
