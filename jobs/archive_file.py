"""One month of events as a Parquet file: written from CSV, read back, summed up like in Postgres.

Integers, booleans, floating point numbers and times keep their types; all else is Postgres's text.
What is hashed of a row is worked out from the file's own values, by the rule of
storage/event_columns.py.
"""

from __future__ import annotations

import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from io import BytesIO
from itertools import groupby
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from storage.event_columns import Column, Sum

BATCH_BYTES = 16 * 1024 * 1024
"""Of CSV: about 100,000 events, which become one row group. This bounds memory."""

MICROSECONDS = 3_600_000_000
"""In an hour."""

TYPES = {
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "bool": pa.bool_(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "text": pa.string(),
}


class Damaged(Exception):
    """The file is not what was once verified."""


class ArchiveWriter:
    """Writes rows as they come, in the order in which they come."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._schema = _schema_of(columns)
        self._options = pa.csv.ConvertOptions(
            column_types={field.name: _plain(field.type) for field in self._schema},
            null_values=[""],
            true_values=["true"],
            false_values=["false"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        self._writer = pq.ParquetWriter(
            file, self._schema, compression="zstd", write_page_checksum=True
        )
        self._blocks: list[bytes] = []
        self._size = 0

    def write(self, rows: bytes) -> None:
        """Take whole rows: CSV without a header, quoted but for NULL."""
        self._blocks.append(rows)
        self._size += len(rows)
        if self._size >= BATCH_BYTES:
            self._flush()

    def finish(self, told: dict[str, str]) -> None:
        """Write the rest, and `told` as the file's metadata."""
        self._flush()
        self._writer.add_key_value_metadata(told)
        self._writer.close()

    def abandon(self) -> None:
        """Let go of a file that will not be finished; of a finished one there is nothing to do."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _flush(self) -> None:
        if not self._blocks:
            return
        block = b"".join(self._blocks)
        self._blocks, self._size = [], 0
        table = pa.csv.read_csv(
            BytesIO(block),
            pa.csv.ReadOptions(column_names=self._schema.names, block_size=len(block) + 1),
            pa.csv.ParseOptions(newlines_in_values=True),
            self._options,
        ).combine_chunks()
        arrays = [
            column.chunk(0).view(field.type)
            for column, field in zip(table.columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


class ArchiveReader:
    """
    Raises:
        Damaged: it, and each method: the file is no whole archive.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = _undamaged(partial(pq.ParquetFile, file, page_checksum_verification=True))
        self._schema = _undamaged(lambda: self._file.schema_arrow)
        metadata = _undamaged(lambda: self._file.metadata.metadata) or {}
        self.told = {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in metadata.items()
        }
        self._moment = self._schema.get_field_index("created_at")
        if self._moment < 0 or not pa.types.is_timestamp(self._schema.field(self._moment).type):
            raise Damaged("it has no times of events")

    def check_columns(self, columns: Sequence[Column]) -> None:
        """See that it has these, in this order."""
        if not self._schema.equals(_schema_of(columns)):
            raise Damaged("its columns are not those of analytics_events")

    def sums(
        self, proceed: Callable[[], None], hours: Collection[int] | None = None
    ) -> dict[int, Sum]:
        """The rows' sums by hour; all hours, or some. `proceed` is called now and then."""
        numbers: dict[int, list[Sum]] = defaultdict(list)
        for batch in self._batches(hours):
            proceed()
            for hour, digests in by_hour(batch):
                if hours is None or hour in hours:
                    numbers[hour].append(Sum(len(digests), _add_up(digests)))
        return {
            hour: Sum(sum(part.rows for part in parts), sum(part.check for part in parts))
            for hour, parts in numbers.items()
        }

    def digests(self, hour: int) -> list[bytes]:
        """The digests of the hour's rows."""
        return [
            digest
            for batch in self._batches([hour])
            for found, digests in by_hour(batch)
            if found == hour
            for digest in digests
        ]

    def _batches(self, hours: Collection[int] | None) -> Iterator[pa.RecordBatch]:
        for number in range(self._file.num_row_groups):
            if hours is None or self._may_hold(number, hours):
                table = _undamaged(partial(self._file.read_row_group, number))
                yield from table.combine_chunks().to_batches()

    def _may_hold(self, group: int, hours: Collection[int]) -> bool:
        known = self._file.metadata.row_group(group).column(self._moment).statistics
        if known is None or not known.has_min_max:
            return True
        first, last = known.min_raw // MICROSECONDS, known.max_raw // MICROSECONDS
        return any(first <= hour <= last for hour in hours)


def by_hour(batch: pa.RecordBatch) -> Iterator[tuple[int, list[bytes]]]:
    """The digests of each run of rows of one hour."""
    digests = digests_of(batch)
    moments = batch.column("created_at").view(pa.int64()).to_pylist()
    begin = 0
    for hour, run in groupby(moments, lambda moment: moment // MICROSECONDS):
        end = begin + sum(1 for _ in run)
        yield hour, digests[begin:end]
        begin = end


def digests_of(batch: pa.RecordBatch) -> list[bytes]:
    """Each row's SHA-256, as `digest_of` has it in SQL."""
    parts = []
    for column in batch.columns:
        text = column.view(_plain(column.type)).cast(pa.string())
        length = pc.utf8_length(text).cast(pa.string())
        parts.append(pc.fill_null(pc.binary_join_element_wise(length, text, ":"), "-"))
    rows = pc.binary_join_element_wise(*parts, "").cast(pa.binary())
    return [sha256(row).digest() for row in rows.to_pylist()]


def _add_up(digests: Sequence[bytes]) -> int:
    numbers = array("q", b"".join([digest[:8] for digest in digests]))
    if sys.byteorder == "little":
        numbers.byteswap()
    return sum(numbers)


def _schema_of(columns: Sequence[Column]) -> Any:
    return pa.schema([(column.name, TYPES[column.kind]) for column in columns])


def _plain(of_type: Any) -> Any:
    """What a value of this type is on its way, and in what is hashed: its bits."""
    if pa.types.is_timestamp(of_type) or of_type == pa.float64():
        return pa.int64()
    return pa.int32() if of_type == pa.float32() else of_type


def _undamaged(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Damaged(str(error)) from None
