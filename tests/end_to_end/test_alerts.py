"""Who hears of a run, and when: real runs, a real receiver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox import Fault
from tests.end_to_end.night import Finished, Night, asking_for, copy_program, final_days
from tests.integration.tables import execute, rows
from tests.services.postgrest import PostgrestServer
from tests.services.receiver import CHECK, HOOK, Receiver

DEAD = Fault("token", "invalid_grant", account=2)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def watched(night: Night, receiver: Receiver, tmp_path: Path) -> Night:
    """A night whose runs tell the receiver, with a memory (.state) of its own."""
    night.program = copy_program(tmp_path / "program")
    night.environment |= receiver.environment()
    return night


def run(night: Night, **variables: str) -> Finished:
    return night.run(*asking_for(final_days(night.world)), **variables)


def test_a_complete_run_pings_start_and_success_with_its_summary(
    watched: Night, receiver: Receiver
) -> None:
    done = run(watched)
    (start, _), (success, body) = receiver.pings()
    assert (start, success) == ("/start", "")
    assert body.startswith("COMPLETE: ")
    assert body.endswith(done.last_line)
    assert receiver.messages() == []


def test_an_incomplete_run_pings_fail_with_the_whole_report(
    watched: Night, receiver: Receiver
) -> None:
    watched.sandbox.faults.add(DEAD)
    run(watched)
    [_, (fail, body)] = receiver.pings()
    assert fail == "/fail"
    assert "invalid_grant" in body
    assert "-> give consent again" in body


def test_the_third_run_with_the_same_failure_is_told_and_its_end_once(
    watched: Night, receiver: Receiver
) -> None:
    watched.sandbox.faults.add(DEAD)
    said = []
    for _ in range(4):
        assert run(watched).status == 1
        said.append(receiver.messages())
    assert [len(messages) for messages in said] == [0, 0, 1, 0]
    (text,) = said[2]
    assert "failing for 3 runs or more" in text
    assert "invalid_grant" in text
    assert watched.world.domain(2) in text
    assert "-&gt; give consent again" in text, "Slack's own spelling of >"
    watched.sandbox.faults.clear()
    assert run(watched).status == 0
    (text,) = receiver.messages()
    assert "recovered" in text
    assert "gsc, account" in text
    assert run(watched).status == 0
    assert receiver.messages() == []


def test_a_run_that_cannot_reach_its_database_is_told_once_a_day_and_when_it_is_over(
    watched: Night, receiver: Receiver
) -> None:
    """Nothing can be remembered in a database that is down: a file keeps it meanwhile."""
    down = {"DATABASE_URL": "postgresql://postgres@127.0.0.1:1/postgres", "HTTP_ATTEMPTS": "1"}
    assert [run(watched, **down).status for _ in range(2)] == [2, 2]
    assert [what for what, _ in receiver.pings()] == ["/start", "/fail"] * 2
    (text,) = receiver.messages()
    assert "FAILED" in text
    assert "no connection to the database" in text
    assert run(watched).status == 0
    (text,) = receiver.messages()
    assert "recovered" in text
    assert run(watched).status == 0
    assert receiver.messages() == []
    kept = json.loads((watched.program / ".state" / "alerts.json").read_text())
    assert kept == {"daily": []}


def test_settings_that_are_wrong_are_told_too(watched: Night, receiver: Receiver) -> None:
    done = run(watched, MATOMO_API_TOKEN="", LOOKBACK_DAYS="none")
    assert done.status == 2
    assert [what for what, _ in receiver.pings()] == ["/start", "/fail"]
    (text,) = receiver.messages()
    assert "MATOMO_API_TOKEN is missing" in text
    assert "LOOKBACK_DAYS" in text


def test_26_hours_without_a_complete_run_are_told_once(watched: Night, receiver: Receiver) -> None:
    assert watched.run().status == 0
    long_ago = datetime.now(UTC) - timedelta(hours=27)
    execute(
        watched.database_url,
        "update public.aggregator_runs set started_at = %s, finished_at = %s", long_ago, long_ago,
    )  # fmt: skip
    watched.sandbox.faults.add(DEAD)
    run(watched)
    (text,) = receiver.messages()
    assert f"no complete run since {long_ago:%Y-%m-%d %H:%M} UTC" in text
    run(watched)
    assert receiver.messages() == []
    watched.sandbox.faults.clear()
    assert run(watched).status == 0, "a backfill"
    assert receiver.messages() == []
    assert watched.run().status == 0
    (text,) = receiver.messages()
    assert "recovered: a run was complete again" in text


@pytest.mark.parametrize("options", [["--dry-run"], ["--site", "nobody"], ["--date", "2100-01-01"]])
def test_what_a_person_does_at_a_terminal_is_told_to_nobody_else(
    options: list[str], watched: Night, receiver: Receiver
) -> None:
    watched.run(*options)
    assert [what for what, _ in receiver.pings() if what != "/start"] == []
    assert receiver.messages() == []


def test_a_run_of_single_sites_neither_pings_nor_ends_what_other_sites_have(
    watched: Night, receiver: Receiver
) -> None:
    watched.sandbox.faults.add(DEAD)
    for _ in range(3):
        run(watched)
    assert len(receiver.messages()) == 1
    receiver.pings()
    [(site,)] = rows(watched.database_url, "select id::text from public.sites order by id limit 1")
    watched.sandbox.faults.clear()
    done = watched.run("--site", site, *asking_for(final_days(watched.world)))
    assert done.status == 0, done
    assert (receiver.pings(), receiver.messages()) == ([], [])
    run(watched)
    assert len(receiver.messages()) == 1, "the whole run tells that it is over"


def test_a_target_that_redirects_to_nowhere_fails_no_run(
    watched: Night, receiver: Receiver
) -> None:
    """requests parses where a redirect points even where it follows none."""
    receiver.status, receiver.location = 302, "http://["
    watched.sandbox.faults.add(DEAD)
    dones = [run(watched) for _ in range(3)]
    assert [done.status for done in dones] == [1, 1, 1]
    assert all(done.last_line.startswith("Processed 20 sites") for done in dones)
    assert "Traceback" not in dones[-1].out + dones[-1].err
    assert "the webhook (ALERT_WEBHOOK_URL) was not told" in dones[-1].out


@pytest.mark.parametrize(
    "kept", ["null", "5", '"daily"', "[" * 100_000, '{"daily": [{"runs": {"a": Infinity}}]}']
)
def test_a_spoiled_memory_costs_nothing(kept: str, watched: Night, receiver: Receiver) -> None:
    memory = watched.program / ".state" / "alerts.json"
    memory.parent.mkdir()
    memory.write_text(kept)
    execute(
        watched.database_url,
        "insert into public.aggregator_runs (job, status, counts, failures) "
        "values ('daily', 'complete', '5', '5'), ('daily', 'complete', '\"alerts\"', '[[1], 2]')",
    )
    assert run(watched).status == 0
    assert watched.run("runs").status == 0
    assert watched.run("runs", "--failed").status == 0


@pytest.mark.parametrize("ending", ["?create=1", "/", "#part"])
def test_the_address_is_not_shown_however_it_is_spelled(
    ending: str, watched: Night, receiver: Receiver
) -> None:
    done = watched.run(
        "-v", *asking_for(final_days(watched.world)),
        HEALTHCHECK_URL=f"{receiver.url}{CHECK}{ending}",
    )  # fmt: skip
    assert done.status == 0
    assert "sentinel-check" not in done.out + done.err


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (404, b"", "HTTP 404, the address is no longer good"),
        (200, b"OK (not found)", "the address is no longer good"),
        (302, b"", "HTTP 302"),
        (500, b"", "HTTP 500"),
    ],
)
def test_a_stale_or_broken_target_is_a_warning(
    status: int, answer: bytes, said: str, watched: Night, receiver: Receiver
) -> None:
    receiver.status, receiver.answer = status, answer
    done = run(watched)
    assert done.status == 0
    assert done.last_line.startswith("Processed 20 sites")
    warnings = [line for line in done.out.splitlines() if "WARNING" in line]
    assert len(warnings) == 2, "start and success"
    assert all("health check (HEALTHCHECK_URL) was not told: 127.0.0.1" in w for w in warnings)
    assert all(said in w for w in warnings)
    for secret in (CHECK, HOOK, CHECK[6:], HOOK[10:]):
        assert secret not in done.out + done.err


def test_a_target_that_is_not_there_or_stalls_costs_seconds_and_no_number(
    watched: Night, receiver: Receiver
) -> None:
    receiver.seconds, receiver.slow = 30, "/start"
    done = run(watched, ALERT_WEBHOOK_URL="http://127.0.0.1:1/sentinel-hook-path")
    assert done.status == 0
    assert done.seconds < 11 + 10
    assert "no answer within 10 s" in done.out


def test_a_message_that_was_not_delivered_is_told_by_the_next_run(
    watched: Night, receiver: Receiver
) -> None:
    watched.sandbox.faults.add(DEAD)
    run(watched)
    run(watched)
    receiver.status = 503
    done = run(watched)
    assert "the webhook (ALERT_WEBHOOK_URL) was not told" in done.out
    assert len(receiver.messages()) == 1
    receiver.status = 200
    run(watched)
    assert len(receiver.messages()) == 1
    run(watched)
    assert receiver.messages() == []


def test_alerts_are_remembered_over_rest_as_well(night: Night, receiver: Receiver) -> None:
    with PostgrestServer(night.database_url) as postgrest:
        supabase = replace(night, environment=dict(night.environment))
        supabase.environment |= {
            "SUPABASE_URL": postgrest.url,
            "SUPABASE_SERVICE_KEY": postgrest.service_key,
            "DATABASE_URL": "",
            **receiver.environment(),
        }
        supabase.sandbox.faults.add(DEAD)
        said = []
        for _ in range(4):
            run(supabase)
            said.append(len(receiver.messages()))
    assert said == [0, 0, 1, 0]


def test_the_history_shows_nothing_of_the_alerts_that_are_kept_in_it(
    watched: Night, receiver: Receiver
) -> None:
    watched.sandbox.faults.add(DEAD)
    run(watched)
    shown = json.loads(watched.run("runs", "--json").out)
    assert "alerts" in watched.runs()[0][1]
    assert shown[0]["counts"].keys() == {"sites", "matomo", "gsc", "stored"}
