"""A collector's process as the daemon sees it: asked over one pipe, answering over another, logged, killed, buried."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from api2db.errors import SourceError
from api2db.runtime.isolated.messages import (
    Answer,
    Call,
    Granted,
    Incoming,
    Logged,
    Over,
    Reply,
    Request,
    Turn,
    Wait,
    Writer,
)
from api2db.secret import redact

log = logging.getLogger(__name__)

# A fresh interpreter with the daemon's module path. Not a fork: the daemon has threads, whose locks a fork would copy
# in whatever state they are.
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from api2db.app.child import main; main()"
_CHUNK = 2**20
_LONGEST_LINE = 8192
# Of what it prints and logs while it makes one item: each line costs the daemon as much as one of its own.
_MOST_LINES = 1000
_LOOK_S = 1.0
_END_S = 5.0  # a process that has closed its pipes is dead, or is made so after this
# Of the supervisor's protocol: a child that spoke it would speak for the daemon.
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


def _nothing(call: Call) -> Reply:
    return Granted()


class Child:
    """One process for one collector. Asked by one thread at a time; ``kill`` may be called by any."""

    def __init__(self, collector: str, process: subprocess.Popen[bytes], requests: int, answers: int) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self._name = collector
        self._process = process
        self._requests = requests
        self._answers = answers
        self._output = process.stdout.fileno()
        self._writer = Writer(requests)
        self._incoming = Incoming()
        self._text = b""
        self._lines = 0  # logged since the last request
        self._left_out = 0
        self._lock = threading.Lock()  # of _asking, _cause and _buried
        self._asking = False
        self._cause: str | None = None
        self._buried = False
        self._log = logging.LoggerAdapter(log, {"collector": collector})

    @classmethod
    def start(cls, collector: str) -> Self:
        """Start a process. It dies with the thread that calls this, at the latest."""
        requests_in, requests_out = os.pipe()
        answers_in, answers_out = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(requests_in), str(answers_out)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(requests_in, answers_out),
                start_new_session=True,  # Ctrl-C is for the daemon; and all it starts can be killed with it
                env={key: value for key, value in os.environ.items() if key not in _NOT_INHERITED},
            )
        except BaseException:
            os.close(requests_out)
            os.close(answers_in)
            raise
        finally:
            os.close(requests_in)
            os.close(answers_out)
        return cls(collector, process, requests_out, answers_in)

    @property
    def asking(self) -> bool:
        """Whether it is doing something that is waited for."""
        return self._asking

    def ask(self, request: Request, grant: Callable[[Call], Reply] = _nothing) -> Answer:
        """Send a request and wait for its answer, logging what the process prints and logs meanwhile.

        grant  what its sources ask for on the way is answered by this

        Raises SourceError, with what became of the process, if it dies or is killed before it has answered.
        """
        with self._lock:
            if self._requests < 0:
                raise SourceError("its process was told to end")
            self._asking = True
        self._lines = 0
        try:
            self._writer.send(request)
            return self._answer(grant)
        except OSError as error:
            raise SourceError(self.bury()) from error
        except SourceError:
            raise
        except Exception as error:
            # User code may have written into our pipe, or yielded what only its own process can read.
            self.kill(f"its process sent what can't be read ({type(error).__name__}: {redact(str(error))})")
            raise SourceError(self.bury()) from error
        finally:
            with self._lock:
                self._asking = False

    def _answer(self, grant: Callable[[Call], Reply]) -> Answer:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        poll.register(self._output, select.POLLIN)
        while True:
            ready = poll.poll(_LOOK_S * 1000)
            if not ready and self.dead:
                raise SourceError(self.bury())  # what it has forked may hold the pipe open
            for fd, _ in ready:
                data = os.read(fd, _CHUNK)
                if fd == self._output:
                    if not data:
                        poll.unregister(fd)
                    self._print(data)
                elif not data:
                    raise SourceError(self.bury())
                else:
                    answer = self._sort(self._incoming.feed(data), grant)
                    if answer is not None:
                        self._print_rest()
                        self._tell_left_out()
                        return answer

    def _sort(self, messages: Sequence[Answer | Logged | Call], grant: Callable[[Call], Reply]) -> Answer | None:
        """Log what is to be logged, grant what is asked for; the answer, if it is among them."""
        answer = None
        for message in messages:
            if isinstance(message, Logged):
                self._relog(message)
            elif isinstance(message, (Wait, Turn, Over)):
                self._writer.send(grant(message))
            else:
                answer = message
        return answer

    def kill(self, cause: str) -> None:
        """Kill it and all it has started; who waits for its answer is told ``cause``."""
        with self._lock:
            if not self._buried:
                self._cause = self._cause or cause
                self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def dead(self) -> bool:
        """Whether it has ended, by itself or not; also when it is buried already."""
        with self._lock:
            return self._buried or _ended(self.pid)

    def end(self) -> bool:
        """Tell it to end by itself, and ask nothing more; ``bury`` it then. False if its answer is waited for."""
        with self._lock:
            if self._asking:
                return False
            self._close_requests()
            return True

    def _close_requests(self) -> None:
        # Under the lock, and never twice: the number may be another file's by then.
        if self._requests >= 0:
            os.close(self._requests)
            self._requests = -1

    def bury(self, within_s: float = _END_S) -> str:
        """Wait for its end, kill it after ``within_s``, log its last words, close everything. What became of it."""
        deadline = time.monotonic() + within_s
        while not self.dead and time.monotonic() < deadline:
            threading.Event().wait(0.005)
        with self._lock:
            if not self._buried:
                if not _ended(self.pid):
                    self._cause = self._cause or "its process doesn't answer and doesn't end, and was killed"
                # Before it is waited for, while its number can't be another's; it may have left processes of its own.
                self._kill()
                self._process.wait()
                self._buried = True
                self._print_rest()
                self._print(b"\n" if self._text else b"")
                self._tell_left_out()
                assert self._process.stdout is not None
                self._process.stdout.close()
                os.close(self._answers)
                self._close_requests()
        return self._cause or _became(self._process.returncode)

    def _print_rest(self) -> None:
        """Log what is in the pipe now, without waiting for more."""
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while poll.poll(0):
            data = os.read(self._output, _CHUNK)
            if not data:
                return
            self._print(data)

    def _print(self, data: bytes) -> None:
        if self._lines >= _MOST_LINES:
            self._left_out += data.count(b"\n")
            return
        *lines, rest = (self._text + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._text = rest
        self._left_out += max(0, self._lines + len(lines) - _MOST_LINES)
        for line in lines[: _MOST_LINES - self._lines]:
            self._lines += 1
            text = line[:_LONGEST_LINE].decode(errors="replace").rstrip()
            if text:
                self._log.info("%s", text)

    def _tell_left_out(self) -> None:
        if self._left_out:
            self._log.warning("it prints and logs too much, left out collector=%s lines=%d", self._name, self._left_out)
            self._left_out = 0

    def _relog(self, message: Logged) -> None:
        if self._lines >= _MOST_LINES:
            self._left_out += 1
            return
        self._lines += 1
        logger = logging.getLogger(message.logger)
        if logger.isEnabledFor(message.level):
            about = {} if message.collector is None else {"collector": message.collector}
            logger.handle(
                logger.makeRecord(message.logger, message.level, "", 0, "%s", (message.text,), None, extra=about)
            )


def _ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True  # the user's code has made this process ignore SIGCHLD, or waits for any child


def _became(status: int) -> str:
    if status < 0:
        return f"its process was killed by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"
