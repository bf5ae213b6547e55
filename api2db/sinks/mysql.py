"""MySQL and MariaDB: LOAD DATA LOCAL of rows in memory, INSERT where that is forbidden; merges in two statements."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from api2db import ledger
from api2db.errors import FatalError, RetryableError
from api2db.schema import Field, Kind
from api2db.sinks import my_errors, my_types
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import Cause, Column, MergeRule, cursor
from api2db.sinks.engines import ping_when_rested
from api2db.sinks.kin_sql import STAGE as KIN_STAGE
from api2db.sinks.kin_sql import KinSql, losers
from api2db.sinks.my_load import driver, fill
from api2db.sinks.my_merge import CLEAR, STAGE, Merge, Parts, apply
from api2db.sinks.my_names import MySQLNames, quote
from api2db.sinks.names import NameRules

_DRIVER = "mysql+pymysql"
# In connection.info: what was last seen of each table; the locks this transaction holds; who opened the session.
_SEEN = "api2db.seen"
_LOCKS = "api2db.locks"
_SESSIONS = "api2db.sessions"
# MariaDB's and MySQL's names of "by code point, blanks count"; before them a blank at the end of a key is lost.
_NOPAD_MARIADB, _NOPAD_MYSQL, _PADDED = "utf8mb4_nopad_bin", "utf8mb4_0900_bin", "utf8mb4_bin"
_MYSQL_WITH_NOPAD = (8, 0, 17)
# What changes in the definition of a table with every row.
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")


@dataclass(frozen=True)
class _Seen:
    """A table's definition in the server's words, and what it says."""

    definition: str
    columns: tuple[Column, ...]
    types: dict[str, str]
    made: frozenset[str]


class MySQL:
    """A server, any number of writers at a time."""

    name = "mysql"
    names: NameRules = MySQLNames(
        max_bytes=64, reserved=frozenset(("db_row_id", "db_trx_id", "db_roll_ptr", "fts_doc_id"))
    )
    max_threads: int | None = None
    # Small: while the server reads one chunk the next is made, and it is the slower of the two.
    chunk_rows = 4_096
    ddl_commits = True
    adds = "ADD COLUMN"
    seeks = True
    refusals = None

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        return (DBAPIError, driver().MySQLError)

    def engine(self, url: URL, pool_size: int) -> Engine:
        driver()
        from api2db.sinks.my_session import Sessions, options

        sessions = Sessions(self.target(url), ledger.NAME)
        given: dict[str, Any] = {
            "host": url.host,
            "port": url.port or 0,
            "user": url.username or "",
            # As bytes: the driver would write text as latin1.
            "password": str(url.password or "").encode(),
            "database": url.database,
            "charset": "utf8mb4",
            "program_name": "api2db",
            **options(url.query),
        }
        engine = create_engine(
            URL.create(_DRIVER),
            pool_size=pool_size,
            max_overflow=0,
        )
        event.listen(engine, "do_connect", lambda *_: sessions.open(given))
        event.listen(engine, "connect", lambda _, record: record.info.__setitem__(_SESSIONS, sessions))
        event.listen(engine, "commit", _unlock)
        ping_when_rested(engine, lambda connection: int(connection._sock.fileno()))
        return engine

    def quote(self, name: str) -> str:
        return quote(name)

    def target(self, url: URL) -> str:
        host = url.query.get("unix_socket") or f"{url.host or 'localhost'}:{url.port or 3306}"
        return f"{url.get_backend_name()}://{host}/{url.database or ''}"

    def cause(self, error: BaseException) -> Cause:
        return my_errors.cause(_original(error))

    def reading(self, url: URL) -> URL:
        return url

    def is_there(self, url: URL) -> bool:
        return True

    def is_missing_database(self, error: BaseException, url: URL) -> bool:
        return bool(url.database) and my_errors.number(_original(error)) == my_errors.UNKNOWN_DATABASE

    def create_database(self, url: URL) -> None:
        engine = self.engine(url.set(database=""), 1)
        statement = f"CREATE DATABASE IF NOT EXISTS {quote(str(url.database))} CHARACTER SET utf8mb4"
        try:
            with engine.connect() as connection, cursor(connection) as run:
                run.execute(statement)
        except self.errors as error:
            cause = self.cause(error)
            if cause.error is FatalError:
                raise FatalError(f"{cause.text}; as someone who may, run: {statement}") from error
            raise
        finally:
            engine.dispose()

    def declare(self, field: Field, key_columns: int = 0) -> str:
        return my_types.declare(field, key_columns)

    def define(self, connection: Connection | None, table: str, name: str, field: Field, key_columns: int = 0) -> str:
        declared = self.declare(field, key_columns)
        ours = field.kind is Kind.INTEGER and declared == "bigint" and not key_columns
        return f"{quote(name)} {declared}" + (f" COMMENT {_literal(my_types.MARK)}" if ours else "")

    def mark(self, table: str, columns: Sequence[str]) -> Sequence[str]:
        return ()

    def made(self, connection: Connection, table: str, column: str) -> bool:
        return column in self._look(connection, table).made

    def table_options(self, connection: Connection | None) -> str:
        if connection is None:
            return " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
        server = _session(connection).server
        nopad = _NOPAD_MYSQL if server.version >= _MYSQL_WITH_NOPAD else _PADDED
        collation = _NOPAD_MARIADB if server.mariadb else nopad
        return f" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={collation}"

    def slot(self, column: Column, field: Field) -> Slot:
        return my_types.slot(column, field)

    def columns(self, connection: Connection, table: str) -> tuple[Column, ...] | None:
        try:
            return self._look(connection, table).columns
        except self.errors as error:
            if my_errors.number(_original(error)) == my_errors.NO_SUCH_TABLE:
                return None
            raise

    def lock_columns(self, connection: Connection, table: str) -> tuple[Column, ...]:
        with cursor(connection) as run:
            # A table a transaction has read can't be altered until it ends.
            run.execute(f"SELECT 1 FROM {quote(table)} LIMIT 0")
        return self._look(connection, table).columns

    def lock_schema(self, connection: Connection, table: str) -> None:
        # The server's locks have one namespace for all its databases; ours is given back at COMMIT.
        with cursor(connection) as run:
            run.execute("SELECT DATABASE()")
            ((database,),) = run.fetchall()
            name = "api2db " + hashlib.sha1(f"{database}/{table}".encode()).hexdigest()
            run.execute(f"SELECT GET_LOCK('{name}', @@lock_wait_timeout)")
            ((given,),) = run.fetchall()
        if given != 1:
            raise RetryableError("another daemon is altering the table for long")
        connection.info.setdefault(_LOCKS, []).append(name)

    def widen(self, table: str, column: str) -> Sequence[str]:
        return (f"ALTER TABLE {quote(table)} MODIFY COLUMN {quote(column)} double",)

    def has_unique(self, connection: Connection, table: str, key: Sequence[str]) -> bool:
        with cursor(connection) as run:
            run.execute(f"SHOW INDEX FROM {quote(table)} WHERE Non_unique = 0")
            names = [column[0] for column in run.description]
            found: dict[str, set[str]] = {}
            for row in run.fetchall():
                index = dict(zip(names, row, strict=True))
                # Of a column's start alone, or of an expression: not over the column.
                whole = index["Sub_part"] is None and index["Column_name"] is not None
                found.setdefault(index["Key_name"], set()).add(index["Column_name"] if whole else "\0")
        return set(key) in found.values()

    def begin_careful(self, connection: Connection) -> None:
        """Nothing is deferred."""

    def append(
        self, connection: Connection, table: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]
    ) -> None:
        fill(_session(connection), quote(table), slots, chunks, connection.info[_SESSIONS].say_slow)

    def merge(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        rule: MergeRule,
    ) -> None:
        merge = Merge.of(table, slots, rule, connection.info[_SEEN][table].types)
        session = _session(connection)
        for statement in (CLEAR, *merge.make):
            session.run(statement.encode())
        fill(session, STAGE, slots, chunks, connection.info[_SESSIONS].say_slow)
        apply(session, merge)
        session.run(CLEAR.encode())

    def stage(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule) -> Parts:
        types = connection.info[_SEEN][table].types
        merge, single = (Merge.of(table, slots, rule, types, single=one) for one in (False, True))
        session = _session(connection)

        def load(filled: Sequence[Slot], chunks: Iterable[pa.RecordBatch]) -> None:
            fill(session, STAGE, filled, chunks, connection.info[_SESSIONS].say_slow)

        return Parts(session, merge, single, slots, load)

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
        types = connection.info[_SEEN][table].types
        columns = ", ".join(f"{quote(slot.column)} {types[slot.column]}" for slot in slots)
        session = _session(connection)
        # TRUNCATE would commit.
        clear = f"DROP TEMPORARY TABLE IF EXISTS {KIN_STAGE}".encode()
        session.run(clear)
        session.run(f"CREATE TEMPORARY TABLE {KIN_STAGE} ({columns}) ENGINE=InnoDB".encode())
        fill(session, KIN_STAGE, slots, chunks, connection.info[_SESSIONS].say_slow)
        sql = KinSql(quote, table, KIN_STAGE, key, row, "STRAIGHT_JOIN")
        for child, links in children.items():
            session.run(sql.delete_joined(child, links).encode())
        with cursor(connection) as run:
            lost = losers(run, sql)
        session.run(clear)
        return lost

    def _look(self, connection: Connection, table: str) -> _Seen:
        """What the catalog says, read in full only where the definition isn't the one seen last."""
        seen: dict[str, _Seen] = connection.info.setdefault(_SEEN, {})
        with cursor(connection) as run:
            run.execute(f"SHOW CREATE TABLE {quote(table)}")
            definition = _COUNTER.sub("", run.fetchone()[1])
            if table not in seen or seen[table].definition != definition:
                self._check_engine(run, table)
                seen[table] = _read(run, table, definition, _session(connection).server.mariadb)
        return seen[table]

    def _check_engine(self, run: Any, table: str) -> None:
        run.execute(
            "SELECT t.ENGINE, e.TRANSACTIONS FROM information_schema.TABLES t"
            " LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE"
            f" WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME = {_literal(table)}"
        )
        engine, transactions = run.fetchone() or (None, None)
        if engine is None:
            raise FatalError("it is a view; load into a plain table")
        if transactions != "YES":
            raise FatalError(
                f"it is of engine {engine}, which has no transactions, so half a load would stay; "
                f"run: ALTER TABLE {quote(table)} ENGINE=InnoDB"
            )


def _original(error: BaseException) -> BaseException:
    return error.orig or error if isinstance(error, DBAPIError) else error


def _session(connection: Connection) -> Any:
    """The driver's connection: a ``LocalConnection``."""
    return connection.connection.driver_connection


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _unlock(connection: Connection) -> None:
    """What was made under a lock is committed already. After an error the session ends, and its locks with it."""
    for name in connection.info.pop(_LOCKS, ()):
        _session(connection).run(f"DO RELEASE_LOCK('{name}')".encode())


def _read(run: Any, table: str, definition: str, mariadb: bool) -> _Seen:
    literal = _literal(table)
    run.execute(my_types.TRIGGERS.format(table=literal))
    has_triggers = run.fetchone() is not None
    checks: frozenset[str] = frozenset()
    if mariadb:
        run.execute(my_types.JSON_COLUMNS.format(table=literal))
        checks = frozenset(clause for (clause,) in run.fetchall())
    run.execute(my_types.COLUMNS.format(table=literal))
    found = [my_types.found(row, has_triggers, checks) for row in run.fetchall()]
    types = {one.column.name: one.bare for one in found}
    made = frozenset(one.column.name for one in found if one.made)
    return _Seen(definition, tuple(one.column for one in found), types, made)
