"""connect-gsc with the real program: the test plays the person, the sandbox plays Google."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet

from sandbox import Fault, seed
from sandbox.consent import CODE_PREFIX, CONSENT_PATH
from sandbox.messages import Source
from sandbox.world import CLIENT_SECRET, REFRESH_TOKEN_PREFIX
from tests.end_to_end.night import Finished, Night
from tests.integration.tables import execute, rows
from tests.services.postgrest import PostgrestServer

KEY, OLDER_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()
URL = re.compile(r"^https://accounts\.google\.com/\S+$", re.MULTILINE)
STORED = re.compile(r"stored: account (\S+)$", re.MULTILINE)
PERSON = """#!{python}
import sys, urllib.request
from urllib.parse import urlsplit
query = urlsplit(sys.argv[1]).query
urllib.request.urlopen("{sandbox}{path}?" + query + "{more}", timeout=20).read()
"""


class Person:
    """Opens the printed address at the sandbox, as a browser would, and pastes where it ends."""

    def __init__(self, night: Night, *arguments: str, **variables: str) -> None:
        self.night = replace(night, stdin=subprocess.PIPE)
        self._command = ("connect-gsc", "--no-browser", *arguments)
        self._variables = {"ENCRYPTION_KEY": KEY} | variables
        self.printed = ""
        self.url = ""

    def __call__(self, *pasted: str, account: int = 1, agree: bool = True) -> Finished:
        """Pastes these lines, then (if it agrees) the address after consent, and closes."""
        started_at = time.monotonic()
        with self.night.started(*self._command, **self._variables) as process:
            assert process.stdin
            assert process.stdout
            self.printed = ""
            while not (found := URL.search(self.printed)):
                line = process.stdout.readline()
                assert line, process.communicate()
                self.printed += line
            self.url = found[0]
            lines = [*pasted]
            if agree:
                lines.append(self.address_after_consent(account))
            out, err = process.communicate("".join(f"{line}\n" for line in lines), timeout=60)
        seconds = time.monotonic() - started_at
        return Finished(process.returncode, self.printed + out, err, seconds)

    def address_after_consent(self, account: int = 1) -> str:
        target = f"{CONSENT_PATH}?{urlsplit(self.url).query}&authuser={account}"
        connection = http.client.HTTPConnection("127.0.0.1", self.night.sandbox.port)
        connection.request("GET", target)
        answer = connection.getresponse()
        assert answer.status == 302, answer.read()
        connection.close()
        return answer.headers["Location"]


def tokens(night: Night) -> dict[str, str]:
    found = rows(night.database_url, "select id::text, oauth_refresh_token from gsc_accounts")
    return dict(found)


def check_nothing_leaks(night: Night, *dones: Finished) -> None:
    printed = "".join(f"{done.out}{done.err}" for done in dones)
    known = (KEY, OLDER_KEY, CLIENT_SECRET, CODE_PREFIX, REFRESH_TOKEN_PREFIX)
    for secret in (*known, "sandbox-access-token", "gAAAAA", "code_verifier"):
        assert secret not in printed, printed[max(0, printed.index(secret) - 200) :][:400]


def unlink_sites(night: Night, sites: Iterable[int]) -> None:
    ids = [seed.site_id(site) for site in sites]
    execute(
        night.database_url,
        "update sites set gsc_account_id = null where id = any(%s::uuid[])", ids,
    )  # fmt: skip


def test_a_new_account_is_stored_encrypted_and_its_sites_are_linked_by_the_printed_sql(
    night: Night,
) -> None:
    unlink_sites(night, [1, 4, 5])  # the first two belong to account 1, the third to account 2
    before = tokens(night)
    person = Person(night)
    done = person(account=1)
    assert done.status == 0, done
    assert done.err == ""
    [(account_id, stored)] = tokens(night).items() - before.items()
    assert STORED.findall(done.out) == [account_id]
    assert Fernet(KEY).decrypt(stored.encode()).decode().startswith(f"{REFRESH_TOKEN_PREFIX}1-")
    for site in (1, 4):
        assert (
            f"{night.world.domain(site)}  {night.world.property_of(site)}  (not linked" in done.out
        )
    assert night.world.domain(5) not in done.out
    assert night.world.domain(7) not in done.out, "it belongs to another row of gsc_accounts"
    check_nothing_leaks(night, done)

    [statement] = re.findall(r"^update .*;$", done.out, re.MULTILINE)
    execute(night.database_url, statement)
    linked = rows(
        night.database_url, "select id::text from sites where gsc_account_id = %s", account_id
    )
    assert {site for (site,) in linked} == {seed.site_id(1), seed.site_id(4)}
    nightly = night.run("--source", "gsc", "--site", seed.site_id(1), ENCRYPTION_KEY=KEY)
    assert nightly.status == 0, nightly


def test_the_address_asks_for_what_a_lasting_consent_needs(night: Night) -> None:
    person = Person(night)
    person()
    query = {name: values[0] for name, values in parse_qs(urlsplit(person.url).query).items()}
    assert query["scope"] == "https://www.googleapis.com/auth/webmasters.readonly"
    assert (query["access_type"], query["prompt"]) == ("offline", "consent")
    assert query["code_challenge_method"] == "S256"
    assert urlsplit(query["redirect_uri"]).hostname == "localhost"
    assert CLIENT_SECRET not in person.url
    first = person.url
    person()
    assert parse_qs(urlsplit(person.url).query)["state"] != parse_qs(urlsplit(first).query)["state"]


def test_an_account_is_renewed_in_its_row(night: Night) -> None:
    account_id = seed.account_id(2)
    before = tokens(night)
    done = Person(night, "--account", account_id)(account=2)
    assert done.status == 0, done
    after = tokens(night)
    assert after.keys() == before.keys()
    assert {row for row in after if after[row] != before[row]} == {account_id}
    assert "covers 7 sites" in done.out
    assert "Not covered" not in done.out
    assert "update " not in done.out
    check_nothing_leaks(night, done)


def test_consent_of_the_wrong_account_replaces_no_token(night: Night) -> None:
    before = tokens(night)
    done = Person(night, "--account", seed.account_id(2))(account=1)
    assert done.status == 2, done
    assert tokens(night) == before
    assert "covers none of the 7 sites of account" in done.err
    assert "-> sign in with the Google account that sees their properties" in done.err
    check_nothing_leaks(night, done)


def test_a_new_account_that_sees_the_sites_of_another_says_which_to_renew(night: Night) -> None:
    done = Person(night)(account=1)
    assert done.status == 0, done
    assert f"renew it: connect-gsc --account {seed.account_id(1)}" in done.out


def test_a_bare_code_is_enough(night: Night) -> None:
    done = PersonWithCode(night)()
    assert done.status == 0, done
    check_nothing_leaks(night, done)


class PersonWithCode(Person):
    def address_after_consent(self, account: int = 1) -> str:
        address = super().address_after_consent(account)
        return urlsplit(address).query.partition("code=")[2].partition("&")[0]


@pytest.mark.parametrize(
    "rubbish",
    [
        "rubbish",
        "http://localhost:53682/",
        "https://accounts.google.com/signin?x=1",
        "http://localhost:53682/?state=another&code=4/0Asandbox-code-99",
        "http://localhost:53682/?error=access_denied&state=another",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ],
    ids=range(6),
)
def test_what_is_not_the_answer_may_be_pasted_again(rubbish: str, night: Night) -> None:
    done = Person(night)(rubbish)
    assert done.status == 0, done
    assert "Paste it here:" in done.out
    check_nothing_leaks(night, done)


def test_only_rubbish_stores_nothing(night: Night) -> None:
    before = tokens(night)
    done = Person(night)("rubbish", "more rubbish", "rubbish again", agree=False)
    assert done.status == 1, done
    assert "Not connected, nothing was stored" in done.err
    assert "copy the whole address" in done.err
    assert tokens(night) == before


def test_a_closed_standard_input_stores_nothing(night: Night) -> None:
    before = tokens(night)
    done = Person(night)(agree=False)
    assert done.status == 1, done
    assert "nothing was pasted" in done.err
    at_dev_null = night.run("connect-gsc", "--no-browser", ENCRYPTION_KEY=KEY)
    assert at_dev_null.status == 1, at_dev_null
    assert tokens(night) == before


@pytest.mark.parametrize(
    ("source", "kind", "status", "said"),
    [
        ("consent", "access_denied", 1, "consent was refused"),
        ("consent", "scope_unticked", 1, "tick it: View Search Console data"),
        ("consent", "no_refresh_token", 1, "no refresh token"),
        ("token", "invalid_grant", 1, "Google refused the code (invalid_grant"),
        ("token", "invalid_client", 2, "correct GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET"),
        ("token", "server_error", 1, "did not answer (server_error"),
        ("token", "http_502_html", 1, "did not answer (HTTP 502 without JSON)"),
        ("token", "html_200", 1, "answered HTTP 200 without JSON"),
        ("token", "redirect", 2, "a redirect, not followed"),
        ("token", "drop", 1, "run connect-gsc again"),
        ("token", "stall", 1, "no answer within 1 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_google_refuses_stores_nothing_and_says_what_mends_it(
    source: Source, kind: str, status: int, said: str, night: Night
) -> None:
    before = tokens(night)
    night.sandbox.faults.add(Fault(source, kind))
    done = Person(night, HTTP_TIMEOUT="1")()
    assert done.status == status, done
    assert "Not connected, nothing was stored" in done.err
    assert said in done.err
    assert "\n  -> " in done.err
    assert tokens(night) == before
    check_nothing_leaks(night, done)


def test_a_token_is_stored_even_if_its_sites_cannot_be_listed(night: Night) -> None:
    before = tokens(night)
    night.sandbox.faults.add(Fault("sites", "access_not_configured"))
    done = Person(night)()
    assert done.status == 1, done
    assert STORED.search(done.out)
    assert "could not be listed" in done.err
    assert "enable the Search Console API" in done.err
    assert len(tokens(night)) == len(before) + 1


@pytest.mark.parametrize(
    ("variables", "arguments", "said"),
    [
        ({"ENCRYPTION_KEY": ""}, (), "Fernet.generate_key()"),
        ({"GOOGLE_CLIENT_ID": ""}, (), "GOOGLE_CLIENT_ID is missing"),
        ({"GOOGLE_TOKEN_URI": "http://google.test/token"}, (), "GOOGLE_TOKEN_URI begins with http"),
        ({}, ("--account", "no-such-account"), "no row with the id 'no-such-account'"),
        ({"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, (), "no connection to the database"),
    ],
    ids=["key", "client", "clear text", "account", "database"],
)
def test_what_is_wrong_is_said_before_consent_is_asked_for(
    variables: dict[str, str], arguments: tuple[str, ...], said: str, night: Night
) -> None:
    settings = {"ENCRYPTION_KEY": KEY} | variables
    done = night.run("connect-gsc", "--no-browser", *arguments, **settings)
    assert done.status == 2, done
    assert said in done.err
    assert "accounts.google.com" not in done.out
    assert night.sandbox.requests() == []


def browser(night: Night, folder: Path, more: str = "") -> str:
    """What BROWSER holds: a program that agrees at the sandbox and follows it back."""
    script = folder / "browser"
    text = PERSON.format(
        python=sys.executable, sandbox=night.sandbox.url, path=CONSENT_PATH, more=more
    )
    script.write_text(text)
    script.chmod(0o755)
    return str(script)


def test_a_browser_brings_the_answer_by_itself(night: Night, tmp_path: Path) -> None:
    before = tokens(night)
    opened = browser(night, tmp_path, "&authuser=3")
    done = night.run("connect-gsc", ENCRYPTION_KEY=f"{KEY},{OLDER_KEY}", BROWSER=opened)
    assert done.status == 0, done
    assert URL.search(done.out)
    [(_, stored)] = tokens(night).items() - before.items()
    assert Fernet(KEY).decrypt(stored.encode()).decode().startswith(f"{REFRESH_TOKEN_PREFIX}3-")
    check_nothing_leaks(night, done)


def test_a_browser_brings_a_refusal_too(night: Night, tmp_path: Path) -> None:
    night.sandbox.faults.add(Fault("consent", "access_denied"))
    opened = browser(night, tmp_path)
    done = night.run("connect-gsc", ENCRYPTION_KEY=KEY, BROWSER=opened)
    assert done.status == 1, done
    assert "consent was refused" in done.err


def test_ctrl_c_while_waiting_ends_it_cleanly(night: Night) -> None:
    with night.started("connect-gsc", ENCRYPTION_KEY=KEY, BROWSER="true") as process:
        assert process.stdout
        while not URL.match(process.stdout.readline()):
            pass
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err


def test_it_works_over_supabase_and_no_token_is_in_a_url(night: Night) -> None:
    account_id = seed.account_id(2)
    with PostgrestServer(night.database_url) as postgrest:
        variables = {
            "SUPABASE_URL": postgrest.url,
            "SUPABASE_SERVICE_KEY": postgrest.service_key,
            "DATABASE_URL": "",
        }
        dones = [
            Person(night, **variables)(),
            Person(night, "--account", account_id, **variables)(account=2),
        ]
        urls = "".join(f"{request.path}?{request.query}" for request in postgrest.proxy.requests)
    assert [done.status for done in dones] == [0, 0], dones
    assert Fernet(KEY).decrypt(tokens(night)[account_id])
    assert "gAAAAA" not in urls
    assert REFRESH_TOKEN_PREFIX not in urls
    check_nothing_leaks(night, *dones)
