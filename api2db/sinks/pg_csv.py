"""PostgreSQL's COPY CSV: for columns whose type only the server can read, such as uuid, numeric or an enum."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import csv

from api2db.schema import Kind
from api2db.sinks.conform import Slot
from api2db.sinks.texts import as_text

# Nothing follows an unquoted comma or line end but NULL; text is always quoted, also when it is empty.
_OPTIONS = csv.WriteOptions(include_header=False, quoting_style="needed")
_AS_TEXT = (Kind.BINARY, Kind.DURATION, Kind.INSTANT)


def encode(chunk: pa.RecordBatch, slots: Sequence[Slot]) -> memoryview:
    """The rows of a chunk as lines of CSV, UTF-8."""
    arrays = [
        as_text(array, slot.kind) if slot.kind in _AS_TEXT else array
        for array, slot in zip(chunk.columns, slots, strict=True)
    ]
    sink = pa.BufferOutputStream()
    # Names are the target's and may repeat what CSV can't say; there is no header.
    names = [str(index) for index in range(len(slots))]
    csv.write_csv(pa.RecordBatch.from_arrays(arrays, names=names), sink, _OPTIONS)
    return memoryview(sink.getvalue())
