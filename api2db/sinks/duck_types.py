"""Columns of DuckDB: what its catalog says of a table, and how a column of ours is declared and filled."""

from __future__ import annotations

import re

import pyarrow as pa

from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import Column

# Digits of a DECIMAL, the most there are.
_DIGITS = 38
_DECLARED = {
    Kind.BOOL: "BOOLEAN",
    Kind.INTEGER: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.TEXT: "VARCHAR",
    Kind.JSON: "JSON",
    Kind.BINARY: "BLOB",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.INSTANT: "TIMESTAMP WITH TIME ZONE",
    Kind.DURATION: "INTERVAL",
}
_TYPES: dict[str, tuple[Kind, pa.DataType]] = {
    "BOOLEAN": (Kind.BOOL, pa.bool_()),
    "TINYINT": (Kind.INTEGER, pa.int8()),
    "SMALLINT": (Kind.INTEGER, pa.int16()),
    "INTEGER": (Kind.INTEGER, pa.int32()),
    "BIGINT": (Kind.INTEGER, pa.int64()),
    "UTINYINT": (Kind.INTEGER, pa.uint8()),
    "USMALLINT": (Kind.INTEGER, pa.uint16()),
    "UINTEGER": (Kind.INTEGER, pa.uint32()),
    "UBIGINT": (Kind.INTEGER, pa.uint64()),
    "FLOAT": (Kind.FLOAT, pa.float32()),
    "DOUBLE": (Kind.FLOAT, pa.float64()),
    "VARCHAR": (Kind.TEXT, pa.string()),
    "JSON": (Kind.JSON, pa.string()),
    "BLOB": (Kind.BINARY, pa.binary()),
    "DATE": (Kind.DATE, pa.date32()),
    "TIME": (Kind.TIME, pa.time64("us")),
    "TIMESTAMP": (Kind.TIMESTAMP, pa.timestamp("us")),
    "TIMESTAMP_NS": (Kind.TIMESTAMP, pa.timestamp("us")),
    "TIMESTAMP WITH TIME ZONE": (Kind.INSTANT, pa.timestamp("us", "UTC")),
    "INTERVAL": (Kind.DURATION, pa.duration("us")),
}
_PLACES = re.compile(r"DECIMAL\(\d+,(\d+)\)")
_WHOLE = ("HUGEINT", "UHUGEINT", "BIGNUM")
_NESTED = ("STRUCT(", "MAP(", "UNION(")


def declare(field: Field) -> str:
    if field.kind is Kind.DECIMAL:
        return f"DECIMAL({_DIGITS},{field.arrow.scale})"
    return "UBIGINT" if field.arrow == pa.uint64() else _DECLARED[field.kind]


def column(name: str, declared: str, not_null: bool, default: str | None, generated: bool) -> Column:
    if declared in _TYPES:
        kind, arrow = _TYPES[declared]
    elif declared in _WHOLE or _PLACES.fullmatch(declared):
        kind, arrow = Kind.DECIMAL, pa.string()
    else:
        kind, arrow = Kind.OTHER, pa.string()
    optional = not not_null or default is not None or generated
    return Column(name, kind, arrow, declared, required=not_null, optional=optional, generated=generated)


def slot(to: Column, field: Field) -> Slot:
    found = _PLACES.fullmatch(to.declared)
    places = int(found[1]) if found else 0
    kind = Kind.JSON if is_nested(to.declared) and field.kind is Kind.JSON else to.kind
    limit = places if to.kind is Kind.DECIMAL else None
    return Slot(
        to.name,
        kind,
        to.arrow or pa.string(),
        to.declared,
        to.required,
        max_places=limit,
        finite=to.kind is Kind.DECIMAL,
    )


def is_nested(declared: str) -> bool:
    return declared.endswith("]") or declared.startswith(_NESTED)


def is_cast(slot: Slot) -> bool:
    """Whether the value goes to the database as text, which its type may refuse."""
    return slot.declared not in _TYPES or slot.kind is Kind.JSON


def value(slot: Slot, quoted: str, *, tried: bool = False) -> str:
    """A value of a source as the column takes it; ``tried``: NULL where it doesn't."""
    if not is_cast(slot):
        return quoted
    cast = "TRY_CAST" if tried else "CAST"
    if slot.kind is Kind.JSON and slot.declared != "JSON":
        return f"{cast}({cast}({quoted} AS JSON) AS {slot.declared})"
    return f"{cast}({quoted} AS {slot.declared})"
