"""What a column holds, in our words, and every Arrow type brought to the few that sinks know. Pure functions.

The canonical types: null, bool, the integers, float32 and float64, decimal128, string, binary, date32,
time64[us], timestamp[us] with no zone or with UTC, duration[us]. JSON is a string field that says so in its
metadata. The form delivers these; ``canonical`` brings anything else Arrow has to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

JSON_METADATA = {b"api2db.kind": b"json"}

# More microseconds than any year a sink takes, and few enough that no conversion overflows.
_FAR_S = 9_000_000_000_000


class Kind(Enum):
    """What a column holds. The value is its name for people."""

    NULL = "nothing"
    BOOL = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    TEXT = "text"
    JSON = "JSON"
    BINARY = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp without zone"
    INSTANT = "timestamp with zone"
    DURATION = "duration"
    OTHER = "another type"


@dataclass(frozen=True)
class Field:
    """One canonical column: its name, what it holds, and the Arrow type it holds it in."""

    name: str
    kind: Kind
    arrow: pa.DataType


def kind_of(field: pa.Field) -> Kind:
    """What a canonical field holds."""
    kind = field.type
    if (field.metadata or {}).get(b"api2db.kind") == b"json":
        return Kind.JSON
    if pa.types.is_null(kind):
        return Kind.NULL
    if pa.types.is_boolean(kind):
        return Kind.BOOL
    if pa.types.is_integer(kind):
        return Kind.INTEGER
    if pa.types.is_floating(kind):
        return Kind.FLOAT
    if pa.types.is_decimal(kind):
        return Kind.DECIMAL
    if pa.types.is_string(kind):
        return Kind.TEXT
    if pa.types.is_binary(kind):
        return Kind.BINARY
    if pa.types.is_date(kind):
        return Kind.DATE
    if pa.types.is_time(kind):
        return Kind.TIME
    if pa.types.is_timestamp(kind):
        return Kind.TIMESTAMP if kind.tz is None else Kind.INSTANT
    if pa.types.is_duration(kind):
        return Kind.DURATION
    raise TypeError(f"not a canonical type: {kind}")


def fields_of(schema: pa.Schema) -> tuple[Field, ...]:
    """The fields of a canonical schema."""
    return _fields(schema.serialize().to_pybytes())


# By the bytes: two schemas that differ only in what their fields' metadata say are equal to pyarrow.
@lru_cache(maxsize=512)
def _fields(serialized: bytes) -> tuple[Field, ...]:
    schema = pa.ipc.read_schema(pa.py_buffer(serialized))
    return tuple(Field(field.name, kind_of(field), field.type) for field in schema)


@lru_cache(maxsize=512)
def _is_canonical(serialized: bytes) -> bool:
    """Whether ``canonical`` would change nothing, not even what is said beside the columns."""
    schema = pa.ipc.read_schema(pa.py_buffer(serialized))
    return bool(_canonical(schema.empty_table()).schema.equals(schema, check_metadata=True))


def canonical(table: pa.Table) -> pa.Table:
    """The same rows in canonical types; without copying what is canonical already.

    Finer than a microsecond is cut off. Lists, structs and maps become JSON. A timestamp too far out for
    microseconds becomes one no sink takes, so that its row ends in quarantine rather than as another time.
    """
    return table if _is_canonical(table.schema.serialize().to_pybytes()) else _canonical(table)


def _canonical(table: pa.Table) -> pa.Table:
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        column, is_json = _canonical_column(field, column)
        columns.append(column)
        fields.append(pa.field(field.name, column.type, metadata=JSON_METADATA if is_json else None))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _canonical_column(field: pa.Field, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, bool]:
    kind = column.type
    is_json = (field.metadata or {}).get(b"api2db.kind") == b"json"
    if isinstance(kind, pa.BaseExtensionType):
        is_json = is_json or kind.extension_name == "arrow.json"
        column = column.cast(kind.storage_type)
        kind = column.type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_nested(kind):
        texts = [None if value is None else json_text(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())]), True
    return _cast(column, kind), is_json


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    types = pa.types
    if types.is_large_string(kind) or types.is_string_view(kind):
        return column.cast(pa.string())
    if types.is_large_binary(kind) or types.is_fixed_size_binary(kind) or types.is_binary_view(kind):
        return column.cast(pa.binary())
    if types.is_float16(kind):
        return column.cast(pa.float32())
    if types.is_decimal(kind) and not types.is_decimal128(kind):
        narrow = kind.precision <= 38
        return column.cast(pa.decimal128(kind.precision, kind.scale) if narrow else pa.string())
    if types.is_date64(kind):
        return column.cast(pa.date32())
    if types.is_time(kind) and kind != pa.time64("us"):
        return column.cast(pa.time64("us"), safe=False)
    if types.is_duration(kind) and kind.unit != "us":
        return _to_us(column, kind, pa.duration("us"))
    if types.is_timestamp(kind) and (kind.unit != "us" or kind.tz not in (None, "UTC")):
        return _to_us(column, kind, pa.timestamp("us", None if kind.tz is None else "UTC"))
    return column


def _to_us(column: pa.ChunkedArray, kind: pa.DataType, target: pa.DataType) -> pa.ChunkedArray:
    """Instants are kept whatever zone they were shown in; coarser units are clamped before they overflow."""
    same_unit = pa.duration(kind.unit) if pa.types.is_duration(kind) else pa.timestamp(kind.unit, target.tz)
    if kind.unit in ("s", "ms"):
        far = _FAR_S * (1 if kind.unit == "s" else 1000)
        number = column.cast(pa.int64())
        column = pc.if_else(pc.greater(number, far), far, pc.if_else(pc.less(number, -far), -far, number))
    return column.cast(same_unit).cast(target, safe=False)


def _in_json(value: Any) -> str:
    """Of pandas' times, with nanoseconds, which the encoder doesn't know."""
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


_encoder: Final = msgspec.json.Encoder(enc_hook=_in_json)


def json_text(value: object) -> str:
    """A value of a column as JSON that any reader takes, compact, and as the form writes it.

    NaN and infinities are null, times ISO-8601, decimals texts, bytes base64.
    """
    return _encoder.encode(value).decode()
