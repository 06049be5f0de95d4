"""`aggregator.py hourly --archive DIR`: whole months of events into Parquet files, out of Postgres.

In this order, so that at no moment an event is neither in the table nor in a file that was read
back: written in one snapshot (.partial), read back from the disk and compared, hour by hour, with
sums that Postgres made of the same snapshot, given its name, and only then removed
(storage/event_removal.py), if the table still holds what the file holds. Run again after a stop or
a kill, it goes on: a month's file that is there already is compared in place of a new one.

Months go oldest first, and none before an older one that cannot: `frozen_before` covers them all.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path

from jobs.archive_writing import (
    Refused,
    Sums,
    count,
    digests_of_file,
    sums_of_file,
    sums_of_hours,
    sums_of_table,
    write_month,
)
from jobs.run_failures import CannotRun
from models import Failure
from stopping import Stop, Stopped
from storage.errors import DatabaseError, TableBusy
from storage.event_archive import EventArchive
from storage.event_locks import check
from storage.event_months import Month
from storage.event_removal import EventsChanged, NotAggregated, changed

Say = Callable[[str], None]

SOURCE = "archive"


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month that has left the table. rows: how many events its file holds."""

    first: date
    path: Path
    rows: int


@dataclass(slots=True)
class Archived:
    """What a run did. failures: why it went no further; at most one."""

    months: list[ArchivedMonth] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def archive_months(
    conninfo: str,
    directory: Path,
    before: date,
    now: datetime,
    *,
    say: Say,
    stop: Stop,
    attempts: int = 4,
) -> Archived:
    """Archive the UTC months of analytics_events that ended on or before `before`.

    directory: made if it is missing. say: is told what was done, a line a time.

    Raises:
        CannotRun: nothing can be written to the directory. DatabaseError: before anything was done.
    """
    running = datetime(now.astimezone(UTC).year, now.astimezone(UTC).month, 1, tzinfo=UTC)
    until = min(datetime.combine(before, time(), UTC), running)
    done = Archived()
    with _own(directory), closing(EventArchive(conninfo, attempts)) as archive:
        months = archive.months(until)
        try:
            for first in months:
                check(stop)
                month = archive.look_at(first)
                archived = _archive(archive, month, directory, say, stop)
                done.months += [archived] if archived else []
        except (DatabaseError, Refused, Stopped, OSError) as error:
            done.failures.append(_failure(error, directory))
    return done


def _failure(error: Exception, directory: Path) -> Failure:
    if isinstance(error, DatabaseError):
        return Failure(error.kind, "database", error.message, error.mend)
    if isinstance(error, Refused):
        return Failure("settings", SOURCE, str(error), error.mend)
    if isinstance(error, Stopped):
        return Failure("interrupted", SOURCE, str(error), "run it again: it goes on from there")
    mend = "see whether the disk is full or failing; nothing was removed: run it again then"
    return Failure("settings", SOURCE, f"cannot write to {directory}: {error}", mend)


@contextmanager
def _own(directory: Path) -> Iterator[None]:
    """Make the directory, and be the only run of this machine that writes to it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _cannot_write(directory, error.strerror) from None
    try:
        if not os.access(directory, os.W_OK | os.X_OK):
            raise _cannot_write(directory, "it is not writable")
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mend = "let it end, then run this again"
            raise CannotRun(f"another run archives to {directory}", mend) from None
        except OSError:
            pass  # some network file systems lock no directories: _publish looks for itself
        yield
    finally:
        os.close(place)


def _cannot_write(directory: Path, why: str | None) -> CannotRun:
    return CannotRun(
        f"cannot write to {directory}: {why}", "name a directory that this user may write to"
    )


def _archive(
    archive: EventArchive, month: Month, directory: Path, say: Say, stop: Stop
) -> ArchivedMonth | None:
    path = directory / f"analytics_events_{month}.parquet"
    if month.frozen and month.partition is None:
        return _remove_the_rest(archive, month, path, say, stop)
    new = not os.path.lexists(path)
    sums = write_month(archive, month, path, stop) if new else sums_of_file(path, month, stop)
    if not new and sums_of_table(archive, month, stop) != sums:
        raise Refused(
            f"{path} is there, and holds other events than the table does for {month}",
            "nothing was removed: move it to another place, then run this again",
        )
    size = path.stat().st_size / 1e6
    say(f"{month}: {count(sums):,} events in {path.name} ({size:,.1f} MB), read back and compared")
    try:
        _let_go(archive, month, sums, stop)
    except (EventsChanged, NotAggregated, TableBusy, Stopped):
        if new:  # nothing was removed; a file that stays would differ after the next late event
            path.unlink()
        raise
    if month.partition is None:
        _delete(archive, month, path, sums, stop)
    say(f"{month}: removed from analytics_events")
    return ArchivedMonth(month.first.date(), path, count(sums))


def _let_go(archive: EventArchive, month: Month, sums: Sums, stop: Stop) -> None:
    """Freeze the month if it still holds what was archived, and drop its partition if it has one.

    Raises:
        EventsChanged, NotAggregated, TableBusy, Stopped: nothing was changed.
    """
    if month.partition is not None:
        archive.drop_partition(month, sums, stop)
        return
    if sums_of_table(archive, month, stop) != sums:
        raise changed(month)
    archive.freeze(month, stop)


def _delete(archive: EventArchive, month: Month, path: Path, sums: Sums, stop: Stop) -> None:
    """Delete the file's events, hour by hour; others of those hours stay."""
    for hour, archived in sums.items():
        check(stop)
        if not archive.delete_hour(month, hour, archived):
            archive.delete_rows(month, hour, digests_of_file(path, hour))


def _remove_the_rest(
    archive: EventArchive, month: Month, path: Path, say: Say, stop: Stop
) -> ArchivedMonth | None:
    """Of a month that is frozen: what a stopped run left of the archived events goes, what came
    later stays, and is in no file."""
    before = sums_of_table(archive, month, stop)
    left = before
    if os.path.lexists(path):
        _delete(archive, month, path, sums_of_hours(path, before, stop), stop)
        left = sums_of_table(archive, month, stop)
    removed = count(before) - count(left)
    if removed:
        say(f"{month}: the last {removed:,} events of {path.name} removed from analytics_events")
    if left:
        say(
            f"{month}: {count(left):,} events stay, uncounted and in no file here: they came when "
            "the month was frozen already, or frozen_before was set by hand"
        )
    return ArchivedMonth(month.first.date(), path, removed) if removed else None
