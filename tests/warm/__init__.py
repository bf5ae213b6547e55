"""Python processes started warm: forked from one that has imported what a daemon imports.

``Popen`` and ``run`` take what ``subprocess`` takes for a command that begins with ``sys.executable``. To start Python
and import pandas, pyarrow and SQLAlchemy costs most of a second of a processor, a fork some ten milliseconds. What
comes of it is a process as any other: with a pid, an environment, a folder and standard streams of its own, killed by
signals, and ended as Python ends.

Started anew, by ``subprocess``, is what can't be had of a fork (``_may_fork``), what is about starting (use
``subprocess``), everything where API2DB_TEST_COLD is set, where this isn't Linux, and outside pytest: what ``bench/``
measures and kills has the starts that users have.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
_OPTIONS = {"cwd", "env", "stdin", "stdout", "stderr", "text", "start_new_session"}
# What C libraries and the interpreter read of the environment before anything of ours runs.
_EARLY = ("LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "PYTHON", "OMP_", "OPENBLAS_", "ARROW_")
_ANY_TIME = ("PYTHONPATH", "PYTHONUNBUFFERED")
# Before a test changes it for what it starts.
_ENVIRONMENT = dict(os.environ)
_BOOT = """
import sys
path = sys.path[1:]
sys.path.insert(0, sys.argv[1])
from tests.warm.parent import serve
order = serve(int(sys.argv[2]))
from tests.warm.child import become, execute
execute(become(order, path))
"""


def Popen(command: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
    """A process of ``command``, as ``subprocess.Popen`` would start it. Safe to call from any thread."""
    words = [os.fspath(word) for word in command]
    if _may_fork(words, options):
        return _Forked(words, **options)
    return subprocess.Popen(words, **options)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    input: str | bytes | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """What ``subprocess.run`` does."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _may_fork(words: list[str], options: Mapping[str, Any]) -> bool:
    wanted = os.environ.get("PYTEST_VERSION") and not os.environ.get("API2DB_TEST_COLD")
    if sys.platform != "linux" or not wanted or not options.keys() <= _OPTIONS:
        return False
    at = 1
    while words[at : at + 1] == ["-W"] and words[at + 1] in ("error", "ignore"):
        at += 2
    if words[0] != sys.executable or not words[at:] or (words[at][:1] == "-" and words[at] not in ("-c", "-m")):
        return False
    env = os.environ if options.get("env") is None else options["env"]
    early = [name for name in env if name.startswith(_EARLY) and name not in _ANY_TIME]
    return all(env[name] == _ENVIRONMENT.get(name, "") for name in early)


class _Forked(subprocess.Popen[Any]):
    """A child of the process that forks, which says how it ended; pipes, texts and timeouts are ``Popen``'s.

    As a child of our own it stays a zombie until we know its status: its pid is nobody else's before.
    """

    _ours: socket.socket

    # The seam at which Popen itself differs between systems, the same in Python 3.11 to 3.13.
    def _execute_child(self, args: list[str], *given: Any) -> None:
        _executable, _preexec, _close, _pass, cwd, env, _info, _flags, _shell, *fds = given[:15]
        start_new_session = given[20]
        order = {
            "command": args[1:],
            "cwd": os.path.abspath(cwd or "."),
            "env": dict(os.environ if env is None else env),
            "new_session": bool(start_new_session),
        }
        try:
            theirs = (number if fd == -1 else fd for number, fd in enumerate((fds[0], fds[3], fds[5])))
            self.pid, self._ours = _forking().fork(order, *theirs)
        finally:
            self._close_pipe_fds(*fds)  # type: ignore[attr-defined]
        self._child_created = True

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        return self._heard(0.0)

    def _wait(self, timeout: float | None) -> int:
        status = self._heard(timeout)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def _heard(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._ours], [], [], timeout_s)[0]:
            with self._waitpid_lock:  # type: ignore[attr-defined]
                if self.returncode is None:
                    said = self._ours.recv(100)
                    assert said, "the process that starts others for tests has ended"
                    self._ours.close()
                    self.returncode = int(said)
        return self.returncode


class _Forking:
    """The process that has imported everything. It ends when we do: when the other end of its socket is closed."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = {name: value for name, value in _ENVIRONMENT.items() if not name.startswith("API2DB_")}
        env.pop("PYTHONPATH", None)
        # The threads of libraries wouldn't be there in a fork: OpenBLAS's (numpy), and that of the jemalloc in pyarrow,
        # which nothing is allocated with by default.
        env |= {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(REPOSITORY), str(theirs.fileno())],
                cwd=REPOSITORY,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, order: Mapping[str, Any], *fds: int) -> tuple[int, socket.socket]:
        """A new process with these as its standard streams: its pid, and where its status will be told."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._orders, [json.dumps(order).encode()], [*fds, theirs.fileno()])
        try:
            pid = int(ours.recv(100))
        except BaseException:
            ours.close()
            raise
        return pid, ours

    def close(self) -> None:
        self._orders.close()
        self._process.wait()


@cache
def _forking() -> _Forking:
    forking = _Forking()
    atexit.register(forking.close)
    return forking
