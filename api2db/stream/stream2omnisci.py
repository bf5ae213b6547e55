"""Streams data into OmniSci, which is called HeavyDB now."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from api2db.credentials import load_auth
from api2db.errors import ConfigError
from api2db.secret import Secret, redact, remember
from api2db.sinks.base import Placement
from api2db.sinks.omnisci import Login, OmnisciSink
from api2db.sinks.omnisci.names import SUFFIX, table_of
from api2db.sinks.omnisci.wire import EXTRA, PORTS, Wire
from api2db.stream.stream import Stream

log = logging.getLogger(__name__)

_OWN: Final = object()


class Stream2Omnisci(Stream):
    """Appends to the table ``<name>_stream``, which is created; each column has ``_t`` behind its name.

    name        the collector's name
    db_name     the database
    username, password, host   of the server
    auth_path   a JSON file with username, password and host instead; it may name a port
    protocol    "binary", "http" or "https"
    chunk_size  not used: an import is at most 8 MiB
    store       True when a store uses the stream
    port        6274, for http and https 6278, unless given

    con         the client's connection after ``connect()``, for you; loads don't use it
    log_str     what logs say: no password in it

    Raises ValueError if auth_path is invalid, or username, password or host is missing.
    """

    def __init__(
        self,
        name: str,
        db_name: str,
        username: str | None = None,
        password: str | None = None,
        host: str | None = None,
        auth_path: str | None = None,
        protocol: str = "binary",
        chunk_size: int = 0,
        store: bool = False,
        *,
        port: int | None = None,
    ) -> None:
        super().__init__(name, chunk_size=chunk_size, stream_type="omnisci", store=store)
        where = f"Stream2Omnisci {name}"
        self.db_name = db_name
        self.auth_path = auth_path
        self.protocol = protocol
        if auth_path is not None:
            auth = load_auth(auth_path)
            if auth.url is not None:
                raise ConfigError(f"{where}: {auth_path} has a url; this stream takes username, password and host")
            username, host, port = auth.username, auth.host, port or auth.port
            password = None if auth.password is None else auth.password.reveal()
        self.username, self.password, self.host, self.port = username, password, host, port
        if username is None or password is None or host is None:
            given = {"username": username, "password": password, "host": host}
            missing = [word for word, value in given.items() if value is None]
            raise ConfigError(f"{where}: {', '.join(missing)} missing; or give auth_path")
        if protocol not in PORTS:
            raise ConfigError(f"{where}: protocol={protocol!r}; the protocols are {', '.join(PORTS)}")
        if not db_name:
            raise ConfigError(f"{where}: db_name is missing")
        remember(password)
        self._login = Login(host, db_name, username, Secret(password), protocol, port)
        self.table = table_of(name)
        self.log_str = f"{self._login.server}/{db_name} table={self.table}"
        self.con: Any = None

    def connect(self) -> Any:
        """A connection of the client's (``heavyai.Connection``), also in ``con``; None if there is none, the reason
        logged."""
        try:
            heavyai = importlib.import_module("heavyai")
        except ImportError as error:
            log.warning("not connected stream=%s cause=%s; pip install '%s'", self.log_str, error, EXTRA)
            return None
        try:
            Wire(self._login).close()  # the client has no time limit, and leaves a connection open that it can't use
            self.con = heavyai.connect(
                user=self.username, password=self.password, host=self.host, dbname=self.db_name,
                port=self.port or PORTS[self.protocol], protocol=self.protocol,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - the client raises its own, Thrift's, the socket's and built-in ones
            log.warning("not connected stream=%s cause=%s", self.log_str, redact(str(error), [str(self.password)]))
            self.con = None
        return self.con

    def connected(self, con: object = _OWN) -> bool:
        """Whether that is a connection; without an argument, whether ``con`` is."""
        return (self.con if con is _OWN else con) is not None

    @staticmethod
    def cast_categorical(data: pd.DataFrame, dtypes: Mapping[Any, Any]) -> pd.DataFrame:
        """A copy with columns of text as categories, and ``_t`` behind each column's name.

        dtypes  column -> dtype, such as ``data.dtypes``
        """
        texts = [name for name in data.columns if name in dtypes and _is_text(dtypes[name], data[name])]
        return data.astype(dict.fromkeys(texts, "category")).rename(columns=lambda name: f"{name}{SUFFIX}")

    def stream(self, data: pd.DataFrame, retry_depth: int = 5) -> None:
        """Load a frame at once: for a stream used on its own, without a daemon.

        It is accepted in STORE first. A load that fails is repeated ``retry_depth`` times, with growing pauses; then
        the reason is logged and the rows stay in ``STORE/upload_failed/<name>/omnisci/<timestamp_ns>.parquet``, to be
        loaded by ``check_failures`` or after the next frame that can be. Raises as ``Stream2Sql.stream`` does.
        """
        if self._load_at_once(data, retry_depth) is False:
            self.con = None

    def target(self, project: Path, store: Path) -> str:
        return self._sink("").target

    def sink(self, placement: Placement) -> OmnisciSink:
        return self._sink(placement.stream)

    def _sink(self, stream: str) -> OmnisciSink:
        return OmnisciSink(stream=stream, login=self._login, table=self.table)


def _is_text(dtype: Any, values: pd.Series[Any]) -> bool:
    """Whether a column's dtype is one of text, and its values, where they are objects of any kind, are."""
    if not (dtype is str or pd.api.types.is_string_dtype(dtype) or pd.api.types.is_object_dtype(dtype)):
        return False
    return values.dtype != object or pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty")
