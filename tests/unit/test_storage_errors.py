"""What a database's refusal means, by SQLSTATE: wait, mend a setting, or leave that row out."""

from __future__ import annotations

import pytest
from postgrest.exceptions import APIError

from storage.errors import (
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    MissingRelation,
    RowsRefused,
    from_sqlstate,
)
from storage.rest_calls import sort_api_error

GONE = 'Key (site_id)=(7) is not present in table "sites".'

TABLE: list[tuple[str, type[DatabaseError], str]] = [
    # code, kind, part of the mend
    ("08006", DatabaseUnavailable, "run again"),
    ("40001", DatabaseUnavailable, "run again"),
    ("40P01", DatabaseUnavailable, "run again"),
    ("53300", DatabaseUnavailable, "run again"),
    ("57014", DatabaseUnavailable, "run again"),
    ("57P01", DatabaseUnavailable, "run again"),
    ("55P03", DatabaseUnavailable, "run again"),
    ("21000", RowsRefused, "the other rows are stored"),
    ("22003", RowsRefused, "the other rows are stored"),
    ("23502", RowsRefused, "the other rows are stored"),
    ("23503", RowsRefused, "the other rows are stored"),
    ("23514", RowsRefused, "the other rows are stored"),
    ("54000", RowsRefused, "the other rows are stored"),
    ("42P01", MissingRelation, "aggregator.py migrate"),
    ("42703", MissingRelation, "aggregator.py migrate"),
    ("42P10", DatabaseRefused, "aggregator.py migrate"),
    ("42501", DatabaseRefused, "service key"),
    ("28P01", DatabaseRefused, ""),
    ("XX000", DatabaseRefused, ""),
    ("", DatabaseRefused, ""),
]


@pytest.mark.parametrize(("code", "kind", "mend"), TABLE)
def test_each_sqlstate_has_its_kind(code: str, kind: type[DatabaseError], mend: str) -> None:
    error = from_sqlstate(code, "what the\n  database   said")
    assert type(error) is kind
    assert mend in error.mend
    assert error.mend
    assert "what the database said" in error.message or code == "42P10"


@pytest.mark.parametrize(
    ("code", "message", "whole_site"),
    [
        ("23503", GONE, True),
        ("23503", 'Key (account_id)=(7) is not present in table "accounts".', False),
        ("23514", "violates check constraint on (site_id)", False),
    ],
)
def test_a_row_of_a_deleted_site_is_known_as_such(
    code: str, message: str, whole_site: bool
) -> None:
    error = from_sqlstate(code, message)
    assert isinstance(error, RowsRefused)
    assert error.whole_site is whole_site
    assert ("gone from the table sites" in error.mend) is whole_site


def test_a_long_message_is_cut() -> None:
    assert len(from_sqlstate("22001", "x" * 5000).message) < 400


@pytest.mark.parametrize(
    ("code", "message", "whole_user"),
    [
        ("23503", 'Key (user_id)=(7) is not present in table "users".', True),
        ("23503", GONE, False),
        ("23514", "violates check constraint on (user_id)", False),
    ],
)
def test_a_row_of_a_user_who_is_gone_is_known_as_such(
    code: str, message: str, whole_user: bool
) -> None:
    error = from_sqlstate(code, message)
    assert isinstance(error, RowsRefused)
    assert error.whole_user is whole_user
    assert ("is_active" in error.mend) is whole_user
    assert error.of_owner is (code == "23503")


def test_a_row_that_the_server_quotes_and_cuts_is_left_out() -> None:
    """Half a token is none that could be blacked out."""
    said = {
        "code": "23514",
        "message": 'new row for relation "platform_connections" violates check constraint "short"',
        "details": "Failing row contains (7, user-1, instagram, EAAsentinel-half-a-tok...).",
    }
    error = sort_api_error(APIError(said), "project.supabase.co")
    assert isinstance(error, RowsRefused)
    assert error.message.endswith('violates check constraint "short"')
    assert "sentinel" not in f"{error.message} {error.mend}"


def test_other_details_are_kept() -> None:
    said = {"code": "23503", "message": "violates foreign key", "details": GONE}
    error = sort_api_error(APIError(said), "project.supabase.co")
    assert isinstance(error, RowsRefused)
    assert error.whole_site
