"""SQLite: one prepared statement for many rows, one transaction, on disk when COMMIT returns."""

from __future__ import annotations

import decimal
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError, DisconnectionError

from api2db.errors import BadDataError, ConfigError, FatalError, RetryableError
from api2db.files import identity
from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import READS, Cause, Column, MergeRule, cursor, still_there
from api2db.sinks.kin_sql import STAGE, KinSql, losers
from api2db.sinks.names import NameRules
from api2db.sinks.texts import as_text

BUSY_TIMEOUT_S = 10
# Measured: 50 rows a statement insert 1.6 times as fast as one; SQLite's limit is 32,766 parameters.
_ROWS_PER_STATEMENT = 50
_PARAMETERS = 1_000

_QUOTE = SQLiteDialect_pysqlite(paramstyle="named").identifier_preparer.quote_identifier

# What a column we create is called, and how its values are stored. Names whose affinity can't change a value:
# a column called DECIMAL or JSON would turn the text "1.10" into the number 1.1.
_DECLARED = {
    Kind.BOOL: ("BOOLEAN", pa.bool_()),
    Kind.INTEGER: ("INTEGER", pa.int64()),
    Kind.FLOAT: ("REAL", pa.float64()),
    Kind.DECIMAL: ("TEXT", pa.string()),
    Kind.TEXT: ("TEXT", pa.string()),
    Kind.JSON: ("TEXT", pa.string()),
    Kind.BINARY: ("BLOB", pa.binary()),
    Kind.DATE: ("DATE", pa.date32()),
    Kind.TIME: ("TIME", pa.time64("us")),
    Kind.TIMESTAMP: ("TIMESTAMP", pa.timestamp("us")),
    Kind.INSTANT: ("TIMESTAMPTZ", pa.timestamp("us", "UTC")),
    Kind.DURATION: ("INTEGER", pa.int64()),
}
_NAMED = {
    "BOOLEAN": Kind.BOOL,
    "BOOL": Kind.BOOL,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "TIMESTAMP": Kind.TIMESTAMP,
    "DATETIME": Kind.TIMESTAMP,
    "TIMESTAMPTZ": Kind.INSTANT,
    "JSON": Kind.JSON,
    "ANY": Kind.OTHER,
    "": Kind.OTHER,
}
# https://www.sqlite.org/datatype3.html, "Determination of Column Affinity", in its order.
_AFFINITIES = (
    ("INT", Kind.INTEGER),
    ("CHAR", Kind.TEXT),
    ("CLOB", Kind.TEXT),
    ("TEXT", Kind.TEXT),
    ("BLOB", Kind.OTHER),
    ("REAL", Kind.FLOAT),
    ("FLOA", Kind.FLOAT),
    ("DOUB", Kind.FLOAT),
)
# By primary result code (https://www.sqlite.org/rescode.html); what isn't here is repeated.
_CAUSES: dict[int, tuple[type[BadDataError] | type[FatalError] | type[RetryableError], str]] = {
    sqlite3.SQLITE_ERROR: (FatalError, "compare the table's definition with what is loaded into it"),
    sqlite3.SQLITE_CONSTRAINT: (BadDataError, ""),
    sqlite3.SQLITE_MISMATCH: (BadDataError, ""),
    sqlite3.SQLITE_TOOBIG: (BadDataError, ""),
    sqlite3.SQLITE_RANGE: (BadDataError, ""),
    sqlite3.SQLITE_READONLY: (FatalError, "make the file and its folder writable"),
    sqlite3.SQLITE_PERM: (FatalError, "make the file and its folder accessible"),
    sqlite3.SQLITE_AUTH: (FatalError, "allow the access"),
    sqlite3.SQLITE_NOTADB: (FatalError, "choose another file, or move this one away"),
    sqlite3.SQLITE_CORRUPT: (FatalError, "restore the file from a backup, or move it away"),
    sqlite3.SQLITE_BUSY: (RetryableError, "another program holds the file for long"),
    sqlite3.SQLITE_LOCKED: (RetryableError, "another program holds the file for long"),
    sqlite3.SQLITE_FULL: (RetryableError, "free some disk space"),
    sqlite3.SQLITE_IOERR: (RetryableError, "look after the disk"),
    sqlite3.SQLITE_CANTOPEN: (
        RetryableError,
        "see that the folder is there, its file system is mounted, and both can be written",
    ),
}
# What an SQL error of these words means.
_ADVICE = (
    ("it is a view", "load into the table behind it, or give it an INSTEAD OF INSERT trigger"),
    ("no such savepoint", "a rule of the table ends the whole transaction: ON CONFLICT ABORT, not ROLLBACK"),
    ("no transaction is active", "a rule of the table ends the whole transaction: ON CONFLICT ABORT, not ROLLBACK"),
)
# Between a column's name and its type, where the schema keeps it.
_MARK = "/* api2db */"
# The only types a STRICT table takes, for the others that we declare.
_STRICT = {"BOOLEAN": "INTEGER", "DATE": "TEXT", "TIME": "TEXT", "TIMESTAMP": "TEXT", "TIMESTAMPTZ": "TEXT"}
# Names of NUMERIC affinity that mean numbers; text in a column of another name (UUID, JSONB) is meant.
_NUMERIC = ("NUM", "DEC", "MONEY", "CURRENCY")
_EXACT = decimal.Context(prec=200)


