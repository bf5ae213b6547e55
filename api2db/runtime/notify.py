"""What a service manager is told: ready, alive, how it goes, stopping.

The protocol is systemd's: one datagram of ``KEY=value`` lines to the socket that NOTIFY_SOCKET names. See
sd_notify(3) and sd_watchdog_enabled(3). Where that variable isn't set, nothing is told to nobody.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

# A manager that doesn't read holds up the main loop no longer than this.
SEND_TIMEOUT_S = 1.0


class ServiceManager:
    """Whoever started the daemon and wants to hear of it. Used by the main thread alone; nothing here raises."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._beat_every_s = _beat_every_s(environ) if self._address else None
        self._next_beat = 0.0
        self._status = ""
        self._failed = False

    def ready(self) -> None:
        """Everything has started. From now on the manager expects beats, if it wants any."""
        self._tell("READY=1")

    def status(self, line: str) -> None:
        """One line for people, ``systemctl status`` shows it; told again only when it changes."""
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def beat(self) -> None:
        """Say that the main loop turns, when it is time to: twice in the interval, as the manual recommends."""
        if self._beat_every_s is not None and (now := time.monotonic()) >= self._next_beat:
            self._next_beat = now + self._beat_every_s
            self._tell("WATCHDOG=1")

    def idle_s(self) -> float | None:
        """Seconds until the next beat is due; None if there is none."""
        return None if self._beat_every_s is None else max(0.0, self._next_beat - time.monotonic())

    def _tell(self, line: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT_S)
                sender.sendto(line.encode(), self._address)
        except OSError as error:
            if not self._failed:  # once: a beat comes every few seconds
                log.warning("NOTIFY_SOCKET is set, but nobody can be told there cause=%s", error)
            self._failed = True


def _address(name: str) -> str | None:
    """The socket's address; ``@`` begins one in the abstract namespace. None for what isn't a local socket."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _beat_every_s(environ: Mapping[str, str]) -> float | None:
    """Half the interval in which a beat is expected; None if none is, or one of another process."""
    interval_us, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID") or str(os.getpid())
    if not interval_us.isdecimal() or int(interval_us) == 0 or pid != str(os.getpid()):
        return None
    return int(interval_us) / 2e6
