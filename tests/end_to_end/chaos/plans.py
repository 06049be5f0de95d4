"""What a night may meet: strategies of what is asked, of faults, and of changes behind its back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from hypothesis import strategies as st

from models import Window
from sandbox import Fault
from sandbox.faults import KINDS, VISIT_KINDS
from sandbox.faults import SOURCE_KINDS as SOURCE_KINDS_OF
from sandbox.messages import Source
from sandbox.social_world import PLATFORMS
from tests.end_to_end.chaos import stores
from tests.end_to_end.chaos.social_said import CONNECTION_NUMBERS
from tests.end_to_end.chaos.stores import DatabaseFault
from tests.end_to_end.chaos.world import ACCOUNTS, LOG_SITES, NOBODY, SITES

SOURCES: tuple[Source, ...] = ("matomo", "token", "sites", "query")
SOURCE_KINDS = tuple((source, kind) for source in SOURCES for kind in sorted(KINDS[source]))
LOG_SOURCES: tuple[Source, ...] = ("visits", "matomo")
LOG_KINDS = tuple((source, kind) for source in LOG_SOURCES for kind in sorted(KINDS[source]))
"""What an import of the visit log may meet."""
SPOILED_KINDS: tuple[tuple[Source, str], ...] = tuple(
    ("visits", kind) for kind in sorted(VISIT_KINDS)
)
SOCIAL_KINDS = tuple(
    (source, kind) for source in PLATFORMS for kind in sorted(SOURCE_KINDS_OF[source])
)
"""What a collection of the social platforms may meet, beside what befalls Google's tokens."""
TOKEN_KINDS = tuple((source, kind) for source, kind in SOURCE_KINDS if source == "token")
SLOW = {"slow": 0.35, "stall": 0.5, "drip": 0.1}
SHORT_TIMEOUT, LONG_TIMEOUT = 0.2, 10.0

