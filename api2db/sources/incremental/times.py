"""A cursor of times: as records hold them, as whole microseconds since 1970 UTC, as an API is asked."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, Final

from api2db.durations import seconds
from api2db.sources.incremental.doubled import doubled

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
_STEPS_US: Final = tuple(
    # A day on which the clock is put back is an hour longer, or two.
    step * SECOND_US
    for step in (1, 60, 3_600, 86_400, 90_000, 93_600, 31 * 86_400, 32 * 86_400, 366 * 86_400, 367 * 86_400)
)
"""By which a text is made another one, whatever a format leaves out."""
_SHORT_MONTH: Final = dt.datetime(2026, 2, 1, tzinfo=UTC)
_EDGE_US: Final = 86_400 * SECOND_US  # so far from both ends of the calendar times have a local one in each zone


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
        return self._written(self.told(rank))

    def _written(self, rank: int) -> str:
        rank = min(max(rank, _FIRST_US + _EDGE_US), _LAST_US - _EDGE_US)
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
        """The time that the API is told when it is told this one: the same, or a little earlier.

        Of the hour that comes twice it is the beginning: what is after it may have any of that hour's local times.
        """
        while True:
            stretch = self._doubled(rank)
            told = rank if stretch is None else stretch[0]
            told = min(told, self._read(self._written(told)))
            if told == rank:
                return told
            rank = told  # a day may begin in an hour that comes twice

    def _read(self, text: str) -> int:
        if self.format in UNITS_US:
            return Times(self.format, self.zone, self.format).rank(text)
        if "%" not in self.format:
            return Times(None, UTC if self.format == "iso" else self.zone, self.format).rank(text)
        return micros(self._aware(dt.datetime.strptime(text, self.format)))

    def tells_apart(self, width: int) -> bool:
        """Whether two times that far from each other are told differently."""
        usual = replace(self, zone=UTC)
        first = usual.told(micros(_SHORT_MONTH))
        return usual.told(first + width) > first

    def onward(self, rank: int) -> int:
        """A time that can be told as it is, and isn't before ``rank``; outside the hour that comes twice."""
        stretch = self._doubled(rank)
        rank = rank if stretch is None or stretch[0] == rank else stretch[1]
        found = map(self.told, (rank + step for step in (0, *_STEPS_US)))
        return next((one for one in found if one >= rank), rank)

    def before(self, rank: int) -> str:
        """A text that is earlier than that of ``rank``, by as little as the format can say, or by a second."""
        told = self.told(rank)
        text = self._written(told)
        return next((one for one in (self.text(told - step) for step in _STEPS_US) if one != text), text)

    def after(self, rank: int) -> str:
        """A text that isn't earlier than ``rank``."""
        return self.text(self.onward(rank))

    def alike(self, rank: int) -> tuple[int, int]:
        """The smallest and the largest time that sorted records may have in any order with this one.

        In the hour that comes twice a local time is read as the first of both.
        """
        stretch = self._doubled(rank)
        return (rank, rank) if stretch is None else (stretch[0], stretch[1] - 1)

    def _doubled(self, rank: int) -> tuple[int, int] | None:
        is_usual = _FIRST_US + _EDGE_US <= rank <= _LAST_US - _EDGE_US
        return doubled(self.zone, rank) if is_usual else None


def _short(moment: dt.datetime) -> str:
    """ISO-8601 without zone, with as few digits of a second as are exact."""
    naive = moment.replace(tzinfo=None)
    if not naive.microsecond:
        return naive.isoformat(timespec="seconds")
    return naive.isoformat(timespec="microseconds" if naive.microsecond % 1000 else "milliseconds")
