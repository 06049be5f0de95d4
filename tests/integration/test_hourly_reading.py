"""What readers of the rollup answer at the edges: odd days, odd questions, hours that are gone.

Whatever they answer is compared with COUNT and COUNT (DISTINCT) over the events themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.hourly_design import drain
from tests.integration.tables import execute, rows
from tests.services.postgres import PostgresServer

# Days that begin, end or change oddly: autumn and spring in Europe, midnight twice and never on the
# Azores, half an hour of summer time on Lord Howe Island, half and quarter hours in Asia.
AUTUMN, SPRING, APRIL = "2025-10-24 20:00+00", "2026-03-27 20:00+00", "2026-04-03 08:00+00"
ZONES = {
    "UTC": (AUTUMN,),
    "Europe/Berlin": (AUTUMN, SPRING),
    "Atlantic/Azores": (AUTUMN, SPRING),
    "Asia/Kolkata": (AUTUMN,),
    "Asia/Kathmandu": (AUTUMN,),
    "Australia/Lord_Howe": (APRIL,),
}
GRANULARITIES = ("hour", "4 hours", "day", "week", "total")
GRAINS = ("false, false", "true, false", "false, true")

# Three days and a half of events; visitors come again on later days and in other hours.
FILL = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, created_at)
select %(project)s, 'v' || n %% 13, nullif('s' || n %% 29, 's7'), 'type ' || n %% 2,
  case when n %% 3 > 0 then 'label ' || n %% 3 end,
  %(start)s::timestamptz + n * interval '29 min 59 s'
from generate_series(1, 168) n
"""
SET_ZONE = "insert into public.analytics_project_zones values (%s, %s)"
LATE = """
insert into public.analytics_events (project_id, visitor_id, event_type, created_at)
select %(project)s, 'late', 'type 0', %(start)s::timestamptz + n * interval '7 h 20 min'
from generate_series(1, 10) n
"""
# Rows that are answered and false, or true and not answered; and stretches of time that lie in no
# bucket, or in two.
WRONG = """
with answered as materialized (
  select *, greatest(bucket_start, %(from)s::timestamptz) as first,
    least(bucket_end, %(to)s::timestamptz) as after
  from analytics_events_series(%(project)s, %(from)s, %(to)s, %(granularity)s, {grain})
), stretches as materialized (
  select distinct bucket_start, first, after from answered
), counted as (
  select s.bucket_start, {type} as type, {label} as label, count(e.event_type) as events,
    count(distinct e.visitor_id) as visitors, count(distinct e.session_id) as sessions
  from stretches s {join} join public.analytics_events e
    on e.project_id = %(project)s and e.created_at >= s.first and e.created_at < s.after
  group by 1, 2, 3
), given as (
  select bucket_start, event_type, event_label, event_count, unique_visitors, unique_sessions
  from answered
)
(select 'answered', * from given except all select 'answered', * from counted)
union all (select 'counted', * from counted except all select 'counted', * from given)
union all select 'covered', null, null, null, null, null, null
where {whole} and ((select range_agg(tstzrange(first, after)) from stretches)
    is distinct from tstzmultirange(tstzrange(%(from)s, %(to)s))
  or (select sum(after - first) from stretches) <> %(to)s::timestamptz - %(from)s::timestamptz)
"""


Span = tuple[str, str]


def wrong(
    connection: psycopg.Connection[Any],
    project: str,
    span: Span,
    granularity: str,
    grain: str = GRAINS[0],
) -> list[tuple[Any, ...]]:
    """What is answered about [from, to) and not so, and what is so and not answered."""
    query = WRONG.format(
        grain=grain,
        whole=grain == GRAINS[0],
        type="null" if grain == GRAINS[0] else "e.event_type",
        label="e.event_label" if grain == GRAINS[2] else "null",
        join="left" if grain == GRAINS[0] else "",
    )
    asked = {"project": project, "from": span[0], "to": span[1], "granularity": granularity}
    return connection.execute(query.encode(), asked).fetchall()


def check(url: str, project: str, spans: Iterable[Span]) -> None:
    """Every bucket and group of the project, in these spans, is what the events come to."""
    with psycopg.connect(url) as connection:
        for span in spans:
            for granularity in GRANULARITIES:
                for grain in GRAINS if granularity in ("day", "total") else GRAINS[:1]:
                    found = wrong(connection, project, span, granularity, grain)
                    assert found == [], (project, span, granularity, grain)


