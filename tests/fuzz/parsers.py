"""Each parser of an answer, fed with anything: it returns, or raises one of its named kinds.

A new source adds a function that takes `data` and draws from answers.py, and joins PARSERS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import httplib2
import httpx
import psycopg
from googleapiclient.errors import HttpError
from hypothesis import strategies as st
from postgrest.exceptions import APIError

from fetchers.errors import FetchError
from fetchers.google_errors import api_error
from fetchers.gsc import (
    Clicks,
    PropertyAnswer,
    list_properties,
    parse_query,
    published_until,
    settle_days,
)
from fetchers.gsc_property import Properties, Property, choose_property
from fetchers.http import Answer, parse_retry_after
from fetchers.matomo_answers import parse_answer, parse_viewable_sites, parse_visits
from fetchers.matomo_visits import check_page, last_action, parse_sites, read_page
from jobs.visit_rows import render_visit
from models import Window, days_between
from storage.errors import DatabaseError, from_sqlstate
from storage.postgres_calls import sort_error
from storage.rest import SupabaseDatabase
from storage.rest_calls import sort_api_error
from storage.rows import parse_account, parse_id, parse_site
from storage.runs import RunRecord
from tests.fuzz.answers import WORDS, bodies, headers, live, mutated, payloads, site
from tests.unit.google import FakeGoogle, OfflineClient, Reply
from tests.unit.helpers import make_http

DAYS = days_between(date(2026, 11, 5), date(2026, 11, 7))
statuses = st.sampled_from([200, 201, 204, 301, 302, 400, 401, 403, 404, 418, 429, 500, 502, 503])
types = st.sampled_from(["application/json", "application/json; charset=utf-8", "text/html", ""])
texts = st.sampled_from(WORDS) | st.text(max_size=30)


def matomo_answer(data: st.DataObject) -> None:
    given_headers = {
        "content-type": data.draw(types),
        "location": data.draw(texts),
        "retry-after": data.draw(headers) or "",
    }
    answer = Answer(data.draw(statuses), given_headers, data.draw(bodies()))
    with suppress(FetchError):
        _matomo_payload(data, parse_answer(answer, "m.test"))


def matomo_payload(data: st.DataObject) -> None:
    _matomo_payload(data, data.draw(payloads))


def _matomo_payload(data: st.DataObject, payload: object) -> None:
    sites = data.draw(st.sampled_from([(1,), (1, 2), (1, 2, 12)]))
    with suppress(FetchError):
        assert all(type(number) is int for number in parse_viewable_sites(payload, "m.test"))
    with suppress(FetchError):
        parsed = parse_visits(payload, sites, DAYS, "m.test")
        cells = {(s, d) for s in parsed.values for d in parsed.values[s]}
        cells |= {(s, d) for missed in parsed.missed for s in missed.targets for d in missed.days}
        assert cells == {(s, d) for s in sites for d in DAYS}


def visit_log(data: st.DataObject) -> None:
    """A page of visits: every visit becomes lines, or a problem by name."""
    given_headers = {"content-type": data.draw(types)}
    bodies_of_pages = bodies() | mutated(live).map(lambda page: json.dumps(page).encode())
    answer = Answer(data.draw(statuses), given_headers, data.draw(bodies_of_pages))
    with suppress(FetchError):
        check_page(answer, "m.test")
        for visit in read_page(answer, "m.test").visits:
            last = last_action(visit)
            assert last is None or int(last) <= last
            rows = render_visit(visit, data.draw(st.none() | st.just(ZoneInfo("Europe/Paris"))))
            assert rows.lines.count(b"\n") == rows.rows
            assert rows.rows or rows.problems


def sites_of_matomo(data: st.DataObject) -> None:
    with suppress(FetchError):
        parse_sites(data.draw(payloads), "m.test")


def search_query(data: st.DataObject) -> None:
    payload: Any = data.draw(payloads.filter(lambda payload: isinstance(payload, dict)))
    with suppress(FetchError):
        rows, boundary = parse_query(payload, DAYS[0], DAYS[-1])
        _settled(PropertyAnswer(tuple(DAYS), rows, boundary))


def search_days(data: st.DataObject) -> None:
    days = st.sampled_from(DAYS)
    rows = data.draw(st.dictionaries(days, st.builds(Clicks, st.integers(0), st.integers(0))))
    boundary = data.draw(st.none() | days | st.dates(date(2026, 10, 1), date(2026, 12, 1)))
    _settled(PropertyAnswer(tuple(DAYS), rows, boundary))


def _settled(answer: PropertyAnswer) -> None:
    known, waiting = settle_days(answer, published_until([answer], DAYS[-1]))
    assert sorted([*known, *waiting]) == DAYS
    assert known.items() >= answer.rows.items()


def google_answers(data: st.DataObject) -> None:
    """The client with all that it does: token, list of properties, the choice among them."""
    script: list[Reply] = [(data.draw(statuses), data.draw(bodies()))]
    token: Reply = (data.draw(statuses), data.draw(bodies()))
    tokens = data.draw(st.none() | st.just([token]))
    with patch("google.auth._exponential_backoff.time"), suppress(FetchError):
        client = OfflineClient(FakeGoogle(script, tokens), make_http())
        client.authorize()
        listed = list_properties(client)
        choose_property(data.draw(texts), data.draw(st.none() | texts), Properties(listed))


def properties(data: st.DataObject) -> None:
    listed = [Property(url, verified) for url, verified in data.draw(
        st.lists(st.tuples(texts, st.booleans()), max_size=4)
    )]  # fmt: skip
    with suppress(FetchError):
        url = choose_property(data.draw(texts), data.draw(st.none() | texts), Properties(listed))
        assert url in {prop.url for prop in listed if prop.verified}


def google_error(data: st.DataObject) -> None:
    info = {"status": str(data.draw(statuses))}
    after = data.draw(headers)
    if after is not None:
        info["retry-after"] = after
    with suppress(UnicodeDecodeError, TypeError, AttributeError, RecursionError):
        error = HttpError(httplib2.Response(info), data.draw(bodies()))
        assert isinstance(api_error(error, "g.test"), FetchError)


def retry_after(data: st.DataObject) -> None:
    seconds = parse_retry_after(data.draw(headers))
    assert seconds is None or seconds >= 0  # infinite is never waited for: time runs out first


def rows_of_tables(data: st.DataObject) -> None:
    row = {name: data.draw(payloads) for name in site}
    parse_site(row)
    parse_account(row)
    parse_id(row["id"])


def database_errors(data: st.DataObject) -> None:
    assert isinstance(from_sqlstate(data.draw(texts), data.draw(texts)), DatabaseError)
    raised = data.draw(st.sampled_from(
        [psycopg.OperationalError, psycopg.ProgrammingError, psycopg.Error, psycopg.DataError]
    ))  # fmt: skip
    assert isinstance(sort_error(raised(data.draw(texts))), DatabaseError)
    fields = ("code", "message", "details", "hint")
    said = {field: data.draw(st.none() | texts) for field in fields}
    assert isinstance(sort_api_error(APIError(said), "s.test"), DatabaseError)


def rest_answers(data: st.DataObject) -> None:
    """Everything that Supabase's REST API is asked, answered with anything."""
    body, status, content = data.draw(bodies()), data.draw(statuses), data.draw(types)
    with rest_that_says(status, content, body) as database:
        window = Window(DAYS[0], DAYS[-1])
        calls: list[Callable[[], object]] = [
            database.read_sites,
            database.read_gsc_accounts,
            lambda: list(database.read_days(window)),
            lambda: database.read_open_runs("daily"),
            lambda: database.insert_run(RunRecord("running", "daily", datetime.now(UTC))),
            lambda: database.update_run(1, RunRecord("complete")),
            lambda: database.upsert_rows(("matomo_visits",), [(DAYS[0], 1, 5)]),
        ]
        with suppress(DatabaseError):
            data.draw(st.sampled_from(calls))()


@contextmanager
def rest_that_says(status: int, content_type: str, body: bytes) -> Iterator[SupabaseDatabase]:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": content_type}, content=body)

    real = httpx.Client

    def client(**_options: object) -> httpx.Client:
        return real(transport=httpx.MockTransport(answer))

    with patch("storage.rest_calls.httpx.Client", client):
        key = "sb_secret_" + "x" * 20
        database = SupabaseDatabase("https://s.test", key, attempts=1, timeout_seconds=5)
    try:
        yield database
    finally:
        database.close()


PARSERS: list[Callable[[st.DataObject], None]] = [
    matomo_answer,
    matomo_payload,
    visit_log,
    sites_of_matomo,
    search_query,
    search_days,
    google_answers,
    properties,
    google_error,
    retry_after,
    rows_of_tables,
    database_errors,
    rest_answers,
]