class SQLite:
    """One file, one writer at a time."""

    name = "sqlite"
    names = NameRules(ignores_case=True)
    max_threads: int | None = 1
    chunk_rows = 20_000
    ddl_commits = False
    adds = "ADD COLUMN"
    seeks = True
    refusals = None
    errors: tuple[type[Exception], ...] = (DBAPIError, sqlite3.Error)

    def engine(self, url: URL, pool_size: int) -> Engine:
        if url.database in (None, "", ":memory:"):
            raise ConfigError("a database in memory forgets what it was given: name a file, sqlite:///folder/file.db")
        options: dict[str, Any] = {"isolation_level": None, "timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
        engine = create_engine(
            url.set(drivername="sqlite"),
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            # Transactions are ours to begin; a pooled connection goes from thread to thread.
            connect_args={name: value for name, value in options.items() if name not in url.query},
        )
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "checkout", _leave_a_file_that_went)
        event.listen(engine, "commit", lambda connection: _refuse_a_file_that_went(connection.info))
        return engine

    def quote(self, name: str) -> str:
        return _QUOTE(name)

    def target(self, url: URL) -> str:
        return f"sqlite:///{url.database}"

    def cause(self, error: BaseException) -> Cause:
        error = error.orig or error if isinstance(error, DBAPIError) else error
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return Cause(RetryableError, f"{type(error).__name__}: {error}")
        kind, advice = _CAUSES.get(code & 0xFF, (RetryableError, ""))
        advice = next((known for words, known in _ADVICE if words in str(error)), advice)
        return Cause(kind, f"{error} ({getattr(error, 'sqlite_errorname', code)})", advice)

    def reading(self, url: URL) -> URL:
        return url

    def is_there(self, url: URL) -> bool:
        return _file(url).exists()

    def is_missing_database(self, error: BaseException, url: URL) -> bool:
        original = error.orig if isinstance(error, DBAPIError) else error
        cannot_open = getattr(original, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN
        return cannot_open and not _file(url).parent.is_dir()

    def create_database(self, url: URL) -> None:
        folder = _file(url).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise FatalError(
                f"the folder {folder} can't be made: {error.strerror}; make it, or choose another"
            ) from error
        except OSError as error:
            raise RetryableError(f"the folder {folder} can't be made: {error.strerror}") from error

    def declare(self, field: Field, key_columns: int = 0) -> str:
        if field.arrow == pa.uint64():
            return "TEXT"
        return _DECLARED[field.kind][0]

    def define(self, connection: Connection | None, table: str, name: str, field: Field, key_columns: int = 0) -> str:
        declared = self.declare(field)
        if declared in _STRICT and connection is not None and _is_strict(connection, table):
            declared = _STRICT[declared]
        mark = f" {_MARK}" if field.kind is Kind.INTEGER and declared == "INTEGER" else ""
        return f"{_QUOTE(name)}{mark} {declared}"

    def mark(self, table: str, columns: Sequence[str]) -> Sequence[str]:
        return ()

    def made(self, connection: Connection, table: str, column: str) -> bool:
        with cursor(connection) as run:
            sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE"
            found = run.execute(sql, (table,)).fetchone()
        return found is not None and f"{_QUOTE(column)} {_MARK} INTEGER" in found[0]

    def table_options(self, connection: Connection | None) -> str:
        return ""

    def slot(self, column: Column, field: Field) -> Slot:
        kind, arrow = column.kind, column.arrow
        if kind is Kind.OTHER or (kind is Kind.INTEGER and field.kind is Kind.DURATION):
            # Without an affinity a value is stored as what it is.
            kind, arrow = _stored(field)
        elif kind is Kind.DECIMAL and _is_worded(column, field):
            return Slot(column.name, Kind.TEXT, pa.string(), column.declared, column.required, no_digits=True)
        elif kind is Kind.DECIMAL:
            # NUMERIC affinity keeps integers and floats as they are, and would turn text into either.
            kind = Kind.INTEGER if field.kind in (Kind.INTEGER, Kind.BOOL) else Kind.FLOAT
            arrow = _DECLARED[kind][1]
        number_as_text = kind is Kind.TEXT and field.kind in (Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL)
        return Slot(column.name, kind, arrow, column.declared, column.required, number_as_text=number_as_text)

    def columns(self, connection: Connection, table: str) -> tuple[Column, ...] | None:
        with cursor(connection) as run:
            rows = run.execute(f"PRAGMA table_xinfo({_QUOTE(table)})").fetchall()
        # hidden: 2 and 3 are generated columns, 1 is a virtual table's own.
        found = tuple(_column(*row[1:]) for row in rows if row[6] != 1)
        return found or None

    def lock_columns(self, connection: Connection, table: str) -> tuple[Column, ...]:
        # BEGIN IMMEDIATE holds the only write lock there is.
        return still_there(self.columns(connection, table))

    def lock_schema(self, connection: Connection, table: str) -> None:
        """BEGIN IMMEDIATE has locked it."""

    def widen(self, table: str, column: str) -> Sequence[str]:
        # A column's type can't be altered: a new one takes its values and its name, and stands last.
        t, old, new = (self.quote(name) for name in (table, column, f"{column}_api2db_wide"))
        return (
            f"ALTER TABLE {t} ADD COLUMN {new} REAL",
            f"UPDATE {t} SET {new} = {old}",
            f"ALTER TABLE {t} DROP COLUMN {old}",
            f"ALTER TABLE {t} RENAME COLUMN {new} TO {old}",
        )

    def has_unique(self, connection: Connection, table: str, key: Sequence[str]) -> bool:
        with cursor(connection) as run:
            info = run.execute(f"PRAGMA table_info({_QUOTE(table)})").fetchall()
            if {row[1] for row in info if row[5]} == set(key):
                return True
            for _, index, unique, _, partial in run.execute(f"PRAGMA index_list({_QUOTE(table)})").fetchall():
                columns = run.execute(f"PRAGMA index_info({_QUOTE(index)})").fetchall()
                if unique and not partial and {row[2] for row in columns} == set(key):
                    return True
        return False

    def begin_careful(self, connection: Connection) -> None:
        """Nothing is deferred: foreign keys aren't enforced on our connections."""

    def append(
        self, connection: Connection, table: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]
    ) -> None:
        names = ", ".join(_QUOTE(slot.column) for slot in slots)
        _insert(connection, f"INSERT INTO {_QUOTE(table)} ({names}) VALUES ", "", slots, chunks)

    def merge(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        rule: MergeRule,
    ) -> None:
        names = ", ".join(_QUOTE(slot.column) for slot in slots)
        head = f"INSERT INTO {_QUOTE(table)} ({names}) VALUES "
        _insert(connection, head, _on_conflict(table, slots, rule), slots, chunks)

    def stage(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule) -> None:
        """No server is between: rows are as near here as in a stage."""

    def disown(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        key: Sequence[str],
        row: str,
        children: Mapping[str, Sequence[str]],
    ) -> pa.Array:
        columns = ", ".join(_QUOTE(slot.column) for slot in slots)
        # CROSS JOIN: from the stage, which has no index, to the table, which has one.
        sql = KinSql(_QUOTE, table, f"temp.{STAGE}", key, row, "CROSS JOIN")
        with cursor(connection) as run:
            run.execute(f"CREATE TEMP TABLE {STAGE} AS SELECT {columns} FROM {_QUOTE(table)} LIMIT 0")
            self.append(connection, STAGE, slots, chunks)
            for child, links in children.items():
                run.execute(sql.delete_in(child, links))
            lost = losers(run, sql)
            run.execute(f"DROP TABLE temp.{STAGE}")
        return lost


