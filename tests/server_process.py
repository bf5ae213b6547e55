"""A database server in a process of its own, as ``tests.servers`` and ``tests.mariadb`` start theirs."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 60.0


class ServerProcess:
    """Started until it says that it is ready; its last lines are kept. Start it again after it has ended.

    name       for errors
    ready      what it writes to stderr once it answers
    user       whom to run it as, where we are root: servers refuse root; ``nobody`` where there is no such user
    folder     where it runs
    death      the signal it gets when we are killed: a test run that ends takes its servers with it
    """

    def __init__(
        self, name: str, ready: str, *, user: str, folder: Path, environment: Mapping[str, str], death: str = "TERM"
    ) -> None:
        self.log: deque[str] = deque(maxlen=1000)
        self._account = account(user)
        self._folder = folder
        self._name = name
        self._ready = ready
        self._environment = environment
        self._death = death
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """None if it doesn't run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, command: Sequence[str]) -> None:
        """Start it and wait until it answers."""
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", self._death, "--", *command]
        self.log.clear()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", **self._as()
        )
        ready = threading.Event()
        self._process = process
        self._reader = threading.Thread(target=self._read_log, args=(process, ready), daemon=True)
        self._reader.start()
        ready.wait(TIMEOUT_S)
        if not any(self._ready in line for line in self.log):
            self.end(signal.SIGKILL)
            raise RuntimeError(f"{self._name} did not start:\n" + "".join(self.log))

    def end(self, number: signal.Signals) -> None:
        """Send it a signal if it runs, and wait for its end."""
        if self._process is not None and self.pid is not None:
            self._process.send_signal(number)
        self.wait()

    def wait(self) -> None:
        if self._process is not None and self._reader is not None:
            self._process.wait(TIMEOUT_S)
            self._reader.join(TIMEOUT_S)

    def run(self, *command: str | Path) -> None:
        """Another program of the server's, as the same account."""
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S, **self._as()
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")

    def own(self, *paths: Path) -> None:
        """Have the server's account own these."""
        if self._account is not None:
            for path in paths:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _read_log(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line)
                if self._ready in line:
                    ready.set()
        ready.set()

    def _as(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": self._folder, "env": dict(self._environment)}
        if self._account is not None:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return options


def account(user: str) -> pwd.struct_passwd | None:
    """Whom to run a server as: root becomes ``user`` or, where that is missing, ``nobody``."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(user)
    return pwd.getpwnam("nobody")


def shared_folder(prefix: str) -> Path:
    """A new temporary folder that every account can reach."""
    base = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base if enterable(base) else "/tmp"))


def enterable(folder: Path) -> bool:
    """Whether every user can walk down to ``folder``."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))