def fill(url: str, statement: str, project: str, start: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode(), {"project": project, "start": start})


@pytest.fixture(scope="module")
def read_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """Each zone's project twice: counted, late events as well; and with hours that wait for it."""
    url = postgres.create_database("hourly_reading", template=migrated_template)
    for zone, starts in ZONES.items():
        for state in ("counted", "waiting"):
            project = f"{zone} {state}"
            execute(
                url, "insert into public.analytics_project_zones values (%s, %s)", project, zone
            )
            for start in starts:
                fill(url, FILL, project, start)
    drain(url)
    for state in ("counted", "waiting"):
        for zone, starts in ZONES.items():
            for start in starts:
                fill(url, LATE, f"{zone} {state}", start)
        if state == "counted":
            drain(url)
    yield url
    postgres.drop_database("hourly_reading")


def after(url: str, start: str, more: str) -> str:
    [(moment,)] = rows(url, "select (%s::timestamptz + %s::interval)::text", start, more)
    return str(moment)


@pytest.mark.parametrize("state", ["counted", "waiting"])
@pytest.mark.parametrize("zone", ZONES)
def test_every_bucket_of_every_zone_is_what_the_events_come_to(
    zone: str, state: str, read_url: str
) -> None:
    for start in ZONES[zone]:
        whole = (start, after(read_url, start, "3 days 12 hours"))
        odd = (after(read_url, start, "4 h 17 min"), after(read_url, start, "53 h 31 min"))
        check(read_url, f"{zone} {state}", (whole, odd) if state == "counted" else (odd,))


SERIES = (
    "select to_char(bucket_start, 'MM-DD HH24:MI'), "
    "extract(epoch from bucket_end - bucket_start)::float / 3600 "
    "from public.analytics_events_series(%s, %s, %s, %s)"
)
ODD_BUCKETS = [
    # zone, from, to, granularity, when each begins in UTC and how many hours it has
    ("Europe/Berlin", "10-25 22:00", "day", [("10-25 22:00", 25), ("10-26 23:00", 24)]),
    ("Europe/Berlin", "03-28 23:00", "day", [("03-28 23:00", 23), ("03-29 22:00", 24)]),
    ("Atlantic/Azores", "10-26 00:30", "day", [("10-26 00:00", 25), ("10-27 01:00", 24)]),
    ("Atlantic/Azores", "03-29 00:59", "day", [("03-28 01:00", 24), ("03-29 01:00", 23)]),
    ("Asia/Kolkata", "10-26 00:00", "day", [("10-25 18:30", 24), ("10-26 18:30", 24)]),
    ("Asia/Kathmandu", "10-26 00:00", "day", [("10-25 18:15", 24), ("10-26 18:15", 24)]),
    ("Australia/Lord_Howe", "04-04 13:00", "day", [("04-04 13:00", 24.5), ("04-05 13:30", 24)]),
    ("Europe/Berlin", "10-25 22:00", "week", [("10-19 22:00", 169), ("10-26 23:00", 168)]),
    ("UTC", "10-26 23:59", "week", [("10-20 00:00", 168), ("10-27 00:00", 168)]),
    ("Asia/Kolkata", "10-26 18:29", "week", [("10-19 18:30", 168), ("10-26 18:30", 168)]),
    ("Europe/Berlin", "10-26 01:30", "4 hours", [("10-25 22:00", 5), ("10-26 03:00", 4)]),
    ("Europe/Berlin", "03-29 01:30", "4 hours", [("03-28 23:00", 3), ("03-29 02:00", 4)]),
]


@pytest.mark.parametrize(("zone", "start", "granularity", "buckets"), ODD_BUCKETS)
def test_days_and_weeks_are_those_of_the_projects_zone(
    zone: str, start: str, granularity: str, buckets: list[tuple[str, float]], read_url: str
) -> None:
    moment = f"{2025 if start.startswith('10') else 2026}-{start}+00"
    found = rows(
        read_url, SERIES, f"{zone} counted", moment, after(read_url, moment, "9 days"), granularity
    )
    assert found[:2] == buckets


