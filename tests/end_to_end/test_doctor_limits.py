"""Doctor changes nothing, asks little, ends in time and shows no secret, whatever answers it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import Fault, World, seed
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import Night, asking_for, copy_program, final_days
from tests.end_to_end.test_doctor import doctor, problems, said, yesterday
from tests.end_to_end.test_interruption import SIGNALS, stop, wait_until
from tests.end_to_end.test_secrets import KEY, check_nothing_leaks, encrypt_tokens
from tests.end_to_end.test_supabase import over_rest
from tests.integration.tables import execute, rows
from tests.services.gateway import Answer, Request
from tests.services.gateway import Fault as GatewayFault
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer

STYLES = [["-v"], ["-v", "--json"]]


def everything(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that is not Postgres's own, with the transaction that wrote it."""
    tables = rows(
        url,
        "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables "
        "where schemaname not in ('pg_catalog', 'information_schema')",
    )
    found = {
        table: rows(url, f"select t.xmin::text, t.ctid::text, t::text from {table} t order by 2")
        for (table,) in tables
    }
    catalogue = "select relname, relkind, xmin::text, relacl::text from pg_class"
    found["the catalogue"] = rows(url, f"{catalogue} where oid >= 16384 order by oid")
    found["sequences"] = rows(url, "select sequencename, last_value from pg_sequences order by 1")
    return found


@pytest.mark.parametrize("words", [[], ["--site", seed.site_id(3)]], ids=["all", "one site"])
@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_nothing_in_the_database_changes(kind: str, words: list[str], night: Night) -> None:
    night.sandbox.faults.add(Fault("query", "forbidden", site=3))
    assert night.run(*asking_for(final_days(night.world))).status == 1
    with PostgrestServer(night.database_url) as postgrest:
        before = everything(night.database_url)
        assert len(before["public.daily_analytics"]) == 60
        done = night.run("doctor", *words, **(over_rest(postgrest) if kind == "rest" else {}))
        assert done.status == 0, done
        assert everything(night.database_url) == before
        asked = {(r.method, r.path) for r in postgrest.proxy.requests if r.method != "GET"}
    assert asked <= {("POST", "/rest/v1/rpc/aggregator_schema")}


def test_a_database_that_only_reads_can_be_looked_at_and_no_run_can_store(night: Night) -> None:
    [(name,)] = rows(night.database_url, "select current_database()")
    only_reads = f'alter database "{name}" set default_transaction_read_only = on'
    execute(night.database_url, only_reads)
    findings = doctor(night, status=2)
    [blocked] = [finding for finding in findings if finding["status"] == "BLOCKED"]
    assert blocked["message"] == "the database only reads"
    assert said(findings, "the token may view 20 sites"), "all the rest is looked at"


def test_a_role_that_may_only_read_can_look_and_no_run_can_store(
    postgres: PostgresServer, night: Night
) -> None:
    execute(
        night.database_url,
        "do $$ begin if to_regrole('watcher') is null then create role watcher login bypassrls "
        "in role pg_read_all_data; end if; end $$; "
        "grant execute on function aggregator_schema to watcher",
    )
    watching = night.database_url.replace("postgres@", "watcher@")
    findings = doctor(night, status=2, DATABASE_URL=watching)
    [blocked] = [finding for finding in findings if finding["status"] == "BLOCKED"]
    assert blocked["message"] == "table daily_analytics may be read and not written"
    execute(night.database_url, "revoke execute on function aggregator_schema from watcher")
    [advice] = said(doctor(night, status=0, DATABASE_URL=watching), "were not looked at")
    assert advice["status"] == "advice"


def test_the_programs_folder_stays_as_it_is(night: Night) -> None:
    def listing() -> set[tuple[str, float]]:
        found = (path for path in night.program.rglob("*") if "__pycache__" not in path.parts)
        return {(str(path), path.stat().st_mtime) for path in found if path.is_file()}

    before = listing()
    doctor(night, status=0)
    assert listing() == before


