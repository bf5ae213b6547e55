"""A cursor's values: as records hold them, as they are compared, as they are kept in a place, as an API is asked.

They are compared as *ranks*: times as whole microseconds since 1970 UTC, numbers and texts as they are.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from api2db.durations import seconds
from api2db.errors import ConfigError, SourceError

Rank = Any
"""int, float or str; of one cursor all alike."""

UTC: Final = dt.UTC
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
SECOND_US: Final = 1_000_000
UNITS_US: Final = {"s": Decimal(SECOND_US), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001")}
_FIRST_US: Final = -62_135_596_800 * SECOND_US
_LAST_US: Final = 253_402_300_800 * SECOND_US - 1
_STEPS_US: Final = tuple(step * SECOND_US for step in (1, 60, 3_600, 86_400, 31 * 86_400, 366 * 86_400))
"""By which a text is made another one, whatever a format leaves out."""


def micros(moment: dt.datetime) -> int:
    """Microseconds since 1970 UTC of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


@dataclass(frozen=True)
class Times:
    """Times: ISO-8601 texts, or numbers of ``unit`` since 1970.

    unit    "s", "ms", "us", "ns"; None: numbers aren't taken
    zone    of the texts that name none
    format  how the API is told one: "iso", "iso-naive", "date", "s", "ms", "us", or a pattern of strftime
    """

    unit: str | None
    zone: dt.tzinfo
    format: str
    clocked = True

    def rank(self, value: object) -> int:
        """Raises ValueError for what isn't a time."""
        if isinstance(value, str):
            if self.unit is not None:
                return self._counted(value)
            return micros(self._aware(self._moment(value.strip())))
        if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
            raise ValueError("it is no time")
        if self.unit is None:
            raise ValueError("a number: say of which unit, as in 'updated:ms' or 'updated:s'")
        return self._counted(value)

    def _moment(self, text: str) -> dt.datetime:
        """Of ISO-8601, or of what is sent."""
        try:
            return dt.datetime.fromisoformat(text)
        except ValueError:
            if "%" not in self.format:
                raise
            return dt.datetime.strptime(text, self.format)

    def _aware(self, moment: dt.datetime) -> dt.datetime:
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=self.zone)

    def _counted(self, value: str | int | float | Decimal) -> int:
        assert self.unit is not None
        per_us = UNITS_US[self.unit]
        if isinstance(value, int) and per_us >= 1:
            return value * int(per_us)
        try:
            number = Decimal(repr(value) if isinstance(value, float) else value)
        except InvalidOperation as error:
            raise ValueError("it is no number") from error
        if not number.is_finite() or number.adjusted() > 24:
            raise ValueError("it is no time")
        return math.floor(number * per_us)

    def ranks(self, values: Sequence[Any]) -> list[Rank | None]:
        """Of a page's values; None for none. Raises ValueError."""
        if self.unit is not None and UNITS_US[self.unit] >= 1 and set(map(type, values)) <= {int}:
            factor = int(UNITS_US[self.unit])
            return [value * factor for value in values]
        return [None if value is None or value == "" else self.rank(value) for value in values]

    def declared(self, value: object) -> int:
        """``start``: as records hold it, a date or a time, or a text."""
        if isinstance(value, dt.datetime):
            return micros(self._aware(value))
        if isinstance(value, (dt.date, str)):
            return Times(None, self.zone, self.format).rank(str(value))
        unit = self.unit or (self.format if self.format in UNITS_US else None)
        return Times(unit, self.zone, self.format).rank(value)

    def kept(self, rank: Rank) -> object:
        """As a place holds it: ISO-8601 in UTC."""
        if not _FIRST_US <= rank <= _LAST_US:
            return rank
        return (_EPOCH + rank * _MICROSECOND).isoformat()

    def taken(self, kept: object) -> Rank:
        """``kept``, back. Raises ValueError."""
        return Times("us", UTC, "us").rank(kept) if isinstance(kept, int) else Times(None, self.zone, "iso").rank(kept)

    def back(self, rank: Rank, lag: Rank) -> Rank:
        return max(rank - lag, _FIRST_US)

    def width(self, span: object) -> Rank:
        """A lag or a window."""
        return round(seconds(span) * SECOND_US)

    def text(self, rank: Rank) -> str:
        """As the API is told it: a time at or before it, as late as the format can say."""
        rank = min(max(rank, _FIRST_US + 86_400 * SECOND_US), _LAST_US - 86_400 * SECOND_US)
        if self.format in UNITS_US:
            return str(math.floor(rank / UNITS_US[self.format]))
        moment = _EPOCH + rank * _MICROSECOND
        if self.format == "iso":
            return _short(moment) + "Z"
        local = moment.astimezone(self.zone)
        if self.format == "iso-naive":
            return _short(local)
        if self.format == "date":
            return str(local.date())
        return local.strftime(self.format)

    def told(self, rank: Rank) -> Rank:
        """The time that the API is told when it is told this one: the same, or a little earlier."""
        text = self.text(rank)
        if self.format in UNITS_US:
            return Times(self.format, self.zone, self.format).rank(text)
        if "%" not in self.format:
            return min(rank, Times(None, UTC if self.format == "iso" else self.zone, self.format).rank(text))
        return min(rank, micros(self._aware(dt.datetime.strptime(text, self.format))))

    def before(self, rank: Rank) -> str:
        """A text that is earlier than that of ``rank``, by as little as the format can say, or by a second."""
        text = self.text(rank)
        return next((one for one in (self.text(rank - step) for step in _STEPS_US) if one != text), text)

    def after(self, rank: Rank) -> str:
        """A text that isn't earlier than ``rank``."""
        if self.told(rank) == rank:
            return self.text(rank)
        return next((self.text(rank + step) for step in _STEPS_US if self.told(rank + step) >= rank), self.text(rank))


