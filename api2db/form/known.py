"""What is known of a column from earlier batches, and the values of one more batch brought to it.

A column's type is a word: ``bool``, ``int`` (``bigint`` once a value was beyond 2^53), ``float``, ``decimal(2)``,
``str``, ``json``, ``bytes``, ``date``, ``time``, ``timestamp`` (without zone), ``instant`` (with one), ``duration``.
Of two types only these become another: ``int`` becomes ``float`` when a fraction arrives, while every value stays
exact; a ``decimal`` takes more places while 38 digits hold them.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api2db.errors import ShapeError
from api2db.form.column import Column
from api2db.form.infer import infer_column
from api2db.form.jsontext import json_bytes, text_of
from api2db.form.numbers import DIGITS, INT64_MAX, INT64_MIN, exact_decimals
from api2db.form.plain import plain
from api2db.form.tally import MISFITS, Tally
from api2db.form.times import NAIVE, UTC, to_datetime

EXACT: Final = 2**53
"""Up to here a double holds every integer."""

_SHOWN_CHARS: Final = 40
_DECIMAL: Final = re.compile(r"decimal\(([0-9]|[1-3][0-9])\)")


class _Misfit(Exception):
    """The value can't be of the column's type; the text says why."""


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
    arrow, convert = _arrow(known), _CONVERT[known.partition("(")[0]]
    made: list[Any] = []
    misfits: dict[int, str] = {}
    for row, value in enumerate(present):
        try:
            made.append(None if value is None else convert(value, tally))
        except _Misfit as why:
            misfits[row] = f"({known}) cannot take {_shown(value)}: {why}"
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
    numbers: list[Any] = [value for value in present if isinstance(value, (int, float, Decimal)) and _is_finite(value)]
    if any(EXACT < abs(value) <= -INT64_MIN and value == int(value) for value in numbers):
        return "bigint"
    fractions = [value for value in numbers if value != int(value)]
    return "float" if any(not isinstance(value, Decimal) or _same_float(value) for value in fractions) else "int"


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


def _is_finite(value: int | float | Decimal) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _same_float(value: Decimal) -> bool:
    """Does the float show the same digits?"""
    return Decimal(repr(float(value))) == value


def _shown(value: object) -> str:
    """What it is and its text, cut."""
    kind = next((name for base, name in _NAMES if isinstance(value, base)), type(value).__name__)
    try:
        text = text_of(value, Tally())
    except MISFITS:
        return kind
    text = text[:_SHOWN_CHARS] + "…" if len(text) > _SHOWN_CHARS else text
    return f"{kind} ({json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text})"


def _to_bool(value: Any, tally: Tally) -> bool:
    if type(value) is not bool:
        if type(value) is not int or value not in (0, 1):
            raise _Misfit("it is neither true nor false")
        tally.replaced += 1
    return bool(value)


def _number(value: Any, tally: Tally) -> int | float | Decimal:
    if not isinstance(value, (int, float, Decimal)):
        raise _Misfit("it isn't a number")
    if isinstance(value, bool):
        tally.replaced += 1
        return int(value)
    return value


def _to_int(value: Any, tally: Tally) -> int:
    number = _number(value, tally)
    if not _is_finite(number) or number != int(number):
        raise _Misfit("it isn't a whole number, and as a float the column couldn't hold its other values")
    if not INT64_MIN <= number <= INT64_MAX:
        raise _Misfit("it doesn't fit 64 bits")
    return int(number)


def _to_float(value: Any, tally: Tally) -> float:
    number = _number(value, tally)
    if isinstance(number, float):
        return number
    try:
        exact = float(number)
    except OverflowError:
        exact = math.inf
    same = int(exact) == number if isinstance(number, int) and math.isfinite(exact) else False
    if not same and not (isinstance(number, Decimal) and (number.is_infinite() or _same_float(number))):
        raise _Misfit("a float can't hold that many digits")
    return exact


def _to_decimal(value: Any, tally: Tally) -> Decimal:
    number = _number(value, tally)
    if not _is_finite(number):
        raise _Misfit("it isn't finite")
    exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    if exact_decimals([exact]) is None:
        raise _Misfit("it has more than 38 digits")
    return exact


def _to_text(value: Any, tally: Tally) -> str:
    text = text_of(value, tally)
    tally.replaced += not isinstance(value, str)
    return text


def _to_json(value: Any, tally: Tally) -> str:
    """Its JSON; a value that isn't nested is a document too."""
    document = json_bytes(value, tally).decode()
    tally.replaced += not isinstance(value, (dict, list))
    return document


def _to_date(value: Any, _tally: Tally) -> dt.date:
    if isinstance(value, dt.datetime) and value.tzinfo is None and value.time() == dt.time():
        return value.date()
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
        raise _Misfit("it isn't a date")
    return value


def _to_time(value: Any, _tally: Tally) -> dt.time:
    if not isinstance(value, dt.time) or value.tzinfo is not None:
        raise _Misfit("it isn't a time of day without zone")
    return value


def _to_moment(*, zone: bool) -> Callable[[Any, Tally], dt.datetime]:
    def convert(value: Any, tally: Tally) -> dt.datetime:
        """With zone into without: the time in UTC. Without into with: taken as UTC. Dates: midnight."""
        if not isinstance(value, dt.date):
            raise _Misfit("it isn't a timestamp")
        moment = to_datetime(value, tally)
        tally.replaced += not isinstance(value, dt.datetime) or (moment.tzinfo is not None) != zone
        return moment.replace(tzinfo=dt.UTC if zone else None)

    return convert


def _to_duration(value: Any, _tally: Tally) -> int:
    """Microseconds."""
    if not isinstance(value, dt.timedelta):
        raise _Misfit("it isn't a duration")
    micros = value // dt.timedelta(microseconds=1)
    if abs(micros) >= 2**63:
        raise _Misfit("it is too long")
    return micros


def _to_bytes(value: Any, _tally: Tally) -> bytes:
    if not isinstance(value, bytes):
        raise _Misfit("it isn't bytes")
    return value


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
_CONVERT: Final[dict[str, Callable[[Any, Tally], object]]] = {
    "bool": _to_bool,
    "int": _to_int,
    "bigint": _to_int,
    "float": _to_float,
    "decimal": _to_decimal,
    "str": _to_text,
    "json": _to_json,
    "bytes": _to_bytes,
    "date": _to_date,
    "time": _to_time,
    "timestamp": _to_moment(zone=False),
    "instant": _to_moment(zone=True),
    "duration": _to_duration,
}
_NAMES: Final = (
    (bool, "boolean"),
    (str, "text"),
    (int, "integer"),
    (float, "float"),
    (Decimal, "decimal"),
    (dict, "an object"),
    (list, "a list"),
    (bytes, "bytes"),
    (dt.datetime, "timestamp"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "duration"),
)
