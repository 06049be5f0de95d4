"""What a fault does to a good answer of a social platform: whole, and wrong in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any

from sandbox.faults import Fault
from sandbox.social_faults import VALUE_KINDS

FOREIGN_DAY = "2019-05-05"
NO_NUMBER = "an example of no number"


def falls_on(fault: Fault, day: date | None) -> bool:
    return fault.days is None or day in fault.days


def spoil_value(cell: dict[str, Any], fault: Fault, day: date | None) -> None:
    """One number, in place."""
    if fault.kind in VALUE_KINDS and falls_on(fault, day):
        _VALUE_SPOILS[fault.kind](cell)


def spoil_series(values: list[dict[str, Any]], days: list[date], faults: Iterable[Fault]) -> None:
    """The values of one metric, of these days, in place."""
    for fault in faults:
        met = [place for place, day in enumerate(days) if falls_on(fault, day)]
        for place in reversed(met):
            if fault.kind == "missing_day":
                del values[place], days[place]
            elif fault.kind == "doubled_day":
                values.insert(place, dict(values[place]))
                days.insert(place, days[place])
            elif fault.kind == "foreign_day":
                values[place]["end_time"] = f"{FOREIGN_DAY}T07:00:00+0000"
            elif fault.kind == "odd_end_time":
                values[place]["end_time"] = "an example of no time"
            else:
                spoil_value(values[place], fault, days[place])


def spoil_data(answer: dict[str, Any], faults: Iterable[Fault]) -> None:
    """The answer as a whole, in place."""
    for fault in faults:
        if fault.kind in {"empty_data", "no_read_insights"}:
            answer["data"] = []
        elif fault.kind == "no_data":
            answer.pop("data", None)
        elif fault.kind == "data_no_list":
            answer["data"] = {"example": 1}


def _drop(cell: dict[str, Any]) -> None:
    cell.pop("value", None)


_VALUE_SPOILS: dict[str, Callable[[dict[str, Any]], None]] = {
    "missing_value": _drop,
    "null_value": lambda cell: cell.update(value=None),
    "string_value": lambda cell: cell.update(value=NO_NUMBER),
    "float_value": lambda cell: cell.update(value=2.5),
    "bool_value": lambda cell: cell.update(value=True),
    "dict_value": lambda cell: cell.update(value={"like": 3, "love": 1}),
}


def spoil_table(answer: dict[str, Any], faults: Iterable[Fault]) -> None:
    """A table of YouTube's: headers and rows, in place. The first column is the day."""
    for fault in faults:
        headers, rows = answer.get("columnHeaders"), answer.get("rows")
        if fault.kind == "no_rows":
            answer.pop("rows", None)
        elif fault.kind == "no_headers":
            answer.pop("columnHeaders", None)
        elif fault.kind == "swapped_columns" and headers:
            headers.reverse()
            for row in rows or ():
                row.reverse()
        elif fault.kind == "missing_column" and headers:
            headers.pop()
            for row in rows or ():
                row.pop()
        elif rows:
            met = [row for row in rows if falls_on(fault, _day_of(row))]
            if fault.kind == "missing_day":
                answer["rows"] = [row for row in rows if row not in met]
            for row in met:
                _spoil_row(row, fault.kind)


def _day_of(row: list[Any]) -> date | None:
    try:
        return date.fromisoformat(row[0])
    except (TypeError, ValueError):  # another fault was here before
        return None


def _spoil_row(row: list[Any], kind: str) -> None:
    if kind == "short_row":
        row.pop()
    elif kind == "foreign_day":
        row[0] = FOREIGN_DAY
    elif kind == "null_value":
        row[-1] = None
    elif kind == "string_value":
        row[-1] = NO_NUMBER


def spoil_elements(answer: dict[str, Any], faults: Iterable[Fault]) -> None:
    """An answer of LinkedIn's statistics, in place."""
    for fault in faults:
        if fault.kind == "no_elements":
            answer.pop("elements", None)
        for element in [e for e in answer.get("elements", ()) if falls_on(fault, _utc_day(e))]:
            if fault.kind == "missing_day":
                answer["elements"].remove(element)
            elif fault.kind == "doubled_day":
                answer["elements"].append(element)
            elif fault.kind == "no_time_range":
                element.pop("timeRange", None)
            elif fault.kind == "foreign_day":
                element["timeRange"] = {"start": 0, "end": 86_400_000}
            else:
                _spoil_statistics(element, fault.kind)


def _utc_day(element: dict[str, Any]) -> date | None:
    if "timeRange" not in element:
        return None
    return datetime.fromtimestamp(element["timeRange"]["start"] / 1000, UTC).date()


def _spoil_statistics(element: dict[str, Any], kind: str) -> None:
    """Every number of one element."""
    if kind not in {"missing_value", "null_value", "string_value"}:
        return
    for name, value in list(element.items()):
        if name in {"timeRange", "start", "end"}:
            continue
        if isinstance(value, dict):
            _spoil_statistics(value, kind)
        elif isinstance(value, int | float):
            if kind == "missing_value":
                del element[name]
            else:
                element[name] = None if kind == "null_value" else NO_NUMBER
