"""What a poll gives to the sources it calls, and what it keeps of that when it ended well."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from api2db.layout import Layout
from api2db.runtime.run import Run
from api2db.sources.context import LONGEST_PUT_OFF_S, POLL, PollContext, PutOff, Stopping
from api2db.sources.net.hosts import Hosts
from api2db.spool.collector import CollectorSpool

log = logging.getLogger(__name__)


@dataclass
class RunningPoll(PollContext):
    """The context of a poll in the daemon: what it waits isn't the time of the run's item."""

    run: Run | None = field(default=None, repr=False)
    stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def reached(self, where: str) -> None:
        assert self.run is not None
        self.run.where = where

    def wait(self, seconds: float) -> None:
        assert self.run is not None
        self.run.item_since_s += seconds  # before it is waited: the watch over the item's time goes on meanwhile
        if self.stop.wait(seconds) or self.run.abandoned:
            raise Stopping("the daemon is stopping")


@dataclass(frozen=True)
class Shared:
    """What the polls of a daemon share.

    credentials  the folder of credentials by name
    tokens       the folder of tokens that were given out to us
    hosts        whose turn it is at each host
    secret       the file of the STORE's random key
    seen         the folder of records that may come again
    """

    credentials: Path
    tokens: Path
    hosts: Hosts
    secret: Path
    seen: Path

    @classmethod
    def of(cls, layout: Layout, credentials: Path = Path("AUTH")) -> Shared:
        return cls(credentials, layout.tokens, Hosts(layout.hosts), layout.key, layout.seen.absolute())


class Remembered:
    """What the sources of one collector remember from poll to poll, and until when it isn't polled."""

    def __init__(self, shards: CollectorSpool) -> None:
        self._shards = shards
        self._resets = shards.resets
        self._not_before_ns: int | None = None  # not read yet
        self.why = ""  # there is a time before which it isn't polled; once ``not_before_ns`` was asked for

    @property
    def not_before_ns(self) -> int:
        """No poll before this time, in nanoseconds since 1970 UTC; 0 if there is no such time."""
        if self._not_before_ns is None or self._resets != self._shards.resets:
            self._resets = self._shards.resets
            kept = self._decoded(self._shards.poll_state())
            self._not_before_ns, self.why = kept.not_before_ns, kept.why
        ahead_ns = self._not_before_ns - time.time_ns()
        # Never as long as that: then the clock was put back.
        return self._not_before_ns if 0 < ahead_ns <= LONGEST_PUT_OFF_S * 1e9 else 0

    @contextmanager
    def lent(self, context: PollContext, resets: int) -> Iterator[None]:
        """Have the poll in the block find ``context``; what it makes of what is remembered is kept if it ends well.

        resets  as in ``CollectorSpool.accept``
        """
        before = self._shards.poll_state()
        old = self._decoded(before)
        context.state = dict(old.state)
        # A poll after that one accepted something and didn't end well: what the streams have is newer than this.
        context.full = context.full or self._shards.state.polled_ns > old.polled_ns
        token = POLL.set(context)
        try:
            yield
        except PutOff as error:
            self._keep(
                replace(old, not_before_ns=time.time_ns() + int(error.until_s * 1e9), why=str(error)), before, resets
            )
            raise
        finally:
            POLL.reset(token)
        # A source that remembers nothing has nothing to compare: of its polls nothing is written.
        polled_ns = self._shards.state.polled_ns if context.state else 0
        self._keep(_Kept(context.state, polled_ns=polled_ns), before, resets)

    def _decoded(self, data: bytes) -> _Kept:
        try:
            return msgspec.json.decode(data, type=_Kept) if data else _Kept()
        except msgspec.DecodeError as error:
            name = self._shards.collector
            log.warning("what sources remembered can't be read: they ask anew collector=%s cause=%s", name, error)
            return _Kept()

    def _keep(self, kept: _Kept, before: bytes, resets: int) -> None:
        self._not_before_ns, self.why = kept.not_before_ns, kept.why
        data = msgspec.json.encode(kept)
        if data != (before or msgspec.json.encode(_Kept())):
            self._shards.keep_poll_state(data, resets=resets)


class _Kept(msgspec.Struct, frozen=True):
    """The file: of a poll that was put off the state is the one before.

    why        there is a ``not_before_ns``
    polled_ns  of ``CollectorState``, as it was when the poll ended that left ``state``
    """

    state: dict[str, Any] = {}
    not_before_ns: int = 0
    polled_ns: int = 0
    why: str = ""