@pytest.mark.parametrize(
    ("length", "buckets"),
    [("1 h", 1), ("24 h", 24), ("25 h", 25), ("7 days", 42), ("30 days", 30), ("31 days", 31)],
)
def test_automatic_buckets_are_hours_then_four_hours_then_days(
    length: str, buckets: int, read_url: str
) -> None:
    start = "2025-10-25 00:00+00"
    found = rows(read_url, SERIES, "UTC counted", start, after(read_url, start, length), "auto")
    assert len(found) == buckets
    found = rows(read_url, SERIES, "UTC counted", start, after(read_url, start, "90 days"), "auto")
    assert {hours for _, hours in found} == {168}


QUESTIONS = {
    "series": "select * from analytics_events_series({project}, {first}, {last}, 'day')",
    "total": "select * from analytics_events_series({project}, {first}, {last}, 'total')",
    "totals": "select * from analytics_events_totals({project}, {first}, {last})",
    "hours": "select * from analytics_events_by_hour({project}, {first}, {last})",
    "days": "select * from analytics_events_by_day({project}, {first}, {last})",
    "labels": "select * from analytics_events_by_label({project}, 'type 1', {first}, {last})",
}
NOON, LATER = "'2025-10-25 12:00+00'", "'2025-10-25 13:00+00'"


def answers(
    url: str, project: str, first: str, last: str, names: Iterable[str] = QUESTIONS
) -> dict[str, list[tuple[Any, ...]]]:
    """Each question's rows; it may be refused as what it is, and must not take long."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set statement_timeout = '5s'")
        for name in names:
            query = QUESTIONS[name].format(project=project, first=first, last=last)
            try:
                found[name] = connection.execute(query.encode()).fetchall()
            except (psycopg.errors.InvalidParameterValue, psycopg.errors.DatetimeFieldOverflow):
                continue
    return found


@pytest.mark.parametrize(("first", "last"), [(NOON, NOON), (LATER, NOON)])
def test_no_time_at_all_has_no_rows(first: str, last: str, read_url: str) -> None:
    found = answers(read_url, "'UTC counted'", first, last)
    assert found == {name: [] for name in QUESTIONS}


@pytest.mark.parametrize(
    ("project", "first", "last"),
    [("null", NOON, LATER), ("'UTC counted'", "null", LATER), ("'UTC counted'", NOON, "null")],
)
def test_what_is_not_asked_is_not_answered(
    project: str, first: str, last: str, read_url: str
) -> None:
    """Hours and days have a stretch of their own where none is given."""
    named = ("series", "total", "totals", "labels")
    for name, found in answers(read_url, project, first, last, named).items():
        assert not any(value for row in found for value in row[-3:]), name


@pytest.mark.parametrize("granularity", ["", "minute", "HOUR", "month", None])
def test_other_granularities_are_refused_by_name(granularity: str | None, read_url: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="granularity is auto, hour"):
        rows(read_url, SERIES, "UTC counted", "2025-10-25", "2025-10-26", granularity)


def test_a_project_without_events_has_zeros_and_no_groups(read_url: str) -> None:
    found = answers(read_url, "'nobody''s'", NOON, LATER)
    assert found["totals"] == [(0, 0, 0)]
    assert [row[-3:] for row in found["series"]] == [(0, 0, 0)]
    assert [row[1] for row in found["hours"]] == [0]
    assert found["days"] == found["labels"] == []


EVER = [
    ("'0001-01-01'", "'9999-12-31'"),
    ("'-infinity'", "'infinity'"),
    ("'4713-01-01 BC'", "'294276-12-31 23:59:59.999999'"),
    ("'2020-01-01'", "'2400-01-01'"),
    ("'2025-10-25 00:30'", "'2027-11-25 00:30'"),
]


@pytest.mark.parametrize(("first", "last"), EVER)
def test_huge_ranges_are_answered_at_once_or_refused_whatever_others_have_stored(
    first: str, last: str, read_url: str
) -> None:
    execute(
        read_url,
        "insert into public.analytics_events (project_id, event_type, created_at) "
        "select 'odd', 'x', t::timestamptz from unnest(array['0001-01-01', '9999-12-31 23:30', "
        "'1970-01-01', '2200-01-01', '294276-12-31 23:30', 'infinity', '-infinity']) t "
        "where not exists (select from public.analytics_events where project_id = 'odd')",
    )
    truth = "select count(*), count(distinct visitor_id), count(distinct session_id) "
    project = "'UTC counted'"
    span = f"created_at >= {first} and created_at < {last}"
    [known] = rows(
        read_url, f"{truth} from public.analytics_events where {span} and project_id = {project}"
    )
    found = answers(read_url, project, first, last)
    assert found.get("totals", [known]) == [known]
    assert [row[-3:] for row in found.get("total", [])] in ([], [known])


def test_times_that_no_calendar_has_never_stop_the_rest(read_url: str) -> None:
    """Whoever may add events may add these: they stand in nobody's way for good."""
    [(before,)] = rows(read_url, "select count(*) from public.analytics_rollup_dirty")
    execute(
        read_url,
        "insert into public.analytics_events (project_id, event_type, created_at) "
        "select 'odder', 'x', t::timestamptz from unnest(array['4713-01-01 BC', 'infinity', "
        "'294276-12-31 23:59:59', '-infinity', '10000-01-01']) t",
    )
    [(now,)] = rows(
        read_url, "select count(*) from public.analytics_rollup_dirty where project_id = 'odder'"
    )
    assert (now, before > 0) == (0, True)


