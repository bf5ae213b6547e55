"""Streams used on their own, by a script: STORE in the folder it runs in, opened when first needed.

A frame is accepted as a batch, as the daemon does it, and delivered from there. So it is safe once ``stream`` or
``start``'s thread has taken it, it is loaded once, and what couldn't be delivered is found by the next run.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

import pyarrow as pa

from api2db import settings
from api2db.errors import StoreFullError
from api2db.journal import Journal
from api2db.layout import Layout, StoreLock, check_name
from api2db.retry import RetryPolicy
from api2db.runtime.assembly import Kept, delivery_to, directories_of, place_of
from api2db.runtime.delivery import Delivery, State
from api2db.shard import Header
from api2db.sinks.base import Target
from api2db.sinks.engines import Engines
from api2db.spool import CollectorSpool, Spool
from api2db.usage import Usage

log = logging.getLogger(__name__)

_IDLE_S: Final = 3600.0  # a started stream with nothing to do looks again this often
_FULL_S: Final = 1.0  # until room is looked for again


class Post:
    """One stream's way into STORE and from there to its place. Any thread."""

    def __init__(self, shards: CollectorSpool, delivery: Delivery, kept: Kept) -> None:
        self._shards = shards
        self._delivery = delivery
        self._kept = kept
        self._stepping = threading.Lock()
        self._accepting = threading.Lock()

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
            return batch.created_ns

    def deliver(self, created_ns: int, retries: int) -> bool:
        """Deliver what waits, oldest first, until this batch is in. False if it isn't after so many retries: then it
        is in STORE/upload_failed, and tried again by whoever uses the stream next.
        """
        delivery = self._delivery
        with self._stepping:
            delivery.begin_again(RetryPolicy(retries))
            while delivery.holds(created_ns) and delivery.failures <= retries and delivery.state is not State.STOPPED:
                time.sleep(delivery.due_in_s() or 0.0)
                delivery.step()
            if delivery.holds(created_ns):
                while delivery.park_oldest():
                    continue
                return False
            self._go_on()
            return True

    @property
    def cause(self) -> str:
        """Why the last load failed."""
        return self._delivery.cause

    def deliver_again(self) -> None:
        """Try what failed and what waits once more, until nothing is left or something fails."""
        with self._stepping:
            self._delivery.begin_again(RetryPolicy())
            self._go_on()

    def _go_on(self) -> None:
        while self._delivery.due_in_s() == 0.0:
            self._delivery.step()

    def listen(self, take: Callable[[float], pa.Table | None], stop: threading.Event) -> None:
        """Accept what ``take`` gives (it waits as long as told, None for nothing) and deliver it, until stopped."""
        while not stop.is_set():
            due_in_s = self._delivery.due_in_s()
            table = take(_IDLE_S if due_in_s is None else due_in_s)
            if table is not None:
                self._accept_when_there_is_room(table, stop)
            elif not stop.is_set():
                with self._stepping:
                    self._delivery.step()

    def finish(self, take: Callable[[float], pa.Table | None]) -> None:
        """Accept what is left, and deliver as much as goes without a failure. Raises StoreFullError."""
        while (table := take(0.0)) is not None:
            self.accept(table)
        with self._stepping:
            self._go_on()

    def _accept_when_there_is_room(self, table: pa.Table, stop: threading.Event) -> None:
        told = False
        while True:
            try:
                self.accept(table)
                return
            except StoreFullError as error:
                if stop.is_set():
                    raise
                if not told:
                    told = True
                    log.warning("waiting for room stream=%s cause=%s", self._delivery.name, error)
                stop.wait(_FULL_S)


class Alone:
    """One STORE as the streams of this process use it. It is theirs until the process ends."""

    _opened: ClassVar[dict[Path, Alone]] = {}
    _opening: ClassVar = threading.Lock()

    @classmethod
    def post_of(cls, name: str, target: Target) -> Post:
        """The way of a collector's stream. Raises StoreLockedError while a daemon, or another script, runs here."""
        project = Path.cwd()
        with cls._opening:
            if project not in cls._opened:
                cls._opened[project] = cls(project)
            return cls._opened[project]._post(check_name(name), target)

    def __init__(self, project: Path) -> None:
        given = settings.load(project)
        layout = Layout(given.store)
        layout.prepare()
        self._lock = StoreLock(layout)
        journal = Journal(layout.journal)
        usage = Usage(
            layout.root,
            max_collector_bytes=given.max_collector_bytes,
            max_store_bytes=given.max_store_bytes,
            min_free_bytes=given.min_free_bytes,
        )
        spool = Spool(layout, usage, durable=given.durability == "fsync")
        for header in spool.recover():
            journal.accepted(header)
        self._kept = Kept(given, spool, journal, Engines(given.target_threads))
        self._shards: dict[str, CollectorSpool] = {}
        self._places: dict[str, list[tuple[str, str]]] = {}
        self._posts: dict[tuple[str, str, str], Post] = {}
        atexit.register(self._close)

    def _post(self, name: str, target: Target) -> Post:
        place = place_of(target, self._kept)
        if (name, *place) not in self._posts:
            shards = self._shards.get(name) or CollectorSpool(self._kept.spool, name)
            places = [*self._places.get(name, []), place]
            directory = directories_of(shards, places)[-1]
            shards.add_stream(directory)
            post = Post(shards, delivery_to(target, directory, shards, self._kept), self._kept)
            self._shards[name], self._places[name] = shards, places
            self._posts[(name, *place)] = post
        return self._posts[(name, *place)]

    def _close(self) -> None:
        for shards in self._shards.values():
            shards.settle_older_than(0.0)
        self._kept.engines.close()
        self._kept.journal.close()
        self._lock.close()
