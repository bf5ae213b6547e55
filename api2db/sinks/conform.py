"""A column of a batch, brought to exactly what the target's column takes; and the rows that can't be.

This is where the documented outcomes of types live: what is kept, what is converted by rule, what is refused.
Loaders encode without looking, and a binary loader stores a wrong type of the right width as rubbish, so what
leaves here has exactly the Arrow type its slot asks for. Pure functions over columns; nothing here is per row
unless a row is refused.
"""

from __future__ import annotations

import decimal
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from api2db.schema import Field, Kind
from api2db.sinks.texts import array_literal, as_text, has_bytes

Mask = npt.NDArray[np.bool_]

# Years 1 to 9999: what every client can read back, and what fixed-width text can order.
_MIN_US, _END_US = -62_135_596_800_000_000, 253_402_300_800_000_000
_DAY_US = 86_400_000_000
_MIN_DAY, _END_DAY = _MIN_US // _DAY_US, _END_US // _DAY_US
_SHOWN_CHARS = 40
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


@dataclass(frozen=True)
class Slot:
    """One column of the target, as the loader fills it.

    column     its name in the target
    kind       what the target's column holds
    arrow      the exact Arrow type the loader takes for it
    declared   the target's name of its type, for people
    required   the target refuses NULL
    nan_free   NaN is refused too: it has no place in an order or a key
    max_chars  characters a text column takes; None is any number
    nul_free   the target can't store NUL in text
    number_as_text  a number stored in text: it is still ordered as a number
    no_digits  text that looks like a number would be stored as one
    is_array   lists go in, as PostgreSQL writes its arrays
    finite     its numbers have no NaN, which becomes NULL, and no infinities, which are refused
    max_places digits behind the point that a decimal keeps; None is any number, or the target rounds
    max_digits digits before the point that a decimal has at most; None is any number
    """

    column: str
    kind: Kind
    arrow: pa.DataType
    declared: str
    required: bool = False
    nan_free: bool = False
    max_chars: int | None = None
    nul_free: bool = False
    number_as_text: bool = False
    no_digits: bool = False
    is_array: bool = False
    finite: bool = False
    max_places: int | None = None
    max_digits: int | None = None


@dataclass(frozen=True)
class Conformed:
    """A column in its slot's type; ``refused`` marks rows whose value the slot can't take and ``why``."""

    values: pa.Array
    refused: Mask | None = None
    why: str = ""


def conform(values: pa.Array, field: Field, slot: Slot) -> Conformed:
    """Bring one column to its slot. NULL stays NULL; a NULL in a required column is refused."""
    given, infinite = values, None
    if slot.finite and field.kind is Kind.FLOAT and slot.kind in (Kind.FLOAT, Kind.DECIMAL):
        values, infinite = _finite(values)
    if field.kind is Kind.NULL:
        conformed = Conformed(pa.nulls(len(values), slot.arrow))
    else:
        conformed = _CONVERSIONS[slot.kind](values, field.kind, slot)
    if conformed.values.type != slot.arrow:
        raise TypeError(f"column {slot.column}: {conformed.values.type} where {slot.arrow} is needed")
    if slot.required and values.null_count:
        # A NaN that became NULL and isn't taken is still a NaN to the reader of the reason.
        why = "it is stored as NULL" if values.null_count > given.null_count else conformed.why
        conformed = _also_refused(conformed, _mask(values.is_null()), why)
    if infinite is not None:
        conformed = _also_refused(conformed, infinite, "the database has no such number")
    if slot.nan_free and field.kind is Kind.FLOAT:
        conformed = _also_refused(conformed, _mask(pc.is_nan(given)), "it has no place in an order")
    return conformed


def reason(value: pa.Array, field: Field, slot: Slot, why: str) -> str:
    """One sentence for people: which column, which value (an array of one) came, why it can't be taken.

    Long values are cut.
    """
    if value.null_count:
        return f'column "{slot.column}" ({slot.declared}) cannot take NULL: it must have a value'
    shown = _shown(value, field.kind)
    return f'column "{slot.column}" ({slot.declared}) cannot take {field.kind.value} ({shown}): {why}'


def _finite(values: pa.Array) -> tuple[pa.Array, Mask]:
    """NaN and infinities as NULL, and where the infinities were."""
    kept = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    return kept, _mask(pc.is_inf(values))


