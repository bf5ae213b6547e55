"""Python values from anywhere (numpy, pandas, enums, subclasses) as the few plain types columns are made of."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Final

import numpy as np
import pandas as pd

from api2db.form.tally import MISFITS, MISSING, Tally

_ALREADY: Final = frozenset(
    (str, bool, int, dict, list, bytes, dt.datetime, dt.date, dt.time, dt.timedelta, type(None))
)
_ABSENT: Final = (type(None), type(MISSING), type(pd.NA), type(pd.NaT))


def is_absent(value: object) -> bool:
    """None, a missing key, pandas' NA and NaT: nothing is there that could be lost."""
    return isinstance(value, _ABSENT)


def plain(value: object, tally: Tally) -> object:
    """The value as None, str, bool, int, float, Decimal, bytes, dict, list or one of ``datetime``'s types.

    Never raises. NaN, of floats and of Decimals, is how Python's data world writes "missing": it becomes null
    and is counted. So does an object of a type not known here.
    """
    if type(value) in _ALREADY or (type(value) is float and value == value):
        return value
    try:
        return _plain(value, tally)
    except MISFITS:
        tally.nulled += 1
        return None


def _plain(value: object, tally: Tally) -> object:
    if isinstance(value, _ABSENT):
        return None
    if isinstance(value, enum.Enum):
        return plain(value.value, tally)
    if isinstance(value, (np.generic, np.ndarray)):
        return _from_numpy(value, tally)
    if isinstance(value, (float, Decimal)):
        return _number(value, tally)
    if isinstance(value, (dt.date, dt.time, dt.timedelta)):
        return _from_datetime(value, tally)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, list, Set)):
        return list(value)
    raise TypeError


def _number(value: float | Decimal, tally: Tally) -> float | Decimal | None:
    exact = float.__float__(value) if isinstance(value, float) else Decimal(value)
    if not (exact.is_nan() if isinstance(exact, Decimal) else exact != exact):
        return exact
    tally.nulled += 1
    return None


def _from_numpy(value: np.generic | np.ndarray, tally: Tally) -> object:
    if isinstance(value, np.datetime64):
        return plain(pd.Timestamp(value), tally)
    if isinstance(value, np.timedelta64):
        return plain(pd.Timedelta(value), tally)
    if isinstance(value, np.longdouble):
        return _number(float(value), tally)
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value)
    return plain(value.item(), tally)


def _from_datetime(value: dt.date | dt.time | dt.timedelta, tally: Tally) -> object:
    """A subclass's value as its base type. Nanoseconds of pandas' types are cut off and counted."""
    if isinstance(value, (pd.Timestamp, pd.Timedelta)):
        tally.replaced += (value.nanosecond if isinstance(value, pd.Timestamp) else value.nanoseconds) != 0
    if isinstance(value, dt.timedelta):
        return dt.timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, dt.time):
        return dt.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)
    if not isinstance(value, dt.datetime):
        return dt.date(value.year, value.month, value.day)
    clock = (value.hour, value.minute, value.second, value.microsecond)
    return dt.datetime(value.year, value.month, value.day, *clock, value.tzinfo, fold=value.fold)
