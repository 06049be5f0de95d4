"""Tokens encrypted, moved to a new key, and left alone where somebody else was faster."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest
from cryptography.fernet import Fernet

from cli import parse_arguments
from config import Settings
from jobs.run_failures import CannotRun
from jobs.stored_tokens import (
    UnreadableToken,
    check_kind,
    decrypt,
    encrypt,
    find_account,
    find_connection,
    is_encrypted,
    is_under_newest_key,
    store_connection_token,
    store_token,
)
from jobs.tokens import (
    Outcome,
    add_connection_token,
    is_fine_for,
    read_refresh_token,
    read_token,
    rewrite_all,
)
from logs import redact
from models import Connection, GscAccount, SiteId
from storage.errors import DatabaseRefused, DatabaseUnavailable, MissingRelation
from storage.social_rows import Which
from tests.unit.fake_database import FakeDatabase
from tests.unit.helpers import fernet_key

NEW, OLD, LOST = fernet_key(1), fernet_key(2), fernet_key(3)
KEYS = (NEW, OLD)
TOKEN = "1//sentinel-refresh-token"


def encrypted(key: str, token: str = TOKEN) -> str:
    return Fernet(key).encrypt_at_time(token.encode(), 0).decode()


UNDER_NEW, UNDER_OLD = encrypted(NEW), encrypted(OLD)


def database(*tokens: str) -> FakeDatabase:
    return FakeDatabase(accounts=[GscAccount(n, token) for n, token in enumerate(tokens, start=1)])


def change(of: FakeDatabase, action: str, keys: tuple[str, ...] = KEYS) -> Outcome:
    outcome = Outcome()
    rewrite_all(of, keys, outcome, is_fine=is_fine_for(action, keys))
    return outcome


def test_a_token_is_encrypted_under_the_newest_key_and_never_printed() -> None:
    stored = encrypt("1//a-token-of-this-test", KEYS)
    assert Fernet(NEW).decrypt(stored).decode() == "1//a-token-of-this-test"
    assert is_encrypted(stored)
    assert redact(f"{stored} 1//a-token-of-this-test") == "*** ***"


@pytest.mark.parametrize(
    ("stored", "newest"),
    [
        (encrypted(NEW), True),
        (f" {encrypted(NEW)}\n", True),
        (encrypted(OLD), False),
        (encrypted(LOST), False),
        (TOKEN, False),
        ("", False),
        ("gAAAAA", False),
    ],
    ids=range(7),
)
def test_under_which_key_a_token_is(stored: str, newest: bool) -> None:
    assert is_under_newest_key(stored, KEYS) is newest


def test_an_encrypted_token_without_a_key_is_unreadable() -> None:
    with pytest.raises(UnreadableToken):
        decrypt(encrypted(NEW), ())


def test_encrypting_changes_the_plain_ones_alone_and_once() -> None:
    unreadable = encrypted(LOST)
    tokens = database(TOKEN, UNDER_OLD, unreadable, "", f" {TOKEN} ")
    first = change(tokens, "encrypt")
    after = list(tokens.accounts)
    assert (first.changed, first.fine, first.empty, first.failed) == (2, 2, 1, {})
    assert decrypt(after[0].refresh_token, (NEW,)) == TOKEN
    assert decrypt(after[4].refresh_token, (NEW,)) == TOKEN
    assert [account.refresh_token for account in after[1:4]] == [UNDER_OLD, unreadable, ""]
    second = change(tokens, "encrypt")
    assert (second.changed, second.fine) == (0, 4)
    assert tokens.accounts == after


def test_rotating_moves_everything_readable_to_the_newest_key() -> None:
    unreadable = (encrypted(LOST), "gAAAAA-broken")
    tokens = database(TOKEN, UNDER_OLD, UNDER_NEW, *unreadable)
    outcome = change(tokens, "rotate")
    assert (outcome.changed, outcome.fine) == (2, 1)
    assert list(outcome.failed) == ["account 4", "account 5"]
    assert [decrypt(a.refresh_token, (NEW,)) for a in tokens.accounts[:3]] == [TOKEN] * 3
    assert [a.refresh_token for a in tokens.accounts[2:]] == [UNDER_NEW, *unreadable]


class Shared(FakeDatabase):
    """Somebody else stores a token just before each of the first `times` replacements."""

    def __init__(self, accounts: list[GscAccount], theirs: Callable[[], str], times: int) -> None:
        super().__init__(accounts=accounts)
        self.theirs, self.times = theirs, times

    def replace_gsc_token(self, account_id: SiteId, old: str, new: str) -> bool:
        if self.times:
            self.times -= 1
            self.accounts[0] = GscAccount(self.accounts[0].id, self.theirs())
        return super().replace_gsc_token(account_id, old, new)


@pytest.mark.parametrize(
    "theirs",
    ["1//a newer token", encrypted(NEW, "1//a newer token")],
    ids=["plain", "encrypted"],
)
def test_a_token_that_somebody_stored_meanwhile_is_kept_and_encrypted_itself(theirs: str) -> None:
    shared = Shared([GscAccount(1, TOKEN), GscAccount(2, TOKEN)], lambda: theirs, times=1)
    outcome = change(shared, "rotate")
    assert decrypt(shared.accounts[0].refresh_token, (NEW,)) == "1//a newer token"
    assert decrypt(shared.accounts[1].refresh_token, (NEW,)) == TOKEN
    assert outcome.changed + outcome.fine == 2
    assert outcome.moved == []


def test_a_token_that_never_rests_is_named() -> None:
    counter = iter(range(100))
    shared = Shared([GscAccount(1, TOKEN)], lambda: f"1//token-{next(counter)}", times=50)
    outcome = change(shared, "encrypt")
    assert outcome.moved == ["account 1"]
    assert outcome.changed == 0
    with pytest.raises(DatabaseRefused, match="changes all the time"):
        store_token(shared, "1//mine", KEYS, "1")


def test_a_new_consent_replaces_whatever_is_stored_by_then() -> None:
    shared = Shared([GscAccount(1, TOKEN)], lambda: "1//somebody-elses", times=1)
    assert store_token(shared, "1//mine", KEYS, "1") == 1
    assert decrypt(shared.accounts[0].refresh_token, (NEW,)) == "1//mine"


@pytest.mark.parametrize("account_id", [3, "3f2b8a52-0000-4000-8000-000000000017"])
def test_an_account_is_found_by_what_somebody_typed(account_id: SiteId) -> None:
    accounts = FakeDatabase(accounts=[GscAccount(1, ""), GscAccount(account_id, TOKEN)])
    assert find_account(accounts, f" {account_id} ") == GscAccount(account_id, TOKEN)


@pytest.mark.parametrize(
    ("there", "listed"),
    [(0, "none yet"), (2, "1, 2"), (13, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more")],
)
def test_an_unknown_account_is_named_with_those_there_are(there: int, listed: str) -> None:
    with pytest.raises(CannotRun) as caught:
        find_account(database(*[TOKEN] * there), "99")
    assert "'99'" in caught.value.message
    assert f"({listed})" in caught.value.mend


class Forgetful(FakeDatabase):
    """The first insert is stored, or not, and its answer is lost."""

    def __init__(self, *, stores: bool) -> None:
        super().__init__()
        self.stores, self.inserts = stores, 0

    def add_gsc_account(self, token: str) -> SiteId:
        self.inserts += 1
        if self.inserts == 1:
            if self.stores:
                super().add_gsc_account(token)
            raise DatabaseUnavailable("the connection broke")
        return super().add_gsc_account(token)


@pytest.mark.parametrize("stores", [True, False])
def test_an_account_whose_insert_got_no_answer_is_there_once(stores: bool) -> None:
    forgetful = Forgetful(stores=stores)
    account_id = store_token(forgetful, TOKEN, KEYS, None)
    assert [account.id for account in forgetful.accounts] == [account_id]


@pytest.mark.parametrize(
    "text", [TOKEN, f"  {TOKEN}\r\n", f'"{TOKEN}"\n', f"{TOKEN}\n\n", UNDER_OLD], ids=range(5)
)
def test_one_token_is_read_from_a_pipe(text: str) -> None:
    assert read_refresh_token(io.StringIO(text), KEYS) == TOKEN


@pytest.mark.parametrize(
    "text",
    ["", "\n", "two words", "1//t\u00f6ken", "1//\x07bell", "4/0Acode", "ya29.a", encrypted(LOST)],
    ids=range(8),
)
def test_what_is_no_refresh_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(CannotRun) as caught:
        read_refresh_token(io.StringIO(text), KEYS)
    said = f"{caught.value.message} {caught.value.mend}"
    assert not text.strip() or text.strip() not in said


def test_a_process_without_standard_input_has_no_token() -> None:
    with pytest.raises(CannotRun, match="no token"):
        read_refresh_token(None, KEYS)


def connection(
    number: int, access: str, refresh: str = "", metadata: dict[str, object] | None = None
) -> Connection:
    ends_at = datetime(2026, 11, 1, tzinfo=UTC)
    return Connection(
        number, f"user-{number}", "instagram", "17841", access, refresh, ends_at, metadata or {}
    )


def test_both_tokens_of_every_connection_are_rotated_of_the_inactive_too() -> None:
    lost = encrypted(LOST)
    tokens = FakeDatabase(
        accounts=[GscAccount(1, TOKEN)],
        connections=[
            connection(1, UNDER_OLD, "sentinel-plain"),
            connection(2, UNDER_NEW),
            connection(3, "", lost),
            connection(4, "sentinel-inactive"),
        ],
        inactive=[4],
    )
    outcome = change(tokens, "rotate")
    assert (outcome.changed, outcome.fine, outcome.empty) == (4, 1, 0)
    assert list(outcome.failed) == ["connection 3, refresh token"]
    first, second, third, fourth = tokens.connections
    assert decrypt(first.access_token, (NEW,)) == TOKEN
    assert decrypt(first.refresh_token, (NEW,)) == "sentinel-plain"
    assert second == connection(2, UNDER_NEW)
    assert third == connection(3, "", lost)
    assert decrypt(fourth.access_token, (NEW,)) == "sentinel-inactive"
    # It is the same token still: what is known of it stays.
    assert first.token_expires_at == connection(1, "").token_expires_at
    again = change(tokens, "rotate")
    assert (again.changed, again.fine) == (0, 5)


def test_encrypting_leaves_encrypted_tokens_of_connections_alone() -> None:
    tokens = FakeDatabase(connections=[connection(1, UNDER_OLD, "sentinel-plain")])
    outcome = change(tokens, "encrypt")
    assert (outcome.changed, outcome.fine) == (1, 1)
    [after] = tokens.connections
    assert after.access_token == UNDER_OLD
    assert decrypt(after.refresh_token, (NEW,)) == "sentinel-plain"


def test_without_the_table_there_are_no_connections_to_rotate() -> None:
    tokens = FakeDatabase(accounts=[GscAccount(1, TOKEN)], connections=[connection(1, TOKEN)])
    tokens.lacking = {"platform_connections"}
    assert change(tokens, "rotate").changed == 1
    assert ("connections", None) not in tokens.reads


def test_a_table_that_cannot_be_read_whole_is_no_table_without_tokens() -> None:
    """Else the keys that its tokens are under would be called free to drop."""

    class Older(FakeDatabase):
        def read_connections(self, *, inactive_too: bool = False) -> list[Connection]:
            raise MissingRelation("no column account_id")

    with pytest.raises(MissingRelation):
        change(Older(accounts=[GscAccount(1, TOKEN)]), "rotate")


def test_a_connections_token_that_somebody_stored_meanwhile_is_kept() -> None:
    class Theirs(FakeDatabase):
        def replace_connection_token(
            self, connection_id: SiteId, which: Which, old: str, new: str
        ) -> bool:
            if old == TOKEN:
                self.connections[0] = connection(1, "sentinel-newer")
            return super().replace_connection_token(connection_id, which, old, new)

    theirs = Theirs(connections=[connection(1, TOKEN)])
    outcome = change(theirs, "rotate")
    assert (outcome.changed, outcome.moved) == (1, [])
    assert decrypt(theirs.connections[0].access_token, (NEW,)) == "sentinel-newer"


def test_a_new_access_token_of_a_connection_forgets_what_was_known_of_the_old_one() -> None:
    noted = {"mine": 1, "needs_reauth": {"reason": "expired"}}
    tokens = FakeDatabase(connections=[connection(1, UNDER_OLD, "sentinel-refresh", noted)])
    assert store_connection_token(tokens, "sentinel-new", KEYS, " 1 ", "access") == 1
    [after] = tokens.connections
    assert decrypt(after.access_token, (NEW,)) == "sentinel-new"
    assert (after.refresh_token, after.token_expires_at) == ("sentinel-refresh", None)
    assert after.metadata == {"mine": 1}


def test_a_new_refresh_token_of_a_connection_leaves_the_access_token_alone() -> None:
    tokens = FakeDatabase(connections=[connection(1, UNDER_OLD, UNDER_NEW)])
    store_connection_token(tokens, "sentinel-new", KEYS, "1", "refresh")
    [after] = tokens.connections
    assert decrypt(after.refresh_token, (NEW,)) == "sentinel-new"
    assert after.access_token == UNDER_OLD
    assert after.token_expires_at == connection(1, "").token_expires_at


def test_an_inactive_connection_is_found_and_an_unknown_one_named_with_those_there_are() -> None:
    tokens = FakeDatabase(connections=[connection(n, "") for n in range(1, 13)], inactive=[12])
    assert find_connection(tokens, "12").user_id == "user-12"
    with pytest.raises(CannotRun) as caught:
        find_connection(tokens, "99")
    assert "platform_connections has no row with the id '99'" in caught.value.message
    assert "(1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more)" in caught.value.mend


def test_without_any_connection_the_way_to_the_first_one_is_named() -> None:
    with pytest.raises(CannotRun) as caught:
        find_connection(FakeDatabase(), "1")
    assert "holds no connection yet" in caught.value.message
    assert "docs/social.md" in caught.value.mend
    assert "none yet" not in caught.value.mend


@pytest.mark.parametrize(
    ("platform", "which", "said", "mend"),
    [
        (
            "youtube", "access",
            "YouTube connections are asked with a refresh token", "add --refresh",
        ),
        ("instagram", "refresh", "Instagram connections have no refresh token", "--refresh out"),
        ("facebook", "refresh", "Facebook connections have no refresh token", "--refresh out"),
    ],
)  # fmt: skip
def test_a_token_that_its_platform_never_uses_is_refused(
    platform: str, which: Which, said: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is asked for: the database is as it was, and standard input unread."""
    there = replace(connection(1, UNDER_OLD, UNDER_NEW), platform=platform)
    tokens = FakeDatabase(connections=[there])
    monkeypatch.setattr("jobs.tokens.open_database", lambda _: nullcontext(tokens))
    source = io.StringIO("sentinel-new\n")
    settings = SimpleNamespace(encryption_keys=KEYS)
    with pytest.raises(CannotRun) as caught:
        add_connection_token(cast("Settings", settings), "1", which, source)
    assert caught.value.message == said
    assert mend in caught.value.mend
    assert tokens.connections == [there]
    assert source.tell() == 0


