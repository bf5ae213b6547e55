"""Spans of time as people write them: ``"5m"``, ``"1h30m"``, ``90``."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from api2db.errors import ConfigError

UNITS_S = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
EXAMPLES = "a number of seconds, or text like '90s', '5m', '1h30m', '2d'"

_NUMBER = r"\d+(?:\.\d+)?"
_PARTS = re.compile("".join(rf"(?:({_NUMBER}){unit})?" for unit in UNITS_S))


def seconds(value: object) -> float:
    """Seconds, finite and not negative, of a number, a timedelta or text; a bare number in text is seconds.

    Units of a text stand largest first, each at most once: w, d, h, m, s, ms. Raises ConfigError.
    """
    found: float | None = None
    if isinstance(value, timedelta):
        found = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        found = float(value) if abs(value) < 1e300 else math.inf
    elif isinstance(value, str):
        found = _of_text(value)
    if found is None or not 0 <= found < math.inf:
        raise ConfigError(f"{value!r} is not a duration; give {EXAMPLES}")
    return found


def _of_text(text: str) -> float | None:
    packed = "".join(text.lower().split())
    if re.fullmatch(_NUMBER, packed, re.ASCII):
        return float(packed)
    parts = re.fullmatch(_PARTS.pattern, packed, re.ASCII)
    if not packed or parts is None:
        return None
    return math.fsum(
        float(number) * unit_s
        for number, unit_s in zip(parts.groups(), UNITS_S.values(), strict=True)
        if number is not None
    )


def as_text(seconds_: float) -> str:
    """A duration as it may be written: ``"1h30m"``, to the millisecond."""
    left_ms, parts = round(seconds_ * 1000), []
    for unit, unit_s in UNITS_S.items():
        count, left_ms = divmod(left_ms, round(unit_s * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