@dataclass(frozen=True)
class Numbers:
    """Numbers, and texts that are numbers."""

    clocked = False

    def rank(self, value: object) -> Rank:
        if isinstance(value, str):
            return self._of(value.strip())
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise ValueError("it is no number")
        return value

    def _of(self, text: str) -> Rank:
        try:
            return int(text)
        except ValueError:
            number = float(text)
            if not math.isfinite(number):
                raise ValueError("it is no number") from None
            return number

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
        return str(rank - 1)

    def after(self, rank: Rank) -> str:
        return str(rank)


@dataclass(frozen=True)
class Texts:
    """Texts that are in the order of their characters; where ``opaque``, in an order only the API knows."""

    opaque: bool = False
    clocked = False

    def rank(self, value: object) -> Rank:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError("it is no text")
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


Kind = Times | Numbers | Texts
FORMATS: Final = ("iso", "iso-naive", "date", "s", "ms", "us", "number", "text", "opaque")
SUFFIXES: Final = {"s": "s", "ms": "ms", "us": "us", "ns": "ns", "iso": None, "date": None}
"""What a path may end in, for a time; and the unit that says."""


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
    unit = SUFFIXES.get(suffix or "")
    if suffix is None and format in UNITS_US:
        unit = format
    kind = Times(unit, tz, format or "iso")
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
        except ValueError:
            return Texts()
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


def _short(moment: dt.datetime) -> str:
    """ISO-8601 without zone, with as few digits of a second as are exact."""
    naive = moment.replace(tzinfo=None)
    if not naive.microsecond:
        return naive.isoformat(timespec="seconds")
    return naive.isoformat(timespec="microseconds" if naive.microsecond % 1000 else "milliseconds")


def unreadable(field: str, value: object, error: Exception) -> SourceError:
    """What a record holds at the cursor's field can't be compared."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return SourceError(f"the incremental field {field!r} holds {shown} in a record: {error}")
