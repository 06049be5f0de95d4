"""No secret in anything that is printed or stored as history, whatever goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from cryptography.fernet import Fernet

from sandbox import Fault, Sandbox, SocialWorld, World, seed
from sandbox.faults import KINDS, SOURCE_KINDS
from sandbox.messages import Source
from sandbox.social_world import LINKEDIN_CLIENT_SECRET, PLATFORMS
from sandbox.world import CLIENT_SECRET, MATOMO_TOKEN, REFRESH_TOKEN_PREFIX
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.event_runs import UNCOUNTABLE
from tests.end_to_end.event_runs import fill as fill_events
from tests.end_to_end.night import Finished, Night, asking_for, copy_program, final_days
from tests.end_to_end.social_runs import KEY as SOCIAL_KEY
from tests.end_to_end.social_runs import fill as fill_social
from tests.end_to_end.test_each_fault import QUICK, SECONDS, fault, kinds
from tests.integration.tables import execute, rows
from tests.services.gateway import Answer
from tests.services.gateway import Fault as GatewayFault
from tests.services.postgres import PostgresServer
from tests.services.postgres_proxy import PostgresProxy
from tests.services.postgrest import PostgrestServer
from tests.services.receiver import Receiver

ACCESS_TOKENS = "sandbox-access-token-"
KEY = "c2VudGluZWwtZmVybmV0LWtleS1zZW50aW5lbC1rZXk="
REFUSALS = {"token_refused", "login_blocked"}
"""After one of these nothing more is asked."""
STYLES = [["-v"], ["--log-format", "json", "-v"]]


def of_the_sandbox(night: Night) -> set[str]:
    """Every secret that these runs know: settings, stored tokens, and those they were given."""
    stored = rows(night.database_url, "select oauth_refresh_token from public.gsc_accounts")
    tokens = {night.world.refresh_token(account) for account in night.world.account_numbers}
    known = {MATOMO_TOKEN, CLIENT_SECRET, REFRESH_TOKEN_PREFIX, ACCESS_TOKENS, KEY}
    return known | tokens | {token for (token,) in stored}


def check_nothing_leaks(night: Night, dones: Iterable[Finished], *secrets: str) -> None:
    history = rows(night.database_url, "select aggregator_runs::text from aggregator_runs")
    printed = "\n".join([str(history), *(f"{done.out}\n{done.err}" for done in dones)])
    for secret in {*of_the_sandbox(night), *secrets}:
        for spelling in {
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
        }:
            assert spelling not in printed, around(spelling, printed)


def around(secret: str, text: str) -> str:
    place = text.index(secret)
    return text[max(0, place - 300) : place + 100]


def encrypt_tokens(night: Night, accounts: Iterable[int]) -> None:
    for account in accounts:
        token = Fernet(KEY).encrypt(night.world.refresh_token(account).encode()).decode()
        execute(
            night.database_url,
            "update public.gsc_accounts set oauth_refresh_token = %s where id = %s",
            token, seed.account_id(account),
        )  # fmt: skip


@pytest.mark.parametrize("style", STYLES, ids=" ".join)
def test_no_fault_of_a_source_shows_a_secret(style: list[str], start_night: StartNight) -> None:
    """All faults of all sources in one run: by site at Matomo and properties, else by account."""
    by_account: tuple[Source, ...] = ("token", "sites")
    accounts = [(source, kind) for source in by_account for kind in kinds(source) if kind != "drip"]
    world = World(sites=2 * len(accounts) + 60, accounts=len(accounts) + 10)
    good = [s for s in world.site_numbers if world.account_of(s) > len(accounts)]
    faults = [fault(source, kind, account=n) for n, (source, kind) in enumerate(accounts, start=1)]
    faults += [
        fault("query", kind, site=site)
        for site, kind in zip(good, kinds("query"), strict=False)
        if kind != "drip"
    ]
    faults += [
        fault("matomo", kind, site=site) for site, kind in enumerate(kinds("matomo"), start=1)
    ]
    night = start_night(world)
    encrypt_tokens(night, list(world.account_numbers)[::2])
    night.sandbox.faults.add(*faults)
    done = night.run(
        *style, "--date", str(final_days(world)[0]),
        ENCRYPTION_KEY=KEY, MATOMO_SITES_PER_REQUEST="1", **(QUICK | {"RUN_DEADLINE": "12"}),
    )  # fmt: skip
    assert done.status == 1, done
    assert len(night.runs()[0][2]) > 40
    check_nothing_leaks(night, [done])


def test_no_fault_of_the_visit_log_shows_a_secret(start_night: StartNight) -> None:
    """All its faults in one run, each at a site of its own."""
    faults = [
        Fault("visits", kind, site=site, visits=2, seconds=SECONDS.get(kind))
        for site, kind in enumerate(sorted(KINDS["visits"] - REFUSALS), start=1)
    ]
    night = start_night(World(sites=len(faults) + 2, accounts=1, visits_per_day=3))
    night.sandbox.faults.add(*faults)
    day = str(final_days(night.world)[0])
    asked = ("visits", "-v", "--from", day, "--to", day)
    dones = [
        night.run(*asked, **(QUICK | {"RUN_DEADLINE": "12"})),
        night.run(*asked, MATOMO_API_TOKEN="sentinel/with+odd=characters%"),
        night.run(*asked, SUPABASE_URL="https://p.supabase.example", DATABASE_URL=""),
    ]
    assert [done.status for done in dones][:2] == [1, 1], dones
    check_nothing_leaks(night, dones, "sentinel/with+odd=characters%")


def test_no_run_of_the_hourly_rollup_shows_a_secret(postgres: PostgresServer, night: Night) -> None:
    """Counted, checked, cut off, refused by the server and by the database."""
    direct = postgres.url(urlsplit(night.database_url).path.removeprefix("/"), tcp=True)
    password = urlsplit(direct).password or ""
    assert len(password) > 10
    wrong = direct.replace(password, "sentinel-word")
    fill_events(night.database_url, "yesterday", "12 hours", 120)
    with PostgresProxy(direct) as proxy, Receiver() as receiver:
        night.environment |= {"HTTP_ATTEMPTS": "1", **receiver.environment()}
        dones = [night.run("hourly", *STYLES[0], DATABASE_URL=direct)]
        proxy.at(1, "before")
        dones.append(night.run("hourly", "--all", *STYLES[1], DATABASE_URL=proxy.url))
        dones.append(night.run("hourly", "--check", *STYLES[1], DATABASE_URL=wrong))
        execute(night.database_url, UNCOUNTABLE)
        dones.append(night.run("hourly", *STYLES[1], DATABASE_URL=direct))
        dones.append(night.run("hourly", "--check", *STYLES[0], DATABASE_URL=direct))
        dones.append(
            night.run("hourly", SUPABASE_URL="https://p.supabase.example", DATABASE_URL="")
        )
        told = Finished(0, "\n".join(body for _, _, body in receiver.got), "", 0.0)
    assert [done.status for done in dones] == [0, 2, 2, 1, 1, 2], dones
    assert "FAILED" in told.out
    targets = (url[30:] for url in receiver.environment().values())
    check_nothing_leaks(night, [*dones, told], password, "sentinel-word", *targets)


def test_no_refused_secret_is_shown(night: Night) -> None:
    other_key = Fernet.generate_key().decode()
    encrypt_tokens(night, [1])
    asked = [*asking_for(final_days(night.world)), "-v"]
    secret = "sentinel/with+odd=characters%"
    dones = [
        night.run(*asked, MATOMO_API_TOKEN=secret),
        night.run(*asked, GOOGLE_CLIENT_SECRET=secret),
        night.run(*asked, ENCRYPTION_KEY=other_key),
        night.run(*asked, ENCRYPTION_KEY=f"{other_key}, {KEY}"),
        night.run(*asked, MATOMO_API_TOKEN=f"{secret} two words"),
        night.run(*asked, ENCRYPTION_KEY=KEY[:-4]),
    ]
    assert [done.status for done in dones] == [1, 1, 1, 0, 2, 2], dones
    check_nothing_leaks(night, dones, secret, other_key)


def test_no_fault_of_a_whole_source_shows_a_secret(night: Night) -> None:
    groups = [
        [Fault("matomo", "login_blocked"), Fault("token", "invalid_client")],
        [Fault("matomo", "redirect"), Fault("query", "redirect")],
        [Fault("matomo", "drop"), Fault("sites", "redirect")],
        [Fault("matomo", "unarchived"), Fault("token", "redirect")],
    ]
    dones = []
    for faults in groups:
        night.sandbox.reset()
        night.sandbox.faults.add(*faults)
        dones.append(night.run(*asking_for(final_days(night.world)), "-v"))
    assert [done.status for done in dones] == [1] * len(groups), dones
    check_nothing_leaks(night, dones)


SOCIAL_TOKENS = ("sandbox-social-", "sandbox-page-token-", "gAAAAA", LINKEDIN_CLIENT_SECRET)
HELD_UP = {"graph_4", "graph_341", "graph_613", "http_429", "linkedin_429", "usage_app", "drip"}
"""They would keep everybody else of the platform from being asked."""


@pytest.mark.parametrize("half", [0, 1])
def test_no_fault_of_a_social_platform_shows_a_secret(
    half: int, program: Path, migrated_url: str
) -> None:
    """Half of the kinds in each of two runs, every token due; then doctor, history and alerts."""
    faulty: dict[int, tuple[Source, str]] = {}
    for at, source in enumerate(PLATFORMS, start=1):
        found = sorted(SOURCE_KINDS[source] - HELD_UP)[half::2]
        faulty |= {4 * place + at: (source, kind) for place, kind in enumerate(found)}
    social = SocialWorld(users=200, connections=max(faulty) + 4)
    fill_social(migrated_url, social)
    execute(
        migrated_url, "update platform_connections set token_expires_at = now() + '6 days' "
        "where platform <> 'youtube'",
    )  # fmt: skip
    with Sandbox(World(sites=1, accounts=1), social=social) as sandbox, Receiver() as receiver:
        environment = {
            "PATH": "/usr/bin", "DATABASE_URL": migrated_url, "ENCRYPTION_KEY": SOCIAL_KEY,
            "HTTP_ATTEMPTS": "1", **sandbox.environment(), **receiver.environment(),
        }  # fmt: skip
        night = Night(program, sandbox, migrated_url, environment)
        sandbox.faults.add(
            *(
                Fault(source, kind, account=n, seconds=SECONDS.get(kind))
                for n, (source, kind) in faulty.items()
            )
        )
        variables = QUICK | {"RUN_DEADLINE": "15", "CONCURRENCY": "64"}
        dones = [night.run("social", *STYLES[half], **variables)]
        failures = night.runs()[0][2]
        dones.append(night.run("doctor", *STYLES[half], **QUICK, CONCURRENCY="64"))
        dones.append(night.run("runs", "--json", *STYLES[half]))
        sandbox.faults.clear()
        dones.append(night.run("social", "--dry-run", *STYLES[half], **variables))
        told = "\n".join(body for _, _, body in receiver.got)
        assert sandbox.social.leaks == []
    assert [done.status for done in dones] == [1, 1, 0, 1], dones
    assert len(failures) > 20
    assert "renewed" in dones[0].out
    assert "social" in told
    assert "Traceback" not in "".join(done.out + done.err for done in dones)
    stored = rows(migrated_url, "select access_token_encrypted from platform_connections")
    assert all(text.startswith("gAAAAA") for (text,) in stored)
    told_run = Finished(0, told, "", 0.0)
    check_nothing_leaks(night, [*dones, told_run], *SOCIAL_TOKENS, SOCIAL_KEY)
    query = "select t::text from analytics_snapshots t where t::text ~ %s limit 1"
    assert rows(migrated_url, query, "|".join(SOCIAL_TOKENS)) == []
    marks = "select metadata::text from platform_connections where metadata::text ~ %s"
    assert rows(migrated_url, marks, "|".join(SOCIAL_TOKENS)) == []


@pytest.mark.parametrize("style", STYLES, ids=" ".join)
def test_no_other_command_and_no_alert_shows_a_secret(style: list[str], night: Night) -> None:
    """A night on which much is wrong, looked at with everything there is, and told to others."""
    encrypt_tokens(night, [1])
    night.sandbox.faults.add(
        Fault("token", "invalid_grant", account=2),
        Fault("matomo", "http_500_json", site=4),
        Fault("query", "forbidden", site=6),
    )
    asked = asking_for(final_days(night.world))
    with Receiver() as receiver:
        targets = receiver.environment()
        variables = {**targets, "ENCRYPTION_KEY": KEY}
        dones = [night.run(*style, *asked, **variables) for _ in range(3)]
        for words in (["doctor"], ["doctor", "--json"], ["runs", "--failed"], ["runs", "--json"],
                      ["reconcile", *asked, "--repair"], ["migrate", "--status"]):  # fmt: skip
            dones.append(night.run(*words, *style, **variables))
        receiver.status = 500
        dones.append(night.run(*style, *asked, **variables))
        told = "\n".join(body for _, _, body in receiver.got)
    assert [done.status for done in dones] == [1, 1, 1, 1, 1, 0, 0, 1, 0, 1], dones
    assert "failing for 3 runs" in told
    told_run = Finished(0, told, "", 0.0)
    check_nothing_leaks(night, [*dones, told_run], *(url[30:] for url in targets.values()))


DATABASE_ADDRESSES: dict[str, Callable[[str, int | None], str]] = {
    "right": lambda password, port: f"postgresql://postgres:{password}@127.0.0.1:{port}/no_such",
    "wrong": lambda _, port: f"postgresql://postgres:sentinel-word@127.0.0.1:{port}/postgres",
    "down": lambda _, __: "postgresql://postgres:sentinel-word@127.0.0.1:1/postgres",
    "in the query": lambda _, __: "postgresql://postgres@127.0.0.1:1/db?password=sentinel-word",
    "percent": lambda _, port: f"postgresql://postgres:sentinel-word%zz@127.0.0.1:{port}/postgres",
    "percent in the query": lambda _, port: (
        f"postgresql://postgres@127.0.0.1:{port}/db?password=sentinel-word%zz"
    ),
    "unknown option": lambda _, port: f"postgresql://u:sentinel-word@127.0.0.1:{port}/d?pass=word",
    "no port": lambda _, __: "postgresql://postgres:sentinel-word#x@127.0.0.1/postgres",
    "two @": lambda _, __: "postgresql://postgres:sentinel-word@x@127.0.0.1/postgres",
    "no scheme": lambda _, __: "postgres:sentinel-word@127.0.0.1/postgres",
}


@pytest.mark.parametrize("address", DATABASE_ADDRESSES)
def test_no_database_password_is_shown(
    address: str, postgres: PostgresServer, night: Night
) -> None:
    parts = urlsplit(postgres.url(tcp=True))
    url = DATABASE_ADDRESSES[address](parts.password or "", parts.port)
    done = night.run("-v", DATABASE_URL=url, HTTP_ATTEMPTS="1")
    assert done.status == 2, done
    check_nothing_leaks(night, [done], parts.password or "", "sentinel-word")


@pytest.mark.parametrize("style", STYLES, ids=" ".join)
def test_no_supabase_key_is_shown(style: list[str], night: Night) -> None:
    with PostgrestServer(night.database_url) as postgrest:
        urls = {"SUPABASE_URL": postgrest.url, "DATABASE_URL": "", "HTTP_ATTEMPTS": "1"}
        asked = [*style, "--date", str(final_days(night.world)[0])]
        dones = [
            night.run(*asked, **urls, SUPABASE_SERVICE_KEY=postgrest.secret_key),
            night.run(*asked, **urls, SUPABASE_SERVICE_KEY="sb_secret_sentinel-word"),
            night.run(*asked, **urls, SUPABASE_SERVICE_KEY=postgrest.anon_key),
        ]
        for action in (Answer(500, "<html>no</html>"), Answer(200, "<html>sign in</html>")):
            postgrest.proxy.faults[:] = [GatewayFault(action, times=None)]
            dones.append(night.run(*asked, **urls, SUPABASE_SERVICE_KEY=postgrest.service_key))
        keys = (postgrest.secret_key, postgrest.anon_key, postgrest.service_key, "sentinel-word")
    assert [done.status for done in dones] == [0, 2, 2, 2, 2], dones
    check_nothing_leaks(night, dones, *keys)


BUGS = {
    "a setting, in the main thread": (
        "jobs/daily_store.py",
        "def build_master(*_):\n"
        "    import os\n"
        "    try:\n"
        "        raise KeyError(os.environ['MATOMO_API_TOKEN'])\n"
        "    except KeyError as error:\n"
        "        raise ValueError(f'bug {os.environ[\"GOOGLE_CLIENT_SECRET\"]}') from error\n",
    ),
    "a decrypted token, in a worker": (
        "fetchers/google_client.py",
        "def get_google_client(refresh_token, **_):\n"
        "    raise RuntimeError(f'bug with {refresh_token!r}')\n",
    ),
    "an access token, in a worker": (
        "fetchers/google_client.py",
        "def _send(self, request):\n"
        "    raise RuntimeError(f'Invalid header value Bearer {self._credentials.token}')\n"
        "GoogleClient._send = _send\n",
    ),
}


@pytest.mark.parametrize("style", STYLES, ids=" ".join)
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_a_traceback_without_secrets(
    bug: str, style: list[str], night: Night, tmp_path: Path
) -> None:
    file, code = BUGS[bug]
    night.program = copy_program(tmp_path / "program")
    with (night.program / file).open("a") as source:
        source.write(f"\n\n{code}")
    encrypt_tokens(night, [1, 2, 3])
    done = night.run(*style, "--date", str(final_days(night.world)[0]), ENCRYPTION_KEY=KEY)
    assert done.status == 1, done
    assert "Traceback (most recent call last):" in done.out + done.err
    assert "***" in done.out + done.err
    [(status, _, _)] = night.runs()
    assert status in ("failed", "incomplete")
    check_nothing_leaks(night, [done])
