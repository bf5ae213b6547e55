"""Files in a folder: each batch one file, published once whatever the moment of a crash.

``load`` writes the finished file beside the shard (``<created_ns>.ready``); delivery then drops the shard; then
``publish`` renames the file to its place. A ready file whose shard is gone is published at the next start; one
whose shard is still there is written again. So even a file that someone has already taken away isn't
published a second time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from api2db.batch import Batch, Receipt
from api2db.errors import FatalError, RetryableError
from api2db.failpoint import reach
from api2db.files import fsync_dir, make_dir, write_durable
from api2db.sinks.base import Quarantine

READY = ".ready"


class LocalSink:
    """Shard mode: ``<directory>/<created_ns>.parquet``, duplicates inside a batch dropped before it is written.

    stream                ``<collector>/<stream directory>``
    directory             where files appear; created
    staging               the stream's queue directory, where ready files wait
    parked                the directory of its shards that failed to upload
    drop_duplicate_keys   columns that make two rows duplicates (the first is kept); None: all columns
    durable               flush files and directories
    """

    ordered = False
    replaces = False
    remembers = False  # what was published may have been taken away since
    max_threads: int | None = None

    def __init__(
        self,
        *,
        stream: str,
        directory: Path,
        staging: Path,
        parked: Path,
        drop_duplicate_keys: Sequence[str] | None = None,
        durable: bool = True,
    ) -> None:
        self.stream = stream
        self.directory = directory
        self._staging = staging
        self._parked = parked
        self._keys = None if drop_duplicate_keys is None else list(drop_duplicate_keys)
        self._durable = durable
        self._recovered = False

    @property
    def target(self) -> str:
        return str(self.directory)

    @property
    def server(self) -> str:
        return self.target

    def connect(self) -> None:
        try:
            make_dir(self.directory, flush=self._durable)
            if not self._recovered:
                self._publish_leftovers()
                self._recovered = True
        except OSError as error:
            raise _translated(self.stream, error) from error

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        receipts = []
        try:
            for batch in batches:
                table = _without_duplicates(batch.table, self._keys)
                out = pa.BufferOutputStream()
                pq.write_table(table, out)
                write_durable(self._ready(batch), out.getvalue(), flush=self._durable)
                receipts.append(Receipt(batch.batch_id, table.num_rows))
            if self._durable:
                fsync_dir(self._staging)
        except OSError as error:
            raise _translated(self.stream, error) from error
        reach("local.prepared")
        return receipts

    def publish(self, batches: Sequence[Batch]) -> None:
        reach("local.publishing")
        try:
            for batch in batches:
                self._put(self._ready(batch))
            if self._durable:
                fsync_dir(self.directory)
                fsync_dir(self._staging)
        except OSError as error:
            # The shards are gone and the ready files safe: connect() finds them.
            self._recovered = False
            raise _translated(self.stream, error) from error

    def close(self) -> None:
        """Nothing is held open between loads."""

    def _ready(self, batch: Batch) -> Path:
        return self._staging / f"{batch.created_ns}{READY}"

    def _put(self, ready: Path) -> None:
        target = self.directory / f"{ready.stem}.parquet"
        try:
            os.rename(ready, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Another file system: copy under a temporary name there. A crash between the two steps below
            # leaves both, and the same name is then written again with the same bytes.
            temporary = target.with_name(f".{target.name}.tmp")
            write_durable(temporary, ready.read_bytes(), flush=self._durable)
            os.rename(temporary, target)
            # Two file systems have no common order: the copy's name is on disk before the original goes.
            if self._durable:
                fsync_dir(self.directory)
            ready.unlink()

    def _publish_leftovers(self) -> None:
        for ready in sorted(self._staging.glob(f"*{READY}")):
            shard = f"{ready.stem}.parquet"
            if (self._staging / shard).exists() or (self._parked / shard).exists():
                ready.unlink()
            else:
                self._put(ready)
        if self._durable:
            fsync_dir(self.directory)
            fsync_dir(self._staging)


def _without_duplicates(table: pa.Table, keys: list[str] | None) -> pa.Table:
    """Keep the first of equal rows, as ``DataFrame.drop_duplicates`` does."""
    columns = table.column_names if keys is None else [key for key in keys if key in table.column_names]
    if not columns or table.num_rows < 2:
        return table
    # Column by column into small codes: any type hashes, nothing is converted to Python objects.
    codes = pd.DataFrame(
        {
            str(at): table.column(name).combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
            for at, name in enumerate(columns)
            if not pa.types.is_null(table.schema.field(name).type)
        }
    )
    duplicated = codes.duplicated().to_numpy() if codes.shape[1] else None
    if duplicated is None or not duplicated.any():
        return table
    return table.filter(pa.array(~duplicated))


def _translated(stream: str, error: OSError) -> RetryableError | FatalError:
    where = error.filename or "the target"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
        return FatalError(f"stream {stream}: can't write {where}: {error.strerror}; check the folder and its owner")
    return RetryableError(f"stream {stream}: can't write {where}: {error.strerror}")
