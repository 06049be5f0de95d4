"""The kinds of faults at the social platforms, and the answers of those that replace one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandbox.messages import Answer, Source
from sandbox.social_errors import (
    LINKEDIN_ERRORS,
    YOUTUBE_ERRORS,
    linkedin_error,
    youtube_error,
)
from sandbox.social_graph_errors import GRAPH_ERRORS, app_usage, graph_error

if TYPE_CHECKING:
    from sandbox.faults import Fault

# One number of a day, {"value": 3, "end_time": …} or {"value": 3}, spoiled.
VALUE_KINDS = frozenset(
    {"missing_value", "null_value", "string_value", "float_value", "bool_value", "dict_value"}
)
SERIES_KINDS = frozenset({"missing_day", "doubled_day", "foreign_day", "odd_end_time"})
# The whole of an answer. empty_data is also what a page answers without read_insights;
# no_read_insights lets /me/permissions say so.
DATA_KINDS = frozenset({"empty_data", "no_data", "data_no_list"})
USAGE_KINDS = frozenset({"usage_app", "usage_account"})
GRAPH_SPOILS = VALUE_KINDS | SERIES_KINDS | DATA_KINDS | USAGE_KINDS
INSTAGRAM_KINDS = frozenset({"zero_total", "no_total_value"})
FACEBOOK_KINDS = frozenset({"no_read_insights"})
YOUTUBE_KINDS = frozenset(
    {
        *("no_rows", "no_headers", "swapped_columns", "short_row", "missing_day", "foreign_day"),
        *("missing_column", "null_value", "string_value"),
    }
)
LINKEDIN_KINDS = frozenset(
    {
        *("missing_day", "foreign_day", "doubled_day", "no_time_range", "no_elements"),
        *("missing_value", "null_value", "string_value"),
    }
)
# An account's budget is used up: the wait goes out in a header (social_graph.py).
BLOCK_KINDS = frozenset({"graph_80001", "graph_80002"})
# They do not replace the answer, or the stand-in itself has to.
KEPT_KINDS = (
    BLOCK_KINDS | GRAPH_SPOILS | INSTAGRAM_KINDS | FACEBOOK_KINDS | YOUTUBE_KINDS | LINKEDIN_KINDS
)

_ERRORS: Mapping[Source, frozenset[str]] = {
    "instagram": frozenset(GRAPH_ERRORS),
    "facebook": frozenset(GRAPH_ERRORS),
    "youtube": frozenset({*YOUTUBE_ERRORS, "auth_error"}),
    "linkedin": frozenset(LINKEDIN_ERRORS),
}
_SPOILS: Mapping[Source, frozenset[str]] = {
    "instagram": GRAPH_SPOILS | INSTAGRAM_KINDS,
    "facebook": GRAPH_SPOILS | FACEBOOK_KINDS,
    "youtube": YOUTUBE_KINDS,
    "linkedin": LINKEDIN_KINDS,
}

SOCIAL_KINDS: Mapping[Source, frozenset[str]] = {
    source: _ERRORS[source] | _SPOILS[source] for source in _ERRORS
}
"""By source, beside those of the delivery and of web servers (faults.py)."""

NEAR_THE_LIMIT = 95
"""Percent of the budget in the answers that usage_app and usage_account spoil."""


def social_answer(fault: Fault) -> Answer:
    """What a platform answers in place of its numbers, in its own words."""
    if fault.source == "youtube":
        return youtube_error(fault.kind)
    if fault.source == "linkedin":
        kinds = {"http_429": "linkedin_429", "http_500_json": "linkedin_500"}
        return linkedin_error(kinds.get(fault.kind, fault.kind))
    if fault.kind == "http_429":
        answer = graph_error("graph_4")
        return Answer(429, answer.body, answer.content_type)
    answer = graph_error({"http_500_json": "graph_2"}.get(fault.kind, fault.kind))
    if fault.kind == "graph_4":
        return Answer(answer.status, answer.body, answer.content_type, app_usage(100))
    return answer


def minutes_of(fault: Fault) -> int:
    """The time until an account gets anything again: seconds, in whole minutes as Graph has it."""
    return math.ceil((fault.seconds or 0) / 60)
