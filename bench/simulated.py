"""What the soak's main.py runs: the daemon's own main, on a clock that goes as fast as polls end.

A simulated second passes once all polls of the one before have ended and no more shards wait than ``BACKLOG``. Only
that clock and the hour between two prunings are ours; all else, threads included, is the daemon's.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from api2db.cli import main
from api2db.runtime import cadence, daemon
from api2db.runtime.poller import Poller
from api2db.runtime.running import Running

BACKLOG = 500
PRUNE_S = 2.0
LOOK_AGAIN_S = 0.001

_EPOCH = datetime.datetime(2026, 1, 1)
_loop = daemon.Daemon._loop


class Clock:
    """Simulated seconds; it stands while polls or deliveries are behind. The daemon's main thread alone uses it."""

    def __init__(self) -> None:
        self.second = 0
        self._running: Sequence[Running] = ()
        self._poller: Poller | None = None

    def watch(self, running: Sequence[Running], poller: Poller) -> None:
        self._running, self._poller = running, poller

    def now(self) -> datetime.datetime:
        return _EPOCH + datetime.timedelta(seconds=self.second)

    def tick(self) -> bool:
        """Go on by a second if everybody is ready for it."""
        assert self._poller is not None
        if self._poller._busy or self._waiting() > BACKLOG:
            return False
        self.second += 1
        return True

    def _waiting(self) -> int:
        return sum(sum(delivery.backlog) for each in self._running for delivery in each.deliveries)


clock = Clock()


class SimulatedCadence(cadence.Cadence):
    """The daemon's cadence by the simulated clock."""

    def run_pending(self) -> None:
        if clock.tick():
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
    daemon.PRUNE_S = PRUNE_S
    daemon.Daemon._loop = loop  # type: ignore[method-assign]
    return main.run()
