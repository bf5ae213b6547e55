"""A cursor's values: as records hold them, as they are compared, as they are kept in it, as an API is asked.

They are compared as *ranks*: times as whole microseconds since 1970 UTC, numbers and texts as they are. Each kind has

rank, ranks   of what a record holds, of what a page's records hold. Raises ValueError for what isn't of the kind
declared      the rank of what a person names: ``start``
kept, taken   a rank as a cursor holds it (JSON), and back
back, width   a rank less a lag; the rank of a lag or a window. Raises ConfigError
text          what the API is told, never later than the rank; ``told`` is the rank of that
before        a text for APIs that give what comes *after* it; ``after`` one that isn't before the rank
onward        the rank of what can be told as it is, and isn't before the rank
alike         the smallest and the largest rank that sorted records may have in any order with this one
clocked       the values are times, so that our clock says where now is
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from api2db.errors import ConfigError, SourceError
from api2db.sources.incremental.times import SECOND_US, UNITS_US, UTC, Times, micros

Rank = Any
"""int, float or str; of one cursor all alike."""


@dataclass(frozen=True)
class Numbers:
    """Numbers, and texts that are numbers."""

    clocked = False

    def rank(self, value: object) -> Rank:
        if isinstance(value, str):
            return self._of(value.strip())
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("it is no number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("nothing is beyond it, or after it")
        return value

    def _of(self, text: str) -> Rank:
        try:
            return int(text)
        except ValueError:
            number = float(text)
            if not math.isfinite(number):
                raise ValueError("it is no number") from None
            # Never beyond what was said: what is between them would be left out.
            return number if Decimal(number) <= Decimal(text) else math.nextafter(number, -math.inf)

    def ranks(self, values: Sequence[Any]) -> list[Rank | None]:
        if set(map(type, values)) <= {int}:
            return list(values)
        return [None if value is None or value == "" else self.rank(value) for value in values]

    declared = rank
    taken = rank

    def kept(self, rank: Rank) -> object:
        return rank

    def back(self, rank: Rank, lag: Rank) -> Rank:
        return rank - lag

    def width(self, span: object) -> Rank:
        try:
            found = self.rank(span)
        except ValueError as error:
            raise ConfigError(f"{span!r} isn't a number, as the cursor's values are") from error
        if found < 0:
            raise ConfigError(f"{span!r} is below 0")
        return found

    def text(self, rank: Rank) -> str:
        return str(rank)

    def told(self, rank: Rank) -> Rank:
        return rank

    def before(self, rank: Rank) -> str:
        below = rank - 1
        return str(below if below < rank else math.nextafter(rank, -math.inf))

    def after(self, rank: Rank) -> str:
        return str(rank)

    onward = told

    def alike(self, rank: Rank) -> tuple[Rank, Rank]:
        return rank, rank


@dataclass(frozen=True)
class Texts:
    """Texts that are in the order of their characters; where ``opaque``, in an order only the API knows.

    guessed  nothing but ``start`` says that they are texts: numbers and times in records are a mistake then
    """

    opaque: bool = False
    guessed: bool = False
    clocked = False

    def rank(self, value: object) -> Rank:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError("it is no text" + (_AND_START_IS if self.guessed else ""))
        if self.guessed and (not isinstance(value, str) or _IS_DAY(value)):
            raise ValueError(("a time" if isinstance(value, str) else "a number") + _AND_START_IS)
        return str(value)

    def ranks(self, values: Sequence[Any]) -> list[Rank | None]:
        return [None if value is None or value == "" else self.rank(value) for value in values]

    declared = rank
    taken = rank

    def kept(self, rank: Rank) -> object:
        return rank

    def back(self, rank: Rank, lag: Rank) -> Rank:
        raise AssertionError("texts have no lag")

    def width(self, span: object) -> Rank:
        raise ConfigError("lag and window need times or numbers, and the cursor's values are texts")

    def text(self, rank: Rank) -> str:
        return str(rank)

    def told(self, rank: Rank) -> Rank:
        return rank

    before = text
    after = text
    onward = told

    def alike(self, rank: Rank) -> tuple[Rank, Rank]:
        return rank, rank


Kind = Times | Numbers | Texts
_AND_START_IS: Final = (
    ", and start= is a text; give start= as the records have it, or format='text' if the order of characters is meant"
)
_IS_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d").match
_LIKE_TIME: Final = re.compile(
    r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}($|[T ,])|\d{4}[-/]\d{1,2}$|\d{1,2}:\d\d|(now|today|yesterday|tomorrow)\b",
    re.IGNORECASE,
).match
FORMATS: Final = ("iso", "iso-naive", "date", "s", "ms", "us", "ns", "number", "text", "opaque")
SUFFIXES: Final = ("s", "ms", "us", "ns", "iso", "date")
"""What a path may end in, for a time: so it is read, and so it is sent where no format is said."""


def kind_of(suffix: str | None, format: str | None, zone: str, start: object) -> Kind:
    """How a cursor is read, compared and told. Raises ConfigError.

    suffix  of the field's path ("ms" in "updated:ms"), None if it has none
    """
    try:
        tz = UTC if zone.upper() == "UTC" else ZoneInfo(zone)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"zone={zone!r} is no time zone; give a name like 'Europe/Berlin'") from error
    if format is not None and format not in FORMATS and "%" not in format:
        raise ConfigError(f"format={format!r}: one of {', '.join(FORMATS)}, or a pattern of strftime ('%Y-%m-%d')")
    if format in ("number", "text", "opaque") or (format is None and suffix in ("int", "float", "str")):
        if format == "number" or suffix in ("int", "float"):
            return Numbers()
        return Texts(opaque=format == "opaque")
    if format is None and suffix is None:
        found = _guess(start)
        if not isinstance(found, Times):
            return found
    read = format if suffix is None else suffix
    kind = Times(read if read in UNITS_US else None, tz, format or suffix or "iso")
    if "%" in kind.format:
        _check_pattern(kind)
    return kind


def _guess(start: object) -> Kind:
    """What ``start`` tells of the values, where nothing else does."""
    if isinstance(start, dt.date):
        return Times(None, UTC, "iso")
    if isinstance(start, (int, float)) and not isinstance(start, bool):
        return Numbers()
    if isinstance(start, str):
        try:
            Times(None, UTC, "iso").rank(start)
        except ValueError as error:
            if _LIKE_TIME(start.strip()):
                raise ConfigError(
                    f"start={start!r} looks like a time and is none ({error}): give it as '2026-01-31' or"
                    " '2026-01-31T12:00:00Z', or say format='text'"
                ) from error
            return Texts(guessed=True)
        return Times(None, UTC, "iso")
    raise ConfigError(
        "what its values are isn't said: give start= ('2026-01-01', or a number), or format= ('iso', 'ms', 'number', …)"
    )


def _check_pattern(kind: Times) -> None:
    sample = micros(dt.datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC))
    try:
        told = kind.told(sample)
    except ValueError as error:
        raise ConfigError(f"format={kind.format!r} can't be read back ({error}): give year, month, day") from error
    if sample - told > 366 * 86_400 * SECOND_US:
        raise ConfigError(f"format={kind.format!r} leaves out the year")


def unreadable(field: str, number: int, value: object, error: Exception) -> SourceError:
    """What a record holds at the cursor's field can't be compared."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return SourceError(f"the incremental field {field!r} holds {shown} in record {number:,} of a page: {error}")
