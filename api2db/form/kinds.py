"""The kinds of column a feature can ask for, by Python type or by the suffix of a path: how values become one.

A kind looks at a whole column at once where Arrow can read it in one pass, and at each value where it can't.
Both give the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api2db.errors import ConfigError
from api2db.form import times
from api2db.form.column import Column, has_nan, plain_array
from api2db.form.element import own_text
from api2db.form.infer import infer_column
from api2db.form.jsontext import json_array, text_of
from api2db.form.numbers import decimal_array, to_decimal, to_float, to_int
from api2db.form.plain import is_absent, plain
from api2db.form.tally import MISFITS, Tally
from api2db.form.text import clean, text_array

Whole = Callable[[pa.Array, Tally], "pa.Array | None"]
One = Callable[[object, Tally], Any]
Build = Callable[[Sequence[Any], Tally], pa.Array]


@dataclass(frozen=True)
class Kind:
    """How values become a column of one type.

    whole        the column of values Arrow could read as string, int64, float64, bool or null; None if it can't say
    one          one value as Python has it; raises one of MISFITS (or, for a user's type, anything) if it doesn't fit
    build        the column of what ``one`` gave
    takes_none   a null in the payload is a value to convert: ``bool(None)`` is False
    """

    name: str
    whole: Whole
    one: One
    build: Build
    takes_none: bool = False
    json: bool = False

    def column(self, values: Sequence[object], fill: object = None) -> Column:
        """The column; ``fill`` stands for every null that isn't one of the kind's own."""
        tally = Tally()
        readable = plain_array(values)
        array = None if readable is None else self.whole(readable, tally)
        if array is None:
            tally = Tally()
            array = self.build([self.convert(value, tally) for value in values], tally)
        if fill is not None and array.null_count:
            array = array.fill_null(fill)
        return Column(array, tally.nulled, tally.replaced, self.json)

    def convert(self, value: object, tally: Tally) -> Any:
        """One value as Python has it; None, and counted, where it doesn't fit."""
        if is_absent(value) and not (self.takes_none and value is None):
            return None
        try:
            return self.one(value, tally)
        except MISFITS:
            tally.nulled += 1
            return None


class _UserKind(Kind):
    """A type of the user's own, whose constructor may raise whatever it likes."""

    def convert(self, value: object, tally: Tally) -> Any:
        if is_absent(value) and value is not None:
            return None
        try:
            return self.one(value, tally)
        except Exception:  # noqa: BLE001
            tally.nulled += value is not None
            return None


def _look(_readable: pa.Array, _tally: Tally) -> pa.Array | None:
    return None


def _whole_int(readable: pa.Array, _tally: Tally) -> pa.Array | None:
    return readable.cast(pa.int64()) if readable.type in (pa.int64(), pa.null()) else None


def _whole_float(readable: pa.Array, tally: Tally) -> pa.Array | None:
    if readable.type == pa.float64():
        if has_nan(readable):
            nan = pc.is_nan(readable)
            tally.nulled += pc.sum(nan).as_py()
            return pc.if_else(nan, pa.scalar(None, pa.float64()), readable)
        return readable
    if readable.type not in (pa.int64(), pa.null()):
        return None
    try:
        return readable.cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _whole_bool(readable: pa.Array, _tally: Tally) -> pa.Array | None:
    return readable.fill_null(False) if readable.type == pa.bool_() else None


def _whole_flag(readable: pa.Array, _tally: Tally) -> pa.Array | None:
    return readable.cast(pa.bool_()) if readable.type in (pa.bool_(), pa.null()) else None


_TRUE: Final = frozenset(("true", "t", "yes", "y", "on", "1"))
_FALSE: Final = frozenset(("false", "f", "no", "n", "off", "0"))


def _to_flag(value: object, tally: Tally) -> bool:
    value = plain(value, tally)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    elif isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError


_NOTHING: Final = ("none", "nan", "null", "nil")
_NOTHING_ANY_CASE: Final = pa.array(
    ["".join(letters) for word in _NOTHING for letters in product(*((c, c.upper()) for c in word))]
)


def _whole_text(readable: pa.Array, _tally: Tally) -> pa.Array | None:
    # str() of an integer is the text Arrow writes; of a fraction it isn't.
    return readable.cast(pa.string()) if readable.type in (pa.string(), pa.int64(), pa.null()) else None


def _whole_words(readable: pa.Array, tally: Tally) -> pa.Array | None:
    texts = _whole_text(readable, tally)
    if texts is None:
        return None
    nothing = pc.is_in(texts, _NOTHING_ANY_CASE)
    found = pc.sum(nothing).as_py() or 0
    tally.nulled += found
    return pc.if_else(nothing, pa.scalar(None, pa.string()), texts) if found else texts


def _to_text(value: object, tally: Tally) -> str:
    return clean(str(value), tally)


def _to_words(value: object, tally: Tally) -> str:
    text = str(value)
    if text.lower() in _NOTHING:
        raise ValueError
    return clean(text, tally)


def _to_words_or_json(value: object, tally: Tally) -> str:
    return text_of(value, tally) if isinstance(value, (Mapping, list, tuple)) else _to_words(value, tally)


def _only(*allowed: type) -> One:
    def convert(value: object, _tally: Tally) -> object:
        if not isinstance(value, allowed):
            raise TypeError
        return value

    return convert


def _as_is(value: object, _tally: Tally) -> object:
    return value


def _epoch(name: str, unit_us: Decimal) -> Kind:
    kind = Kind(name, lambda a, _t: times.epoch_array(a, unit_us), times.to_epoch(unit_us), times.instants)
    return _of_path(kind)


def _of_path(kind: Kind) -> Kind:
    """The kind as the suffix of a path asks for it: of an XML element with attributes its text is meant."""
    one = kind.one
    return replace(kind, one=lambda value, tally: one(own_text(value), tally))


def _json(name: str, *allowed: type) -> Kind:
    return Kind(name, _look, _only(*allowed) if allowed else _as_is, json_array, json=True)


def _typed(arrow_type: pa.DataType) -> Build:
    return lambda values, _tally: pa.array(values, arrow_type)


INT: Final = Kind("int", _whole_int, to_int, _typed(pa.int64()))
FLOAT: Final = Kind("float", _whole_float, to_float, _typed(pa.float64()))
BOOL: Final = Kind("bool", _whole_bool, lambda value, _tally: bool(value), _typed(pa.bool_()), takes_none=True)
FLAG: Final = Kind("flag", _whole_flag, _to_flag, _typed(pa.bool_()))
WORDS: Final = Kind("str", _whole_words, _to_words, _typed(pa.string()))
"""Text of a feature: a value that reads none, nan, null or nil is one that isn't there."""
TEXT: Final = Kind("text", _whole_text, _to_text, text_array)
DATETIME: Final = Kind("iso", lambda a, _t: times.iso_array(a), times.to_datetime, times.datetimes)
DATE: Final = Kind("date", lambda a, _t: times.date_array(a), times.to_date, _typed(pa.date32()))
DECIMAL: Final = Kind("decimal", _look, to_decimal, decimal_array)


class _Inferred(Kind):
    """The column's type is found from its values."""

    def column(self, values: Sequence[object], fill: object = None) -> Column:
        return infer_column(values)


INFER: Final = _Inferred("inferred", _look, _as_is, _typed(pa.null()))

SUFFIXES: Final = {
    "int": _of_path(INT),
    "float": _of_path(FLOAT),
    "bool": _of_path(FLAG),
    "str": _of_path(replace(WORDS, one=_to_words_or_json)),
    "s": _epoch("s", Decimal(1_000_000)),
    "ms": _epoch("ms", Decimal(1000)),
    "us": _epoch("us", Decimal(1)),
    "ns": _epoch("ns", Decimal("0.001")),
    "iso": _of_path(DATETIME),
    "date": _of_path(DATE),
    "decimal": _of_path(DECIMAL),
    "json": _json("json"),
}

SUFFIX_TYPES: Final[dict[str, tuple[object, ...]]] = {
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "str": (str,),
    **dict.fromkeys(("s", "ms", "us", "ns", "iso"), (dt.datetime,)),
    "date": (dt.date,),
    "decimal": (Decimal,),
    "json": (dict, list),
}
"""The dtypes that say the same as a suffix, less exactly; a feature may have both."""

_DTYPES: Final[dict[object, Kind]] = {
    None: INFER,
    int: INT,
    float: FLOAT,
    bool: BOOL,
    str: WORDS,
    dt.datetime: DATETIME,
    dt.date: DATE,
    Decimal: DECIMAL,
    dict: _json("dict", dict),
    list: _json("list", list, tuple),
}


def feature_kind(dtype: object) -> Kind:
    """The kind of a feature's ``dtype``; a callable that isn't a known type makes text of whatever it returns."""
    if isinstance(dtype, Hashable) and dtype in _DTYPES:
        return _DTYPES[dtype]
    if not callable(dtype):
        choices = "int, float, bool, str, datetime.datetime, datetime.date, decimal.Decimal, dict, list"
        raise ConfigError(f"dtype {dtype!r} is not a type; one of {choices}, or a callable whose result becomes text")
    make = dtype

    def convert(value: object, tally: Tally) -> str | None:
        made = make(value)
        return None if is_absent(made) else _to_words(made, tally)

    return _UserKind("str", _look, convert, _typed(pa.string()), takes_none=True)


def column_kind(dtype: object) -> Kind:
    """The kind of a column that is there already: like ``feature_kind``, but words stay and other types are text."""
    return _DTYPES[dtype] if keeps_values(dtype) or dtype in (int, float, bool) else TEXT


def keeps_values(dtype: object) -> bool:
    """Is this a type of ours beyond the documented ones? Its values are converted as a column, not by calling it."""
    return isinstance(dtype, Hashable) and dtype in _DTYPES and dtype not in (int, float, bool, str)
