"""What all streams have in common."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from api2db.errors import Api2dbError, ConfigError, ShapeError
from api2db.form.tables import from_frame
from api2db.secret import redact
from api2db.sinks.base import Placement, Sink
from api2db.stream.file_converter import FileConverter
from api2db.stream.overridden import AsItIs, Overridden, is_overridden

if TYPE_CHECKING:
    from api2db.stream.alone import Post

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 20.0


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

    q      frames for a started stream, from any thread
    lock   held while a started stream lives, free once it has died
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        dtypes: dict[str, object] | None = None,
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
        self.q: queue.Queue[pd.DataFrame | None] = queue.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

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

        What is still on ``q`` when the program ends is accepted then, and delivered by whoever uses the stream next
        if its place can't be reached. Raises StoreLockedError while a daemon or another script uses the same STORE,
        AttributeError for a stream that a store uses.
        """
        post = self._listening_post()
        if not self.lock.acquire(blocking=False):
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._live, args=(post,), name=f"stream-{self.name}", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def stream_start(self) -> None:
        """As ``start``, in the calling thread: returns after ``close``."""
        post = self._listening_post()
        if not self.lock.acquire(blocking=False):
            raise ConfigError(f"stream {self.name}/{self.stream_type} is started already: once is enough")
        self._stop.clear()
        self._live(post)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """End a started stream: what is on ``q`` is accepted, and delivered as far as its place can be reached.

        False if that takes longer; what was accepted is safe all the same. It may be started again.
        """
        self._stop.set()
        self.q.put(None)  # so that it looks
        deadline = time.monotonic() + timeout_s
        while self.lock.locked() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        atexit.unregister(self.close)
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
        return Alone.post_of(self.name, Overridden(self) if is_overridden(self) else self)

    def _own_post(self) -> Post:
        """For a frame that goes to the place as it is, also where a class of one's own would change it."""
        from api2db.stream.alone import Alone

        assert self.name is not None
        return Alone.post_of(self.name, AsItIs(self) if is_overridden(self) else self)

    def _live(self, post: Post) -> None:
        try:
            post.listen(self._take, self._stop)
            post.finish(self._take)
        except Exception:
            log.exception("stream died stream=%s/%s", self.name, self.stream_type)
        finally:
            self.lock.release()

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

    def _table(self, data: pd.DataFrame) -> pa.Table:
        """Raises ShapeError for what isn't a frame, or one that no table can be made of."""
        if not isinstance(data, pd.DataFrame):
            raise ShapeError(f"stream {self.name}/{self.stream_type}: data is a DataFrame, not {type(data).__name__}")
        return from_frame(data).table
