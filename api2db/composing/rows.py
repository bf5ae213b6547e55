"""The rows of a manifest's files as batches: of many small files one, of a large one several."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.composing.manifest import Manifest, Position
from api2db.composing.seen import Seen
from api2db.errors import ShapeError, StoreError
from api2db.form.column import is_json
from api2db.form.shaped import Shaped, StepCount
from api2db.form.tables import from_arrow, from_frame
from api2db.formats import Dtypes, Format

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 50_000
BATCH_BYTES: Final = 16 * 2**20
READ_WHOLE: Final = 4 * 2**20
"""A parquet file up to this size is read at once; of a larger one so many rows at a time."""

_PANDAS: Final = b"pandas"
_SMALL: Final = 1000
"""A table of fewer rows is small."""
_CHANGED: Final = "it was written to after its first {} rows were loaded"


class Changed(Exception):
    """A file isn't the one that was written down: its turn comes next time."""


class Unreadable(Exception):
    """A file's bytes aren't rows, or may not be read: it will never be."""


@dataclass(frozen=True)
class Composed:
    """shaped    the rows of a batch; None if all were duplicates
    position  how far they reach
    """

    shaped: Shaped | None
    position: Position


@dataclass
class Pending:
    """Tables of one kind that will be a batch."""

    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    schema: pa.Schema | None = None
    _each: int = 0

    def takes(self, table: pa.Table) -> bool:
        """Whether its columns and those before can be one table's, no value changed. Remembers them if so."""
        if self.schema is None or table.schema.equals(self.schema, check_metadata=True):
            self.schema = table.schema if self.schema is None else self.schema
            return True
        if any(
            is_json(field) != is_json(self.schema.field(field.name))
            for field in table.schema
            if self.schema.get_field_index(field.name) >= 0
        ):
            return False
        try:
            # "default": columns that lack, and those without a type, become null ones; nothing is converted.
            self.schema = pa.unify_schemas([self.schema, table.schema], promote_options="default")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return False
        return True

    def add(self, table: pa.Table) -> None:
        self.tables.append(table)
        self.rows += table.num_rows
        # To count the bytes of a small table takes as long as to read a tenth of it: every 16th of them tells.
        if table.num_rows >= _SMALL or len(self.tables) % 16 == 1:
            self._each = table.nbytes
        self.size += self._each

    @property
    def full(self) -> bool:
        return self.rows >= BATCH_ROWS or self.size >= BATCH_BYTES


