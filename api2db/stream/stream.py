"""What all streams have in common."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from api2db.errors import Api2dbError, ConfigError, ShapeError
from api2db.form.tables import from_frame
from api2db.secret import redact
from api2db.sinks.base import Placement, Sink
from api2db.stream.file_converter import FileConverter
from api2db.stream.overridden import AsItIs, Overridden, hand_over, is_overridden

if TYPE_CHECKING:
    from api2db.stream.alone import Post

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 20.0
_IDLE_S = 3600.0


class Inbox(queue.Queue["pd.DataFrame | None"]):
    """A stream's queue. A frame put on it starts the stream where nobody has, so that none waits unheard.

    ``put`` raises what ``Stream.start`` does, with the frame not taken.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        super().__init__()
        self._start = start

    def put(self, item: pd.DataFrame | None, block: bool = True, timeout: float | None = None) -> None:
        if item is not None:
            self._start()
        super().put(item, block, timeout)


class Stream(FileConverter):
    """One collector's delivery to one place; subclassed for each kind of place.

    A daemon asks it for ``target`` and ``sink`` and does the rest. A script uses it by itself: ``stream(frame)``
    delivers at once; after ``start()`` a thread delivers what is put on ``q``. Either way a frame is first accepted
    in STORE, in the folder the script runs in, and loaded from there, once; see docs/streams.md.

    name         the collector's name
    path         where files go; what it means is the subclass's
    dtypes       column -> pandas dtype, or None
    fmt          format of files
    chunk_size   rows sent to the place at a time; 0 leaves it to the stream
    stream_type  names the stream's folders in STORE
    store        True when a store uses the stream

    q      frames to deliver, from any thread; the first one starts the stream if nobody has
    lock   held while a started stream lives, free once it has died
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        dtypes: Mapping[str, object] | None = None,
        fmt: str | None = None,
        chunk_size: int = 0,
        stream_type: str = "stream",
        store: bool = False,
    ) -> None:
        super().__init__(name, dtypes, path, fmt)
        self.chunk_size = chunk_size
        self.stream_type = stream_type
        self.is_store_instance = store
        self.lock = threading.Lock()
        self.q: queue.Queue[pd.DataFrame | None] = Inbox(self._start_by_itself)
        self._stop = threading.Event()
        self._taken = threading.Event()  # nothing is on ``q`` that isn't accepted, since it was closed
        self._deadline = math.inf
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._by_itself = False

    @property
    def has_place(self) -> bool:
        """Whether its class knows where data goes. One that has only its own ``stream(data)`` doesn't."""
        return type(self).target is not Stream.target

    def target(self, project: Path, store: Path) -> str:
        """The place's identity, without credentials."""
        raise AttributeError(f"{type(self).__name__} has no place of its own: use a subclass such as Stream2Sql")

    def sink(self, placement: Placement) -> Sink:
        """The sink that loads this stream's batches."""
        raise AttributeError(f"{type(self).__name__} can't load: use a subclass such as Stream2Sql")

    def stream(self, data: pd.DataFrame) -> None:
        """Deliver a frame; what that means is the subclass's. A plain Stream has no place to send data to."""
        raise AttributeError(f"{type(self).__name__} {self.name} can't stream data: use a subclass such as Stream2Sql")

    def start(self) -> None:
        """Deliver what is put on ``q``, and what waits in STORE, in a thread of its own; once, however often called.

        What is still on ``q`` when the program ends is accepted then (lost, and said so, only where STORE has no room
        or an error for 20 s), and delivered by whoever uses the stream next if its place can't be reached.

        Raises StoreLockedError while a daemon or another script uses the same STORE, AttributeError for a stream
        that a store uses.
        """
        post = self._listening_post()
        if not self._begin(post):
            return
        self._thread = threading.Thread(target=self._live, args=(post,), name=f"stream-{self.name}", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._end(post)
            raise

    def stream_start(self) -> None:
        """As ``start``, in the calling thread: returns after ``close``."""
        post = self._listening_post()
        if not self._begin(post):
            if self._by_itself and self._thread is not None:
                self._thread.join()  # a frame on ``q`` was quicker
                return
            raise ConfigError(f"stream {self.name}/{self.stream_type} is started already: once is enough")
        self._live(post)

    def _start_by_itself(self) -> None:
        if not self.lock.locked() or self._pid != os.getpid():
            self.start()
            self._by_itself = True

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """End a started stream: what is on ``q`` is accepted, and delivered as far as its place can be reached.

        False if its place doesn't answer for so long; what was accepted is safe all the same. It may be started again.
        """
        self.begin_close()
        return self.end_close(time.monotonic() + timeout_s)

    def begin_close(self) -> None:
        """Take nothing more than what is on ``q`` already."""
        self._stop.set()
        self.q.put(None)  # so that it looks

    def end_close(self, deadline: float) -> bool:
        """Wait until ``q`` is accepted, and until ``deadline`` (monotonic) for delivery. True once the stream ended."""
        self._deadline = deadline
        while self.lock.locked() and (not self._taken.is_set() or time.monotonic() < deadline):
            threading.Event().wait(0.01)
        return not self.lock.locked()

    def check_failures(self) -> None:
        """Try again what waits in STORE/upload_failed/<name>/<stream_type>/, oldest first, until one fails.

        Each is removed once it is in. What fails is logged, and stays.
        """
        self._listening_post().deliver_again()

    def _listening_post(self) -> Post:
        if self.is_store_instance:
            raise AttributeError(f"stream {self.name}/{self.stream_type} is a store's: it delivers by itself")
        from api2db.stream.alone import Alone

        assert self.name is not None
        if not is_overridden(self):
            return Alone.post_of(self.name, self, self)
        if self.has_place and (own := self._own_post()).holds_anything:
            own.deliver_again()  # what its ``stream`` handed on, and couldn't be delivered then
        return Alone.post_of(self.name, Overridden(self), self)

    def _own_post(self) -> Post:
        """For a frame that goes to the place as it is, also where a class of one's own would change it."""
        from api2db.stream.alone import Alone

        assert self.name is not None
        return Alone.post_of(self.name, AsItIs(self) if is_overridden(self) else self, self)

    def _begin(self, post: Post) -> bool:
        """Whether the stream is this caller's to run: nobody else does."""
        if self._pid != os.getpid():
            self.lock = threading.Lock()  # whoever held it lives in the parent
            self._pid = os.getpid()
        if not self.lock.acquire(blocking=False):
            return False
        self._stop.clear()
        self._taken.clear()
        self._deadline = math.inf
        post.begin(self)
        return True

    def _end(self, post: Post) -> None:
        self._taken.set()
        post.end()
        self.lock.release()

    def _live(self, post: Post) -> None:
        """Accept what is put on ``q``, while another thread delivers: a place that is down holds up nothing here."""
        delivered = threading.Event()
        deliverer = threading.Thread(
            target=post.keep_delivering, args=(delivered,), name=f"deliver-{self.name}", daemon=True
        )
        try:
            deliverer.start()
            self._accept_all(post)
        except Exception:
            log.exception("stream died stream=%s/%s", self.name, self.stream_type)
        finally:
            self._taken.set()
            delivered.set()
            post.wake()
            if deliverer.ident is not None:
                deliverer.join()
            self._end(post)

    def _accept_all(self, post: Post) -> None:
        while True:
            stopping = self._stop.is_set()
            table = self._take(0.0 if stopping else _IDLE_S)
            if table is None:
                if stopping:
                    return
                continue
            if not post.accept_surely(table, lambda: time.monotonic() > self._deadline):
                lost = 1 + sum(each is not None for each in list(self.q.queue))
                log.error(
                    "frames lost, STORE doesn't take them: make room and send them again stream=%s/%s frames=%d",
                    self.name, self.stream_type, lost,
                )  # fmt: skip
                return

    def _take(self, wait_s: float) -> pa.Table | None:
        """The next frame of ``q`` that can be one, as a table; None if there is none in time, or at the end."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                data = self.q.get(timeout=max(0.0, deadline - time.monotonic())) if wait_s else self.q.get_nowait()
            except queue.Empty:
                return None
            if data is None:
                if self._stop.is_set() and wait_s:
                    return None
                continue
            try:
                return self._table(data)
            except Api2dbError as error:
                log.error(
                    "not a frame, left out stream=%s/%s cause=%s", self.name, self.stream_type, redact(str(error))
                )

    def _load_at_once(self, data: pd.DataFrame, retry_depth: int) -> bool | None:
        """Accept a frame, and deliver it: whether it is in its place; None where a delivery under way took it.

        Where it isn't, after so many retries, the reason is logged and the rows stay in ``STORE/upload_failed``.
        Raises StoreFullError or StoreError if the frame can't be accepted, ShapeError for one that no table can be
        made of, StoreLockedError while a daemon uses the same STORE.
        """
        if hand_over(self, data):
            return None
        retries = max(0, int(retry_depth))
        post = self._own_post()
        created_ns = post.accept_making_room(self._table(data))
        if created_ns is None:
            return None
        loaded = post.deliver(created_ns, retries)
        if not loaded:
            log.error("not loaded, kept in %s to be tried again cause=%s", post.kept_in, post.cause)
        return loaded

    def _table(self, data: pd.DataFrame) -> pa.Table:
        """Raises ShapeError for what isn't a frame, or one that no table can be made of."""
        if not isinstance(data, pd.DataFrame):
            raise ShapeError(f"stream {self.name}/{self.stream_type}: data is a DataFrame, not {type(data).__name__}")
        return from_frame(data).table
