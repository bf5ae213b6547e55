"""A stream's folders and its sink, as delivery sees them: shards that are there, or dropped, and what is published."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from api2db.batch import Batch, Receipt, new_batch_id
from api2db.form import InferredForm
from api2db.form.tables import from_frame
from api2db.formats import FORMATS, load_dtypes
from api2db.sinks.base import Placement
from api2db.stream import Stream2Local


def refuse(*_):
    raise AssertionError("a file takes every row")


class Queue:
    """One ``Stream2Local`` of a project in ``folder``. ``sink`` is the daemon's; ``restart`` makes a new one."""

    def __init__(self, folder: Path, **options):
        self.folder = folder
        self.stream = Stream2Local("c", **options)
        self.staging = folder / "STORE" / "queue" / "c" / self.stream.stream_type
        self.parked = folder / "STORE" / "upload_failed" / "c" / self.stream.stream_type
        self.staging.mkdir(parents=True, exist_ok=True)
        self.parked.mkdir(parents=True, exist_ok=True)
        # As the daemon's, so that another process with the same queue goes on behind this one.
        self._numbers = itertools.count(time.time_ns())
        self.restart()

    def restart(self) -> Any:
        name = f"c/{self.stream.stream_type}"
        self.sink = self.stream.sink(Placement(name, self.folder / "STORE", self.staging, self.parked, self.folder))
        return self.sink

    @property
    def target(self) -> Path:
        return Path(self.stream.target(self.folder, self.folder / "STORE"))

    def accept(self, rows) -> Batch:
        """A batch whose shard waits; of an Arrow table, a frame, or records."""
        if isinstance(rows, pd.DataFrame):
            rows = from_frame(rows).table
        elif isinstance(rows, list):
            rows = InferredForm({"geo": "json"}).shape(rows).table
        batch = Batch(rows, new_batch_id(), next(self._numbers))
        self.shard(batch).write_bytes(b"the shard")
        return batch

    def shard(self, batch: Batch) -> Path:
        return self.staging / f"{batch.created_ns}.parquet"

    def drop(self, *batches: Batch):
        for batch in batches:
            (self.staging / f"{batch.created_ns}.parquet").unlink(missing_ok=True)
            (self.parked / f"{batch.created_ns}.parquet").unlink(missing_ok=True)

    def deliver(self, *several) -> list[Receipt]:
        """Batches all the way, in one group."""
        batches = [self.accept(rows) for rows in several]
        self.sink.connect()
        receipts = self.sink.load(batches, refuse)
        assert [receipt.batch_id for receipt in receipts] == [batch.batch_id for batch in batches]
        self.drop(*batches)
        self.sink.publish(batches)
        return receipts

    def read(self, path: Path | None = None) -> pd.DataFrame:
        """A published file as people read it: with the dtypes that are kept beside it."""
        kept = self.folder / "CACHE" / "c_dtypes.json"

        dtypes = load_dtypes(kept) if kept.exists() else None
        return FORMATS[self.stream.fmt].decode((path or self.target).read_bytes(), dtypes)

    def column(self, name: str = "n"):
        return self.read()[name].tolist()

    def leftovers(self) -> list[str]:
        """What is in the queue and is no shard, and what is hidden beside the target."""
        folder = self.target if self.stream.mode == "shard" else self.target.parent
        queued = [path for path in self.staging.iterdir() if path.suffix != ".parquet"]
        return sorted(path.name for path in [*queued, *folder.glob(".*")])


def numbers(*values: int) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64())})
