"""Faults on demand: which request meets which fault. What a fault looks like: fault_answers.py."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from sandbox.messages import Call, Source
from sandbox.social_faults import SOCIAL_KINDS

# How an answer goes out, whatever it says.
DELIVERY_KINDS = frozenset({"drop", "cut", "stall", "drip", "slow"})
HTTP_KINDS = frozenset(
    {
        "http_500_html",
        "http_502_html",
        "http_503_html",
        "http_500_json",
        "http_429",
        "html_200",
        "not_json_200",
        "empty_200",
        "redirect",
    }
)
# Numbers of an otherwise good answer, spoiled.
CELL_KINDS = frozenset(
    {
        "unarchived",
        "missing_site",
        "missing_day",
        "null_cell",
        "string_cell",
        "float_cell",
        "negative_cell",
        "empty_array_cell",
    }
)
ROW_KINDS = frozenset({"wrong_day", "null_clicks", "missing_clicks", "two_keys"})
MATOMO_KINDS = frozenset(
    {
        "result_error",
        "memory_exhausted",
        "too_many_cells",
        "login_blocked",
        "token_refused",
        "ip_not_allowed",
        "database_down",
    }
)
# Pages of the visit log, spoiled; page_too_large answers instead.
VISIT_KINDS = frozenset(
    {
        "no_actions",
        "empty_actions",
        "no_timestamp",
        "nul",
        "raw_utf8",
        "lost_visit",
        "doubled_visit",
        "not_a_list",
        "broken_visit",
    }
)
# What the person, or Google, does with a consent.
CONSENT_KINDS = frozenset({"access_denied", "scope_unticked", "no_refresh_token"})
TOKEN_KINDS = frozenset({"invalid_grant", "invalid_client", "server_error"})
GOOGLE_KINDS = frozenset(
    {
        "quota_exceeded_qps",
        "quota_exceeded_load",
        "rate_limit_exceeded",
        "user_rate_limit_exceeded",
        "daily_limit_exceeded",
        "forbidden",
        "access_not_configured",
        "insufficient_scope",
        "invalid_parameter",
        "auth_error",
        "backend_error",
        "details_only_429",
    }
)
KINDS: Mapping[Source, frozenset[str]] = {
    "matomo": DELIVERY_KINDS | HTTP_KINDS | MATOMO_KINDS | CELL_KINDS,
    "visits": DELIVERY_KINDS
    | HTTP_KINDS
    | (MATOMO_KINDS - {"too_many_cells"})
    | VISIT_KINDS
    | {"page_too_large"},
    "consent": CONSENT_KINDS,
    "token": DELIVERY_KINDS | HTTP_KINDS | TOKEN_KINDS,
    "sites": DELIVERY_KINDS | HTTP_KINDS | GOOGLE_KINDS,
    "query": DELIVERY_KINDS | HTTP_KINDS | GOOGLE_KINDS | ROW_KINDS,
}
"""Of Matomo and Search Console. Those of the social platforms are known under SOURCE_KINDS only."""
SOURCE_KINDS: Mapping[Source, frozenset[str]] = {
    **KINDS,
    **{source: DELIVERY_KINDS | HTTP_KINDS | kinds for source, kinds in SOCIAL_KINDS.items()},
}


@dataclass(frozen=True)
class Fault:
    """One kind of fault at one source, for the requests which match every field that is given.

    site, days: any asked site, any asked day is among them; a spoiled number is spoiled for these
    only. cells: more site-days than this are asked for; visits: more visits in one page.
    visit: the idVisit of the one to be spoiled; without it the one in the middle of each page. Of
    the matching requests, counted from 1: nth is that one alone, times the first so many, share an
    evenly spread part. seconds: the wait of slow, stall and each byte of drip, the Retry-After of
    http_429 and linkedin_429, and, in whole minutes, the wait that graph_8000x names.
    At the social platforms, and where one of their refresh tokens is at "token", account is the
    number of a connection.
    """

    source: Source
    kind: str
    site: int | None = None
    account: int | None = None
    days: tuple[date, ...] | None = None
    cells: int | None = None
    visits: int | None = None
    visit: int | None = None
    nth: int | None = None
    times: int | None = None
    share: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_KINDS.get(self.source, ()):
            raise ValueError(f"no fault {self.kind!r} at {self.source!r}")
        if self.kind == "too_many_cells" and self.cells is None:
            raise ValueError("too_many_cells needs cells")
        if self.kind == "page_too_large" and self.visits is None:
            raise ValueError("page_too_large needs visits")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fault:
        """A fault from its fields, days as YYYY-MM-DD; ValueError names what is wrong."""
        unknown = value.keys() - {field.name for field in fields(cls)}
        if unknown or not value.keys() >= {"source", "kind"}:
            raise ValueError(f"a fault has source, kind and known fields, not {sorted(value)}")
        days = value.get("days")
        parsed = None if days is None else tuple(date.fromisoformat(day) for day in days)
        return cls(**{**value, "days": parsed})

    def matches(self, call: Call) -> bool:
        return (
            self.source == call.source
            and (self.site is None or self.site in call.sites)
            and (self.account is None or self.account == call.account)
            and (self.days is None or self._meets_days(call))
            and (self.cells is None or call.cells > self.cells)
            and (self.visits is None or call.visits > self.visits)
        )

    def _meets_days(self, call: Call) -> bool:
        if call.days is None or self.days is None:
            return False
        first, last = call.days
        return any(first <= day <= last for day in self.days)

    def falls_on(self, count: int) -> bool:
        """Whether the count-th matching request (from 1) meets the fault."""
        return (
            (self.nth is None or count == self.nth)
            and (self.times is None or count <= self.times)
            and (self.share is None or int(count * self.share) > int((count - 1) * self.share))
        )

    def spoils(self, site: int, day: date) -> bool:
        return self.site in {None, site} and (self.days is None or day in self.days)


class Faults:
    """The faults in force, each with a count of the requests that matched it; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: list[tuple[Fault, list[int]]] = []

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._counts += [(fault, [0]) for fault in faults]

    def replace(self, faults: Iterable[Fault]) -> None:
        with self._lock:
            self._counts = [(fault, [0]) for fault in faults]

    def clear(self) -> None:
        self.replace(())

    def meeting(self, call: Call) -> list[Fault]:
        """The faults which this request meets, in the order they were added."""
        if not self._counts:
            return []
        with self._lock:
            matching = [entry for entry in self._counts if entry[0].matches(call)]
            for _, count in matching:
                count[0] += 1
            return [fault for fault, count in matching if fault.falls_on(count[0])]
