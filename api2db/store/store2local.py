"""Composes the files of a folder into one file, or into larger ones."""

from __future__ import annotations

from collections.abc import Sequence

from api2db.store.store import Store
from api2db.stream.stream2local import Stream2Local


class Store2Local(Store):
    """Parameters as those of ``Store``; and where the rows go, as those of ``Stream2Local``.

    to_path              the folder (mode "shard") or the file
    mode                 "shard": larger shards; "update": the file's rows and these; "replace": these alone
    to_fmt               its format; ``fmt`` if None
    drop_duplicate_keys  as in ``Stream2Local``: of the rows that are in its file. Not those of the folder
    """

    def __init__(
        self,
        name: str,
        seconds: float | str,
        path: str | None = None,
        fmt: str = "parquet",
        drop_duplicate_exclude: Sequence[str] | None = None,
        move_shards_path: str | None = None,
        move_composed_path: str | None = None,
        chunk_size: int = 0,
        *,
        to_path: str,
        mode: str = "shard",
        to_fmt: str | None = None,
        drop_duplicate_keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name, seconds, path, fmt, drop_duplicate_exclude, move_shards_path, move_composed_path, chunk_size
        )
        stream = Stream2Local(name, to_path, mode, to_fmt or fmt, drop_duplicate_keys)
        stream.is_store_instance = True
        self.stream = stream
        self.if_exists = "replace" if mode == "replace" else "append"
        self.store_str = f"{to_path} mode={mode}"
