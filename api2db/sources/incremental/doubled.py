"""The hour that comes twice: where a clock is put back, a local time without its zone names two moments."""

from __future__ import annotations

import datetime as dt
from typing import Final

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SECOND_US: Final = 1_000_000
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def doubled(zone: dt.tzinfo, at_us: int) -> tuple[int, int] | None:
    """The stretch [begin, end) around a moment whose local times come twice, both times; None: it is in none.

    All in microseconds since 1970 UTC.
    """
    if zone is dt.UTC:
        return None
    local = (_EPOCH + at_us * _MICROSECOND).astimezone(zone)
    earlier, later = _offset_us(local.replace(fold=0)), _offset_us(local.replace(fold=1))
    width = earlier - later
    if width <= 0:
        return None
    before_us, after_us = (at_us - width, at_us) if local.fold else (at_us, at_us + width)
    # The clock is put back at a whole second, after the one and not after the other.
    before_s, after_s = before_us // _SECOND_US, -(-after_us // _SECOND_US)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset_us(dt.datetime.fromtimestamp(middle_s, zone)) == later:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s * _SECOND_US - width, after_s * _SECOND_US + width


def _offset_us(local: dt.datetime) -> int:
    offset = local.utcoffset()
    assert offset is not None
    return offset // _MICROSECOND
