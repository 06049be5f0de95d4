"""Tokens encrypted, moved to a new key, and left alone where somebody else was faster."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet

from jobs.run_failures import CannotRun
from jobs.stored_tokens import (
    UnreadableToken,
    decrypt,
    encrypt,
    find_account,
    is_encrypted,
    is_under_newest_key,
    store_token,
)
from jobs.tokens import Outcome, is_fine_for, read_refresh_token, rewrite_all
from logs import redact
from models import GscAccount, SiteId
from storage.errors import DatabaseRefused, DatabaseUnavailable
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
