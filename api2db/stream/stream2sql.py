"""Streams data into an SQL database."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import sqlalchemy
from sqlalchemy import URL

from api2db.credentials import load_auth
from api2db.errors import ConfigError, SinkError
from api2db.place import DRIVERS, FILE_DIALECTS, parse_url, url_of_parts
from api2db.secret import redact_url
from api2db.sinks.base import Placement
from api2db.sinks.sql import IfExists, SqlSink, dialect_of
from api2db.stream.stream import Stream

log = logging.getLogger(__name__)

# As many as SQLAlchemy's own engines keep.
_ENGINE_CONNECTIONS = 5
# A documented name for two databases.
_AURORA = 'say which: dialect="amazon_aurora_mysql" or "amazon_aurora_postgresql"'


class Stream2Sql(Stream):
    """Appends to one table, merges into it or replaces what is in it; database and table are created.

    name        the collector's name, and the table's
    db_name     the database; for dialect="sqlite" or "duckdb" a file, against the project's folder
    dialect     "postgresql", "mariadb", "mysql", "sqlite", "duckdb", "amazon_aurora_mysql",
                "amazon_aurora_postgresql", "oracle" or "microsoft_sql"; others by their url
    username, password, host, port   of the server; not needed for sqlite and duckdb
    auth_path   a JSON file with username, password and host instead
    if_exists   "append" adds rows; "replace" puts what a poll brings in the place of all rows, in one transaction;
                "fail" refuses a table that was there before this stream
    chunk_size  rows per statement; 0 leaves it to the loader
    store       True when a store uses the stream
    url         an SQLAlchemy URL (text or object) in place of db_name … port
    table       another name for the table
    key         column or columns of which a row is unique: rows are merged, the newest ``version`` wins
    version     the column that says which row of a key is newest; without it the later batch wins
    batch_column  a text column that is added, with each row's batch id, where rows are appended; such as "_batch_id"

    driver      SQLAlchemy's driver name
    engine_str  the whole URL, password included, as for ``sqlalchemy.create_engine``
    log_str     what logs say: no password in it
    con         the engine once connected
    connected   True once a connection was established

    Raises ValueError if auth_path is invalid, or username, password or host is missing, and
    NotImplementedError for dialect="amazon_aurora", which is two databases.
    """

    def __init__(
        self,
        name: str,
        db_name: str | None = None,
        dialect: str | None = None,
        username: str | None = None,
        password: str | None = None,
        host: str | None = None,
        auth_path: str | None = None,
        port: str | int = "",
        if_exists: str = "append",
        chunk_size: int = 0,
        store: bool = False,
        *,
        url: str | URL | None = None,
        table: str | None = None,
        key: str | Iterable[str] = (),
        version: str | None = None,
        batch_column: str | None = None,
    ) -> None:
        if url is not None:
            self._url = parse_url(url, f"Stream2Sql {name}") if isinstance(url, str) else url
            dialect = self._url.get_backend_name()
        super().__init__(name, chunk_size=chunk_size, stream_type=f"sql.{dialect}", store=store)
        self.db_name = db_name if url is None else self._url.database
        self.dialect = dialect
        self.username = username
        self.password = password
        self.host = host
        self.auth_path = auth_path
        self.port = str(port)
        if self.port and not self.port.isdigit():
            raise ConfigError(f"Stream2Sql {name}: port={port!r} isn't a number")
        self.if_exists = if_exists
        self.table = table or name
        self.key = (key,) if isinstance(key, str) else tuple(key)
        self.version = version
        if version is not None and not self.key:
            raise ConfigError(f"Stream2Sql {name}: version={version!r} needs key=: which rows are the same?")
        self.batch_column = batch_column
        IfExists.parse(if_exists)
        self.con: sqlalchemy.Engine | None = None
        self.connected = False
        if url is None:
            if auth_path is not None:
                self._read_auth(auth_path)
            elif dialect not in FILE_DIALECTS:
                missing = [word for word in ("username", "password", "host") if getattr(self, word) is None]
                if missing:
                    raise ConfigError(f"Stream2Sql {name}: {', '.join(missing)} missing; or give auth_path or url")
        self.load()

    def _read_auth(self, auth_path: str) -> None:
        auth = load_auth(auth_path)
        self.username, self.host = auth.username, auth.host
        self.password = None if auth.password is None else auth.password.reveal()
        self.port = self.port or str(auth.port or "")
        if auth.url is not None:
            self._url = parse_url(auth.url.reveal(), f"Stream2Sql {self.name}: {auth_path}")

    def renewed(self) -> Stream2Sql:
        """The same stream with the file of its ``auth_path`` read anew. Raises ConfigError."""
        if self.auth_path is None:
            return self
        again = copy.copy(self)
        del again._url
        again._read_auth(self.auth_path)
        again.load()
        return again

    def load(self) -> None:
        """Find the driver and make ``engine_str`` and ``log_str``.

        Raises NotImplementedError for "amazon_aurora", which is two databases, ConfigError for an unknown one.
        """
        if not hasattr(self, "_url"):
            self._url = self._url_of_parts()
        if self._url.drivername in ("mysql", "mariadb"):
            # Without a driver's name SQLAlchemy would take another one than ours.
            self._url = self._url.set(drivername=DRIVERS[self._url.drivername])
        self.driver = self._url.drivername
        self.engine_str = self._url.render_as_string(hide_password=False)
        self.log_str = f"{redact_url(self._url)} table={self.table}"

    def connect(self) -> bool:
        """Try to reach the database, creating it if need be. True if that worked; the reason is logged if not."""
        self.connected = False
        try:
            sink = SqlSink(stream=f"{self.name}/{self.stream_type}", url=self._at(Path.cwd()), table=self.table)
            try:
                sink.connect()
            finally:
                sink.close()
        except (ConfigError, SinkError) as error:
            log.warning("not connected stream=%s cause=%s", self.log_str, error)
        else:
            self.con = self._engine(self._at(Path.cwd()))
            self.connected = True
        return self.connected

    def stream(self, data: pd.DataFrame, retry_depth: int = 5) -> None:
        """Load a frame at once: for a stream used on its own, without a daemon.

        It is accepted in STORE first. A load that fails is repeated ``retry_depth`` times, with growing pauses; then
        the reason is logged and the rows stay in ``STORE/upload_failed/<name>/<stream_type>/<timestamp_ns>.parquet``,
        to be loaded by ``check_failures`` or after the next frame that can be. Rows that never fit the table are
        kept in STORE/quarantine. Raises StoreFullError or StoreError if the frame can't be accepted, ShapeError for
        one that no table can be made of, StoreLockedError while a daemon uses the same STORE.
        """
        loaded = self._load_at_once(data, retry_depth)
        if loaded is not None:
            self.connected = loaded

    def _engine(self, url: URL) -> sqlalchemy.Engine:
        if url.get_backend_name() in ("mysql", "mariadb", "duckdb"):
            # Parameters such as ssl_mode are ours: the driver doesn't know them.
            return dialect_of(url).engine(url, _ENGINE_CONNECTIONS)
        return sqlalchemy.create_engine(url)

    def target(self, project: Path, store: Path) -> str:
        url = self._at(project)
        return f"{dialect_of(url).target(url)}/{self.table}"

    def sink(self, placement: Placement) -> SqlSink:
        return SqlSink(
            stream=placement.stream,
            url=self._at(placement.project),
            table=self.table,
            key=self.key,
            version=self.version,
            if_exists=self.if_exists,
            engines=placement.engines,
            chunk_size=self.chunk_size,
            store_id=placement.store_id,
            batch_column=self.batch_column,
        )

    def _at(self, project: Path) -> URL:
        """The URL, with a file's path against the project's folder."""
        if self._url.get_backend_name() not in FILE_DIALECTS or not self._url.database:
            return self._url
        return self._url.set(database=os.path.abspath(project / self._url.database))

    def _url_of_parts(self) -> URL:
        if self.dialect == "amazon_aurora":
            raise NotImplementedError(f"Stream2Sql {self.name}: dialect {self.dialect!r} is two databases; {_AURORA}")
        if self.dialect not in DRIVERS:
            raise ConfigError(
                f"Stream2Sql {self.name}: dialect={self.dialect!r}; the dialects are {', '.join(DRIVERS)}"
            )
        if not self.db_name:
            raise ConfigError(f"Stream2Sql {self.name}: db_name is missing")
        port = int(self.port) if self.port else None
        return url_of_parts(self.dialect, self.db_name, self.username, self.password, self.host, port)
