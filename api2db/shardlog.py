"""STORE/log: delivered shards, kept for a time, for whoever needs them again.

A name in the log is one more hard link, made when a batch is accepted. It costs no space while the batch waits for
a stream, and isn't flushed: no promise depends on it, so a power cut may take the newest. Oldest go first, past their
time or beyond the limits; one that still waits for a stream is never pruned.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

MAX_SHARDS = 100_000  # in all: directories stay quick to list, and a start to count them
_LOOKED_AT = 500  # names in one step of pruning: a millisecond or two of the daemon's loop
_REMOVED = 50  # while others wait for the lock


class ShardLog:
    """The log of all collectors. Safe to use from any thread.

    root       STORE/log
    keep_s     how long after its delivery a shard is kept, where its collector doesn't say
    max_bytes  of shards that wait for nobody; those that wait are counted as backlog
    """

    def __init__(self, root: Path, *, keep_s: float = 0.0, max_bytes: int = 0, max_shards: int = MAX_SHARDS) -> None:
        self._root = root
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._max_shards = max_shards
        self._own_keep_s: dict[str, float] = {}
        self._names: dict[str, array[int]] = {}  # collector -> created_ns of what is there, oldest first
        self._at: dict[str, int] = {}  # where pruning goes on: what is before waits for a stream, or was delivered late
        self._bytes = 0
        self._count = 0
        self._failures = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        with self._lock:
            return self._bytes

    def __len__(self) -> int:
        with self._lock:
            return self._count

    def set_keep(self, collector: str, keep_s: float | None) -> bool:
        """How long this collector's are kept, None for as long as any; whether new ones are kept at all."""
        with self._lock:
            self._own_keep_s.pop(collector, None)
            if keep_s is not None:
                self._own_keep_s[collector] = keep_s
            return self._kept_s(collector) > 0 and self._max_bytes > 0

    def recover(self) -> int:
        """Count what is there. The newest name, 0 if there is none."""
        newest = size = 0
        names: dict[str, array[int]] = {}
        for folder in _folders(self._root):
            found = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    created_ns = name_ns(entry.name)
                    if created_ns is None:
                        continue
                    found.append(created_ns)
                    about = entry.stat(follow_symlinks=False)
                    size += about.st_size if about.st_nlink == 1 else 0
            names[folder.name] = array("q", sorted(found))
            newest = max(newest, max(found, default=0))
        with self._lock:
            self._names, self._at = names, {}
            self._bytes, self._count = size, sum(map(len, names.values()))
        return newest

    def path(self, collector: str, created_ns: int) -> Path:
        return self._root / collector / f"{created_ns}.parquet"

    def has(self, collector: str, created_ns: int) -> bool:
        return self.path(collector, created_ns).exists()

    def shards(self, collector: str) -> list[int]:
        """``created_ns`` of what is kept, oldest first."""
        with self._lock:
            return list(self._names.get(collector, ()))

    def collectors(self) -> list[str]:
        with self._lock:
            return sorted(name for name, shards in self._names.items() if shards)

    def add(self, collector: str, shard: Path) -> None:
        """One more name for a shard, which waits for its streams. Where that fails it isn't kept; it is said."""
        created_ns = name_ns(shard.name)
        assert created_ns is not None
        target = self.path(collector, created_ns)
        try:
            try:
                os.link(shard, target)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(shard, target)
        except FileExistsError:
            return
        except OSError as error:
            self._failures += 1
            if self._failures & (self._failures - 1) == 0:  # the first, then ever more rarely
                log.warning("delivered shards aren't kept collector=%s cause=%s", collector, error.strerror)
            return
        with self._lock:
            insort(self._names.setdefault(collector, array("q")), created_ns)
            self._count += 1

    def delivered(self, size: int) -> None:
        """The last stream has dropped a shard that is kept: from now on its bytes are the log's."""
        with self._lock:
            self._bytes += size

    def lend(self, collector: str, created_ns: int, target: Path) -> int | None:
        """Link a kept shard to ``target``, where it waits again. Its bytes if they were the log's, else 0; None if it
        isn't kept any more.

        Raises OSError, FileExistsError if it waits there already.
        """
        source = self.path(collector, created_ns)
        with self._lock:  # pruning looks at the number of names, then removes one
            try:
                about = source.stat()
                os.link(source, target)
            except FileNotFoundError:
                return None
            if about.st_nlink > 1:
                return 0
            self._bytes -= about.st_size
            return about.st_size

    def prune(self, now_ns: int | None = None) -> int:
        """One small step: remove what is past its time or beyond the limits. How many names were looked at."""
        now_ns = time.time_ns() if now_ns is None else now_ns
        looked = 0
        for collector in list(self._names):
            with self._lock:
                cutoff_ns = now_ns - int(self._kept_s(collector) * 1e9)
            looked += self._prune_old(collector, cutoff_ns, _LOOKED_AT - looked)
        for _ in range(_LOOKED_AT // _REMOVED):
            if not self._drop_oldest(self._max_bytes, self._max_shards):
                break
        return looked

    def give_way(self, size: int) -> bool:
        """Free so many bytes, as far as there are that many, oldest first. Whether any were freed."""
        before = self.bytes
        while self._drop_oldest(before - size, None):
            continue
        freed = before - self.bytes
        if freed:
            log.warning("disk is short, the log gave way freed_bytes=%d", freed)
        return freed > 0

    def _kept_s(self, collector: str) -> float:
        return self._own_keep_s.get(collector, self._keep_s)

    def _prune_old(self, collector: str, cutoff_ns: int, limit: int) -> int:
        """Remove those delivered before the cutoff among the next names accepted before it."""
        with self._lock:
            names = self._names[collector]
            first = self._at.get(collector, 0)
            end = bisect_left(names, cutoff_ns)
            part = names[first : min(first + limit, end)]
            kept = array("q", (ns for ns in part if not self._remove(collector, ns, cutoff_ns)))
            names[first : first + len(part)] = kept
            # At its end from the beginning again, however many come behind: what waited may be delivered now.
            self._at[collector] = first + len(kept) if first + len(part) < end else 0
            return len(part)

    def _drop_oldest(self, to_bytes: int, to_shards: int | None) -> int:
        """Remove the oldest, a few at most, until no more than that is left. How many were removed.

        Those in front of which it is known that they wait for a stream are passed over.
        """
        removed = 0
        with self._lock:
            while removed < _REMOVED and self._bytes > 0:
                if self._bytes <= to_bytes and (to_shards is None or self._count <= to_shards):
                    break
                heads = [(names[at], name) for name, names in self._names.items()
                         if (at := self._at.get(name, 0)) < len(names)]  # fmt: skip
                if not heads:
                    self._at.clear()  # what waited may be delivered now: the next step sees
                    break
                created_ns, collector = min(heads)
                at = self._at.get(collector, 0)
                if self._remove(collector, created_ns, None):
                    del self._names[collector][at]
                    removed += 1
                else:
                    self._at[collector] = at + 1
        return removed

    def _remove(self, collector: str, created_ns: int, cutoff_ns: int | None) -> bool:
        """Whether the name is gone now. The lock is held."""
        # Text, since this is done for every batch: pathlib takes longer than the file system, and in Python 3.12.1 it
        # keeps each name for good.
        path = f"{self._root}/{collector}/{created_ns}.parquet"
        try:
            about = os.stat(path)
            # The inode's time is when its last other name went: when it was delivered.
            if about.st_nlink > 1 or (cutoff_ns is not None and about.st_ctime_ns > cutoff_ns):
                return False
            os.unlink(path)
        except FileNotFoundError:
            self._count -= 1
            return True
        except OSError as error:
            log.debug("kept shard can't be removed path=%s cause=%s", path, error)
            return False
        self._bytes -= about.st_size
        self._count -= 1
        return True


def name_ns(name: str) -> int | None:
    """``created_ns`` of a shard's file name; None for what isn't one."""
    stem, _, suffix = name.partition(".")
    # Others' files may lie there: ours are named by nanoseconds, which have 19 digits until the year 2286.
    return int(stem) if suffix == "parquet" and stem.isascii() and stem.isdigit() and len(stem) <= 19 else None


def _folders(root: Path) -> Iterable[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(root) if entry.is_dir()]
    except FileNotFoundError:
        return []
