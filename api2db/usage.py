"""How much disk STORE's shards use, and how much they may."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path


def _gives_nothing(size: int) -> bool:
    return False


class Usage:
    """Bytes of shards on disk and the limits on them. Safe to use from any thread."""

    def __init__(self, root: Path, *, max_collector_bytes: int, max_store_bytes: int, min_free_bytes: int) -> None:
        self._root = root
        self._max_collector = max_collector_bytes
        self._max_store = max_store_bytes
        self._min_free = min_free_bytes
        self._lock = threading.Lock()
        self._bytes: dict[str, int] = {}
        # Asked before collecting pauses for want of space: frees so many bytes if it can. Set by ``Spool``.
        self.give_way: Callable[[int], bool] = _gives_nothing
        # Likewise, and asked before that one. Set by ``Tapes``.
        self.tapes_give_way: Callable[[int], bool] = _gives_nothing
        self._taped = 0

    def add(self, collector: str, size: int) -> None:
        with self._lock:
            self._bytes[collector] = max(0, self._bytes.get(collector, 0) + size)

    def add_taped(self, size: int) -> None:
        """Bytes of tapes: they count to what all of STORE may hold, and give way."""
        with self._lock:
            self._taped = max(0, self._taped + size)

    def of(self, collector: str) -> int:
        with self._lock:
            return self._bytes.get(collector, 0)

    def total(self) -> int:
        """Of all collectors."""
        with self._lock:
            return sum(self._bytes.values())

    def refusal(self, collector: str, size: int = 0) -> str | None:
        """Why ``size`` more bytes of this collector can't be taken now; None if they can."""
        with self._lock:
            mine, total, taped = self._bytes.get(collector, 0), sum(self._bytes.values()), self._taped
        if mine + size > self._max_collector:
            return f"its backlog of {mine:,} bytes is at the limit (max_collector_bytes = {self._max_collector:,})"
        if total + size > self._max_store:
            return f"all collectors' backlog of {total:,} bytes is at the limit (max_store_bytes = {self._max_store:,})"
        if taped and total + taped + size > self._max_store:
            self.tapes_give_way(total + taped + size - self._max_store)
        lacking = self.lacking(size)
        for give_way in (self.tapes_give_way, self.give_way):
            if lacking and give_way(lacking):
                lacking = self.lacking(size)
        if lacking:
            free = self._free()
            return f"only {free:,} bytes are free on the disk of {self._root} (min_free_bytes = {self._min_free:,})"
        return None

    def lacking(self, size: int = 0) -> int:
        """How many bytes too few are free on the disk for ``size`` more; 0 if there are enough."""
        return max(0, self._min_free + size - self._free())

    def _free(self) -> int:
        disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize
