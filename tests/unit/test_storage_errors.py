"""What a database's refusal means, by SQLSTATE: wait, mend a setting, or leave that row out."""

from __future__ import annotations

import pytest

from storage.errors import (
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    MissingRelation,
    RowsRefused,
    from_sqlstate,
)

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
