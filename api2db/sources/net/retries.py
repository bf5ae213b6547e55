"""What to do when a request failed: ask again, and when, or give up and say how often it was tried."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from api2db.errors import ConfigError
from api2db.retry import RetryPolicy

if TYPE_CHECKING:
    from api2db.sources.answer import Answer, HttpError

# The server, or one before it, can't now: https://www.rfc-editor.org/rfc/rfc9110#section-15.6
AGAIN: Final = frozenset((408, 429, 500, 502, 503, 504))
# GitHub and others refuse by 403 whom they'd tell 429.
LIMITED: Final = frozenset((403, 429))
REPEATABLE: Final = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True)
class Retries:
    """How patient one request is.

    retries     repeats at most; 0: it is asked once
    base_s      the longest first wait, in seconds; it doubles with each repeat, and any shorter one is as likely
    cap_s       the longest of these waits
    max_wait_s  the longest wait that is waited for: where a server or a budget says more, the poll is put off
    total_s     after so many seconds, waits included, no more repeats begin
    """

    retries: int = 4
    base_s: float = 1.0
    cap_s: float = 30.0
    max_wait_s: float = 60.0
    total_s: float = 300.0

    def __post_init__(self) -> None:
        if self.retries < 0 or not all(value > 0 for value in (self.base_s, self.cap_s, self.total_s)):
            raise ConfigError(f"{self}: retries is 0 or more, base_s, cap_s and total_s are more than 0 seconds")


class Tries:
    """The attempts at one request. Used by one thread."""

    def __init__(self, retries: Retries, rng: random.Random) -> None:
        self._retries = retries
        self._policy = RetryPolicy(retries.retries, retries.base_s, retries.cap_s)
        self._rng = rng
        self._started_s = time.monotonic()
        self._causes: list[str] = []

    def failed(self, answer: Answer | None, error: HttpError | None) -> None:
        """Note one more that failed."""
        if answer is not None:
            self._causes.append(str(answer.status_code))
        elif error is not None:
            self._causes.append(str(error).partition(": ")[2] or str(error))

    def delay_s(self) -> float:
        """How long to wait before the next, unless the server has said so."""
        return self._policy.delay_s(len(self._causes), self._rng)

    def may_repeat(self, after_s: float) -> bool:
        """Whether one more may be made ``after_s`` seconds from now."""
        spent_s = time.monotonic() - self._started_s
        return len(self._causes) <= self._retries.retries and spent_s + after_s <= self._retries.total_s

    def told(self, error: HttpError) -> HttpError:
        """``error``, the last one, with how often it was tried, and what came before."""
        from api2db.sources.answer import HttpError

        if len(self._causes) < 2:
            return error
        counted = ", ".join(f"{cause} ({n} times)" if n > 1 else cause for cause, n in Counter(self._causes).items())
        spent_s = time.monotonic() - self._started_s
        text = f"{error}; asked {len(self._causes)} times in {spent_s:.1f} s: {counted}"
        return HttpError(text, request=error.request, response=error.response)
