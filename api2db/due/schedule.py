"""A collector's schedule, as its options say it."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from api2db.due.calendar import Calendar, of_day, zone_of
from api2db.due.pace import Pace
from api2db.durations import as_text
from api2db.durations import seconds as duration_s
from api2db.errors import ConfigError


class CatchUp(Enum):
    """What becomes of due times of a calendar that were missed: none runs, the last one runs, each runs in turn."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


@dataclass(frozen=True)
class Schedule:
    """When a collector is polled.

    seconds   the period; 0 disables the collector. Of a calendar the shortest time between its next polls, of an
              adaptive schedule the shortest it may come to
    text      the schedule as people read it
    calendar  due times by the wall clock; None: a period by the steady one
    adaptive  whether the period is learned, from ``seconds`` to ``slowest_s``
    offset_s  polls come so much after their due times; with a period, the first one so much after the start
    jitter_s  and up to so much later again, always the same for one collector in one STORE
    """

    seconds: float
    text: str
    calendar: Calendar | None = None
    catch_up: CatchUp = CatchUp.ONCE
    slowest_s: float | None = None
    offset_s: float = 0.0
    jitter_s: float = 0.0

    @classmethod
    def every(cls, seconds: float) -> Schedule:
        return cls(seconds, f"every {as_text(seconds)}" if seconds else "never")

    @property
    def zone(self) -> dt.tzinfo:
        return dt.UTC if self.calendar is None else self.calendar.zone

    def delay_s(self, collector: str, store_id: str) -> float:
        """Offset and jitter of this collector in that STORE."""
        return self.offset_s + self.jitter_s * phase(collector, store_id)

    def pace(self, learned_s: float | None) -> Pace | None:
        """The period of an adaptive schedule, going on from what was learned; None of the others."""
        if self.slowest_s is None:
            return None
        known_s = self.seconds if learned_s is None else learned_s
        return Pace(self.seconds, self.slowest_s, min(self.slowest_s, max(self.seconds, known_s)))


def schedule_of(
    *,
    every: float | str | None,
    cron: str | None = None,
    at: str | Iterable[str] | None = None,
    zone: str | None = None,
    offset: float | str = 0,
    jitter: float | str = 0,
    catch_up: str | None = None,
    adaptive: tuple[float | str, float | str] | None = None,
) -> Schedule:
    """The schedule of a collector's options; ``docs/schedules.md`` says what they mean. Raises ConfigError."""
    given = [name for name, value in (("cron", cron), ("at", at), ("adaptive", adaptive)) if value is not None]
    period_s = None if every is None else duration_s(every)
    if len(given) > 1 or (given and period_s):
        both = " and ".join(f"{name}=" for name in (["every"] if period_s else []) + given)
        raise ConfigError(f"{both} both say when to poll: give one of them")
    calendar = _calendar(cron, at, zone)
    if calendar is None and (zone is not None or catch_up is not None):
        name = "zone" if zone is not None else "catch_up"
        raise ConfigError(f"{name}= goes with cron= or at=, whose times it is about")
    offset_s, jitter_s = _duration("offset", offset), _duration("jitter", jitter)
    caught = _catch_up(catch_up)
    bounds = None if adaptive is None else _bounds(adaptive)
    if period_s is not None and (not given or period_s == 0):
        plain = Schedule.every(period_s)
        return Schedule(plain.seconds, plain.text, offset_s=offset_s, jitter_s=jitter_s)
    if bounds is not None:
        text = f"adaptive, {as_text(bounds[0])} to {as_text(bounds[1])}"
        return Schedule(bounds[0], text, slowest_s=bounds[1], offset_s=offset_s, jitter_s=jitter_s)
    if calendar is None:
        raise ConfigError("it says nowhere when to poll: give every=, cron=, at= or adaptive=")
    seconds = calendar.shortest_s(time.time())
    return Schedule(seconds, _said(cron, at, calendar), calendar, caught, offset_s=offset_s, jitter_s=jitter_s)


def phase(collector: str, store_id: str) -> float:
    """From 0 to 1, 1 excluded: evenly spread over collectors and STOREs, always the same for one."""
    digest = hashlib.sha256(f"{store_id}/{collector}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _calendar(cron: str | None, at: str | Iterable[str] | None, zone: str | None) -> Calendar | None:
    if cron is None and at is None:
        return None
    expressions = [of_day(each) for each in _times(at)] if at is not None else [str(cron) if cron is None else cron]
    if not expressions:
        raise ConfigError("at= names no time of day; give one like '06:30'")
    return Calendar(expressions, dt.UTC if zone is None else zone_of(zone))


def _times(at: object) -> list[object]:
    return [at] if isinstance(at, str) or not isinstance(at, Iterable) else list(at)


def _said(cron: str | None, at: object, calendar: Calendar) -> str:
    when = f"cron {' '.join(cron.split())}" if cron is not None else f"at {', '.join(map(str, _times(at)))}"
    return f"{when} {calendar.zone}"


def _duration(name: str, value: float | str) -> float:
    try:
        return duration_s(value)
    except ConfigError as error:
        raise ConfigError(f"{name}={error}") from None


def _catch_up(text: str | None) -> CatchUp:
    if text is None:
        return CatchUp.ONCE
    try:
        return CatchUp(text)
    except ValueError:
        choices = ", ".join(f'"{each.value}"' for each in CatchUp)
        raise ConfigError(f"catch_up={text!r} is none of {choices}") from None


def _bounds(adaptive: object) -> tuple[float, float]:
    if not isinstance(adaptive, (tuple, list)) or len(adaptive) != 2:
        raise ConfigError(f"adaptive={adaptive!r} must be two durations, like ('10s', '10m')")
    fastest_s, slowest_s = (_duration("adaptive", each) for each in adaptive)
    if not 0 < fastest_s <= slowest_s:
        raise ConfigError(f"adaptive={adaptive!r}: the shorter duration comes first, and is more than 0")
    return fastest_s, slowest_s
