"""Finished files on their way from beside the shards to where people see them: each appears once, whole."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from api2db.errors import BadDataError, FatalError, RetryableError, ShapeError, SinkError
from api2db.failpoint import reach
from api2db.files import fsync_dir, write_durable

READY: Final = ".ready"
LOCK_WAIT_S: Final = 10.0
"""A lock is held for a rename, or for one rewrite of a file that changed under it."""

_FOR_A_PERSON = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR)


def _translated(stream: str, error: OSError) -> RetryableError | FatalError:
    where = error.filename2 or error.filename or "the target"
    if error.errno in _FOR_A_PERSON:
        return FatalError(f"stream {stream}: can't write {where}: {error.strerror}; check the folder and its owner")
    return RetryableError(f"stream {stream}: can't write {where}: {error.strerror}")


@contextmanager
def sink_errors(stream: str) -> Iterator[None]:
    """Every error of the disk and of the formats as one of ours; each names the stream."""
    try:
        yield
    except OSError as error:
        raise _translated(stream, error) from error
    except ShapeError as error:
        raise BadDataError(f"stream {stream}: {error}") from error
    except SinkError as error:
        raise type(error)(f"stream {stream}: {error}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone among all streams, of any process, that rewrite files of a folder; also alone with a compose of it.

    Raises RetryableError if that takes more than ``LOCK_WAIT_S``.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        pause = threading.Event()
        while not _lock(fd):
            if time.monotonic() > deadline:
                raise RetryableError(f"{folder} is locked: it is being composed, or files in it rewritten, just now")
            pause.wait(0.02)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_like(path: Path, data: bytes | memoryview, like: Path, *, durable: bool) -> None:
    """A whole file, with the permissions of another where there is one. Its name isn't durable yet. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_durable(temporary, data, flush=durable)
    if like.exists():
        temporary.chmod(stat.S_IMODE(like.stat().st_mode))
    os.rename(temporary, path)


class Publisher:
    """Puts ready files of one stream to their places.

    On one file system that is a rename. From another the file is moved to ``.<name>.<ns>.<tag>.ready`` beside its place
    first, and is there, and no longer with the shards, before it gets its name. So a file that is ready has not been
    published, and one that isn't has been, at any moment.

    staging  the stream's queue directory
    """

    def __init__(self, staging: Path, *, durable: bool) -> None:
        self._staging = staging
        self._durable = durable
        # Streams of other daemons may have the same folder for their files.
        self._end = f".{hashlib.sha256(os.path.abspath(staging).encode()).hexdigest()[:12]}{READY}"

    def is_ready(self, ready: Path, target: Path) -> bool:
        return ready.exists() or self._beside(ready, target).exists()

    def put(self, ready: Path, target: Path, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Give a ready file its place. False, and nothing has changed there, if ``unless`` says so at the last moment.

        The target's name isn't durable until its folder is flushed. Raises OSError.
        """
        beside = self._beside(ready, target)
        if ready.exists():
            if unless():
                return False
            try:
                os.rename(ready, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._move(ready, beside)
            else:
                return True
        if unless():
            return False
        os.rename(beside, target)
        return True

    def forget(self, ready: Path, target: Path) -> None:
        """Remove a ready file that is no longer to be published, wherever it is."""
        ready.unlink(missing_ok=True)
        self._beside(ready, target).unlink(missing_ok=True)

    def moved(self, folder: Path) -> list[tuple[Path, Path]]:
        """What a crash left beside its place: the ready file it was, and that place; oldest first."""
        names = [name for name in os.listdir(folder) if name.startswith(".") and name.endswith(self._end)]
        parts = [name[1 : -len(self._end)].rpartition(".") for name in sorted(names)]
        return [(self._staging / f"{number}{READY}", folder / name) for name, _, number in parts]

    def flush(self, *folders: Path) -> None:
        if self._durable:
            for folder in folders:
                fsync_dir(folder)

    def _beside(self, ready: Path, target: Path) -> Path:
        return target.with_name(f".{target.name}.{ready.stem}{self._end}")

    def _move(self, ready: Path, beside: Path) -> None:
        temporary = beside.with_name(f"{beside.name}.tmp")
        write_durable(temporary, ready.read_bytes(), flush=self._durable)
        shutil.copymode(ready, temporary)
        os.rename(temporary, beside)
        # Two file systems have no common order: the copy's name is on disk before the original goes.
        self.flush(beside.parent)
        reach("local.copied")
        ready.unlink()
        self.flush(self._staging)
        reach("local.moved")
