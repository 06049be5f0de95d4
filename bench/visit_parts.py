"""Each step of an import of the visit log alone, and what it is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import psycopg
import requests

from bench.servers import Api
from fetchers.visit_answers import parse_page
from jobs.visit_rows import VisitRows, render_visit
from jobs.visits_store import GROUP_ROWS, make_group
from storage.visit_columns import STAGE_COLUMNS
from storage.visit_log import VisitLog

PAGE_VISITS = 500
SINGLE_ROWS = 2_000
"""Rows of matomo-postgres' own way, a statement and transaction each."""

COLUMNS = ", ".join(STAGE_COLUMNS)


def rows_per_second(rows: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return rows / (time.perf_counter() - began)


def fetch_pages(api: Api, site: int, day: date, visits: int) -> list[bytes]:
    """All pages of a day by offset, as fast as one connection gets them."""
    session = requests.Session()
    return [_page(session, api, (site, day), offset) for offset in range(0, visits, PAGE_VISITS)]


def _page(session: requests.Session, api: Api, asked: tuple[int, date], offset: int) -> bytes:
    parameters: dict[str, Any] = {
        "module": "API",
        "format": "JSON",
        "method": "Live.getLastVisitsDetails",
        "idSite": asked[0],
        "period": "day",
        "date": str(asked[1]),
        "filter_limit": PAGE_VISITS,
        "filter_offset": offset,
        "filter_sort_order": "asc",
        "minTimestamp": 1,
    }
    token = {"token_auth": api.environment["MATOMO_API_TOKEN"]}
    url = f"{api.environment['MATOMO_API_URL']}index.php"
    return session.post(url, params=parameters, data=token, timeout=60).content


def render(pages: Sequence[bytes]) -> list[VisitRows]:
    return [render_visit(visit) for page in pages for visit in parse_page(page).visits]


def merge(url: str, table_name: str, visits: Sequence[VisitRows], *, partitioned: bool) -> None:
    """Store rendered visits in groups, with nothing beside it."""
    visit_log = VisitLog(url, 1)
    visit_log.make_table(table_name, partitioned=partitioned)
    table = visit_log.open_table(table_name)
    visit_log.lock(table, 1.0)
    claim = visit_log.claim(table, "https://bench.example", true_utc=None)
    for group in _groups(visits):
        visit_log.merge(table, claim.table_id, make_group(group, {}))
    visit_log.close()


def _groups(visits: Sequence[VisitRows]) -> Iterator[Sequence[VisitRows]]:
    rows = sum(visit.rows for visit in visits)
    size = max(1, len(visits) * GROUP_ROWS // max(1, rows))
    yield from (visits[begin : begin + size] for begin in range(0, len(visits), size))


def copy_with_indexes(url: str, table: str, visits: Sequence[VisitRows]) -> None:
    """The limit: one COPY of the finished lines into the indexed table, no conflict possible."""
    with (
        psycopg.connect(url) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({COLUMNS}) from stdin".encode()) as copy,
    ):
        for visit in visits:
            copy.write(visit.lines)


def insert_singly(url: str, table: str, source: str) -> None:
    """As matomo-postgres does it: each row a statement and a transaction."""
    values = ", ".join(["%s"] * len(STAGE_COLUMNS))
    with psycopg.connect(url, autocommit=True) as connection:
        as_text = ", ".join(f"{column}::text" for column in STAGE_COLUMNS)
        query = f"select {as_text} from {source} limit {SINGLE_ROWS}".encode()
        rows = connection.execute(query).fetchall()
        insert = f"insert into {table} ({COLUMNS}) values ({values}) on conflict do nothing"
        for row in rows:
            connection.execute(insert.encode(), row)