# Nights of the clock change in Europe and America, the ends of years, a leap day, and others.
NIGHTS = [
    datetime(2026, 3, 8, 9, 30, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 45, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    datetime(2026, 11, 1, 8, 30, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 50, tzinfo=UTC),
    datetime(2027, 1, 1, 2, 0, tzinfo=UTC),
    datetime(2027, 1, 1, 7, 59, tzinfo=UTC),
    datetime(2028, 2, 29, 2, 0, tzinfo=UTC),
    datetime(2026, 11, 20, 2, 0, tzinfo=UTC),
]
ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati"]
# More than three days ahead, days that Search Console has not published would be taken for zeros.
SKEWS = [timedelta(hours=hours) for hours in (-1, 1, -24, 24, -72, 48, -960)]


@dataclass(frozen=True)
class Ask:
    """The words of one run. days: first and last as days before today; None: the nightly window.

    sites: of the social platforms, connections. gaps goes with days only.
    """

    days: tuple[int, int] | None = None
    gaps: bool = False
    sites: tuple[int, ...] = ()
    source: str | None = None
    dry_run: bool = False
    style: tuple[str, ...] = ()

    @property
    def is_long_ago(self) -> bool:
        return self.days is not None and self.days[0] > 400

    def window(self, today: date, target_days_ago: int, lookback: int) -> Window:
        if self.days is not None:
            return Window(*(today - timedelta(days=ago) for ago in self.days))
        last = today - timedelta(days=target_days_ago)
        return Window(last - timedelta(days=lookback - 1), last)


ChangeKind = Literal[
    "add_site", "delete_site", "move_site", "move_property", "hide", "revise", "terminate"
]
LogChangeKind = Literal["add_visit", "add_action", "remove_action"]
SocialChangeKind = Literal[
    "social_revise", "social_hold", "social_publish", "social_revoke", "social_reconnect"
]


@dataclass(frozen=True)
class Change:
    """Something that happens behind the program's back, at its at-th request (0: before it).

    nth: which visit and action of the day, in changes of the visit log. site: of the social
    platforms, a connection.
    """

    kind: ChangeKind | LogChangeKind | SocialChangeKind
    site: int = 1
    account: int = 1
    days_ago: int = 2
    zero: bool = False
    at: int = 0
    nth: int = 0


@dataclass(frozen=True)
class Plan:
    """One night: what is asked, and what goes wrong meanwhile."""

    ask: Ask = Ask()
    faults: tuple[Fault, ...] = ()
    database: DatabaseFault | None = None
    changes: tuple[Change, ...] = ()
    deadline_seconds: float = 60.0

    @property
    def is_slow(self) -> bool:
        return any(fault.kind in SLOW for fault in self.faults)


@dataclass(frozen=True)
class Profile:
    """Settings of one sequence. page, offset, partitioned: of the visit log."""

    zone: str = "UTC"
    target_days_ago: int = 2
    lookback: int = 3
    concurrency: int = 16
    attempts: int = 2
    sites_per_request: int = 50
    gsc_per_minute: int = 1200
    encrypted: bool = False
    page: int = 5
    offset: int = 1
    partitioned: bool = False


sites = st.integers(1, SITES)
accounts = st.integers(1, ACCOUNTS)
connections = st.sampled_from(CONNECTION_NUMBERS)

profiles = st.builds(
    Profile,
    zone=st.sampled_from(ZONES),
    target_days_ago=st.integers(0, 3),
    lookback=st.integers(1, 4),
    concurrency=st.sampled_from([1, 2, 4, 16]),
    attempts=st.integers(1, 3),
    sites_per_request=st.sampled_from([1, 3, 50]),
    gsc_per_minute=st.sampled_from([3, 1200]),
    encrypted=st.booleans(),
    page=st.sampled_from([2, 3, 5, 50]),
    offset=st.integers(0, 2),
    partitioned=st.booleans(),
)

spans = st.tuples(st.integers(0, 12), st.integers(0, 4)).map(lambda d: (max(d), min(d)))
too_old = st.just((490, 484))  # Search Console keeps 486 days

asks = st.builds(
    Ask,
    days=st.none() | st.none() | spans | spans | spans | too_old,
    gaps=st.booleans(),
    sites=st.just(()) | st.just(()) | st.lists(sites, max_size=2, unique=True).map(tuple),
    source=st.sampled_from([None, None, None, "matomo", "gsc"]),
    dry_run=st.sampled_from([False] * 7 + [True]),
    style=st.sampled_from([(), ("-v",), ("-q",), ("--log-format", "json", "-v")]),
)


@st.composite
def source_faults(
    draw: st.DrawFn, kinds: Sequence[tuple[Source, str]], among: st.SearchStrategy[int] = sites
) -> Fault:
    """A fault of one of these kinds, of one site or account or of all, for some requests or all."""
    quick = [(source, kind) for source, kind in kinds if kind not in SLOW]
    source, kind = draw(st.sampled_from([*quick, *quick, *kinds]))
    which = st.none() | st.none() | st.integers(1, 4)
    return Fault(
        source,
        kind,
        site=draw(st.none() | among) if source in ("matomo", "visits", "query") else None,
        account=_account(draw, source),
        cells=draw(st.sampled_from([0, 4])) if kind == "too_many_cells" else None,
        visits=draw(st.integers(0, 2)) if kind == "page_too_large" else None,
        nth=draw(which),
        times=draw(which),
        seconds=SLOW.get(kind, draw(st.sampled_from([None, 0.0])) if kind == "http_429" else None),
    )


def _account(draw: st.DrawFn, source: Source) -> int | None:
    if source in PLATFORMS:
        return draw(st.none() | connections | connections)
    return draw(st.none() | accounts) if source in ("token", "sites", "query") else None


def database_faults(kind_of_store: str) -> st.SearchStrategy[DatabaseFault]:
    return st.builds(
        DatabaseFault,
        kind=st.sampled_from(stores.KINDS[kind_of_store]),
        at=st.integers(1, 12) | st.integers(1, 60),
        times=st.sampled_from([1, 1, 2, 1000]),
        relation=st.sampled_from(stores.TABLES),
        site=sites,
    )


changes = st.builds(
    Change,
    kind=st.sampled_from(ChangeKind.__args__),  # type: ignore[attr-defined]
    site=sites,
    account=st.sampled_from([NOBODY, *range(1, ACCOUNTS + 1)]),
    days_ago=st.integers(0, 8),
    zero=st.booleans(),
    at=st.integers(0, 12),
)


def plans(kinds: Sequence[tuple[Source, str]], kind_of_store: str) -> st.SearchStrategy[Plan]:
    """Nights of which most meet something."""
    few = st.lists(source_faults(kinds), max_size=3).map(tuple)
    return st.builds(
        Plan,
        ask=asks,
        faults=few,
        database=st.none() | st.none() | database_faults(kind_of_store),
        changes=st.lists(changes, max_size=2).map(tuple),
        deadline_seconds=st.sampled_from([60.0] * 9 + [0.03]),
    )


log_sites = st.sampled_from(LOG_SITES)
log_spans = st.tuples(st.integers(0, 4), st.integers(0, 2)).map(lambda d: (max(d), min(d)))
log_changes = st.builds(
    Change,
    kind=st.sampled_from(LogChangeKind.__args__),  # type: ignore[attr-defined]
    site=log_sites,
    days_ago=st.integers(0, 4),
    at=st.integers(0, 12),
    nth=st.integers(0, 20),
)
import_asks = st.builds(
    Ask,
    days=st.none() | st.none() | log_spans,
    sites=st.just(()) | st.just(()) | st.lists(log_sites, max_size=2, unique=True).map(tuple),
    style=st.sampled_from([(), ("-v",), ("-q",), ("--log-format", "json", "-v")]),
)
import_database_faults = st.builds(
    DatabaseFault,
    kind=st.sampled_from(stores.IMPORT_KINDS),
    at=st.integers(1, 4) | st.integers(1, 60),
    times=st.sampled_from([1, 1, 2, 1000]),
    relation=st.sampled_from(stores.IMPORT_TABLES),
    site=log_sites,
)
terminations = st.builds(Change, kind=st.just("terminate"), at=st.integers(1, 12))
imports = st.builds(
    Plan,
    ask=import_asks,
    faults=st.lists(source_faults((*LOG_KINDS, *SPOILED_KINDS * 4), log_sites), max_size=3).map(
        tuple
    ),
    database=st.none() | st.none() | import_database_faults,
    changes=st.lists(log_changes | log_changes | terminations, max_size=3).map(tuple),
    deadline_seconds=st.sampled_from([60.0] * 9 + [0.03]),
)
"""Imports of the visit log, of which most meet something."""

social_spans = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda d: (max(d), min(d)))
social_asks = st.builds(
    Ask,
    days=st.none() | st.none() | social_spans | st.just((3, 0)),
    sites=st.just(()) | st.just(()) | st.lists(connections, max_size=3, unique=True).map(tuple),
    dry_run=st.sampled_from([False] * 7 + [True]),
    style=st.sampled_from([(), ("-v",), ("-q",), ("--log-format", "json", "-v")]),
)
social_changes = st.builds(
    Change,
    kind=st.sampled_from(["social_revise", "social_revise", "social_hold", "social_publish"]),
    site=connections,
    days_ago=st.integers(0, 6),
    zero=st.booleans(),
    at=st.sampled_from([0, 0, 1, 5, 12]),
) | st.builds(  # a consent ends or begins between runs: each mark is then about one token
    Change, kind=st.sampled_from(["social_revoke", "social_reconnect"]), site=connections
)