@pytest.mark.parametrize(
    ("platform", "which"),
    [
        ("youtube", "refresh"), ("instagram", "access"), ("facebook", "access"),
        ("linkedin", "access"), ("linkedin", "refresh"),
    ],
)  # fmt: skip
def test_a_token_that_its_platform_uses_is_taken(platform: str, which: Which) -> None:
    check_kind(replace(connection(1, ""), platform=platform), which)


@pytest.mark.parametrize(
    ("what", "said"), [("access token", "an access token is"), ("refresh token", "a refresh token")]
)
def test_what_is_no_word_is_named_as_one_says_it(what: str, said: str) -> None:
    with pytest.raises(CannotRun) as caught:
        read_token(io.StringIO("two words\n"), KEYS, what=what, mend="mend")
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize("text", ["ya29.sentinel", "4/0Asentinel", "EAAsentinel|x", UNDER_OLD])
def test_a_connections_token_may_begin_as_it_likes(text: str) -> None:
    token = read_token(io.StringIO(text + "\n"), KEYS, what="access token", mend="mend")
    assert token == (TOKEN if text == UNDER_OLD else text)


def test_an_encrypted_token_that_does_not_last_is_no_refresh_token_either() -> None:
    with pytest.raises(CannotRun, match="an access token"):
        read_refresh_token(io.StringIO(encrypted(NEW, "ya29.sentinel")), KEYS)


@pytest.mark.parametrize(
    "words",
    [
        "--rotate --connection 1", "--encrypt --account 1", "--add --account 1 --connection 2",
        "--add --refresh", "--rotate --refresh", "--add --account 1 --refresh",
        "--add --connection 1 EAAsentinel",
    ],
)  # fmt: skip
def test_options_of_tokens_that_do_not_go_together(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["tokens", *words.split()])
    assert caught.value.code == 2
    assert "sentinel" not in capsys.readouterr().err


def test_options_of_tokens_that_do() -> None:
    arguments = parse_arguments(["tokens", "--add", "--connection", "7", "--refresh"])
    assert (arguments.connection, arguments.refresh, arguments.account) == ("7", True, None)
