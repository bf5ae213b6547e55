"""A BigQuery stream's sink over real shards in a queue directory, restarted at will."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from api2db.batch import Batch, Receipt
from api2db.shard import encode
from api2db.sinks.base import Placement
from api2db.sinks.bigquery import BigQuerySink
from api2db.stream import Stream2Bigquery
from tests.bigquery import PROJECT, Emulator
from tests.contract.places import Quarantine, batch


class Table:
    """A stream into one table of a dataset of its own; ``options`` are the stream's."""

    def __init__(self, emulator: Emulator, folder: Path, **options: Any) -> None:
        self.emulator = emulator
        self.folder = folder
        self.did = options.pop("did", None) or emulator.dataset()
        self.quarantine = Quarantine()
        self.stream = self._stream(**options)
        self.sink = self.restart()

    def _stream(self, **options: Any) -> Stream2Bigquery:
        known = {"pid": PROJECT, "did": self.did, "tid": "t", "load_every": 0, "auth_path": str(self.emulator.keys)}
        return Stream2Bigquery("weather", **{**known, "api_endpoint": self.emulator.url, **options})

    @property
    def name(self) -> str:
        return f"{self.did}.{self.stream.tid}"

    @property
    def staging(self) -> Path:
        return self.folder / "STORE" / "queue" / "weather" / "bigquery"

    def restart(self, **options: Any) -> BigQuerySink:
        """As after a crash: a sink that knows only what is on disk."""
        if options:
            self.stream = self._stream(**options)
        parked = self.folder / "STORE" / "upload_failed" / "weather" / "bigquery"
        self.sink = self.stream.sink(
            Placement("weather/bigquery", self.folder / "STORE", self.staging, parked, self.folder, store_id="s")
        )
        return self.sink

    def shard(self, rows: Any) -> Batch:
        """A batch whose shard waits in the queue directory."""
        one = batch(rows)
        self.staging.mkdir(parents=True, exist_ok=True)
        (self.staging / f"{one.created_ns}.parquet").write_bytes(
            encode(one, collector="weather", cursor=None, streams=())
        )
        return one

    def load(self, *batches: Batch | dict[str, Any] | pa.Table) -> list[Receipt]:
        made = [one if isinstance(one, Batch) else batch(one) for one in batches]
        return self.sink.load(made, self.quarantine)

    def rows(self, *columns: str, by: str = "id") -> list[tuple[Any, ...]]:
        return self.emulator.query(f"SELECT {', '.join(columns) or '*'} FROM {self.name} ORDER BY {by}")

    def types(self) -> dict[str, str]:
        sql = f"SELECT column_name, data_type FROM {self.did}.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 't'"
        return dict(self.emulator.query(sql))

    def left(self) -> Sequence[str]:
        """What waits in the queue directory, but for shards."""
        return sorted(path.name for path in self.staging.iterdir() if path.suffix not in (".parquet", ".start"))
