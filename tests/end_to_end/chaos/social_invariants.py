"""What holds after each run of `social`, beside what holds after each run of any job."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from fetchers.social_metrics import CATALOGUE
from sandbox import Fault
from sandbox.social_faults import (
    FACEBOOK_KINDS,
    GRAPH_SPOILS,
    INSTAGRAM_KINDS,
    LINKEDIN_KINDS,
    USAGE_KINDS,
    YOUTUBE_KINDS,
)
from sandbox.social_world import LEVELS, midnight
from tests.end_to_end.chaos.invariants import limits_are_kept, no_bug, no_secret_is_shown
from tests.end_to_end.chaos.plans import Ask, Plan
from tests.end_to_end.chaos.program import COULD_NOT_RUN
from tests.end_to_end.chaos.social_changes import reconnect
from tests.end_to_end.chaos.social_said import CONNECTION_NUMBERS, Key
from tests.end_to_end.chaos.socials import SETTLED, Gathered, a_collection, ready
from tests.end_to_end.chaos.stage import Stage
from tests.end_to_end.chaos.stores import StoredConnection, StoredNumber

INSERTED = re.compile(r"Total Metrics Inserted: (\d+)")

LOSSY: dict[str, frozenset[str]] = {
    "instagram": (GRAPH_SPOILS | INSTAGRAM_KINDS | {"graph_100", "graph_1"}) - USAGE_KINDS,
    "facebook": (GRAPH_SPOILS | FACEBOOK_KINDS | {"graph_100"}) - USAGE_KINDS,
    "youtube": YOUTUBE_KINDS | {"unsupported_query"},
    "linkedin": LINKEDIN_KINDS,
    "token": frozenset(),
}
"""After these a platform has not said everything, and rightly nothing failed."""

APP_WIDE: dict[str, frozenset[str]] = {
    "graph": frozenset({"graph_4", "graph_341", "graph_613", "http_429"}),
    "linkedin": frozenset({"http_429", "linkedin_429"}),
}
USER_WIDE = frozenset({"graph_17", "graph_32"})
LEARNED = frozenset({"graph_100", "unsupported_query"})
"""The whole run learns of these that metrics which can be spared are no more."""

FAMILY = {"instagram": "graph", "facebook": "graph", "linkedin": "linkedin", "youtube": "youtube"}
STATE_AFTER = {"instagram": SETTLED, "facebook": SETTLED, "youtube": timedelta(hours=72)}

Problems = Iterator[str]


def check_collection(e: Gathered) -> None:
    """Raises AssertionError with everything that does not hold and what was printed."""
    problems = [f"{rule.__name__}: {found}" for rule in RULES for found in rule(e)]
    if problems:
        shown = "\n".join(problems[:20])
        raise AssertionError(f"{shown}\n--- {e.plan}\n--- printed\n{e.outcome.out}")


def numbers_are_the_platforms(e: Gathered) -> Problems:
    """What is stored was said at some time of this account and day; what changed, in this run."""
    for key, row in e.after.items():
        old = e.before.get(key)
        said = e.ever if old is not None and old.value == row.value else e.said
        if not said.allows(key, row.value):
            yield f"{key}: {row.value} is stored, and was not said"


def nothing_known_is_forgotten(e: Gathered) -> Problems:
    yield from (f"{key} is gone" for key in e.before.keys() - e.after.keys())


def what_was_not_asked_is_untouched(e: Gathered) -> Problems:
    """Other connections, other days, and everything in a dry run."""
    idle = e.plan.ask.dry_run or e.outcome.status == COULD_NOT_RUN
    for key in changed(e) if e.alone else ():
        connection, metric, day = key
        of_now = metric in LEVELS and e.nightly and abs(day - e.today) <= timedelta(days=1)
        if idle or connection not in e.asked_for or not (day in e.days or of_now):
            yield f"{key}: {e.before.get(key)} became {e.after.get(key)}"


def changed(e: Gathered) -> list[Key]:
    return [key for key, row in e.after.items() if e.before.get(key) != row]


def final_is_said_of_settled_days_alone(e: Gathered) -> Problems:
    if e.skewed:
        return
    for key in changed(e):
        connection, metric, day = key
        platform = e.world.platform_of(connection)
        after = STATE_AFTER.get(platform)
        if after is None or (metric in LEVELS and day not in e.days):
            continue
        settled = e.world.now() >= midnight(platform, day + timedelta(days=1)) + after
        if e.after[key].state == "final" and not settled:
            yield f"{key} is final, and the day is not settled"


def a_zero_that_contradicts_the_reach_is_none(e: Gathered) -> Problems:
    """facts/social.md 1.6: 0 views on a day on which somebody was reached."""
    for key in changed(e):
        connection, metric, day = key
        reach = e.said.numbers.get((connection, "reach", day), set())
        kinds = {fault.kind for fault in concerning(e, connection)}
        if (
            metric != "views"
            or e.after[key].value
            or e.world.platform_of(connection) != "instagram"
        ):
            continue
        if kinds == {"zero_total"} and reach and min(reach) > 0:
            yield f"{key} is 0, and {reach} were reached"


def concerning(e: Gathered, connection: int) -> list[Fault]:
    """The faults that were met and may have to do with this connection."""
    platform, world = e.world.platform_of(connection), e.world

    def concerns(fault: Fault) -> bool:
        if fault.source == "token":
            return platform in ("youtube", "linkedin") and fault.account in (None, connection)
        if fault.source not in FAMILY:
            return False
        if fault.source == platform and fault.account in (None, connection):
            return True
        if FAMILY[fault.source] != FAMILY[platform]:
            return False
        if fault.kind in APP_WIDE.get(FAMILY[platform], ()):
            return True
        same_user = fault.account and world.user_of(fault.account) == world.user_of(connection)
        return fault.kind in USER_WIDE and bool(same_user or fault.account is None)

    return [fault for fault in e.met if concerns(fault)]


def disturbed(e: Gathered) -> bool:
    """Whether anything went wrong that is no fault of a platform."""
    hurried = e.plan.is_slow or e.plan.deadline_seconds < 1
    return e.skewed or hurried or e.stopped or e.killed or e.database_met or not e.alone


def one_connections_fault_costs_no_other(e: Gathered) -> Problems:
    """Without a fault of its own nothing of a connection fails."""
    for connection in e.failed() if not disturbed(e) else ():
        if not (concerning(e, connection) or connection in e.revoked | e.barred | e.upset):
            yield f"connection {connection} failed without a fault"


def what_is_not_stored_is_named(e: Gathered) -> Problems:
    """A connection that is not among the failures has everything that its platform has."""
    if e.finished is None or e.plan.ask.dry_run or e.outcome.status == COULD_NOT_RUN:
        return
    if not e.alone or e.skewed:
        return
    for (connection, metric, day), value in e.expected.items():
        met = concerning(e, connection)
        if connection not in e.asked_for or connection in e.failed() | e.upset:
            continue
        if any(fault.kind in LOSSY[fault.source] for fault in met):
            continue
        if any(f.kind in LEARNED for f in e.met) and can_be_spared(e, connection, metric):
            continue
        key, row = (connection, metric, day), e.after.get((connection, metric, day))
        if (row is None or row.value != value) and not may_be_older(e, key):
            yield f"{connection}, {metric}, {day}: {row} is stored, {value} is true, none failed"


def can_be_spared(e: Gathered, connection: int, metric: str) -> bool:
    """Optional metrics, and YouTube's parts: the whole is there."""
    platform, (name, _, part) = e.world.platform_of(connection), metric.partition(":")
    optional = any(m.optional for m in CATALOGUE[platform] if m.name == name)
    return optional or (platform == "youtube" and part != "")


