"""A made-up visit as Live.getLastVisitsDetails shows it; keys as recorded from Matomo 5.0.2."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from sandbox import visit_samples as samples
from sandbox.visit_actions import MOST_ACTIONS, action_details, has_plugins, pretty_seconds
from sandbox.visit_plan import Planned, Visit, has_shop
from sandbox.visit_samples import Part
from sandbox.world import World

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
ICONS = "plugins/Morpheus/icons/dist"
# Names are not HTML-escaped in JSON.
SITE_NAMES = (
    "Site {site}",
    "Kolkata & Sons <b> {site}",
    "東京サイト {site}",
    "Paris \u2013 équipe {site}",
)


def php_json(value: object, *, escaped: bool = True) -> bytes:
    r"""PHP's json_encode: non-ASCII as \uXXXX and / as \/; raw UTF-8 where it was told so."""
    text = json.dumps(value, ensure_ascii=escaped, separators=(",", ":"))
    return text.replace("/", "\\/").encode()


def site_name(site: int) -> str:
    return SITE_NAMES[site % len(SITE_NAMES)].format(site=site)


def rendered(world: World, visit: Visit, count: int) -> bytes:
    """The visit with its first `count` actions, in JSON; remembered for the last `count`."""
    if visit.body[0] != count:
        visit.body = (count, php_json(visit_part(world, visit, count)))
    return visit.body[1]


def visit_part(world: World, visit: Visit, count: int) -> Part:
    """The visit as it is when its first `count` actions have happened."""
    shown, site, seed = visit.actions[:count], visit.site, visit.id_visit % 1_000_003
    mixed = seed * 2654435761 % 2**32
    part = {
        "idSite": site,
        "idVisit": visit.id_visit,
        "visitIp": f"{mixed % 223 + 1}.{mixed // 256 % 256}.0.0",
        "visitorId": f"{visit.id_visit * 0x9E3779B97F4A7C15 % 2**64:016x}",
        "fingerprint": f"{visit.id_visit * 0xC2B2AE3D27D4EB4F % 2**64:016x}",
        "actionDetails": action_details(world, visit, count),
        **_times(world.zone_of(site), site, shown),
        **_visitor(mixed, shown),
        **_referrer(visit.id_visit),
        **_device(mixed),
        **(_shop(shown) if has_shop(site) else {}),
        "events": sum(action.kind == "event" for action in shown),
        **_place(mixed),
        **_end(mixed),
    }
    if has_plugins(site):
        part |= {
            "dimension3": "of the visit",
            "experiments": _choose(samples.EXPERIMENTS, mixed, 3),
        }
    if count > MOST_ACTIONS:
        part["truncatedActionsCount"] = count - MOST_ACTIONS
    return part


def _choose(table: Sequence[Any], mixed: int, step: int) -> Any:
    return table[(mixed >> step) % len(table)]


def _times(zone: tzinfo, site: int, shown: Sequence[Planned]) -> Part:
    last, first = shown[-1].at, shown[0].at
    utc, local = datetime.fromtimestamp(last, UTC), datetime.fromtimestamp(last, zone)
    local_first = datetime.fromtimestamp(first, zone)
    return {
        "goalConversions": sum(action.kind == "goal" for action in shown),
        "siteCurrency": "EUR",
        "siteCurrencySymbol": "€",
        "serverDate": f"{utc:%Y-%m-%d}",
        "visitServerHour": str(utc.hour),
        "lastActionTimestamp": last,
        "lastActionDateTime": f"{utc:%Y-%m-%d %H:%M:%S}",
        "siteName": site_name(site),
        "serverTimestamp": last,
        "firstActionTimestamp": first,
        "serverTimePretty": f"{local:%H:%M:%S}",
        "serverDatePretty": _pretty_day(local),
        "serverDatePrettyFirstAction": _pretty_day(local_first),
        "serverTimePrettyFirstAction": f"{local_first:%H:%M:%S}",
    }


def _pretty_day(at: datetime) -> str:
    return f"{DAYS[at.weekday()]}, {MONTHS[at.month - 1]} {at.day}, {at.year}"


