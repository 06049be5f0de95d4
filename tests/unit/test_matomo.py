"""What is asked of Matomo, what each failure costs, and where a run stops asking."""

from __future__ import annotations

import signal
import threading
import time
from datetime import date, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    Interrupted,
    Overloaded,
    SettingsError,
    TargetDenied,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.matomo import REQUESTS_IN_FLIGHT, MatomoServer, get_matomo_data
from tests.unit.helpers import (
    DAY,
    MATOMO_TOKEN,
    MATOMO_URL,
    FakeMatomo,
    InstantStop,
    Reply,
    answering,
    days_from,
    error_reply,
    fetch_from,
    json_reply,
    known_cells,
    make_http,
    missed_cells,
    visits_of,
)

DAYS = days_from(DAY, 4)
SITES = tuple(range(1, 21))
WANTED = dict.fromkeys(SITES, DAYS)
REFUSED = "Unable to authenticate with the provided token. It is either invalid or expired."


def test_every_number_ends_up_with_its_site_and_day() -> None:
    matomo = FakeMatomo(SITES)
    fetched = fetch_from(matomo, WANTED, sites_per_request=7)
    assert known_cells(fetched) == {(s, d): visits_of(s, d) for s in SITES for d in DAYS}
    assert fetched.missed == []
    assert sorted(len(sites) for sites, _ in matomo.asked) == [6, 7, 7]


def test_the_token_is_in_the_body_alone_and_everything_else_in_the_url() -> None:
    matomo = FakeMatomo(SITES)
    fetch_from(matomo, WANTED)
    assert len(matomo.requests) == 2
    for request in matomo.requests:
        assert str(request.url).startswith(f"{MATOMO_URL}/index.php?module=API&format=JSON&method=")
        assert MATOMO_TOKEN not in str(request.url)
        assert parse_qs(str(request.body)) == {"token_auth": [MATOMO_TOKEN]}
    viewable, visits = (parse_qs(urlsplit(str(request.url)).query) for request in matomo.requests)
    assert viewable["filter_limit"] == ["-1"]  # without it Matomo cuts the list at 100
    assert (visits["period"], visits["date"]) == (["day"], ["2026-11-05,2026-11-08"])
    assert visits["idSite"] == [",".join(map(str, SITES))]


def test_the_token_is_not_in_the_servers_repr() -> None:
    assert MATOMO_TOKEN not in repr(MatomoServer(MATOMO_URL, MATOMO_TOKEN))


def test_nothing_wanted_is_nothing_asked() -> None:
    server = MatomoServer(MATOMO_URL, MATOMO_TOKEN)
    with responses.RequestsMock():  # refuses every request
        fetched = get_matomo_data({1: []}, server=server, http=make_http())
    assert (fetched.values, fetched.missed) == ({}, [])


def test_a_hidden_site_is_a_failure_and_never_asked_for() -> None:
    matomo = FakeMatomo([1, 2, 4])
    fetched = fetch_from(matomo, dict.fromkeys((1, 2, 3, 4, 5), DAYS))
    assert {site for sites, _ in matomo.asked for site in sites} == {1, 2, 4}
    assert {site for site, _ in known_cells(fetched)} == {1, 2, 4}
    assert missed_cells(fetched).keys() == {(site, day) for site in (3, 5) for day in DAYS}
    [missed] = fetched.missed
    assert isinstance(missed.error, TargetDenied)
    assert "it may view 3" in missed.error.message


def test_a_token_that_views_nothing_says_so() -> None:
    fetched = fetch_from(FakeMatomo([]), WANTED)
    [missed] = fetched.missed
    assert missed.error.message == "Matomo's token may view no site at all"
    assert len(missed_cells(fetched)) == len(SITES) * len(DAYS)


@pytest.mark.parametrize("forbidden", [1, 13, 20])
@pytest.mark.parametrize(
    "refusal",
    [
        error_reply(
            401,
            "You can't access this resource as it requires 'view' access for the website id = 3.",
        ),
        error_reply(
            200, "An unexpected website was found in the request: website id was set to '3' ."
        ),
    ],
    ids=["viewer", "superuser"],
)
def test_a_site_that_becomes_forbidden_costs_no_other(forbidden: int, refusal: Reply) -> None:
    matomo = FakeMatomo(SITES, lambda sites, _days: refusal if forbidden in sites else None)
    fetched = fetch_from(matomo, WANTED)
    assert missed_cells(fetched).keys() == {(forbidden, day) for day in DAYS}
    assert all(isinstance(missed.error, TargetDenied) for missed in fetched.missed)
    assert len(known_cells(fetched)) == (len(SITES) - 1) * len(DAYS)
    assert len(matomo.asked) <= 11


def test_a_refused_token_is_never_tried_again() -> None:
    """21 refused logins lock the address out of Matomo for an hour."""
    matomo = FakeMatomo(SITES, lambda *_: error_reply(401, REFUSED))
    fetched = fetch_from(matomo, WANTED, sites_per_request=1)
    assert len(matomo.asked) <= REQUESTS_IN_FLIGHT
    assert len(missed_cells(fetched)) == len(SITES) * len(DAYS)
    assert {type(missed.error) for missed in fetched.missed} == {CredentialsError}


