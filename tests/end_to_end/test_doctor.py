"""`aggregator.py doctor` as a program: what it says of a machine that is well, and of one not."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sandbox import Fault, World, seed
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import Night, asking_for, final_days
from tests.end_to_end.test_secrets import KEY, encrypt_tokens
from tests.end_to_end.test_supabase import over_rest
from tests.integration.tables import execute, rows
from tests.services.postgres import PostgresServer
from tests.services.postgrest import PostgrestServer

Report = dict[str, Any]
BAD = ("FAIL", "BLOCKED")


def doctor(night: Night, *words: str, status: int, **variables: str) -> list[Report]:
    """The findings of `doctor --json`, which must end with this exit status."""
    done = night.run("doctor", "--json", *words, **variables)
    assert done.status == status, done
    assert "Traceback" not in done.err, done
    report = json.loads(done.out)
    assert report["exit_status"] == status
    for finding in report["findings"]:
        assert finding["status"] in ("ok", "advice", *BAD)
        assert finding["message"]
        assert finding["mend"] or finding["status"] not in BAD, finding
    return list(report["findings"])


def problems(findings: list[Report]) -> list[Report]:
    return [finding for finding in findings if finding["status"] in BAD]


def said(findings: list[Report], *words: str) -> list[Report]:
    """The findings whose message and mend hold all these words."""
    return [f for f in findings if all(word in f"{f['message']} {f['mend']}" for word in words)]


def yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_a_machine_on_which_all_is_well_is_ready(kind: str, night: Night) -> None:
    encrypt_tokens(night, night.world.account_numbers)
    variables = {"ENCRYPTION_KEY": KEY, "HEALTHCHECK_URL": f"{night.sandbox.url}/ping"}
    with PostgrestServer(night.database_url) as postgrest:
        done = night.run("doctor", **variables | (over_rest(postgrest) if kind == "rest" else {}))
    assert (done.status, done.err) == (0, ""), done
    assert re.fullmatch(r"Ready: 0 problems, 0 advice, \d+ well\.", done.last_line), done
    for words in (
        "everything that a nightly run needs is set",
        "the health check (HEALTHCHECK_URL) can be reached",
        "answers, with 20 sites",
        "tables, columns, keys, rights and row level security are right",
        "this machine and Matomo agree on the time",
        "this machine and Google agree on the time",
        "this machine and the database agree on the time",
        "is Matomo 5.0.2 and accepts the token",
        "the token may view 20 sites",
        f"{yesterday()} is archived",
        "consent is alive, 7 properties, 7 of 7 sites covered",
        "no nightly run yet",
        "Supabase agree on the time" if kind == "rest" else "all migrations are applied",
    ):
        assert words in done.out, done
    assert {record.source for record in night.sandbox.requests()} == {"matomo", "token", "sites"}


def test_after_a_night_the_history_is_well_too(night: Night) -> None:
    assert night.run().status == 0
    assert said(doctor(night, status=0), "the last nightly run", ": complete")


def test_a_backfill_of_old_days_is_no_nightly_run(night: Night) -> None:
    assert night.run(*asking_for(final_days(night.world))).status == 0
    assert said(doctor(night, status=0), "no nightly run yet")


def test_every_site_has_its_chosen_property_with_the_reason(night: Night) -> None:
    execute(
        night.database_url, "update sites set gsc_property = %s where id = %s",
        night.world.property_of(3), seed.site_id(3),
    )  # fmt: skip
    findings = doctor(night, status=0)
    for site in night.world.site_numbers:
        of_site = [f for f in findings if f["sites"] == [seed.site_id(site)]]
        [choice] = [f for f in of_site if f["area"] == "google"]
        [visits] = [f for f in of_site if f["area"] == "matomo"]
        url = str(night.world.property_of(site))
        reason = "the account lists none that comes before it"
        if url.startswith("sc-domain:"):
            reason = "the domain property of the host comes first"
        if site == 3:
            reason = "named in sites.gsc_property"
        assert choice["message"] == f"{url} ({reason})"
        assert choice["account"] == seed.account_id(night.world.account_of(site))
        number = night.world.visits(site, yesterday())
        assert visits["message"] == f"Matomo site {site}, {number} visits on {yesterday()}"


BLOCKING = {
    "drop table aggregator_runs, daily_analytics cascade": "table daily_analytics is missing",
    "drop table daily_analytics, sites cascade": "table sites is missing",
    "drop table gsc_accounts cascade": "table gsc_accounts is missing",
    "alter table sites drop column matomo_site_id": "has no column matomo_site_id",
    "alter table daily_analytics drop column gsc_clicks": "has no column gsc_clicks",
    "alter table daily_analytics drop constraint daily_analytics_pkey": "no unique key on (date,",
    "update sites set status_deployment = 'draft'": "no sites",
}


@pytest.mark.parametrize("statement", BLOCKING)
@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_a_database_that_no_run_can_use_is_said_with_what_mends_it(
    kind: str, statement: str, night: Night
) -> None:
    execute(night.database_url, statement)
    with PostgrestServer(night.database_url) as postgrest:
        findings = doctor(night, status=2, **(over_rest(postgrest) if kind == "rest" else {}))
    assert said(problems(findings), BLOCKING[statement]), findings
    if "drop" in statement:
        assert said(problems(findings), BLOCKING[statement], "aggregator.py migrate")
    # What can be looked at without it is.
    assert said(findings, "is Matomo 5.0.2")
    assert said(findings, "this machine and Matomo agree")


WEAK = {
    "alter table daily_analytics disable row level security": "no row level security",
    "alter table gsc_accounts disable row level security": "no row level security",
    "drop trigger daily_analytics_updated_at on daily_analytics": "no trigger",
    "alter table daily_analytics disable trigger all": "no trigger",
    "create policy mine on gsc_accounts for select using (true)": "policies (mine)",
    "alter table sites drop column gsc_property": "has no column gsc_property",
    "drop table aggregator_runs": "table aggregator_runs is missing",
    "drop function aggregator_schema": "20261121000200_trust.sql",
}


@pytest.mark.parametrize("statement", WEAK)
def test_a_database_that_works_and_could_be_better_gets_advice(
    statement: str, night: Night
) -> None:
    execute(night.database_url, statement)
    findings = doctor(night, status=0)
    [advice] = said([f for f in findings if f["status"] == "advice"], WEAK[statement])
    assert advice["area"] == "database"


def test_behind_rest_a_table_without_row_level_security_is_a_problem(night: Night) -> None:
    execute(night.database_url, "alter table gsc_accounts disable row level security")
    with PostgrestServer(night.database_url) as postgrest:
        findings = doctor(night, status=1, **over_rest(postgrest))
    [problem] = problems(findings)
    assert "gsc_accounts has no row level security" in problem["message"]


def test_the_row_cap_of_rest_is_seen(start_night: StartNight) -> None:
    night = start_night(World(sites=300, accounts=3))
    assert night.run(*asking_for(final_days(night.world, 4))).status == 0
    with PostgrestServer(night.database_url, max_rows=1000) as postgrest:
        findings = doctor(night, status=0, **over_rest(postgrest))
    assert said(findings, "REST cuts answers at 1,000 rows")


ADDRESSES: dict[str, tuple[Callable[[PostgresServer], str], str]] = {
    "down": (lambda _: "postgresql://me:sentinel-word@127.0.0.1:1/db", "see whether the database"),
    "wrong password": (
        lambda server: re.sub("postgres:[^@]+@", "postgres:sentinel-word@", server.url(tcp=True)),
        "correct user, password",
    ),
    "no such database": (lambda server: server.url("nowhere"), "correct user, password"),
    "another's tables": (lambda server: server.url("postgres"), "aggregator.py migrate"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_database_that_cannot_be_used_leaves_the_rest_to_be_looked_at(
    address: str, postgres: PostgresServer, night: Night
) -> None:
    make, mend = ADDRESSES[address]
    findings = doctor(night, status=2, DATABASE_URL=make(postgres))
    assert said(problems(findings), mend), findings
    assert said(findings, "is Matomo 5.0.2")
    assert "sentinel-word" not in json.dumps(findings)


@pytest.mark.parametrize("key", ["anon", "mistyped"])
def test_a_wrong_key_is_named(key: str, night: Night) -> None:
    with PostgrestServer(night.database_url) as postgrest:
        keys = {"anon": postgrest.anon_key, "mistyped": "sb_secret_mistyped"}
        findings = doctor(night, status=2, **over_rest(postgrest, keys[key]))
    text = json.dumps(problems(findings))
    assert "service key" in text
    assert keys[key] not in json.dumps(findings)


def test_all_problems_of_the_settings_are_said_and_the_rest_is_looked_at(night: Night) -> None:
    findings = doctor(
        night, status=2, GOOGLE_CLIENT_SECRET="", LOOKBACK_DAYS="many", TIMEZONE="Mars/Olympus"
    )
    of_settings = [f["message"] for f in problems(findings) if f["area"] == "settings"]
    assert len(of_settings) == len(problems(findings)) == 3
    for name in ("GOOGLE_CLIENT_SECRET", "LOOKBACK_DAYS", "TIMEZONE"):
        assert any(name in message for message in of_settings)
    assert said(findings, "answers, with 20 sites")
    assert said(findings, "the token may view 20 sites")
    assert not any(record.source == "sites" for record in night.sandbox.requests())


@pytest.mark.parametrize(
    "variables",
    [
        {"SUPABASE_URL": "http://127.0.0.1:1"},  # its key is missing
        {"SUPABASE_URL": "what is that"},
    ],
    ids=["without its key", "no address"],
)
def test_a_half_named_project_is_a_problem_and_the_other_database_is_looked_at(
    variables: dict[str, str], night: Night
) -> None:
    findings = doctor(night, status=2, **variables)
    assert "SUPABASE" in problems(findings)[0]["message"]
    assert said(findings, "answers, with 20 sites")


@pytest.mark.parametrize("key", ["", "sb_secret_word"])
def test_without_any_database_nothing_is_connected_to_and_matomo_is_looked_at(
    key: str, night: Night
) -> None:
    findings = doctor(night, status=2, DATABASE_URL="", SUPABASE_SERVICE_KEY=key)
    [problem] = problems(findings)
    assert "which database?" in problem["message"]
    assert said(findings, "is Matomo 5.0.2")


def test_nothing_set_at_all_is_every_problem_at_once(night: Night) -> None:
    night.environment = {"PATH": os.defpath}
    findings = doctor(night, status=2)
    names = ("DATABASE_URL", "MATOMO_API_URL", "MATOMO_API_TOKEN", "GOOGLE_CLIENT_ID")
    for name in (*names, "GOOGLE_CLIENT_SECRET"):
        assert said(problems(findings), name)


def test_what_fails_at_the_sources_is_named_by_site_and_account(start_night: StartNight) -> None:
    world = World(
        sites=20, accounts=4, matomo_hidden=frozenset({17}), parent_only=frozenset({5}),
        no_property=frozenset({9}), unverified=frozenset({13}),
    )  # fmt: skip
    night = start_night(world)
    night.sandbox.faults.add(Fault("token", "invalid_grant", account=2))
    execute(
        night.database_url, "update gsc_accounts set oauth_refresh_token = '' where id = %s",
        seed.account_id(3),
    )  # fmt: skip
    findings = problems(doctor(night, status=1))
    sites = {
        "may not view this site": [17],
        "holds the parent domain's numbers": [5],
        "no Search Console property of this site": [9],
        "not verified for": [13],
        "give consent again": [s for s in world.site_numbers if world.account_of(s) == 2],
        "has no refresh token": [s for s in world.site_numbers if world.account_of(s) == 3],
    }
    for words, numbers in sites.items():
        [problem] = said(findings, words)
        assert set(problem["sites"]) == {seed.site_id(number) for number in numbers}
    assert len(findings) == len(sites)


def test_a_key_that_does_not_read_the_tokens_is_named(night: Night) -> None:
    encrypt_tokens(night, night.world.account_numbers)
    without = problems(doctor(night, status=1))
    assert said(without, "ENCRYPTION_KEY is not set")
    other = problems(doctor(night, status=1, ENCRYPTION_KEY=KEY.replace("c2V", "b2V")))
    assert len(said(other, "cannot be decrypted", "comma list")) == 3


def test_a_wrong_matomo_token_is_asked_once(night: Night) -> None:
    findings = doctor(night, status=1, MATOMO_API_TOKEN="mistyped-token")
    [problem] = problems(findings)
    assert "MATOMO_API_TOKEN" in problem["mend"]
    assert sum(record.source == "matomo" for record in night.sandbox.requests()) == 1


def test_a_yesterday_that_matomo_has_not_archived_is_a_problem(night: Night) -> None:
    days = [yesterday() - timedelta(days=n) for n in range(7, 0, -1)]
    assert night.run("--source", "matomo", *asking_for(days[:-1])).status == 0
    night.sandbox.faults.add(Fault("matomo", "unarchived", days=(yesterday(),)))
    [problem] = problems(doctor(night, status=1))
    assert "core:archive" in problem["mend"]
    assert str(yesterday()) in problem["message"]


def test_a_single_silent_site_is_advice(night: Night) -> None:
    days = [yesterday() - timedelta(days=n) for n in range(7, 0, -1)]
    execute(
        night.database_url,
        "insert into daily_analytics (date, site_id, matomo_visits) "
        "select day, id, 5 from sites, unnest(%s::date[]) day",
        days,
    )
    night.sandbox.set_number("visits", 4, yesterday(), 0)
    for site in night.world.site_numbers:
        if site != 4:
            night.sandbox.set_number("visits", site, yesterday(), 3)
    [advice] = said(doctor(night, status=0), "after a week with visits on every day")
    assert (advice["status"], advice["sites"]) == ("advice", [seed.site_id(4)])
    # The one site alone says nothing of the day as a whole.
    findings = doctor(night, "--site", seed.site_id(4), status=0)
    assert said(findings, "after a week with visits on every day")


@pytest.mark.parametrize(("ahead", "status"), [(0, 0), (60, 0), (-60, 0), (600, 1), (-3600, 1)])
def test_a_clock_that_goes_wrong_is_told_from_the_servers(
    ahead: int, status: int, night: Night
) -> None:
    night.sandbox.set_clock(ahead)
    findings = [f for f in doctor(night, status=status) if f["area"] == "clock"]
    expected = "ok" if not ahead else "advice" if abs(ahead) <= 300 else "FAIL"
    of_sources = [f for f in findings if "the database" not in f["message"]]
    assert [f["status"] for f in of_sources] == [expected, expected]
    assert all(f["status"] == "ok" for f in findings if "the database" in f["message"])
    if ahead:
        assert all(("behind" in f["message"]) == (ahead > 0) for f in of_sources)


def test_one_site_is_explained_end_to_end(night: Night) -> None:
    days = final_days(night.world, 2)
    site = seed.site_id(4)
    done = night.run("doctor", "--site", site)
    assert done.status == 0, done
    assert night.world.domain(4) in done.out
    assert f"Matomo site 4, account {seed.account_id(1)}" in done.out
    assert str(night.world.property_of(4)) in done.out
    assert done.out.count("visits unknown") == 10
    assert "no run has asked for it: aggregator.py --date" in done.out
    assert days
    asked = [record for record in night.sandbox.requests() if record.sites]
    assert {record.sites for record in asked} == {(4,)}
    assert not any(night.world.domain(n) in done.out for n in night.world.site_numbers if n != 4)


def test_the_reason_of_an_unknown_number_is_the_last_runs(night: Night) -> None:
    night.sandbox.faults.add(
        Fault("query", "forbidden", site=4), Fault("matomo", "null_cell", site=5)
    )
    assert night.run().status == 1
    night.sandbox.faults.clear()
    clicks = [f for f in doctor(night, "--site", seed.site_id(4), status=0) if f["area"] == "site"]
    visits = [f for f in doctor(night, "--site", seed.site_id(5), status=0) if f["area"] == "site"]
    assert len(clicks) == len(visits) == 11
    assert all("(run of " in str(f["mend"]) for f in (*clicks[-4:], *visits[-4:]))
    assert all("visits unknown" not in f["message"] for f in clicks[-4:])


@pytest.mark.parametrize("status", ["draft", None])
def test_a_site_that_is_not_there_or_not_deployed_is_said(status: str | None, night: Night) -> None:
    site = "nobody"
    if status is not None:
        site = seed.site_id(2)
        execute(
            night.database_url, "update sites set status_deployment = %s where id = %s",
            status, site,
        )  # fmt: skip
    [problem] = problems(doctor(night, "--site", site, status=2))
    assert f"no deployed site has the id or domain {site}" in problem["message"]
    assert night.sandbox.requests() == []


def test_a_site_in_trouble_is_explained_with_its_trouble(start_night: StartNight) -> None:
    night = start_night(
        World(sites=9, accounts=3, matomo_hidden=frozenset({2}), no_property=frozenset({2}))
    )
    findings = doctor(night, "--site", seed.site_id(2), status=1)
    assert len(problems(findings)) == 2
    assert {tuple(f["sites"]) for f in problems(findings)} == {(seed.site_id(2),)}
    assert doctor(night, "--site", seed.site_id(1), status=0)


def test_on_a_terminal_it_is_a_coloured_table_that_obeys_nobody(night: Night) -> None:
    execute(
        night.database_url,
        "update sites set domain = E'\\x1b]0;mine\\x07[red]evil[/red]\\u009b2J.example' "
        "where matomo_site_id = 3",
    )
    shown = on_a_terminal(night, "doctor")
    colours = set(re.findall(r"\x1b\[[0-9;]*m", shown))
    assert {"\x1b[32m", "\x1b[31m"} <= colours
    left = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not set("\x1b\x07\x9b") & set(left)
    assert "what was found, and what mends it" in left
    assert "[red]evil[/red]" in left
    assert "Some numbers will be missing: 1 problem" in left


def on_a_terminal(night: Night, *words: str) -> str:
    """What the program writes when its standard output is a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, night.program / "aggregator.py", *words],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        cwd="/",
        env=night.environment | {"TERM": "xterm-256color", "COLUMNS": "160"},
    ) as process:
        os.close(slave)
        parts = []
        while part := read_terminal(master):
            parts.append(part)
        process.wait(timeout=30)
    os.close(master)
    return b"".join(parts).decode()


def read_terminal(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # the other end is closed: so ends a terminal
        return b""


def test_users_tables_without_any_migration_are_told_what_is_missing(
    postgres: PostgresServer, night: Night
) -> None:
    url = postgres.create_database("nothing_of_ours")
    findings = problems(doctor(night, status=2, DATABASE_URL=url))
    for table in ("sites", "gsc_accounts", "daily_analytics"):
        assert said(findings, f"table {table} is missing", "aggregator.py migrate")
    assert rows(
        url, "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
    ) == [(0,)]
    postgres.drop_database("nothing_of_ours")
