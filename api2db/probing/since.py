"""Which parameter of an endpoint asks for what is new, and how it takes the time."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from api2db.errors import ConfigError, SourceError
from api2db.probing.fields import Column, Sureness, unit_of
from api2db.sources.incremental.incremental import ASCENDING, NEWEST_FIRST, Incremental
from api2db.sources.incremental.times import SECOND_US, micros

_OF_CHANGES: Final = ("updated_since", "updated_after", "updatedafter", "modified_since")
_BY_CHANGE: Final = (*_OF_CHANGES, "updated_at_min", "updated_at_gte")
_BY_BIRTH: Final = ("created_after", "start_time", "starttime", "start_date", "start")
_UNASKED: Final = ("updated_since", "since", *_OF_CHANGES[1:], "updated_at_min", "updated_at_gte")
"""Those that are tried where the address has none."""
_ASKED: Final = (*_UNASKED, *_BY_BIRTH, "from", "after")

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_ZONED: Final = re.compile(r".*(Z|[+-]\d{2}:?\d{2})", re.IGNORECASE | re.DOTALL)
_DAY_US: Final = 86_400 * SECOND_US

Ask = Callable[[str, str, str], Sequence[Any]]
"""Parameter, its value, what for -> the records that come. Raises SourceError."""


@dataclass(frozen=True)
class Since:
    """The parameter that asks for what is new; the other fields are those of an ``Incremental``.

    value      the parameter's name
    column     the column whose time it is compared with
    start      what the address had for it; None if nothing
    lag        a guess: nothing in an answer tells how late records appear
    inclusive  whether a record came that is as old as what was asked for; None: none was seen that could tell
    order      how the records that were seen are sorted by the column; None: not at all, or too few to say
    """

    value: str
    sureness: Sureness
    why: str
    column: Column
    format: str
    start: str | None
    lag: str
    inclusive: bool | None
    order: str | None


def since_of(
    ask: Ask,
    given: Mapping[str, str],
    version: Column | None,
    born: Column | None,
    records: Sequence[Any],
    tries: int,
) -> Since | None:
    """The parameter that, set to tomorrow, leaves out everything; None where none of at most ``tries`` requests does.

    given    the address's parameters
    version  the column of a record's last change, ``born`` the one of its beginning
    """
    tomorrow = micros(dt.datetime.now(dt.UTC)) + _DAY_US
    named = [name for name in _ASKED if given.get(name)]
    for name in named or _UNASKED:
        column = _column(name, version, born)
        if column is None:
            continue
        for how in _ways(name, column, given.get(name)):
            if not tries:
                return None
            tries -= 1
            try:
                left = ask(name, how.params(tomorrow, None)[name], f"whether {name} leaves out the old")
            except SourceError:
                continue  # no answer without records to that parameter
            if not left:
                return _meaning(ask, name, column, how, records)
    return None


def lag_of(column: Column) -> str:
    """A lag to begin with. Rows of a day appear all day."""
    return "1d" if column.kind == "date" else "10m"


def _column(name: str, version: Column | None, born: Column | None) -> Column | None:
    """A time that the parameter can mean: what has an older one wouldn't count as new."""
    if name in _BY_CHANGE:
        return version
    return born or version if name in _BY_BIRTH else version or born


def _ways(name: str, column: Column, given: str | None) -> Iterator[Incremental]:
    """How a time may be said to it: as the address has one, if that can be read."""
    formats: tuple[str, ...] = ("iso",)
    if given is not None and given.isdigit():
        unit = unit_of(int(given))
        if unit not in ("s", "ms", "us"):
            return
        # As records have times, whatever unit the parameter has.
        at = Incremental(column.path, format=unit).kind.declared(int(given))
        given, formats = (dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=at)).isoformat(), (unit,)
    elif given is not None:
        formats = ("iso", "date") if _DAY.fullmatch(given) else ("iso",) if _ZONED.fullmatch(given) else ("iso-naive",)
    for form in formats:
        try:
            yield Incremental(column.declared, name, start=given, format=form)
        except ConfigError:
            return  # "-7d": only the API knows what that is


def _meaning(ask: Ask, name: str, column: Column, how: Incremental, records: Sequence[Any]) -> Since | None:
    """Asked from the newest record on: what comes is as new, or the parameter means another time, and isn't used."""
    ranks = [rank for rank in how.ranks(records) if rank is not None]
    told = how.kind.told(max(ranks))
    try:
        came = ask(name, how.kind.text(told), f"what {name} brings of the newest")
        found = [rank for rank in how.ranks(came) if rank is not None]
    except SourceError:
        found = []
    if found and min(found) < told - _DAY_US:
        return None
    guess = f"set to tomorrow it leaves nothing; that it means {column.path} is a guess"
    why = f"set to tomorrow it leaves nothing, set to the newest {column.path} what is as new" if found else guess
    return Since(
        name,
        Sureness.LIKELY,
        why,
        column,
        str(how.format),
        None if how.start is None else str(how.start),
        lag_of(column),
        told in found if found else None,
        _order(ranks),
    )


def _order(ranks: Sequence[Any]) -> str | None:
    if len(set(ranks)) < 3:
        return None
    pairs = list(pairwise(ranks))
    if all(first <= second for first, second in pairs):
        return ASCENDING
    return NEWEST_FIRST if all(first >= second for first, second in pairs) else None
