"""One session with a HeavyDB server: the calls we need of the interface its client ships, with time limits.

The client's own ``Connection`` has no limits of time, so a server that doesn't answer would hold a thread for ever.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from api2db.errors import FatalError, RetryableError
from api2db.printable import printable
from api2db.secret import Secret, redact

LOGIN_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 900.0
# Of each protocol the port a server listens on unless told otherwise.
PORTS: Final = {"binary": 6274, "http": 6278, "https": 6278}
EXTRA: Final = "api2db-daemon[omnisci]"
_CAUSE_CHARS = 500
_SILENT: Final = logging.NullHandler()

# What of a server's message needs a person; by its words, since the interface has no codes.
_FATAL: Final = (
    ("credentials", "check username and password"),
    ("password", "check username and password"),
    ("unauthorized", "grant this user access to the database"),
    ("privileges", "grant this user CREATE, SELECT, INSERT, DELETE and ALTER on it"),
    ("read only", "load into a server that may be written"),
    ("read-only", "load into a server that may be written"),
)


@dataclass(frozen=True)
class Login:
    """Where a server is, and how to get in. No password in its repr."""

    host: str
    database: str
    username: str
    password: Secret = field(repr=False)
    protocol: str = "binary"
    port: int | None = None

    @property
    def server(self) -> str:
        return f"omnisci://{self.host}:{self.port or PORTS[self.protocol]}"


@dataclass(frozen=True)
class Described:
    """A column of a table as the server describes it. ``type`` is a name of the interface's TDatumType."""

    name: str
    type: str
    required: bool
    is_array: bool


class LostError(RetryableError):
    """The connection broke: whether the server did what was asked isn't known."""


class Wire:
    """A session, used by one thread at a time. Raises only errors under SinkError."""

    def __init__(self, login: Login) -> None:
        self._login = login
        thrift = _thrift()
        self._thrift = thrift
        with self._our_errors():
            self._client, self._transport, timed = thrift.client(login)
            timed.setTimeout(LOGIN_TIMEOUT_S * 1000)
            try:
                self._transport.open()
                self._session = self._client.connect(login.username, login.password.reveal(), login.database)
            except BaseException:
                self._transport.close()
                raise
            timed.setTimeout(READ_TIMEOUT_S * 1000)

    def tables(self) -> list[str]:
        with self._our_errors():
            return list(self._client.get_tables(self._session))

    def columns(self, table: str) -> dict[str, Described]:
        """By name, in the table's order, without what the server itself adds (``rowid``, parts of geometries)."""
        with self._our_errors():
            details = self._client.get_table_details(self._session, table)
        found = {}
        for each in details.row_desc:
            if each.is_system or each.is_physical:
                continue
            kind = each.col_type
            name = self._thrift.type_names.get(kind.type, str(kind.type))
            found[each.col_name] = Described(each.col_name, name, not kind.nullable, bool(kind.is_array))
        return found

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement, texts and numbers; none for one that gives none."""
        with self._our_errors():
            result = self._client.sql_execute(self._session, sql, True, None, -1, -1)
        columns = result.row_set.columns if result.row_set is not None else None
        return list(zip(*map(_values, columns or ()), strict=True))

    def load(self, table: str, rows: pa.RecordBatch) -> None:
        """Add rows, matched by the names of columns: one call, one import of the server's, all of it or nothing."""
        with pa.BufferOutputStream() as stream:
            with pa.ipc.new_stream(stream, rows.schema) as writer:
                writer.write_batch(rows)
            payload = stream.getvalue().to_pybytes()
        with self._our_errors():
            self._client.load_table_binary_arrow(self._session, table, payload, True)

    def close(self) -> None:
        """End the session; a connection that is broken already just goes."""
        with contextlib.suppress(Exception):
            self._client.disconnect(self._session)
        self.drop()

    def drop(self) -> None:
        """Close the connection without another word to the server."""
        with contextlib.suppress(Exception):
            self._transport.close()

    def end_session(self, other: Wire) -> None:
        """Have the server take nothing more of another session, whose connection broke."""
        with contextlib.suppress(self._thrift.Refused, RetryableError, FatalError), self._our_errors():
            self._client.disconnect(other._session)

    @contextlib.contextmanager
    def _our_errors(self) -> Iterator[None]:
        """The one place that reads this client's errors."""
        where = self._login.server
        try:
            yield
        except self._thrift.Refused as error:
            raise _refused(str(getattr(error, "error_msg", error)), self._login) from error
        except self._thrift.broken as error:
            slow = isinstance(error, TimeoutError) or getattr(error, "type", None) == self._thrift.timed_out
            cause = "it didn't answer in time" if slow else f"{type(error).__name__}: {error}"
            raise LostError(f"the server at {where} can't be reached: {self._clean(cause)}") from error

    def _clean(self, text: str) -> str:
        return printable(redact(text, [self._login.password]))[:_CAUSE_CHARS]


def _refused(message: str, login: Login) -> RetryableError | FatalError:
    shown = printable(redact(message, [login.password]))[:_CAUSE_CHARS]
    lower = message.lower()
    if "session" in lower:
        return LostError(f"the server has ended the session: {shown}")
    for words, advice in _FATAL:
        if words in lower:
            return FatalError(f"{shown}; {advice}")
    return RetryableError(shown)


def _values(column: Any) -> Sequence[Any]:
    data = column.data
    values = data.str_col or data.real_col or data.int_col or []
    return [None if null else value for value, null in zip(values, column.nulls, strict=True)]


@dataclass(frozen=True)
class _Thrift:
    """What the client's packages have, imported when first needed."""

    Refused: type[Exception]
    broken: tuple[type[Exception], ...]
    timed_out: int
    type_names: dict[int, str]

    def client(self, login: Login) -> tuple[Any, Any, Any]:
        """Client, transport, and what of it has ``setTimeout``. Nothing is opened."""
        from heavydb.thrift.Heavy import Client
        from thrift.protocol import TBinaryProtocol, TJSONProtocol
        from thrift.transport import THttpClient, TSocket, TTransport

        port = login.port or PORTS[login.protocol]
        if login.protocol == "binary":
            plain = TSocket.TSocket(login.host, port)
            buffered = TTransport.TBufferedTransport(plain)
            return Client(TBinaryProtocol.TBinaryProtocolAccelerated(buffered)), buffered, plain
        web = THttpClient.THttpClient(f"{login.protocol}://{login.host}:{port}")
        return Client(TJSONProtocol.TJSONProtocol(web)), web, web


def _thrift() -> _Thrift:
    try:
        from heavydb.common.ttypes import TDatumType
        from heavydb.thrift.ttypes import TDBException
        from thrift.protocol.TProtocol import TProtocolException
        from thrift.Thrift import TApplicationException
        from thrift.transport.TTransport import TTransportException
    except ImportError as error:
        raise FatalError(f"HeavyDB needs its client: pip install '{EXTRA}' ({error})") from error
    broken: tuple[type[Exception], ...] = (TTransportException, TProtocolException, TApplicationException)
    broken += (OSError, EOFError, http.client.HTTPException)
    # It logs each connection that fails; so do we, once. A program's own handlers still get it.
    logging.getLogger("thrift").addHandler(_SILENT)
    return _Thrift(TDBException, broken, TTransportException.TIMED_OUT, dict(TDatumType._VALUES_TO_NAMES))
