"""An answer that costs something, found once for all who ask within a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# What took a second is looked at again after ten: a STORE with a very long backlog costs a tenth of a processor.
REST = 10.0


class Sparing(Generic[T]):
    """``find`` is called by one thread at a time and its answer kept for ``keep_s``, or longer if it took long.

    timeout_s  the longest anybody waits for another's call, which may hang with the disk
    """

    def __init__(
        self,
        find: Callable[[], T],
        *,
        keep_s: float = 1.0,
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._keep_s = keep_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[T, float] | None = None

    def get(self) -> T:
        """Raises TimeoutError if another's call hasn't come back, and what ``find`` raises. Any thread."""
        if not self._lock.acquire(timeout=self._timeout_s):
            raise TimeoutError(f"STORE hasn't answered within {self._timeout_s:g} s: does its disk hang?")
        try:
            began_s = self._clock()
            if self._kept is None or began_s >= self._kept[1]:
                answer = self._find()
                now_s = self._clock()
                self._kept = answer, now_s + max(self._keep_s, (now_s - began_s) * REST)
            return self._kept[0]
        finally:
            self._lock.release()
