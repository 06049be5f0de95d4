"""Refresh tokens in every database: added, and replaced only where nobody else did."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.run_failures import CannotRun
from jobs.stored_tokens import decrypt, store_token
from jobs.tokens import Outcome, is_fine_for, rewrite_all
from storage.errors import DatabaseUnavailable, MissingRelation
from tests.integration.databases import TABLES_OF_A_USER, OpenStore, Store
from tests.integration.tables import MIGRATIONS, migrate, rows
from tests.services.gateway import Fault
from tests.services.postgrest import create_roles
from tests.unit.helpers import fernet_key

KEY, OLD = fernet_key(1), fernet_key(2)
MIGRATION = MIGRATIONS / "20261121000300_replace_gsc_token.sql"
TOKEN = "1//sentinel-refresh-token"
ODD = "1//x'\"\\%&,().:*{}y"
"""Whatever a token may hold arrives as it is, over REST too."""


def stored(store: Store) -> dict[Any, str]:
    return {account.id: account.refresh_token for account in store.database.read_gsc_accounts()}


def test_an_account_is_added_and_its_id_comes_back(store: Store) -> None:
    first = store.database.add_gsc_account("a-token")
    second = store.database.add_gsc_account(ODD)
    assert stored(store) == {first: "a-token", second: ODD}


def test_a_token_is_replaced(store: Store) -> None:
    account, other = (store.database.add_gsc_account(ODD) for _ in range(2))
    assert store.database.replace_gsc_token(account, ODD, "new") is True
    assert stored(store) == {account: "new", other: ODD}


def test_a_token_that_changed_meanwhile_is_left_alone(store: Store) -> None:
    account = store.database.add_gsc_account("of somebody else by now")
    assert store.database.replace_gsc_token(account, "old", "new") is False
    assert stored(store) == {account: "of somebody else by now"}


def test_an_account_that_is_gone_is_not_made_anew(store: Store) -> None:
    account = store.database.add_gsc_account("old")
    store.execute("delete from public.gsc_accounts")
    assert store.database.replace_gsc_token(account, "old", "new") is False
    assert stored(store) == {}


def test_an_empty_and_a_missing_token_are_replaced_too(store: Store) -> None:
    store.execute("alter table public.gsc_accounts alter column oauth_refresh_token drop not null")
    store.execute("insert into public.gsc_accounts (oauth_refresh_token) values (null), ('')")
    for account in store.database.read_gsc_accounts():
        assert store_token(store.database, TOKEN, (KEY,), str(account.id)) == account.id
    assert {decrypt(token, (KEY,)) for token in stored(store).values()} == {TOKEN}


@pytest.mark.parametrize("kind", ["postgres", "rest"])
@pytest.mark.parametrize(
    "change",
    [
        "alter table public.gsc_accounts alter column id drop default",
        "alter table public.gsc_accounts add column email text not null",
    ],
    ids=["no default", "another column"],
)
def test_a_table_that_wants_more_than_a_token_says_what_mends_it(
    change: str, kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind)
    store.execute(change)
    with pytest.raises(CannotRun) as caught:
        store_token(store.database, TOKEN, (KEY,), None)
    assert "null value in column" in caught.value.message
    assert "gAAAAA" not in caught.value.message
    assert "add the row by hand" in caught.value.mend


@pytest.mark.parametrize("kind", ["postgres", "rest"])
def test_a_token_that_does_not_fit_is_refused_without_being_quoted(
    kind: str, open_a_store: OpenStore
) -> None:
    store = open_a_store(kind, before=TABLES_OF_A_USER)
    store.execute(
        "alter table public.gsc_accounts add constraint short "
        "check (length(oauth_refresh_token) < 60)"
    )
    account = store.database.add_gsc_account(TOKEN)
    outcome = Outcome()
    rewrite_all(store.database, (KEY,), outcome, is_fine=is_fine_for("encrypt", (KEY,)))
    assert outcome.changed == 0
    [reason] = outcome.failed.values()
    assert 'violates check constraint "short"' in reason
    assert "gAAAAA" not in reason
    assert stored(store) == {account: TOKEN}


@pytest.mark.parametrize("before", ["", TABLES_OF_A_USER], ids=["uuid", "serial"])
def test_what_the_migration_grants_is_enough_for_the_service_key(
    before: str, open_a_store: OpenStore
) -> None:
    """A project without Supabase's former default grants has what the migrations grant, alone."""
    store = open_a_store("rest", before=before)
    store.execute(
        "revoke all on all tables in schema public from service_role; "
        "revoke all on all sequences in schema public from service_role; "
        "revoke all on all routines in schema public from public, service_role; "
        "grant select on public.gsc_accounts to service_role"
    )
    store.execute(MIGRATION.read_text())
    account = store.database.add_gsc_account("old")
    assert store.database.replace_gsc_token(account, "old", "new")
    assert stored(store) == {account: "new"}


