"""Streams used on their own, by a script: STORE in the folder it runs in, opened when first needed.

A frame is accepted as a batch, as the daemon does it, and delivered from there. So it is safe once ``stream`` or
``start``'s thread has taken it, it is loaded once, and what couldn't be delivered is found by the next run.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final, Protocol

import pyarrow as pa

from api2db import settings
from api2db.errors import ConfigError, StoreError, StoreFullError
from api2db.layout import Layout, StoreLock, check_name
from api2db.retry import RetryPolicy
from api2db.runtime.assembly import Kept, delivery_to, directories_of, opened, place_of, settle
from api2db.runtime.delivery import Delivery, State
from api2db.runtime.replacement import ReplacingDelivery
from api2db.shard import Header
from api2db.sinks.base import Renewing, Target
from api2db.spool.collector import CollectorSpool
from api2db.upgrade import take_over

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S: Final = 20.0
_AGAIN_S: Final = 0.5  # until STORE is asked again that had no room, or an error


class Listener(Protocol):
    """A started stream."""

    def begin_close(self) -> None:
        """Take nothing more than what is there already."""

    def end_close(self, deadline: float) -> bool:
        """Wait until that is accepted, and until ``deadline`` (monotonic) for its delivery. True if all ended."""


class Post:
    """One stream's way into STORE and from there to its place. Any thread."""

    def __init__(
        self,
        shards: CollectorSpool,
        directory: str,
        kept: Kept,
        target: Target,
        owner: object,
        listeners: list[Listener],
    ) -> None:
        self._shards = shards
        self._directory = directory
        self._kept = kept
        self._owner = owner
        self._listeners = listeners
        self._stepping = threading.Lock()
        self._accepting = threading.Lock()
        self._news = threading.Event()
        self._pause = threading.Event()  # never set: nobody calls off a script's own call
        self._started: object = None
        self._delivery: Delivery = _delivery(target, directory, shards, kept)

    def belong_to(self, owner: object, target: Target) -> None:
        """From now on deliver as this stream object says, where another one had the same place before.

        Raises ConfigError while that one is started.
        """
        if owner is self._owner:
            return
        if self._started is not None:
            raise ConfigError(
                f"stream {self._delivery.name}: another stream object of this program delivers to the same place;"
                " close that one first, or use it"
            )
        with self._stepping, self._accepting:
            self._delivery = _delivery(target, self._directory, self._shards, self._kept)
            self._owner = owner

    def accept(self, table: pa.Table) -> int | None:
        """Make the rows safe; their ``created_ns``. None for no rows. Raises StoreFullError or StoreError."""
        if not table.num_rows:
            return None
        with self._accepting:
            stream = (self._delivery.stream,)
            batch = self._shards.accept(table, None, streams=stream)
            header = Header(batch.batch_id, self._shards.collector, batch.created_ns, table.num_rows, None, stream)
            self._kept.journal.accepted(header)
            self._delivery.notify(batch)
        self._news.set()
        return batch.created_ns

    def accept_making_room(self, table: pa.Table) -> int | None:
        """The same; where STORE is full, what waits is delivered first."""
        try:
            return self.accept(table)
        except StoreFullError:
            self.deliver_again()
            return self.accept(table)

    def deliver(self, created_ns: int, retries: int) -> bool:
        """Deliver what waits, oldest first, until this batch is in. False if it isn't after so many retries: then it
        is in STORE/upload_failed (one that replaces: in STORE/queue), and tried again by whoever uses the stream next.
        """
        with self._stepping:
            delivery, failures = self._delivery, 0
            delivery.begin_again(RetryPolicy(retries))
            delivery.at_once = True
            try:
                while delivery.holds(created_ns) and failures <= retries and delivery.state is not State.STOPPED:
                    self._pause.wait(delivery.due_in_s() or 0.0)
                    delivery.step()
                    failures += delivery.state is not State.OK
                if delivery.holds(created_ns):
                    while delivery.park_oldest():
                        continue
                    return False
                self._go_on()
                return True
            finally:
                delivery.retry, delivery.at_once = RetryPolicy(), False

    @property
    def cause(self) -> str:
        """Why the last load failed."""
        return self._delivery.cause

    @property
    def kept_in(self) -> Path:
        """Where what failed is."""
        layout, collector = self._kept.spool.layout, self._shards.collector
        place = layout.queue if isinstance(self._delivery, ReplacingDelivery) else layout.failed
        return place(collector, self._directory)

    @property
    def holds_anything(self) -> bool:
        return any(self._delivery.backlog)

    def deliver_again(self) -> None:
        """Try what failed and what waits once more, until nothing is left or something fails."""
        with self._stepping:
            self._delivery.begin_again(RetryPolicy())
            self._go_on()

    def _go_on(self) -> None:
        while self._delivery.due_in_s() == 0.0:
            self._delivery.step()

    def begin(self, listener: Listener) -> None:
        """A stream object is started: until ``end`` no other has this post; at the program's end it is closed."""
        self._started = listener
        if listener not in self._listeners:
            self._listeners.append(listener)

    def end(self) -> None:
        self._started = None

    def keep_delivering(self, stop: threading.Event) -> None:
        """Deliver what is accepted, as it comes, until ``stop`` is set and the step under way has ended."""
        while not stop.is_set():
            self._news.clear()
            due_in_s = self._delivery.due_in_s()
            if due_in_s == 0.0:
                with self._stepping:
                    self._delivery.step()
            else:
                self._news.wait(due_in_s)
        with self._stepping:
            self._go_on()

    def wake(self) -> None:
        self._news.set()

    def accept_surely(self, table: pa.Table, give_up: Callable[[], bool]) -> bool:
        """Accept, however long STORE has no room or an error. False if told to give up meanwhile."""
        failures = 0
        while True:
            try:
                self.accept(table)
                return True
            except StoreError as error:
                failures += 1
                if failures & (failures - 1) == 0:
                    log.warning("not accepted, trying again stream=%s cause=%s", self._delivery.name, error)
                if give_up():
                    return False
                self._pause.wait(_AGAIN_S)


