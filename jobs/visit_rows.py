"""A visit as rows of the visit log: COPY text, one line per action, columns as STAGE_COLUMNS.

Values are those of matomo-postgres 2.4.1, column by column (shared facts/visits.md, part 1, 5).
Two differences: custom variables are read under both of their key names, and an action without
a time costs its own row, a visit without actions its own rows, not the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from operator import attrgetter
from typing import Any, NamedTuple

from fetchers.visit_answers import Action, Visit, shorten
from jobs.javascript import stringify, to_number
from jobs.visit_cells import (
    NULL,
    custom_variables,
    dimension_cells,
    encode,
    escaped,
    event_value,
    json_cell,
    plain_text,
    stamp,
    text_cells,
    usable_second,
)
from jobs.wall_clock import true_seconds
from storage.visit_columns import DIMENSIONS

# column: (field of the visit or action, what stands for null)
ACTION_TEXTS = {
    "action_type": ("type", ""),
    "action_eventcategory": ("event_category", ""),
    "action_eventaction": ("event_action", ""),
    "action_eventname": ("event_name", ""),
    "action_eventvalue": ("event_value", "0"),  # a number
    "action_timespent": ("time_spent", "0"),
}
PAGE_TEXTS = {
    "action_url": ("url", NULL),
    "sitesearchkeyword": ("site_search_keyword", NULL),
    "action_title": ("title", NULL),
}
VISIT_TEXTS = {
    "idsite": ("id_site", ""),
    "idvisit": ("id_visit", ""),
    "actions": ("actions", NULL),
    "country": ("country", NULL),
    "region": ("region", NULL),
    "city": ("city", NULL),
    "operatingsystemname": ("operating_system_name", NULL),
    "devicemodel": ("device_model", NULL),
    "devicebrand": ("device_brand", NULL),
    "visitduration": ("visit_duration", NULL),
    "dayssincefirstvisit": ("days_since_first_visit", NULL),
    "visitortype": ("visitor_type", NULL),
    "sitename": ("site_name", NULL),
    "userid": ("user_id", NULL),
    "serverdateprettyfirstaction": ("first_action_timestamp", NULL),  # a date
    "visitorid": ("visitor_id", NULL),
    "referrertype": ("referrer_type", NULL),
    "referrername": ("referrer_name", NULL),
    "resolution": ("resolution", NULL),
    "experiments": ("experiments", NULL),  # JSON
}
RENDERED_COLUMNS = (
    "action_id",
    "action_timestamp",
    *ACTION_TEXTS,
    "usercustomproperties",
    "usercustomdimensions",
    *DIMENSIONS,
    *PAGE_TEXTS,
    *VISIT_TEXTS,
)

Values = Callable[[Visit | Action], tuple[Any, ...]]
_action_values: Values = attrgetter(*(name for name, _ in (ACTION_TEXTS | PAGE_TEXTS).values()))
_visit_values: Values = attrgetter(*(name for name, _ in VISIT_TEXTS.values()))
_dimension_values: Values = attrgetter(*DIMENSIONS)
_ACTION_NULLS = [null for _, null in (ACTION_TEXTS | PAGE_TEXTS).values()]
_VISIT_NULLS = [null for _, null in VISIT_TEXTS.values()]
_NO_DIMENSIONS = (None,) * len(DIMENSIONS)

_EVENT_VALUE = list(ACTION_TEXTS).index("action_eventvalue")
_FIRST_DAY = list(VISIT_TEXTS).index("serverdateprettyfirstaction")
_EXPERIMENTS = list(VISIT_TEXTS).index("experiments")


LONGEST_VISIT_SECONDS = 14 * 86_400


@dataclass(frozen=True, slots=True)
class VisitRows:
    """What the table is to hold of one visit.

    Attributes:
        id_site, id_visit: as they are stored.
        lines: COPY text, `rows` lines; empty for a visit that cannot be stored.
        first_second, last_second: least and greatest action_timestamp of the lines, epoch seconds;
            0 when there is none.
        whole: the lines are all there is of the visit, so other rows of it are stale.
        odd_days: the days since 1970 of the lines, where these are not next to each other.
        problems: what could not be stored and why, one sentence each.
    """

    id_site: str
    id_visit: str
    lines: bytes
    rows: int
    first_second: float
    last_second: float
    whole: bool
    problems: tuple[str, ...] = ()
    odd_days: frozenset[int] = frozenset()


class _Shared(NamedTuple):
    """What all actions of a visit have in common."""

    id_visit: str
    dimensions: tuple[Any, ...]
    dimension_cells: str
    end_of_line: str


def render_visit(visit: Visit, zone: tzinfo | None = None) -> VisitRows:
    """The lines of one visit; with `zone`, the site's, action_timestamp is real UTC."""
    try:
        return _render(visit, zone)
    except RecursionError:
        return _nothing(visit, "is nested too deeply")


