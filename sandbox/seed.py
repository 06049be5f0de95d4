"""The rows which a database needs for a run against the sandbox."""

from __future__ import annotations

from uuid import NAMESPACE_DNS, uuid5

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