def may_be_older(e: Gathered, key: Key) -> bool:
    """Instagram's totals of a day that was final are read again only if its reach has changed:
    neither is one that can be spared, and was not to be had then."""
    connection, metric, day = key
    if not e.nightly or e.world.platform_of(connection) != "instagram":
        return False
    old, reach = e.before.get(key), e.before.get((connection, "reach", day))
    if old is None and can_be_spared(e, connection, metric):
        old = e.before.get((connection, "views", day))
    is_total = metric not in ("reach", "follower_count", *LEVELS)
    return (
        is_total
        and old is not None
        and old.state == "final"
        and reach is not None
        and reach.value == e.expected.get((connection, "reach", day))
    )


def a_dead_token_is_marked_and_asked_no_more(e: Gathered) -> Problems:
    if not e.alone:
        return
    asked = {int(a.credential.split()[1]) for a in e.asked if a.credential[-1].isdigit()}
    yield from (f"connection {n} was asked with its dead token" for n in sorted(e.barred & asked))
    if e.finished is None or e.outcome.status == COULD_NOT_RUN or e.plan.ask.dry_run:
        if e.plan.ask.dry_run and marks(e.connections) != marks(e.connections_before):
            yield "a dry run changed the marks"
        return
    for connection in e.barred & set(e.asked_for):
        if connection not in e.failed() and connection in e.connections:
            yield f"connection {connection} was left out, and that is not said"
    # What drips may have arrived, or not.
    if e.stopped or e.database_met or e.plan.is_slow or e.plan.deadline_seconds < 1:
        return
    for connection, row in e.connections.items():
        is_dead = connection in e.said.dead
        if is_dead and row.mark is None:
            yield f"connection {connection} is refused for good, and not marked"
        was_marked = e.connections_before[connection].mark is not None
        if row.mark is not None and not (is_dead or was_marked or connection in e.revoked):
            yield f"connection {connection} is marked, and nobody refused it"
        good = connection in e.asked_for and connection not in e.failed() | e.barred
        if row.mark is not None and good:
            yield f"connection {connection} works, and is still marked"


