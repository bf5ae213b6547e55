"""Tables accepted a moment ago, kept for the streams about to load them. A backlog is read back from its shards."""

from __future__ import annotations

import threading
from collections import OrderedDict

from api2db.batch import Batch

RECENT_BYTES = 16 * 2**20


class Recent:
    """Tables accepted a moment ago, within a number of bytes; the oldest go first. Any thread."""

    def __init__(self, max_bytes: int = RECENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        self._batches: OrderedDict[int, Batch] = OrderedDict()

    def put(self, batch: Batch) -> None:
        size = batch.table.nbytes
        if size > self._max_bytes:
            return
        with self._lock:
            self._batches[batch.created_ns] = batch
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= self._batches.popitem(last=False)[1].table.nbytes

    def get(self, created_ns: int) -> Batch | None:
        with self._lock:
            return self._batches.get(created_ns)

    def drop(self, created_ns: int) -> None:
        with self._lock:
            batch = self._batches.pop(created_ns, None)
            if batch is not None:
                self._bytes -= batch.table.nbytes
