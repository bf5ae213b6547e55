"""Dates and times: microseconds, naive ones staying naive, aware ones stored as the instant in UTC."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from api2db.form.plain import plain
from api2db.form.tally import Tally

NAIVE: Final = pa.timestamp("us")
UTC: Final = pa.timestamp("us", tz="UTC")
FIRST_US: Final = -62_135_596_800_000_000
"""0001-01-01 and, below, the end of 9999: what databases and Python's own datetime can say."""
LAST_US: Final = 253_402_300_799_999_999

_LONGEST: Final = 24
"""Digits before the point that even nanoseconds don't need; keeps ``1e999999999`` from becoming an integer."""

_LOST_DIGITS: Final = re.compile(r"[.,]\d{6}\d*[1-9]")


def in_range(array: pa.Array) -> bool:
    """Does every microsecond count of an int64 or timestamp array lie in the years 1 to 9999?"""
    bounds = pc.min_max(array.cast(pa.int64())).as_py()
    return bounds["min"] is None or (bounds["min"] >= FIRST_US and bounds["max"] <= LAST_US)


def epoch_array(plain_values: pa.Array, unit_us: Decimal) -> pa.Array | None:
    """Whole numbers of a unit since 1970 as instants; None if they need a look at each."""
    if plain_values.type == pa.null():
        return plain_values.cast(UTC)
    if plain_values.type != pa.int64() or unit_us < 1:
        return None
    try:
        micros = pc.multiply_checked(plain_values, int(unit_us))
    except pa.ArrowInvalid:
        return None
    return micros.cast(UTC) if in_range(micros) else None


def to_epoch(unit_us: Decimal) -> Callable[[object, Tally], int]:
    """A conversion of numbers, and of texts that are numbers, to microseconds; more digits are rounded off."""

    def convert(value: object, tally: Tally) -> int:
        value = plain(value, tally)
        if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
            raise TypeError
        number = Decimal(repr(value) if isinstance(value, float) else value)
        if not number.is_finite() or number.adjusted() > _LONGEST:
            raise OverflowError
        exact = number * unit_us
        micros = int(exact.to_integral_value(ROUND_HALF_EVEN))
        if not FIRST_US <= micros <= LAST_US:
            raise OverflowError
        # A float's digits beyond microseconds are its own noise; an integer's or a text's were meant.
        tally.replaced += micros != exact and not isinstance(value, float)
        return micros

    return convert


def instants(values: Sequence[int | None], _tally: Tally) -> pa.Array:
    return pa.array(values, pa.int64()).cast(UTC)


def iso_array(plain_values: pa.Array) -> pa.Array | None:
    """ISO-8601 texts that all have a zone, or all have none; None if they need a look at each."""
    if plain_values.type == pa.null():
        return plain_values
    if plain_values.type != pa.string():
        return None
    for wanted in (UTC, NAIVE):
        try:
            parsed = plain_values.cast(wanted)
        except (pa.ArrowInvalid, OverflowError):
            continue
        return parsed if in_range(parsed) else None
    return None


def to_datetime(value: object, tally: Tally) -> dt.datetime:
    """A datetime of a datetime, a date (its midnight) or an ISO-8601 text; aware ones in UTC."""
    value = plain(value, tally)
    if isinstance(value, str):
        moment = dt.datetime.fromisoformat(value.strip())
        tally.replaced += _LOST_DIGITS.search(value) is not None
    elif isinstance(value, dt.datetime):
        moment = value
    elif isinstance(value, dt.date):
        moment = dt.datetime(value.year, value.month, value.day)
    else:
        raise TypeError
    return moment.replace(tzinfo=None) if moment.utcoffset() is None else moment.astimezone(dt.UTC)


def datetimes(values: Sequence[dt.datetime | None], tally: Tally) -> pa.Array:
    """Naive datetimes without a zone; where some have one, all in UTC, the naive ones read as UTC and counted."""
    naive = sum(value is not None and value.tzinfo is None for value in values)
    aware = sum(value is not None and value.tzinfo is not None for value in values)
    if not aware:
        return pa.array(values, NAIVE if naive else pa.null())
    tally.replaced += naive
    return pa.array(values, UTC)


def date_array(plain_values: pa.Array) -> pa.Array | None:
    """Texts ``YYYY-MM-DD`` as dates; None if they need a look at each."""
    if plain_values.type == pa.null():
        return plain_values.cast(pa.date32())
    if plain_values.type != pa.string():
        return None
    try:
        days = plain_values.cast(pa.date32())
    except pa.ArrowInvalid:
        return None
    return days if in_range(days.cast(NAIVE)) else None


def to_date(value: object, tally: Tally) -> dt.date:
    """The date of a date, a datetime or an ISO-8601 text; a time of day cut off is counted as replaced."""
    value = plain(value, tally)
    if isinstance(value, str):
        text = value.strip()
        value = dt.datetime.fromisoformat(text)
    if isinstance(value, dt.datetime):
        tally.replaced += value.time() != dt.time()
        return value.date()
    if isinstance(value, dt.date):
        return value
    raise TypeError
