"""Shard mode: each batch a file of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.batch import Batch, Receipt
from api2db.failpoint import reach
from api2db.files import make_dir, write_durable
from api2db.formats import Format
from api2db.sinks.base import Quarantine
from api2db.sinks.local.dtypes import KeptDtypes
from api2db.sinks.local.duplicates import Duplicates
from api2db.sinks.local.publish import READY, Publisher, sink_errors


class ShardSink:
    """``<directory>/<created_ns>.<fmt>``, duplicates inside a batch dropped before it is written.

    stream      ``<collector>/<stream directory>``
    directory   where files appear; created
    staging     the stream's queue directory, where ready files (``<created_ns>.ready``) wait
    parked      the directory of its shards that failed to upload
    duplicates  which rows of a batch are dropped
    dtypes      kept for formats that don't say all of them; None for the others
    durable     flush files and directories
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
        fmt: Format,
        duplicates: Duplicates,
        dtypes: KeptDtypes | None = None,
        durable: bool = True,
    ) -> None:
        self.stream = stream
        self.directory = directory
        self._staging = staging
        self._parked = parked
        self._format = fmt
        self._duplicates = duplicates
        self._dtypes = dtypes
        self._durable = durable
        self._publisher = Publisher(staging, durable=durable)
        self._recovered = False
        self._prepared: dict[int, int] = {}  # shards, with their rows, since the last that was published
        self._published: dict[int, int] = {}  # those of them that were, before delivery was through with them

    @property
    def target(self) -> str:
        return str(self.directory)

    @property
    def server(self) -> str:
        return self.target

    def sketch(self, batch: Batch) -> list[str]:
        return [f"{self.directory}/<nanoseconds>{self._format.suffix}, one file for each batch"]

    def connect(self) -> None:
        with sink_errors(self.stream):
            make_dir(self.directory, flush=self._durable)
            if not self._recovered:
                self._publish_leftovers()
                self._recovered = True

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        receipts = []
        with sink_errors(self.stream):
            self._recovered = False  # what is prepared here may lose its shard before publish() hears of it
            if self._dtypes is not None:
                self._dtypes.widen(batch.table.schema for batch in batches)
            for batch in batches:
                if batch.created_ns in self._published:
                    receipts.append(Receipt(batch.batch_id, self._published[batch.created_ns], duplicate=True))
                    continue
                table = self._duplicates.drop(batch.table)
                write_durable(self._ready(batch.created_ns), self._format.encode_table(table), flush=self._durable)
                self._prepared[batch.created_ns] = table.num_rows
                receipts.append(Receipt(batch.batch_id, table.num_rows))
            self._publisher.flush(self._staging)
        reach("local.prepared")
        return receipts

    def publish(self, batches: Sequence[Batch]) -> None:
        reach("local.publishing")
        with sink_errors(self.stream):
            # If this fails: the shards are gone and the ready files safe, connect() finds them.
            for batch in batches:
                if batch.created_ns not in self._published:
                    self._publisher.put(self._ready(batch.created_ns), self._target(batch.created_ns))
            reach("local.published")
            self._publisher.flush(self.directory, self._staging)
            self._recovered = True
        for batch in batches:
            self._prepared.pop(batch.created_ns, None)
            self._published.pop(batch.created_ns, None)

    def published(self, created_ns: int) -> bool | None:
        """Whether the batch's file is at its place, or finished on its way there."""
        target = self._target(created_ns)
        return target.exists() or self._publisher.is_ready(self._ready(created_ns), target)

    def lacks(self, shards: Mapping[int, str]) -> set[int]:
        """Which of the shards have no file in the directory, and none on its way there."""
        with sink_errors(self.stream):
            return {ns for ns in shards if not self._target(ns).exists() and not self._ready(ns).exists()}

    def may_take_out(self, batch_ids: Sequence[str]) -> None:
        """Any batch: its file is its own."""

    def take_out(self, batch_ids: Sequence[str]) -> None:
        """Nothing to do: the file that comes takes the place of the one that is there."""

    def rows_in_file(self, created_ns: int) -> int | None:
        """From the footer of a parquet file; None for other formats, and where it is gone. Raises as ``load``."""
        if self._format.name != "parquet":
            return None
        with sink_errors(self.stream):
            try:
                return int(pq.read_metadata(self._target(created_ns)).num_rows)
            except FileNotFoundError:
                return None
            except pa.ArrowInvalid:
                return -1  # no parquet file any more

    def close(self) -> None:
        """Nothing is held open between loads."""

    def _ready(self, created_ns: int | str) -> Path:
        return self._staging / f"{created_ns}{READY}"

    def _target(self, created_ns: int | str) -> Path:
        return self.directory / f"{created_ns}{self._format.suffix}"

    def _is_there(self, created_ns: int | str) -> bool:
        return any((folder / f"{created_ns}.parquet").exists() for folder in (self._staging, self._parked))

    def _publish_leftovers(self) -> None:
        for ready in sorted(self._staging.glob(f"*{READY}")):
            if self._is_there(ready.stem):
                ready.unlink()
            else:
                self._publisher.put(ready, self._target(ready.stem))
        # What this process prepared and is published now has lost its shard, even if delivery couldn't be told so.
        gone = {shard: rows for shard, rows in self._prepared.items() if not self._is_there(shard)}
        self._published.update(gone)
        self._prepared.clear()
        # On their way from another file system: these had left the staging directory, so their shards were gone.
        for ready, target in self._publisher.moved(self.directory):
            self._publisher.put(ready, target)
        self._publisher.flush(self.directory, self._staging)