def collections(kind_of_store: str) -> st.SearchStrategy[Plan]:
    """Runs over the social platforms, of which most meet something."""
    faults = source_faults((*SOCIAL_KINDS, *TOKEN_KINDS))
    of_database = st.builds(
        DatabaseFault,
        kind=st.sampled_from(stores.SOCIAL_KINDS[kind_of_store]),
        at=st.integers(1, 4) | st.integers(1, 40),
        times=st.sampled_from([1, 1, 2, 1000]),
        relation=st.sampled_from(stores.SOCIAL_TABLES),
        site=connections,
    )
    return st.builds(
        Plan,
        ask=social_asks,
        faults=st.lists(faults, max_size=4).map(tuple),
        database=st.none() | st.none() | of_database,
        changes=st.lists(social_changes | social_changes | terminations, max_size=3).map(tuple),
        deadline_seconds=st.sampled_from([60.0] * 9 + [0.03]),
    )


# What ends a credential, at one of its first requests: the rest must not be asked any more.
REFUSALS: tuple[tuple[Source, str], ...] = (
    ("matomo", "token_refused"),
    ("matomo", "login_blocked"),
    ("token", "invalid_grant"),
    ("token", "invalid_client"),
    ("query", "insufficient_scope"),
    ("query", "access_not_configured"),
    ("query", "daily_limit_exceeded"),
    ("sites", "insufficient_scope"),
)


@st.composite
def refusals(draw: st.DrawFn) -> Plan:
    """A night on which one credential is refused in the midst of its work."""
    source, kind = draw(st.sampled_from(REFUSALS))
    account = draw(st.none() | accounts) if source != "matomo" else None
    nth = draw(st.integers(1, 4)) if source in ("matomo", "query") else None
    return Plan(faults=(Fault(source, kind, account=account, nth=nth),))


def narrow(profile: Profile, concurrency: int) -> Profile:
    """Settings with which each limit is reached by a few requests."""
    return replace(
        profile, concurrency=concurrency, sites_per_request=1, gsc_per_minute=1, attempts=1
    )