def _shown(values: pa.Array, kind: Kind) -> str:
    if kind in (Kind.TEXT, Kind.JSON, Kind.BINARY):
        text = str(values[0].as_py())
    else:
        # Arrow's own text: Python has no dates for years that no database takes either.
        text = str(as_text(values, kind)[0].as_py())
    text = text[:_SHOWN_CHARS] + "…" if len(text) > _SHOWN_CHARS else text
    return json.dumps(text, ensure_ascii=False) if kind is Kind.TEXT else text


def _also_refused(conformed: Conformed, refused: Mask, why: str) -> Conformed:
    if not refused.any():
        return conformed
    if conformed.refused is not None:
        return Conformed(conformed.values, conformed.refused | refused, conformed.why)
    return Conformed(conformed.values, refused, why)


def _mask(values: pa.Array) -> Mask:
    mask: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return mask


def _refuse(values: pa.Array, slot: Slot, why: str) -> Conformed:
    """Every value that isn't NULL is refused."""
    return Conformed(pa.nulls(len(values), slot.arrow), _mask(values.is_valid()), why)


def _checked(values: pa.Array, fits: pa.Array, slot: Slot, why: str) -> Conformed:
    """Values where ``fits``; the others are NULL and refused. Casting can't fail afterwards."""
    fits = pc.fill_null(fits, False)
    refused = _mask(pc.and_not(values.is_valid(), fits))
    if not refused.any():
        return Conformed(values.cast(slot.arrow, safe=False))
    kept = pc.if_else(fits, values, pa.scalar(None, values.type))
    return Conformed(kept.cast(slot.arrow, safe=False), refused, why)


def _between(values: pa.Array, low: int | float, end: int | float) -> pa.Array:
    return pc.and_(pc.greater_equal(values, low), pc.less(values, end))


