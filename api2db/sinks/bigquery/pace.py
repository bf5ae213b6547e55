"""How often a table may be given a job: about 1,500 a day are its quota, and a poll every 10 seconds is 8,640."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LAST = "last.start"


class Pace:
    """One stream's share of it: on average one job in ``every_s``. One thread at a time, but for ``wait_s``.

    path   a file whose time is that of the last start: a daemon that is started again and again keeps to it too
    clock  monotonic seconds
    """

    def __init__(self, path: Path, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._every_s = every_s
        self._clock = clock
        self._next = clock() + self._left_of_before()

    def wait_s(self) -> float:
        return max(0.0, self._next - self._clock())

    def started(self) -> None:
        """A job is about to be. Several in a row, as of a search for bad rows, are waited for afterwards."""
        if not self._every_s:
            return
        self._next = max(self._next, self._clock()) + self._every_s
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        os.utime(self._path)

    def _left_of_before(self) -> float:
        try:
            age_s = time.time() - self._path.stat().st_mtime
        except OSError:
            return 0.0
        # A clock that was set back says nothing.
        return max(0.0, self._every_s - age_s) if age_s >= 0 else self._every_s
