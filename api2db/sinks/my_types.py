"""Columns of MySQL and MariaDB: what their catalog says of a table, and how a column of ours is declared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import Column

# A key of an InnoDB table, all its columns together; text takes four bytes a character.
_KEY_BYTES = 3072
# The widest there is: 35 digits before the point and 30 behind it.
_DECIMAL = "decimal(65,30)"
_DECIMAL_PLACES = 30
_DECLARED = {
    Kind.BOOL: "tinyint(1)",
    Kind.INTEGER: "bigint",
    Kind.FLOAT: "double",
    Kind.DECIMAL: _DECIMAL,
    Kind.TEXT: "longtext",
    Kind.JSON: "json",
    Kind.BINARY: "longblob",
    Kind.DATE: "date",
    Kind.TIME: "time(6)",
    Kind.TIMESTAMP: "datetime(6)",
    # A column of type timestamp ends in 2038.
    Kind.INSTANT: "datetime(6)",
    # In microseconds: a column of type time ends at 838 hours.
    Kind.DURATION: "bigint",
}
_TYPES: dict[str, tuple[Kind, pa.DataType]] = {
    "tinyint": (Kind.INTEGER, pa.int8()),
    "smallint": (Kind.INTEGER, pa.int16()),
    "mediumint": (Kind.INTEGER, pa.int32()),
    "int": (Kind.INTEGER, pa.int32()),
    "bigint": (Kind.INTEGER, pa.int64()),
    "float": (Kind.FLOAT, pa.float32()),
    "double": (Kind.FLOAT, pa.float64()),
    "decimal": (Kind.DECIMAL, pa.string()),
    "char": (Kind.TEXT, pa.string()),
    "varchar": (Kind.TEXT, pa.string()),
    "tinytext": (Kind.TEXT, pa.string()),
    "text": (Kind.TEXT, pa.string()),
    "mediumtext": (Kind.TEXT, pa.string()),
    "longtext": (Kind.TEXT, pa.string()),
    "json": (Kind.JSON, pa.string()),
    "binary": (Kind.BINARY, pa.binary()),
    "varbinary": (Kind.BINARY, pa.binary()),
    "tinyblob": (Kind.BINARY, pa.binary()),
    "blob": (Kind.BINARY, pa.binary()),
    "mediumblob": (Kind.BINARY, pa.binary()),
    "longblob": (Kind.BINARY, pa.binary()),
    "date": (Kind.DATE, pa.date32()),
    "time": (Kind.TIME, pa.time64("us")),
    "datetime": (Kind.TIMESTAMP, pa.timestamp("us")),
    "timestamp": (Kind.INSTANT, pa.timestamp("us", "UTC")),
    "bit": (Kind.INTEGER, pa.uint64()),
}
_UNSIGNED = {pa.int8(): pa.uint8(), pa.int16(): pa.uint16(), pa.int32(): pa.uint32(), pa.int64(): pa.uint64()}
# Older servers show how wide an integer is printed, which says nothing of what it holds.
_WIDTH = re.compile(r"^((?:small|medium|big)?int|tinyint(?!\(1\)))\(\d+\)")
_LIMITED = ("char", "varchar")
MARK = "api2db: becomes double when a fraction arrives"

COLUMNS = """
SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_MAXIMUM_LENGTH, IS_NULLABLE = 'YES',
       COLUMN_DEFAULT, EXTRA, COLUMN_COMMENT, CHARACTER_SET_NAME, COLLATION_NAME
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {table} ORDER BY ORDINAL_POSITION"""
TRIGGERS = """
SELECT 1 FROM information_schema.TRIGGERS
WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = {table} LIMIT 1"""
# MariaDB's JSON is text with a check.
JSON_COLUMNS = """
SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
WHERE CONSTRAINT_SCHEMA = DATABASE() AND TABLE_NAME = {table}"""


@dataclass(frozen=True)
class Found:
    """A column as loads see it, its bare type, with which a staging table takes the same values, and is it ours?"""

    column: Column
    bare: str
    made: bool


def found(row: tuple[Any, ...], has_triggers: bool, json_checks: frozenset[str]) -> Found:
    """What a row of COLUMNS says."""
    name, data_type, declared, max_chars, nullable, default, extra, comment, charset, collation = row
    extra = extra.lower().replace("default_generated", "").strip()
    kind, arrow = _TYPES.get(data_type, (Kind.OTHER, pa.string()))
    bare = declared + (f" CHARACTER SET {charset} COLLATE {collation}" if charset else "") + " NULL"
    declared = _WIDTH.sub(r"\1", declared)
    if declared in ("tinyint(1)", "bit(1)"):
        kind, arrow = Kind.BOOL, pa.bool_()
    elif kind is Kind.INTEGER and "unsigned" in declared:
        arrow = _UNSIGNED[arrow]
    elif data_type == "longtext" and f"json_valid(`{name}`)" in json_checks:
        kind, declared = Kind.JSON, "json"
    has_default = default not in (None, "NULL")
    made = comment == MARK
    if declared == "bigint" and (not nullable or has_default or extra or (comment and not made)):
        # Not as we create it: to change its type would lose what else it was declared with.
        declared = "bigint not null" if not nullable else "bigint default"
    column = Column(
        name,
        kind,
        arrow,
        declared,
        # A trigger may fill in what is NULL: then only the server can tell.
        required=not nullable and not has_triggers,
        optional=bool(nullable or has_default or extra),
        max_chars=max_chars if data_type in _LIMITED else None,
        # The server would drop what is given for it, without a word in LOAD DATA.
        generated="generated" in extra,
    )
    return Found(column, bare, made)


def declare(field: Field, key_columns: int) -> str:
    """The type of a column we create; in a key of so many columns one that an index takes whole."""
    if field.arrow == pa.uint64():
        return "bigint unsigned"
    if key_columns and field.kind in (Kind.TEXT, Kind.JSON):
        return f"varchar({_KEY_BYTES // 4 // key_columns})"
    if key_columns and field.kind is Kind.BINARY:
        return f"varbinary({_KEY_BYTES // key_columns})"
    return _DECLARED[field.kind]


def slot(column: Column, field: Field) -> Slot:
    """How ``field`` is loaded into ``column``."""
    kind, arrow = column.kind, column.arrow or pa.string()
    if kind is Kind.INTEGER and field.kind is Kind.DURATION:
        kind, arrow = Kind.DURATION, pa.duration("us")
    return Slot(
        column.name,
        kind,
        arrow,
        column.declared,
        column.required,
        max_chars=column.max_chars,
        finite=True,
        max_places=_DECIMAL_PLACES if column.declared == _DECIMAL else None,
    )
