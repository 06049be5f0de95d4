"""Changes at the social platforms behind the program's back: numbers, late days, tokens."""

from __future__ import annotations

from datetime import timedelta

from sandbox.social import Social
from sandbox.social_access import Holder
from sandbox.social_numbers import OF_A_DAY
from tests.end_to_end.chaos.plans import Change
from tests.end_to_end.chaos.social_said import SocialState
from tests.end_to_end.chaos.stores import Store

KINDS = ("social_revise", "social_hold", "social_publish", "social_revoke", "social_reconnect")


def change_social(social: Social, store: Store, state: SocialState, change: Change) -> bool:
    """One change; whether it changed anything."""
    connection, world = change.site, state.world
    platform = world.platform_of(connection)
    day = world.today(platform) - timedelta(days=1 + change.days_ago)
    match change.kind:
        case "social_revise":
            state.revision += 1
            for metric in OF_A_DAY[platform]:
                number = world.number(connection, metric, day) + 1000 * state.revision
                social.numbers.set(connection, metric, day, 0 if change.zero else number)
        case "social_hold":
            social.numbers.hold_back(connection, day)
            state.held_back.add((connection, day))
        case "social_publish" if (connection, day) in state.held_back:
            social.numbers.publish(connection, day)
            state.held_back.remove((connection, day))
        case "social_revoke" if platform != "youtube":  # whose tokens live for an hour
            social.tokens.revoke(store.connections()[connection].access_token)
            state.revoked.add(connection)
        case "social_reconnect":
            reconnect(social, store, state, connection)
        case _:
            return False
    state.upset.add(connection)
    return True


def reconnect(social: Social, store: Store, state: SocialState, connection: int) -> None:
    """Its owner consents again: the app stores a new token. YouTube is asked with a refresh token,
    and every one is good for as long as its owner wants."""
    tokens = social.tokens
    if state.world.platform_of(connection) == "youtube":
        new = f"{state.world.refresh_token(connection)}-{state.tokens[connection] + 1}"
        with tokens._lock:
            tokens._holders[new] = Holder(connection, "refresh")
        store.set_connection_token(connection, new, which="refresh")
    else:
        store.set_connection_token(connection, tokens.issue(connection))
    state.tokens[connection] += 1
    state.revoked.discard(connection)
    state.unclear.discard(connection)
