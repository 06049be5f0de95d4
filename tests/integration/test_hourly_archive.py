"""Months of events in Parquet files: what is in them, and that no event is ever nowhere."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from jobs.archive_writing import Refused, write_month
from jobs.run_failures import CannotRun
from stopping import Stop
from storage.errors import DatabaseRefused, MissingRelation
from storage.event_archive import EventArchive
from storage.event_months import Month, MonthRows
from tests.integration.event_months import (
    FILL,
    MAY,
    SHAPES,
    StopAt,
    aggregates,
    archive,
    count_hours,
    frozen_before,
    in_files,
    in_table,
    insert,
    make,
)
from tests.integration.tables import execute, rows

HOME = Path(__file__).parents[2]
ALL_SHAPES = pytest.mark.parametrize("shape", SHAPES)
THREE_SHAPES = pytest.mark.parametrize("shape", ["partition", "default", "plain"])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.event_locks.PAUSE_SECONDS", 0.01)


@ALL_SHAPES
def test_a_month_moves_from_the_table_into_a_file_and_its_aggregates_stay(
    shape: str, migrated_url: str, directory: Path
) -> None:
    make(migrated_url, shape)
    events, counted = in_table(migrated_url, "created_at < '2026-06-01'"), aggregates(migrated_url)
    others = in_table(migrated_url, "created_at >= '2026-06-01'")
    said: list[str] = []
    done = archive(migrated_url, directory, before=date(2026, 6, 30), say=said.append)
    assert [(m.first, m.path, m.rows) for m in done.months] == [
        (date(2026, 5, 1), directory / MAY, 25)
    ]
    assert not done.failures
    assert len(events) == 25
    assert in_files(directory) == events
    assert in_table(migrated_url) == others
    assert "2026-05: 25 events" in said[0]
    assert frozen_before(migrated_url) == "2026-06-01 00:00:00+00"
    # Not for a moment: a refresh that began before the month was frozen would find its hours empty.
    assert rows(migrated_url, "select * from public.analytics_rollup_dirty") == []
    count_hours(migrated_url)
    assert aggregates(migrated_url) == counted
    assert rows(migrated_url, "select public.analytics_rollup_left()") == [(0,)]
    assert rows(migrated_url, "select * from public.analytics_rollup_check(1000)") == []
    left = rows(migrated_url, "select to_regclass('public.analytics_events_y2026m05')::text")
    assert left == [(None,)]
    assert archive(migrated_url, directory, before=date(2026, 6, 30)).months == []


def test_files_are_their_owners_alone_and_say_what_they_hold(
    migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "partition")
    archive(migrated_url, directory / "deeper")
    assert stat.S_IMODE((directory / "deeper").stat().st_mode) == 0o700
    files = sorted((directory / "deeper").iterdir())
    assert [file.name for file in files] == [MAY, MAY.replace("05", "06")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    told = pq.read_metadata(files[0])
    assert told.row_group(0).column(0).compression == "ZSTD"
    assert told.metadata[b"table"] == b"public.analytics_events"
    assert (told.metadata[b"month"], told.metadata[b"rows"]) == (b"2026-05", b"25")
    assert int(told.metadata[b"checksum"])


def test_every_value_is_in_the_file_as_it_was(migrated_url: str, directory: Path) -> None:
    execute(
        migrated_url,
        "create domain whole as bigint; alter table analytics_events add small smallint, "
        "add number integer, add big whole, add yes boolean, add single real, add double float8, "
        "add exact numeric, add local timestamp, add day date, add tags text[], add place inet, "
        "add bytes bytea, add span interval",
    )
    execute(
        migrated_url,
        """
insert into analytics_events (project_id, event_type, event_label, created_at, event_data, small,
  number, big, yes, single, double, exact, local, day, tags, place, bytes, span) values
('p', 'a,"b"', '', '2026-05-01 00:00+00', E'{"x": "\\\\u00e9\\\\n\\\\"", "y": 1.10}', -1, 7,
  9223372036854775807, true, 0.1, 0.1, 1.10, '2026-05-01 12:00:00.000001', '0044-03-15 BC',
  '{a,"b c",NULL}', '10.0.0.1', E'\\\\x00ff', '1 day 2 hours'),
(E'5:hel\\r\\n\\\\.', E'\\\\N', null, '2026-05-31 23:59:59.999999+00', 'null', null, null,
  -9223372036854775808, false, 'NaN', '-0', 'NaN', null, 'infinity', '{}', null, '', null),