@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_200_sites_of_5_accounts_are_seen_with_few_requests_in_under_ten_seconds(
    kind: str, start_night: StartNight
) -> None:
    night = start_night(World(sites=200, accounts=5))
    night.sandbox.latency_seconds = 0.1
    with PostgrestServer(night.database_url) as postgrest:
        postgrest.proxy.faults.append(GatewayFault("drop", when=late, times=None))
        done = night.run("doctor", **(over_rest(postgrest) if kind == "rest" else {}))
        asked_of_rest = len(postgrest.proxy.requests)
    assert done.status == 0, done
    asked = Counter(record.source for record in night.sandbox.requests())
    # Version, viewable sites, 4 times 50 sites; a token and a list for each account, and a clock.
    assert asked == {"matomo": 6, "token": 6, "sites": 5}
    print(f"doctor of 200 sites over {kind}: {done.seconds:.1f} s, {asked_of_rest} of REST")
    assert asked_of_rest <= 20
    assert done.seconds < 10


def late(_: Request) -> bool:
    """For a gateway that is as far away as the others."""
    time.sleep(0.1)
    return False


def test_2000_sites_are_seen_over_rest(start_night: StartNight) -> None:
    night = start_night(World(sites=2000, accounts=40))
    execute(  # half of the sites are silent: their ids together are no address any more
        night.database_url,
        "insert into daily_analytics (date, site_id, matomo_visits) "
        "select current_date - n, id, 3 from sites, generate_series(1, 8) n",
    )
    for site in range(1, 1001):
        night.sandbox.set_number("visits", site, yesterday(), 0)
    with PostgrestServer(night.database_url) as postgrest:
        findings = doctor(night, status=0, **over_rest(postgrest))
        longest = max(len(request.query) for request in postgrest.proxy.requests)
    assert said(findings, "answers, with 2000 sites")
    [silent] = said(findings, "after a week with visits on every day")
    assert len(silent["sites"]) >= 1000
    assert longest < 4000


@pytest.mark.parametrize("style", STYLES, ids=" ".join)
def test_no_secret_is_shown_whatever_fails(style: list[str], start_night: StartNight) -> None:
    night = start_night(World(sites=12, accounts=6))
    encrypt_tokens(night, [1, 2, 3])
    kinds = ["invalid_grant", "redirect", "html_200", "invalid_client", "drop"]
    night.sandbox.faults.add(*(Fault("token", k, account=n) for n, k in enumerate(kinds, start=1)))
    night.sandbox.faults.add(Fault("matomo", "redirect"))
    password = "sentinel/with+odd=characters"
    dones = [
        night.run("doctor", *style, ENCRYPTION_KEY=KEY),
        night.run("doctor", *style, MATOMO_API_TOKEN=password, GOOGLE_CLIENT_SECRET=password),
        night.run("doctor", *style, ENCRYPTION_KEY=KEY.replace("c2V", "b2V")),
        night.run("doctor", *style, MATOMO_API_TOKEN=f"{password} and words"),
        night.run("doctor", *style, DATABASE_URL="postgresql://me:sentinel-word@127.0.0.1:1/db"),
        night.run("doctor", *style, HEALTHCHECK_URL="https://hc.example/sentinel-of-the-address"),
    ]
    assert [done.status for done in dones] == [1, 1, 1, 2, 2, 1], dones
    check_nothing_leaks(night, dones, password, "sentinel-word", "sentinel-of-the-address")


@pytest.mark.parametrize("style", STYLES, ids=" ".join)
def test_no_supabase_key_is_shown_whatever_fails(style: list[str], night: Night) -> None:
    with PostgrestServer(night.database_url) as postgrest:
        keys = (postgrest.secret_key, postgrest.anon_key, "sb_secret_sentinel-word")
        dones = [night.run("doctor", *style, **over_rest(postgrest, key)) for key in keys]
        for action in (Answer(500, "<html>no</html>"), Answer(200, "<html>yes</html>"), "cut"):
            postgrest.proxy.faults[:] = [GatewayFault(action, times=None)]
            dones.append(night.run("doctor", *style, **over_rest(postgrest)))
        check_nothing_leaks(night, dones, *keys, postgrest.service_key)
    assert [done.status for done in dones] == [0, 2, 2, 2, 2, 2], dones
    assert not any("Traceback" in done.out + done.err for done in dones)