@pytest.mark.parametrize(
    ("reply", "kind", "requests"),
    [
        (error_reply(401, REFUSED), CredentialsError, 1),
        (error_reply(500, "Too many failed logins. Please wait."), CredentialsError, 1),
        (error_reply(401, "your IP 127.0.0.1 is not allowed."), AccessDenied, 1),
        ((302, {"Location": "https://other.test/"}, ""), SettingsError, 1),
        ((404, {}, "not found"), SettingsError, 1),
        ((200, {"Content-Type": "text/html"}, "<html>"), UnexpectedAnswer, 1),
        (json_reply(200, {"sites": [1]}), UnexpectedAnswer, 1),
        ((503, {}, "maintenance"), Temporary, 4),
        (error_reply(500, "Connection refused"), Overloaded, 4),
        (TimeoutError(), Overloaded, 4),
    ],
    ids=repr,
)
def test_without_the_list_of_sites_nothing_else_is_asked(
    reply: Reply, kind: type[Exception], requests: int
) -> None:
    class NoList(FakeMatomo):
        def _answer(self, _query: object) -> Reply:
            return reply

    matomo = NoList(SITES)
    fetched = fetch_from(matomo, WANTED)
    assert len(matomo.requests) == requests
    [missed] = fetched.missed
    assert type(missed.error) is kind
    assert (missed.targets, missed.days) == (SITES, DAYS)


def test_maintenance_is_waited_out() -> None:
    replies: list[Reply] = [(503, {"Retry-After": "3"}, "maintenance")] * 2
    matomo = FakeMatomo(SITES, lambda *_: replies.pop() if replies else None)
    stop = InstantStop()
    fetched = fetch_from(matomo, WANTED, http=make_http(stop))
    assert fetched.missed == []
    assert len(matomo.asked) == 3
    assert len(stop.slept) == 2
    assert min(stop.slept) > 3


def test_days_inside_a_span_that_nobody_asked_for_are_not_kept() -> None:
    matomo = FakeMatomo(SITES)
    wanted = {1: [DAYS[0], DAYS[3]], 2: [DAYS[0], DAYS[1], DAYS[3]], 3: [DAYS[2]]}
    fetched = fetch_from(matomo, wanted)
    assert known_cells(fetched).keys() == {(site, day) for site in wanted for day in wanted[site]}
    assert ((1, 2), DAYS) in matomo.asked
    assert len(matomo.asked) == 2


def test_unasked_days_are_not_missed_either() -> None:
    bad = json_reply(200, {"1": {}, "2": {}})
    fetched = fetch_from(FakeMatomo([1, 2], lambda *_: bad), {1: [DAYS[0], DAYS[3]], 2: DAYS})
    assert missed_cells(fetched).keys() == {(1, DAYS[0]), (1, DAYS[3]), *((2, day) for day in DAYS)}


def test_at_most_four_requests_are_in_flight() -> None:
    matomo = FakeMatomo(SITES, lambda *_: time.sleep(0.01))
    fetch_from(matomo, WANTED, sites_per_request=1)
    assert matomo.most_in_flight == REQUESTS_IN_FLIGHT == 4


def test_progress_is_told_of_every_cell_once() -> None:
    """Known, hidden, unexpected and failed cells alike."""
    bad = json_reply(200, {str(DAYS[0]): None})

    def rule(sites: tuple[int, ...], days: tuple[date, ...]) -> Reply | None:
        if 7 in sites:
            return error_reply(500, "x") if len(sites) > 1 else bad
        return None

    done: list[int] = []
    server = MatomoServer(MATOMO_URL, MATOMO_TOKEN)
    with answering(FakeMatomo(SITES[2:], rule)):
        fetched = get_matomo_data(WANTED, server=server, http=make_http(), advance=done.append)
    assert sum(done) == len(SITES) * len(DAYS)
    assert len(known_cells(fetched)) + len(missed_cells(fetched)) == sum(done)


def test_a_stop_keeps_what_was_fetched_and_leaves_the_rest_as_interrupted() -> None:
    stop, held = InstantStop(), threading.Event()

    def rule(sites: tuple[int, ...], _days: tuple[date, ...]) -> Reply | None:
        if sites == (1,):
            stop.request(signal.SIGTERM)
            held.wait(5)  # a stalled request: the run does not wait for it
        return None

    began = time.monotonic()
    fetched = fetch_from(FakeMatomo(SITES, rule), WANTED, http=make_http(stop), sites_per_request=1)
    held.set()
    assert time.monotonic() - began < 2
    known, missed = known_cells(fetched), missed_cells(fetched)
    assert known.keys() | missed.keys() == {(site, day) for site in SITES for day in DAYS}
    assert not known.keys() & missed.keys()
    assert (1, DAY) in missed
    assert all(isinstance(error, Interrupted) for error in missed.values())


def test_a_long_window_is_asked_month_by_month() -> None:
    matomo = FakeMatomo([1])
    fetched = fetch_from(matomo, {1: days_from(DAY - timedelta(days=479), 480)})
    assert len(known_cells(fetched)) == 480
    assert sorted(len(days) for _, days in matomo.asked) == [15, *[31] * 15]
