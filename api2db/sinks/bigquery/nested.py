"""Nested values as STRUCT and ARRAY: a column's type found in JSON, and JSON brought to the type a column has.

A STRUCT is a column of type RECORD, an ARRAY one of mode REPEATED. Pure functions over texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from api2db.schema import Kind
from api2db.sinks.bigquery.columns import BIGNUMERIC, NAMES, NUMERIC, digits_of
from api2db.sinks.conform import Slot
from api2db.sinks.names import place

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField

RECORDS: Final = ("RECORD", "STRUCT")
# https://cloud.google.com/bigquery/docs/nested-repeated#limitations
_MAX_DEPTH: Final = 15
_INT64: Final = range(-(2**63), 2**63)
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_ARROW: Final[Mapping[str, pa.DataType]] = {
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
    "INTEGER": pa.int64(),
    "INT64": pa.int64(),
    "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": NUMERIC,
    "DECIMAL": NUMERIC,
    "BIGNUMERIC": BIGNUMERIC,
    "BIGDECIMAL": BIGNUMERIC,
    "STRING": pa.string(),
}


class Misfit(Exception):
    """A value that isn't of its column's type. The message is the end of a sentence: where, and why."""


class _Unlike(Exception):
    """Values of no common type."""


def is_nested(column: SchemaField) -> bool:
    return column.mode == "REPEATED" or column.field_type in RECORDS


def is_loadable(column: SchemaField) -> bool:
    """Whether JSON has values for all that is in a column."""
    if column.field_type in RECORDS:
        return all(is_loadable(field) for field in column.fields)
    return column.field_type in _ARROW


def slot_of_nested(column: SchemaField) -> Slot | None:
    """How JSON goes into a nested column: as its text, until the rows are written. None for one it doesn't go into."""
    if not is_loadable(column):
        return None
    declared = "ARRAY" if column.mode == "REPEATED" else "STRUCT"
    return Slot(column.name, Kind.JSON, pa.string(), declared, required=column.mode == "REQUIRED")


def arrow_of_nested(column: SchemaField) -> pa.DataType:
    """The type of a nested column in a load file, and of what is in one."""
    if column.field_type in RECORDS:
        kind = pa.struct([pa.field(field.name, arrow_of_nested(field)) for field in column.fields])
    else:
        kind = _ARROW[column.field_type]
    return pa.list_(kind) if column.mode == "REPEATED" else kind


def declare_nested(name: str, texts: Iterable[str | None]) -> SchemaField | None:
    """The column for JSON values; None while nothing is known of what is in them.

    Raises ValueError for values without a common type that is nested: those need a JSON column.
    """
    try:
        found: Any = None
        for text in texts:
            if text is not None:
                found = _joined(found, _kind_of(_DECODER.decode(text)))
        if isinstance(found, str):
            raise _Unlike
        return _column(name, found, 1)
    except (_Unlike, msgspec.DecodeError) as error:
        raise ValueError("no common type") from error


def _kind_of(value: Any) -> Any:
    """Of a value: a type's name, a dict of its fields', a list with its elements', or None."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: _kind_of(each) for key, each in value.items()}
    if isinstance(value, list):
        kind = None
        for each in value:
            kind = _joined(kind, _kind_of(each))
        if isinstance(kind, list):
            raise _Unlike  # BigQuery has no ARRAY of ARRAY
        return [kind]
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        if value not in _INT64:
            raise _Unlike
        return "INTEGER"
    return "FLOAT" if isinstance(value, Decimal) else "STRING"


def _joined(one: Any, other: Any) -> Any:
    if one is None or other is None or one == other:
        return other if one is None else one
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _joined(one.get(key), other.get(key)) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        joined = _joined(one[0], other[0])
        if isinstance(joined, list):
            raise _Unlike
        return [joined]
    if isinstance(one, str) and isinstance(other, str) and {one, other} == {"INTEGER", "FLOAT"}:
        return "FLOAT"
    raise _Unlike


def _column(name: str, kind: Any, depth: int) -> SchemaField | None:
    from google.cloud.bigquery import SchemaField

    mode = "NULLABLE"
    if isinstance(kind, list):
        mode, kind = "REPEATED", kind[0]
    if kind is None:
        return None
    if isinstance(kind, str):
        return SchemaField(name, kind, mode)
    if depth > _MAX_DEPTH:
        raise _Unlike
    placed = place(tuple(kind), (), NAMES)
    made = (_column(placed[key], each, depth + 1) for key, each in kind.items())
    fields = [field for field in made if field is not None]
    return SchemaField(name, "RECORD", mode, fields=fields) if fields else None


def value_of(text: str, column: SchemaField) -> Any:
    """What a JSON text is in a column, as pyarrow takes it. Raises Misfit for what doesn't fit."""
    try:
        decoded = _DECODER.decode(text)
    except msgspec.DecodeError:
        raise Misfit("it isn't JSON") from None
    return _fitted(decoded, column, "")


def _fitted(value: Any, column: SchemaField, where: str) -> Any:
    if column.mode != "REPEATED":
        if value is None and column.mode == "REQUIRED":
            raise Misfit(f"{_at(where)}must have a value")
        return None if value is None else _one(value, column, where)
    if value is None:
        return None
    if not isinstance(value, list):
        raise Misfit(f"{_at(where)}isn't a list")
    if None in value:
        raise Misfit(f"{_at(where)}has a null in its list, which BigQuery doesn't store")
    return [_one(each, column, f"{where}[{number}]") for number, each in enumerate(value)]


def _one(value: Any, column: SchemaField, where: str) -> Any:
    if column.field_type in RECORDS:
        return _struct(value, column.fields, where)
    kind = _ARROW[column.field_type]
    if pa.types.is_boolean(kind):
        fits = isinstance(value, bool)
    elif isinstance(value, bool):
        fits = False
    elif pa.types.is_integer(kind):
        fits = isinstance(value, int) and value in _INT64
    elif pa.types.is_floating(kind):
        fits = isinstance(value, Decimal) or (isinstance(value, int) and abs(value) <= 2**53)
        value = float(value) if fits else value
        fits = fits and abs(value) != float("inf")
    elif pa.types.is_decimal(kind):
        fits = isinstance(value, Decimal | int) and _has_digits(value := Decimal(value), column)
    else:
        fits = isinstance(value, str) and (not column.max_length or len(value) <= column.max_length)
    if not fits:
        raise Misfit(f"{_at(where)}doesn't fit {column.field_type}")
    return value


def _struct(value: Any, fields: Sequence[SchemaField], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misfit(f"{_at(where)}isn't an object")
    known = {field.name: field for field in fields}
    placed = place(tuple(value), tuple(known), NAMES)
    unknown = [key for key, each in value.items() if placed[key] not in known and each is not None]
    if unknown:
        raise Misfit(f'{_at(where)}has "{unknown[0]}", which its STRUCT has not')
    given = {placed[key]: each for key, each in value.items()}
    inside = f"{where}." if where else ""
    return {name: _fitted(given.get(name), field, f"{inside}{name}") for name, field in known.items()}


def _at(where: str) -> str:
    return f"{where} " if where else "it "


def _has_digits(number: Decimal, column: SchemaField) -> bool:
    before, behind = digits_of(column)
    if before is None or behind is None:
        return True
    exponent = number.normalize().as_tuple().exponent
    return isinstance(exponent, int) and -exponent <= behind and abs(number) < Decimal(10) ** before
