"""Arrow columns of any type as columns of the few types that leave this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from api2db.errors import ShapeError
from api2db.form.column import Column, is_json
from api2db.form.jsontext import json_array
from api2db.form.numbers import DIGITS
from api2db.form.tally import Tally
from api2db.form.times import FIRST_US, LAST_US

NESTED_ROWS: Final = 8192
"""Rows of a nested column that are Python objects at a time."""

CANONICAL: Final = frozenset(
    (
        *(pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float32(), pa.float64()),
        *(pa.string(), pa.binary(), pa.date32(), pa.time64("us"), pa.duration("us")),
    )
)
"""Beside these: decimal128 with 0 to 38 places, and timestamps in microseconds, naive or in UTC."""

_ANY_VALUE: Final = CANONICAL - {pa.string(), pa.date32(), pa.time64("us")}
"""Of the others Arrow takes values that nobody can read: bytes that aren't UTF-8, the year 100,000, 25:00."""

_DAY_US: Final = 86_400_000_000


def canonical_column(array: pa.Array | pa.ChunkedArray, field: pa.Field) -> Column:
    """The values in the canonical type nearest to theirs. Raises ShapeError for a type nothing can be made of."""
    tally = Tally()
    try:
        made = _canonical(array, tally)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise ShapeError(f"column {field.name[:80]!r}: {field.type} can't be stored: {type(error).__name__}") from error
    marked = is_json(field) and made.type == pa.string()
    return Column(made, tally.nulled, tally.replaced, json=marked or _is_nested(field.type))


def _canonical(array: pa.Array | pa.ChunkedArray, tally: Tally) -> pa.Array | pa.ChunkedArray:
    kind = array.type
    if kind in _ANY_VALUE:
        return array
    for matches, convert in _CONVERTERS:
        if matches(kind):
            return convert(array, tally)
    raise TypeError