def marks(connections: Mapping[int, StoredConnection]) -> dict[int, object]:
    return {number: connection.mark for number, connection in connections.items()}


def who_was_refused_is_not_asked_again(e: Gathered) -> Problems:
    """Each connection asks one thing after another: after a refusal nothing at all."""
    if not e.alone or e.plan.is_slow:
        return
    for asked in e.asked:
        who = asked.credential.split()[-1]
        if not who.isdigit():
            continue
        if asked.source == "token" and e.world.platform_of(int(who)) == "linkedin":
            continue  # a new token in place of the refused one
        refused_at = e.said.ended.get(int(who))
        if refused_at is not None and asked.at > refused_at:
            yield f"connection {who} was asked {asked.source} after it was refused"
            return


def other_metadata_are_left_alone(e: Gathered) -> Problems:
    for number, row in e.connections.items():
        old = e.connections_before[number].metadata
        ours = {"needs_reauth"}
        if {k: v for k, v in row.metadata.items() if k not in ours} != {
            k: v for k, v in old.items() if k not in ours
        }:
            yield f"connection {number}: {old} became {row.metadata}"


def each_stored_token_is_one_that_lives(e: Gathered) -> Problems:
    """Whenever a run that renews tokens is cut off."""
    for number in set(CONNECTION_NUMBERS) - e.good_tokens - e.revoked:
        yield f"the stored token of connection {number} is not one of its platform's"


