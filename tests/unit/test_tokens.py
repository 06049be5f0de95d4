"""Stored refresh tokens: plain or encrypted, and unprintable as soon as they are read."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from fetchers.errors import CredentialsError, FetchError, SettingsError
from jobs.gsc_accounts import decrypt_token
from logs import redact
from tests.unit.helpers import fernet_key

KEY, OLDER_KEY, LOST_KEY = fernet_key(1), fernet_key(2), fernet_key(3)
TOKEN = "1//sentinel-refresh-token"


def encrypted(key: str, token: str = TOKEN) -> str:
    return Fernet(key).encrypt_at_time(token.encode(), 0).decode()


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_a_plain_token_is_taken_as_it_is(keys: tuple[str, ...]) -> None:
    assert decrypt_token("g", f" {TOKEN}\n", keys) == TOKEN


@pytest.mark.parametrize("key", [KEY, OLDER_KEY])
def test_an_encrypted_token_is_read_with_the_newest_or_an_older_key(key: str) -> None:
    assert decrypt_token("g", encrypted(key), (KEY, OLDER_KEY)) == TOKEN


@pytest.mark.parametrize(
    ("stored", "keys", "kind", "message"),
    [
        (None, (KEY,), CredentialsError, "account g is not in gsc_accounts"),
        ("", (KEY,), CredentialsError, "account g has no refresh token"),
        (" \n", (), CredentialsError, "account g has no refresh token"),
        (encrypted(KEY), (), SettingsError, "ENCRYPTION_KEY is not set"),
        (encrypted(LOST_KEY), (KEY, OLDER_KEY), CredentialsError, "account g cannot be decrypted"),
        (encrypted(KEY)[:-8], (KEY,), CredentialsError, "account g cannot be decrypted"),
        ("gAAAAA-not-fernet", (KEY,), CredentialsError, "account g cannot be decrypted"),
        ("gAAAAA\u00e9", (KEY,), CredentialsError, "account g cannot be decrypted"),
    ],
    ids=range(8),
)
def test_a_token_that_cannot_be_read_says_whose_it_is_and_what_mends_it(
    stored: str | None, keys: tuple[str, ...], kind: type[FetchError], message: str
) -> None:
    with pytest.raises(FetchError) as caught:
        decrypt_token("g", stored, keys)
    assert type(caught.value) is kind
    assert message in caught.value.message
    assert caught.value.mend
    assert not stored or not stored.strip() or stored not in f"{caught.value} {caught.value.mend}"


def test_a_token_is_redacted_once_it_was_read_in_both_its_forms() -> None:
    plain, hidden = "1//one-that-no-other-test-reads", encrypted(KEY, "1//inside-the-encrypted-one")
    decrypt_token("g", plain, ())
    decrypt_token("g", hidden, (KEY,))
    assert redact(f"{plain} {hidden} 1//inside-the-encrypted-one") == "*** *** ***"
