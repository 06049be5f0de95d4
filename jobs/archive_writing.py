"""The file of one month: written, read back, compared, given its name; or found, and compared."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jobs.archive_file import ArchiveReader, ArchiveWriter, Damaged
from stopping import Stop
from storage.event_archive import EventArchive
from storage.event_columns import Sum
from storage.event_locks import check
from storage.event_months import Month

Sums = dict[int, Sum]
"""By hour, counted since 1970."""


class Refused(Exception):
    """A month that cannot be archived as things are; nothing was changed."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


def write_month(archive: EventArchive, month: Month, path: Path, stop: Stop) -> Sums:
    """Write the month's file, read it back from the disk, and name it: the sums of its rows.

    Raises:
        Refused: it holds something else than was written. NotAggregated, Stopped, DatabaseError,
        OSError: there is no file.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        with open(os.open(partial, flags, 0o600), "w+b") as file:
            sums = _write_snapshot(archive, month, file, stop)
            file.flush()
            os.fsync(file.fileno())
            _forget_pages(file)
            file.seek(0)
            reader = ArchiveReader(file)
            reader.check_columns(month.columns)
            if reader.sums(lambda: check(stop)) != sums:
                raise Damaged("it holds other events than the table")
            _publish(file, partial, path)
    except Damaged as error:
        raise Refused(
            f"{partial.name} was written and read back: {error}",
            "see whether disk and memory are sound; nothing was removed",
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return sums


def sums_of_file(path: Path, month: Month, stop: Stop) -> Sums:
    """The sums of a file that an earlier run wrote.

    Raises:
        Refused: it is no whole archive of the month.
    """
    with _opened(path) as reader:
        reader.check_columns(month.columns)
        sums = reader.sums(lambda: check(stop))
        if any(reader.told.get(name) != value for name, value in _tell(month, sums).items()):
            raise Damaged("it does not hold what it says it does")
    return sums


def sums_of_hours(path: Path, hours: Collection[int], stop: Stop) -> Sums:
    """The sums of these hours in the file.

    Raises:
        Refused: it is no archive.
    """
    with _opened(path) as reader:
        return reader.sums(lambda: check(stop), hours)


def digests_of_file(path: Path, hour: int) -> list[bytes]:
    """The digests of the hour's rows in the file.

    Raises:
        Refused: it is no whole archive.
    """
    with _opened(path) as reader:
        return reader.digests(hour)


@contextmanager
def _opened(path: Path) -> Iterator[ArchiveReader]:
    try:
        with path.open("rb") as file:
            yield ArchiveReader(file)
            os.fsync(file.fileno())
    except Damaged as error:
        raise Refused(
            f"{path} is there, and is no archive of the month: {error}",
            "see what it is and move it away, then run this again",
        ) from None
    _keep_name(path)


def sums_of_table(archive: EventArchive, month: Month, stop: Stop) -> Sums:
    """The sums of the month's rows as Postgres has them, in one snapshot."""
    sums = {}
    with archive.snapshot(month) as rows:
        for hour in rows.hours():
            check(stop)
            sums[hour] = rows.sum(hour)
    return sums


def count(sums: Sums) -> int:
    return sum(part.rows for part in sums.values())


def _write_snapshot(archive: EventArchive, month: Month, file: BinaryIO, stop: Stop) -> Sums:
    writer = ArchiveWriter(file, month.columns)
    sums = {}
    try:
        with archive.snapshot(month) as rows:
            for hour in rows.hours():
                check(stop)
                rows.copy(hour, writer.write)
                sums[hour] = rows.sum(hour)
        writer.finish(_tell(month, sums))
    finally:
        writer.abandon()
    return sums


def _tell(month: Month, sums: Sums) -> dict[str, str]:
    """What the file says of itself."""
    return {
        "table": "public.analytics_events",
        "month": str(month),
        "rows": str(count(sums)),
        "checksum": str(sum(part.check for part in sums.values())),
    }


def _forget_pages(file: BinaryIO) -> None:
    """What is read next comes from the disk, not from memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _publish(file: BinaryIO, partial: Path, path: Path) -> None:
    """Give the file its name, which nothing has, and see that it lasts."""
    mend = "nothing was removed: let one run at a time write to that directory"
    if os.path.lexists(path):
        raise Refused(f"{path} appeared meanwhile", mend)
    partial.rename(path)
    if not os.path.samestat(path.stat(), os.fstat(file.fileno())):
        raise Refused(f"{path} was written by another run", mend)
    _keep_name(path)


def _keep_name(path: Path) -> None:
    place = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
