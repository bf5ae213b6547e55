"""Columns by SQLAlchemy's types: how ours are declared in any database, and what someone else's hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle

from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import Column

# Characters of a text in a key: every database has an index over so many.
KEY_CHARS = 255
_DIGITS = 38
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb").with_variant(mssql.NVARCHAR(None), "mssql")
_STAMP = (
    sa.DateTime()
    .with_variant(oracle.TIMESTAMP(), "oracle")
    .with_variant(mssql.DATETIME2(6), "mssql")  # type: ignore[no-untyped-call]
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
)
# SQLAlchemy's own for Oracle is DATE, which has neither zone nor fractions of a second.
_INSTANT = (
    sa.DateTime(timezone=True)
    .with_variant(oracle.TIMESTAMP(timezone=True), "oracle")
    .with_variant(mssql.DATETIMEOFFSET(6), "mssql")  # type: ignore[no-untyped-call]
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
)
_DECLARED: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.BOOL: sa.Boolean().with_variant(oracle.NUMBER(1), "oracle"),  # type: ignore[no-untyped-call]
    Kind.INTEGER: sa.BigInteger(),
    Kind.FLOAT: sa.Double().with_variant(oracle.BINARY_DOUBLE(), "oracle"),
    Kind.TEXT: _TEXT,
    Kind.JSON: _TEXT,
    Kind.BINARY: sa.LargeBinary()
    .with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    .with_variant(mssql.VARBINARY("max"), "mssql"),  # type: ignore[no-untyped-call]
    Kind.DATE: sa.Date().with_variant(sa.DATE(), "mssql"),
    # Oracle has no time of day: its text.
    Kind.TIME: sa.Time()
    .with_variant(oracle.VARCHAR2(15), "oracle")
    .with_variant(mssql.TIME(6), "mssql")  # type: ignore[no-untyped-call]
    .with_variant(mysql.TIME(fsp=6), "mysql", "mariadb"),
    Kind.TIMESTAMP: _STAMP,
    Kind.INSTANT: _INSTANT,
    Kind.DURATION: sa.BigInteger(),
}
# What a reflected type holds; the first that fits.
_KINDS: tuple[tuple[type[Any], Kind, pa.DataType], ...] = (
    (sa.Boolean, Kind.BOOL, pa.bool_()),
    (sa.SmallInteger, Kind.INTEGER, pa.int16()),
    (sa.BigInteger, Kind.INTEGER, pa.int64()),
    (mysql.TINYINT, Kind.INTEGER, pa.int8()),
    (mssql.TINYINT, Kind.INTEGER, pa.uint8()),
    (sa.Integer, Kind.INTEGER, pa.int32()),
    (sa.REAL, Kind.FLOAT, pa.float32()),
    (sa.Float, Kind.FLOAT, pa.float64()),
    (sa.Numeric, Kind.DECIMAL, pa.string()),
    (sa.JSON, Kind.JSON, pa.string()),
    (sa.Enum, Kind.OTHER, pa.string()),
    (sa.String, Kind.TEXT, pa.string()),
    (sa.types._Binary, Kind.BINARY, pa.binary()),
    (sa.Date, Kind.DATE, pa.date32()),
    (sa.Time, Kind.TIME, pa.time64("us")),
)
_FINITE = ("mysql", "mariadb", "mssql")
_NUL_FREE = ("postgresql", "oracle")


def declared(field: Field, in_key: bool) -> sa.types.TypeEngine[Any]:
    """The type of a column we create."""
    if field.arrow == pa.uint64():
        return sa.Numeric(20, 0)
    if field.kind is Kind.DECIMAL:
        return sa.Numeric(_DIGITS, field.arrow.scale)
    if in_key and field.kind in (Kind.TEXT, Kind.JSON):
        return sa.String(KEY_CHARS).with_variant(sa.Unicode(KEY_CHARS), "mssql")
    return _DECLARED[field.kind]


def column(found: dict[str, Any], dialect: sa.Dialect) -> Column:
    """One of ``Inspector.get_columns``."""
    name, kind = found["name"], found["type"]
    holds, arrow = _holds(kind)
    return Column(
        name,
        holds,
        arrow,
        "another type" if isinstance(kind, sa.types.NullType) else kind.compile(dialect=dialect),
        required=not found["nullable"],
        optional=found["nullable"]
        or found.get("default") is not None
        or bool(found.get("identity"))
        or bool(found.get("autoincrement") is True),
        max_chars=getattr(kind, "length", None) if holds is Kind.TEXT else None,
        generated=found.get("computed") is not None,
    )


def _holds(kind: sa.types.TypeEngine[Any]) -> tuple[Kind, pa.DataType]:
    if isinstance(kind, (sa.DateTime, mssql.DATETIMEOFFSET)):
        # Oracle's DATE has a time of day, and SQLAlchemy takes it for a DateTime.
        zoned = getattr(kind, "timezone", False) or isinstance(kind, mssql.DATETIMEOFFSET)
        return (Kind.INSTANT, pa.timestamp("us", "UTC")) if zoned else (Kind.TIMESTAMP, pa.timestamp("us"))
    if isinstance(kind, oracle.NUMBER) and kind.scale == 0 and kind.precision is not None and kind.precision <= 18:
        return Kind.INTEGER, pa.int64()
    return next(((holds, arrow) for base, holds, arrow in _KINDS if isinstance(kind, base)), (Kind.OTHER, pa.string()))


def slot(database: str, to: Column, field: Field) -> Slot:
    """How ``field`` goes into a column, as Python's values."""
    kind, arrow = to.kind, to.arrow or pa.string()
    places = to.declared.partition(",")[2].strip(" )") if to.kind is Kind.DECIMAL else ""
    if kind is Kind.INTEGER and field.kind is Kind.DURATION:
        kind, arrow = Kind.DURATION, pa.duration("us")
    return Slot(
        to.name,
        kind,
        arrow,
        to.declared,
        to.required,
        max_chars=to.max_chars,
        nul_free=database in _NUL_FREE,
        finite=database in _FINITE or kind is Kind.DECIMAL,
        max_places=int(places) if places.isdigit() else (0 if "NUMERIC(20)" in to.declared else None),
    )
