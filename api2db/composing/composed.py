"""One file of all files of a folder: a part at a time where they are of one kind, else of a frame of them all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_object_dtype

from api2db.composing.folder import Shard
from api2db.composing.rows import BATCH_ROWS, READ_WHOLE, Pending
from api2db.errors import StoreError
from api2db.failpoint import change
from api2db.files import write_durable
from api2db.formats import Dtypes, Format
from api2db.formats.stack import stack

log = logging.getLogger(__name__)

_PANDAS: Final = b"pandas"


class _OtherKind(Exception):
    """A file's columns aren't those of the others."""


def write_composed(
    path: Path,
    folder: Path,
    shards: Sequence[Shard],
    fmt: Format,
    dtypes: Dtypes | None = None,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Write all rows of the files to ``path``, in their order, flushed. A file that is gone is left out.

    begun  called for each file that is read

    Memory: some parts of the files, or the largest where its format is read whole; that of all their rows, twice,
    where their columns aren't of the same types, and for pickles. Raises OSError, ShapeError, StoreError; nothing is
    left at ``path`` then.
    """
    parts = {"parquet": _parquet, "csv": _csv, "json": _json}.get(fmt.name)
    read = _Read(folder, shards, fmt, dtypes, begun)
    try:
        if parts is not None:
            try:
                parts(path, read)
                return
            except _OtherKind:
                log.info("files of several kinds are composed in memory folder=%s", folder)
        write_durable(path, fmt.encode(stack(read.frames())))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Read:
    """The files, read one after the other, as often as they are asked for."""

    def __init__(
        self, folder: Path, shards: Sequence[Shard], fmt: Format, dtypes: Dtypes | None, begun: Callable[[], None]
    ) -> None:
        self.fmt = fmt
        self._folder = folder
        self._shards = shards
        self._dtypes = dtypes
        self._begun = begun

    def paths(self) -> Iterator[Path]:
        for shard in self._shards:
            self._begun()
            path = self._folder / shard.name
            if shard.is_at(path):
                yield path

    def frames(self) -> Iterator[pd.DataFrame]:
        for path in self.paths():
            yield self.fmt.decode(path.read_bytes(), self._dtypes)

    def alike(self) -> Iterator[pd.DataFrame]:
        """The frames, as long as their columns are those of the first. Raises _OtherKind."""
        kind: list[tuple[str, object]] | None = None
        for frame in self.frames():
            mine: list[tuple[str, object]] = list(zip(frame.columns, frame.dtypes, strict=True))
            if (kind is not None and mine != kind) or any(map(is_object_dtype, frame.dtypes)):
                raise _OtherKind
            kind = mine
            yield frame


def _csv(path: Path, read: _Read) -> None:
    with _Written(path) as out:
        for number, frame in enumerate(read.alike()):
            data = read.fmt.encode(frame)
            out.write(data[len(read.fmt.encode(frame.iloc[:0])) :] if number else data)


def _json(path: Path, read: _Read) -> None:
    with _Written(path) as out:
        between = b"["
        for frame in read.alike():
            records = read.fmt.encode(frame).removeprefix(b"[").removesuffix(b"]\n")
            if records:
                out.write(between + records)
                between = b",\n"
        out.write(b"[]\n" if between == b"[" else b"]\n")


def _parquet(path: Path, read: _Read) -> None:
    schema = _schema(read)
    plain = schema.empty_table()
    pending = Pending()
    with _Written(path) as out, pq.ParquetWriter(pa.PythonFile(out, "w"), schema) as writer:

        def write() -> None:
            if pending.tables:
                writer.write_table(pa.concat_tables(pending.tables))
                pending.tables, pending.rows, pending.size = [], 0, 0

        for file in read.paths():
            parquet = pq.ParquetFile(file)
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=file.stat().st_size > READ_WHOLE):
                table = pa.Table.from_batches([batch]).replace_schema_metadata(schema.metadata)
                if not table.schema.equals(schema, check_metadata=False):
                    table = pa.concat_tables([plain, table], promote_options="default")
                pending.add(table)
                if pending.full:
                    write()
        write()


def _schema(read: _Read) -> pa.Schema:
    """That of a file of them all. Raises _OtherKind, StoreError."""
    kinds, found = Pending(), None
    for path in read.paths():
        try:
            schema = pq.read_schema(path)
        except pa.ArrowInvalid as error:
            raise StoreError(f"not a readable parquet file: {path}: {error}") from error
        if found is None:
            found = schema
            kinds.takes(schema.remove_metadata().empty_table())
        elif (
            not kinds.takes(schema.remove_metadata().empty_table())
            or _dtypes(schema) != _dtypes(found)
            or (_PANDAS in (found.metadata or {}) and not schema.equals(found))
        ):
            raise _OtherKind
    if found is None or kinds.schema is None:
        raise _OtherKind
    return kinds.schema.with_metadata(found.metadata)


def _dtypes(schema: pa.Schema) -> object:
    """What pandas, and what we, remember of the columns: without how many rows there are."""
    metadata = schema.metadata or {}
    ours = json.loads(metadata.get(b"api2db.dtypes", b"{}"))
    return ours, json.loads(metadata.get(_PANDAS, b"{}")).get("columns")


class _Written:
    """A new file that is flushed at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self.closed = False

    def __enter__(self) -> _Written:
        return self

    def write(self, data: bytes | memoryview) -> int:
        change(self._path)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        """pyarrow closes what it has written to; the file is closed once it is flushed."""

    def __exit__(self, *error: object) -> None:
        try:
            self._file.flush()
            change(self._path)
            os.fsync(self._file.fileno())
        finally:
            self.closed = True
            self._file.close()
