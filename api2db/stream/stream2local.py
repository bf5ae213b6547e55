"""Streams data into local files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from api2db.errors import ConfigError
from api2db.layout import Layout
from api2db.sinks.base import Placement
from api2db.sinks.local import LocalSink
from api2db.stream.stream import Stream


class Stream2Local(Stream):
    """Each batch one file, ``<path>/<timestamp_ns>.parquet``, published once.

    name                 the collector's name
    path                 a folder, created; by default STORE/<name>/<fmt>/
    mode                 "shard": each batch is a file of its own
    fmt                  "parquet"
    drop_duplicate_keys  columns that make two rows of a batch duplicates, of which the first is kept;
                         None: all columns

    Raises ConfigError (a ValueError).
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        mode: str = "shard",
        fmt: str = "parquet",
        drop_duplicate_keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, path=path, fmt=fmt, stream_type=f"local.{fmt}")
        if (mode, fmt) != ("shard", "parquet"):
            raise ConfigError(
                f'Stream2Local {name}: mode="shard" with fmt="parquet" is what there is, not {mode}, {fmt}'
            )
        self.mode = mode
        self.drop_duplicate_keys = drop_duplicate_keys

    def target(self, project: Path, store: Path) -> str:
        return str(self._directory(project, store))

    def sink(self, placement: Placement) -> LocalSink:
        return LocalSink(
            stream=placement.stream,
            directory=self._directory(placement.project, placement.store),
            staging=placement.staging,
            parked=placement.parked,
            drop_duplicate_keys=self.drop_duplicate_keys,
            durable=placement.durable,
        )

    def _directory(self, project: Path, store: Path) -> Path:
        assert self.name is not None
        assert self.fmt is not None
        if self.path is None:
            return Layout(store).shards(self.name, self.fmt)
        return Path(os.path.abspath(project / self.path))
