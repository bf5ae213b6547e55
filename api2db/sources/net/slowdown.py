"""When a server wants to be asked again: Retry-After, and the headers of rate limits."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterable, Mapping
from typing import Final

from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from api2db.sources.context import LONGEST_PUT_OFF_S

_RETRY: Final = Retry(retry_after_max=int(LONGEST_PUT_OFF_S))
_REMAINING: Final = ("X-RateLimit-Remaining", "X-Rate-Limit-Remaining", "RateLimit-Remaining")
_RESET: Final = ("X-RateLimit-Reset-After", "X-RateLimit-Reset", "X-Rate-Limit-Reset", "RateLimit-Reset")
_PAIR: Final = re.compile(r"([a-z]{1,20})=(\d{1,15})", re.ASCII)
_NUMBER: Final = re.compile(r"\s*\d{1,15}(?:\.\d{1,9})?\s*", re.ASCII)
# Above the first a number is seconds since 1970, above the second milliseconds; below it is seconds from now.
_EPOCH_S: Final = 10**8
_EPOCH_MS: Final = 10**11


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``Retry-After``, seconds or a date; None if it isn't there or isn't either."""
    said = headers.get("Retry-After")
    if said is None:
        return None
    if _NUMBER.fullmatch(said):
        return min(float(said), LONGEST_PUT_OFF_S)  # fractions aren't in the standard, but are sent
    try:
        wait_s = _RETRY.parse_retry_after(said)
    except (InvalidHeader, ValueError, TypeError, OverflowError):
        return None
    when = email.utils.parsedate_tz(said)
    return wait_s if when is None else _until(email.utils.mktime_tz(when), headers)


def used_up_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until a limit of which nothing remains begins anew; None if something remains, or nothing is said."""
    waits_s = [
        _from_now(reset, headers)
        for remaining, reset in (_by_header(headers), *_by_field(headers.get("RateLimit", "")))
        if remaining is not None and reset is not None and remaining <= 0
    ]
    return max(waits_s, default=None)


def _by_header(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    return _number(headers, _REMAINING), _number(headers, _RESET)


def _by_field(text: str) -> list[tuple[float | None, float | None]]:
    """``limit=100, remaining=0, reset=5``, and as later drafts have it ``"burst";r=0;t=5, "day";r=70;t=3600``."""
    if "remaining=" in text:
        said = dict(_PAIR.findall(text))
        return [(_float(said.get("remaining")), _float(said.get("reset")))]
    limits = [dict(_PAIR.findall(limit)) for limit in text.split(",")]
    return [(_float(said.get("r")), _float(said.get("t"))) for said in limits]


def _number(headers: Mapping[str, str], names: Iterable[str]) -> float | None:
    texts = (headers.get(name) for name in names)
    return next((float(text) for text in texts if text is not None and _NUMBER.fullmatch(text)), None)


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)


def _from_now(reset: float, headers: Mapping[str, str]) -> float:
    if reset >= _EPOCH_MS:
        reset /= 1000
    return _until(reset, headers) if reset >= _EPOCH_S else min(reset, LONGEST_PUT_OFF_S)


def _until(epoch_s: float, headers: Mapping[str, str]) -> float:
    """Seconds until then by the server's clock, where it says what that shows: ours may differ."""
    date = email.utils.parsedate_tz(headers.get("Date", ""))
    now_s = time.time() if date is None else email.utils.mktime_tz(date)
    return min(max(0.0, epoch_s - now_s), LONGEST_PUT_OFF_S)
