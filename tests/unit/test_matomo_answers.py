"""What a Matomo answer means, with the answers recorded from a real Matomo 5.0.2."""

from __future__ import annotations

import json
from datetime import date

import pytest

from fetchers.errors import (
    AccessDenied,
    BrokenOff,
    CredentialsError,
    FetchError,
    Overloaded,
    SettingsError,
    TargetDenied,
    Temporary,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.http import Answer
from fetchers.matomo_answers import parse_answer, parse_viewable_sites, parse_visits
from tests.unit.helpers import DAY, RESPONSES, days_from, recorded

HOST = "matomo.test"
DAYS = days_from(DAY, 3)

RECORDED_ERRORS: dict[str, tuple[type[FetchError], str, str]] = {
    # recorded answer: kind, what the message holds, what the mend holds
    "auth_version_none": (CredentialsError, "refused the token", "MATOMO_API_TOKEN"),
    "auth_version_wrong_token_get": (CredentialsError, "refused the token", "MATOMO_API_TOKEN"),
    "auth_version_wrong_token_post": (CredentialsError, "refused the token", "MATOMO_API_TOKEN"),
    "vs_post_params_in_query_wrong_token_body": (
        CredentialsError,
        "refused the token",
        "MATOMO_API_TOKEN",
    ),
    "blocked_ip_good_token_get": (CredentialsError, "locked this address out", "wait an hour"),
    "blocked_ip_good_token_post": (CredentialsError, "locked this address out", "wait an hour"),
    "down_db_get": (Overloaded, "Connection refused", "next nightly run"),
    "down_db_post": (Overloaded, "HTTP 500", "next nightly run"),
    "down_maintenance_post": (Temporary, "HTTP 503", "next nightly run"),
    "err_bad_date": (UnexpectedAnswer, "Date format must be", "report it"),
    "err_unknown_method": (UnexpectedAnswer, "'nope' does not exist", "report it"),
    "err_format_invalid": (UnexpectedAnswer, "text/plain in place of JSON", "MATOMO_API_URL"),
    "err_format_missing": (UnexpectedAnswer, "text/xml in place of JSON", "MATOMO_API_URL"),
    "force_ssl_post": (
        SettingsError,
        "redirects to https://127.0.0.1",
        "MATOMO_API_URL=https://127.0.0.1 ",
    ),
    "login_allowlist_post": (AccessDenied, "IP 127.0.0.1 is not allowed", "login_allowlist_ip"),
    "vs_mix_noaccess_range": (TargetDenied, "may not view this site", "'view' access"),
}
NUMBERS = {
    "sites_viewids",
    "vs_getVisits_many",
    "vs_getVisits_many_range",
    "vs_getVisits_one",
    "vs_getVisits_one_range",
}


@pytest.mark.parametrize("name", sorted(RECORDED_ERRORS))
def test_each_recorded_error_has_its_kind_and_a_mend(name: str) -> None:
    kind, message, mend = RECORDED_ERRORS[name]
    with pytest.raises(FetchError) as caught:
        parse_answer(recorded(name), HOST)
    assert type(caught.value) is kind
    assert message in caught.value.message
    assert HOST in caught.value.message or name == "err_unknown_method"
    assert mend in caught.value.mend
    assert len(caught.value.message) < 300


VISIT_LOG = {"sites_view_super_post_query"}
"""These and live_* are tested in test_matomo_visits.py and test_visit_*.py."""


def test_every_recorded_answer_is_tested() -> None:
    stems = {path.stem for path in RESPONSES.glob("*.json")} - VISIT_LOG
    assert {stem for stem in stems if not stem.startswith("live_")} == (
        RECORDED_ERRORS.keys() | NUMBERS
    )


def test_visits_of_several_sites_are_read_by_site_and_day() -> None:
    payload = parse_answer(recorded("vs_getVisits_many_range"), HOST)
    parsed = parse_visits(payload, [1, 2, 12], DAYS, HOST)
    assert parsed.missed == []
    assert parsed.values == {
        1: dict(zip(DAYS, (15, 9, 14), strict=True)),
        2: dict(zip(DAYS, (12, 11, 8), strict=True)),
        12: dict.fromkeys(DAYS, 0),
    }


def test_visits_of_one_site_are_read_by_day() -> None:
    payload = parse_answer(recorded("vs_getVisits_one_range"), HOST)
    parsed = parse_visits(payload, [1], DAYS, HOST)
    assert parsed.missed == []
    assert parsed.values == {1: dict(zip(DAYS, (15, 9, 14), strict=True))}


@pytest.mark.parametrize("name", ["vs_getVisits_many", "vs_getVisits_one"])
def test_an_answer_without_days_holds_no_numbers(name: str) -> None:
    parsed = parse_visits(parse_answer(recorded(name), HOST), [1], [date(2026, 11, 6)], HOST)
    assert parsed.values == {}
    assert [missed.targets for missed in parsed.missed] == [(1,)]


def test_the_viewable_sites_are_a_set_of_numbers() -> None:
    payload = parse_answer(recorded("sites_viewids"), HOST)
    assert parse_viewable_sites(payload, HOST) == {1, 2, 3, 4, 5, 12, 13, 14}
    assert parse_viewable_sites([], HOST) == frozenset()


@pytest.mark.parametrize(
    "payload", [None, {}, "1", 1, [1, "2"], [1, None], [1.0], [True], [-1], [[1]], {"value": 1}]
)
def test_viewable_sites_of_another_shape_are_unexpected(payload: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_viewable_sites(payload, HOST)


def test_html_entities_in_a_message_are_unescaped() -> None:
    message = "open Settings &gt; Plugins &amp; turn on\n\t&quot;Live&quot;"
    with pytest.raises(UnexpectedAnswer, match='open Settings > Plugins & turn on "Live"'):
        parse_answer(_json(200, {"result": "error", "message": message}), HOST)


def test_a_long_message_is_cut() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        parse_answer(_json(200, {"result": "error", "message": "x" * 5000}), HOST)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, UnexpectedAnswer),
        (301, SettingsError),
        (307, SettingsError),
        (308, SettingsError),
        (400, UnexpectedAnswer),
        (401, CredentialsError),
        (403, AccessDenied),
        (404, SettingsError),
        (405, SettingsError),
        (408, Temporary),
        (410, SettingsError),
        (414, UnexpectedAnswer),
        (425, Temporary),
        (429, Throttled),
        (500, Overloaded),
        (502, BrokenOff),
        (503, Temporary),
        (504, Overloaded),
        (507, Temporary),
        (520, Temporary),
    ],
)
def test_each_status_has_its_kind_whatever_the_body_says(
    status: int, kind: type[FetchError]
) -> None:
    for body in (b'{"1": 5}', b"<html>", b"", b'{"result": "success"}'):
        answer = Answer(
            status, {"content-type": "application/json", "location": "https://m.test/"}, body
        )
        with pytest.raises(FetchError) as caught:
            parse_answer(answer, HOST)
        assert type(caught.value) is kind
        assert caught.value.mend


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_retry_after_reaches_the_one_who_waits(status: int) -> None:
    with pytest.raises(Temporary) as caught:
        parse_answer(Answer(status, {"retry-after": "17"}, b""), HOST)
    assert caught.value.retry_after == 17


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("https://m.test/index.php", "https://m.test"),
        ("https://m.test/a/index.php?x", "https://m.test/a"),
        ("https://u:sentinel@m.test:8443/a/", "https://m.test:8443/a"),
    ],
)
def test_a_redirect_names_the_url_to_configure(location: str, address: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_answer(Answer(302, {"location": location}, b""), HOST)
    assert caught.value.message == f"{HOST} redirects to {address}"
    assert caught.value.mend == f"set MATOMO_API_URL={address} if that is your Matomo"


@pytest.mark.parametrize(
    "location", [None, "", "/login", "login.php", "//m.test/x", "http://[m.test/"]
)
def test_a_redirect_without_a_whole_address_is_a_wrong_setting_and_no_broken_advice(
    location: str | None,
) -> None:
    headers = {} if location is None else {"location": location}
    with pytest.raises(SettingsError) as caught:
        parse_answer(Answer(302, headers, b""), HOST)
    assert "MATOMO_API_URL=:" not in caught.value.mend
    assert "redirects to :" not in caught.value.message


@pytest.mark.parametrize("body", [b"", b"[1", b"\xff\xfe", b"<html>", b"[" * 100_000], ids=range(5))
def test_a_body_that_is_no_json_is_unexpected(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_answer(Answer(200, {"content-type": "application/json"}, body), HOST)


def test_an_answer_without_content_type_is_not_trusted() -> None:
    with pytest.raises(UnexpectedAnswer, match="no content type"):
        parse_answer(Answer(200, {}, b'{"2026-11-05": 15}'), HOST)


def _json(status: int, payload: object) -> Answer:
    return Answer(status, {"content-type": "application/json"}, json.dumps(payload).encode())
