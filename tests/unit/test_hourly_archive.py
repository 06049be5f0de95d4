"""The archive's files: what of a row is hashed, and that damage is seen."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO

import pytest

from jobs.archive_file import ArchiveReader, ArchiveWriter, Damaged
from storage.event_columns import Column

COLUMNS = [
    Column("id", "int8"),
    Column("yes", "bool"),
    Column("amount", "float8"),
    Column("event_label", "text"),
    Column("created_at", "timestamptz"),
]
HOUR = 493_776  # since 1970
MOMENT = HOUR * 3_600_000_000


def written(lines: list[str]) -> bytes:
    file = BytesIO()
    writer = ArchiveWriter(file, COLUMNS)
    for line in lines:
        writer.write(f"{line}\n".encode())
    writer.finish({"month": "2026-05"})
    return file.getvalue()


def test_a_row_is_hashed_as_lengths_and_texts_with_a_dash_for_null() -> None:
    lines = [
        f'"-7","true","{2**62}","é, ""x""\r\n","{MOMENT}"',
        f'"8",,,"","{MOMENT + 3_599_999_999}"',
        f'"9","false",,,"{MOMENT - 1}"',
    ]
    expected = [
        f"2:-74:true19:{2**62}8:é, \"x\"\r\n16:{MOMENT}",
        f"1:8--0:16:{MOMENT + 3_599_999_999}",
        f"1:95:false--16:{MOMENT - 1}",
    ]  # fmt: skip
    digests = [sha256(row.encode()).digest() for row in expected]
    reader = ArchiveReader(BytesIO(written(lines)))
    assert reader.digests(HOUR) == digests[:2]
    assert reader.digests(HOUR - 1) == digests[2:]
    numbers = [int.from_bytes(digest[:8], "big", signed=True) for digest in digests]
    assert reader.sums(lambda: None) == {HOUR: (2, sum(numbers[:2])), HOUR - 1: (1, numbers[2])}
    assert reader.sums(lambda: None, [HOUR - 1]) == {HOUR - 1: (1, numbers[2])}


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_seen_or_changes_no_value(bit: int) -> None:
    content = written([
        f'"{n}",,"{n << 55}","label {n % 3}","{MOMENT + n}"' for n in range(20)
    ])  # fmt: skip
    sums, seen = ArchiveReader(BytesIO(content)).sums(lambda: None), 0
    for place in range(bit, len(content), 16):
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << bit
        try:
            reader = ArchiveReader(BytesIO(bytes(spoilt)))
            reader.check_columns(COLUMNS)
            found = reader.sums(lambda: None)
        except Damaged:
            seen += 1
        else:
            seen += found != sums
    assert seen > len(content) / 16 / 3  # the rest are statistics and the like


def test_a_file_that_is_cut_anywhere_is_damaged() -> None:
    content = written([f'"1",,,,"{MOMENT}"'])
    for length in range(0, len(content), 7):
        with pytest.raises(Damaged):
            ArchiveReader(BytesIO(content[:length])).sums(lambda: None)
