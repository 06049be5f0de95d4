"""What readers do: ask the rollup and compare with the events, in one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg

from tests.chaos_hourly import questions
from tests.chaos_hourly.events import PROJECTS, QUIET, Chance
from tests.chaos_hourly.oracle import Event, day_start
from tests.chaos_hourly.questions import Question, difference, random_question, series_of
from tests.chaos_hourly.stored import Snapshot, take

Connection = psycopg.Connection[Any]
Found = tuple[Counter[str], list[str]]
"""(what was compared, what was wrong)."""

# One statement in READ COMMITTED: a snapshot of its own as well.
ONE_STATEMENT = """
select 'event', event_type, event_label, visitor_id, session_id, created_at, null::timestamptz,
  null::timestamptz, null::text, null::text, null::bigint, null::bigint, null::bigint
from analytics_events where project_id = %(project)s
union all
select 'zone', time_zone, null, null, null, null, null, null, null, null, null, null, null
from analytics_project_zones where project_id = %(project)s
union all
select 'told', null, null, null, null, null, bucket_start, bucket_end, event_type, event_label,
  event_count, unique_visitors, unique_sessions
from analytics_events_series(%(project)s, %(first)s, %(after)s, %(granularity)s, %(by_type)s,
  %(by_label)s)
"""


def compare_once(connection: Connection, chance: Chance) -> Found:
    """Several questions and all that is stored in one transaction; or a question, one statement."""
    project = chance.choice((*PROJECTS, QUIET))
    if chance.yes(0.3):
        return _in_one_statement(connection, chance, project)
    return ask(
        connection,
        project,
        lambda snapshot: [
            random_question(chance, project, snapshot.zone) for _ in range(chance.choice((2, 6)))
        ],
    )


def ask_all(connection: Connection, project: str, chance: Chance, more: int) -> Found:
    """Every granularity by every grain over everything recent, and `more` random questions."""

    def asked(snapshot: Snapshot) -> Iterator[Question]:
        today = chance.now.date()
        after = day_start(today + timedelta(days=2), snapshot.zone)
        for granularity, days in questions.LONGEST_DAYS.items():
            first = day_start(today - timedelta(days=days), snapshot.zone)
            for grain in ("project", "type", "label"):
                yield series_of(project, first, after, granularity, grain)
        yield series_of(project, *questions.SINCE_EVER, "total", "project")
        for _ in range(more):
            yield random_question(chance, project, snapshot.zone)

    return ask(connection, project, asked)


def ask(
    connection: Connection,
    project: str,
    asked: Callable[[Snapshot], Sequence[Question] | Iterator[Question]],
) -> Found:
    with _snapshot_of(connection):
        snapshot = take(connection, project)
        differences = list(snapshot.differences())
        compared = snapshot.compared
        for question in asked(snapshot):
            rows = connection.execute(question.query.encode(), question.parameters).fetchall()
            right = question.right(snapshot.events, snapshot.zone)
            compared[question.name] += 1
            compared[f"answers from {snapshot.made_of(*question.stretch)}"] += 1
            if wrong := difference(question, right, questions.told(rows)):
                differences.append(f"{wrong}\n{_circumstances(snapshot)}")
    return compared, differences


def _in_one_statement(connection: Connection, chance: Chance, project: str) -> Found:
    connection.isolation_level = None
    question = questions.series(chance, project, "UTC")
    names = ("project", "first", "after", "granularity", "by_type", "by_label")
    parameters = dict(zip(names, question.parameters, strict=True))
    events, answer, zone = [], [], "UTC"
    for kind, *row in connection.execute(ONE_STATEMENT.encode(), parameters):
        if kind == "event":
            events.append(Event(*row[:5]))
        elif kind == "zone":
            zone = row[0]
        else:
            answer.append(tuple(row[5:]))
    wrong = difference(question, question.right(events, zone), questions.told(answer))
    return Counter([f"{question.name}, one statement"]), [wrong] if wrong else []


@contextmanager
def _snapshot_of(connection: Connection) -> Iterator[None]:
    """A transaction that sees one moment. TRUNCATE keeps to no snapshot, so it is kept out."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        connection.execute("lock table analytics_events in access share mode")  # no snapshot yet
        yield


def _circumstances(snapshot: Snapshot) -> str:
    return (
        f"  zone {snapshot.zone}, {len(snapshot.events)} events; marked hours "
        f"{sorted(map(str, snapshot.stale_hours))[-8:]}, days "
        f"{sorted(map(str, snapshot.stale_days))[-8:]}, compacted {snapshot.compacted_before}"
    )
