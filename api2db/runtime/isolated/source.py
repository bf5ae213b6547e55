"""A collector's function in a process of its own: asked for items, killed at its deadline, replaced when it dies."""

from __future__ import annotations

import datetime
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from api2db.collector import Collector
from api2db.due.moment import DUE
from api2db.errors import ConfigError, SourceError
from api2db.retry import RetryPolicy
from api2db.runtime.isolated.child import Child
from api2db.runtime.isolated.granting import Granting
from api2db.runtime.isolated.messages import Begin, Call, Close, Done, Items, Next, Poll, Raised, Reply, Value
from api2db.runtime.isolated.processes import Processes
from api2db.sources.context import POLL, PollContext, PutOff, Stopping
from api2db.sources.tape.recorder import TAPE, Recorder

log = logging.getLogger(__name__)

# A process imports what the collector's module imports before it can poll; the item's own time begins after that.
START_S = 60.0
_ANOTHER = "the next poll starts another"
# So many deaths in a row, without an item in between, are met by a process each; then ever more rarely.
_AT_ONCE = 3
_AGAIN = RetryPolicy(base_s=2.0, cap_s=300.0)


class Isolated:
    """A collector's function, called in a process of its own that lives from poll to poll.

    offline  that process reaches no network: it is asked by ``play`` alone
    program  what declares the collector where no module of ``collectors/`` does; by default what runs here
    """

    def __init__(
        self,
        collector: Collector,
        processes: Processes,
        clock: Callable[[], float] = time.monotonic,
        *,
        offline: bool = False,
        program: Path | None = None,
    ) -> None:
        self._offline = offline
        self._clock = clock
        self._rng = random.Random()
        self._deaths = 0  # in a row
        self._last_cause = ""
        self._not_before_s = 0.0
        self._name = collector.name
        self._zone = collector.schedule.zone
        self._memory_bytes = collector.memory_bytes
        self._file = _file_of(collector, program)
        self._is_module = collector.declared_in is not None
        self._processes = processes
        self._child: Child | None = None
        self._starting = False
        self._log = logging.LoggerAdapter(log, {"collector": collector.name})

    def poll(self, since: object, begun: Callable[[], None]) -> object:
        recorder, granting = TAPE.get(), Granting(POLL.get() or PollContext())
        tape = recorder.order if isinstance(recorder, Recorder) else None
        return self._polled(Poll(since, granting.given, DUE.get(), tape), begun, granting)

    def play(self, tape: Path, begun: Callable[[], None], context: PollContext) -> object:
        """As ``poll``, with what a tape says in place of the network. SourceError for a request that isn't on it."""
        granting = Granting(context)
        due = datetime.datetime.fromtimestamp(context.started_ns / 1e9, self._zone)
        return self._polled(Poll(None, granting.given, due, plays=tape), begun, granting)

    def _polled(self, poll: Poll, begun: Callable[[], None], granting: Granting) -> object:
        child = self._ready()
        begun()

        def ask(request: Poll | Next | Close) -> Done | Value | Items:
            try:
                answer = self._ask(child, request, granting.grant)
            finally:
                granting.end()
            if not isinstance(answer, Items):
                granting.take(answer.brought)
            return answer

        answer = ask(poll)
        if isinstance(answer, Items):
            return _Items(lambda: ask(Next()), lambda: ask(Close()))
        assert isinstance(answer, Value)
        return answer.value

    def limit_s(self, timeout_s: float) -> float:
        return max(timeout_s, START_S) if self._starting else timeout_s

    def ended(self) -> None:
        """A function isn't told."""

    def kill(self, cause: str) -> bool:
        child = self._child
        if child is None or not child.asking:
            return False
        child.kill(f"{cause}; its process was killed")
        return True

    def _ready(self) -> Child:
        """The process that is there, or another."""
        child = self._child
        if child is not None and not child.dead:
            return child
        if child is not None:
            self._log.warning("ended between polls collector=%s cause=%s", self._name, self._bury(child))
        left_s = self._not_before_s - self._clock()
        if left_s > 0:
            raise SourceError(f"{self._last_cause}; {self._resting(left_s)}")
        self._starting = True
        try:
            child = self._child = self._processes.start(self._name)
            begin = Begin(
                self._name, self._file, self._is_module, sys.argv, self._memory_bytes, os.getpid(), self._offline
            )
            answer = self._ask(child, begin)
            assert isinstance(answer, Done)
        finally:
            self._starting = False
        self._log.info("process started collector=%s pid=%d", self._name, child.pid)
        return child

    def _ask(
        self, child: Child, request: Begin | Poll | Next | Close, grant: Callable[[Call], Reply] | None = None
    ) -> Done | Value | Items:
        """Raises SourceError if the process dies, is killed, or answers that it failed; PutOff, Stopping."""
        try:
            answer = child.ask(request, grant) if grant is not None else child.ask(request)
        except SourceError as error:
            self._bury(child)
            raise SourceError(f"{error}; {self._died(str(error))}") from error
        if not isinstance(answer, Raised):
            if isinstance(answer, Value) or isinstance(request, Next):
                self._deaths, self._not_before_s = 0, 0.0  # it got somewhere
            return answer
        if answer.last:
            self._bury(child)
            raise SourceError(f"{answer.cause}; {self._died(answer.cause)}")
        if answer.put_off_s is not None:
            raise PutOff(answer.cause, answer.put_off_s)
        raise (Stopping if answer.stopping else SourceError)(answer.cause)

    def _died(self, cause: str) -> str:
        """When there is another."""
        self._deaths, self._last_cause = self._deaths + 1, cause
        if self._deaths < _AT_ONCE:
            return _ANOTHER
        delay_s = _AGAIN.delay_s(self._deaths - _AT_ONCE + 1, self._rng)
        self._not_before_s = self._clock() + delay_s
        return self._resting(delay_s)

    def _resting(self, left_s: float) -> str:
        return f"it died {self._deaths} times in a row, and is left alone for {left_s:.1f} s; then {_ANOTHER}"

    def _bury(self, child: Child) -> str:
        cause = child.bury()
        self._processes.gone(child)
        self._child = None
        return cause


class _Items:
    """What a generator in the process yields. One that isn't read to its end is closed there by the next poll."""

    def __init__(self, ask: Callable[[], object], close: Callable[[], object]) -> None:
        self._ask = ask
        self._close = close

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        answer = self._ask()
        if isinstance(answer, Value):
            return answer.value
        raise StopIteration

    def close(self) -> None:
        """Let its ``finally`` run now."""
        self._close()


def _file_of(collector: Collector, program: Path | None) -> Path:
    """The file whose import, or execution, declares the collector. Raises ConfigError if there is none."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    file = collector.declared_in or program or (Path(main) if main else None)
    if file is None:
        raise ConfigError(
            f"collector {collector.name}: isolate=True needs a file that its process can import: declare it in"
            " collectors/*.py, or in a program that is a file"
        )
    return file.resolve()
