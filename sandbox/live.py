"""Live.getLastVisitsDetails and SitesManager's rows; the rules: facts/matomo.md, E and F."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date

from sandbox.faults import VISIT_KINDS, Fault
from sandbox.messages import Answer
from sandbox.visit_faults import spoiled
from sandbox.visit_log import VisitLog, page
from sandbox.visit_plan import has_shop
from sandbox.visit_samples import Part
from sandbox.visit_shapes import php_json, site_name
from sandbox.world import World

DEFAULT_FILTER_LIMIT = 100


def number_of(parameters: Mapping[str, str], name: str, default: int) -> int:
    """A number as PHP reads it: what is none counts as 0."""
    text = parameters.get(name, "")
    if not text:
        return default
    try:
        return int(float(text))
    except ValueError:
        return 0


def visits_asked(parameters: Mapping[str, str]) -> int:
    """How many visits a page may hold; sys.maxsize for all."""
    limit = number_of(parameters, "filter_limit", DEFAULT_FILTER_LIMIT)
    return sys.maxsize if limit < 0 else limit


def visits_answer(
    log: VisitLog, site: int, day: date, parameters: Mapping[str, str], faults: Sequence[Fault]
) -> Answer:
    """One page of a site's day, spoiled as the faults want it."""
    after = number_of(parameters, "minTimestamp", 0) or None
    wanted = page(
        log.shown(site, day),
        number_of(parameters, "filter_limit", DEFAULT_FILTER_LIMIT),
        max(0, number_of(parameters, "filter_offset", 0)),
        after,
        descending=parameters.get("filter_sort_order", "desc").lower() != "asc",
    )
    bodies = log.bodies(wanted)
    kinds = [fault for fault in faults if fault.kind in VISIT_KINDS]
    if not kinds:
        return Answer(200, b"[" + b",".join(bodies) + b"]")
    ids = [visit.id_visit for visit, _ in wanted]
    return Answer(200, spoiled(bodies, ids, kinds))


def site_rows(world: World, sites: Sequence[int], limit: int) -> list[Part]:
    """SitesManager's description of each site, cut at `limit` without a word; negative: all."""
    return [_row(world, site) for site in (sites if limit < 0 else sites[:limit])]


def _row(world: World, site: int) -> Part:
    zone = world.zone_name(site)
    return {
        "idsite": site,
        "name": site_name(site),
        "main_url": f"https://{world.domain(site)}",
        "ts_created": "2024-10-20 00:00:00",
        "ecommerce": int(has_shop(site)),
        "sitesearch": 1,
        "sitesearch_keyword_parameters": "",
        "sitesearch_category_parameters": "",
        "timezone": zone,
        "currency": "EUR",
        "exclude_unknown_urls": 0,
        "excluded_ips": "",
        "excluded_parameters": "",
        "excluded_user_agents": "",
        "excluded_referrers": "",
        "group": "",
        "type": "website",
        "keep_url_fragment": 0,
        "creator_login": "admin",
        "timezone_name": zone.replace("_", " ").replace("/", " - "),
        "currency_name": "Euro",
    }


def rows_answer(rows: list[Part]) -> Answer:
    return Answer(200, php_json(rows))
