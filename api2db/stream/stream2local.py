"""Streams data into local files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from api2db import settings
from api2db.errors import ConfigError
from api2db.files import IncreasingNanoseconds, make_dir, write_atomic
from api2db.formats import FORMATS
from api2db.layout import Layout
from api2db.nearest import nearest
from api2db.place import MODES
from api2db.sinks.base import Placement
from api2db.sinks.local import Duplicates, KeptDtypes, Replace, ShardSink, Update, WholeSink
from api2db.sinks.local.publish import sink_errors
from api2db.sinks.local.rewrite import rewrite_now
from api2db.stream.file_converter import CACHE, dtypes_path
from api2db.stream.overridden import hand_over
from api2db.stream.stream import Stream

REWRITES: Final[dict[str, type[Update] | type[Replace]]] = {"update": Update, "replace": Replace}


class Stream2Local(Stream):
    """Files of a collector's data, each batch in them once, whatever is killed.

    name                 the collector's name
    path                 mode "shard": a folder; "update" and "replace": a file; created, relative to the project's
                         folder. By default ``STORE/<name>/<fmt>/`` and ``CACHE/<name>_static.<fmt>``
    mode                 "shard": each batch a file of its own, ``<timestamp_ns>.<fmt>``
                         "update": the file's rows, then those of the batch; each time the whole file is read and
                         written, so this is for files of some hundred thousand rows
                         "replace": the file is what the newest poll brought, whole
    fmt                  "parquet", "json", "pickle", "csv", "feather" or "orc"
    drop_duplicate_keys  columns that make two rows duplicates; None: all columns; an empty list: none are duplicates
    keep                 which of duplicates stays, "first" or "last"

    Readers find a whole file or none. The dtypes of json and csv files are kept in ``CACHE/<name>_dtypes.json``.
    Raises ConfigError (a ValueError) for another mode, fmt or keep, and for keys that aren't names.
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        mode: str = "shard",
        fmt: str = "parquet",
        drop_duplicate_keys: Sequence[str] | None = None,
        *,
        keep: str = "first",
    ) -> None:
        super().__init__(name, path=path, fmt=fmt, stream_type=f"local.{fmt}")
        if mode not in MODES:
            choices = ", ".join(MODES)
            raise ConfigError(f"Stream2Local {name}: mode={mode!r}; the modes are {choices}{nearest(str(mode), MODES)}")
        if path is not None and (not isinstance(path, (str, os.PathLike)) or not os.fspath(path)):
            raise ConfigError(f"Stream2Local {name}: path={path!r}: the path of a folder or a file, or None")
        self.mode = mode
        self.drop_duplicate_keys = drop_duplicate_keys
        self.keep = keep
        self._format = FORMATS[fmt]
        self._duplicates = Duplicates(drop_duplicate_keys, keep, where=f"Stream2Local {name}")
        self._called = f"{name}/{self.stream_type}"
        self._clock = IncreasingNanoseconds()

    def stream(self, data: pd.DataFrame) -> None:
        """Store data as ``mode`` says, at once: for a stream used on its own, without a daemon. Nothing of it waits
        in STORE; a class that extends this one and calls it from its own ``stream`` hands data to its delivery.

        It is on disk when this returns; paths, and the default ones, are against the folder the program runs in.
        Raises FatalError, RetryableError (the disk, the file) or BadDataError (the frame), all of them SinkErrors.
        """
        store = {"shard": self.stream_shard, "update": self.stream_update, "replace": self.stream_replace}
        if not hand_over(self, data):
            store[self.mode](data)

    def stream_shard(self, data: pd.DataFrame) -> None:
        """A file of its own in the folder, ``<timestamp_ns>.<fmt>``. As ``stream``."""
        folder = self._folder(Path.cwd(), settings.load(Path.cwd()).store)
        kept = self._kept_dtypes(Path.cwd())
        with sink_errors(self._called):
            table = self._table(data)
            make_dir(folder)
            if kept is not None:
                kept.widen([table.schema])
            whole = self._format.encode_table(self._duplicates.drop(table))
            write_atomic(folder / f"{self._clock.next()}{self._format.suffix}", whole)

    def stream_update(self, data: pd.DataFrame) -> None:
        """The file's rows, then these, without duplicates. As ``stream``."""
        with sink_errors(self._called):
            rewrite_now(self._rewrite(Update, Path.cwd()), self._table(data))

    def stream_replace(self, data: pd.DataFrame) -> None:
        """The file holds these rows and no others. As ``stream``."""
        with sink_errors(self._called):
            rewrite_now(self._rewrite(Replace, Path.cwd()), self._table(data))

    def target(self, project: Path, store: Path) -> str:
        return str(self._folder(project, store) if self.mode == "shard" else self._file(project))

    def sink(self, placement: Placement) -> ShardSink | WholeSink:
        if self.mode == "shard":
            return ShardSink(
                stream=placement.stream,
                directory=self._folder(placement.project, placement.store),
                staging=placement.staging,
                parked=placement.parked,
                fmt=self._format,
                duplicates=self._duplicates,
                dtypes=self._kept_dtypes(placement.project),
                durable=placement.durable,
            )
        return WholeSink(
            stream=placement.stream,
            rewrite=self._rewrite(REWRITES[self.mode], placement.project),
            staging=placement.staging,
            parked=placement.parked,
            durable=placement.durable,
        )

    def _rewrite(self, kind: type[Update] | type[Replace], project: Path) -> Update | Replace:
        return kind(self._file(project), self._format, self._duplicates, self._kept_dtypes(project))

    def _folder(self, project: Path, store: Path) -> Path:
        assert self.name is not None
        return Layout(store).shards(self.name, self._format.name) if self.path is None else _under(project, self.path)

    def _file(self, project: Path) -> Path:
        default = CACHE / f"{self.name}_static{self._format.suffix}"
        return _under(project, default if self.path is None else self.path)

    def _kept_dtypes(self, project: Path) -> KeptDtypes | None:
        assert self.name is not None
        return None if self._format.says_dtypes else KeptDtypes(_under(project, dtypes_path(self.name)))


def _under(project: Path, path: str | Path) -> Path:
    return Path(os.path.abspath(project / path))