def status_and_history_agree(e: Gathered) -> Problems:
    """Exit status, last line and history tell the same, and true, story."""
    if e.killed or not e.alone:
        return
    row, status = e.finished, e.outcome.status
    calm = not (e.database_met or e.plan.is_slow or e.stopped)
    if e.impossible:
        if status != COULD_NOT_RUN and not e.stopped:
            yield f"status {status}, though: {e.impossible}"
        return
    if calm and status == COULD_NOT_RUN:
        yield "it could not run, and nothing was in its way"
    if e.plan.ask.dry_run:
        if e.rows:
            yield "a dry run left a trace"
        return
    if len(e.rows) > 1:
        yield f"{len(e.rows)} rows in the history for one run"
    if row is None:
        if calm or (status in (0, 1) and "no run history" not in e.outcome.out):
            yield "no finished row in the history"
        return
    expected = {0: "complete", 1: "incomplete", COULD_NOT_RUN: "failed"}.get(status)
    if expected and row.status != expected:
        yield f"exit status {status}, and the history says {row.status}"
    if (row.status == "complete") != (not row.failures):
        yield f"{row.status} with {len(row.failures)} failures"
    if status not in (0, 1):
        return
    if _inserted(e) != row.counts.get("stored"):
        yield f"the report says {_inserted(e)}, the history {row.counts}"
    asked, failed = set(e.asked_for), e.failed()
    told = tuple(row.counts[name] for name in ("platforms", "platforms_successful"))
    if told != (len(asked), len(asked - failed)):
        yield f"platforms {told}, {len(asked)} were asked and {len(failed)} failed"
    users = {e.world.user_of(n) for n in asked}
    lucky = users - {e.world.user_of(n) for n in failed}
    if (row.counts["users"], row.counts["users_successful"]) != (len(users), len(lucky)):
        yield f"users {row.counts}, {len(users)} were asked and {len(lucky)} had no failure"


def _inserted(e: Gathered) -> int | None:
    lines = e.outcome.out.splitlines()
    messages = [json.loads(s).get("message", "") if s.startswith("{") else s for s in lines]
    found = [match for match in map(INSERTED.fullmatch, messages) if match]
    return int(found[0][1]) if len(found) == 1 else None


def no_secret_is_kept_or_sent_in_a_url(e: Gathered) -> Problems:
    yield from (f"a secret in the URL of {path}" for path in e.leaks)
    yield from (f"a link of paging was followed: {path}" for path in e.trapped)
    kept = json.dumps([connection.metadata for connection in e.connections.values()])
    yield from (f"{secret[:6]}… is kept in metadata" for secret in e.secrets if secret in kept)


RULES: list[Callable[[Gathered], Problems]] = [
    no_bug,
    numbers_are_the_platforms,
    nothing_known_is_forgotten,
    what_was_not_asked_is_untouched,
    final_is_said_of_settled_days_alone,
    a_zero_that_contradicts_the_reach_is_none,
    one_connections_fault_costs_no_other,
    what_is_not_stored_is_named,
    a_dead_token_is_marked_and_asked_no_more,
    who_was_refused_is_not_asked_again,
    other_metadata_are_left_alone,
    each_stored_token_is_one_that_lives,
    status_and_history_agree,
    no_secret_is_shown,
    no_secret_is_kept_or_sent_in_a_url,
    limits_are_kept,
]


def check_social_recovery(stage: Stage) -> None:
    """After the faults end: one run over all days that were asked for, the nightly one, and the
    table is what the platforms have; one more, and no row changes."""
    state, social = ready(stage), stage.heard.social
    for connection, day in list(state.held_back):
        social.numbers.publish(connection, day)
    state.held_back.clear()
    for connection in CONNECTION_NUMBERS:
        if connection in state.revoked | state.unclear or state.marks.get(connection):
            reconnect(social, stage.store, state, connection)
    today = state.world.today("facebook")
    days = sorted(day for day in state.touched if day < today)
    plans = [Plan(), Plan()]
    if days:
        plans.insert(0, Plan(Ask(days=((today - days[0]).days, (today - days[-1]).days))))
    expected: dict[Key, float] = {}
    for plan in plans:
        stage.now += timedelta(seconds=1)  # else nothing at all would be new in the last one
        gathered = a_collection(stage, plan)
        check_collection(gathered)
        stage.forget_own_open_runs()
        assert gathered.outcome.status == 0, gathered.outcome.out
        expected |= gathered.expected
    wrong = [
        f"{key}: {gathered.after.get(key)} is stored, {value} is true"
        for key, value in expected.items()
        if not _is(gathered.after.get(key), value)
    ]
    assert not wrong, "\n".join(wrong[:20])
    assert gathered.before == gathered.after, "the same run again changed rows"


def _is(row: StoredNumber | None, value: float) -> bool:
    return row is not None and row.value == value
