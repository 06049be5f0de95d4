"""One run of `aggregator.py social` while a plan goes wrong around it, and what it left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from models import days_between
from sandbox import SocialWorld, seed
from sandbox.social_numbers import SocialNumbers
from sandbox.social_world import LEVELS, midnight, zone_of
from tests.end_to_end.chaos.evidence import Trace
from tests.end_to_end.chaos.plans import Ask, Plan
from tests.end_to_end.chaos.program import run_program
from tests.end_to_end.chaos.social_said import (
    CONNECTION_NUMBERS,
    Key,
    SaidSocial,
    SocialState,
    stored_name,
)
from tests.end_to_end.chaos.stage import Run, Stage
from tests.end_to_end.chaos.stores import StoredConnection, StoredNumber

WEEK = 7
SETTLED = timedelta(hours=48)
LINKEDIN_DELAY = timedelta(hours=48)
FOLLOWER_COUNT_KEPT = timedelta(days=30)
DUE = timedelta(days=10)
"""Of the tokens that are renewed: within two weeks."""

Snapshots = Mapping[Key, StoredNumber]


@dataclass(frozen=True, kw_only=True)
class Gathered(Trace):
    """One run. asked_for: the connections and days that the words ask for; impossible: why it
    cannot begin. expected: what the world would have it store, of all connections and these days.

    barred: connections that must not be asked, their token being the one that was refused; revoked:
    those whose token is dead. upset: what changed during the run.
    """

    world: SocialWorld
    today: date
    asked_for: tuple[int, ...]
    days: tuple[date, ...]
    impossible: str
    expected: Mapping[Key, float]
    before: Snapshots
    after: Snapshots
    connections_before: Mapping[int, StoredConnection]
    connections: Mapping[int, StoredConnection]
    said: SaidSocial
    ever: SaidSocial
    barred: frozenset[int]
    revoked: frozenset[int]
    upset: frozenset[int]
    good_tokens: frozenset[int]
    leaks: tuple[str, ...]
    trapped: tuple[str, ...]

    @property
    def nightly(self) -> bool:
        return self.plan.ask.days is None

    def failed(self, source: str = "") -> set[int]:
        """The connections that the history names, of this source or of any."""
        if self.finished is None:
            return set()
        numbers = {seed.connection_id(n): n for n in CONNECTION_NUMBERS}
        return {
            numbers[str(connection)]
            for failure in self.finished.failures
            if not source or failure["source"] == source
            for connection in failure["sites"]
        }


def a_collection(stage: Stage, plan: Plan, run: Run = run_program, **more: Any) -> Gathered:
    """Run `aggregator.py social` once, as `Stage.night` runs the nightly job."""
    state = ready(stage)
    for change in plan.changes:
        if not change.at:
            stage.change(change)
    stage.tally.met["collection of the social platforms"] += 1
    state.upset.clear()
    now = stage.now + stage.skew
    today = now.astimezone(zone_of("facebook")).date()
    days = asked_days(plan.ask, today)
    state.touched.update(days)
    before, connections = stage.store.snapshots(), stage.store.connections()
    barred = {n for n in CONNECTION_NUMBERS if state.must_not_be_asked(n)} - state.unclear
    revoked = frozenset(state.revoked | state.unclear)
    trace = stage.run(plan, words(plan.ask, days), run, **more)
    said = stage.heard.said_social
    state.ever.add(said)
    after = stage.store.connections()
    holder = stage.heard.social.tokens.holder
    held = {n: holder(connection.access_token) for n, connection in after.items()}
    good = frozenset(n for n, found in held.items() if found and found.connection == n)
    state.revoked -= good  # a new one came in its place
    _note_marks(state, after, alone=more.get("alone") is not False)
    return Gathered(
        **trace,
        world=state.world,
        today=today,
        asked_for=plan.ask.sites or tuple(CONNECTION_NUMBERS),
        days=tuple(days),
        impossible="is not over" if days[-1] >= today else "",
        expected=expected_rows(stage, days, levels=plan.ask.days is None),
        before=before,
        after=stage.store.snapshots(),
        connections_before=connections,
        connections=after,
        said=said,
        ever=state.ever,
        barred=frozenset(barred),
        revoked=revoked | state.unclear,
        upset=frozenset(state.upset),
        good_tokens=good,
        leaks=tuple(stage.heard.social.leaks),
        trapped=tuple(stage.heard.social.trapped),
    )


def ready(stage: Stage) -> SocialState:
    """The sequence's connections, stored when they are first needed."""
    if stage.social is None:
        stage.social = SocialState(stage.heard.social.world)
        stage.store.add_connections(
            stage.heard.social.world, stage.now + DUE, encrypted=stage.profile.encrypted
        )
    return stage.social


def asked_days(ask: Ask, today: date) -> list[date]:
    """The nightly week ends yesterday; `today` is the Pacific day by the program's clock."""
    first, last = ask.days or (WEEK, 1)
    return days_between(today - timedelta(days=first), today - timedelta(days=last))


def words(ask: Ask, days: list[date]) -> list[str]:
    found = ["social", *ask.style]
    if ask.days is not None:
        found += ["--from", str(days[0]), "--to", str(days[-1])]
    for connection in ask.sites:
        found += ["--connection", seed.connection_id(connection)]
    return found + (["--dry-run"] if ask.dry_run else [])


def expected_rows(stage: Stage, days: list[date], *, levels: bool) -> dict[Key, float]:
    """By docs/social.md, "Which days" and "A row", apart from the program."""
    numbers, world = stage.heard.social.numbers, stage.heard.social.world
    found: dict[Key, float] = {}
    for connection in CONNECTION_NUMBERS:
        for day in days:
            for metric, value in numbers.of_a_day(connection, day).items():
                if is_asked(world, connection, metric, day, stage.now):
                    found[connection, stored_name(metric), day] = value
        if levels:
            found |= _levels(numbers, connection)
    return found


def _levels(numbers: SocialNumbers, connection: int) -> dict[Key, float]:
    platform = numbers.world.platform_of(connection)
    of = {"instagram": tuple(LEVELS)[:3], "linkedin": ("firstDegreeSize",)}.get(platform, ())
    today = numbers.world.today(platform)
    return {(connection, metric, today): numbers.get(connection, metric, today) for metric in of}


def is_asked(world: SocialWorld, connection: int, metric: str, day: date, now: datetime) -> bool:
    """Whether a run at this time asks for it: parts once a day is settled, LinkedIn's days after
    two, and Instagram's new followers of 30 days."""
    platform = world.platform_of(connection)
    over = midnight(platform, day + timedelta(days=1))
    if platform == "linkedin":
        return now >= over + LINKEDIN_DELAY
    if platform == "instagram" and metric == "follower_count":
        return midnight(platform, day) >= now - FOLLOWER_COUNT_KEPT
    if platform == "instagram" and ":" in metric:
        return now >= over + SETTLED
    return True


def _note_marks(
    state: SocialState, connections: Mapping[int, StoredConnection], *, alone: bool
) -> None:
    """Which token each mark is about: the one that was there when it first appeared."""
    for number, connection in connections.items():
        mark = connection.mark
        if mark is None:
            state.marked_at.pop(number, None)
            state.unclear.discard(number)
        elif mark != state.marks.get(number):
            state.marked_at[number] = state.tokens[number]
            if not alone:
                state.unclear.add(number)
        state.marks[number] = mark
