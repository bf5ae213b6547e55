"""Composes the files of a folder into an SQL table."""

from __future__ import annotations

from collections.abc import Sequence

from api2db.store.store import Store
from api2db.stream.stream2sql import Stream2Sql


class Store2Sql(Store):
    """Parameters as those of ``Store`` and of ``Stream2Sql``."""

    def __init__(
        self,
        name: str,
        seconds: float | str,
        db_name: str,
        dialect: str,
        username: str | None = None,
        password: str | None = None,
        host: str | None = None,
        auth_path: str | None = None,
        port: str | int = "",
        path: str | None = None,
        fmt: str = "parquet",
        drop_duplicate_exclude: Sequence[str] | None = None,
        move_shards_path: str | None = None,
        move_composed_path: str | None = None,
        if_exists: str = "append",
        chunk_size: int = 0,
    ) -> None:
        super().__init__(
            name, seconds, path, fmt, drop_duplicate_exclude, move_shards_path, move_composed_path, chunk_size
        )
        stream = Stream2Sql(
            name, db_name, dialect, username, password, host, auth_path, port, if_exists, chunk_size, store=True
        )
        self.if_exists = if_exists
        self.stream = stream
        self.store_str = stream.log_str
