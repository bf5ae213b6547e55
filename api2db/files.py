"""Files that appear whole or not at all, and names that only grow."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from api2db.failpoint import change


def fsync_dir(path: Path) -> None:
    """Flush a directory's entries (names created, renamed, removed in it) to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        change(path)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durable(path: Path, data: bytes | memoryview, *, flush: bool = True, mode: int = 0o666) -> None:
    """Write a new file and flush its bytes; its name isn't durable until its directory is flushed too.

    Raises OSError (ENOSPC included) with nothing left behind under ``path``, unless not even that can be removed.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            change(path)
            rest = rest[os.write(fd, rest) :]
        if flush:
            change(path)
            os.fsync(fd)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):  # what went wrong first is what counts
            path.unlink(missing_ok=True)
        raise
    os.close(fd)


def write_atomic(path: Path, data: bytes | memoryview, *, flush: bool = True, mode: int = 0o666) -> None:
    """Put a whole file at ``path``, replacing what was there: readers see the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_durable(temporary, data, flush=flush, mode=mode)
    os.replace(temporary, path)
    if flush:
        fsync_dir(path.parent)


def make_dir(path: Path, *, flush: bool = True) -> None:
    """Create a directory and its parents, durably: each new name is flushed in its own parent."""
    missing = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        if flush:
            fsync_dir(directory.parent)


class IncreasingNanoseconds:
    """Wall-clock nanoseconds since 1970 UTC that are unique and never go back, from any thread.

    When the clock steps back, values go on one by one from the high-water mark, so names keep their order.
    """

    def __init__(self, high_water_ns: int = 0) -> None:
        self._last = high_water_ns
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._last = max(time.time_ns(), self._last + 1)
            return self._last

    def raise_to(self, high_water_ns: int) -> None:
        """Never give out ``high_water_ns`` or less again."""
        with self._lock:
            self._last = max(self._last, high_water_ns)


def identity(path: str | Path) -> tuple[int, int] | None:
    """Of the file that is at this path now: device and inode; None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
