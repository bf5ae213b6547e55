"""What becomes of one file: rows are added to it, or it is replaced."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa

from api2db.errors import FatalError, RetryableError, StoreError
from api2db.files import fsync_dir, make_dir
from api2db.formats import Format, frame_of
from api2db.formats.stack import stack
from api2db.sinks.local.dtypes import KeptDtypes
from api2db.sinks.local.duplicates import Duplicates, Mask
from api2db.sinks.local.manifest import Counted, Fingerprint, fingerprint
from api2db.sinks.local.publish import locked, write_like


@dataclass(frozen=True)
class Merge:
    """A file with new rows in it.

    data  all of it; None: the file has them all already, and stays as it is
    kept  which of the new rows are in it
    base  the file they were merged with
    """

    data: bytes | memoryview | None
    kept: Mask
    base: Fingerprint | None


@dataclass(frozen=True)
class Made:
    """A file that a group of batches makes.

    data    all of it; None: it stays as it is
    counts  what each batch's receipt says
    rows    the new rows as a file of their own, to merge them again with; None: the file doesn't matter
    base    the file they were merged with
    """

    data: bytes | memoryview | None
    counts: Sequence[Counted]
    rows: bytes | None = None
    base: Fingerprint | None = None


class Rewrite(Protocol):
    """Makes the file of one mode. Raises ShapeError, OSError and SinkErrors."""

    path: Path
    replaces: bool

    def made(self, tables: Sequence[pa.Table]) -> Made:
        """The file after these batches, oldest first."""

    def merged(self, rows: bytes) -> Merge:
        """The same once more, of ``Made.rows``, with the file as it is now."""

    def stale(self, base: Fingerprint | None) -> bool:
        """Has somebody changed the file, so that what was made of it must be made again?"""


class Replace:
    """What one poll brought is the file."""

    replaces = True

    def __init__(self, path: Path, fmt: Format, duplicates: Duplicates, dtypes: KeptDtypes | None = None) -> None:
        self.path = path
        self._format = fmt
        self._duplicates = duplicates
        self._dtypes = dtypes

    def made(self, tables: Sequence[pa.Table]) -> Made:
        if self._dtypes is not None:
            self._dtypes.widen(table.schema for table in tables)
        if len(tables) == 1:
            only = self._duplicates.drop(tables[0])
            return Made(self._format.encode_table(only), [Counted(only.num_rows)])
        together = stack(map(frame_of, tables))
        kept = self._duplicates.kept(together)
        return Made(self._format.encode(together[kept].reset_index(drop=True)), counted(tables, kept))

    def merged(self, rows: bytes) -> Merge:
        frame = self._format.decode(rows)
        return Merge(rows, self._duplicates.kept(frame), fingerprint(self.path))

    def stale(self, base: Fingerprint | None) -> bool:
        return False


class Update:
    """The file's rows, then those of the batches, without duplicates.

    Reading the file, comparing its rows and writing it again costs what the whole file weighs, however little is new.
    """

    replaces = False

    def __init__(self, path: Path, fmt: Format, duplicates: Duplicates, dtypes: KeptDtypes | None = None) -> None:
        self.path = path
        self._format = fmt
        self._duplicates = duplicates
        self._dtypes = dtypes

    def made(self, tables: Sequence[pa.Table]) -> Made:
        if self._dtypes is not None:
            self._dtypes.widen(table.schema for table in tables)
        rows = self._format.encode(stack(map(frame_of, tables)))
        merge = self.merged(rows)
        return Made(merge.data, counted(tables, merge.kept), rows, merge.base)

    def merged(self, rows: bytes) -> Merge:
        # Read back before they are compared: what is compared is what the file will hold.
        new = self._decoded(rows)
        before, base = self._read()
        together = new if before is None else stack((before, new))
        kept = self._duplicates.kept(together)
        old = len(together) - len(new)
        if before is not None and kept[:old].all() and not kept[old:].any():
            return Merge(None, kept[old:], base)
        return Merge(self._format.encode(together[kept]), kept[old:], base)

    def stale(self, base: Fingerprint | None) -> bool:
        return fingerprint(self.path) != base

    def _read(self) -> tuple[pd.DataFrame | None, Fingerprint | None]:
        base = fingerprint(self.path)
        if base is None:
            return None, None
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None, None
        try:
            return self._decoded(data), base
        except StoreError as error:
            if fingerprint(self.path) != base:
                raise RetryableError(f"{self.path} is being written by another program") from error
            raise FatalError(
                f"{self.path} is left as it is, since it can't be read: {error};"
                " mend it, or move it away to have a new one begun"
            ) from error

    def _decoded(self, data: bytes) -> pd.DataFrame:
        known = None if self._dtypes is None else self._dtypes.known
        try:
            return self._format.decode(data, known)
        except StoreError:
            if known is None:
                raise
            # Somebody wrote a value of another type into the file: it is kept, as what the file says it is.
            return self._format.decode(data)


def counted(tables: Sequence[pa.Table], kept: Mask) -> list[Counted]:
    """How many rows of each table are kept, of all of them one after the other."""
    counts, start = [], 0
    for table in tables:
        counts.append(Counted(int(kept[start : start + table.num_rows].sum())))
        start += table.num_rows
    return counts


def check_file(path: Path) -> None:
    """Raises FatalError if a file can't be put at ``path``."""
    if path.is_dir():
        raise FatalError(f"{path} is a folder: modes update and replace write a file; give path a file's name")
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise FatalError(f"can't write to {path.parent}: Permission denied; check the folder and its owner")
    if path.exists() and not os.access(path, os.R_OK, effective_ids=True):
        raise FatalError(f"can't read {path}: Permission denied; check the file and its owner")


def rewrite_now(rewrite: Rewrite, table: pa.Table) -> None:
    """One batch into the file at once, for a stream used on its own: on disk when this returns, or nothing changed."""
    folder = rewrite.path.parent
    make_dir(folder)
    check_file(rewrite.path)
    with locked(folder):
        made = rewrite.made([table])
        if made.data is not None:
            write_like(rewrite.path, made.data, rewrite.path, durable=True)
            fsync_dir(folder)