def test_the_function_is_for_the_service_key_alone(database_url: str) -> None:
    create_roles(database_url)  # as in a Supabase project: everything is granted to everybody
    migrate(database_url)
    function = "public.replace_gsc_token(text, text, text)"
    allowed = {
        role: rows(
            database_url, f"select has_function_privilege('{role}', '{function}', 'execute')"
        )
        for role in ("anon", "authenticated", "service_role")
    }
    assert allowed == {"anon": [(False,)], "authenticated": [(False,)], "service_role": [(True,)]}


def test_no_token_is_in_a_url(rest: Store) -> None:
    assert rest.postgrest
    account = store_token(rest.database, TOKEN, (OLD,), None)
    store_token(rest.database, TOKEN, (KEY,), str(account))
    requests = rest.postgrest.proxy.requests
    assert any("rpc/replace_gsc_token" in request.path for request in requests)
    urls = "".join(f"{request.path}?{request.query}" for request in requests)
    assert "sentinel" not in urls
    assert "gAAAAA" not in urls


def test_an_account_whose_answer_was_lost_is_there_once(rest: Store) -> None:
    assert rest.postgrest
    rest.postgrest.proxy.faults.append(
        Fault("drop_after", when=lambda request: request.method == "POST")
    )
    account = store_token(rest.database, TOKEN, (KEY,), None)
    assert {a: decrypt(token, (KEY,)) for a, token in stored(rest).items()} == {account: TOKEN}


def test_an_account_whose_request_was_lost_is_there_once(rest: Store) -> None:
    assert rest.postgrest
    rest.postgrest.proxy.faults.append(Fault("drop", when=lambda request: request.method == "POST"))
    account = store_token(rest.database, TOKEN, (KEY,), None)
    assert list(stored(rest)) == [account]


def test_a_replacement_whose_answer_was_lost_is_no_failure(rest: Store) -> None:
    assert rest.postgrest
    account = rest.database.add_gsc_account("old")
    rest.postgrest.proxy.faults.append(Fault("drop_after", when=lambda r: "rpc" in r.path))
    assert store_token(rest.database, TOKEN, (KEY,), str(account)) == account
    assert decrypt(stored(rest)[account], (KEY,)) == TOKEN


def test_without_the_migration_rest_says_so(open_a_store: OpenStore) -> None:
    store = open_a_store("rest", before=TABLES_OF_A_USER, with_migrations=False)
    account = store.database.add_gsc_account("old")
    with pytest.raises(MissingRelation) as caught:
        store.database.replace_gsc_token(account, "old", "new")
    assert "aggregator.py migrate" in caught.value.mend
    assert stored(store) == {account: "old"}


def test_a_database_that_goes_away_keeps_what_was_encrypted(rest: Store) -> None:
    assert rest.postgrest
    for n in range(3):
        rest.database.add_gsc_account(f"token-{n}")
    calls: list[str] = []

    def third(request: Any) -> bool:
        calls.append(request.path)
        return sum("rpc" in path for path in calls) >= 3

    rest.postgrest.proxy.faults.append(Fault("drop", when=third, times=None))
    outcome = Outcome()
    with pytest.raises(DatabaseUnavailable):
        rewrite_all(rest.database, (KEY,), outcome, is_fine=is_fine_for("rotate", (KEY,)))
    assert outcome.changed == 2
    rest.postgrest.proxy.faults.clear()
    rewrite_all(rest.database, (KEY,), again := Outcome(), is_fine=is_fine_for("rotate", (KEY,)))
    assert (again.changed, again.fine) == (1, 2)
