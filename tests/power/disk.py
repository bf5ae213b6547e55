"""A disk behind a cache, in memory: what a power cut leaves is what was flushed, and by chance some of the rest.

The model is hostile, and within what POSIX and ext4 allow. The bytes of a file reach the disk when that file is
flushed; its names when their directory is. Until then a cut decides about each page and each change of a directory by
itself, in any combination: it is there, or it isn't. A rename is one change, never half of one.
"""

from __future__ import annotations

import errno
import random
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

PAGE = 4096
Entry = tuple["Inode", str]


class Inode:
    """A file or directory: as programs see it, and as it is on the disk.

    data, entries                as seen
    flushed, flushed_entries     as on the disk
    dirty                        pages that were written since the last flush
    """

    def __init__(self, number: int, mode: int, now_ns: int) -> None:
        self.number = number
        self.mode = mode
        self.links = 0
        self.data = bytearray()
        self.flushed = bytearray()
        self.dirty: set[int] = set()
        self.entries: dict[str, Inode] = {}
        self.flushed_entries: dict[str, Inode] = {}
        self.mtime_ns = self.ctime_ns = now_ns

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_dirty(self) -> bool:
        return bool(self.dirty) or len(self.data) != len(self.flushed)

    def write(self, data: bytes, offset: int) -> None:
        if offset > len(self.data):
            self.truncate(offset)
        self.data[offset : offset + len(data)] = data
        self.dirty.update(range(offset // PAGE, (offset + len(data) + PAGE - 1) // PAGE))
        self.mtime_ns = self.ctime_ns = time.time_ns()

    def truncate(self, length: int) -> None:
        before = len(self.data)
        if length < before:
            del self.data[length:]
        else:
            self.data.extend(bytes(length - before))
        self.dirty.update(range(min(before, length) // PAGE, (max(before, length) + PAGE - 1) // PAGE))
        self.mtime_ns = self.ctime_ns = time.time_ns()

    def flush(self) -> None:
        for page in self.dirty:
            start = page * PAGE
            new = self.data[start : start + PAGE]
            if len(self.flushed) < start:
                self.flushed.extend(bytes(start - len(self.flushed)))
            self.flushed[start : start + len(new)] = new
        del self.flushed[len(self.data) :]
        self.dirty.clear()

    def cut(self, rng: random.Random) -> None:
        """Lose what wasn't flushed: all of it, none of it, its end, or any of its pages."""
        old, new = self.flushed, self.data
        size = rng.choice((len(old), len(new), rng.randint(min(len(old), len(new)), max(len(old), len(new)))))
        kept = rng.choice((0.0, 0.5, 1.0))
        left = bytearray(old[:size]) + bytes(max(0, size - len(old)))
        for page in self.dirty:
            if rng.random() < kept:
                start, end = page * PAGE, min(size, len(new), (page + 1) * PAGE)
                left[start:end] = new[start:end]
        self.data, self.flushed = left, bytearray(left)
        self.dirty.clear()


@dataclass(frozen=True)
class Change:
    """What one call did to directories: each entry is now that inode, or gone. Reaches the disk whole."""

    sets: tuple[tuple[Entry, Inode | None], ...]

    @property
    def entries(self) -> set[tuple[int, str]]:
        return {(directory.number, name) for (directory, name), _ in self.sets}

    def touches(self, directory: Inode) -> bool:
        return any(where is directory for (where, _), _ in self.sets)

    def reach_disk(self) -> None:
        for (directory, name), inode in self.sets:
            if inode is None:
                directory.flushed_entries.pop(name, None)
            else:
                directory.flushed_entries[name] = inode


@dataclass
class Cut:
    """What one power cut found unflushed, and how much of that it took."""

    changes: int = 0
    changes_lost: int = 0
    files: int = 0
    files_changed: int = 0
    flushes: int = 0  # since the power came on


class Disk:
    """Directories and files. Used by one thread. Raises OSError with the errno a file system would."""

    def __init__(self) -> None:
        self._next = 1
        self.pending: list[Change] = []
        self.root = self._inode(stat.S_IFDIR | 0o755)
        self.root.links = 1
        self.flushes = 0

    def find(self, path: str) -> Inode:
        inode = self.root
        for name in filter(None, path.split("/")):
            if not inode.is_directory:
                raise OSError(errno.ENOTDIR, path)
            found = inode.entries.get(name)
            if found is None:
                raise OSError(errno.ENOENT, path)
            inode = found
        return inode

    def create(self, path: str, mode: int) -> Inode:
        directory, name = self._place(path)
        if name in directory.entries:
            raise OSError(errno.EEXIST, path)
        inode = self._inode(mode)
        self._change(((directory, name), inode))
        return inode

    def link(self, existing: str, path: str) -> None:
        directory, name = self._place(path)
        if name in directory.entries:
            raise OSError(errno.EEXIST, path)
        self._change(((directory, name), self.find(existing)))

    def remove(self, path: str, *, directory: bool = False) -> None:
        inode = self.find(path)
        if inode.is_directory is not directory:
            raise OSError(errno.ENOTDIR if directory else errno.EISDIR, path)
        if inode.entries:
            raise OSError(errno.ENOTEMPTY, path)
        self._change((self._place(path), None))

    def rename(self, old: str, new: str) -> None:
        inode, (directory, name) = self.find(old), self._place(new)
        replaced = directory.entries.get(name)
        if replaced is inode:
            return  # two names of one file: POSIX leaves both
        if replaced is not None and replaced.entries:
            raise OSError(errno.ENOTEMPTY, new)
        self._change(((directory, name), inode), (self._place(old), None))

    def flush(self, inode: Inode) -> None:
        """A file's bytes, or a directory's entries, reach the disk: with all that came before for these names."""
        self.flushes += 1
        if not inode.is_directory:
            inode.flush()
            return
        reaches: list[Change] = []
        entries: set[tuple[int, str]] = set()
        for change in reversed(self.pending):
            if change.touches(inode) or change.entries & entries:
                reaches.append(change)
                entries |= change.entries
        for change in reversed(reaches):
            change.reach_disk()
        gone = set(map(id, reaches))
        self.pending = [change for change in self.pending if id(change) not in gone]

    def cut(self, rng: random.Random) -> Cut:
        """The power goes: from now on what is seen is what was left on the disk."""
        cut = Cut(changes=len(self.pending), flushes=self.flushes)
        kept = rng.choice((0.0, 0.5, 0.9))
        for change in self.pending:
            if rng.random() < kept:
                change.reach_disk()
            else:
                cut.changes_lost += 1
        self.pending.clear()
        self.flushes = 0
        inodes = list(self._on_disk())
        for inode in inodes:
            inode.links = 0
        self.root.links = 1
        for inode in inodes:
            inode.entries = dict(inode.flushed_entries)
            for child in inode.entries.values():
                child.links += 1
            if inode.is_dirty and not inode.is_directory:
                before = bytes(inode.data)
                inode.cut(rng)
                cut.files += 1
                cut.files_changed += inode.data != before
        return cut

    def _on_disk(self) -> Iterator[Inode]:
        """Everything reachable there, once."""
        seen, todo = {self.root.number}, [self.root]
        while todo:
            inode = todo.pop()
            yield inode
            for child in inode.flushed_entries.values():
                if child.number not in seen:
                    seen.add(child.number)
                    todo.append(child)

    def _inode(self, mode: int) -> Inode:
        inode = Inode(self._next, mode, time.time_ns())
        self._next += 1
        return inode

    def _place(self, path: str) -> Entry:
        folder, _, name = path.rstrip("/").rpartition("/")
        directory = self.find(folder)
        if not directory.is_directory:
            raise OSError(errno.ENOTDIR, path)
        return directory, name

    def _change(self, *sets: tuple[Entry, Inode | None]) -> None:
        for (directory, name), inode in sets:
            before = directory.entries.pop(name, None)
            if inode is not None:
                directory.entries[name] = inode
            _count(before, -1)
            _count(inode, +1)
            directory.mtime_ns = directory.ctime_ns = time.time_ns()
        self.pending.append(Change(tuple(sets)))


def _count(inode: Inode | None, by: int) -> None:
    if inode is not None:
        inode.links += by
        inode.ctime_ns = time.time_ns()
