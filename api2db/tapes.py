"""STORE/tape: what sources answered, a file a poll, kept for a time for whoever shapes it anew.

No promise depends on a tape. It gives way, oldest first, before collecting pauses for want of space.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from api2db.files import make_dir
from api2db.usage import Usage

log = logging.getLogger(__name__)

SUFFIX = ".tape"
_BLOCK = 4096  # of the disk: a small file takes one, too
_MOST = 100_000  # polls of a collector: a directory stays quick to list


class Tapes:
    """The tapes of all collectors. Any thread.

    root       STORE/tape
    max_bytes  of one collector, on disk, in whole blocks; a single tape isn't longer either
    """

    def __init__(self, root: Path, usage: Usage, *, max_bytes: int) -> None:
        self._root = root
        self._usage = usage
        self.max_bytes = max_bytes
        self._keep_s: dict[str, float] = {}
        self._sizes: dict[str, dict[int, int]] = {}  # collector -> started_ns -> bytes on disk, in any order
        self._failures: dict[str, int] = {}
        self._lock = threading.Lock()
        usage.tapes_give_way = self.give_way

    def path(self, collector: str, started_ns: int) -> Path:
        return self._root / collector / f"{started_ns}{SUFFIX}"

    def set_keep(self, collector: str, keep_s: float) -> None:
        """How long this collector's are kept."""
        with self._lock:
            self._keep_s[collector] = keep_s

    def recover(self) -> None:
        """Count what is there."""
        for folder in _folders(self._root):
            for path in folder.glob(f"*{SUFFIX}"):
                self._count(folder.name, path)

    def polls(self, collector: str) -> list[int]:
        """``started_ns`` of those on tape, oldest first."""
        with self._lock:
            return sorted(self._sizes.get(collector, {}))

    def bytes(self, collector: str) -> int:
        """On disk, of one collector."""
        with self._lock:
            return sum(self._sizes.get(collector, {}).values())

    def ready(self, collector: str) -> Callable[[str], None] | None:
        """Before a poll. None where it can't be taped now, which is said; else what is told where taping fails."""
        lacking = self._usage.lacking()
        if lacking and not self.give_way(lacking):
            self.failed(collector, f"{lacking:,} bytes too few are free on the disk (min_free_bytes)")
            return None
        try:
            make_dir(self._root / collector, flush=False)
        except OSError as error:
            self.failed(collector, str(error.strerror))
            return None
        return lambda cause: self.failed(collector, cause)

    def failed(self, collector: str, cause: str) -> None:
        """A poll is not on tape, and went on. Said the first time, then ever more rarely."""
        with self._lock:
            count = self._failures[collector] = self._failures.get(collector, 0) + 1
        if count & (count - 1) == 0:
            log.warning("polls aren't taped, they go on collector=%s polls=%d cause=%s", collector, count, cause)

    def filed(self, collector: str, started_ns: int) -> None:
        """A poll has ended; it may have asked for nothing, and left no tape."""
        if self._count(collector, self.path(collector, started_ns)):
            with self._lock:
                self._failures.pop(collector, None)
        self.prune(collector)

    def prune(self, collector: str | None = None, now_ns: int | None = None, others_s: float | None = None) -> None:
        """Remove what is past its time or beyond the size; ``others_s`` is the time of those no collector keeps now."""
        now_ns = time.time_ns() if now_ns is None else now_ns
        for name in [collector] if collector is not None else list(self._sizes):
            with self._lock:
                sizes = dict(sorted(self._sizes.get(name, {}).items()))
                keep_s = self._keep_s.get(name, others_s)
            cutoff_ns = 0 if keep_s is None else now_ns - int(keep_s * 1e9)
            total, count = sum(sizes.values()), len(sizes)
            for started_ns, size in sizes.items():
                if started_ns >= cutoff_ns and total <= self.max_bytes and count <= _MOST:
                    break
                if self._remove(name, started_ns):
                    total, count = total - size, count - 1

    def give_way(self, size: int) -> bool:
        """Free so many bytes, as far as there are that many, oldest first. Whether any were freed."""
        with self._lock:
            oldest = sorted((ns, name, taken) for name, sizes in self._sizes.items() for ns, taken in sizes.items())
        freed = 0
        for started_ns, name, taken in oldest:
            if freed >= size:
                break
            freed += taken if self._remove(name, started_ns) else 0
        if freed:
            log.warning("room is short, tapes gave way freed_bytes=%d", freed)
        return freed > 0

    def _count(self, collector: str, path: Path) -> bool:
        if not path.stem.isdigit():
            return False  # someone else's
        try:
            size = -(-path.stat().st_size // _BLOCK) * _BLOCK
        except FileNotFoundError:
            return False
        with self._lock:
            sizes = self._sizes.setdefault(collector, {})
            before = sizes.get(int(path.stem), 0)
            sizes[int(path.stem)] = size
        self._usage.add_taped(size - before)
        return True

    def _remove(self, collector: str, started_ns: int) -> bool:
        try:
            self.path(collector, started_ns).unlink(missing_ok=True)
        except OSError as error:
            self.failed(collector, f"an old tape can't be removed: {error.strerror}")
            return False
        with self._lock:
            size = self._sizes[collector].pop(started_ns, 0)
        self._usage.add_taped(-size)
        return True


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir())
    except FileNotFoundError:
        return []


def taped(root: Path, collector: str) -> tuple[int, int]:
    """How many polls of a collector are on tape, and their bytes; also beside a daemon that tapes."""
    polls = size = 0
    try:
        with os.scandir(root / collector) as found:
            for entry in found:
                if entry.name.endswith(SUFFIX):
                    with contextlib.suppress(FileNotFoundError):  # too old just now
                        size += entry.stat().st_size
                        polls += 1
    except FileNotFoundError:
        return 0, 0
    return polls, size
