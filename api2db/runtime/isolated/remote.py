"""A poll as the sources in a collector's own process see it: the daemon knows whose turn it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from api2db.runtime.isolated.messages import Brought, Call, Given, Over, Refused, Reply, Turn, Wait
from api2db.sources.context import PollContext, PutOff, Stopping
from api2db.sources.net.hosts import OUTSIDE
from api2db.sources.net.rate import Rate


@dataclass
class RemotePoll(PollContext):
    """The context of a poll in a collector's own process.

    call  asks the daemon, which listens only while it waits for an answer: None when it is dead
    """

    call: Callable[[Call], Reply | None] = field(default=lambda call: None, repr=False)
    over: bool = field(default=False, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # a source's own threads may share it

    @classmethod
    def of(cls, given: Given, call: Callable[[Call], Reply | None]) -> RemotePoll:
        context = cls(
            given.collector,
            given.started_ns,
            given.state,
            given.whole,
            given.full,
            given.credentials,
            given.tokens,
            secret=given.secret,
            seen=given.seen,
            key=given.key,
            call=call,
        )
        context.hosts = RemoteHosts(context)
        return context

    def brought(self) -> Brought:
        return Brought(self.state, self.asked, self.news)

    def wait(self, seconds: float) -> None:
        if not self.ask(Wait(seconds)):
            super().wait(seconds)

    def ask(self, call: Call) -> bool:
        """Have the daemon do it. False if the poll is over, and nobody listens. Raises PutOff, Stopping."""
        with self.lock:
            if self.over:
                return False
            reply = self.call(call)
        if reply is None:
            raise Stopping("the daemon is gone")
        if isinstance(reply, Refused):
            raise Stopping(reply.cause) if reply.put_off_s is None else PutOff(reply.cause, reply.put_off_s)
        return True

    def end(self) -> None:
        """Nobody listens from now on."""
        with self.lock:
            self.over = True


class RemoteHosts:
    """The turns of the daemon's process, which all collectors share."""

    def __init__(self, poll: RemotePoll) -> None:
        self._poll = poll

    @contextmanager
    def turn(
        self, host: str, rates: Sequence[Rate], at_once: int | None, max_wait_s: float, context: PollContext
    ) -> Iterator[None]:
        if not self._poll.ask(Turn(host, tuple(rates), at_once, max_wait_s)):
            with OUTSIDE.turn(host, rates, at_once, max_wait_s, context):
                yield
            return
        try:
            yield
        finally:
            with suppress(Stopping):  # the daemon is gone, and so is this process at once
                self._poll.ask(Over())
