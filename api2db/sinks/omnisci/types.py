"""What each type becomes in HeavyDB, and the values that it has no room for.

HeavyDB keeps NULL as a value of the column's own type: the lowest integer of that size, the smallest normal float, in
text the empty string (https://docs.heavy.ai/sql/data-definition-ddl/datatypes). Those can't be data there. Its Arrow
loader takes exactly the type of each column (``TypedImportBuffer::add_arrow_values`` in its ImportExport/Importer.cpp).
"""

from __future__ import annotations

import decimal
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api2db.errors import FatalError
from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot, reason
from api2db.sinks.group import Group
from api2db.sinks.omnisci.wire import Described
from api2db.sinks.texts import as_text

TEXT: Final = "TEXT ENCODING DICT(32)"
# Of a text that a dictionary takes: StringDictionary::MAX_STRLEN.
MAX_TEXT_BYTES: Final = 2**15 - 1
_SMALLEST: Final = {pa.float64(): float(np.finfo(np.float64).tiny), pa.float32(): float(np.finfo(np.float32).tiny)}

# What we declare for a field of each kind. Without an exact type there: decimals, times of day, bytes, as text.
_DECLARED: Final = {
    Kind.BOOL: "BOOLEAN",
    Kind.INTEGER: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "TIMESTAMP(6)",
    Kind.INSTANT: "TIMESTAMP(6)",
    Kind.DURATION: "BIGINT",
}
# By the type's name in the client's interface definition (TDatumType).
_SLOTS: Final = {
    "BOOL": (Kind.BOOL, pa.bool_(), "BOOLEAN"),
    "TINYINT": (Kind.INTEGER, pa.int8(), "TINYINT"),
    "SMALLINT": (Kind.INTEGER, pa.int16(), "SMALLINT"),
    "INT": (Kind.INTEGER, pa.int32(), "INTEGER"),
    "BIGINT": (Kind.INTEGER, pa.int64(), "BIGINT"),
    "FLOAT": (Kind.FLOAT, pa.float32(), "FLOAT"),
    "DOUBLE": (Kind.FLOAT, pa.float64(), "DOUBLE"),
    "STR": (Kind.TEXT, pa.string(), "TEXT"),
    "DATE": (Kind.DATE, pa.date32(), "DATE"),
    "TIMESTAMP": (Kind.TIMESTAMP, pa.timestamp("us"), "TIMESTAMP"),
}


def declare(field: Field) -> str:
    """The type of a column we create."""
    return TEXT if field.arrow == pa.uint64() else _DECLARED.get(field.kind, TEXT)


def slot(column: Described, field: Field) -> Slot:
    """How ``field`` is loaded into ``column``. Raises FatalError for a type that we don't load."""
    if column.is_array or column.type not in _SLOTS:
        raise FatalError(
            f"column {column.name} is of a type that isn't loaded here ({column.type}{'[]' * column.is_array}):"
            " drop it and let it be made anew, or leave its field out of the form"
        )
    kind, arrow, declared = _SLOTS[column.type]
    if field.kind is Kind.BINARY and kind is Kind.TEXT:
        kind = Kind.OTHER  # as hexadecimal digits
    if field.kind is Kind.DURATION and arrow == pa.int64():
        return Slot(column.name, Kind.DURATION, pa.duration("us"), declared, required=column.required)
    return Slot(column.name, kind, arrow, declared, required=column.required, finite=True)


def refuse_impossible(group: Group, slots: Sequence[Slot | None]) -> None:
    """Mark the rows of a group with a value that would be NULL there, or that a dictionary doesn't take."""
    for index, each in enumerate(slots):
        if each is None:
            continue
        field, values = group.fields[index], group.table.column(index)
        for mask, why in _impossible(values, field, each):
            for row in np.flatnonzero(pc.fill_null(mask, False).to_numpy()):
                value = values.slice(int(row), 1).combine_chunks()
                value = value.chunk(0) if isinstance(value, pa.ChunkedArray) else value
                group.refused.setdefault(int(row), reason(value, field, each, why))


def _impossible(values: pa.ChunkedArray, field: Field, into: Slot) -> Iterator[tuple[pa.ChunkedArray, str]]:
    if pa.types.is_integer(into.arrow) and field.kind in (Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL):
        if field.kind is Kind.DECIMAL:  # wide enough for the digits of both
            values = values.cast(pa.decimal256(field.arrow.precision, field.arrow.scale))
        if field.arrow != pa.uint64():
            yield pc.equal(values, _lowest(into.arrow, field)), "that number is NULL there"
    elif into.kind is Kind.DURATION and field.kind is Kind.DURATION:
        yield pc.equal(values.cast(pa.int64()), _lowest(pa.int64(), field)), "that number is NULL there"
    elif into.kind is Kind.FLOAT and field.kind is Kind.FLOAT:
        yield pc.equal(values, _SMALLEST[into.arrow]), "that number is NULL there"
    elif into.arrow == pa.string() and field.kind in (Kind.TEXT, Kind.JSON, Kind.BINARY):
        text = values if field.kind is not Kind.BINARY else _hexed(values)
        yield pc.greater(pc.binary_length(text), MAX_TEXT_BYTES), f"it is longer than {MAX_TEXT_BYTES} bytes"


def _lowest(into: pa.DataType, field: Field) -> pa.Scalar:
    """The lowest integer of a type, to be compared with a field's values. A power of two: floats hold it exactly."""
    lowest = -(2 ** (into.bit_width - 1))
    if field.kind is Kind.DECIMAL:
        return pa.scalar(decimal.Decimal(lowest))
    return pa.scalar(float(lowest)) if field.kind is Kind.FLOAT else pa.scalar(lowest)


def _hexed(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([as_text(chunk, Kind.BINARY) for chunk in values.chunks], pa.string())
