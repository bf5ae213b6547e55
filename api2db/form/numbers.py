"""Numbers: 64-bit integers, doubles and decimals of 38 digits, and what becomes of those that are larger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

import pyarrow as pa

from api2db.form.plain import plain
from api2db.form.tally import Tally

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
DIGITS: Final = 38
"""What decimal128 holds."""

_CONTEXT: Final = Context(prec=DIGITS * 2 + 2, rounding=ROUND_HALF_EVEN)


def to_int(value: object, tally: Tally) -> int:
    """``int(value)``. A fraction cut off is counted as replaced; beyond 64 bits doesn't fit: OverflowError."""
    number = int(value)  # type: ignore[call-overload]
    if not INT64_MIN <= number <= INT64_MAX:
        raise OverflowError
    if not isinstance(value, (str, bytes)) and number != value:
        tally.replaced += 1
    return number


def to_float(value: object, tally: Tally) -> float:
    """``float(value)``, infinities included. NaN doesn't fit; an integer that had to be rounded is replaced."""
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        raise ValueError
    if isinstance(value, int) and number != value:
        tally.replaced += 1
    return number


def to_decimal(value: object, _tally: Tally) -> Decimal:
    """The exact decimal: a float's is the shortest that reads back the same. NaN and infinity don't fit."""
    value = plain(value, Tally())
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise TypeError
    number = Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite() or _whole_digits(number) > DIGITS:
        raise ValueError
    return number


def decimal_array(values: Sequence[Decimal | int | None], tally: Tally) -> pa.Array:
    """Decimals as decimal128(38, s), s being the most decimal places that leave room for the whole parts.

    A value with more places than that is rounded half-even and counted as replaced.
    """
    exact = exact_decimals(values)
    if exact is not None:
        return exact
    scale = DIGITS - max(_whole_digits(value) for value in values if value is not None)
    rounded = _rounded(values, scale)
    array = exact_decimals(rounded, scale)
    if array is None and scale:
        # Rounding 99.96 to 100.0 took one more digit.
        scale -= 1
        rounded = _rounded(values, scale)
        array = exact_decimals(rounded, scale)
    if array is None:
        rounded = [None if value is not None and _whole_digits(value) > DIGITS else value for value in rounded]
        array = exact_decimals(rounded, scale)
    for before, after in zip(values, rounded, strict=True):
        tally.nulled += after is None and before is not None
        tally.replaced += after is not None and after != before
    return array


def _rounded(values: Sequence[Decimal | int | None], scale: int) -> list[Decimal | None]:
    unit = Decimal(1).scaleb(-scale)
    return [None if value is None else Decimal(value).quantize(unit, context=_CONTEXT) for value in values]


def exact_decimals(values: Sequence[Decimal | int | None], scale: int | None = None) -> pa.Array | None:
    """The numbers as decimal128(38, scale), or None where 38 digits can't hold every one exactly."""
    present = [value for value in values if value is not None]
    if scale is None:
        scale = max(map(_places, present), default=0)
    if scale > DIGITS or any(_whole_digits(value) + scale > DIGITS for value in present):
        return None
    numbers = [None if value is None else Decimal(value) for value in values]
    return pa.array(numbers, pa.decimal128(DIGITS, scale))


def exact_in_float(values: Iterable[object]) -> bool:
    """Is every integer among the values the same number as a double?"""
    return all(not isinstance(value, int) or abs(value) <= 2**53 or _survives(value) for value in values)


def _survives(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _places(value: Decimal | int) -> int:
    return max(0, -int(value.as_tuple().exponent)) if isinstance(value, Decimal) else 0


def _whole_digits(value: Decimal | int) -> int:
    """Digits before the point; an integer too long to count at once has more than any column holds."""
    if isinstance(value, int):
        return DIGITS + 1 if abs(value) >= 10**DIGITS else len(str(abs(value)))
    return max(0, value.adjusted() + 1) if value else 0
