"""Rows of the users' tables, as either database hands them over."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

from models import GscAccount, Site, SiteId
from storage.errors import MissingRelation

log = logging.getLogger("aggregator.database")

NO_SUCH_SITE = 0
"""An idSite that Matomo never gives: the one site fails and is named, not the whole run."""

Row = tuple[date, SiteId, *tuple[int, ...]]
"""(day, site id, *numbers), in the order of the metrics that are written."""


def parse_site(row: Mapping[str, Any]) -> Site:
    """A site from its row; `gsc_property` may be missing in a user's own table."""
    account = row["gsc_account_id"]
    return Site(
        id=parse_id(row["id"]),
        domain=str(row["domain"] or ""),
        matomo_site_id=_matomo_id(row["matomo_site_id"]),
        gsc_account_id=None if account is None else parse_id(account),
        gsc_property=row.get("gsc_property") or None,
    )


def read_tolerantly(
    read: Callable[[bool], Iterable[Mapping[str, Any]]],
) -> Iterable[Mapping[str, Any]]:
    """`read(True)` the sites with gsc_property; without it where a user's own table lacks it.

    Raises:
        DatabaseError: as `read`.
    """
    try:
        return read(True)
    except MissingRelation as error:
        if "gsc_property" not in error.message:
            raise
        log.warning(
            "sites has no column gsc_property, so no site overrides its property: %s adds it",
            "supabase/migrations/20261121000000_daily_analytics.sql",
        )
        return read(False)


def parse_account(row: Mapping[str, Any]) -> GscAccount:
    return GscAccount(parse_id(row["id"]), str(row["oauth_refresh_token"] or ""))


def parse_id(value: Any) -> SiteId:
    """Integers stay integers; uuids and everything else are text, whichever database read them."""
    return str(value) if isinstance(value, UUID) or not isinstance(value, int) else value


def _matomo_id(value: Any) -> int | None:
    """None means that the site is not in Matomo; what is no number becomes an id nobody has."""
    if value in (None, ""):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if re.fullmatch(r"[0-9]{1,9}", str(value)) else NO_SUCH_SITE
