"""Doctor's look at the clocks: servers ahead and behind, without a Date, with a hostile one."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import hypothesis
import hypothesis.strategies as st
import pytest
import responses

from fetchers.clock import measure_clock
from fetchers.errors import FetchError, Overloaded, Temporary, UnexpectedAnswer
from jobs.doctor_clocks import check_clocks, clock_finding
from jobs.findings import ADVICE, FAIL, OK
from models import GscAccount
from tests.unit.examinations import SETTINGS, examination
from tests.unit.helpers import MATOMO_URL, InstantStop, make_http, seldom

SOME_SECONDS = timedelta(seconds=3)
SUPABASE_URL = "https://project.supabase.test"
TOKEN_URI = "https://token.test/token"

HOSTILE_DATES = [
    "",
    "yesterday",
    "Thu, 19 Nov 2026 10:11:12 -0000 +99999999999999999999",
    "Thu, 19 Nov 2026 10:11:12 +99999999999999999999",
    "Thu, 19 Nov 2026 10:11:12 -0000",
    "Thu, 19 Nov 99999 10:11:12 GMT",
    "Thu, 32 Nov 2026 25:61:61 GMT",
    "Thu, 00 Nov 0000 00:00:00 GMT",
    "\x9b[31m\u202e",
    "19 Nov",
]


def measured(date: str | None, status: int = 200) -> timedelta:
    headers = {} if date is None else {"Date": date}
    with responses.RequestsMock() as mock:
        mock.get(MATOMO_URL, status=status, headers=headers, body="anything")
        return measure_clock(MATOMO_URL, make_http(attempts=1))


def http_date(ahead: timedelta = timedelta()) -> str:
    return format_datetime(datetime.now(UTC) + ahead, usegmt=True)


@pytest.mark.parametrize("status", [200, 302, 401, 404, 500])
@pytest.mark.parametrize("ahead", [0, 90, -90, 86400 * 400])
def test_any_answer_tells_how_far_a_server_is_ahead(ahead: int, status: int) -> None:
    expected = timedelta(seconds=ahead)
    assert abs(measured(http_date(expected), status) - expected) < SOME_SECONDS


def test_another_time_zone_is_the_same_time() -> None:
    text = (datetime.now(UTC) + timedelta(hours=5)).strftime("%a, %d %b %Y %H:%M:%S +0500")
    assert abs(measured(text)) < SOME_SECONDS


@pytest.mark.parametrize("date", [None, *HOSTILE_DATES])
def test_an_answer_without_a_date_that_can_be_read_tells_no_time(date: str | None) -> None:
    with pytest.raises(UnexpectedAnswer, match=r"matomo\.test: an answer without a Date"):
        measured(date)


WORDS = (
    "19",
    "Nov",
    "2026",
    "10:11:12",
    "GMT",
    "Thu,",
    "-0000",
    "+0530",
    "+9" + "9" * 20,
    ":",
    "-",
)


@seldom
@hypothesis.given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_no_date_whatever_ends_with_anything_but_a_named_failure(words: list[str]) -> None:
    with contextlib.suppress(FetchError):
        assert isinstance(measured(" ".join(words)), timedelta)


def test_no_credential_is_sent_for_the_time() -> None:
    with responses.RequestsMock() as mock:
        mock.get(MATOMO_URL, headers={"Date": http_date()})
        measure_clock(MATOMO_URL, make_http(attempts=1))
        [call] = mock.calls
    assert call.request.body is None
    assert "sentinel" not in f"{call.request.url}{call.request.headers}"


@pytest.mark.parametrize(
    ("seconds", "status", "words"),
    [
        (0, OK, "this machine and Matomo agree on the time"),
        (30, OK, "agree"),
        (-30, OK, "agree"),
        (31, ADVICE, "this machine's clock is 31 s behind Matomo's"),
        (-31, ADVICE, "this machine's clock is 31 s ahead of Matomo's"),
        (300, ADVICE, "300 s behind"),
        (-300, ADVICE, "300 s ahead of"),
        (301, FAIL, "301 s behind"),
        (-301, FAIL, "301 s ahead of"),
        (3600, FAIL, "60 min behind"),
        (-86400, FAIL, "1440 min ahead of"),
    ],
)
def test_small_differences_are_well_and_large_ones_cost_numbers(
    seconds: int, status: str, words: str
) -> None:
    found = clock_finding("Matomo", timedelta(seconds=seconds))
    assert found.status == status
    assert words in found.message
    assert bool(found.mend) == (status != OK)


def test_every_server_that_a_run_speaks_to_is_asked() -> None:
    settings = replace(SETTINGS, supabase_url=SUPABASE_URL, google_token_uri=TOKEN_URI)
    with responses.RequestsMock() as mock:
        mock.get(MATOMO_URL, headers={"Date": http_date()})
        mock.get(TOKEN_URI, status=404, headers={"Date": http_date(timedelta(minutes=2))})
        mock.get(SUPABASE_URL, status=404, headers={"Date": http_date(timedelta(hours=-2))})
        found = list(check_clocks(examination(settings=settings, accounts=[GscAccount(1, "t")])))
    assert [(f.area, f.status) for f in found] == [
        ("clock", OK), ("clock", ADVICE), ("clock", FAIL),
    ]  # fmt: skip
    for name, each in zip(("Matomo", "Google", "Supabase"), found, strict=True):
        assert name in each.message


@pytest.mark.parametrize("accounts", [None, []])
def test_without_accounts_google_is_not_asked(accounts: list[GscAccount] | None) -> None:
    with responses.RequestsMock() as mock:
        mock.get(MATOMO_URL, headers={"Date": http_date()})
        found = list(check_clocks(examination(accounts=accounts)))
    assert [f.status for f in found] == [OK]


@pytest.mark.parametrize("trouble", [Temporary("no"), Overloaded("late"), None])
def test_a_server_that_tells_no_time_is_advice_and_no_more(
    trouble: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), responses.RequestsMock() as mock:
        if trouble is None:
            mock.get(MATOMO_URL, headers={"Date": HOSTILE_DATES[2]})
        else:
            mock.get(MATOMO_URL, body=trouble)
        [found] = check_clocks(examination())
    assert (found.status, found.area) == (ADVICE, "clock")
    assert "Matomo (matomo.test) told no time" in found.message
    assert caplog.records == []


def test_a_run_that_must_stop_asks_no_server() -> None:
    http = make_http(InstantStop(0), attempts=1)
    [found] = check_clocks(examination(http=http))
    assert found.status == ADVICE
