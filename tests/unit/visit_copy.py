"""What Postgres would read: a visit's JSON, parsed and rendered, and back out of COPY text."""

from __future__ import annotations

import json
from typing import Any

from fetchers.visit_answers import Visit, parse_page
from jobs.visit_rows import VisitRows, render_visit
from storage.visit_columns import STAGE_COLUMNS
from tests.unit.helpers import RESPONSES

Row = dict[str, str | None]
AT = 1794009570
"""2026-11-06 23:59:30 UTC"""
UNESCAPED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}


def read_copy(lines: bytes) -> list[Row]:
    """Rows of COPY text, as the documentation of COPY says (Text Format)."""
    assert lines == b"" or lines.endswith(b"\n")
    assert b"\r" not in lines
    assert b"\0" not in lines
    rows = [line.split("\t") for line in lines.decode().split("\n")[:-1]]
    return [dict(zip(STAGE_COLUMNS, map(_unescape, cells), strict=True)) for cells in rows]


def _unescape(cell: str) -> str | None:
    if cell == r"\N":
        return None
    characters = iter(cell)
    return "".join(UNESCAPED[next(characters)] if one == "\\" else one for one in characters)


def json_object(members: dict[str, str]) -> str:
    """An object of members whose values are JSON text already."""
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in members.items()) + "}"


def visit_json(of_visit: dict[str, str] | None = None, *actions: dict[str, str]) -> str:
    """A visit with one action (or those given), each with a time; values are JSON text."""
    entries = [json_object({"timestamp": str(AT), **one}) for one in actions or ({},)]
    details = f"[{','.join(entries)}]"
    return json_object({"idVisit": "17", "actionDetails": details, **(of_visit or {})})


def visit_of(text: str) -> Visit:
    page = parse_page(f"[{text}]".encode())
    assert page.broken == []
    (visit,) = page.visits
    return visit


def render(of_visit: dict[str, str] | None = None, *actions: dict[str, str]) -> VisitRows:
    return render_visit(visit_of(visit_json(of_visit, *actions)))


def row(of_visit: dict[str, str] | None = None, of_action: dict[str, str] | None = None) -> Row:
    """The one row of a visit with one action."""
    rendered = render(of_visit, of_action or {})
    assert rendered.problems == ()
    (only,) = read_copy(rendered.lines)
    return only


def recorded_visits(name: str) -> list[dict[str, Any]]:
    """The visits of an answer recorded from Matomo 5.0.2."""
    visits: list[dict[str, Any]] = json.loads((RESPONSES / f"{name}.json").read_text())["json"]
    return visits
