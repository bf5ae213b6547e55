"""One column on its way into a table: its values, its type, and how many values had to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from api2db.form.names import column_names
from api2db.form.shaped import StepCount

JSON_METADATA: Final = {b"api2db.kind": b"json"}
"""Marks a string field whose values are JSON documents; a sink with a JSON type uses it."""

_PLAIN_PYTHON = (str, int, float, bool)
_PLAIN_ARROW = (pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.null())


@dataclass(frozen=True)
class Column:
    """Values of one canonical type, and how many of the payload's values became null or were changed by rule.

    about  what else the column's field says: of children (``api2db.childrows``)
    """

    array: pa.Array
    nulled: int = 0
    replaced: int = 0
    json: bool = False
    about: Mapping[bytes, bytes] | None = None

    def field(self, name: str) -> pa.Field:
        return pa.field(name, self.array.type, metadata=JSON_METADATA if self.json else self.about)


def is_json(field: pa.Field) -> bool:
    """Does this field hold JSON documents as text?"""
    return bool(field.metadata) and field.metadata.get(b"api2db.kind") == b"json"


def plain_array(values: Sequence[object]) -> pa.Array | None:
    """The values as string, int64, float64, bool or null, found by Arrow in one pass; None if they are anything else.

    Whole numbers among fractions become float64 only while they are exact in it. NaN stays NaN.
    """
    first = next((value for value in values if value is not None), None)
    if first is None:
        return pa.nulls(len(values))
    if type(first) not in _PLAIN_PYTHON:
        return None
    try:
        array = pa.array(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None
    return array if array.type in _PLAIN_ARROW else None


def has_nan(array: pa.Array) -> bool:
    return bool(pc.any(pc.is_nan(array)).as_py())


def table_of(names: Iterable[object], columns: Sequence[Column]) -> tuple[pa.Table, tuple[StepCount, ...]]:
    """The table of these columns, and the count of names that had to change, if any did."""
    wanted = list(names)
    given = column_names(wanted)
    fields = [column.field(name) for name, column in zip(given, columns, strict=True)]
    table = pa.Table.from_arrays([column.array for column in columns], schema=pa.schema(fields))
    renamed = sum(new != old for new, old in zip(given, wanted, strict=True))
    if not renamed:
        return table, ()
    return table, (StepCount("names", table.num_rows, table.num_rows, replaced=renamed),)


def step_count(step: str, rows_in: int, rows_out: int, names: Iterable[object], columns: Iterable[Column]) -> StepCount:
    """The account of a step that made these columns."""
    changed = [
        (str(name), column) for name, column in zip(names, columns, strict=True) if column.nulled or column.replaced
    ]
    return StepCount(
        step,
        rows_in,
        rows_out,
        nulled=sum(column.nulled for _, column in changed),
        replaced=sum(column.replaced for _, column in changed),
        by_column=tuple((name, column.nulled + column.replaced) for name, column in changed),
    )
