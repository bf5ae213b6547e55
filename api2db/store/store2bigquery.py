"""Composes the files of a folder into a BigQuery table."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from api2db.store.store import Store


class Store2Bigquery(Store):
    """Parameters as those of ``Store`` and of ``Stream2Bigquery``, whose others can be given by keyword."""

    def __init__(
        self,
        name: str,
        seconds: float | str,
        auth_path: str,
        pid: str,
        did: str,
        tid: str,
        path: str | None = None,
        fmt: str = "parquet",
        drop_duplicate_exclude: Sequence[str] | None = None,
        move_shards_path: str | None = None,
        move_composed_path: str | None = None,
        location: str = "US",
        if_exists: str = "append",
        chunk_size: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(
            name, seconds, path, fmt, drop_duplicate_exclude, move_shards_path, move_composed_path, chunk_size
        )
        # Its client is heavy, and an extra: loaded when there is such a store.
        kind = import_module("api2db.stream.stream2bigquery").Stream2Bigquery
        self.stream = kind(name, auth_path, pid, did, tid, location, if_exists, chunk_size, store=True, **options)
        self.if_exists = if_exists
        self.store_str = f"bigquery {pid}.{did}.{tid}"
