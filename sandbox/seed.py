"""The rows which a database needs for a run against the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import NAMESPACE_DNS, uuid5

from cryptography.fernet import Fernet

from sandbox.social_world import SocialWorld
from sandbox.world import World

Rows = list[dict[str, object]]


def account_id(account: int) -> str:
    """gsc_accounts.id of an account, the same UUID each time."""
    return str(uuid5(NAMESPACE_DNS, f"account-{account}.sandbox.example"))


def site_id(site: int) -> str:
    """sites.id of a site, the same UUID each time."""
    return str(uuid5(NAMESPACE_DNS, f"site-{site}.sandbox.example"))


def rows(world: World) -> tuple[Rows, Rows]:
    """Rows of the tables gsc_accounts and sites (contract: Tables), columns by name."""
    accounts: Rows = [
        {"id": account_id(account), "oauth_refresh_token": world.refresh_token(account)}
        for account in world.account_numbers
    ]
    sites: Rows = [
        {
            "id": site_id(site),
            "domain": world.domain(site),
            "matomo_site_id": site,
            "gsc_account_id": account_id(world.account_of(site)),
            "gsc_property": None,
            "status_deployment": "deployed",
        }
        for site in world.site_numbers
    ]
    return accounts, sites


def connection_id(connection: int) -> str:
    """platform_connections.id of a connection, the same UUID each time."""
    return str(uuid5(NAMESPACE_DNS, f"connection-{connection}.sandbox.example"))


def connection_rows(social: SocialWorld, keys: Sequence[str]) -> Rows:
    """Rows of the table platform_connections (contract: Tables), columns by name.

    Tokens are encrypted under the first of the Fernet keys, as an ENCRYPTION_KEY lists them, or
    under `keys` itself if it is one key. metadata is a dict. Graph's and LinkedIn's tokens have 50
    days to go.
    """
    fernet = Fernet(keys if isinstance(keys, str) else keys[0])

    def encrypted(token: str) -> str | None:
        return fernet.encrypt(token.encode()).decode() if token else None

    def row(connection: int) -> dict[str, object]:
        platform = social.platform_of(connection)
        is_instagram = platform == "instagram"
        expires_at = None if platform == "youtube" else social.now() + timedelta(days=50)
        return {
            "id": connection_id(connection),
            "user_id": social.user_of(connection),
            "platform": platform,
            "account_id": social.account_id(connection),
            "access_token_encrypted": encrypted(social.access_token(connection)),
            "refresh_token_encrypted": encrypted(social.refresh_token(connection)),
            "token_expires_at": expires_at,
            "is_active": True,
            "metadata": {"login": social.login_of(connection)} if is_instagram else {},
        }

    return [row(connection) for connection in social.connection_numbers]