def _visitor(mixed: int, shown: Sequence[Planned]) -> Part:
    counts = Counter(action.kind for action in shown)
    ordered, came = counts["ecommerceOrder"] > 0, mixed >> 7 & 3
    since = came * 70_001 + mixed % 9_000 if came > 1 else 0
    duration = shown[-1].at - shown[0].at
    duration += 1 if duration else 0
    converted = bool(counts["goal"] or ordered)
    of_goal, of_order = "plugins/Morpheus/images/goal.svg", "ecommerceOrder.svg"
    return {
        "userId": _choose(samples.USERS, mixed, 5),
        "visitorType": ("new", "new", "returning", "returningCustomer")[came],
        "visitorTypeIcon": "plugins/Live/images/returningVisitor.png" if came > 1 else None,
        "visitConverted": int(converted),
        "visitConvertedIcon": of_goal if converted else None,
        "visitCount": max(1, came),
        "visitEcommerceStatus": "ordered" if ordered else "none",
        "visitEcommerceStatusIcon": f"plugins/Morpheus/images/{of_order}" if ordered else None,
        "daysSinceFirstVisit": since // 86_400,
        "secondsSinceFirstVisit": since,
        "daysSinceLastEcommerceOrder": 0,
        "secondsSinceLastEcommerceOrder": 0 if ordered else None,
        "visitDuration": duration,
        "visitDurationPretty": pretty_seconds(duration),
        "searches": counts["search"],
        "actions": sum(counts.values()) - counts["goal"] - counts["ecommerceOrder"] - counts["13"],
        "interactions": counts["action"] + counts["search"],
    }


def _referrer(id_visit: int) -> Part:
    kind, kind_name, name, keyword, url, engine, icon = samples.REFERRERS[
        id_visit % len(samples.REFERRERS)
    ]
    return {
        "referrerType": kind,
        "referrerTypeName": kind_name,
        "referrerName": name,
        "referrerKeyword": keyword,
        "referrerKeywordPosition": None,
        "referrerUrl": url,
        "referrerSearchEngineUrl": engine,
        "referrerSearchEngineIcon": icon,
        "referrerSocialNetworkUrl": None,
        "referrerSocialNetworkIcon": None,
    }


def _device(mixed: int) -> Part:
    language_code, language = _choose(samples.LANGUAGES, mixed, 9)
    (
        kind, brand, model, system, system_code, system_version,
        family, description, browser, browser_code, browser_version,
    ) = _choose(samples.DEVICES, mixed, 11)  # fmt: skip
    return {
        "languageCode": language_code,
        "language": language,
        "deviceType": kind,
        "deviceTypeIcon": f"{ICONS}/devices/{kind.lower()}.png",
        "deviceBrand": brand,
        "deviceModel": model,
        "operatingSystem": f"{system} {system_version}".strip(),
        "operatingSystemName": system,
        "operatingSystemIcon": f"{ICONS}/os/{system_code}.png",
        "operatingSystemCode": system_code,
        "operatingSystemVersion": system_version,
        "browserFamily": family,
        "browserFamilyDescription": description,
        "browser": f"{browser} {browser_version}",
        "browserName": browser,
        "browserIcon": f"{ICONS}/browsers/{browser_code}.png",
        "browserCode": browser_code,
        "browserVersion": browser_version,
    }


def _shop(shown: Sequence[Planned]) -> Part:
    """Totals of a site with e-commerce; their types are as mixed as Matomo's own."""
    orders = sum(action.kind == "ecommerceOrder" for action in shown)
    return {
        "totalEcommerceRevenue": round(1111.11 * orders, 2) if orders else 0,
        "totalEcommerceConversions": orders,
        "totalEcommerceItems": str(3 * orders) if orders else 0,
        "totalAbandonedCartsRevenue": 0,
        "totalAbandonedCarts": 0,
        "totalAbandonedCartsItems": 0,
    }


def _place(mixed: int) -> Part:
    continent, continent_code, country, code, region, region_code, city, place, north, east = (
        _choose(samples.PLACES, mixed, 13)
    )
    return {
        "continent": continent,
        "continentCode": continent_code,
        "country": country,
        "countryCode": code,
        "countryFlag": f"{ICONS}/flags/{code}.png",
        "region": region,
        "regionCode": region_code,
        "city": city,
        "location": place,
        "latitude": north,
        "longitude": east,
    }


def _end(mixed: int) -> Part:
    hour, since = mixed >> 3 & 15, mixed % 200_000 if mixed >> 7 & 3 > 1 else 0
    icon = {"pluginIcon": f"{ICONS}/plugins/cookie.png", "pluginName": "cookie"}
    return {
        "visitLocalTime": f"{hour:02}:{mixed % 60:02}:{mixed % 59:02}",
        "visitLocalHour": str(hour),
        "daysSinceLastVisit": since // 86_400,
        "secondsSinceLastVisit": since,
        "resolution": _choose(samples.RESOLUTIONS, mixed, 2),
        "plugins": "cookie",
        "pluginsIcons": [icon],
        "dimension1": _choose(samples.PLANS, mixed, 15),
    }
