"""Composes the files of a folder into an Omnisci table."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from api2db.store.store import Store


class Store2Omnisci(Store):
    """Parameters as those of ``Store`` and of ``Stream2Omnisci``."""

    def __init__(
        self,
        name: str,
        seconds: float | str,
        db_name: str,
        username: str | None = None,
        password: str | None = None,
        host: str | None = None,
        auth_path: str | None = None,
        path: str | None = None,
        fmt: str = "parquet",
        drop_duplicate_exclude: Sequence[str] | None = None,
        move_shards_path: str | None = None,
        move_composed_path: str | None = None,
        protocol: str = "binary",
        chunk_size: int = 0,
    ) -> None:
        super().__init__(
            name, seconds, path, fmt, drop_duplicate_exclude, move_shards_path, move_composed_path, chunk_size
        )
        # Its client is heavy, and an extra: loaded when there is such a store.
        kind = import_module("api2db.stream.stream2omnisci").Stream2Omnisci
        self.stream = kind(name, db_name, username, password, host, auth_path, protocol, chunk_size, store=True)
        self.store_str = f"omnisci {db_name}"
