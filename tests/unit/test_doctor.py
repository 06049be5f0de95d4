"""`doctor` as a whole: in which order it looks, and what one check's end costs the others."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import cli
import jobs.doctor
from config import Settings
from jobs.doctor import (
    Examination,
    _for_one_try,
    _found,
    _look,
    _one_after_the_other,
    _side_by_side,
    check_settings,
    examine,
)
from jobs.findings import ADVICE, BLOCKED, FAIL, OK, Finding
from stopping import Stop
from storage.errors import DatabaseUnavailable
from tests.unit.examinations import NOW, SETTINGS, examination, in_short

NO_FILE = Path("/nonexistent/.env")
WELL = Finding(OK, "later", "it is well")


def well(_seen: Examination) -> Iterator[Finding]:
    yield WELL


def tripping(_seen: Examination) -> Iterator[Finding]:
    yield WELL
    raise RuntimeError("a bug")


def without_database(_seen: Examination) -> Iterator[Finding]:
    yield WELL
    raise DatabaseUnavailable("it is gone", mend="bring it back")


def stalling(_seen: Examination) -> Iterator[Finding]:
    threading.Event().wait()
    yield WELL


def test_a_later_check_that_is_a_bug_costs_what_it_had_not_found_yet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        found = _found(tripping, examination())
    assert in_short(found) == [
        (OK, "it is well"),
        (FAIL, "the program tripped over an answer (RuntimeError)"),
    ]
    assert (found[1].area, bool(found[1].mend)) == ("doctor", True)
    assert any(record.exc_info for record in caplog.records)


def test_a_database_error_within_a_check_is_a_finding_and_no_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert in_short(_found(without_database, examination())) == [
        (OK, "it is well"),
        (BLOCKED, "it is gone"),
    ]
    assert caplog.records == []


def test_checks_side_by_side_are_told_in_their_order() -> None:
    def slow(_seen: Examination) -> Iterator[Finding]:
        time.sleep(0.2)
        yield Finding(OK, "first", "slow")

    found = list(_side_by_side([slow, well, tripping], examination(), Stop()))
    assert [f.area for f in found] == ["first", "later", "later", "doctor"]


def test_what_does_not_end_in_time_is_said_beside_what_did() -> None:
    began = time.monotonic()
    side_by_side = list(_side_by_side([stalling, well], examination(), Stop(0.3)))
    in_order = _one_after_the_other([well, stalling, well], examination(), Stop(0.3))
    assert time.monotonic() - began < 3
    for found in (side_by_side, in_order):
        assert [(f.status, f.area) for f in found] == [(OK, "later"), (FAIL, "doctor")]
        assert "not everything was seen" in found[1].message


def test_a_signal_is_named() -> None:
    stop = Stop()
    stop.request(signal.SIGINT)
    [found] = _one_after_the_other([stalling], examination(), stop)
    assert found.message == "stopped by SIGINT: not everything was seen"


def test_without_a_database_the_sources_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.doctor, "SOURCE_CHECKS", (well,))
    seen = Examination(Settings(), NOW, examination().http)
    assert list(_look(seen, None, Stop())) == [WELL]
    assert list(_look(seen, "some-site", Stop())) == [WELL]


def test_a_server_is_asked_once_and_not_waited_for_as_long_as_at_night() -> None:
    settings = _for_one_try(Settings(http_timeout_seconds=300, http_attempts=20))
    assert (settings.http_timeout_seconds, settings.http_attempts) == (20, 1)
    assert _for_one_try(Settings(http_timeout_seconds=3)).http_timeout_seconds == 3


def test_an_address_without_its_key_is_not_gone_to() -> None:
    settings = Settings(supabase_url="https://p.test", supabase_service_key="key")
    assert _for_one_try(settings).supabase_url == "https://p.test"
    assert _for_one_try(replace(settings, supabase_service_key=None)).supabase_url is None


def test_every_problem_of_the_settings_is_a_finding(tmp_path: Path) -> None:
    found = list(check_settings(SETTINGS, ["A is missing", "B is wrong"], tmp_path / "none"))
    assert in_short(found)[:2] == [(BLOCKED, "A is missing"), (BLOCKED, "B is wrong")]
    assert not any("everything that" in message for _, message in in_short(found))


def test_settings_that_are_well_could_still_be_safer(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.touch(0o600)
    assert {f.status for f in check_settings(SETTINGS, [], dotenv)} == {OK}
    dotenv.chmod(0o644)
    dotenv.write_text("LOOKBACK_DAY=7\nPGSSLMODE=require\n")
    open_to_all = replace(SETTINGS, matomo_api_url="http://matomo.test")
    advice = [f for f in check_settings(open_to_all, [], dotenv) if f.status == ADVICE]
    assert {f.area for f in advice} == {"settings"}
    assert "MATOMO_API_URL begins with http://" in advice[0].message
    assert "chmod 600" in advice[1].message
    assert [f.message for f in advice[2:]] == [
        "LOOKBACK_DAY in .env is no variable of this program"
    ]


def test_without_a_file_of_settings_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    found = list(check_settings(SETTINGS, ["nothing is set"], tmp_path / ".env"))
    assert found[-1].mend == "cp .env.example .env"


def arguments(*words: str) -> list[str]:
    return ["doctor", *words]


@pytest.mark.parametrize("words", [["--json"], ["--log-format", "json"]])
def test_json_is_one_object_on_as_many_lines_as_suit_its_reader(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = cli.parse_arguments(arguments(*words))
    assert examine(parsed, Settings(), ["nothing is set"], NOW, NO_FILE) == 2
    out = capsys.readouterr().out
    assert json.loads(out)["exit_status"] == 2
    assert (out.count("\n") == 1) == ("--json" not in words)


def test_without_any_setting_nothing_is_connected_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        examine(cli.parse_arguments(arguments()), Settings(), ["nothing is set"], NOW, NO_FILE) == 2
    )
    assert "BLOCKED  settings  nothing is set" in capsys.readouterr().out