def _begin(connection: Connection) -> None:
    # The lock is taken before the first read: a reader that wants to write later may find it can't.
    reads = READS in connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    """Durable from here on: a COMMIT that has returned is on disk."""
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.create_collation("api2db_number", _compare_numbers)


def _leave_a_file_that_went(connection: Any, record: Any, _: Any) -> None:
    """Open the path anew if it isn't the file any more that was opened: SQLite would write to that one all the same."""
    if "file" not in record.info:
        ((_, _, path),) = connection.execute("PRAGMA database_list").fetchall()[:1]
        record.info["file"] = path, identity(path)
    _refuse_a_file_that_went(record.info)


def _refuse_a_file_that_went(info: dict[Any, Any]) -> None:
    path, opened = info["file"]
    if identity(path) != opened:
        raise DisconnectionError(f"{path} was deleted or replaced")


def _compare_numbers(left: str, right: str) -> int:
    """Numbers in text by their value, since "10" sorts before "9"; anything else by code point."""
    try:
        return int(_EXACT.compare(decimal.Decimal(left), decimal.Decimal(right)))
    except (decimal.InvalidOperation, ValueError):
        return (left > right) - (left < right)


def _file(url: URL) -> Path:
    return Path(str(url.database).removeprefix("file:"))


def _is_strict(connection: Connection, table: str) -> bool:
    with cursor(connection) as run:
        found = run.execute(f"PRAGMA table_list({_QUOTE(table)})").fetchone()
    return found is not None and bool(found[5])


