"""PostgreSQL's COPY BINARY, written column by column: Arrow and numpy do the work, outside the GIL mostly.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; the fields' payloads are what the
types' ``recv`` functions read. The server trusts the lengths, not the types: a value of another type and the same
width is stored as rubbish. Columns must have exactly the types ``conform`` gives for the catalog's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from api2db.schema import Kind
from api2db.sinks.conform import Slot

HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0\0\0\0" + b"\0\0\0\0"
TRAILER = b"\xff\xff"

# PostgreSQL counts from 2000-01-01.
_EPOCH_US = 946_684_800_000_000
_EPOCH_DAYS = 10_957

_NULL = b"\xff\xff\xff\xff"
_KINDS = {
    Kind.BOOL: ("u1",),
    Kind.DATE: (">i4",),
    Kind.TIME: (">i8",),
    Kind.TIMESTAMP: (">i8",),
    Kind.INSTANT: (">i8",),
    # Microseconds, days, months.
    Kind.DURATION: (">i8", ">i4", ">i4"),
}
_VARIABLE = (Kind.TEXT, Kind.JSON, Kind.BINARY)
KINDS = frozenset({*_KINDS, *_VARIABLE, Kind.INTEGER, Kind.FLOAT})

_Part = tuple[str, Any]


def encode(chunk: pa.RecordBatch, slots: Sequence[Slot]) -> memoryview:
    """The rows of a chunk, without header and trailer. The chunk and its encoding stay under 2 GiB."""
    rows = chunk.num_rows
    if rows == 0:
        return memoryview(b"")
    pieces: list[pa.Array] = []
    # Parts of a fixed width wait here until something of another width follows.
    fixed: list[_Part] = [(">i2", len(slots))]
    for array, slot in zip(chunk.columns, slots, strict=True):
        if slot.kind in _VARIABLE:
            _variable(array, slot, fixed, pieces)
        elif array.null_count:
            own = _fixed(array, slot)
            _flush(fixed, rows, pieces)
            _flush(own, rows, pieces)
            pieces[-1] = pc.if_else(array.is_null(), pa.scalar(_NULL, pa.binary()), pieces[-1])
        else:
            fixed += _fixed(array, slot)
    _flush(fixed, rows, pieces)
    if len(pieces) == 1:
        return _data(pieces[0])
    return _data(pc.binary_join_element_wise(*pieces, b""))


def _fixed(array: pa.Array, slot: Slot) -> list[_Part]:
    """Length and payload of a column of one width. Whatever a NULL's place holds is encoded too."""
    types = _KINDS.get(slot.kind) or (f">{'f' if slot.kind is Kind.FLOAT else 'i'}{array.type.bit_width // 8}",)
    length: _Part = (">i4", sum(np.dtype(kind).itemsize for kind in types))
    values = _numbers(array)
    if slot.kind is Kind.DATE:
        values = values - np.int32(_EPOCH_DAYS)
    elif slot.kind in (Kind.TIMESTAMP, Kind.INSTANT):
        values = values - _EPOCH_US
    return [length, (types[0], values), *((kind, 0) for kind in types[1:])]


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    """The values' own memory, NULLs included as whatever is there."""
    if pa.types.is_boolean(array.type):
        numbers: npt.NDArray[Any] = array.cast(pa.uint8()).fill_null(0).to_numpy(zero_copy_only=False)
        return numbers
    width = array.type.bit_width // 8
    kind = "f" if pa.types.is_floating(array.type) else "i"
    whole = np.frombuffer(array.buffers()[1], np.dtype(f"{kind}{width}"))
    return whole[array.offset : array.offset + len(array)]


def _variable(array: pa.Array, slot: Slot, fixed: list[_Part], pieces: list[pa.Array]) -> None:
    """Length, in the fixed part before it, then the bytes. jsonb has a version byte first."""
    versioned = slot.declared == "jsonb"
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    lengths = np.diff(offsets) + np.int32(versioned)
    data = array.cast(pa.binary())
    if versioned:
        data = pc.binary_join_element_wise(pa.scalar(b"\1", pa.binary()), data, b"")
    if array.null_count:
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), np.int32(-1), lengths)
        data = data.fill_null(b"")
    fixed.append((">i4", lengths))
    _flush(fixed, len(array), pieces)
    pieces.append(data)


def _flush(fixed: list[_Part], rows: int, pieces: list[pa.Array]) -> None:
    """What has collected, as one array of records; then nothing has."""
    if not fixed:
        return
    # Packed: numpy's own default, and what the wire wants.
    record = np.dtype([(f"f{index}", kind) for index, (kind, _) in enumerate(fixed)])
    records = np.empty(rows, record)
    for index, (_, values) in enumerate(fixed):
        records[f"f{index}"] = values
    blocks = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(record.itemsize), rows, [None, pa.py_buffer(records.view(np.uint8))]
    )
    pieces.append(blocks.cast(pa.binary()))
    fixed.clear()


def _data(array: pa.Array) -> memoryview:
    """All bytes of a binary array, one value after the other."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[ends[0] : ends[-1]]
