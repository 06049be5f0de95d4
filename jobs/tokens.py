"""Stored refresh tokens: plain, or encrypted with a Fernet key."""

from __future__ import annotations

from collections.abc import Sequence

from fetchers.errors import CredentialsError, SettingsError
from logs import redact
from models import SiteId

FERNET_PREFIX = "gAAAAA"


def decrypt_token(account_id: SiteId, stored: str | None, keys: Sequence[str]) -> str:
    """The refresh token of an account, and never printed from here on.

    Raises:
        CredentialsError: there is none, or no key reads it. SettingsError: there is no key at all.
    """
    if stored is None:
        raise CredentialsError(
            f"account {account_id} is not in gsc_accounts",
            mend="correct sites.gsc_account_id, or add the account",
        )
    stored = stored.strip()
    if not stored:
        raise CredentialsError(
            f"account {account_id} has no refresh token",
            mend="store one in gsc_accounts.oauth_refresh_token (README, Google)",
        )
    redact.add([stored])
    if not stored.startswith(FERNET_PREFIX):
        return stored
    if not keys:
        raise SettingsError(
            "refresh tokens are stored encrypted, and ENCRYPTION_KEY is not set",
            mend="set ENCRYPTION_KEY to the key they were encrypted with",
        )
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet

    try:
        token = MultiFernet([Fernet(key) for key in keys]).decrypt(stored).decode()
    except (InvalidToken, UnicodeDecodeError):
        raise CredentialsError(
            f"the refresh token of account {account_id} cannot be decrypted with ENCRYPTION_KEY",
            mend="add the key it was encrypted with to ENCRYPTION_KEY (a comma list)",
        ) from None
    redact.add([token])
    return token
