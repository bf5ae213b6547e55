"""How many requests there may be in how much time: "60/min"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from api2db.durations import seconds
from api2db.errors import ConfigError

PARTS: Final = 60
_TEXT: Final = re.compile(r"(\d{1,9})\s*/\s*(.{1,40})", re.ASCII)
_SHOWN: Final = re.compile(r"(\d{1,9}) in (\d{1,15}(?:\.\d{1,15})?) s", re.ASCII)
_WORDS: Final = {"sec": "1s", "second": "1s", "min": "1m", "minute": "1m", "hour": "1h", "day": "1d"}


@dataclass(frozen=True)
class Rate:
    """At most ``requests`` in any ``window_s`` seconds."""

    requests: int
    window_s: float

    def __str__(self) -> str:
        return f"{self.requests} in {self.window_s:.15g} s"

    @classmethod
    def of(cls, text: str) -> Rate | None:
        """The rate of such a text as ``str`` makes it; None for another."""
        parts = _SHOWN.fullmatch(text)
        return None if parts is None else cls(int(parts[1]), float(parts[2]))


def read_rate(text: str | None) -> tuple[Rate, ...]:
    """``"60/min"``, ``"10/s"``, ``"300/15m"``; of several with commas between them each holds. Raises ConfigError."""
    if text is None:
        return ()
    rates = [_read(part.strip()) for part in text.split(",")] if isinstance(text, str) else [None]
    if not all(rates):
        raise ConfigError(f"rate={text!r}: give requests and a time, such as '60/min', '10/s', '5000/h', '300/15m'")
    return tuple(rate for rate in rates if rate is not None)


def _read(text: str) -> Rate | None:
    parts = _TEXT.fullmatch(text)
    if parts is None:
        return None
    unit = parts[2].strip().lower()
    try:
        window_s = seconds(_WORDS.get(unit, unit if unit[0].isdigit() else f"1{unit}"))
    except ConfigError:
        return None
    return Rate(int(parts[1]), window_s) if int(parts[1]) and window_s else None


class Window:
    """The requests of late that one rate counts. Times are monotonic seconds. Used under its host's lock.

    They are counted by sixtieths of the window, and each sixtieth counts as long as any of it may be in the window: so
    no window ever has more than the rate allows, and ten thousand requests a day are sixty numbers.
    """

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._part_s = rate.window_s / PARTS
        self._counts: dict[int, int] = {}  # sixtieth -> requests, oldest first

    def wait_s(self, now_s: float) -> float:
        """Seconds until one more may be made; 0 if it may be now."""
        self._forget(now_s)
        lacking = sum(self._counts.values()) + 1 - self.rate.requests
        for part, count in self._counts.items():
            if lacking <= 0:
                break
            lacking -= count
            free_s = (part + 1 + PARTS) * self._part_s
            if lacking <= 0:
                # Never 0, whatever is lost in rounding: it isn't free yet.
                return max(free_s - now_s, 1e-3)
        return 0.0

    def note(self, now_s: float, requests: int = 1) -> None:
        """So many requests are made now."""
        part = int(now_s // self._part_s)
        self._counts[part] = self._counts.get(part, 0) + requests

    def ages(self, now_s: float) -> list[tuple[float, int]]:
        """How many requests were made how many seconds ago, oldest first; in the latest moment they may have been."""
        self._forget(now_s)
        return [(max(0.0, now_s - (part + 1) * self._part_s), count) for part, count in self._counts.items()]

    def recall(self, now_s: float, ages: list[tuple[float, int]]) -> None:
        """Count what was made before this process began, as ``ages`` told it."""
        for age_s, count in ages:
            if 0 <= age_s <= self.rate.window_s + 2 * self._part_s:
                self.note(now_s - age_s, count)
        self._counts = dict(sorted(self._counts.items()))

    def _forget(self, now_s: float) -> None:
        oldest = now_s // self._part_s - PARTS
        for part in [part for part in self._counts if part < oldest]:
            del self._counts[part]
