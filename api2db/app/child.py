"""The process of a collector with ``isolate=True``: calls its function when the daemon asks, and nothing else."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from api2db.app.log import LOGGER, Redacting
from api2db.app.taped import Deck
from api2db.collector import Collector
from api2db.discovery import find_in
from api2db.due.moment import DUE
from api2db.errors import ConfigError, SourceError
from api2db.runtime.isolated.messages import (
    Answer,
    Begin,
    Brought,
    Call,
    Close,
    Done,
    Items,
    Logged,
    Next,
    Poll,
    Raised,
    Reply,
    Request,
    Value,
    Writer,
    receive,
)
from api2db.runtime.isolated.remote import RemotePoll
from api2db.runtime.told import told
from api2db.sources.context import POLL, PutOff, Stopping

# The daemon, databases and other collectors go first, to the processor and past the kernel when memory is short.
NICE = 10
OOM_SCORE_ADJ = 500
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve the daemon until it closes the pipe: ``argv`` ends with the numbers of the pipes to read and to write."""
    requests, answers = int(sys.argv[-2]), int(sys.argv[-1])
    for fd in (requests, answers):
        os.set_inheritable(fd, False)  # what the user's code starts must not hold them
    writer = Writer(answers)
    with open(requests, "rb") as pipe:
        begin = receive(pipe)
        if not isinstance(begin, Begin):
            return  # the daemon died meanwhile
        _be_careful(begin.daemon_pid)
        _log_to(writer)
        server = Server(begin, lambda call: _called(writer, pipe, call))
        while request := (begin if server.collector is None else receive(pipe)):
            answer = server.answer(request)
            _flush()
            try:
                writer.send(answer)
            except BrokenPipeError:
                return  # the daemon is dead
            except BaseException as error:  # noqa: BLE001 - pickling runs the user's classes
                writer.send(server.failed(error, "what it returned can't be handed to the daemon: "))
            if server.ends:
                return


def _called(writer: Writer, pipe: BinaryIO, call: Call) -> Reply | None:
    """Ask the daemon for something while it waits for an answer; None when it is dead."""
    try:
        writer.send(call)
    except BrokenPipeError:
        return None
    reply: Reply | None = receive(pipe)
    return reply


class Server:
    """One collector and the iterator of its poll under way."""

    def __init__(self, begin: Begin, call: Callable[[Call], Reply | None] = lambda call: None) -> None:
        self._call = call
        self._context: RemotePoll | None = None  # of the poll under way
        self.collector: Collector | None = None
        self.ends = False  # it has answered for the last time
        self._begin = begin
        self._items: Iterator[object] | None = None
        self._deck = Deck()

    def answer(self, request: Request) -> Answer:
        """Do what is asked. Raises nothing."""
        try:
            return self._answer(request)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, CancelledError and SystemExit too
            return self.failed(error)

    def failed(self, error: BaseException, what: str = "") -> Raised:
        if isinstance(error, MemoryError):
            _limit_memory(None)  # telling it takes some, too
            self.ends = True
        if self.collector is None:
            self.ends = True
        self._items = None
        self._end()
        limit = self._begin.memory_bytes
        why = f"; its process may take {limit:,} bytes beyond its imports" if limit and self.ends else ""
        cause = self._deck.lacks() or told(error) + self._deck.then()
        self._deck.end("failed")
        if isinstance(error, PutOff):
            return Raised(str(error), self.ends, put_off_s=error.until_s)
        return Raised(f"{what}{cause}{why}", self.ends, stopping=isinstance(error, Stopping))

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, Begin):
            if request.offline:
                self._deck.go_offline()
            self.collector = _find(request)
            if self.collector.tape_s:
                # It belongs to what is imported, and doesn't count as what the function takes.
                from api2db.sources.tape import frames

                frames.codec()
            _limit_memory(request.memory_bytes)
            return Done()
        if isinstance(request, Poll):
            self._close()
            assert self.collector is not None
            if request.given is not None:
                self._context = RemotePoll.of(request.given, self._call)
                POLL.set(self._context)
            DUE.set(request.due)
            returned = self.collector.poll(self._deck.begin(request))
            if isinstance(returned, Iterator):
                self._items = returned
                return Items()
            return self._played(Value(returned, self._end()), last=True)
        if isinstance(request, Next):
            if self._items is None:
                return Done()
            try:
                return self._played(Value(next(self._items)))
            except StopIteration:
                self._items = None
                return self._played(Done(self._end()), last=True)
        assert isinstance(request, Close)
        self._close()
        return Done()

    def _played(self, answer: Answer, *, last: bool = False) -> Answer:
        """``answer``, unless a tape that is played back lacked something, whatever the function made of that."""
        lacks = self._deck.lacks()
        if lacks is not None:
            self._items = None
        if last or lacks is not None:
            self._deck.end("ok")
        return answer if lacks is None else Raised(lacks)

    def _close(self) -> None:
        items, self._items = self._items, None
        close: Callable[[], object] = getattr(items, "close", lambda: None)
        close()
        self._end()
        self._deck.end("stopped")

    def _end(self) -> Brought | None:
        """The poll is over: what its sources want to remember."""
        context, self._context = self._context, None
        POLL.set(None)
        if context is None:
            return None
        context.end()
        return context.brought()


def _find(begin: Begin) -> Collector:
    """Import the collector's module, or execute the program that declares it up to its ``Run``."""
    sys.argv = begin.arguments
    if begin.is_module:
        declared = find_in(begin.file)
    else:
        from api2db.app.run import declared_by

        declared = declared_by(begin.file)
    for collector in declared:
        if collector.name == begin.collector:
            return collector
    raise SourceError(
        f"its process doesn't find it: {begin.file} declares {', '.join(c.name for c in declared) or 'no collector'}"
        " when it is imported there; restart the daemon if the file was changed"
    )


def _be_careful(daemon_pid: int) -> None:
    """Die with the daemon, don't write core files, come after the others."""
    if sys.platform == "linux":
        # By the kernel: also while C code holds the interpreter, and whatever kills the daemon.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
    if os.getppid() != daemon_pid:
        os._exit(0)  # it died before we could ask for that
    # When to end is the daemon's word, which a supervisor tells to stop together with us. No SIG_IGN: programs that the
    # user's code starts would inherit it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    faulthandler.enable()  # to stderr, which is the daemon's log
    with suppress(OSError):  # forbidden by some sandboxes
        os.nice(NICE)


def _limit_memory(beyond_bytes: int | None) -> None:
    """Let this process take so much more than it has now; as much as it wants for None.

    Private, writable memory: what its objects and C code allocate, no files that are mapped. So a limit is in the
    user's terms, however much the imports reserve on this machine. Of the two limits the soft one, which can be lifted.
    """
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = hard
    if beyond_bytes is not None:
        wanted = _taken_bytes() + beyond_bytes
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _taken_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        raise ConfigError("memory= needs Linux, which counts what a process takes")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmData:")) * 1024


class _ToDaemon(logging.Handler):
    """Sends what the user's code logs by ``get_logger`` to the daemon, where it is logged by the same name."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(logging.INFO)
        self._writer = writer
        self.setFormatter(Redacting("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            collector = getattr(record, "collector", None)
            self._writer.send(Logged(record.name, record.levelno, self.format(record), collector))
        except Exception:  # noqa: BLE001 - as every handler does: logging never raises
            self.handleError(record)


def _log_to(writer: Writer) -> None:
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_ToDaemon(writer))


def _flush() -> None:
    """Hand over what was printed before the answer is: the daemon logs it with the poll it belongs to."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