def _render(visit: Visit, zone: tzinfo | None) -> VisitRows:
    if not _is_usable_id(visit.id_visit):
        return _nothing(visit, "has no usable idVisit")
    if not visit.action_details:
        return _nothing(visit, "has no actionDetails")
    problems: list[str] = []
    timed = _timed_actions(visit, visit.action_details, zone, problems)
    whole = not problems and not to_number(visit.truncated_actions_count)
    shared = _shared(visit, problems)
    lines = [_line(action, index, second, shared) for index, second, action in timed]
    seconds = [second for _, second, _ in timed]
    return VisitRows(
        id_site=plain_text(visit.id_site),
        id_visit=plain_text(visit.id_visit),
        lines=encode("".join(lines)),
        rows=len(lines),
        first_second=min(seconds, default=0),
        last_second=max(seconds, default=0),
        whole=whole,
        problems=tuple(problems),
        odd_days=_odd_days(seconds),
    )


def _odd_days(seconds: Sequence[float]) -> frozenset[int]:
    """The days of times that lie weeks apart, where one of them must be wrong."""
    if not seconds or max(seconds) - min(seconds) < LONGEST_VISIT_SECONDS:
        return frozenset()
    return frozenset(int(second // 86_400) for second in seconds)


def _nothing(visit: Visit, problem: str) -> VisitRows:
    id_site = plain_text(visit.id_site)
    id_visit = plain_text(visit.id_visit) if _is_usable_id(visit.id_visit) else ""
    name = f"visit {shorten(id_visit)}" if id_visit else f"a visit of site {shorten(id_site)}"
    return VisitRows(id_site, id_visit, b"", 0, 0, 0, False, (f"{name} {problem}",))


def _is_usable_id(value: Any) -> bool:
    if isinstance(value, str):
        return bool(plain_text(value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(to_number(value))


def _timed_actions(
    visit: Visit, actions: Sequence[Action], zone: tzinfo | None, problems: list[str]
) -> list[tuple[int, float, Action]]:
    """Position, stored second and action, of those that have a time."""
    timed: list[tuple[int, float, Action]] = []
    for index, action in enumerate(actions):
        second = usable_second(action.timestamp)
        if second is None:
            problems.append(_timeless(action.timestamp, index, visit))
        else:
            timed.append((index, second, action))
    if zone is None:
        return timed
    is_cut = bool(to_number(visit.truncated_actions_count))
    first = usable_second(visit.first_action_timestamp)
    last = None if is_cut else usable_second(visit.last_action_timestamp)
    seconds = true_seconds([second for _, second, _ in timed], zone, first, last)
    return [
        (index, second, action) for (index, _, action), second in zip(timed, seconds, strict=True)
    ]


def _timeless(value: Any, index: int, visit: Visit) -> str:
    where = f"action {index} of visit {shorten(plain_text(visit.id_visit))}"
    if value is None or value == "":
        return f"{where} has no timestamp"
    return f"{where} has no usable timestamp: {shorten(stringify(value))}"


def _shared(visit: Visit, problems: list[str]) -> _Shared:
    cells = text_cells(_visit_values(visit), _VISIT_NULLS)
    cells[_FIRST_DAY] = _first_day(visit, problems)
    if visit.experiments is not None:
        cells[_EXPERIMENTS] = json_cell(visit.experiments)
    dimensions = _dimension_values(visit)
    return _Shared(
        id_visit=escaped(plain_text(visit.id_visit)),
        dimensions=dimensions,
        dimension_cells=dimension_cells(_NO_DIMENSIONS, dimensions),
        end_of_line="\t" + "\t".join(cells) + "\n",
    )


def _first_day(visit: Visit, problems: list[str]) -> str:
    """The date of the visit's first moment in the time zone of this process, 1970 without one."""
    value = visit.first_action_timestamp
    try:
        return date.fromtimestamp(math.trunc(to_number(value) * 1000) / 1000).isoformat()
    except (ValueError, OverflowError, OSError):
        name = shorten(plain_text(visit.id_visit))
        said = shorten(stringify(value))
        problems.append(f"visit {name} has no usable firstActionTimestamp: {said}")
        return NULL


def _line(action: Action, index: int, second: float, shared: _Shared) -> str:
    cells = text_cells(_action_values(action), _ACTION_NULLS)
    if action.event_value is not None:
        cells[_EVENT_VALUE] = event_value(action.event_value)
    dimensions = _dimension_values(action)
    own_dimensions = (
        shared.dimension_cells
        if dimensions == _NO_DIMENSIONS
        else dimension_cells(dimensions, shared.dimensions)
    )
    properties = custom_variables(action.custom_variables)
    cells.insert(len(ACTION_TEXTS), f"{properties}\t{own_dimensions}")
    return f"{shared.id_visit}_{index}\t{stamp(second)}\t" + "\t".join(cells) + shared.end_of_line
