"""What the soak's main.py runs: the daemon's own main, on a clock that goes as fast as polls end.

Polls start a tenth of a simulated second after each other, as the daemon spreads them. The clock stands while many are
under way, or one that is due again soon, or more shards wait than ``BACKLOG``. Only that clock and the hour between two
prunings are ours; all else, threads included, is the daemon's.
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from api2db.cli import main
from api2db.runtime import cadence, daemon
from api2db.runtime.poller import Poller
from api2db.runtime.running import Running

BACKLOG = 500
PRUNE_S = 5.0
LOOK_AGAIN_S = 0.002
AT_ONCE = 4  # polls under way; more would only wait for each other
LONGEST = 8  # tenths that a poll may take before the clock waits for it: after ten it would be skipped

MEMORY = Path("memory.json")  # what is in use, told once a simulated minute
_MINUTE = 600  # tenths

_EPOCH = datetime.datetime(2026, 1, 1)
_TENTH = datetime.timedelta(seconds=cadence.STEP_S)
_loop = daemon.Daemon._loop


class Clock:
    """Simulated time; it stands while polls or deliveries are behind. The daemon's main thread alone uses it."""

    def __init__(self) -> None:
        self._tenths = 0
        self._since: dict[str, int] = {}  # polls under way -> when they were first seen
        self._running: Sequence[Running] = ()
        self._poller: Poller | None = None

    def watch(self, running: Sequence[Running], poller: Poller) -> None:
        self._running, self._poller = running, poller

    def now(self) -> datetime.datetime:
        return _EPOCH + self._tenths * _TENTH

    def tick(self) -> bool:
        """Go on by a tenth of a second if everybody is ready for it."""
        assert self._poller is not None
        with self._poller._lock:
            busy = list(self._poller._busy)
        self._since = {name: self._since.get(name, self._tenths) for name in busy}
        if len(busy) >= AT_ONCE or any(self._tenths - since >= LONGEST for since in self._since.values()):
            return False
        if self._tenths % 10 == 0 and self._waiting() > BACKLOG:
            return False
        if self._tenths % _MINUTE == 0:
            _tell_memory()
        self._tenths += 1
        return True

    def _waiting(self) -> int:
        return sum(sum(delivery.backlog) for each in self._running for delivery in each.deliveries)


class _Mallinfo(ctypes.Structure):
    """mallinfo2(3): of all of glibc's arenas together."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _tell_memory() -> None:
    """What the process has in use, whatever its allocators keep for later: that tells a leak from a burst."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    heap = mallinfo()
    figures = {
        "blocks_k": sys.getallocatedblocks() / 1000,
        "malloc_mb": (heap.uordblks + heap.hblkhd) / 2**20,
        "free_mb": heap.fordblks / 2**20,
        "arrow_mb": pa.total_allocated_bytes() / 2**20,
    }
    temporary = MEMORY.with_suffix(".tmp")
    temporary.write_text(json.dumps(figures))
    os.replace(temporary, MEMORY)


clock = Clock()


class SimulatedCadence(cadence.Cadence):
    """The daemon's cadence by the simulated clock."""

    def run_pending(self) -> None:
        while clock.tick():
            super().run_pending()

    def idle_s(self) -> float | None:
        return LOOK_AGAIN_S


def loop(self: daemon.Daemon, running: list[Running], spool: Any, journal: Any, poller: Poller, *others: Any) -> None:
    clock.watch(running, poller)
    _loop(self, running, spool, journal, poller, *others)


def run() -> int:
    """``main.run`` by the simulated clock."""
    cadence.steady_now = clock.now
    daemon.Cadence = SimulatedCadence  # type: ignore[misc]
    daemon.PRUNE_S = daemon.FIRST_PRUNE_S = PRUNE_S
    daemon.Daemon._loop = loop  # type: ignore[method-assign]
    return main.run()
