"""Which shards one rewrite of a file holds: what tells, after a crash, whether it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from api2db.errors import FatalError
from api2db.files import fsync_dir, write_atomic, write_durable
from api2db.sinks.local.publish import READY, write_like

GROUP: Final = ".group"
ROWS: Final = ".rows"

Fingerprint = tuple[int, int, int, int]
"""Inode, size, mtime and ctime of a file: whoever replaces or edits it changes one of them."""


def fingerprint(path: Path) -> Fingerprint | None:
    """None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True)
class Counted:
    """What a receipt says of one shard of the group."""

    rows: int


@dataclass(frozen=True)
class Group:
    """``<newest>.group`` beside the shards; ``<newest>.ready``, the whole file; ``<newest>.rows``, what is new in it.

    path    of the first
    shards  created_ns -> what its receipt says
    base    the file that the new rows were merged with
    """

    path: Path
    shards: Mapping[int, Counted]
    base: Fingerprint | None

    @property
    def ready(self) -> Path:
        return self.path.with_suffix(READY)

    @property
    def rows(self) -> Path:
        return self.path.with_suffix(ROWS)

    def write(self, data: bytes | memoryview, rows: bytes | None, *, like: Path, durable: bool) -> None:
        """Put all three on disk, this one last: without it the others mean nothing. Raises OSError.

        like  the file that ``data`` will replace: its permissions are kept
        """
        if rows is not None:
            write_durable(self.rows, rows, flush=durable)
        write_like(self.ready, data, like, durable=durable)
        if durable:
            # A group without its ready file is one that has been published: there must be no other way to see one.
            fsync_dir(self.path.parent)
        about = {
            "shards": {str(shard): of.rows for shard, of in self.shards.items()},
            "base": self.base,
        }
        write_atomic(self.path, json.dumps(about).encode(), flush=durable)

    def rewrite(self, data: bytes | memoryview, base: Fingerprint | None, *, like: Path, durable: bool) -> Group:
        """The group merged with another file. A crash in between has it merged again: the new rows are kept."""
        renewed = replace(self, base=base)
        renewed.write(data, None, like=like, durable=durable)
        return renewed

    def present(self, *folders: Path) -> list[int]:
        """Its shards that are still in one of these."""
        return [shard for shard in self.shards if any((folder / f"{shard}.parquet").exists() for folder in folders)]

    def remove(self, *, durable: bool) -> None:
        """This one first, for the same reason, and before any of its shards can go: with one gone it would count."""
        self.path.unlink(missing_ok=True)
        if durable:
            fsync_dir(self.path.parent)
        self.ready.unlink(missing_ok=True)
        self.rows.unlink(missing_ok=True)


def read_groups(staging: Path) -> list[Group]:
    """The groups in a stream's queue directory, oldest first; what belongs to none of them is swept away.

    Raises OSError, FatalError for one that can't be read.
    """
    paths = sorted(staging.glob(f"*{GROUP}"), key=lambda path: (len(path.name), path.name))
    known = {path.stem for path in paths}
    for suffix in (READY, ROWS):
        for path in staging.glob(f"*{suffix}"):
            if path.stem not in known:
                path.unlink()
        for path in staging.glob(f".*{suffix}.tmp"):
            path.unlink()
    for path in staging.glob(f".*{GROUP}.tmp"):
        path.unlink()
    return [_read(path) for path in paths]


def _read(path: Path) -> Group:
    try:
        about = json.loads(path.read_bytes())
        shards = {int(shard): Counted(int(rows)) for shard, rows in about["shards"].items()}
        base = about["base"]
        return Group(path, shards, None if base is None else tuple(base))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FatalError(
            f"{path} can't be read ({type(error).__name__}): it says which shards {path.stem}{READY} beside it holds;"
            " see whether these rows are in the stream's file, then remove both"
        ) from error
