"""DuckDB beneath SQLAlchemy: just enough of a dialect for a ledger, and files that are opened patiently."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import URL, Connection, text
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.compiler import GenericTypeCompiler, IdentifierPreparer

from api2db.files import fsync_dir, identity

# How long another program's hold on the file is waited for; a URL may say otherwise: ?timeout=1
BUSY_TIMEOUT_S = 10.0
_BUSY_PAUSE_S = 0.02
_BUSY = (
    "Could not set lock on file",
    "Unique file handle conflict",
    "with a different configuration than existing connections",
)
# Nothing is loaded from the network, and no name in a statement is one of Python's variables.
_SET_UP = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
)
_QUERIES = ("SELECT", "WITH", "PRAGMA")


class Types(GenericTypeCompiler):
    def visit_datetime(self, type_: Any, **_: Any) -> str:
        return "TIMESTAMP WITH TIME ZONE" if type_.timezone else "TIMESTAMP"


class Preparer(IdentifierPreparer):
    def _requires_quotes(self, value: str) -> bool:
        return True  # its reserved words change from version to version


class DuckDBDialect(DefaultDialect):
    """SQLAlchemy's plain SQL is DuckDB's. DuckDB ends a transaction at the first error: there are no savepoints."""

    name = "duckdb"
    driver = "api2db"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_sane_rowcount = False
    type_compiler_cls = Types
    preparer = Preparer

    @classmethod
    def import_dbapi(cls) -> Any:
        return duckdb

    def do_begin(self, dbapi_connection: Any) -> None:
        dbapi_connection.held.execute("BEGIN")

    def do_commit(self, dbapi_connection: Any) -> None:
        dbapi_connection.refuse_a_file_that_went()
        _end(dbapi_connection.held.commit)

    def do_rollback(self, dbapi_connection: Any) -> None:
        _end(dbapi_connection.held.rollback)

    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> bool:
        query = "SELECT 1 FROM duckdb_tables() WHERE table_name = :name AND schema_name = current_schema()"
        return connection.execute(text(query), {"name": table_name}).first() is not None


def _end(how: Callable[[], object]) -> None:
    """COMMIT or ROLLBACK, if a transaction is open. A COMMIT that fails, as on a full disk, is of the same class."""
    try:
        how()
    except duckdb.TransactionException as error:
        if "no transaction is active" not in str(error):
            raise


class Held:
    """A connection to a file, as SQLAlchemy takes it. DuckDB's own cursors would be connections of their own."""

    def __init__(self, held: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.held = held
        self._path = path
        self._opened = identity(path)

    def refuse_a_file_that_went(self) -> None:
        """What is committed to a file that was deleted or replaced is in none. Raises duckdb.IOException."""
        if identity(self._path) != self._opened:
            raise duckdb.IOException(f"the file {self._path} was deleted or replaced")

    def cursor(self) -> Cursor:
        return Cursor(self.held)

    def commit(self) -> None:
        self.held.commit()

    def rollback(self) -> None:
        self.held.rollback()

    def close(self) -> None:
        """Let go of the file: others may open it from here on."""
        self.held.close()


class Cursor:
    """Statements one after the other; the rows of one are gone with the next."""

    rowcount = -1
    arraysize = 1

    def __init__(self, held: duckdb.DuckDBPyConnection) -> None:
        self._held = held
        self._asks = False

    @property
    def description(self) -> Any:
        # DuckDB answers an INSERT with a row, too: how many there were.
        return self._held.description if self._asks else None

    def execute(self, sql: str, parameters: Any = None) -> Cursor:
        self._asks = sql.lstrip(" (").upper().startswith(_QUERIES)
        self._held.execute(sql, parameters or None)
        return self

    def executemany(self, sql: str, parameters: Any) -> Cursor:
        self._asks = False
        self._held.executemany(sql, parameters)
        return self

    def fetchone(self) -> Any:
        return self._held.fetchone()

    def fetchmany(self, size: int = 1) -> Any:
        return self._held.fetchmany(size)

    def fetchall(self) -> Any:
        return self._held.fetchall()

    def close(self) -> None:
        """The connection goes on."""


def file_of(url: URL) -> Path:
    return Path(str(url.database))


def open_file(path: Path, *, read_only: bool, timeout_s: float) -> Held:
    """Open a file, made if it isn't there; whoever holds it is waited for. Raises duckdb's errors."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            if not read_only and not path.exists():
                _make(path)
            held = duckdb.connect(str(path), read_only=read_only)
            break
        except (duckdb.IOException, duckdb.ConnectionException, duckdb.ResourceInUseException) as error:
            if not is_busy(error) or time.monotonic() > until:
                raise
            time.sleep(_BUSY_PAUSE_S)
    for statement in _SET_UP:
        held.execute(statement)
    return Held(held, path)


def is_busy(error: BaseException) -> bool:
    """Whether somebody else has the file open: another process, or this one in another way."""
    return any(words in str(error) for words in _BUSY)


def _make(path: Path) -> None:
    """A new database whole or not at all: half of one is no database to DuckDB."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        duckdb.connect(str(new)).close()
        try:
            os.link(new, path)
        except FileExistsError:
            return  # another process was first
        except PermissionError:
            new.rename(path)  # a file system without hard links
        fsync_dir(path.parent)
    except OSError as error:
        raise duckdb.IOException(f"IO Error: the file {path} can't be made: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # what went wrong first is what counts
            new.unlink(missing_ok=True)
