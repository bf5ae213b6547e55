"""Columns whose types are found from their values.

One pass through Arrow decides most columns. What it can't read is decided by the set of Python types in the
column, by the first line of the table below that has room for all of them; a column of anything else is text.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa

from api2db.form.column import Column, has_nan, plain_array
from api2db.form.jsontext import json_array, text_of
from api2db.form.numbers import exact_decimals, exact_in_float
from api2db.form.plain import plain
from api2db.form.tally import MISFITS, Tally
from api2db.form.text import text_array
from api2db.form.times import datetimes, to_datetime

VALUE: Final = "value"
"""The column of records that aren't objects."""

Values = Sequence[Any]


def infer_column(values: Sequence[object]) -> Column:
    """The values as one column of the type that fits them all exactly.

    NaN is null, counted as nulled. Whole numbers among fractions make doubles while each stays exact, decimals
    otherwise. Nested values make a JSON column. Types that have nothing in common make text: strings as they
    are, everything else as its JSON text, each counted as replaced. Nothing but nulls makes a null column.
    """
    array = plain_array(values)
    if array is not None and not (array.type == pa.float64() and has_nan(array)):
        return Column(array)
    tally = Tally()
    present = [plain(value, tally) for value in values]
    found = frozenset(map(type, present)) - {type(None)}
    for types, build in _BUILDERS:
        if found <= types:
            made = build(present, tally)
            if made is not None:
                return Column(made, tally.nulled, tally.replaced, json=types is _NESTED)
    return Column(_mixed(present, tally), tally.nulled, tally.replaced)


def _numbers(values: Values, tally: Tally) -> pa.Array | None:
    """int64, or double, or decimal128(38, s): the first that holds every number exactly."""
    kinds = set(map(type, values)) - {type(None)}
    if Decimal not in kinds:
        array = plain_array(values)
        if array is not None:
            return array
        if float in kinds and exact_in_float(values):
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if any(isinstance(value, (float, Decimal)) and not math.isfinite(value) for value in values):
        return None
    exact = [Decimal(repr(value)) if isinstance(value, float) else value for value in values]
    return exact_decimals(exact)


def _moments(values: Values, tally: Tally) -> pa.Array:
    """Timestamps; a date among them is its midnight, counted as replaced."""
    tally.replaced += sum(type(value) is dt.date for value in values)
    moments: list[dt.datetime | None] = []
    for value in values:
        try:
            moments.append(None if value is None else to_datetime(value, tally))
        except MISFITS:
            # A zone moved it out of the years 1 to 9999.
            tally.nulled += 1
            moments.append(None)
    return datetimes(moments, tally)


def _times(values: Values, _tally: Tally) -> pa.Array | None:
    """Times of day; one with a zone has no type of its own."""
    if any(value is not None and value.tzinfo is not None for value in values):
        return None
    return pa.array(values, pa.time64("us"))


def _durations(values: Values, tally: Tally) -> pa.Array:
    micros: list[int | None] = []
    for value in values:
        count = None if value is None else value // dt.timedelta(microseconds=1)
        fits = count is None or abs(count) < 2**63
        tally.nulled += not fits
        micros.append(count if fits else None)
    return pa.array(micros, pa.int64()).cast(pa.duration("us"))


def _mixed(values: Values, tally: Tally) -> pa.Array:
    texts: list[str | None] = []
    for value in values:
        try:
            texts.append(None if value is None else text_of(value, tally))
        except MISFITS:
            tally.nulled += 1
            texts.append(None)
            continue
        tally.replaced += value is not None and not isinstance(value, str)
    return pa.array(texts, pa.string())


def _typed(arrow_type: pa.DataType) -> Callable[[Values, Tally], pa.Array]:
    return lambda values, _tally: pa.array(values, arrow_type)


_NESTED: Final = frozenset((dict, list))
_BUILDERS: Final[tuple[tuple[frozenset[type], Callable[[Values, Tally], pa.Array | None]], ...]] = (
    (frozenset(), _typed(pa.null())),
    (frozenset((str,)), text_array),
    (frozenset((bool,)), _typed(pa.bool_())),
    (frozenset((int, float, Decimal)), _numbers),
    (_NESTED, json_array),
    (frozenset((dt.date,)), _typed(pa.date32())),
    (frozenset((dt.date, dt.datetime)), _moments),
    (frozenset((dt.time,)), _times),
    (frozenset((dt.timedelta,)), _durations),
    (frozenset((bytes,)), _typed(pa.binary())),
)


def infer_columns(rows: Sequence[object]) -> tuple[list[object], list[Column]]:
    """The keys of all records, in the order they are first seen, and their columns."""
    names, values = records_of(rows)
    return names, [infer_column(column) for column in values]


def records_of(rows: Sequence[object]) -> tuple[list[object], list[list[object]]]:
    """The keys of all records, in the order they are first seen, and the values of each, one a record."""
    records = [row if type(row) is dict else _record(row) for row in rows]
    names = list(dict.fromkeys(chain.from_iterable(records)))
    return names, [_values(records, name) for name in names]


def _record(row: object) -> dict[object, object]:
    return dict(row) if isinstance(row, Mapping) else {VALUE: row}


def _values(records: Sequence[dict[object, object]], name: object) -> list[object]:
    try:
        return list(map(itemgetter(name), records))
    except KeyError:
        return [record.get(name) for record in records]
