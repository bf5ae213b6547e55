"""A peer that speaks HeavyDB's protocol, by the interface definition its own client ships, over an SQLite file.

``python -m tests.omnisci.peer <folder> binary|http <port>``: its port is in ``<folder>/port``, its data in
``<folder>/data.sqlite``. It isn't HeavyDB. It takes what HeavyDB's sources take (one record batch an import, the exact
Arrow type of each column, the limit of a text) and what its documentation says of SQL; an import is one transaction, as
one of HeavyDB's moves its table's epoch once. Sessions die with the process.

``<folder>/fault`` holds one word: what happens to the next import (it is removed then), or with ``:3`` to the third.
  refuse        answered with an error, nothing done
  full          the import fails half-way, nothing of it is in
  drop_before   the connection ends, nothing done
  drop_after    all of it is in, the connection ends without an answer
  kill_before   the process dies, nothing done
  kill_after    all of it is in, the process dies without an answer
  hang          nothing is done or answered until the file ``<folder>/go`` is there
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socketserver
import sqlite3
import sys
import threading
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
from heavydb.common.ttypes import TDatumType, TEncodingType, TTypeInfo
from heavydb.thrift import Heavy
from heavydb.thrift.ttypes import (
    TColumn,
    TColumnData,
    TColumnType,
    TDBException,
    TQueryResult,
    TRowSet,
    TTableDetails,
)
from thrift.protocol import TBinaryProtocol, TJSONProtocol
from thrift.server import THttpServer, TServer
from thrift.transport import TSocket, TTransport

USER, PASSWORD, DATABASE = "admin", "HyperInteractive", "heavyai"
READER = "reader"  # may connect and read, nothing else

ARROW = {
    "BOOLEAN": (TDatumType.BOOL, pa.types.is_boolean),
    "TINYINT": (TDatumType.TINYINT, pa.types.is_int8),
    "SMALLINT": (TDatumType.SMALLINT, pa.types.is_int16),
    "INTEGER": (TDatumType.INT, pa.types.is_int32),
    "BIGINT": (TDatumType.BIGINT, pa.types.is_int64),
    "FLOAT": (TDatumType.FLOAT, pa.types.is_float32),
    "DOUBLE": (TDatumType.DOUBLE, pa.types.is_float64),
    "TEXT": (TDatumType.STR, pa.types.is_string),
    "DATE": (TDatumType.DATE, pa.types.is_date),
    "TIMESTAMP": (TDatumType.TIMESTAMP, pa.types.is_timestamp),
    "TIME": (TDatumType.TIME, pa.types.is_time),
}
CREATE = re.compile(r"CREATE TABLE (IF NOT EXISTS )?(\w+) \((.*)\)$")
ALTER = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (\w+) (.*)$")


def refused(message: str) -> TDBException:
    return TDBException(error_msg=message)


class Handler:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.sessions: dict[str, str] = {}
        self.db = sqlite3.connect(folder / "data.sqlite", check_same_thread=False, isolation_level=None)
        self.db.execute("CREATE TABLE IF NOT EXISTS _columns (t, c, type, required, PRIMARY KEY (t, c))")

    def connect(self, user: str, passwd: str, dbname: str) -> str:
        if user not in (USER, READER) or passwd != PASSWORD:
            raise refused("Invalid credentials.")
        if dbname != DATABASE:
            raise refused(f"Database name {dbname} does not exist.")
        session = secrets.token_hex(16)
        self.sessions[session] = user
        return session

    def disconnect(self, session: str) -> None:
        self._check(session)
        del self.sessions[session]

    def get_version(self) -> str:
        return "8.1.0-peer"

    def get_tables(self, session: str) -> list[str]:
        self._check(session)
        with self.lock:
            return [row[0] for row in self.db.execute("SELECT DISTINCT t FROM _columns")]

    def get_table_details(self, session: str, table_name: str) -> TTableDetails:
        self._check(session)
        return TTableDetails(row_desc=[self._described(*row) for row in self._columns(table_name)])

    def sql_execute(
        self, session: str, query: str, column_format: bool, nonce: str, first_n: int, at_most_n: int
    ) -> TQueryResult:
        user = self._check(session)
        if not query.startswith("SELECT") and user == READER:
            raise refused(f"Violation of access privileges: user {user} has no proper privileges")
        with self.lock:
            if create := CREATE.match(query):
                if create[2] not in self.get_tables(session) or not create[1]:
                    self._create(create[2], create[3].split(", "))
                return TQueryResult(row_set=TRowSet(row_desc=[], rows=[], columns=[], is_columnar=True))
            if alter := ALTER.match(query):
                self._add(alter[1], alter[2], alter[3])
                return TQueryResult(row_set=TRowSet(row_desc=[], rows=[], columns=[], is_columnar=True))
            try:
                cursor = self.db.execute(query)
            except sqlite3.Error as error:
                raise refused(f"SQL Error: {error}") from error
            return TQueryResult(row_set=self._rows(cursor))

    def load_table_binary_arrow(
        self, session: str, table_name: str, arrow_stream: bytes, use_column_names: bool
    ) -> None:
        user = self._check(session)
        if user == READER:
            raise refused("User has no insert privileges on " + table_name)
        fault = self._fault()
        if fault == "refuse":
            raise refused("Exception: out of memory")
        if fault == "hang":
            while not (self.folder / "go").exists():
                threading.Event().wait(0.02)
            raise TTransport.TTransportException(message="dropped")
        self._die(fault, "before")
        batches = list(pa.ipc.open_stream(arrow_stream))
        if len(batches) != 1:
            raise refused("Expected a single Arrow record batch. Import aborted")
        (batch,) = batches
        assert use_column_names, "by position a new column of somebody else's would take another's values"
        with self.lock:
            columns = {name: (kind, required) for name, kind, required in self._columns(table_name)}
            for name, array in zip(batch.schema.names, batch.columns, strict=True):
                kind, required = columns[name]
                if not ARROW[kind.partition("(")[0].partition(" ")[0]][1](array.type):
                    raise refused(f"Exception: Expected {kind} type")
                if required and array.null_count:
                    raise refused(f"Exception: NULL not allowed for column {name}")
            values = [[_stored(value) for value in array.to_pylist()] for array in batch.columns]
            marks = ", ".join("?" * len(values))
            self.db.execute("BEGIN")
            rows = list(zip(*values, strict=True))
            if fault == "full":
                rows = rows[: len(rows) // 2]
            self.db.executemany(f"INSERT INTO {table_name} ({', '.join(batch.schema.names)}) VALUES ({marks})", rows)
            if fault == "full":
                self.db.execute("ROLLBACK")
                raise refused("Exception: No space left on device")
            self.db.execute("COMMIT")
        self._die(fault, "after")

    def _check(self, session: str) -> str:
        if session not in self.sessions:
            raise refused("Session not valid.")
        return self.sessions[session]

    def _fault(self) -> str:
        try:
            (self.folder / "fault").rename(self.folder / "fault.met")
        except FileNotFoundError:
            return ""
        word, _, number = (self.folder / "fault.met").read_text().partition(":")
        if number and int(number) > 1:
            (self.folder / "fault").write_text(f"{word}:{int(number) - 1}")
            return ""
        return word

    def _die(self, fault: str, when: str) -> None:
        if fault == f"drop_{when}":
            raise TTransport.TTransportException(message="dropped")
        if fault == f"kill_{when}":
            os.kill(os.getpid(), signal.SIGKILL)

    def _columns(self, table: str) -> list[tuple[str, str, int]]:
        with self.lock:
            found = self.db.execute("SELECT c, type, required FROM _columns WHERE t = ? ORDER BY rowid", (table,))
            rows = found.fetchall()
        if not rows:
            raise refused(f"Table/View {table} for catalog {DATABASE} does not exist")
        return rows

    def _create(self, table: str, definitions: list[str]) -> None:
        for definition in definitions:
            name, _, kind = definition.partition(" ")
            self._enter(table, name, kind)
        self.db.execute(f"CREATE TABLE {table} ({', '.join(d.partition(' ')[0] for d in definitions)})")

    def _add(self, table: str, name: str, kind: str) -> None:
        if name in [column for column, _, _ in self._columns(table)]:
            raise refused(f"Column {name} already exists")
        self._enter(table, name, kind)
        self.db.execute(f"ALTER TABLE {table} ADD COLUMN {name}")

    def _enter(self, table: str, name: str, kind: str) -> None:
        if kind.removesuffix(" NOT NULL").partition("(")[0].partition(" ")[0] not in ARROW:
            raise refused(f"SQL Error: unknown type {kind}")
        row = (table, name, kind.removesuffix(" NOT NULL"), kind.endswith(" NOT NULL"))
        self.db.execute("INSERT INTO _columns VALUES (?, ?, ?, ?)", row)

    def _described(self, name: str, kind: str, required: int) -> TColumnType:
        is_text = kind.startswith("TEXT ENCODING DICT")
        about = TTypeInfo(
            type=ARROW[kind.partition("(")[0].partition(" ")[0]][0],
            encoding=TEncodingType.DICT if is_text else TEncodingType.NONE,
            nullable=not required, is_array=False, precision=0, scale=0, comp_param=32 if is_text else 0,
        )  # fmt: skip
        return TColumnType(col_name=name, col_type=about, is_system=False, is_physical=False)

    def _rows(self, cursor: sqlite3.Cursor) -> TRowSet:
        rows = cursor.fetchall()
        columns = []
        for index in range(len(cursor.description or ())):
            values = [row[index] for row in rows]
            nulls = [value is None for value in values]
            if any(isinstance(value, str) for value in values):
                data = TColumnData(int_col=[], real_col=[], str_col=[value or "" for value in values], arr_col=[])
            elif any(isinstance(value, float) for value in values):
                data = TColumnData(int_col=[], real_col=[value or 0.0 for value in values], str_col=[], arr_col=[])
            else:
                data = TColumnData(int_col=[value or 0 for value in values], real_col=[], str_col=[], arr_col=[])
            columns.append(TColumn(data=data, nulls=nulls))
        return TRowSet(row_desc=[], rows=[], columns=columns, is_columnar=True)


def _stored(value: Any) -> Any:
    """As HeavyDB keeps it: an empty text is NULL, a text has its limit."""
    if value == "":
        return None
    if isinstance(value, str) and len(value.encode()) > 2**15 - 1:
        raise refused("Exception: String too long")
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


class Threading(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True


def serve(folder: Path, protocol: str, port: int) -> None:
    processor = Heavy.Processor(Handler(folder))
    if protocol == "http":
        server = THttpServer.THttpServer(
            processor, ("127.0.0.1", port), TJSONProtocol.TJSONProtocolFactory(), server_class=Threading
        )
        _ready(folder, server.httpd.server_address[1])
        server.serve()
        return
    socket = TSocket.TServerSocket("127.0.0.1", port)
    socket.listen()
    _ready(folder, socket.handle.getsockname()[1])
    socket.listen = lambda: None  # it does: before anybody is told
    threaded = TServer.TThreadedServer(
        processor, socket, TTransport.TBufferedTransportFactory(), TBinaryProtocol.TBinaryProtocolFactory(), daemon=True
    )
    threaded.serve()


def _ready(folder: Path, port: int) -> None:
    (folder / "port.new").write_text(str(port))
    (folder / "port.new").rename(folder / "port")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
