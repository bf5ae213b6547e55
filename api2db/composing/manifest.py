"""Which files a store composes this time: written down before the first is read, the same until the last is done."""

from __future__ import annotations

import json
import secrets
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api2db.composing.folder import Shard, files_in
from api2db.errors import StoreError
from api2db.files import make_dir, write_atomic

YOUNG_S: Final = 2.0
"""A file that was written to so short ago may be written to still."""


@dataclass(frozen=True)
class Position:
    """How far the rows of a manifest are accepted: the cursor of a store.

    files  so many of its files, from the first on
    rows   so many rows of the next one
    left   those of ``files`` that weren't read, and stay where they are; by their place
    """

    files: int = 0
    rows: int = 0
    left: tuple[int, ...] = ()

    def cursor(self, manifest: str) -> dict[str, Any]:
        return {"manifest": manifest, "files": self.files, "rows": self.rows, "left": list(self.left)}

    @classmethod
    def of(cls, cursor: object, manifest: str) -> Position:
        """Where this manifest was got to; its start where the cursor is another's."""
        if not isinstance(cursor, dict) or cursor.get("manifest") != manifest:
            return cls()
        return cls(int(cursor["files"]), int(cursor["rows"]), tuple(cursor["left"]))


class Manifest:
    """Files of one folder, in the order they are composed in. About 150 bytes of memory a file.

    id  random: what is accepted of it names it
    """

    def __init__(self, id: str, fmt: str, shards: Sequence[Shard]) -> None:
        self.id = id
        self.fmt = fmt
        self._names = [shard.name for shard in shards]
        self._sizes = array("q", (shard.size for shard in shards))
        self._mtimes = array("q", (shard.mtime_ns for shard in shards))

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, at: int) -> Shard:
        return Shard(self._names[at], self._sizes[at], self._mtimes[at])

    def shards(self, without: Sequence[int] = ()) -> Iterator[Shard]:
        """All but those."""
        skipped = frozenset(without)
        return (self[at] for at in range(len(self)) if at not in skipped)

    @classmethod
    def freeze(cls, folder: Path, fmt: str, clock: Callable[[], float] = time.time) -> Manifest | None:
        """Of the folder's files as they are now; None if there are none. Those that are too young come next time."""
        now = clock()
        shards = []
        for path in files_in(folder, f".{fmt}"):
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            # One from the future has been written by another clock: how young it is can't be told.
            if not 0 <= now - about.st_mtime < YOUNG_S:
                shards.append(Shard(path.name, about.st_size, about.st_mtime_ns))
        return cls(secrets.token_hex(16), fmt, shards) if shards else None

    def write(self, path: Path, *, flush: bool) -> None:
        """Whole, or not at all. Raises OSError."""
        make_dir(path.parent, flush=flush)
        head = {"id": self.id, "fmt": self.fmt, "files": len(self)}
        lines = [json.dumps(head), *(json.dumps([one.name, one.size, one.mtime_ns]) for one in self.shards())]
        write_atomic(path, ("\n".join(lines) + "\n").encode("ascii"), flush=flush)

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """The one that isn't done yet; None if there is none. Raises OSError, StoreError if it is damaged."""
        try:
            with open(path, encoding="ascii") as lines:
                head = json.loads(next(lines, ""))
                manifest = cls(head["id"], head["fmt"], [Shard(*json.loads(line)) for line in lines])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} can't be read ({type(error).__name__}): see which of the folder's files are loaded, move"
                " those away, then remove it"
            ) from error
        if len(manifest) != head["files"]:
            raise StoreError(f"{path} isn't whole: see which of the folder's files are loaded, then remove it")
        return manifest
