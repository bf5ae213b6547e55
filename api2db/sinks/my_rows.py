"""Rows as the bytes MySQL and MariaDB read: lines for LOAD DATA, or tuples for INSERT. The same texts in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api2db.schema import Kind
from api2db.sinks.conform import Slot
from api2db.sinks.texts import as_text, has_bytes

# What LOAD DATA is told of ``lines``. Nothing is escaped: a quote is doubled, and only a bare NULL is NULL.
FORMAT = (
    "CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY X'0A'"
)
_BARE = (Kind.BOOL, Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL, Kind.DURATION)


def expression(slot: Slot) -> tuple[str, str]:
    """What stands before and after a value's text where the server can't take the text itself."""
    if slot.kind is Kind.BINARY:
        return "UNHEX(", ")"
    if slot.declared.startswith("bit("):
        return "CAST(", " AS UNSIGNED)"
    return "", ""


def lines(chunk: pa.RecordBatch, slots: Sequence[Slot]) -> memoryview:
    """The rows of a chunk for LOAD DATA, UTF-8."""
    columns: list[pa.Array] = []
    for array, slot in zip(chunk.columns, slots, strict=True):
        quote = "" if slot.kind in _BARE else '"'
        end = "\n" if len(columns) == len(slots) - 1 else ""
        columns.append(_column(array, slot, quote, quote, end))
    return _bytes(_joined(columns))


def tuples(chunk: pa.RecordBatch, slots: Sequence[Slot], max_bytes: int) -> Iterator[tuple[memoryview, int]]:
    """The rows of a chunk for ``INSERT … VALUES``, in parts of at most ``max_bytes``; with each its number of rows.

    A row that is larger by itself is a part by itself. The server must take a backslash for what it is
    (NO_BACKSLASH_ESCAPES).
    """
    columns: list[pa.Array] = []
    for array, slot in zip(chunk.columns, slots, strict=True):
        before, after = expression(slot)
        start = "(" if not columns else ""
        end = ")," if len(columns) == len(slots) - 1 else ""
        columns.append(_column(array, slot, f"{before}'", f"'{after}", end, start))
    rows = _joined(columns)
    ends = np.frombuffer(rows.buffers()[1], np.int32)[: len(rows) + 1]
    at = 0
    while at < len(rows):
        stop = max(at + 1, int(np.searchsorted(ends, ends[at] + max_bytes, "right")) - 1)
        yield _bytes(rows.slice(at, stop - at))[:-1], stop - at
        at = stop


def _column(array: pa.Array, slot: Slot, left: str, right: str, end: str, start: str = "") -> pa.Array:
    """The texts of one column; NULL stays NULL where nothing has to stand around it."""
    text = _text(array, slot)
    quote = left[-1:]
    if quote and slot.kind not in _BARE and has_bytes(text, quote.encode()):
        text = pc.replace_substring(text, quote, quote * 2)
    if start or left or right or end:
        text = pc.binary_join_element_wise(start + left, text, right + end, "")
    return text.fill_null(f"{start}NULL{end}") if (start or end) and text.null_count else text


def _text(array: pa.Array, slot: Slot) -> pa.Array:
    if slot.kind is Kind.BOOL:
        return array.cast(pa.int8()).cast(pa.string())
    if slot.kind is Kind.DURATION:
        return array.cast(pa.int64()).cast(pa.string())
    if slot.kind is Kind.INSTANT:
        # Sessions are in UTC.
        return array.cast(pa.timestamp("us")).cast(pa.string())
    if slot.kind is Kind.BINARY:
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.string())
    return array if array.type == pa.string() else as_text(array, slot.kind)


def _joined(columns: Sequence[pa.Array]) -> pa.Array:
    """One text a row; in memory they lie one behind the other, as they are sent."""
    if len(columns) == 1:
        (only,) = columns
        return pa.concat_arrays([only]) if only.offset == 0 else pa.array(only.to_pylist(), pa.string())
    return pc.binary_join_element_wise(*columns, ",", null_handling="replace", null_replacement="NULL")


def _bytes(rows: pa.Array) -> memoryview:
    _, offsets, data = rows.buffers()
    if data is None or not len(rows):
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)[rows.offset : rows.offset + len(rows) + 1]
    return memoryview(data)[ends[0] : ends[-1]]
