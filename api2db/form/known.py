"""What is known of a column from earlier batches, and the values of one more batch brought to it.

A column's type is a word: ``bool``, ``int`` (``bigint`` once a value was beyond 2^53), ``float``, ``decimal(2)``,
``str``, ``json``, ``bytes``, ``date``, ``time``, ``timestamp`` (without zone), ``instant`` (with one), ``duration``.
Of two types only these become another: ``int`` becomes ``float`` when a fraction arrives, while every value stays
exact; a ``decimal`` takes more places while 38 digits hold them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api2db.errors import ShapeError
from api2db.form.column import Column
from api2db.form.convert import CONVERT, Misfit, is_finite, same_float, shown
from api2db.form.infer import infer_column
from api2db.form.numbers import DIGITS, INT64_MIN, exact_decimals
from api2db.form.plain import plain
from api2db.form.tally import MISFITS, Tally
from api2db.form.times import NAIVE, UTC

EXACT: Final = 2**53
"""Up to here a double holds every integer."""

_DECIMAL: Final = re.compile(r"decimal\(([0-9]|[1-3][0-9])\)")


@dataclass(frozen=True)
class Fit:
    """The values of one batch in the type their column is known to have.

    word     what is known of the column now; None while it has only been null
    misfits  position -> why that value can't be of the type; it is null in the column
    """

    column: Column
    word: str | None
    misfits: Mapping[int, str] = field(default_factory=dict)


def fit_column(values: Sequence[object], known: str | None) -> Fit:
    """The values as a column of the known type; with None, of the type found. Raises ShapeError for an unknown word."""
    column = infer_column(values)
    found = _word_of(column)
    if known is None or found == known:
        return Fit(column, found)
    if found is None:
        return Fit(replace(column, array=column.array.cast(_arrow(known)), json=known == "json"), known)
    return _fit_whole(column, found, known) or _fit_each(values, known)


def _word_of(column: Column) -> str | None:
    kind = column.array.type
    if column.json:
        return "json"
    if kind == pa.int64():
        bounds = pc.min_max(column.array).as_py()
        return "int" if bounds["min"] >= -EXACT and bounds["max"] <= EXACT else "bigint"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.scale})"
    return None if kind == pa.null() else next(word for word, arrow in _ARROW.items() if arrow == kind)


def _arrow(word: str) -> pa.DataType:
    decimal = _DECIMAL.fullmatch(word)
    if decimal is not None and int(decimal[1]) <= DIGITS:
        return pa.decimal128(DIGITS, int(decimal[1]))
    if word not in _ARROW:
        raise ShapeError(
            f"{word!r} is no type of a column; there are {', '.join(_ARROW)} and decimal(0) to decimal(38)"
        )
    return _ARROW[word]


def _fit_whole(column: Column, found: str, known: str) -> Fit | None:
    """The whole column at once, where Arrow can; None if it needs a look at each value."""
    array = column.array
    if {found, known} == {"int", "bigint"}:
        return Fit(column, "bigint")
    if (found, known) == ("int", "float"):
        return Fit(replace(column, array=array.cast(pa.float64())), known)
    if found == "float" and known in ("int", "bigint"):
        if _whole(array):
            made = replace(column, array=array.cast(pa.int64()))
            return Fit(made, known if known == "bigint" else _word_of(made))
        return Fit(column, "float") if known == "int" else None
    if {found, known} == {"timestamp", "instant"}:
        changed = column.replaced + len(array) - array.null_count
        return Fit(replace(column, array=array.cast(_ARROW[known]), replaced=changed), known)
    if found.startswith("decimal") and known.startswith("decimal"):
        if array.type.scale > _arrow(known).scale:
            return Fit(column, found)
        try:
            return Fit(replace(column, array=array.cast(_arrow(known))), known)
        except pa.ArrowInvalid:
            return None
    return None


def _whole(floats: pa.Array) -> bool:
    """Is every value an integer of 64 bits? 2**63 is a float, 2**63 - 1 isn't: hence half-open."""
    inside = pc.and_(pc.greater_equal(floats, float(INT64_MIN)), pc.less(floats, float(2**63)))
    return bool(pc.all(pc.and_(inside, pc.equal(floats, pc.trunc(floats)))).as_py())


def _fit_each(values: Sequence[object], known: str) -> Fit:
    tally = Tally()
    present = [plain(value, tally) for value in values]
    if known == "int":
        known = _wider(present)
    arrow, convert = _arrow(known), CONVERT[known.partition("(")[0]]
    made: list[Any] = []
    misfits: dict[int, str] = {}
    for row, value in enumerate(present):
        try:
            made.append(None if value is None else convert(value, tally))
        except Misfit as why:
            misfits[row] = f"({known}) cannot take {shown(value)}: {why}"
            made.append(None)
        except MISFITS:
            # Nested deeper than Python's stack, or moved by its zone out of the years 1 to 9999.
            tally.nulled += 1
            made.append(None)
    if pa.types.is_decimal(arrow):
        arrow = _decimals(made, misfits, arrow)
        known = f"decimal({arrow.scale})"
    return Fit(Column(pa.array(made, arrow), tally.nulled, tally.replaced, json=known == "json"), known, misfits)


def _wider(present: Sequence[Any]) -> str:
    """What an integer column becomes: ``bigint`` holds it as it is, ``float`` takes fractions.

    A fraction doesn't widen a column with an integer that a float would change.
    """
    numbers: list[Any] = [value for value in present if isinstance(value, (int, float, Decimal)) and is_finite(value)]
    if any(EXACT < abs(value) <= -INT64_MIN and value == int(value) for value in numbers):
        return "bigint"
    fractions = [value for value in numbers if value != int(value)]
    return "float" if any(not isinstance(value, Decimal) or same_float(value) for value in fractions) else "int"


def _decimals(made: list[Any], misfits: dict[int, str], arrow: pa.DataType) -> pa.DataType:
    """The known decimal type, or one with more places if all values fit it; else those that don't are misfits."""
    together = exact_decimals(made)
    for scale in (arrow.scale, arrow.scale if together is None else together.type.scale):
        if all(_fits_decimal(value, scale) for value in made):
            return pa.decimal128(DIGITS, scale)
    for row, value in enumerate(made):
        if not _fits_decimal(value, arrow.scale):
            misfits[row] = f"(decimal({arrow.scale})) cannot take decimal ({value}): with the others it needs 39 digits"
            made[row] = None
    return arrow


def _fits_decimal(value: Decimal | None, scale: int) -> bool:
    if value is None:
        return True
    return -int(value.as_tuple().exponent) <= scale and exact_decimals([value], scale) is not None


_ARROW: Final[dict[str, pa.DataType]] = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "bigint": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "json": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": NAIVE,
    "instant": UTC,
    "duration": pa.duration("us"),
}
