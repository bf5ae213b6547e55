"""Which batches the table has, as this STORE knows it: the ledger, in a SQLite file beside the collector's state.

A load job writes one table, so the ledger can't be in the dataset: nothing there changes two tables at once. A batch
is entered once Google has said that its job is done; until then its manifest says which job to ask for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from sqlalchemy import URL, Connection

from api2db import ledger
from api2db.batch import Batch
from api2db.files import fsync_dir, make_dir
from api2db.sinks.engines import Engines
from api2db.sinks.sqlite import SQLite

SUFFIX = ".ledger"


class Record:
    """The ledger of one stream into one table. Any thread.

    path    the file; made by the first batch
    stream  the stream's identity, and the table's: in another table the batches aren't
    """

    def __init__(self, path: Path, stream: str, engines: Engines | None) -> None:
        self._path = path
        self._stream = stream
        self._dialect = SQLite()
        self._own_engines = Engines()
        self._engines = engines or self._own_engines

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return self._dialect.errors

    def enter(self, batches: Sequence[Batch], rows: Mapping[str, int]) -> None:
        """These are in now; of each so many rows, by batch id."""
        with self._writing() as connection:
            ledger.claim(connection, self._stream, batches)
            for batch in batches:
                if rows[batch.batch_id] != batch.table.num_rows:
                    ledger.set_rows(connection, self._stream, batch.batch_id, rows[batch.batch_id])

    def enter_counted(self, rows: Mapping[str, int]) -> None:
        """The same for batches that aren't at hand."""
        empty = pa.table({})
        self.enter([Batch(empty, batch_id, 0) for batch_id in rows], rows)

    def mark(self) -> None:
        """The stream is about to make its table: from now on it is its own."""
        with self._writing() as connection:
            ledger.mark(connection, self._stream)

    def label(self, column: str, created_ns: int) -> None:
        """Rows of batches created then and later hold their batch's id in this column."""
        if self.labelled_since(column) is None:
            with self._writing() as connection:
                ledger.label(connection, self._stream, column, created_ns)

    def labelled_since(self, column: str) -> int | None:
        with self._reading() as connection:
            return None if connection is None else ledger.labelled_since(connection, self._stream, column)

    def knows(self) -> bool:
        with self._reading() as connection:
            return connection is not None and ledger.knows(connection, self._stream)

    def loaded(self, batch_ids: Sequence[str]) -> dict[str, int]:
        with self._reading() as connection:
            return {} if connection is None else ledger.loaded(connection, self._stream, batch_ids)

    def receipts(self) -> Generator[tuple[str, int], None, None]:
        if self._path.exists():
            with self._connected() as connection:
                yield from ledger.receipts(connection, self._stream)

    def horizon(self, store_id: str) -> int:
        with self._reading() as connection:
            return 0 if connection is None else ledger.horizon(connection, self._stream, store_id)

    def forget(self, store_id: str, batch_ids: Sequence[str], horizon_ns: int) -> None:
        with self._writing() as connection:
            ledger.forget(connection, self._stream, store_id, batch_ids, horizon_ns)

    def release(self, batch_ids: Sequence[str]) -> None:
        with self._writing() as connection:
            ledger.release(connection, self._stream, batch_ids)

    def close(self) -> None:
        self._own_engines.close()

    @property
    def _url(self) -> URL:
        return URL.create("sqlite", database=str(self._path))

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._engines.get(self._url, self._dialect).connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        is_new = not self._path.exists()
        make_dir(self._path.parent)
        with self._connected() as connection:
            with connection.begin():
                if not ledger.exists(connection):
                    ledger.create(connection)
            if is_new:
                fsync_dir(self._path.parent)  # SQLite flushes what is in a file, not that it has a name
            with connection.begin():
                yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        if not self._path.exists():
            yield None
            return
        with self._connected() as connection, connection.begin():
            yield connection if ledger.exists(connection) else None
