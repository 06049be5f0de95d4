"""The entries of actionDetails: keys and their order as recorded from Matomo 5.0.2."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sandbox import visit_samples as samples
from sandbox.visit_plan import Planned, Visit
from sandbox.visit_samples import Part
from sandbox.world import World

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Matomo's visitor_log_maximum_actions_per_visit.
MOST_ACTIONS = 500
IMAGES = "plugins/Morpheus/images"


def has_plugins(site: int) -> bool:
    """Whether custom variables, A/B tests and one more dimension are in use at the site."""
    return site % 3 == 1


def action_details(world: World, visit: Visit, count: int) -> list[Part]:
    """The first `count` actions of a visit, of which Matomo shows no more than 500."""
    shown = visit.actions[:count]
    return [_Entry(world, visit, shown, index).part() for index in range(min(count, MOST_ACTIONS))]


class _Entry:
    """One action among those of its visit that have happened so far."""

    def __init__(self, world: World, visit: Visit, shown: Sequence[Planned], index: int) -> None:
        self.host = f"https://{world.domain(visit.site)}"
        self.visit, self.shown, self.index = visit, shown, index
        self.action = shown[index]
        self.local = datetime.fromtimestamp(self.action.at, world.zone_of(visit.site))
        self.seed = _seed(visit, self.action)

    def part(self) -> Part:
        makers = {
            "action": self._page,
            "event": self._event,
            "search": self._search,
            "download": self._download,
            "outlink": self._outlink,
            "goal": self._goal,
            "ecommerceOrder": self._order,
            "13": self._content,
        }
        return makers[self.action.kind]() | self._extras()

    def _choose(self, table: Sequence[Any], step: int = 1) -> Any:
        return table[self.seed // step % len(table)]

    @property
    def _address(self) -> str:
        return f"{self.host}/{self._choose(samples.PAGES)[0]}"

    @property
    def _pretty(self) -> str:
        at = self.local
        return f"{MONTHS[at.month - 1]} {at.day}, {at.year} {at:%H:%M:%S}"

    @property
    def _timestamp(self) -> int:
        """Not Unix time: the wall clock of the site, read as if it were UTC."""
        offset = self.local.utcoffset()
        assert offset is not None
        return self.action.at + int(offset.total_seconds())

    @property
    def _page_id(self) -> int:
        return self.visit.id_visit * 1000 + self.action.arrival

    @property
    def _view(self) -> str:
        """Six characters which the events of a page view share with it."""
        return f"{(self.visit.id_visit * 131 + self._position) % 36**5 + 36**5:06x}"[-6:]

    @property
    def _position(self) -> int:
        views = sum(each.kind == "action" for each in self.shown[: self.index + 1])
        return max(1, views)

    def _icons(self, name: str) -> Part:
        return {"icon": f"{IMAGES}/{name}.png", "iconSVG": f"{IMAGES}/{name}.svg"}

    def _of_page(self) -> Part:
        """What every action has that belongs to a page view."""
        return {
            "pageIdAction": self.seed % 997 + 1,
            "idpageview": self._view,
            "serverTimePretty": self._pretty,
            "pageId": self._page_id,
        }

    def _end(self) -> Part:
        return {"timestamp": self._timestamp, "dimension2": None}

    def _page(self) -> Part:
        title, url = self._choose(samples.PAGES)[1], self._address
        milliseconds, spent = 300 + self.seed % 1100, self._time_spent()
        return {
            "type": "action",
            "url": url,
            "pageTitle": title,
            **self._of_page(),
            "pageLoadTime": f"{milliseconds / 1000:.2f}".rstrip("0").rstrip(".") + "s",
            "timeSpent": spent,
            "timeSpentPretty": pretty_seconds(spent),
            "pageLoadTimeMilliseconds": milliseconds,
            "pageviewPosition": self._position,
            "title": title,
            "subtitle": url,
            "icon": "",
            "iconSVG": f"{IMAGES}/action.svg",
            "timestamp": self._timestamp,
            "dimension2": self._choose(samples.PEOPLE),
        }

    def _time_spent(self) -> int:
        """Until the next page view; of the last one until the visit's last action, and a second.

        An order, or a goal that was sent by hand, starts the clock anew.
        """
        since = self.action.at
        for later in self.shown[self.index + 1 :]:
            if later.kind == "action":
                return later.at - since
            if _is_by_hand(self.visit, later):
                since = later.at
        rest = self.shown[-1].at - self.action.at
        return rest + 1 if rest else 0

    def _event(self) -> Part:
        event = self._choose(samples.EVENTS)
        sent = {key: event[key] for key in ("eventName", "eventValue") if key in event}
        category, name = event["eventCategory"], event["eventAction"]
        return {
            "type": "event",
            "url": self._address,
            **self._of_page(),
            "eventCategory": category,
            "eventAction": name,
            "pageviewPosition": self._position,
            "timestamp": self._timestamp,
            **self._icons("event"),
            "title": "Event",
            "subtitle": f'Category: "{category}\', Action: "{name}"',
            **sent,
            "dimension2": None,
        }

    def _search(self) -> Part:
        keyword, category, count = self._choose(samples.SEARCHES)
        parts = [keyword]
        parts += [f"Search Category: {category}"] if category else []
        parts += [f"Search Results Count: {count}"] if count else []
        return {
            "type": "search",
            "url": None,
            **self._of_page(),
            "pageIdAction": None,
            "siteSearchKeyword": keyword,
            "siteSearchCategory": category,
            "siteSearchCount": count,
            "pageviewPosition": self._position,
            **self._icons("search"),
            "title": "Site Search",
            "subtitle": " - ".join(parts),
            **self._end(),
        }

    def _link(self, kind: str, icon: str, url: str) -> Part:
        return {
            "type": kind,
            "url": url,
            "pageTitle": None,
            **self._of_page(),
            "pageviewPosition": self._position,
            **self._icons(icon),
            "title": kind.capitalize(),
            "subtitle": url,
            **self._end(),
        }

    def _download(self) -> Part:
        return self._link("download", "download", f"{self.host}/files/report é.pdf")

    def _outlink(self) -> Part:
        return self._link("outlink", "link", "https://partner.example.net/out?x=1")

    def _content(self) -> Part:
        return {
            "type": 13,
            "url": self._address,
            "pageTitle": None,
            **self._of_page(),
            "contentName": "Banner é",
            "contentPiece": "/img/b.png",
            "contentTarget": "https://partner.example.net/",
            "contentInteraction": None,
            "pageviewPosition": self._position,
            **self._icons("contentimpression"),
            "title": "Content Impression",
            "subtitle": "Banner é - /img/b.png",
            **self._end(),
        }

    def _goal(self) -> Part:
        name, number, revenue = self._choose(samples.GOALS)
        by_hand = _is_by_hand(self.visit, self.action)
        text = f"{revenue:.2f}" if isinstance(revenue, float) else str(revenue)
        referrer = samples.REFERRERS[self.visit.id_visit % len(samples.REFERRERS)]
        return {
            "type": "goal",
            "goalName": name,
            "goalId": number,
            "idpageview": None if by_hand else self._view,
            "revenue": revenue,
            "goalPageId": None if by_hand else self._page_id - 1,
            "serverTimePretty": self._pretty,
            "url": self._address,
            "referrerType": referrer[0],
            "referrerName": referrer[2] or None,
            "referrerKeyword": referrer[3] or None,
            **self._icons("goal"),
            "title": "Goal conversion",
            "subtitle": f"{name} (€{text} revenue)",
            **self._end(),
        }

    def _order(self) -> Part:
        order = f"O-{self.visit.site}-{self._page_id}"
        return {
            "type": "ecommerceOrder",
            "orderId": order,
            **samples.ORDER,
            "serverTimePretty": self._pretty,
            "idpageview": None,
            "itemDetails": samples.ORDER_ITEMS,
            **self._icons("ecommerceOrder"),
            "title": f"Ordered ({order})",
            "subtitle": "€1,111.11 revenue - 3 items: Chaussure é, Socks)",
            **self._end(),
        }

    def _extras(self) -> Part:
        """What plugins add, at the sites that have them, to some of the actions."""
        if not has_plugins(self.visit.site):
            return {}
        style = self.seed % 4
        extras: Part = {"dimension3": (None, "", "of the action", "0")[style]}
        if style:
            scope = ("", "Page", "")[style - 1]
            extras["customVariables"] = {
                str(slot): {
                    f"customVariable{scope}Name{slot}": f"name {slot} é",
                    f"customVariable{scope}Value{slot}": f"{style}/“{slot}”",
                }
                for slot in range(1, style + 1)
            }
        return extras


def _seed(visit: Visit, action: Planned) -> int:
    """Any number will do as long as it is the action's own, whatever its place in the visit."""
    return (visit.id_visit % 1_000_003) * 31 + action.arrival * 7


def _is_by_hand(visit: Visit, action: Planned) -> bool:
    """Whether an order or goal belongs to no page view."""
    is_goal = action.kind == "goal" and _seed(visit, action) % 4 == 0
    return is_goal or action.kind == "ecommerceOrder"


def pretty_seconds(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} hours {minutes} min"
    return f"{minutes} min {rest}s" if minutes else f"{rest}s"
