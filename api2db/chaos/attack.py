"""Inflicts faults on a daemon, one after the other, and keeps count of what came of each."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from api2db.chaos import faults
from api2db.chaos.faults import Fault
from api2db.chaos.proxy import Fault as Broken
from api2db.chaos.proxy import Proxy
from api2db.chaos.victim import Victim
from api2db.errors import Api2dbError

# A start that isn't ready by then needs help. Far beyond what one takes: a busy machine is no fault of the daemon.
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
# How long a process may go on until it reaches its point; then it is killed where it is.
POINT_TIMEOUT_S = 2.0
ATTEMPTS = 3
# Of the first start, until one has been measured.
_FIRST_START_S = 1.0

_BROKEN = {
    faults.REFUSE: Broken.REFUSE,
    faults.RESET: Broken.RESET,
    faults.CUT: Broken.CUT,
    faults.HANG: Broken.HANG,
}


class Helpless(Api2dbError):
    """The daemon doesn't start any more, however often: a person would have to help."""


class Server(Protocol):
    """A database server of our own."""

    def kill(self) -> None:
        """By SIGKILL, with all that belongs to it."""

    def start(self) -> None:
        """Start it and wait until it answers."""


@dataclass
class Tally:
    """What came of one kind: how often it struck, where it hit, seconds from each start after it to ready."""

    count: int = 0
    hits: dict[str, int] = field(default_factory=dict)
    ready_s: list[float] = field(default_factory=list)
    helped: int = 0


class Attack:
    """Faults against one victim. Used by one thread.

    proxies  before the databases it loads; where there are none, faults of connections do nothing
    server   to be killed, if a schedule says so
    """

    def __init__(self, victim: Victim, proxies: Sequence[Proxy] = (), server: Server | None = None) -> None:
        self.tallies: dict[str, Tally] = {}
        self.first_ready_s: float | None = None
        self.kills = 0  # how often a process died of SIGKILL
        self._victim = victim
        self._proxies = proxies
        self._server = server
        self._last = ""  # the kind that struck last: a start is counted with the fault it recovers from

    @property
    def helped(self) -> int:
        """How many starts needed another attempt."""
        return sum(tally.helped for tally in self.tallies.values())

    @property
    def ready_s(self) -> list[float]:
        """Seconds from start to ready, of every start after a fault."""
        return [seconds for tally in self.tallies.values() for seconds in tally.ready_s]

    def inflict(self, fault: Fault) -> str:
        """One fault; where it hit, in words. Afterwards the daemon runs, or is dead and the next one starts it.

        Raises Helpless.
        """
        strike: dict[str, Callable[[Fault], str]] = {
            faults.KILL: self._kill,
            faults.KILL_AT: self._kill_at,
            faults.KILL_STARTING: self._kill_starting,
            faults.KILL_STOPPING: self._kill_stopping,
            faults.RESTART: self._restart,
            faults.PAUSE: self._pause,
            faults.FULL: self._full,
            faults.SERVER: self._kill_server,
        }
        hit = strike.get(fault.kind, self._outage)(fault)
        tally = self.tallies.setdefault(fault.kind, Tally())
        tally.count += 1
        tally.hits[hit] = tally.hits.get(hit, 0) + 1
        self._last = fault.kind
        self.kills += not self._victim.alive and self._victim.status() == -signal.SIGKILL
        return hit

    def run(self) -> float | None:
        """Make sure that it runs and is ready; seconds from start to ready, None if it ran already. Raises Helpless."""
        if self._victim.alive:
            return None
        for attempt in range(ATTEMPTS):
            self._victim.start()
            seconds = self._victim.ready(READY_TIMEOUT_S)
            if attempt and self._last:
                self.tallies[self._last].helped += 1
            if seconds is not None:
                self._count_start(seconds)
                return seconds
            self._victim.kill()
        raise Helpless(
            f"the daemon didn't start in {ATTEMPTS} attempts after: {self._last or 'nothing'}"
            f" (exit status {self._victim.status()}); what it said is in {self._victim.console}"
        )

    def stop(self) -> int:
        """SIGTERM; the exit status, which is 0 if it stopped in order."""
        self._victim.signal(signal.SIGTERM)
        if not self._victim.ended(STOP_TIMEOUT_S):
            self._victim.kill()
        return self._victim.status()

    def _kill(self, fault: Fault) -> str:
        self.run()
        self._victim.ended(fault.after_s)
        self._victim.kill()
        return "while it ran"

    def _kill_at(self, fault: Fault) -> str:
        point = fault.failpoint.partition(":")[0]
        if self._victim.alive:
            self.stop()
        self._victim.start(fault.failpoint)
        seconds = self._victim.ready(READY_TIMEOUT_S)
        if seconds is None:
            return f"at {point}, in recovery" if self._died_by_itself() else "before it was ready"
        self._count_start(seconds)
        if self._victim.ended(POINT_TIMEOUT_S):
            return f"at {point}" if self._died_by_itself() else "while it ran"
        self._victim.kill()
        return "while it ran"

    def _count_start(self, seconds: float) -> None:
        if self._last:
            self.tallies[self._last].ready_s.append(seconds)
        else:
            self.first_ready_s = seconds

    def _died_by_itself(self) -> bool:
        if self._victim.alive:
            self._victim.kill()
            return False
        return self._victim.status() == -signal.SIGKILL

    def _kill_starting(self, fault: Fault) -> str:
        if self._victim.alive:
            self.stop()
        known = self.ready_s
        usual_s = statistics.median(known) if known else self.first_ready_s or _FIRST_START_S
        self._victim.start()
        # Imports take most of a start; recovery is at its end.
        ready = self._victim.ready(usual_s * (0.6 + 0.4 * fault.after_s)) is not None
        self._victim.kill()
        return "just after it was ready" if ready else "before it was ready"

    def _kill_stopping(self, fault: Fault) -> str:
        self.run()
        self._victim.signal(signal.SIGTERM)
        self._victim.ended(fault.after_s / 2)
        self._victim.kill()
        return "while it stopped" if self._victim.status() == -signal.SIGKILL else "it had stopped already"

    def _restart(self, fault: Fault) -> str:
        self.run()
        self._victim.ended(fault.after_s)
        status = self.stop()
        return "stopped in order" if status == 0 else f"exit status {status}"

    def _pause(self, fault: Fault) -> str:
        self.run()
        self._victim.ended(fault.after_s)
        self._victim.signal(signal.SIGSTOP)
        self._victim.ended(fault.lasts_s)
        self._victim.signal(signal.SIGCONT)
        return "paused, went on"

    def _full(self, fault: Fault) -> str:
        self.run()
        self._victim.ended(fault.after_s)
        self._victim.limit_files(fault.limit)
        died = self._victim.ended(fault.lasts_s)
        self._victim.limit_files(None)
        return f"it ended, status {self._victim.status()}" if died else "lived through it"

    def _kill_server(self, fault: Fault) -> str:
        assert self._server is not None
        self.run()
        self._victim.ended(fault.after_s)
        self._server.kill()
        died = self._victim.ended(fault.lasts_s)
        self._server.start()
        return f"it ended, status {self._victim.status()}" if died else "lived through it"

    def _outage(self, fault: Fault) -> str:
        self.run()
        self._victim.ended(fault.after_s)
        for proxy in self._proxies:
            proxy.fail(_BROKEN[fault.kind])
        died = self._victim.ended(fault.lasts_s)
        for proxy in self._proxies:
            proxy.heal()
        return f"it ended, status {self._victim.status()}" if died else "lived through it"
