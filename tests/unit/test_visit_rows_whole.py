"""A visit as a whole: what of it is stored, what is not, and what is said about that."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchers.visit_answers import Action, Visit, parse_page
from jobs.visit_rows import render_visit
from storage.visit_columns import STAGE_COLUMNS
from tests.unit.helpers import RESPONSES, seldom
from tests.unit.visit_copy import AT, read_copy, recorded_visits, render, visit_json, visit_of

TOO_DEEP = "[" * 900 + "]" * 900


def test_a_recorded_visit_with_each_type_of_action() -> None:
    examples = json.loads((RESPONSES / "live_action_examples.json").read_text())
    recorded = recorded_visits("live_day_asc")[4]
    recorded["actionDetails"] = list(examples.values())
    rendered = render_visit(visit_of(json.dumps(recorded)))
    rows = read_copy(rendered.lines)
    assert [row["action_type"] for row in rows] == list(examples)  # 13 is a number there
    assert [row["action_id"] for row in rows] == [f"131_{index}" for index in range(8)]
    seconds = [entry["timestamp"] for entry in examples.values()]
    assert [at(row["action_timestamp"]) for row in rows] == seconds
    assert (rendered.first_second, rendered.last_second) == (min(seconds), max(seconds))
    assert rows[0]["action_url"] == "https://partner.example.net/out?x=1"
    assert rows[1]["action_eventcategory"] == "Form"
    assert rows[1]["action_eventvalue"] == "0"
    assert rows[4]["sitesearchkeyword"] == "shoes"
    assert {row["operatingsystemname"] for row in rows} == {"GNU/Linux"}
    assert {row["idsite"] for row in rows} == {"1"}
    assert rendered.whole
    assert rendered.problems == ()


def at(timestamp: str | None) -> float:
    return datetime.fromisoformat(timestamp or "").timestamp()


def test_a_whole_recorded_page_is_whole() -> None:
    visits = recorded_visits("live_la_day_dst")
    rendered = [render_visit(visit) for visit in parse_page(json.dumps(visits).encode()).visits]
    assert all(one.whole and not one.problems for one in rendered)
    assert [one.rows for one in rendered] == [len(visit["actionDetails"]) for visit in visits]
    assert [one.id_visit for one in rendered] == [str(visit["idVisit"]) for visit in visits]
    assert {one.id_site for one in rendered} == {"3"}
    lines = b"".join(one.lines for one in rendered)
    assert len(read_copy(lines)) == sum(one.rows for one in rendered)


UNUSABLE = (
    *("true", "false", '"abc"', '" "', "[]", "[5]", "{}", "253402300800", "-62135596801"),
    *('"1e300"', '"Infinity"', '"12px"', "1e+30", "1e+308"),
)
TIMELESS = {
    **dict.fromkeys(("null", '""'), "has no timestamp"),
    **{value: f"has no usable timestamp: {value}" for value in UNUSABLE},
    **dict.fromkeys(("1e400", "9" * 400), "has no usable timestamp: null"),
}


@pytest.mark.parametrize("value", TIMELESS, ids=lambda text: text[:16])
def test_an_action_without_a_time_fails_alone_and_is_named(value: str) -> None:
    rendered = render(None, {}, {"timestamp": value}, {"timestamp": str(AT + 60)})
    assert [row["action_id"] for row in read_copy(rendered.lines)] == ["17_0", "17_2"]
    assert rendered.rows == 2
    assert rendered.problems == (f"action 1 of visit 17 {TIMELESS[value]}",)
    assert not rendered.whole
    assert (rendered.first_second, rendered.last_second) == (AT, AT + 60)


def test_a_visit_of_actions_without_a_time_has_no_lines() -> None:
    rendered = render(None, {"timestamp": "null"}, {"timestamp": '"x"'})
    assert (rendered.lines, rendered.rows, rendered.whole) == (b"", 0, False)
    assert len(rendered.problems) == 2


@pytest.mark.parametrize("details", [None, "null", "[]", "5", '"x"', "{}", '{"0":{"timestamp":5}}'])
def test_a_visit_without_actions_fails_alone_and_is_named(details: str | None) -> None:
    members = '"idSite":3,"idVisit":17' + (f',"actionDetails":{details}' if details else "")
    rendered = render_visit(visit_of(f"{{{members}}}"))
    assert rendered.problems == ("visit 17 has no actionDetails",)
    assert (rendered.id_site, rendered.id_visit) == ("3", "17")
    assert (rendered.lines, rendered.rows, rendered.whole) == (b"", 0, False)


@pytest.mark.parametrize(
    "value", ["null", '""', '"\\u0000"', "true", "[]", "[1]", "{}", "1e400", "9" * 350]
)
def test_a_visit_without_a_usable_id_fails_alone(value: str) -> None:
    rendered = render({"idVisit": value, "idSite": "3"})
    assert rendered.problems == ("a visit of site 3 has no usable idVisit",)
    assert (rendered.lines, rendered.rows, rendered.whole) == (b"", 0, False)
    assert rendered.id_visit == ""


def test_a_visit_without_an_id_at_all_fails_alone() -> None:
    rendered = render_visit(visit_of('{"actionDetails":[{"timestamp":5}]}'))
    assert rendered.problems == ("a visit of site  has no usable idVisit",)


@pytest.mark.parametrize(
    ("count", "whole"),
    [
        (None, True),
        ("0", True),
        ("null", True),
        ('"0"', True),
        ("120", False),
        ('"1"', False),
        ('"many"', False),
        ("true", False),
    ],
)
def test_a_cut_visit_is_not_whole(count: str | None, whole: bool) -> None:
    rendered = render({} if count is None else {"truncatedActionsCount": count})
    assert rendered.whole is whole
    assert rendered.rows == 1
    assert rendered.problems == ()


def test_the_recorded_visit_of_620_actions_is_not_whole() -> None:
    text = (RESPONSES / "live_visit_620_actions_trimmed.json").read_text()
    rendered = render_visit(visit_of(text))
    assert rendered.rows == 4
    assert not rendered.whole


@pytest.mark.parametrize("value", ['"abc"', "{}", "1e400", "[1,2]", "1e17"])
def test_an_odd_first_moment_costs_only_its_date(value: str) -> None:
    rendered = render({"firstActionTimestamp": value})
    (row,) = read_copy(rendered.lines)
    assert row["serverdateprettyfirstaction"] is None
    (problem,) = rendered.problems
    assert problem.startswith("visit 17 has no usable firstActionTimestamp: ")
    assert rendered.whole


@pytest.mark.parametrize("field", ["experiments", "country", "actionDetails"])
def test_a_visit_nested_too_deeply_to_be_written_fails_alone(field: str) -> None:
    text = visit_json({field: f'[{{"timestamp":5,"url":{TOO_DEEP}}}]'})
    page = parse_page(f"[{text},{visit_json()}]".encode())
    rendered = [render_visit(visit) for visit in page.visits]
    said = [one.message for one in page.broken] + [p for one in rendered for p in one.problems]
    assert said == ["visit 17 is nested too deeply"]
    assert [one.rows for one in rendered][-1] == 1


def test_foreign_text_in_a_problem_is_short() -> None:
    rendered = render({"idVisit": json.dumps("v" * 999)}, {"timestamp": json.dumps("\x1b" * 999)})
    (problem,) = rendered.problems
    assert len(problem) < 250
    assert "\x1b" not in problem


def test_half_a_surrogate_pair_in_an_id_is_the_same_in_the_row_and_beside_it() -> None:
    rendered = render({"idVisit": '"a\\ud800\\u0000\\\\"', "idSite": '"s\\udc00"'})
    (row,) = read_copy(rendered.lines)
    assert row["idvisit"] == rendered.id_visit == "a\ufffd\\"
    assert row["action_id"] == "a\ufffd\\_0"
    assert row["idsite"] == rendered.id_site == "s\ufffd"


def wall(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())


def test_with_a_zone_the_time_of_an_action_is_real_utc() -> None:
    walls = [wall("2026-10-25T02:50"), wall("2026-10-25T02:10"), wall("2026-10-25T03:30")]
    text = visit_json(
        {
            "firstActionTimestamp": f'"{wall("2026-10-25T00:50")}"',
            "lastActionTimestamp": str(wall("2026-10-25T02:30")),
        },
        *({"timestamp": f"{second}.25"} for second in walls[:1]),
        *({"timestamp": str(second)} for second in walls[1:]),
    )
    rendered = render_visit(visit_of(text), ZoneInfo("Europe/Paris"))
    assert [row["action_timestamp"] for row in read_copy(rendered.lines)] == [
        "2026-10-25 00:50:00.250+00",
        "2026-10-25 01:10:00+00",
        "2026-10-25 02:30:00+00",
    ]
    assert rendered.first_second == wall("2026-10-25T00:50") + 0.25
    assert rendered.last_second == wall("2026-10-25T02:30")
    as_it_came = [row["action_timestamp"] for row in read_copy(render_visit(visit_of(text)).lines)]
    assert as_it_came[1:] == ["2026-10-25 02:10:00+00", "2026-10-25 03:30:00+00"]


def test_the_end_of_a_cut_visit_is_not_the_end_of_the_actions_that_came() -> None:
    last = wall("2026-10-25T01:30")
    members = {"lastActionTimestamp": str(last)}
    action = {"timestamp": str(wall("2026-10-25T02:30"))}
    cut = {**members, "truncatedActionsCount": "9"}
    zone = ZoneInfo("Europe/Paris")
    whole, part = (
        render_visit(visit_of(visit_json(given, action)), zone) for given in (members, cut)
    )
    assert (whole.first_second, part.first_second) == (last, last - 3600)


def test_the_first_and_last_usable_times_can_be_moved_by_a_zone() -> None:
    for second in (-30609000000, 221800000000):
        for zone in (ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Etc/GMT+12"), UTC):
            text = visit_json(None, {"timestamp": str(second)})
            assert render_visit(visit_of(text), zone).rows == 1


nasty = st.text(st.sampled_from("\\\t\n\r\0N.x\"'{}é😀\ud800\x0b\x85\u2028"), max_size=8)
cells = nasty | st.none() | st.text(max_size=5)


@given(st.lists(st.tuples(*[cells] * 6), min_size=1, max_size=3), st.tuples(*[cells] * 4))
@example([(r"\N", "\\", "\t", None, "\n", "\r")], (r"\.", "", "\\\\N", None))
@seldom
def test_every_text_comes_back_out_of_copy(
    of_actions: list[tuple[str | None, ...]], of_visit: tuple[str | None, ...]
) -> None:
    def stored(text: str | None) -> str | None:
        return text and "".join(
            "\ufffd" if "\ud800" <= one <= "\udfff" else one for one in text if one != "\0"
        )

    country, city, user, site = of_visit
    rendered = render_visit(
        Visit(
            id_visit=17,
            country=country,
            city=city,
            user_id=user,
            site_name=site,
            action_details=[
                Action(
                    timestamp=AT,
                    url=one[0],
                    title=one[1],
                    site_search_keyword=one[2],
                    dimension1=one[3],
                    dimension10=one[4],
                    event_name=one[5],
                )
                for one in of_actions
            ],
        )
    )
    rows = read_copy(rendered.lines)
    assert rendered.rows == len(rows) == len(of_actions)
    for row, one in zip(rows, of_actions, strict=True):
        assert list(row) == list(STAGE_COLUMNS)
        assert [row["action_url"], row["action_title"]] == [stored(one[0]), stored(one[1])]
        assert row["sitesearchkeyword"] == stored(one[2])
        assert row["dimension1"] == (stored(one[3]) if one[3] else None)
        assert row["dimension10"] == (stored(one[4]) if one[4] else None)
        assert row["action_eventname"] == stored(one[5] or "")
        dimensions = {"dimension1": stored(one[3]), "dimension10": stored(one[4])}
        given = {name: text for name, text in dimensions.items() if row[name] is not None}
        assert json.loads(row["usercustomdimensions"] or "") == given
        assert [row[name] for name in ("country", "city", "userid", "sitename")] == [
            stored(text) for text in of_visit
        ]
