"""What a field becomes in BigQuery, and what a column there takes: both ways between its types and Arrow's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot
from api2db.sinks.names import NameRules, digest

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField

NUMERIC = pa.decimal128(38, 9)
BIGNUMERIC = pa.decimal256(76, 38)

_DECLARED = {
    Kind.BOOL: "BOOLEAN",
    Kind.INTEGER: "INTEGER",
    Kind.FLOAT: "FLOAT",
    Kind.TEXT: "STRING",
    Kind.JSON: "JSON",
    Kind.BINARY: "BYTES",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.TIMESTAMP: "DATETIME",
    Kind.INSTANT: "TIMESTAMP",
    Kind.DURATION: "INTEGER",
}
# By the names of the REST API, which has two for some (https://cloud.google.com/bigquery/docs/reference/rest/v2/tables).
_TAKES = {
    "BOOLEAN": (Kind.BOOL, pa.bool_()),
    "BOOL": (Kind.BOOL, pa.bool_()),
    "INTEGER": (Kind.INTEGER, pa.int64()),
    "INT64": (Kind.INTEGER, pa.int64()),
    "FLOAT": (Kind.FLOAT, pa.float64()),
    "FLOAT64": (Kind.FLOAT, pa.float64()),
    "NUMERIC": (Kind.DECIMAL, pa.string()),
    "DECIMAL": (Kind.DECIMAL, pa.string()),
    "BIGNUMERIC": (Kind.DECIMAL, pa.string()),
    "BIGDECIMAL": (Kind.DECIMAL, pa.string()),
    "STRING": (Kind.TEXT, pa.string()),
    "JSON": (Kind.JSON, pa.string()),
    "BYTES": (Kind.BINARY, pa.binary()),
    "DATE": (Kind.DATE, pa.date32()),
    "TIME": (Kind.TIME, pa.time64("us")),
    "DATETIME": (Kind.TIMESTAMP, pa.timestamp("us")),
    "TIMESTAMP": (Kind.INSTANT, pa.timestamp("us", "UTC")),
}
# (digits before the point, behind it) of columns without parameters of their own. BIGNUMERIC has 38.8 digits before it.
_DIGITS = {"NUMERIC": (29, 9), "DECIMAL": (29, 9), "BIGNUMERIC": (38, 38), "BIGDECIMAL": (38, 38)}
_RESERVED = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
    "_change_sequence_number",
)


class _Names(NameRules):
    """Letters, digits and underscores; anything else becomes one, with a digest so that no two names meet."""

    def legal(self, name: str) -> str:
        plain = name.isascii() and name.replace("_", "a").isalnum() and not name[:1].isdigit() and len(name) <= 300
        return name if plain and not name.lower().startswith(_RESERVED) else self.hashed(name)

    def hashed(self, name: str) -> str:
        kept = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "_" for char in name)
        start = "c" if kept[:1].isdigit() or kept.lower().startswith(_RESERVED) or not kept else ""
        return f"{start}{kept[:290]}_{digest(name)}"


# https://cloud.google.com/bigquery/docs/schemas#column_names; flexible names aren't loaded from every format.
NAMES = _Names(ignores_case=True)


def declare(name: str, field: Field) -> SchemaField:
    """The column that is made for a field which has a type."""
    from google.cloud.bigquery import SchemaField

    if field.kind is Kind.DECIMAL:
        kind = field.arrow
        fits = pa.types.is_decimal(kind) and kind.scale <= 9 and kind.precision - kind.scale <= 29
        return SchemaField(name, "NUMERIC" if fits else "BIGNUMERIC")
    if field.arrow == pa.uint64():
        return SchemaField(name, "NUMERIC")
    return SchemaField(name, _DECLARED.get(field.kind, "STRING"))


def slot_of(column: SchemaField, field: Field) -> Slot | None:
    """How a field goes into a column; None for a column that can't be loaded as it is."""
    known = _TAKES.get(column.field_type)
    if known is None or column.mode == "REPEATED":
        return None
    kind, arrow = known
    if kind is Kind.INTEGER and field.kind is Kind.DURATION:
        kind, arrow = Kind.DURATION, pa.duration("us")
    declared = column.field_type + (f"({column.max_length})" if column.max_length else "")
    digits, places = digits_of(column)
    return Slot(
        column.name,
        kind,
        arrow,
        declared,
        required=column.mode == "REQUIRED",
        max_chars=column.max_length if kind is Kind.TEXT else None,
        finite=kind is Kind.DECIMAL,
        max_places=places,
        max_digits=digits,
    )


def arrow_of(column: SchemaField) -> pa.DataType:
    """The type a load file has for a column that ``slot_of`` knows."""
    if column.field_type in ("NUMERIC", "DECIMAL"):
        return NUMERIC
    if column.field_type in ("BIGNUMERIC", "BIGDECIMAL"):
        return BIGNUMERIC
    return _TAKES[column.field_type][1]


def digits_of(column: SchemaField) -> tuple[int | None, int | None]:
    """Digits before the point, and behind it, that a column takes."""
    if column.field_type not in _DIGITS:
        return None, None
    if column.precision is None:
        return _DIGITS[column.field_type]
    scale = column.scale or 0
    return int(column.precision) - int(scale), int(scale)
