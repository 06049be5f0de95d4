"""What a database can refuse, named by who can mend it.

DatabaseError
  DatabaseUnavailable   no connection, overload, time-out: tried again, then given up
  DatabaseRefused       key, permission, missing table or column: nothing of this kind will work
  RowsRefused           these rows break a rule of the table; others may be fine
  HoursRefused          these hours or days cannot be counted, all others are
  TableBusy             another run writes to the same table, or has taken it over
"""

from __future__ import annotations

from typing import ClassVar

from logs import excerpt

MIGRATE = "run `aggregator.py migrate` (or apply supabase/migrations/ with the Supabase CLI)"


class DatabaseError(Exception):
    """`str(error)` says what happened and never holds a secret."""

    kind: ClassVar[str] = "database"
    default_mend: ClassVar[str] = ""

    def __init__(self, message: str, *, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend or self.default_mend


class DatabaseUnavailable(DatabaseError):
    kind = "temporary"
    default_mend = "see whether the database is up and reachable from this machine, then run again"


class DatabaseRefused(DatabaseError):
    kind = "settings"


class MissingRelation(DatabaseRefused):
    """A table or column is not there."""

    default_mend = MIGRATE


class RowsRefused(DatabaseError):
    """whole_site: the reason lies with the site (it was deleted), so all its days share it;
    whole_user: with the user, so that all rows of their accounts do."""

    kind = "rejected"
    default_mend = "see the database's message; the other rows are stored"

    def __init__(self, message: str, *, whole_site: bool = False, whole_user: bool = False) -> None:
        mend = None
        if whole_site:
            mend = "the site is gone from the table sites: nothing to do if it was deleted"
        elif whole_user:
            mend = "the user is gone: set is_active of their platform_connections to false"
        super().__init__(message, mend=mend)
        self.whole_site = whole_site
        self.whole_user = whole_user

    @property
    def of_owner(self) -> bool:
        """Whether all rows of one owner share the reason."""
        return self.whole_site or self.whole_user


class HoursRefused(DatabaseError):
    """Some hours or days cannot be counted; refresh_hourly() says so once all others are."""

    kind = "rejected"
    default_mend = "mend what the message says: these stay marked, everything else is counted"


class TableBusy(DatabaseError):
    """Not tried again by itself: the other run may take hours."""

    kind = "temporary"
    default_mend = "one run at a time writes to a table: let the other one end, then run again"


TRANSIENT_CLASSES = ("08", "40", "53", "57", "55P03")
"""SQLSTATE classes of connection loss, rollback for concurrency, lack of resources, shutdown or
time-out (57014), and lock_timeout. An upsert with these may be sent again: it is idempotent."""

READ_ONLY = "25006"
FOREIGN_KEY_VIOLATION = "23503"
ROW_CLASSES = ("21", "22", "23", "44", "P0001", "54000")
"""SQLSTATE classes of rows given twice, bad data, broken constraints, a user's own triggers, and
values too long for an index: a matter of rows."""


def from_sqlstate(code: str, message: str) -> DatabaseError:
    """Sort an SQLSTATE into the kinds above."""
    said = excerpt(message, 300)
    if code.startswith(TRANSIENT_CLASSES):
        return DatabaseUnavailable(f"the database gave up ({code}): {said}")
    if code == "HR001":
        return HoursRefused(said)
    if code.startswith(ROW_CLASSES):
        gone = code == FOREIGN_KEY_VIOLATION
        return RowsRefused(
            f"the database refused a row ({code}): {said}",
            whole_site=gone and "(site_id)" in message,
            whole_user=gone and "(user_id)" in message,
        )
    if code in ("42P01", "42703", "42883"):
        return MissingRelation(f"the database lacks something ({code}): {said}")
    if code == "42P10":
        return DatabaseRefused(
            "a table has no unique key to find its rows again by (daily_analytics: date, site_id; "
            "analytics_snapshots: the seven columns of the migration social)",
            mend=MIGRATE,
        )
    if code == "42501":
        return DatabaseRefused(
            f"the database denies access ({code}): {said}",
            mend="use the service key, or the role that owns the tables",
        )
    if code == READ_ONLY:
        return DatabaseRefused(
            f"the database only reads ({code}): {said}",
            mend="connect to the primary, not to a replica; or see why it only reads (disk full?)",
        )
    mend = MIGRATE if code.startswith("42") else "see the database's message and its own log"
    return DatabaseRefused(f"the database refused ({code}): {said}", mend=mend)
