"""A cursor of times: as records hold them, as whole microseconds since 1970 UTC, as an API is asked."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, Final

from api2db.durations import seconds

UTC: Final = dt.UTC
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
SECOND_US: Final = 1_000_000
UNITS_US: Final = {"s": Decimal(SECOND_US), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001")}
_FIRST_US: Final = -62_135_596_800 * SECOND_US
_LAST_US: Final = 253_402_300_800 * SECOND_US - 1
_OF_MAIL: Final = re.compile(r"([A-Za-z]{3}, *)?\d{1,2} [A-Za-z]{3} \d{4} \d").match
_ODD: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[T ])(?:(24:00(?::00(?:[.,]0+)?)?)|(\d\d:\d\d):60([.,]\d+)?)(Z|[+-]\d\d:?\d\d|)"
).fullmatch
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
        """Of ISO-8601, of mail and HTTP headers, or of what is sent."""
        try:
            return dt.datetime.fromisoformat(text)
        except ValueError:
            if "%" in self.format:
                return dt.datetime.strptime(text, self.format)
            if _OF_MAIL(text):
                return parsedate_to_datetime(text)
            odd = _ODD(text)
            if odd is None:
                raise
        # Midnight as the end of a day, and leap seconds, are times that Python doesn't know.
        day, end, minute, fraction, zone = odd.groups()
        if end is not None:
            return dt.datetime.fromisoformat(f"{day}00:00:00{zone}") + dt.timedelta(days=1)
        return dt.datetime.fromisoformat(f"{day}{minute}:59{fraction or ''}{zone}") + dt.timedelta(seconds=1)

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

    def ranks(self, values: Sequence[Any]) -> list[int | None]:
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

    def kept(self, rank: int) -> object:
        """As a cursor holds it: ISO-8601 in UTC."""
        if not _FIRST_US <= rank <= _LAST_US:
            return rank
        return (_EPOCH + rank * _MICROSECOND).isoformat()

    def taken(self, kept: object) -> int:
        """``kept``, back. Raises ValueError."""
        return Times("us", UTC, "us").rank(kept) if isinstance(kept, int) else Times(None, self.zone, "iso").rank(kept)

    def back(self, rank: int, lag: int) -> int:
        return max(rank - lag, _FIRST_US)

    def width(self, span: object) -> int:
        """A lag or a window."""
        return round(seconds(span) * SECOND_US)

    def text(self, rank: int) -> str:
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

    def told(self, rank: int) -> int:
        """The time that the API is told when it is told this one: the same, or a little earlier."""
        text = self.text(rank)
        if self.format in UNITS_US:
            return Times(self.format, self.zone, self.format).rank(text)
        if "%" not in self.format:
            return min(rank, Times(None, UTC if self.format == "iso" else self.zone, self.format).rank(text))
        return min(rank, micros(self._aware(dt.datetime.strptime(text, self.format))))

    def before(self, rank: int) -> str:
        """A text that is earlier than that of ``rank``, by as little as the format can say, or by a second."""
        text = self.text(rank)
        return next((one for one in (self.text(rank - step) for step in _STEPS_US) if one != text), text)

    def after(self, rank: int) -> str:
        """A text that isn't earlier than ``rank``."""
        if self.told(rank) == rank:
            return self.text(rank)
        return next((self.text(rank + step) for step in _STEPS_US if self.told(rank + step) >= rank), self.text(rank))


def _short(moment: dt.datetime) -> str:
    """ISO-8601 without zone, with as few digits of a second as are exact."""
    naive = moment.replace(tzinfo=None)
    if not naive.microsecond:
        return naive.isoformat(timespec="seconds")
    return naive.isoformat(timespec="microseconds" if naive.microsecond % 1000 else "milliseconds")
