"""pymysql's connection, made fit for a daemon: where a server asks for a file it is sent our rows, and never a file."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pymysql import err
from pymysql.connections import Connection, MySQLResult

# The client's own code for it, CR_LOAD_DATA_LOCAL_INFILE_REJECTED
# (https://dev.mysql.com/doc/mysql-errors/8.0/en/client-error-reference.html).
FILE_REFUSED = 2068
# Rows are sent in packets of this size; a server that takes less gets less.
_PACKET_BYTES = 256 * 1024
_CONNECT_TIMEOUT_S = 10
# A server that is stopped, or hangs on its disk, acknowledges every packet and never answers: keepalives see nothing.
_ANSWER_TIMEOUT_S = 900
# A server that is gone without a word is noticed in about half a minute.
_KEEPALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 30_000),
)


@dataclass
class Server:
    """What a session has found out about its server.

    version       MySQL's; of a MariaDB its own
    local_infile  whether it takes rows by LOAD DATA LOCAL
    max_packet    bytes of the longest statement it takes
    """

    mariadb: bool
    version: tuple[int, ...]
    local_infile: bool
    max_packet: int


class LocalConnection(Connection):  # type: ignore[misc]
    """One session. Whatever file its server asks for, it gets the rows of the LOAD DATA under way, or nothing."""

    server: Server
    _rows: Iterator[memoryview] | None = None

    def __init__(self, **options: Any) -> None:
        self._patience_s = options.pop("read_timeout", _ANSWER_TIMEOUT_S)
        options.setdefault("write_timeout", _ANSWER_TIMEOUT_S)
        options.setdefault("connect_timeout", _CONNECT_TIMEOUT_S)
        super().__init__(**options, local_infile=True)

    def connect(self, sock: socket.socket | None = None) -> None:
        # A login takes no longer than a connection; a statement may.
        self._read_timeout = self.connect_timeout
        super().connect(sock)
        self._read_timeout = self._patience_s
        if not self.unix_socket:
            for level, name, value in _KEEPALIVE:
                if hasattr(socket, name):
                    self._sock.setsockopt(level, getattr(socket, name), value)

    def load(self, statement: str, rows: Iterator[memoryview]) -> MySQLResult:
        """Run a LOAD DATA LOCAL over ``rows``, taken while they are sent."""
        self._rows = rows
        try:
            self.query(statement)
        finally:
            self._rows = None
        return self._result

    def run(self, statement: bytes) -> MySQLResult:
        self.query(statement)
        return self._result

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        # As the parent does, but for the kind of result.
        self._result = None
        result = _Result(self)
        if unbuffered:
            result.init_unbuffered_query()
        else:
            result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return result.affected_rows


class _Result(MySQLResult):  # type: ignore[misc]
    def _read_load_local_packet(self, first_packet: Any) -> None:
        connection: LocalConnection = self.connection
        rows, connection._rows = connection._rows, None
        if rows is None:
            connection._force_close()
            name = first_packet.get_all_data()[1:].decode(errors="replace")
            raise err.OperationalError(FILE_REFUSED, f"the server asked for the file {name!r} of this machine")
        packet = min(_PACKET_BYTES, connection.server.max_packet)
        try:
            for part in rows:
                for at in range(0, len(part), packet):
                    connection.write_packet(part[at : at + packet])
        except BaseException:
            # Half of the rows are no load, and the other half is still expected.
            connection._force_close()
            raise
        connection.write_packet(b"")
        self._read_ok_packet(connection._read_packet())