def test_json_is_json_on_standard_output_however_loud(night: Night) -> None:
    done = night.run("doctor", "--json", "-v", MATOMO_API_URL="http://localhost.example:1/m")
    assert json.loads(done.out)["exit_status"] == 1
    assert "DEBUG" in done.err
    lines = night.run("doctor", "-v", "--log-format", "json").out.splitlines()
    assert json.loads(lines[-1])["exit_status"] == 0
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_the_words_of_a_report_stay_though_a_password_is_one_of_them(night: Night) -> None:
    url = night.database_url.replace("postgres@/", "postgres:matomo@/")
    findings = doctor(night, status=0, DATABASE_URL=url)
    assert {f["area"] for f in findings} >= {"matomo", "google"}
    url = night.database_url.replace("postgres@/", "postgres:sites@/")
    assert all("sites" in f for f in doctor(night, status=0, DATABASE_URL=url))


def test_a_reader_that_hangs_up_is_no_error(night: Night) -> None:
    with night.started("doctor") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=30)
        assert process.stderr is not None
        err = process.stderr.read()
        process.stdout = None
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(("signum", "status"), SIGNALS)
@pytest.mark.parametrize("source", ["matomo", "token", "sites"])
def test_a_signal_ends_it_at_once(
    source: str, signum: signal.Signals, status: int, night: Night
) -> None:
    night.sandbox.faults.add(Fault(source, "stall"))  # type: ignore[arg-type]
    with night.started("doctor", "--json") as process:
        wait_until(lambda: any(r.source == source for r in night.sandbox.requests()))
        returned, out, err = stop(process, signum)
    assert (returned, err) == (status, "")
    assert said(json.loads(out)["findings"], "stopped by " + signum.name)


@contextmanager
def deaf_server() -> Iterator[tuple[int, threading.Event]]:
    """A port that takes every connection and never says a word; and whether one has come."""
    connected = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connections.append(listener.accept()[0])
                    connected.set()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], connected
        listener.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_a_signal_does_not_wait_for_a_database_that_says_nothing(kind: str, night: Night) -> None:
    with deaf_server() as (port, connected):
        variables = {"DATABASE_URL": f"postgresql://me:word@127.0.0.1:{port}/db"}
        if kind == "rest":
            variables = {"SUPABASE_URL": f"http://127.0.0.1:{port}", "DATABASE_URL": ""}
            variables["SUPABASE_SERVICE_KEY"] = "sb_secret_word"
        with night.started("doctor", **variables) as process:
            assert connected.wait(20)
            returned, out, err = stop(process, signal.SIGINT)
    assert (returned, err) == (130, ""), out
    assert "stopped by SIGINT" in out


def test_a_project_that_says_nothing_is_given_up_and_matomo_is_looked_at(night: Night) -> None:
    with deaf_server() as (port, _):
        variables = {"SUPABASE_URL": f"http://127.0.0.1:{port}", "DATABASE_URL": ""}
        done = night.run(
            "doctor", **variables, SUPABASE_SERVICE_KEY="sb_secret_word", HTTP_TIMEOUT="1"
        )
    assert done.status == 2, done
    assert "is Matomo 5.0.2" in done.out
    assert done.seconds < 8


def test_a_check_with_a_bug_costs_the_others_nothing(night: Night, tmp_path: Path) -> None:
    night.program = copy_program(tmp_path / "program")
    with (night.program / "jobs" / "doctor_clocks.py").open("a") as source:
        source.write("\n\ndef clock_finding(*_):\n    raise RuntimeError('sandbox-matomo-token')\n")
    done = night.run("doctor", "--json")
    assert done.status == 1, done
    findings = json.loads(done.out)["findings"]
    assert [f["area"] for f in problems(findings)] == ["doctor", "doctor"]
    assert said(findings, "consent is alive")
    assert "Traceback" in done.err
    assert "sandbox-matomo-token" not in done.out + done.err


def test_help_names_the_command_and_its_example(night: Night) -> None:
    done = subprocess.run(
        [sys.executable, night.program / "aggregator.py", "doctor", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "aggregator.py doctor --site" in done.stdout
