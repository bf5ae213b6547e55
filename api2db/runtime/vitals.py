"""How the daemon itself is, as its main loop says, for those who look on from other threads."""

from __future__ import annotations

import enum
import time

from api2db.usage import Usage

# The main loop turns at least once a second. Past this it hangs.
HANGS_AFTER_S = 60.0


class Phase(enum.Enum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Vitals:
    """Written by the main thread alone, one attribute at a time; read by any.

    usage  what STORE's shards use; None until STORE has been looked through
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.usage: Usage | None = None
        self.stuck_polls = 0
        self._turned_s = time.monotonic()

    def turn(self, stuck_polls: int) -> None:
        """The main loop turns; the first time, everything has started."""
        self._turned_s = time.monotonic()
        self.stuck_polls = stuck_polls
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING

    def stopping(self) -> None:
        self.phase = Phase.STOPPING

    @property
    def trouble(self) -> str | None:
        """Why the main loop can't be said to live; None if it does, or hasn't begun."""
        idle_s = time.monotonic() - self._turned_s
        if self.phase is Phase.RUNNING and idle_s > HANGS_AFTER_S:
            return f"the main loop hangs: it turned {idle_s:.0f} s ago"
        return None
