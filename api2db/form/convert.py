"""One value brought to the type its column is known to have, or the reason why it can't be."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from api2db.form.jsontext import json_bytes, text_of
from api2db.form.numbers import INT64_MAX, INT64_MIN, exact_decimals
from api2db.form.tally import MISFITS, Tally
from api2db.form.times import to_datetime

_SHOWN_CHARS: Final = 40


class Misfit(Exception):
    """The value can't be of the column's type; the text says why."""


def is_finite(value: int | float | Decimal) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def same_float(value: Decimal) -> bool:
    """Does the float show the same digits?"""
    return Decimal(repr(float(value))) == value


def shown(value: object) -> str:
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
            raise Misfit("it is neither true nor false")
        tally.replaced += 1
    return bool(value)


def _number(value: Any, tally: Tally) -> int | float | Decimal:
    if not isinstance(value, (int, float, Decimal)):
        raise Misfit("it isn't a number")
    if isinstance(value, bool):
        tally.replaced += 1
        return int(value)
    return value


def _to_int(value: Any, tally: Tally) -> int:
    number = _number(value, tally)
    if not is_finite(number) or number != int(number):
        raise Misfit("it isn't a whole number, and as a float the column couldn't hold its other values")
    if not INT64_MIN <= number <= INT64_MAX:
        raise Misfit("it doesn't fit 64 bits")
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
    if not same and not (isinstance(number, Decimal) and (number.is_infinite() or same_float(number))):
        raise Misfit("a float can't hold that many digits")
    return exact


def _to_decimal(value: Any, tally: Tally) -> Decimal:
    number = _number(value, tally)
    if not is_finite(number):
        raise Misfit("it isn't finite")
    exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    if exact_decimals([exact]) is None:
        raise Misfit("it has more than 38 digits")
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
        raise Misfit("it isn't a date")
    return value


def _to_time(value: Any, _tally: Tally) -> dt.time:
    if not isinstance(value, dt.time) or value.tzinfo is not None:
        raise Misfit("it isn't a time of day without zone")
    return value


def _to_moment(*, zone: bool) -> Callable[[Any, Tally], dt.datetime]:
    def convert(value: Any, tally: Tally) -> dt.datetime:
        """With zone into without: the time in UTC. Without into with: taken as UTC. Dates: midnight."""
        if not isinstance(value, dt.date):
            raise Misfit("it isn't a timestamp")
        moment = to_datetime(value, tally)
        tally.replaced += not isinstance(value, dt.datetime) or (moment.tzinfo is not None) != zone
        return moment.replace(tzinfo=dt.UTC if zone else None)

    return convert


def _to_duration(value: Any, _tally: Tally) -> int:
    """Microseconds."""
    if not isinstance(value, dt.timedelta):
        raise Misfit("it isn't a duration")
    micros = value // dt.timedelta(microseconds=1)
    if abs(micros) >= 2**63:
        raise Misfit("it is too long")
    return micros


def _to_bytes(value: Any, _tally: Tally) -> bytes:
    if not isinstance(value, bytes):
        raise Misfit("it isn't bytes")
    return value


CONVERT: Final[dict[str, Callable[[Any, Tally], object]]] = {
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