def _is_worded(column: Column, field: Field) -> bool:
    """Not a number, for a column that isn't called one although SQLite treats it so."""
    numbers = (Kind.BOOL, Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL, Kind.DURATION, Kind.BINARY)
    return field.kind not in numbers and not any(part in column.declared.upper() for part in _NUMERIC)


def _column(name: str, declared: str, not_null: int, default: str | None, primary: int, hidden: int) -> Column:
    upper = declared.upper().split("(")[0].strip()
    kind = _NAMED.get(upper)
    if kind is None:
        kind = next((kind for part, kind in _AFFINITIES if part in upper), Kind.DECIMAL)
    arrow = _DECLARED[kind][1] if kind in _DECLARED and kind is not Kind.DECIMAL else None
    rowid = primary == 1 and upper == "INTEGER"
    return Column(
        name,
        kind,
        arrow,
        declared or "any type",
        required=bool(not_null),
        optional=not not_null or default is not None or rowid or bool(hidden),
        generated=bool(hidden),
    )


def _stored(field: Field) -> tuple[Kind, pa.DataType]:
    """What we make of a field where nothing else says."""
    if field.kind is Kind.DURATION:
        return Kind.DURATION, pa.duration("us")
    arrow = pa.string() if field.arrow == pa.uint64() else _DECLARED.get(field.kind, ("", pa.string()))[1]
    return (Kind.TEXT if arrow == pa.string() else field.kind), arrow


def _on_conflict(table: str, slots: Sequence[Slot], rule: MergeRule) -> str:
    key = ", ".join(map(_QUOTE, rule.key))
    columns = [_QUOTE(slot.column) for slot in slots if slot.column not in rule.key]
    if not columns:
        return f" ON CONFLICT ({key}) DO NOTHING"
    sets = ", ".join(f"{column} = excluded.{column}" for column in columns)
    sql = f" ON CONFLICT ({key}) DO UPDATE SET {sets}"
    if rule.version is None:
        return sql
    version = _QUOTE(rule.version)
    slot = next((slot for slot in slots if slot.column == rule.version), None)
    by = "api2db_number" if slot is not None and slot.number_as_text else "BINARY"
    stored = f"{_QUOTE(table)}.{version}"
    return f"{sql} WHERE {stored} IS NULL OR excluded.{version} >= {stored} COLLATE {by}"


def _insert(
    connection: Connection, head: str, tail: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]
) -> None:
    """As many rows a statement as pay off, the rest one by one; statements are prepared once per size."""
    width = len(slots)
    many = max(1, min(_ROWS_PER_STATEMENT, _PARAMETERS // width))
    row = f"({', '.join('?' * width)})"
    with cursor(connection) as run:
        for chunk in chunks:
            columns = [_values(chunk.column(index), slot) for index, slot in enumerate(slots)]
            cut = chunk.num_rows - chunk.num_rows % many
            if cut:
                flat = chain.from_iterable(zip(*(column[:cut] for column in columns), strict=True))
                # One iterator many times over: zip deals it out, a statement's parameters at a time.
                run.executemany(head + ", ".join([row] * many) + tail, zip(*[flat] * (many * width), strict=True))
            if cut < chunk.num_rows:
                rest = zip(*(column[cut:] for column in columns), strict=True)
                run.executemany(head + row + tail, rest)


def _values(array: pa.Array, slot: Slot) -> list[Any]:
    """Python values as the driver binds them. NaN becomes NULL there: SQLite has none."""
    if slot.kind is Kind.BOOL:
        array = array.cast(pa.int8())
    elif slot.kind is Kind.DURATION:
        array = array.cast(pa.int64())
    elif slot.kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT):
        array = as_text(array, slot.kind)
    values: list[Any] = array.to_pylist()
    return values
