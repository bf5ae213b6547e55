"""How much disk STORE's shards use, and how much they may."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Usage:
    """Bytes of shards on disk and the limits on them. Safe to use from any thread."""

    def __init__(self, root: Path, *, max_collector_bytes: int, max_store_bytes: int, min_free_bytes: int) -> None:
        self._root = root
        self._max_collector = max_collector_bytes
        self._max_store = max_store_bytes
        self._min_free = min_free_bytes
        self._lock = threading.Lock()
        self._bytes: dict[str, int] = {}

    def add(self, collector: str, size: int) -> None:
        with self._lock:
            self._bytes[collector] = max(0, self._bytes.get(collector, 0) + size)

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
            mine, total = self._bytes.get(collector, 0), sum(self._bytes.values())
        if mine + size > self._max_collector:
            return f"its backlog of {mine:,} bytes is at the limit (max_collector_bytes = {self._max_collector:,})"
        if total + size > self._max_store:
            return f"all collectors' backlog of {total:,} bytes is at the limit (max_store_bytes = {self._max_store:,})"
        disk = os.statvfs(self._root)
        free = disk.f_bavail * disk.f_frsize
        if free - size < self._min_free:
            return f"only {free:,} bytes are free on the disk of {self._root} (min_free_bytes = {self._min_free:,})"
        return None