def _delivery(target: Target, directory: str, shards: CollectorSpool, kept: Kept) -> Delivery:
    """Once stopped, it goes in with what is in AUTH/ now."""
    if not isinstance(target, Renewing):
        return delivery_to(target, directory, shards, kept)
    renewed = target.renewed
    return delivery_to(target, directory, shards, kept, lambda: [renewed()])


class Alone:
    """One STORE as the streams of this process use it. It is theirs until the process ends."""

    _opened: ClassVar[dict[Path, Alone]] = {}
    _opening: ClassVar = threading.Lock()
    _inherited: ClassVar[list[dict[Path, Alone]]] = []

    @classmethod
    def post_of(cls, name: str, target: Target, owner: object) -> Post:
        """The way of a collector's stream, as the stream object ``owner`` wants it.

        Raises StoreLockedError while a daemon, or another script, uses STORE.
        """
        project = Path.cwd()
        with cls._opening:
            if project not in cls._opened:
                cls._opened[project] = cls(project)
            return cls._opened[project]._post(check_name(name), target, owner)

    @classmethod
    def forget_in_child(cls) -> None:
        """After a fork STORE is still the parent's. Its connections are kept, untouched: to close them would end
        the parent's sessions."""
        cls._inherited.append(cls._opened)
        cls._opened, cls._opening = {}, threading.Lock()

    def __init__(self, project: Path) -> None:
        given = settings.load(project)
        layout = Layout(given.store)
        layout.prepare()
        self._lock = StoreLock(layout)
        try:
            take_over(layout)
            self._kept = opened(given, layout)
        except BaseException:
            self._lock.close()
            raise
        self._shards: dict[str, CollectorSpool] = {}
        self._places: dict[str, list[tuple[str, str]]] = {}
        self._posts: dict[tuple[str, str, str], Post] = {}
        self._listeners: list[Listener] = []
        self._pid = os.getpid()
        atexit.register(self._close)

    def _post(self, name: str, target: Target, owner: object) -> Post:
        place = place_of(target, self._kept)
        if (name, *place) not in self._posts:
            shards = self._shards.get(name) or CollectorSpool(self._kept.spool, name)
            places = [*self._places.get(name, []), place]
            directory = directories_of(shards, places)[-1]
            shards.add_stream(directory)
            self._posts[(name, *place)] = Post(shards, directory, self._kept, target, owner, self._listeners)
            self._shards[name], self._places[name] = shards, places
        post = self._posts[(name, *place)]
        post.belong_to(owner, target)
        return post

    def _close(self) -> None:
        if os.getpid() != self._pid:
            return
        for listener in self._listeners:
            listener.begin_close()
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        # All of them, however long accepting takes: what is on a queue is nowhere else.
        ended = [listener.end_close(deadline) for listener in self._listeners]
        if not all(ended):
            return  # a place doesn't answer: the process ends with its thread, and STORE is free then
        for shards in self._shards.values():
            settle(shards)
        self._kept.engines.close()
        self._kept.journal.close()
        self._lock.close()


os.register_at_fork(after_in_child=Alone.forget_in_child)
