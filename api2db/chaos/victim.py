"""The daemon as the one that is hurt: a real process, started, waited for, killed, paused, short of disk."""

from __future__ import annotations

import os
import resource
import secrets
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TIMEOUT_S = 60.0


class Victim:
    """One process at a time, of ``command`` in ``folder``; what it prints is appended to ``console``.

    It tells that it runs by the service manager's protocol, so nothing is read from its output. Used by one thread.
    Linux only: process descriptors, ``prlimit``, and sockets in the abstract namespace.

    popen  what starts it, as ``subprocess.Popen`` does
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        console: Path,
        env: Mapping[str, str],
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:
        self.console = console
        self._popen = popen
        self._command = list(command)
        self._folder = folder
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._told: socket.socket | None = None
        self._started_at = 0.0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the newest process, alive or not."""
        assert self._process is not None
        return self._process.pid

    def start(self, failpoint: str = "") -> None:
        """A new process, which dies at ``failpoint`` (``<point>:<n>``, see ``api2db.failpoint``) if one is given."""
        assert not self.alive, "the last process still runs"
        self.close()
        # One socket a process: what an earlier one said before it was killed must not count for this one.
        name = f"api2db-chaos-{os.getpid()}-{secrets.token_hex(8)}"
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._told.bind(f"\0{name}")
        env = {**self._env, "NOTIFY_SOCKET": f"@{name}"}
        if failpoint:
            env["API2DB_FAILPOINT"] = failpoint
        self._started_at = time.monotonic()
        with self.console.open("ab") as console:
            self._process = self._popen(
                self._command,
                cwd=self._folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self._pidfd = os.pidfd_open(self._process.pid)

    def ready(self, timeout_s: float = TIMEOUT_S) -> float | None:
        """Wait until it says that it runs: seconds since its start. None if it ended first, or after ``timeout_s``."""
        assert self._told is not None
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            heard, _, _ = select.select([self._told.fileno(), self._pidfd], [], [], left_s)
            if self._told.fileno() in heard:
                if b"READY=1" in self._told.recv(4096).splitlines():
                    return time.monotonic() - self._started_at
            else:
                return None  # it ended, or nothing came

    def ended(self, within_s: float) -> bool:
        """Wait until it ends, at most so long: whether it did."""
        if self.alive:
            select.select([self._pidfd], [], [], within_s)
        return not self.alive

    def status(self) -> int:
        """The exit status of the process that ended; minus the signal's number if one ended it."""
        assert self._process is not None
        return self._process.wait(TIMEOUT_S)

    def signal(self, number: int) -> None:
        """SIGKILL, SIGTERM, SIGSTOP, SIGCONT. Nothing if it has ended."""
        if self.alive:
            assert self._process is not None
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.status()

    def limit_files(self, size_bytes: int | None) -> None:
        """No file of the running process may grow beyond this size; None lifts it.

        What lies in the way of a write is then an error in its midst, as on a full disk: a file is left torn.
        """
        if self.alive:
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))

    def close(self) -> None:
        """End what still runs, at once."""
        if self._process is not None:
            self.kill()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._told is not None:
            self._told.close()
            self._told = None
