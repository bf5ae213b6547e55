"""Every kind of place behind one door: databases and files, each given batches and looked into the same way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.batch import Receipt
from api2db.sinks.sql import SqlSink
from tests.bigquery import Emulator
from tests.contract.places import PLACES, Place, Quarantine, batch
from tests.omnisci.kit import Peer
from tests.sinks.bigquery_kit import Table
from tests.sinks.local_kit import Queue

MODES = ("shard", "update", "replace")
DOORS = (*PLACES, *MODES)


class Door(Protocol):
    """A stream into one place.

    replaces  a load takes the place of what is there
    """

    replaces: bool

    def load(self, *tables: pa.Table) -> list[Receipt]:
        """Batches of these tables, oldest first, all the way in one group."""

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """What another program finds, by ``id``."""

    def reopen(self) -> None:
        """Close the sink; what comes next opens it again."""


class DatabaseDoor:
    replaces = False

    def __init__(self, place: Place) -> None:
        self.place = place
        self.sink = SqlSink(stream="weather/sql", url=place.url, table="t")
        self.quarantine = Quarantine()

    def load(self, *tables: pa.Table) -> list[Receipt]:
        self.sink.connect()
        return self.sink.load([batch(table) for table in tables], self.quarantine)

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        return self.place.query(f"SELECT {', '.join(columns)} FROM t ORDER BY id")

    def reopen(self) -> None:
        self.sink.close()


class FileDoor:
    def __init__(self, folder: Path, mode: str) -> None:
        self.replaces = mode == "replace"
        self.queue = Queue(folder, mode=mode, drop_duplicate_keys=[])

    def load(self, *tables: pa.Table) -> list[Receipt]:
        return self.queue.deliver(*tables)

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        target = self.queue.target
        files = sorted(target.iterdir()) if target.is_dir() else [target]
        records = [record for path in files for record in pq.read_table(path).to_pylist()]
        found = [tuple(record.get(column) for column in columns) for record in sorted(records, key=_by_id)]
        return found

    def reopen(self) -> None:
        self.queue.sink.close()
        self.queue.restart()


class BigQueryDoor:
    replaces = False

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self._table = Table(emulator, folder)

    def load(self, *tables: pa.Table) -> list[Receipt]:
        self._table.sink.connect()
        return self._table.load(*tables)

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        return self._table.rows(*columns)

    def reopen(self) -> None:
        self._table.sink.close()


class OmnisciDoor:
    """HeavyDB's peer. It keeps an empty text as NULL, and every name with ``_t`` behind it."""

    replaces = False

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._sink = peer.sink()
        self.quarantine = Quarantine()

    def load(self, *tables: pa.Table) -> list[Receipt]:
        self._sink.connect()
        return self._sink.load([batch(table) for table in tables], self.quarantine)

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        if not self._peer.has("rain_stream"):
            return []
        there = self._peer.types("rain_stream")
        names = [f"{column}_t" if f"{column}_t" in there else "NULL" for column in columns]
        return self._peer.query(f"SELECT {', '.join(names)} FROM rain_stream ORDER BY id_t")

    def reopen(self) -> None:
        self._sink.close()


def _by_id(record: dict[str, Any]) -> int:
    number: int = record["id"]
    return number


def table(columns: dict[str, Sequence[Any] | pa.Array]) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})
