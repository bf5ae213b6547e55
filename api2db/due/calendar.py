"""Due times by the wall clock of a place: cron expressions and times of day, in a time zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from api2db.errors import ConfigError
from api2db.nearest import nearest

_FIELDS = 5
# ``latest`` looks so far back first, then twice as far, and so on: most calendars have a time within it.
_BACK_S = 60


def zone_of(name: str) -> ZoneInfo:
    """A zone of the IANA database. Raises ConfigError, naming the nearest one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        known = available_timezones()
        hint = nearest(name, known) if isinstance(name, str) else ""
        short = hint if len(hint) < 100 else "; give one like 'Europe/Berlin'"
        raise ConfigError(f"zone={name!r} is no time zone{short}") from None


class Calendar:
    """Moments at whole seconds since 1970 UTC, of one or several cron expressions in one zone.

    Days on which the clock is changed go as with Debian's cron. A time of day that the change leaves out comes at
    the moment of the change; one that comes twice counts the first time. An expression whose minutes or hours begin
    with ``*`` goes by time as it passes: it leaves out what is left out, and counts what comes twice both times.

    Raises ConfigError for an expression that can't be read, or has no time within fifty years.
    """

    def __init__(self, expressions: Sequence[str], zone: dt.tzinfo) -> None:
        self.expressions = tuple(expressions)
        self.zone = zone
        for each in self.expressions:
            _check(each)

    def after(self, at_s: float) -> int | None:
        """The first one strictly later than ``at_s``; None where there is none within fifty years."""
        found = [due for each in self.expressions if (due := self._after(each, at_s)) is not None]
        return min(found, default=None)

    def latest(self, after_s: float, until_s: float) -> int | None:
        """The last one of those later than ``after_s``, and not later than ``until_s``; None if there is none."""
        back_s = _BACK_S
        while True:
            from_s = max(after_s, until_s - back_s)
            found = self.after(from_s)
            if found is not None and found <= until_s:
                while (later := self.after(found)) is not None and later <= until_s:
                    found = later
                return found
            if from_s == after_s:
                return None
            back_s *= 2

    def shortest_s(self, from_s: float, count: int = 8) -> float:
        """The shortest time between two of the next ``count`` moments."""
        moments: list[int] = []
        at_s: float = from_s
        for _ in range(count):
            due = self.after(at_s)
            if due is None:
                break
            moments.append(due)
            at_s = due
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        return float(min(gaps, default=0)) or dt.timedelta(days=365).total_seconds()

    def _after(self, expression: str, at_s: float) -> int | None:
        for moment in CronSim(expression, dt.datetime.fromtimestamp(at_s, self.zone)):
            # In an hour that comes twice it may begin with times that are over.
            due = int(moment.timestamp())
            if due > at_s:
                return due
        return None


def of_day(text: object) -> str:
    """A time of day, ``"06:30"``, as a cron expression. Raises ConfigError."""
    hours, colon, minutes = text.partition(":") if isinstance(text, str) else ("", "", "")
    plain = hours.isdecimal() and minutes.isdecimal() and f"{hours}{minutes}".isascii()
    if not (colon and plain and len(hours) <= 2 and len(minutes) == 2 and int(hours) < 24 and int(minutes) < 60):
        raise ConfigError(f"at={text!r} is no time of day; give one like '06:30', or several of them")
    return f"{int(minutes)} {int(hours)} * * *"


def _check(expression: object) -> None:
    if not isinstance(expression, str):
        raise ConfigError(f"cron={expression!r} must be text, like '*/15 6-18 * * mon-fri'")
    if len(expression.split()) != _FIELDS:
        raise ConfigError(
            f"cron={expression!r} must have five fields: minute, hour, day of month, month, day of week;"
            " for seconds give every="
        )
    try:
        never = next(CronSim(expression, dt.datetime.now(dt.UTC)), None) is None
    except CronSimError as error:
        raise ConfigError(f"cron={expression!r} can't be read: {str(error).lower()}") from None
    if never:
        raise ConfigError(f"cron={expression!r} has no time within fifty years")