# Whole months of one project: what compaction and archives work on.
MAY = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, created_at)
select p, 'v' || n % 5, 's' || n % 7, 'type ' || n % 2, 'label ' || n % 2,
  first + n * interval '17 min'
from unnest(array['utc', 'india']) p, unnest(cast('{2026-04-30 22:00+00,
  2026-05-10 22:00+00, 2026-05-31 22:00+00, 2026-06-05 22:00+00}' as timestamptz[])) first,
  generate_series(0, 14) n
"""
SPANS = [
    ("2026-05-01 00:00+00", "2026-06-01 00:00+00"),
    ("2026-05-10 23:10+00", "2026-06-02 18:30+00"),
]
COMPACT = "select public.analytics_rollup_compact('2026-06-20')"
STATE = "select compacted_before::text, frozen_before::text from public.analytics_rollup_state"
AN_HOUR_LATER = (
    "update public.analytics_rollup_state set compacted_at = compacted_at - interval '2 hours'"
)
HOURLY_ROWS = (
    "select count(*) from public.analytics_events_hourly_agg where hour_bucket >= '2026-05-01' "
    "and hour_bucket < '2026-06-01'"
)


@pytest.fixture(scope="module")
def months_template(postgres: PostgresServer, migrated_template: str) -> str:
    """A project of UTC and one of India with events around the ends of a May, counted."""
    url = postgres.create_database("months", template=migrated_template)
    execute(url, SET_ZONE, "india", "Asia/Kolkata")
    execute(url, MAY)
    drain(url)
    return "months"


@pytest.fixture
def months_url(postgres: PostgresServer, months_template: str) -> Iterator[str]:
    yield postgres.create_database("some_months", template=months_template)
    postgres.drop_database("some_months")


def compact(url: str) -> None:
    """One run says which months are closed, one of an hour later drops their hours."""
    rows(url, COMPACT)
    execute(url, AN_HOUR_LATER)
    rows(url, COMPACT)


def check_all(url: str) -> None:
    for project in ("utc", "india"):
        check(url, project, SPANS)


def test_a_compacted_month_is_read_as_before_while_its_events_are_there(months_url: str) -> None:
    days = "select a::text from public.analytics_events_daily_agg a order by 1"
    before = rows(months_url, days)
    compact(months_url)
    assert rows(months_url, STATE) == [("2026-06-01 00:00:00+00", "-infinity")]
    assert rows(months_url, HOURLY_ROWS) == [(0,)]
    assert rows(months_url, days) == before
    check_all(months_url)
    late = MAY.replace("'v'", "'late'").replace("17 min", "8 h")
    execute(months_url, late)
    compact(months_url)  # refused: some of it waits to be counted
    check_all(months_url)
    drain(months_url)
    check_all(months_url)
    compact(months_url)
    assert rows(months_url, HOURLY_ROWS) == [(0,)]
    check_all(months_url)


def test_only_whole_months_are_compacted_that_nothing_waits_in(months_url: str) -> None:
    at_the_middle = COMPACT.replace("06-20", "05-31 23:59")
    rows(months_url, at_the_middle)
    assert rows(months_url, STATE) == [("2026-05-01 00:00:00+00", "-infinity")]
    [(hours,)] = rows(months_url, HOURLY_ROWS)
    assert hours
    execute(months_url, LATE.replace("%%", "%") % {"project": "'utc'", "start": "'2026-05-11'"})
    compact(months_url)
    assert rows(months_url, HOURLY_ROWS) == [(hours,)]
    drain(months_url)
    compact(months_url)
    assert rows(months_url, HOURLY_ROWS) == [(0,)]


def archive(url: str) -> None:
    """What `hourly --archive` comes to: May is frozen, and its events go."""
    execute(url, "update public.analytics_rollup_state set frozen_before = '2026-06-01'")
    execute(url, "delete from public.analytics_events where created_at < '2026-06-01'")
    drain(url)


TOLD = (
    "select event_count, unique_visitors, unique_sessions "
    "from public.analytics_events_series(%s, %s, %s, %s)"
)


@pytest.mark.parametrize("compacted", [False, True])
def test_of_archived_months_whole_days_are_told_and_null_is_what_nobody_knows(
    compacted: bool, months_url: str
) -> None:
    asked = [
        ("utc", "2026-05-01", "2026-06-01", "day"),
        ("utc", "2026-05-01", "2026-06-09", "week"),
        ("utc", "2026-05-01", "2026-06-10", "total"),
        ("india", "2026-05-01 18:30", "2026-05-31 18:30", "total"),
        ("india", "2026-05-01 18:30", "2026-05-31 18:30", "day"),
    ]
    before = [rows(months_url, TOLD, *question) for question in asked]
    if compacted:
        compact(months_url)
    archive(months_url)
    assert [rows(months_url, TOLD, *question) for question in asked] == before
    # A part of an hour, and of a compacted day, would have to be counted from its events.
    night = ("utc", "2026-05-10 22:00", "2026-05-10 23:00", "hour")
    part = ("utc", "2026-05-10 22:30", "2026-05-10 23:00", "hour")
    known = (None, None, None) if compacted else (4, 4, 4)
    assert rows(months_url, TOLD, *night) == [known]
    assert rows(months_url, TOLD, *part) == [(None, None, None)]
    [(total, *_)] = rows(months_url, TOLD, "utc", "2026-05-01 01:00", "2026-06-01", "total")
    assert (total is None) == compacted
    # What is not archived is told as ever.
    check(months_url, "utc", [("2026-06-01 00:00+00", "2026-06-07 00:00+00")])


def test_events_that_come_into_an_archived_month_change_nothing_that_is_stored(
    months_url: str,
) -> None:
    asked = ("utc", "2026-05-01", "2026-06-01", "day")
    before = rows(months_url, TOLD, *asked)
    archive(months_url)
    execute(months_url, LATE.replace("%%", "%") % {"project": "'utc'", "start": "'2026-05-11'"})
    assert rows(months_url, TOLD, *asked) == before
    drain(months_url)
    assert rows(months_url, TOLD, *asked) == before
    assert rows(months_url, "select public.analytics_rollup_left()") == [(0,)]


CHANGES = {
    "insert": "insert into public.analytics_project_zones values ('utc', 'Europe/Berlin')",
    "update": "update public.analytics_project_zones set time_zone = 'UTC'",
    "rename": "update public.analytics_project_zones set project_id = 'utc'",
    "delete": "delete from public.analytics_project_zones",
    "truncate": "truncate public.analytics_project_zones",
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_time_zone_counts_all_days_again_or_is_refused_once_they_are_archived(
    change: str, months_url: str, postgres: PostgresServer, months_template: str
) -> None:
    execute(months_url, CHANGES[change])
    check_all(months_url)
    drain(months_url)
    check_all(months_url)
    url = postgres.create_database("archived_months", template=months_template)
    archive(url)
    with pytest.raises(psycopg.errors.RaiseException, match="archived"):
        execute(url, CHANGES[change])
    postgres.drop_database("archived_months")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "utc+99"])
def test_a_zone_that_postgres_does_not_know_is_refused(zone: str, months_url: str) -> None:
    with pytest.raises(psycopg.Error):
        execute(months_url, SET_ZONE, "new", zone)