def _to_integer(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    bits = slot.arrow.bit_width
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if pa.types.is_unsigned_integer(slot.arrow):
        low, high = 0, 2**bits - 1
    why = f"it doesn't fit {bits} bits"
    if values.type == slot.arrow or kind is Kind.BOOL:
        return Conformed(values.cast(slot.arrow))
    if kind is Kind.INTEGER:
        if values.type.bit_width < bits and low < 0:
            return Conformed(values.cast(slot.arrow))
        if values.type == pa.uint64():
            return _checked(values, pc.less_equal(values, pa.scalar(high, pa.uint64())), slot, why)
        wide = values.cast(pa.int64())
        if bits == 64:
            return _checked(wide, pc.greater_equal(wide, low), slot, "it is negative" if low == 0 else why)
        return _checked(wide, _between(wide, low, high + 1), slot, why)
    if kind is Kind.FLOAT:
        # 2**63 is a float, 2**63 - 1 isn't: hence half-open.
        whole = pc.and_(pc.equal(values, pc.trunc(values)), _between(values, float(low), float(high + 1)))
        return _checked(values, whole, slot, "it isn't a whole number of that size")
    if kind is Kind.DECIMAL:
        return _each(values, slot, lambda v: int(v) if v == int(v) and low <= v <= high else None, why)
    return _refuse(values, slot, "it isn't a number")


def _to_float(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    exact = 2**53 if slot.arrow == pa.float64() else 2**24
    if values.type == slot.arrow:
        return Conformed(values)
    if kind is Kind.BOOL:
        return Conformed(values.cast(pa.int8()).cast(slot.arrow))
    if kind is Kind.INTEGER:
        if values.type == pa.uint64():
            fits = pc.less_equal(values, pa.scalar(exact, pa.uint64()))
        else:
            wide = values.cast(pa.int64())
            fits = _between(wide, -exact, exact + 1)
        return _checked(values, fits, slot, "a float can't hold that many digits")
    if kind is Kind.FLOAT:
        rounded = values.cast(slot.arrow, safe=False)
        lost = pc.and_(pc.is_finite(values), pc.invert(pc.is_finite(rounded)))
        return _checked(values, pc.invert(lost), slot, "it is too large")
    if kind is Kind.DECIMAL:
        # The shortest text of the float is the decimal again: nothing a reader could see is lost.
        def same(value: object) -> float | None:
            number = float(str(value))
            return number if value == type(value)(repr(number)) else None  # type: ignore[call-arg]

        return _each(values, slot, same, "a float can't hold that many digits")
    return _refuse(values, slot, "it isn't a number")


def _to_bool(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    if kind is Kind.BOOL:
        return Conformed(values)
    if kind is Kind.INTEGER:
        # In the values' own type: a plain 0 has 64 bits and a sign, and unsigned values don't fit those.
        zero, one = (pa.scalar(number, values.type) for number in (0, 1))
        return _checked(values, pc.or_(pc.equal(values, zero), pc.equal(values, one)), slot, "it is neither 0 nor 1")
    return _refuse(values, slot, "it is neither true nor false")


def _to_decimal(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    """Numbers of any size, as text."""
    if kind is Kind.BOOL:
        return Conformed(values.cast(pa.int8()).cast(slot.arrow))
    if kind in (Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL):
        if slot.max_digits is not None:
            return _to_limited_decimal(values, slot, slot.max_digits, slot.max_places or 0)
        text = as_text(values, kind)
        if slot.max_places is not None and kind is Kind.DECIMAL and values.type.scale > slot.max_places:
            beyond = pc.match_substring_regex(text, rf"\.\d{{{slot.max_places}}}0*[1-9]")
            return _checked(text, pc.invert(beyond), slot, f"it has more than {slot.max_places} decimal places")
        return Conformed(text)
    return _refuse(values, slot, "it isn't a number")


def _to_limited_decimal(values: pa.Array, slot: Slot, digits: int, places: int) -> Conformed:
    """As text without exponent, where the number has no more digits than that before the point and behind it."""

    def fixed(value: object) -> str | None:
        number = decimal.Decimal(str(value))
        if number.adjusted() >= digits or not number:
            return None if number else "0"
        text = format(number, "f")
        if "." in text:
            text = text.rstrip("0").rstrip(".")
        return None if len(text.partition(".")[2]) > places else text

    return _each(values, slot, fixed, f"it has more than {digits} digits before the point or {places} behind it")


def _to_text(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    if kind is Kind.BINARY and slot.kind is Kind.TEXT:
        return _refuse(values, slot, "it isn't text")
    if slot.is_array and kind is Kind.JSON:
        return _each(values, slot, array_literal, "it isn't a list")
    text = _in_years(values, kind, slot)
    if slot.no_digits and kind in (Kind.TEXT, Kind.JSON):
        wordy = pc.invert(pc.match_substring_regex(text.values, _NUMBER))
        return _checked(text.values, wordy, slot, "in a column of this type it would become a number; declare it TEXT")
    if slot.nul_free and kind in (Kind.TEXT, Kind.JSON) and has_bytes(text.values, b"\0"):
        clean = pc.invert(pc.match_substring(text.values, "\0"))
        return _checked(text.values, clean, slot, "it contains the character NUL")
    if slot.max_chars is not None:
        short = pc.less_equal(pc.utf8_length(text.values), slot.max_chars)
        checked = _checked(text.values, short, slot, f"it is longer than {slot.max_chars} characters")
        return checked if checked.refused is not None else text
    return text


def _in_years(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    """The text of any kind; of dates and timestamps only within the years that have one fixed width."""
    if kind is Kind.DATE:
        checked = _to_date(values, kind, Slot(slot.column, Kind.DATE, pa.date32(), slot.declared))
    elif kind in (Kind.TIMESTAMP, Kind.INSTANT):
        checked = _to_timestamp(values, kind, Slot(slot.column, kind, values.type, slot.declared))
    elif kind is Kind.TIME:
        checked = _to_time(values, kind, Slot(slot.column, kind, values.type, slot.declared))
    else:
        return Conformed(as_text(values, kind))
    return Conformed(as_text(checked.values, kind), checked.refused, checked.why)


def _to_json(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    """JSON as it is; anything else as the JSON value it is. Text becomes a JSON string: it isn't parsed."""
    if kind is Kind.JSON:
        if not slot.nul_free or not (has_bytes(values, b"\0") or has_bytes(values, b"\\u0000")):
            return Conformed(values)
        # An even number of backslashes before \u0000 escape each other, so it is just text.
        bad = pc.match_substring_regex(values, r"(^|[^\\])(\\\\)*\\u0000|\x00")
        return _checked(values, pc.invert(bad), slot, "it contains the character NUL")
    if kind is Kind.TEXT:
        quoted = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values.to_pylist()]
        return _to_json(pa.array(quoted, pa.string()), Kind.JSON, slot)
    if kind is Kind.FLOAT:
        return _checked(as_text(values, kind), pc.is_finite(values), slot, "JSON has no such number")
    if kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT):
        text = _in_years(values, kind, slot)
        return Conformed(pc.binary_join_element_wise('"', text.values, '"', ""), text.refused, text.why)
    if kind in (Kind.BINARY, Kind.DURATION):
        return _refuse(values, slot, "JSON has no such type")
    return Conformed(as_text(values, kind))


def _to_binary(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    return Conformed(values) if kind is Kind.BINARY else _refuse(values, slot, "it isn't bytes")


def _to_date(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    if kind is Kind.TIMESTAMP:
        us = values.cast(pa.int64())
        days = pc.divide(pc.subtract(us, pc.if_else(pc.less(us, 0), _DAY_US - 1, 0)), _DAY_US)
        checked = _checked(
            us,
            pc.and_(pc.equal(pc.multiply(days, _DAY_US), us), _between(us, _MIN_US, _END_US)),
            Slot(slot.column, slot.kind, pa.int64(), slot.declared),
            "it isn't midnight of a day",
        )
        values = pc.divide(checked.values, _DAY_US).cast(pa.int32()).cast(pa.date32())
        return Conformed(values, checked.refused, checked.why)
    if kind is not Kind.DATE:
        return _refuse(values, slot, f"it isn't a date{_hint(kind, ':date')}")
    fits = _between(values.cast(pa.int32()), _MIN_DAY, _END_DAY)
    return _checked(values, fits, slot, "its year isn't between 1 and 9999")


def _hint(kind: Kind, suffix: str) -> str:
    """JSON has no dates: they come as text, and only the form can say that they are dates."""
    return f"; in a shape the kind {suffix} makes one of text" if kind is Kind.TEXT else ""


def _to_time(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    if kind is not Kind.TIME:
        return _refuse(values, slot, "it isn't a time of day")
    return _checked(values, _between(values.cast(pa.int64()), 0, _DAY_US), slot, "it isn't a time of day")


def _to_timestamp(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    """With zone into without: the time in UTC. Without into with: taken as UTC. Dates: midnight."""
    if kind is Kind.DATE:
        values = values.cast(pa.int32()).cast(pa.int64())
        values = pc.multiply(values, _DAY_US).cast(pa.timestamp("us"))
    elif kind not in (Kind.TIMESTAMP, Kind.INSTANT):
        return _refuse(values, slot, f"it isn't a timestamp{_hint(kind, ':iso')}")
    us = values.cast(pa.int64())
    checked = _checked(
        us,
        _between(us, _MIN_US, _END_US),
        Slot(slot.column, slot.kind, pa.int64(), slot.declared),
        "its year isn't between 1 and 9999",
    )
    return Conformed(checked.values.cast(slot.arrow), checked.refused, checked.why)


def _to_duration(values: pa.Array, kind: Kind, slot: Slot) -> Conformed:
    return Conformed(values) if kind is Kind.DURATION else _refuse(values, slot, "it isn't a duration")


def _each(values: pa.Array, slot: Slot, convert: Callable[..., object], why: str) -> Conformed:
    """Value by value, where Arrow has no exact conversion. ``convert`` answers None to refuse."""
    got = [None if value is None else convert(value) for value in values.to_pylist()]
    converted = pa.array(got, slot.arrow)
    refused = _mask(pc.and_(values.is_valid(), converted.is_null()))
    return Conformed(converted, refused if refused.any() else None, why)


_CONVERSIONS: dict[Kind, Callable[[pa.Array, Kind, Slot], Conformed]] = {
    Kind.BOOL: _to_bool,
    Kind.INTEGER: _to_integer,
    Kind.FLOAT: _to_float,
    Kind.DECIMAL: _to_decimal,
    Kind.TEXT: _to_text,
    Kind.JSON: _to_json,
    Kind.BINARY: _to_binary,
    Kind.DATE: _to_date,
    Kind.TIME: _to_time,
    Kind.TIMESTAMP: _to_timestamp,
    Kind.INSTANT: _to_timestamp,
    Kind.DURATION: _to_duration,
    Kind.OTHER: _to_text,
}
