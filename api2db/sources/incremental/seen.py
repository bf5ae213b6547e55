"""Records that may come again, kept so that they count from the moment their page is accepted, however it ends.

A few are in the cursor itself. More are in a file: each page's are appended and flushed before the page is handed
over, and the cursor that is accepted with the page says up to which of them they count. So a file that is longer than
the cursor says holds what was never accepted: it is cut there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from api2db.errors import SourceError
from api2db.failpoint import change, reach
from api2db.files import make_dir, write_atomic
from api2db.sources.incremental.known import Known
from api2db.sources.incremental.values import Rank

# So many digests may be in a cursor, which travels in every shard.
MOST_IN_CURSOR: Final = 20
_SPARE: Final = 1000
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class UnwrittenError(SourceError):
    """What may come again couldn't be written: none of its page counts, and no cursor after it can be handed out."""


class Seen:
    """All partitions' records that may come again. One thread.

    folder     where the files are, ``<name>.<number>``; None: all are in the cursor, however many
    in_cursor  what the cursor of the page accepted last held of them, as JSON; after ``keep`` what that page's has to
               hold

    Raises SourceError where the file lacks what the cursor counts on.
    """

    def __init__(self, folder: Path | None, name: str, in_cursor: Mapping[str, Any] | None) -> None:
        self.in_cursor: dict[str, Any] | None = None if in_cursor is None else dict(in_cursor)
        self._folder = folder
        self._name = name
        self._parts: dict[str, Known] = {}
        self._number = 0  # of the file in use; 0: none
        self._count = 0  # entries in it
        self._length = 0  # its bytes
        self._outdated: list[Path] = []
        found = in_cursor or {}
        rows: dict[str, dict[bytes, Rank]] = {}
        if "file" in found:
            self._number, self._count = int(found["file"]), int(found["count"])
            rows = self._read()
        for part, digest, rank in found.get("rows", ()):
            rows.setdefault(part, {})[bytes.fromhex(digest)] = rank
        self._parts = {part: Known(digests) for part, digests in rows.items()}
        for path in () if folder is None else _files(folder, name):
            if path != self._path(self._number):
                path.unlink(missing_ok=True)  # of a page that was never accepted, or of long ago

    def known(self, part: str) -> Known:
        """The records of one partition."""
        return self._parts.setdefault(part, Known())

    def keep(self, part: str, fresh: Mapping[bytes, Rank], needed: Callable[[Rank], bool]) -> None:
        """Remember a page's records; ``in_cursor`` is what its cursor has to hold for them from now on.

        On disk when this returns. Raises UnwrittenError if it can't be: this object is of no more use then.
        """
        known = self.known(part)
        known.add(fresh)
        known.prune(needed, 0 if len(known) <= 2 * MOST_IN_CURSOR else _SPARE)
        live = sum(map(len, self._parts.values()))
        if self._folder is None or live <= MOST_IN_CURSOR:
            self._retire()
            rows = [[name, digest.hex(), rank] for name, one in self._parts.items() for digest, rank in one.items()]
            self.in_cursor = {"rows": rows} if rows else None
            return
        try:
            if not self._number or self._count + len(fresh) > 2 * live + _SPARE:
                self._begin()
            elif fresh:
                self._append(part, fresh)
        except OSError as error:
            raise UnwrittenError(
                f"the records that may come again can't be written to {self._folder}: {error.strerror}; nothing of this"
                " page is accepted, the next poll asks for it again"
            ) from error
        self.in_cursor = {"file": self._number, "count": self._count}

    def accepted(self) -> None:
        """The page of the last ``keep`` is accepted: files of before aren't needed any more."""
        while self._outdated:
            self._outdated.pop().unlink(missing_ok=True)

    def _retire(self) -> None:
        if self._number:
            self._outdated.append(self._path(self._number))
            self._number = self._count = self._length = 0

    def _begin(self) -> None:
        """A new file, with all of them."""
        assert self._folder is not None
        numbers = [self._number, *(int(path.name.rpartition(".")[2]) for path in _files(self._folder, self._name))]
        self._retire()
        lines, count = [], 0
        for part, known in self._parts.items():
            if len(known):
                count += len(known)
                lines.append(_line(count, part, known.items()))
        data = b"".join(lines)
        make_dir(self._folder)
        write_atomic(self._path(max(numbers) + 1), data)
        self._number, self._count, self._length = max(numbers) + 1, count, len(data)
        reach("seen.begun")

    def _append(self, part: str, fresh: Mapping[bytes, Rank]) -> None:
        path = self._path(self._number)
        line = _line(self._count + len(fresh), part, fresh.items())
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            change(path)
            os.ftruncate(fd, self._length)
            os.lseek(fd, self._length, os.SEEK_SET)
            rest = memoryview(line)
            while rest:
                change(path)
                rest = rest[os.write(fd, rest) :]
            change(path)
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self._count += len(fresh)
        self._length += len(line)
        reach("seen.written")

    def _read(self) -> dict[str, dict[bytes, Rank]]:
        """What counts of the file that the cursor names."""
        if self._folder is None:
            return {}
        path = self._path(self._number)
        rows: dict[str, dict[bytes, Rank]] = {}
        count = 0
        try:
            with path.open("rb") as file:
                while count < self._count:
                    line = file.readline()
                    count, part, entries = _decode(line)
                    found = rows.setdefault(part, {})
                    for text, rank in entries:
                        digest = bytes.fromhex(text)
                        found.pop(digest, None)  # what is there again is the newest
                        found[digest] = rank
                    self._length += len(line)
        except (OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
            count, cause = -1, getattr(error, "strerror", None) or f"damaged after {self._length:,} bytes"
        else:
            cause = "it was cut short"
        if count != self._count:
            raise SourceError(
                f"{path} ({cause}) lacks records that were delivered and may come again: put it back as it was, or have"
                " the source read again from somewhere with api2db reset --to VALUE, which may deliver them twice"
            )
        return rows

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}.{number}"


def _line(count: int, part: str, rows: Iterable[tuple[bytes, Rank]]) -> bytes:
    return bytes(_encode([count, part, [[digest.hex(), rank] for digest, rank in rows]])) + b"\n"


def _files(folder: Path, name: str) -> list[Path]:
    if not folder.is_dir():
        return []
    own = re.compile(re.escape(name) + r"\.[0-9]+")
    return [path for path in folder.iterdir() if own.fullmatch(path.name)]