('NULL', U&'\\0001\\+01F600', 'null', '2026-05-31 23:59:59.999999+00', '""', null, null, null,
  null, '-infinity', 5e-324, null, '1900-01-01', null, null, '::1', null, '-1 mon')
""",
    )
    count_hours(migrated_url)
    assert not archive(migrated_url, directory).failures
    assert in_table(migrated_url) == []
    table = pq.read_table(directory / MAY)
    first, second, third = table.to_pylist()
    ids = [first.pop("id"), second.pop("id"), third.pop("id")]
    assert ids == [1, 2, 3]
    assert first == {
        "project_id": "p", "visitor_id": None, "session_id": None, "event_type": 'a,"b"',
        "event_label": "", "event_data": '{"x": "é\\n\\"", "y": 1.10}',
        "created_at": datetime(2026, 5, 1, tzinfo=UTC), "small": -1, "number": 7, "big": 2**63 - 1,
        "yes": True, "single": pytest.approx(0.1), "double": 0.1, "exact": "1.10",
        "local": datetime(2026, 5, 1, 12, 0, 0, 1), "day": "0044-03-15 BC",
        "tags": '{a,"b c",NULL}', "place": "10.0.0.1/32", "bytes": "\\x00ff",
        "span": "1 day 02:00:00",
    }  # fmt: skip
    assert second["project_id"] == "5:hel\r\n\\."
    assert (second["event_type"], second["event_label"]) == ("\\N", None)
    assert second["created_at"] == datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert (second["event_data"], second["tags"], second["bytes"]) == ("null", "{}", "\\x")
    assert (second["big"], second["yes"], second["day"]) == (-(2**63), False, "infinity")
    assert (str(second["single"]), str(second["double"]), second["exact"]) == ("nan", "-0.0", "NaN")
    assert (third["project_id"], third["event_type"]) == ("NULL", "\x01\U0001f600")
    assert (third["event_label"], third["event_data"], third["yes"]) == ("null", '""', None)
    assert (third["single"], third["double"]) == (float("-inf"), 5e-324)
    assert third["local"] == datetime(1900, 1, 1)
    assert str(table.schema.field("created_at").type) == "timestamp[us, tz=UTC]"


def test_only_whole_months_that_ended_are_archived(migrated_url: str, directory: Path) -> None:
    moments = [f"{month}-15 00:00+00" for month in ("2025-12", "2026-05", "2026-10", "2026-11")]
    make(migrated_url, "default", moments)
    before = {
        date(2026, 5, 31): ["2025-12"],
        date(2026, 6, 1): ["2026-05"],
        date(2030, 1, 1): ["2026-10"],
    }
    for until, months in before.items():
        done = archive(migrated_url, directory, before=until)
        assert [str(month.first)[:7] for month in done.months] == months
    assert len(in_table(migrated_url)) == 9


@pytest.mark.parametrize(
    "mark",
    [
        "analytics_rollup_dirty values ('2026-05-31 23:00+00', 'p1')",
        "analytics_rollup_dirty values ('2026-06-01 23:00+00', null)",
        "analytics_rollup_dirty values ('2026-02-01 00:00+00', null)",
        "analytics_rollup_dirty_days values ('west', '2026-05-31')",
        "analytics_rollup_dirty_days values ('east', '2026-06-01')",
    ],
)
def test_what_waits_to_be_counted_keeps_its_month_and_all_later_ones(
    mark: str, migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "default", ["2026-05-15 00:00+00", "2026-08-15 00:00+00"])
    execute(
        migrated_url,
        "insert into analytics_project_zones values ('west', 'America/Los_Angeles'), "
        "('east', 'Pacific/Kiritimati')",
    )
    execute(migrated_url, f"insert into {mark}")
    done = archive(migrated_url, directory, before=date(2026, 9, 1))
    assert (done.months, [f.kind for f in done.failures]) == ([], ["not ready"])
    assert "aggregator.py hourly" in done.failures[0].mend
    assert list(directory.iterdir()) == []
    assert (len(in_table(migrated_url)), frozen_before(migrated_url)) == (18, "-infinity")


@pytest.mark.parametrize(
    "mark",
    [
        "analytics_rollup_dirty values ('2026-06-03 00:00+00', null)",
        "analytics_rollup_dirty_days values ('p0', '2026-06-01')",
        "analytics_rollup_dirty_days values ('west', '2026-06-01')",
    ],
)
def test_what_waits_beyond_the_month_does_not_matter(
    mark: str, migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "default", ["2026-05-15 00:00+00"])
    execute(migrated_url, "insert into analytics_project_zones values ('west', 'America/New_York')")
    execute(migrated_url, f"insert into {mark}")
    assert len(archive(migrated_url, directory).months) == 1


CHANGES = {
    "inserted": "insert into analytics_events select (e).* from (select e from analytics_events e "
    "where created_at < '2026-06-01' limit 1) x",
    "inserted later": "insert into analytics_events (project_id, event_type, created_at) "
    "values ('p0', 'late', '2026-05-20 00:00+00')",
    "changed": "update analytics_events set session_id = '' where created_at = '2026-05-01+00'",
    "deleted": "delete from analytics_events where created_at = '2026-05-01+00'",
}


@THREE_SHAPES
@pytest.mark.parametrize("change", CHANGES)
def test_a_month_that_changes_before_it_is_removed_stays(
    change: str, shape: str, migrated_url: str, directory: Path
) -> None:
    """Without triggers: that it is not the mark of the change that is seen."""
    make(migrated_url, shape, ["2026-05-01 00:00+00", "2026-05-17 13:00+00"])
    if change == "inserted" and shape != "plain":
        execute(
            migrated_url,
            "alter table analytics_events drop constraint if exists analytics_events_pkey",
        )
    names = rows(migrated_url, "select relid::text from pg_partition_tree('analytics_events') "
                 "union select 'analytics_events'")  # fmt: skip
    for (name,) in names:
        execute(migrated_url, f"alter table {name} disable trigger all")

    def once_written(_line: str) -> None:
        execute(migrated_url, CHANGES[change])

    done = archive(migrated_url, directory, say=once_written)
    assert (done.months, [f.kind for f in done.failures]) == ([], ["temporary"])
    assert frozen_before(migrated_url) == "-infinity"
    assert list(directory.iterdir()) == []
    events = in_table(migrated_url)
    assert len(events) == 18 + {"changed": 0, "deleted": -1}.get(change, 1)
    assert len(archive(migrated_url, directory).months) == 1  # it is whole now
    assert (in_files(directory), in_table(migrated_url)) == (events, [])


@THREE_SHAPES
def test_a_mark_that_appears_after_the_file_was_written_is_seen(
    shape: str, migrated_url: str, directory: Path
) -> None:
    make(migrated_url, shape)

    def once_written(_line: str) -> None:
        execute(migrated_url, "select analytics_rollup_mark('2026-05-17', '2026-05-18')")

    done = archive(migrated_url, directory, say=once_written)
    assert (done.months, [f.kind for f in done.failures]) == ([], ["not ready"])
    assert (len(in_table(migrated_url)), frozen_before(migrated_url)) == (27, "-infinity")
    assert list(directory.iterdir()) == []
    count_hours(migrated_url)
    assert archive(migrated_url, directory).months[0].rows == 25


@pytest.mark.parametrize(("shape", "kind"), [("partition", "temporary"), ("default", "not ready")])
def test_a_writer_that_has_not_committed_yet_is_waited_for(
    shape: str, kind: str, migrated_url: str, directory: Path, no_pauses: None
) -> None:
    make(migrated_url, shape)
    with psycopg.connect(migrated_url) as writer:

        def once_written(_line: str) -> None:
            writer.execute(
                "insert into analytics_events (project_id, event_type, created_at) "
                "values ('p0', 'late', '2026-05-02')"
            )
            threading.Timer(0.3, writer.commit).start()

        done = archive(migrated_url, directory, say=once_written)
    assert (done.months, [f.kind for f in done.failures]) == ([], [kind])
    assert (len(in_table(migrated_url)), list(directory.iterdir())) == (28, [])


def test_the_archive_gives_way_to_a_writer_that_comes_while_it_waits_itself(
    migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "partition")
    late = threading.Timer(0.4, lambda: insert(migrated_url))
    with psycopg.connect(migrated_url) as reader:

        def once_written(_line: str) -> None:
            reader.execute("select count(*) from analytics_events")  # keeps it from being detached
            late.start()

        began = time.monotonic()
        done = archive(migrated_url, directory, say=once_written)
        late.join()
        assert time.monotonic() - began < 5
    assert (done.months, [f.kind for f in done.failures]) == ([], ["temporary"])
    assert (len(in_table(migrated_url)), list(directory.iterdir())) == (28, [])


def test_readers_that_never_end_cost_nothing_but_another_run(
    migrated_url: str, directory: Path, no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.event_locks.TRIES", 2)
    make(migrated_url, "partition")
    with psycopg.connect(migrated_url) as reader:
        reader.execute("select count(*) from analytics_events")
        done = archive(migrated_url, directory)
        assert (done.months, [f.kind for f in done.failures]) == ([], ["temporary"])
        assert "do not end" in done.failures[0].message
    assert (len(in_table(migrated_url)), frozen_before(migrated_url)) == (27, "-infinity")
    assert len(archive(migrated_url, directory).months) == 2


@pytest.mark.parametrize("shape", ["default", "plain"])
def test_events_that_come_after_their_month_was_archived_stay(
    shape: str, migrated_url: str, directory: Path
) -> None:
    make(migrated_url, shape)
    archive(migrated_url, directory)
    archived = in_files(directory)
    insert(migrated_url)
    said: list[str] = []
    for _ in range(2):
        done = archive(migrated_url, directory, say=said.append)
        assert (done.months, done.failures) == ([], [])
        assert "2026-05: 1 events stay" in said.pop()
    (directory / MAY).rename(directory / "moved to another place")
    assert archive(migrated_url, directory).failures == []
    assert [path.name for path in directory.glob("*05*")] == []
    (directory / "moved to another place").rename(directory / MAY)
    assert (in_files(directory), len(in_table(migrated_url))) == (archived, 1)


@THREE_SHAPES
def test_stopped_anywhere_it_goes_on_and_no_event_is_lost(
    shape: str, migrated_url: str, directory: Path
) -> None:
    make(migrated_url, shape)
    events = in_table(migrated_url)
    for times in range(1, 60):
        done = archive(migrated_url, directory, stop=StopAt(times))
        assert set(in_table(migrated_url)) | set(in_files(directory)) == set(events)
        assert list(directory.glob("*.partial")) == []
        if not done.failures:
            break
        assert [f.kind for f in done.failures] == ["interrupted"]
    else:
        pytest.fail("it never came to an end")
    assert times > 8
    assert (in_files(directory), in_table(migrated_url)) == (events, [])


KILLED = """
import sys
from pathlib import Path
from tests.integration.event_months import StopAt, archive
url, directory, times, once_frozen = sys.argv[1:]
archive(url, Path(directory), stop=StopAt(int(times), kill=True, once_frozen=once_frozen))
"""


def killed(url: str, directory: Path, times: int, once_frozen: str = "") -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, url, directory, str(times), once_frozen],
        cwd=HOME,
        check=False,
    )
    assert ended.returncode == -9


def test_killed_while_it_writes_it_begins_again(migrated_url: str, directory: Path) -> None:
    make(migrated_url, "partition")
    events = in_table(migrated_url)
    killed(migrated_url, directory, 3)
    assert list(directory.iterdir()) == [directory / f"{MAY}.partial"]
    assert in_table(migrated_url) == events
    assert not archive(migrated_url, directory).failures
    assert list(directory.glob("*.partial")) == []
    assert (in_files(directory), in_table(migrated_url)) == (events, [])


def test_killed_while_it_holds_the_partition_it_goes_on(migrated_url: str, directory: Path) -> None:
    make(migrated_url, "partition")
    events = in_table(migrated_url)
    killed(migrated_url, directory, 8)
    assert list(directory.iterdir()) == [directory / MAY]
    assert in_table(migrated_url) == events
    assert not archive(migrated_url, directory).failures
    assert (in_files(directory), in_table(migrated_url)) == (events, [])


def test_killed_between_two_deletes_it_goes_on_and_late_events_stay(
    migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "plain")
    execute(migrated_url, "delete from analytics_events where created_at >= '2026-06-01'")
    count_hours(migrated_url)
    events = in_table(migrated_url)
    killed(migrated_url, directory, 3, once_frozen=migrated_url)
    assert 0 < len(in_table(migrated_url)) < len(events)
    assert in_files(directory) == events
    insert(migrated_url, "2026-05-31 23:30+00")  # in an hour that is still whole
    insert(migrated_url, "2026-05-01 00:30+00")  # in one that has gone
    said: list[str] = []
    done = archive(migrated_url, directory, say=said.append)
    assert not done.failures
    assert "events stay" in said[1]
    assert [line.split()[2] for line in in_table(migrated_url)] == ["late", "late"]
    assert in_files(directory) == events


def test_of_events_that_are_alike_as_many_go_as_were_archived(
    migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "plain", ["2026-05-01 00:00+00", "2026-05-01 00:00+00"])
    stopped = archive(migrated_url, directory, stop=StopAt(1, once_frozen=migrated_url))
    assert stopped.failures[0].kind == "interrupted"
    assert (len(in_table(migrated_url)), frozen_before(migrated_url)[:7]) == (18, "2026-06")
    execute(migrated_url, FILL, ["2026-05-01 00:00+00"])
    done = archive(migrated_url, directory)
    assert (done.failures, done.months[0].rows, len(in_table(migrated_url))) == ([], 18, 9)


@contextmanager
def spoilt(copy: Callable[[MonthRows, int, Callable[[bytes], None]], None]) -> Iterator[type]:
    """An archive whose COPY gives something else than the table holds."""

    class SpoiltRows(MonthRows):
        def copy(self, hour: int, write: Callable[[bytes], None]) -> None:
            copy(super(), hour, write)  # type: ignore[arg-type]

    class SpoiltArchive(EventArchive):
        @contextmanager
        def snapshot(self, month: Month) -> Iterator[MonthRows]:
            with super().snapshot(month) as rows:
                yield SpoiltRows(rows._connection, month)

    yield SpoiltArchive


def _a_row_too_few(rows: MonthRows, hour: int, write: Callable[[bytes], None]) -> None:
    lines: list[bytes] = []
    rows.copy(hour, lines.append)
    write(b"".join(lines).split(b"\n", 1)[1])


def _a_row_twice(rows: MonthRows, hour: int, write: Callable[[bytes], None]) -> None:
    lines: list[bytes] = []
    rows.copy(hour, lines.append)
    write(b"".join(lines) + b"".join(lines).split(b"\n")[0] + b"\n")


def _another_value(rows: MonthRows, hour: int, write: Callable[[bytes], None]) -> None:
    rows.copy(hour, lambda block: write(block.replace(b'"s1"', b'"s2"', 1)))


def _empty_for_null(rows: MonthRows, hour: int, write: Callable[[bytes], None]) -> None:
    rows.copy(hour, lambda block: write(block.replace(b",,", b',"",', 1)))


def _two_values_exchanged(rows: MonthRows, hour: int, write: Callable[[bytes], None]) -> None:
    rows.copy(hour, lambda block: write(block.replace(b'"s1","impression"', b'"impression","s1"')))


@pytest.mark.parametrize(
    "fault", [_a_row_too_few, _a_row_twice, _another_value, _empty_for_null, _two_values_exchanged]
)
def test_a_file_that_holds_something_else_than_the_table_gets_no_name(
    fault: Callable[[MonthRows, int, Callable[[bytes], None]], None],
    migrated_url: str,
    tmp_path: Path,
) -> None:
    make(migrated_url, "default")
    with spoilt(fault) as kind:
        archive = kind(migrated_url, 1)
        month = archive.look_at(date(2026, 5, 1))
        with pytest.raises(Refused, match="holds other events"):
            write_month(archive, month, tmp_path / MAY, Stop())
        archive.close()
    assert list(tmp_path.iterdir()) == []


def other_events(url: str, path: Path) -> None:
    archive(url, path.parent)
    execute(url, "update analytics_rollup_state set frozen_before = '-infinity'")
    make(url, "default")


def cut_short(url: str, path: Path) -> None:
    written(url, path)
    path.write_bytes(path.read_bytes()[:-20])


def flipped_bit(url: str, path: Path) -> None:
    written(url, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def wrong_sum(url: str, path: Path) -> None:
    written(url, path)
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"rows": "25", "checksum": "1"})


def another_column(url: str, path: Path) -> None:
    written(url, path)
    execute(url, "alter table analytics_events rename event_label to label")


def no_archive_at_all(url: str, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mine")


def written(url: str, path: Path) -> None:
    """As a run leaves it that was killed before it removed anything."""
    path.parent.mkdir()
    archive = EventArchive(url, 1)
    write_month(archive, archive.look_at(date(2026, 5, 1)), path, Stop())
    archive.close()


@pytest.mark.parametrize(
    "before",
    [other_events, cut_short, flipped_bit, wrong_sum, another_column, no_archive_at_all],
)
def test_a_file_that_is_there_already_is_kept_and_so_are_the_events(
    before: Callable[[str, Path], None], migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "default", ["2026-05-01 00:00+00"])
    before(migrated_url, directory / MAY)
    content = (directory / MAY).read_bytes()
    done = archive(migrated_url, directory)
    assert (done.months, [f.kind for f in done.failures]) == ([], ["settings"])
    assert "move it" in done.failures[0].mend
    assert rows(migrated_url, "select count(*) from analytics_events")[0][0] >= 9
    assert (directory / MAY).read_bytes() == content


def test_a_damaged_file_deletes_nothing_of_a_frozen_month(
    migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "plain", ["2026-05-01 00:00+00"])
    archive(migrated_url, directory, stop=StopAt(1, once_frozen=migrated_url))
    assert frozen_before(migrated_url)[:7] == "2026-06"
    (directory / MAY).write_bytes((directory / MAY).read_bytes()[:-20])
    assert [f.kind for f in archive(migrated_url, directory).failures] == ["settings"]
    assert len(in_table(migrated_url)) == 9


def test_a_full_disk_leaves_no_file_and_removes_nothing(migrated_url: str, directory: Path) -> None:
    make(migrated_url, "partition")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        done = archive(migrated_url, directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (done.months, [f.source for f in done.failures]) == ([], ["archive"])
    assert "disk is full" in done.failures[0].mend
    assert (list(directory.iterdir()), len(in_table(migrated_url))) == ([], 27)
    assert len(archive(migrated_url, directory).months) == 2


def test_a_directory_that_cannot_be_written_to_is_said_before_anything(
    migrated_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", Path("/proc/archive")):
        with pytest.raises(CannotRun, match=str(directory)):
            archive(migrated_url, directory)


def test_two_runs_at_once_do_not_write_to_one_directory(migrated_url: str, tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CannotRun, match="another run"):
            archive(migrated_url, tmp_path)
    finally:
        os.close(other)


def test_two_runs_at_once_with_directories_of_their_own_lose_nothing(
    migrated_url: str, tmp_path: Path
) -> None:
    for shape in ("partition", "default"):
        month = "2026-05-15 00:00+00" if shape == "partition" else "2026-07-15 00:00+00"
        make(migrated_url, shape, [month])
        events = in_table(migrated_url)

        def once_written(_line: str, shape: str = shape) -> None:
            archive(migrated_url, tmp_path / f"{shape}-other")

        done = archive(migrated_url, tmp_path / shape, say=once_written)
        assert (done.months, [f.kind for f in done.failures]) == ([], ["temporary"])
        assert in_table(migrated_url) == []
        assert (in_files(tmp_path / f"{shape}-other"), in_files(tmp_path / shape)) == (events, [])


def test_who_may_not_remove_events_is_told_before_anything(
    migrated_url: str, directory: Path
) -> None:
    make(migrated_url, "default")
    with pytest.raises(DatabaseRefused, match="only reads"):
        archive(f"{migrated_url}&options=-cdefault_transaction_read_only%3Don", directory)
    execute(
        migrated_url, "create role archivist; grant all on all tables in schema public to archivist"
    )
    as_archivist = f"{migrated_url}&options=-crole%3Darchivist"
    try:
        with pytest.raises(DatabaseRefused, match="owner"):
            archive(as_archivist, directory)
        # An owner from whom rows are hidden would archive fewer than it drops.
        for table in ("analytics_events", "analytics_events_default"):
            execute(migrated_url, f"alter table {table} owner to archivist")
        execute(migrated_url, "alter table analytics_events force row level security")
        with pytest.raises(DatabaseRefused, match="row-level security"):
            archive(as_archivist, directory)
    finally:
        execute(
            migrated_url,
            "reassign owned by archivist to postgres; drop owned by archivist; drop role archivist",
        )
    assert (list(directory.iterdir()), len(in_table(migrated_url))) == ([], 27)


def test_a_database_without_the_rollup_is_told_to_migrate(
    database_url: str, directory: Path
) -> None:
    with pytest.raises(MissingRelation):
        archive(database_url, directory)


def test_what_cannot_be_dropped_stays_whole(migrated_url: str, directory: Path) -> None:
    make(migrated_url, "partition")
    execute(migrated_url, "create view of_may as select * from analytics_events_y2026m05")
    done = archive(migrated_url, directory)
    assert (done.months, [f.kind for f in done.failures]) == ([], ["settings"])
    assert "depend" in done.failures[0].message
    assert (len(in_table(migrated_url)), frozen_before(migrated_url)) == (27, "-infinity")
    execute(migrated_url, "drop view of_may")
    assert len(archive(migrated_url, directory).months) == 2
