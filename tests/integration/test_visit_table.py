"""A table is taken over as it is, or refused with what mends it, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.conninfo import make_conninfo

from storage.errors import DatabaseRefused, MissingRelation
from storage.visit_columns import STAGE_COLUMNS
from storage.visit_log import VisitLog
from tests.integration.tables import execute, rows
from tests.integration.visit_tables import create, upstream_partitioned, upstream_standard


@pytest.fixture
def log(migrated_url: str) -> Iterator[VisitLog]:
    opened = VisitLog(migrated_url, 1)
    yield opened
    opened.close()


def test_matomo_postgress_tables_are_taken_as_they_are(log: VisitLog, migrated_url: str) -> None:
    create(migrated_url, upstream_standard() + upstream_partitioned())
    standard, divided = log.open_table("matomo"), log.open_table("matomo_partitioned")
    assert (standard.partitioned, standard.key) == (False, ("action_id",))
    assert (divided.partitioned, divided.key) == (True, ("action_id", "action_timestamp"))
    for table in (standard, divided):
        assert table.columns == STAGE_COLUMNS
        assert table.missing == ()
        assert table.visits_indexed


def test_columns_that_an_older_table_lacks_are_named(log: VisitLog, migrated_url: str) -> None:
    create(migrated_url, upstream_standard(newer=False))
    table = log.open_table("matomo")
    assert table.missing == ("resolution", "experiments")
    assert set(table.columns) | set(table.missing) == set(STAGE_COLUMNS)


def test_a_table_without_an_index_on_visits_says_so(log: VisitLog, migrated_url: str) -> None:
    create(migrated_url, f"{upstream_standard()} drop index idx_idvisit_matomo")
    assert not log.open_table("matomo").visits_indexed


BROKEN = (
    "update pg_index set indisvalid = false where indexrelid = 'matomo_action_id_key'::regclass"
)
SPOILT = {
    # what was done to the standard table; what the error says; what its mend says
    "no key": (
        "alter table matomo drop constraint matomo_action_id_key",
        "no unique index on (action_id)",
        'alter table "public"."matomo" add unique (action_id)',
    ),
    "a key for some rows only": (
        "alter table matomo drop constraint matomo_action_id_key;"
        "create unique index on matomo (action_id) where idsite = '1'",
        "no unique index on (action_id)",
        "remove doubled rows",
    ),
    "a key of more columns": (
        "alter table matomo drop constraint matomo_action_id_key;"
        "create unique index on matomo (action_id, idsite)",
        "no unique index on (action_id)",
        "add unique (action_id)",
    ),
    "an invalid key": (BROKEN, "is invalid", "reindex index public.matomo_action_id_key"),
    "a deferrable key": (
        "alter table matomo drop constraint matomo_action_id_key;"
        "alter table matomo add unique (action_id) deferrable",
        "is deferrable",
        'alter table "public"."matomo" add unique (action_id)',
    ),
    "a view": (
        "alter table matomo rename to real; create view matomo as select * from real",
        "is no table but a view",
        "DESTINATION_TABLE",
    ),
    "no visit log": (
        "drop table matomo; create table matomo (action_id text unique, n int)",
        "lacks the columns action_timestamp, idsite, idvisit",
        "DESTINATION_TABLE",
    ),
    "a column of the user's that wants a value": (
        "alter table matomo add tenant int not null",
        "wants a value for tenant",
        "give that column a default",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_table_that_cannot_be_written_is_refused_with_what_mends_it(
    how: str, log: VisitLog, migrated_url: str
) -> None:
    create(migrated_url, upstream_standard())
    log.open_table("matomo")
    done, said, mend = SPOILT[how]
    create(migrated_url, done)
    with pytest.raises(DatabaseRefused) as caught:
        log.open_table("matomo")
    assert said in caught.value.message
    assert mend in caught.value.mend


@pytest.mark.parametrize("how", ["no key", "an invalid key", "a deferrable key"])
def test_what_mends_a_key_can_be_followed(how: str, log: VisitLog, migrated_url: str) -> None:
    create(migrated_url, upstream_standard())
    create(migrated_url, SPOILT[how][0])
    with pytest.raises(DatabaseRefused) as caught:
        log.open_table("matomo")
    mend = caught.value.mend
    execute(
        migrated_url, mend[mend.index("alter" if "alter" in mend else "reindex") :].split(";")[0]
    )
    assert log.open_table("matomo").key == ("action_id",)


def test_a_users_own_column_with_a_default_is_no_obstacle(log: VisitLog, migrated_url: str) -> None:
    create(
        migrated_url,
        f"{upstream_standard()} alter table matomo add tenant int not null default 7, "
        "add id bigint generated always as identity, add day text",
    )
    assert log.open_table("matomo").missing == ()


@pytest.mark.parametrize(
    "made", ["list (action_type)", "range (action_timestamp, action_id)", "hash (action_id)"]
)
def test_a_table_partitioned_otherwise_is_refused(
    made: str, log: VisitLog, migrated_url: str
) -> None:
    create(
        migrated_url,
        "create table visits (action_id text, action_timestamp timestamptz, idsite text, "
        f"idvisit text, action_type text) partition by {made}",
    )
    with pytest.raises(DatabaseRefused) as caught:
        log.open_table("visits")
    assert "not partitioned by range of action_timestamp" in caught.value.message


RIGHTS = {
    "nothing": ("", "may not select, insert, update, delete"),
    "reading": ("grant select on matomo to {role}", "may not insert, update, delete"),
    "no deleting": ("grant select, insert, update on matomo to {role}", "may not delete"),
    "rows hidden": (
        "grant all on matomo to {role}; alter table matomo enable row level security",
        "row level security hides rows",
    ),
    "everything": ("grant all on matomo to {role}", None),
}


@pytest.mark.parametrize("rights", RIGHTS)
def test_a_role_without_the_rights_is_told_which(
    rights: str, log: VisitLog, migrated_url: str
) -> None:
    granted, said = RIGHTS[rights]
    role = f"importer_{rows(migrated_url, 'select current_database()')[0][0]}"
    create(migrated_url, f"{upstream_standard()} create role {role} login;")
    if granted:
        execute(migrated_url, granted.format(role=role))
    theirs = VisitLog(make_conninfo(migrated_url, user=role), 1)
    try:
        if said is None:
            assert theirs.open_table("matomo").missing == ()
        else:
            with pytest.raises(DatabaseRefused) as caught:
                theirs.open_table("matomo")
            assert said in caught.value.message
            assert "role" in caught.value.mend
    finally:
        theirs.close()
        execute(migrated_url, f"drop owned by {role}; drop role {role}")


def test_no_table_is_told_with_its_name(log: VisitLog) -> None:
    with pytest.raises(MissingRelation) as caught:
        log.open_table("matomo")
    assert "'matomo'" in caught.value.message
    assert "DESTINATION_TABLE" in caught.value.mend