def _is_nested(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name == "arrow.json" or _is_nested(kind.storage_type)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return _is_nested(kind.value_type)
    return bool(pt.is_nested(kind))


def _extension(array: pa.Array, tally: Tally) -> pa.Array:
    kind = array.type
    if kind.extension_name == "arrow.bool8":
        return array.cast(pa.bool_())
    if kind.extension_name == "arrow.uuid":
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    return _canonical(array.cast(kind.storage_type), tally)


def _decoded(array: pa.Array, tally: Tally) -> pa.Array:
    return _canonical(array.cast(array.type.value_type), tally)


def _run_ends(array: pa.Array, tally: Tally) -> pa.Array:
    return _canonical(pc.run_end_decode(array), tally)


def _to(target: pa.DataType) -> Callable[[pa.Array, Tally], pa.Array]:
    return lambda array, _tally: array.cast(target)


def _decimal(array: pa.Array, tally: Tally) -> pa.Array:
    """decimal128 where 38 digits hold every value, else text with all digits, counted as replaced."""
    kind = array.type
    scale = min(max(kind.scale, 0), DIGITS)
    narrow = pa.decimal128(min(kind.precision, DIGITS) if scale == kind.scale else DIGITS, scale)
    try:
        return array.cast(narrow)
    except pa.ArrowInvalid:
        tally.replaced += len(array) - array.null_count
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


def _timestamp(array: pa.Array, tally: Tally) -> pa.Array:
    """Microseconds, cut off where there are more digits; null outside the years 1 to 9999."""
    target = pa.timestamp("us", tz=None if array.type.tz is None else "UTC")
    micros = _micros(array, tally, FIRST_US, LAST_US)
    return micros.cast(target)


def _duration(array: pa.Array, tally: Tally) -> pa.Array:
    return _micros(array, tally, -(2**63), 2**63 - 1).cast(pa.duration("us"))


def _date(array: pa.Array, tally: Tally) -> pa.Array:
    """Days, a time of day cut off; null outside the years 1 to 9999."""
    if pt.is_date32(array.type):
        days = array.cast(pa.int32())
        return _bounded(days, FIRST_US // _DAY_US, LAST_US // _DAY_US, tally).cast(pa.date32())
    moments = _bounded(array.cast(pa.int64()), FIRST_US // 1000, LAST_US // 1000, tally).cast(pa.timestamp("ms"))
    dates = moments.cast(pa.date32(), safe=False)
    tally.replaced += _count(pc.not_equal(dates.cast(moments.type), moments))
    return dates


_UNITS: Final = {"s": 1_000_000, "ms": 1000, "us": 1}


def _micros(array: pa.Array, tally: Tally, first: int, last: int) -> pa.Array:
    """Counts of any unit as counts of microseconds within bounds."""
    unit = array.type.unit
    counts = array.cast(pa.int64())
    if unit == "ns":
        counts = _cut_to_micros(counts, tally)
    factor = _UNITS.get(unit, 1)
    return pc.multiply(_bounded(counts, -(-first // factor), last // factor, tally), factor)


def _bounded(counts: pa.Array, first: int, last: int, tally: Tally) -> pa.Array:
    """Counts from ``first`` to ``last``; the others null."""
    fits = pc.and_(
        pc.greater_equal(counts, pa.scalar(first, counts.type)), pc.less_equal(counts, pa.scalar(last, counts.type))
    )
    misfits = _count(pc.invert(fits))
    if misfits:
        tally.nulled += misfits
        counts = pc.if_else(fits, counts, pa.scalar(None, counts.type))
    return counts


def _cut_to_micros(nanos: pa.Array, tally: Tally) -> pa.Array:
    """Whole microseconds, rounded down, before 1970 too: a moment belongs to the microsecond it's in."""
    towards_zero = pc.divide(nanos, 1000)
    behind = pc.greater(pc.multiply(towards_zero, 1000), nanos)
    micros = pc.subtract(towards_zero, behind.cast(pa.int64()))
    tally.replaced += _count(pc.not_equal(pc.multiply(towards_zero, 1000), nanos))
    return micros


def _count(mask: pa.Array) -> int:
    return pc.sum(mask).as_py() or 0


def _time(array: pa.Array, tally: Tally) -> pa.Array:
    """Microseconds, cut off where there are more digits; null before 0:00 and from 24:00 on."""
    if array.type.unit == "ns":
        counts = _cut_to_micros(array.cast(pa.int64()), tally)
    else:
        counts = array.cast(pa.time64("us")).cast(pa.int64())
    return _bounded(counts, 0, _DAY_US - 1, tally).cast(pa.time64("us"))


def _text(array: pa.Array | pa.ChunkedArray, tally: Tally) -> pa.Array | pa.ChunkedArray:
    """Text that is UTF-8: who made the array need not have looked. U+FFFD for what isn't, counted."""
    texts = array.cast(pa.string())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        given = texts.cast(pa.binary()).to_pylist()
        clean = [None if value is None else value.decode(errors="replace") for value in given]
        changed = (text is not None and text.encode() != value for text, value in zip(clean, given, strict=True))
        tally.replaced += sum(changed)
        return pa.array(clean, pa.string())
    return texts


def _interval(array: pa.Array, _tally: Tally) -> pa.Array:
    """Months, days and seconds as an ISO-8601 duration."""
    texts: list[str | None] = []
    for value in array.to_pylist():
        if value is None:
            texts.append(None)
            continue
        seconds = f"{value.nanoseconds / 1e9:.9f}".rstrip("0").rstrip(".")
        texts.append(f"P{value.months}M{value.days}DT{seconds}S")
    return pa.array(texts, pa.string())


def _nested(array: pa.Array | pa.ChunkedArray, tally: Tally) -> pa.ChunkedArray:
    chunks = []
    for start in range(0, len(array), NESTED_ROWS):
        part = array.slice(start, NESTED_ROWS)
        try:
            values = part.to_pylist(maps_as_pydicts="strict")
        except KeyError:
            # A map with a key twice can't be an object without losing one: a list of pairs.
            values = part.to_pylist()
        chunks.append(json_array(values, tally))
    return pa.chunked_array(chunks, pa.string())


_CONVERTERS: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, Tally], pa.Array]], ...]] = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), _extension),
    (pt.is_dictionary, _decoded),
    (pt.is_run_end_encoded, _run_ends),
    (pt.is_timestamp, _timestamp),
    (pt.is_duration, _duration),
    (pt.is_date, _date),
    (pt.is_time, _time),
    (pt.is_decimal, _decimal),
    (pt.is_float16, _to(pa.float32())),
    (lambda kind: pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind), _text),
    (
        lambda kind: pt.is_large_binary(kind) or pt.is_binary_view(kind) or pt.is_fixed_size_binary(kind),
        _to(pa.binary()),
    ),
    (pt.is_interval, _interval),
    (pt.is_nested, _nested),
)
