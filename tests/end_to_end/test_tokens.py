"""tokens with the real program: added, encrypted, and moved to a new key."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet, MultiFernet

from sandbox import seed
from sandbox.world import REFRESH_TOKEN_PREFIX
from tests.end_to_end.night import Finished, Night
from tests.integration.tables import execute, rows
from tests.services.postgrest import PostgrestServer

NEW, OLD, LOST = (Fernet.generate_key().decode() for _ in range(3))
TOKEN = "1//sentinel-refresh-token"


def stored(night: Night) -> dict[str, str]:
    return dict(rows(night.database_url, "select id::text, oauth_refresh_token from gsc_accounts"))


def store(night: Night, account: int, token: str) -> None:
    execute(
        night.database_url,
        "update gsc_accounts set oauth_refresh_token = %s where id = %s",
        token, seed.account_id(account),
    )  # fmt: skip


def encrypt(key: str, token: str) -> str:
    return Fernet(key).encrypt(token.encode()).decode()


def read(tokens: Mapping[str, str], account: int, key: str) -> str:
    return Fernet(key).decrypt(tokens[seed.account_id(account)].encode()).decode()


def given(night: Night, text: str, *arguments: str, **variables: str) -> Finished:
    """`tokens --add` with this on its standard input."""
    with replace(night, stdin=subprocess.PIPE).started(
        "tokens", "--add", *arguments, **{"ENCRYPTION_KEY": NEW} | variables
    ) as process:
        out, err = process.communicate(text, timeout=60)
    return Finished(process.returncode, out, err, 0.0)


def check_nothing_leaks(*dones: Finished) -> None:
    for done in dones:
        for secret in (TOKEN, REFRESH_TOKEN_PREFIX, "gAAAAA", NEW, OLD, LOST):
            assert secret not in done.out + done.err, done


@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_plain_tokens_are_encrypted_once_and_the_night_goes_on(kind: str, night: Night) -> None:
    store(night, 2, encrypt(OLD, night.world.refresh_token(2)))
    with PostgrestServer(night.database_url) as postgrest:
        rest = {"SUPABASE_URL": postgrest.url, "SUPABASE_SERVICE_KEY": postgrest.service_key}
        variables = {"ENCRYPTION_KEY": f"{NEW},{OLD}", **(rest if kind == "rest" else {})}
        first = night.run("tokens", "--encrypt", **variables)
        after = stored(night)
        second = night.run("tokens", "--encrypt", **variables)
        urls = "".join(f"{request.path}?{request.query}" for request in postgrest.proxy.requests)
    assert (first.status, second.status) == (0, 0), (first, second)
    assert "2 tokens encrypted, 1 already there" in first.out
    assert "0 tokens encrypted, 3 already there" in second.out
    assert stored(night) == after
    assert read(after, 1, NEW) == night.world.refresh_token(1)
    assert read(after, 2, OLD) == night.world.refresh_token(2)
    assert REFRESH_TOKEN_PREFIX not in urls
    assert "gAAAAA" not in urls
    check_nothing_leaks(first, second)
    nightly = night.run("--source", "gsc", ENCRYPTION_KEY=f"{NEW},{OLD}")
    assert nightly.status == 0, nightly


def test_a_new_key_takes_over_everything_and_the_old_one_may_go(night: Night) -> None:
    store(night, 1, encrypt(OLD, night.world.refresh_token(1)))
    store(night, 2, encrypt(NEW, night.world.refresh_token(2)))
    before = stored(night)
    first = night.run("tokens", "--rotate", ENCRYPTION_KEY=f"{NEW},{OLD}")
    after = stored(night)
    assert first.status == 0, first
    assert "2 tokens encrypted under the first key, 1 already there" in first.out
    assert "only the keys behind it\nmay be dropped" in first.out
    assert [read(after, n, NEW) for n in (1, 2, 3)] == [
        night.world.refresh_token(n) for n in (1, 2, 3)
    ]
    assert after[seed.account_id(2)] == before[seed.account_id(2)]
    second = night.run("tokens", "--rotate", ENCRYPTION_KEY=f"{NEW},{OLD}")
    assert second.status == 0, second
    assert "0 tokens encrypted under the first key, 3 already there" in second.out
    assert stored(night) == after
    check_nothing_leaks(first, second)
    nightly = night.run("--source", "gsc", ENCRYPTION_KEY=NEW)
    assert nightly.status == 0, nightly


def test_a_token_that_no_key_reads_is_named_and_left_as_it_is(night: Night) -> None:
    lost = encrypt(LOST, night.world.refresh_token(1))
    store(night, 1, lost)
    done = night.run("tokens", "--rotate", ENCRYPTION_KEY=f"{NEW},{OLD}")
    assert done.status == 1, done
    assert f"account {seed.account_id(1)}: no key of ENCRYPTION_KEY reads it" in done.err
    assert "drop no key" in done.err
    assert "may be dropped" not in done.out
    assert "2 tokens encrypted under the first key" in done.out
    assert stored(night)[seed.account_id(1)] == lost
    check_nothing_leaks(done)


def test_a_token_is_added_from_a_pipe(night: Night) -> None:
    before = stored(night)
    done = given(night, f"  {TOKEN}\n")
    assert done.status == 0, done
    [(account_id, token)] = stored(night).items() - before.items()
    assert f"account {account_id}" in done.out
    assert Fernet(NEW).decrypt(token).decode() == TOKEN
    check_nothing_leaks(done)


def test_an_accounts_token_is_replaced(night: Night) -> None:
    account_id = seed.account_id(3)
    done = given(night, TOKEN, "--account", account_id)
    assert done.status == 0, done
    after = stored(night)
    assert len(after) == 3
    assert read(after, 3, NEW) == TOKEN


def test_a_token_that_is_encrypted_already_is_stored_under_the_newest_key(night: Night) -> None:
    done = given(
        night, encrypt(OLD, TOKEN), "--account", seed.account_id(1), ENCRYPTION_KEY=f"{NEW},{OLD}"
    )
    assert done.status == 0, done
    assert read(stored(night), 1, NEW) == TOKEN


def connections(night: Night) -> dict[str, tuple[str, str | None]]:
    """(access token, refresh token) by user."""
    found = rows(
        night.database_url,
        "select user_id, access_token_encrypted, refresh_token_encrypted from platform_connections",
    )
    return {user: (access, refresh) for user, access, refresh in found}


def connect(night: Night, user: str, access: str, refresh: str | None = None) -> str:
    """A connection that was refused before; its id."""
    [(connection_id,)] = rows(
        night.database_url,
        "insert into platform_connections (user_id, platform, account_id, access_token_encrypted, "
        "refresh_token_encrypted, token_expires_at, is_active, metadata) "
        "values (%s, 'linkedin', '1', %s, %s, '2026-11-01', %s, "
        """'{"needs_reauth": {"reason": "r"}, "mine": 1}') returning id::text""",
        user, access, refresh, user != "off",
    )  # fmt: skip
    return str(connection_id)


@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_tokens_of_connections_follow_the_key(kind: str, night: Night) -> None:
    connect(night, "both", encrypt(OLD, "sandbox-access"), "sandbox-refresh")
    connect(night, "off", "sandbox-inactive")
    with PostgrestServer(night.database_url) as postgrest:
        rest = {"SUPABASE_URL": postgrest.url, "SUPABASE_SERVICE_KEY": postgrest.service_key}
        variables = {"ENCRYPTION_KEY": f"{NEW},{OLD}", **(rest if kind == "rest" else {})}
        done = night.run("tokens", "--rotate", **variables)
        urls = "".join(f"{request.path}?{request.query}" for request in postgrest.proxy.requests)
    assert done.status == 0, done
    assert "6 tokens encrypted under the first key, 0 already there\n" in done.out
    key = Fernet(NEW)
    after = connections(night)
    assert [key.decrypt(token or "").decode() for token in after["both"]] == [
        "sandbox-access", "sandbox-refresh",
    ]  # fmt: skip
    assert key.decrypt(after["off"][0]).decode() == "sandbox-inactive"
    assert "sandbox-" not in urls
    assert "gAAAAA" not in urls
    assert "sandbox-" not in done.out + done.err
    check_nothing_leaks(done)


def test_a_token_of_a_connection_that_no_key_reads_is_named(night: Night) -> None:
    lost = connect(night, "lost", encrypt(LOST, "sandbox-access"))
    done = night.run("tokens", "--rotate", ENCRYPTION_KEY=f"{NEW},{OLD}")
    assert done.status == 1, done
    assert f"connection {lost}, access token: no key of ENCRYPTION_KEY reads it" in done.err
    assert "tokens --add --connection ID" in done.err
    assert "may be dropped" not in done.out


def test_a_database_without_connections_is_rotated_as_before(night: Night) -> None:
    execute(night.database_url, "drop table platform_connections")
    done = night.run("tokens", "--rotate", ENCRYPTION_KEY=f"{NEW},{OLD}")
    assert done.status == 0, done
    assert "3 tokens encrypted under the first key" in done.out


def test_a_connections_token_is_replaced_from_a_pipe(night: Night) -> None:
    connection_id = connect(night, "one", "sandbox-dead", "sandbox-refresh")
    done = given(night, "EAAsentinel|any-printable\n", "--connection", connection_id)
    assert done.status == 0, done
    assert f"access token of connection {connection_id}" in done.out
    access, refresh = connections(night)["one"]
    assert Fernet(NEW).decrypt(access).decode() == "EAAsentinel|any-printable"
    assert refresh == "sandbox-refresh"
    [noted] = rows(
        night.database_url, "select token_expires_at, metadata from platform_connections"
    )
    assert noted == (None, {"mine": 1})
    again = given(night, TOKEN, "--connection", connection_id, "--refresh")
    assert again.status == 0, again
    assert connections(night)["one"][0] == access
    assert Fernet(NEW).decrypt(connections(night)["one"][1] or "").decode() == TOKEN
    assert "sentinel" not in done.out + done.err + again.out + again.err
    unknown = given(night, TOKEN, "--connection", "7")
    assert unknown.status == 2, unknown
    assert f"name one of its ids ({connection_id})" in unknown.err
    check_nothing_leaks(done, again, unknown)


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("", (), "holds no token"),
        ("\n", (), "holds no token"),
        ("two words\n", (), "one word of ASCII"),
        ("4/0Asentinel-code\n", (), "an authorization code"),
        ("ya29.sentinel-access\n", (), "an access token"),
        (encrypt(LOST, TOKEN), (), "a key that ENCRYPTION_KEY lacks"),
        (TOKEN, ("--account", "7"), "no row with the id '7'"),
    ],
    ids=range(7),
)
def test_what_is_no_refresh_token_is_not_stored(
    text: str, arguments: tuple[str, ...], said: str, night: Night
) -> None:
    before = stored(night)
    done = given(night, text, *arguments)
    assert done.status == 2, done
    assert said in done.err
    assert "sentinel" not in done.out + done.err
    assert stored(night) == before


def test_without_any_standard_input_nothing_is_stored(night: Night) -> None:
    before = stored(night)
    command = [sys.executable, str(night.program / "aggregator.py"), "tokens", "--add"]
    closed = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *command],
        env=night.environment | {"ENCRYPTION_KEY": NEW},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert closed.returncode == 2, closed
    assert "holds no token" in closed.stderr
    assert stored(night) == before


def test_a_token_that_is_typed_at_a_terminal_is_not_shown(night: Night) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, night.program / "aggregator.py", "tokens", "--add"],
        env=night.environment | {"ENCRYPTION_KEY": NEW},
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,  # getpass asks the terminal of the session, if there is one
    ) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.read(len("Refresh token: ")) == "Refresh token: "
        os.write(ours, f"{TOKEN}\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(theirs)
    os.set_blocking(ours, False)
    with suppress(OSError):
        out += os.read(ours, 10_000).decode()
    os.close(ours)
    assert process.returncode == 0, err
    assert TOKEN in {plain(token) for token in stored(night).values()}
    assert TOKEN not in out + err


def plain(token: str) -> str:
    return Fernet(NEW).decrypt(token).decode() if token.startswith("gAAAAA") else token


@pytest.mark.parametrize("action", ["--add", "--rotate", "--encrypt"])
def test_without_a_key_it_says_how_to_make_one(action: str, night: Night) -> None:
    done = night.run("tokens", action, ENCRYPTION_KEY="")
    assert done.status == 2, done
    assert "Fernet.generate_key()" in done.err
    assert "gAAAAA" not in "".join(stored(night).values())


def test_500_accounts_take_seconds(night: Night) -> None:
    execute(
        night.database_url,
        "insert into gsc_accounts (oauth_refresh_token) "
        "select 'sandbox-refresh-token-many-' || n from generate_series(1, 500) n",
    )
    done = night.run("tokens", "--rotate", ENCRYPTION_KEY=f"{NEW},{OLD}")
    assert done.status == 0, done
    assert "503 tokens encrypted under the first key" in done.out
    keys = MultiFernet([Fernet(NEW)])
    assert len({keys.decrypt(token) for token in stored(night).values()}) == 503
    assert done.seconds < 30, done.seconds