@dataclass(frozen=True)
class Composer:
    """Memory: some batches, and the largest single file where its format is read whole (all but parquet).

    seen       the rows there were; those of a position that is gone on from are added to it first
    set_aside  takes away a file that can't be read, with the reason; False if it has to stay
    left_behind  is told of a file that can't be read now, and may be another time; True
    begun      called for each file
    """

    folder: Path
    manifest: Manifest
    format: Format
    dtypes: Dtypes | None
    seen: Seen
    set_aside: Callable[[Path, str], bool]
    left_behind: Callable[[Path, OSError], bool]
    begun: Callable[[], None]

    def batches(self, at: Position) -> Iterator[Composed]:
        """From there on. The last one reaches the end of the manifest. Raises OSError, StoreError, ShapeError."""
        if (at.files or at.rows) and at.files < len(self.manifest):
            self._remember(at)
        pending, reached = Pending(), at
        for index in range(at.files, len(self.manifest)):
            self.begun()
            done = reached.rows if index == at.files else 0
            left = False
            try:
                for table in self._tables(index, done):
                    if not pending.takes(table):
                        yield self._composed(pending, reached)
                        pending = Pending()
                        pending.takes(table)
                    pending.add(table)
                    done += table.num_rows
                    reached = replace(reached, files=index, rows=done)
                    if pending.full:
                        yield self._composed(pending, reached)
                        pending = Pending()
            except FileNotFoundError:
                pass  # someone took it: nothing of it is left to load
            except Changed:
                # Of one that was loaded in part what it was before can't be told from what it is now.
                moved = done > 0 and self.set_aside(self.folder / self.manifest[index].name, _CHANGED.format(done))
                left = not moved
            except OSError as error:
                if done:
                    raise
                left = self.left_behind(self.folder / self.manifest[index].name, error)
            except Unreadable as error:
                rows = f"; its first {done} rows are loaded" if done else ""
                left = not self.set_aside(self.folder / self.manifest[index].name, f"{error}{rows}")
            places = (*reached.left, index) if left else reached.left
            reached = Position(index + 1, 0, places)
        yield self._composed(pending, reached)

    def _composed(self, pending: Pending, position: Position) -> Composed:
        if not pending.tables:
            return Composed(None, position)
        table = pa.concat_tables(pending.tables, promote_options="default")
        shaped = from_arrow(table)
        fresh = self.seen.fresh(shaped.table)
        rows = int(fresh.sum())
        step = StepCount("drop_duplicates", shaped.table.num_rows, rows)
        kept = shaped.table if rows == len(fresh) else shaped.table.filter(pa.array(fresh))
        return Composed(replace(shaped, table=kept, steps=(*shaped.steps, step)), position)

    def _remember(self, at: Position) -> None:
        """What is accepted is read once more: of equal rows the first is in already."""
        for index in range(min(at.files + bool(at.rows), len(self.manifest))):
            if index in at.left:
                continue
            self.begun()
            accepted = at.rows if index == at.files else None
            try:
                for table in self._tables(index, 0):
                    self.seen.fresh(from_arrow(table if accepted is None else table.slice(0, accepted)).table)
                    accepted = None if accepted is None else max(0, accepted - table.num_rows)
            except (FileNotFoundError, Changed, Unreadable) as error:
                log.warning("file not read again file=%s cause=%s", self.manifest[index].name, error)

    def _tables(self, index: int, skip: int) -> Iterator[pa.Table]:
        """A file's rows from ``skip`` on, so many at a time. Raises FileNotFoundError, Changed, Unreadable, OSError."""
        shard = self.manifest[index]
        try:
            for table in read_tables(self.folder / shard.name, self.format, self.dtypes, shard.size, shard.mtime_ns):
                if skip < table.num_rows:
                    yield table.slice(skip) if skip else table
                skip = max(0, skip - table.num_rows)
        except (PermissionError, IsADirectoryError) as error:
            raise Unreadable(f"{type(error).__name__}: {error.strerror}") from error
        except (StoreError, ShapeError, pa.ArrowException, ValueError) as error:
            raise Unreadable(str(error).splitlines()[0][:500]) from error


def read_tables(
    path: Path, fmt: Format, dtypes: Dtypes | None, size: int | None = None, mtime_ns: int | None = None
) -> Iterator[pa.Table]:
    """A file's rows, as tables of at most ``BATCH_ROWS`` rows.

    Raises OSError, Changed if it isn't as large and as old as told, StoreError or an error of pyarrow's for what is no
    file of the format.
    """
    with open(path, "rb", buffering=0) as file:
        about = os.fstat(file.fileno())
        if size is not None and (about.st_size, about.st_mtime_ns) != (size, mtime_ns):
            raise Changed
        if fmt.name == "parquet" and about.st_size > READ_WHOLE:
            parquet = pq.ParquetFile(path)
            if _PANDAS not in (parquet.schema_arrow.metadata or {}):
                yield from _parquet_tables(parquet)
                return
        data = file.read()
        after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (about.st_size, about.st_mtime_ns):
        raise Changed
    if fmt.name == "parquet":
        parquet = pq.ParquetFile(pa.BufferReader(data))
        if _PANDAS not in (parquet.schema_arrow.metadata or {}):
            yield from _parquet_tables(parquet)
            return
    yield from _slices(from_frame(fmt.decode(data, dtypes)).table)


def _parquet_tables(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    if parquet.metadata.num_rows <= BATCH_ROWS:
        yield parquet.read(use_threads=False).replace_schema_metadata(None)
        return
    for batch in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
        yield pa.Table.from_batches([batch]).replace_schema_metadata(None)


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, max(1, table.num_rows), BATCH_ROWS):
        yield table.slice(start, BATCH_ROWS)
