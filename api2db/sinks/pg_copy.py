"""Rows into a table of PostgreSQL by COPY: binary where every column's type is known exactly, else CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from api2db.sinks import pg_binary, pg_csv
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import cursor

quote: Callable[[str], str] = PGDialect_psycopg(paramstyle="named").identifier_preparer.quote_identifier  # type: ignore[no-untyped-call]
_SMALL_BYTES = 2**16


def copy(connection: Connection, quoted: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]) -> None:
    names = ", ".join(quote(slot.column) for slot in slots)
    binary = all(slot.kind in pg_binary.KINDS for slot in slots)
    encode = pg_binary.encode if binary else pg_csv.encode
    form = "BINARY" if binary else "CSV"
    statement = f"COPY {quoted} ({names}) FROM STDIN (FORMAT {form})"
    with cursor(connection) as run, run.copy(statement.encode()) as sent:
        unsent = pg_binary.HEADER if binary else b""
        for chunk in chunks:
            data = encode(chunk, slots)
            if len(unsent) + len(data) < _SMALL_BYTES:
                unsent += data  # each write waits for the socket: a few small chunks are one
                continue
            sent.write(unsent)
            unsent = b""
            sent.write(data)
        sent.write(unsent + pg_binary.TRAILER if binary else unsent)
