"""PostgreSQL: COPY, binary where every column's type is known exactly, else CSV; merges through a staging table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from api2db.errors import ConfigError, FatalError
from api2db.schema import Field, Kind
from api2db.sinks import pg_errors, pg_merge
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import Cause, Column, MergeRule, cursor
from api2db.sinks.engines import ping_when_rested
from api2db.sinks.names import NameRules
from api2db.sinks.pg_copy import copy
from api2db.sinks.pg_copy import quote as _QUOTE

# A server that is gone without a word is noticed in about half a minute, at rest as under way.
_CONNECTION = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
    "client_encoding": "utf8",
    "application_name": "api2db",
}
LOCK_TIMEOUT_S = 30
_ANSWER_TIMEOUT = "read_timeout"  # in a URL; libpq has no such parameter

# By type oid (pg_type.dat): what the column holds and the exact Arrow type of its binary form.
_TYPES: dict[int, tuple[Kind, pa.DataType]] = {
    16: (Kind.BOOL, pa.bool_()),
    17: (Kind.BINARY, pa.binary()),
    20: (Kind.INTEGER, pa.int64()),
    21: (Kind.INTEGER, pa.int16()),
    23: (Kind.INTEGER, pa.int32()),
    25: (Kind.TEXT, pa.string()),
    114: (Kind.JSON, pa.string()),
    700: (Kind.FLOAT, pa.float32()),
    701: (Kind.FLOAT, pa.float64()),
    1042: (Kind.TEXT, pa.string()),
    1043: (Kind.TEXT, pa.string()),
    1082: (Kind.DATE, pa.date32()),
    1083: (Kind.TIME, pa.time64("us")),
    1114: (Kind.TIMESTAMP, pa.timestamp("us")),
    1184: (Kind.INSTANT, pa.timestamp("us", "UTC")),
    1186: (Kind.DURATION, pa.duration("us")),
    1700: (Kind.DECIMAL, pa.string()),
    3802: (Kind.JSON, pa.string()),
}
_LIMITED = (1042, 1043)
# The modifier of char(n) and varchar(n) counts its own four bytes.
_MODIFIER_BYTES = 4
_DECLARED = {
    Kind.BOOL: "boolean",
    Kind.INTEGER: "bigint",
    Kind.FLOAT: "double precision",
    Kind.DECIMAL: "numeric",
    Kind.TEXT: "text",
    Kind.JSON: "jsonb",
    Kind.BINARY: "bytea",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "timestamp",
    Kind.INSTANT: "timestamp with time zone",
    Kind.DURATION: "interval",
}
_COLUMNS = """
SELECT a.attname, a.atttypid, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.attnotnull, a.atthasdef OR a.attidentity <> '', c.relhastriggers, a.attgenerated <> '', c.relkind,
       c.relhasrules AND EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '3')
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE a.attrelid = pg_catalog.to_regclass({table}) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"""
# pg_class.relkind of what has columns and isn't a table.
_NOT_TABLES = {
    "v": "a view: load into the table behind it, or give it an INSTEAD OF INSERT trigger",
    "m": "a materialized view: load into the table behind it",
    "f": "a foreign table, which commits by itself: load where its rows are kept",
    "S": "a sequence: choose another name",
    "i": "an index: choose another name",
    "I": "an index: choose another name",
    "c": "a type: choose another name",
}
_MARK = "api2db: becomes double precision when a fraction arrives"
_MADE = """
SELECT 1 FROM pg_catalog.pg_description d
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objoid = pg_catalog.to_regclass({table})
  AND a.attname = {column} AND d.description = {mark}"""
_UNIQUE = """
SELECT 1 FROM pg_catalog.pg_index i
WHERE i.indrelid = pg_catalog.to_regclass({table}) AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
  AND {key} = ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
    ORDER BY a.attname::text COLLATE "C")"""


class PostgreSQL:
    """A server, any number of writers at a time."""

    name = "postgresql"
    names = NameRules(max_bytes=63, reserved=frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid"}))
    max_threads: int | None = None
    chunk_rows = 16_384
    ddl_commits = False
    adds = "ADD COLUMN"
    seeks = True
    refusals = None

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        return (DBAPIError, _psycopg().Error)

    def engine(self, url: URL, pool_size: int) -> Engine:
        _psycopg()
        from api2db.sinks.pg_connection import PatientConnection

        options = {name: value for name, value in _CONNECTION.items() if name not in url.query}
        answer_timeout_s = _answer_timeout_s(url)
        engine = create_engine(
            url.set(drivername="postgresql+psycopg").difference_update_query([_ANSWER_TIMEOUT]),
            pool_size=pool_size,
            max_overflow=0,
            isolation_level="READ COMMITTED",
            use_native_hstore=False,
            connect_args=options,
        )

        def connect(_dialect: object, _record: object, args: Any, given: Any) -> Any:
            connection = PatientConnection.connect(*args, **given)
            if answer_timeout_s:
                connection.answer_timeout_s = answer_timeout_s
            return connection

        event.listen(engine, "do_connect", connect)
        event.listen(engine, "connect", _set_up)
        ping_when_rested(engine, lambda connection: int(connection.fileno()))
        return engine

    def quote(self, name: str) -> str:
        return _QUOTE(name)

    def target(self, url: URL) -> str:
        host = url.host or url.query.get("host") or "localhost"
        port = url.port or url.query.get("port") or 5432
        return f"postgresql://{host}:{port}/{url.database or url.username or ''}"

    def cause(self, error: BaseException) -> Cause:
        return pg_errors.cause(_original(error))

    def reading(self, url: URL) -> URL:
        return url

    def is_there(self, url: URL) -> bool:
        return True

    def is_missing_database(self, error: BaseException, url: URL) -> bool:
        return bool(url.database) and pg_errors.state(_original(error)) == "3D000"

    def create_database(self, url: URL) -> None:
        psycopg = _psycopg()
        engine = self.engine(url.set(database="postgres"), 1)
        statement = f"CREATE DATABASE {_QUOTE(str(url.database))}"
        try:
            with engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.autocommit = True
                driver.execute(statement.encode())
        except (DBAPIError, psycopg.Error) as error:
            # Two daemons that start at once: 23505 is the same race one step later.
            if pg_errors.state(_original(error)) in ("42P04", "23505"):
                return
            cause = self.cause(error)
            if cause.error is FatalError:
                raise FatalError(f"{cause.text}; as someone who may, run: {statement}") from error
            raise
        finally:
            engine.dispose()

    def declare(self, field: Field, key_columns: int = 0) -> str:
        return "numeric" if field.arrow == pa.uint64() else _DECLARED[field.kind]

    def define(self, connection: Connection | None, table: str, name: str, field: Field, key_columns: int = 0) -> str:
        return f"{_QUOTE(name)} {self.declare(field)}"

    def mark(self, table: str, columns: Sequence[str]) -> Sequence[str]:
        return [f"COMMENT ON COLUMN {_QUOTE(table)}.{_QUOTE(column)} IS {_literal(_MARK)}" for column in columns]

    def made(self, connection: Connection, table: str, column: str) -> bool:
        sql = _MADE.format(table=_literal(_QUOTE(table)), column=_literal(column), mark=_literal(_MARK))
        with cursor(connection) as run:
            run.execute(sql.encode(), prepare=False)
            return run.fetchone() is not None

    def table_options(self, connection: Connection | None) -> str:
        return ""

    def slot(self, column: Column, field: Field) -> Slot:
        return Slot(
            column.name,
            column.kind,
            column.arrow or pa.string(),
            column.declared,
            column.required,
            max_chars=column.max_chars,
            nul_free=True,
            is_array=column.declared.endswith("[]"),
        )

    def columns(self, connection: Connection, table: str) -> tuple[Column, ...] | None:
        with cursor(connection) as run:
            run.execute(_COLUMNS.format(table=_literal(_QUOTE(table))).encode(), prepare=False)
            found = _columns_of(tuple(run.fetchall()))
            schema, dot, rest = table.partition(".")
            if not found and dot:
                run.execute(f"SELECT pg_catalog.to_regnamespace({_literal(_QUOTE(schema))}) IS NOT NULL".encode())
                if run.fetchone() == (True,):
                    raise FatalError(
                        f"a table's name doesn't choose its schema: name the table \"{rest}\" and put "
                        f"options=-csearch_path%3D{schema} into the URL"
                    )
            return found or None

    def lock_columns(self, connection: Connection, table: str) -> tuple[Column, ...]:
        # One round trip: the lock, which ALTER TABLE waits for, then what it protects.
        lock = f"LOCK TABLE {_QUOTE(table)} IN ROW EXCLUSIVE MODE; "
        with cursor(connection) as run:
            run.execute((lock + _COLUMNS.format(table=_literal(_QUOTE(table)))).encode(), prepare=False)
            run.nextset()
            return _columns_of(tuple(run.fetchall()))

    def lock_schema(self, connection: Connection, table: str) -> None:
        key = int.from_bytes(hashlib.sha1(f"api2db {table}".encode()).digest()[:8], signed=True)
        connection.exec_driver_sql(f"SELECT pg_catalog.pg_advisory_xact_lock({key})")

    def widen(self, table: str, column: str) -> Sequence[str]:
        t, c = _QUOTE(table), _QUOTE(column)
        return f"ALTER TABLE {t} ALTER COLUMN {c} TYPE double precision", f"COMMENT ON COLUMN {t}.{c} IS NULL"

    def has_unique(self, connection: Connection, table: str, key: Sequence[str]) -> bool:
        names = "ARRAY[" + ", ".join(_literal(name) for name in sorted(key)) + "]::text[]"
        with cursor(connection) as run:
            run.execute(_UNIQUE.format(table=_literal(_QUOTE(table)), key=names).encode(), prepare=False)
            return run.fetchone() is not None

    def begin_careful(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def append(
        self, connection: Connection, table: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]
    ) -> None:
        copy(connection, _QUOTE(table), slots, chunks)

    def merge(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        rule: MergeRule,
    ) -> None:
        pg_merge.merge(connection, table, slots, chunks, rule)

    def stage(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule) -> pg_merge.Parts:
        return pg_merge.Parts(connection, table, slots, rule)

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
        return pg_merge.disown(connection, table, slots, chunks, key, row, children)


def _psycopg() -> Any:
    """The driver, when first needed."""
    try:
        import psycopg
    except ImportError as error:
        raise ConfigError('PostgreSQL needs a driver: pip install "api2db-daemon[postgresql]"') from error
    return psycopg


def _answer_timeout_s(url: URL) -> int | None:
    given = url.query.get(_ANSWER_TIMEOUT)
    if given is not None and not (str(given).isdigit() and int(str(given))):
        raise ConfigError(f"{_ANSWER_TIMEOUT}={given} in the url is no number of seconds")
    return None if given is None else int(str(given))


def _original(error: BaseException) -> BaseException:
    return error.orig or error if isinstance(error, DBAPIError) else error


def _set_up(connection: Any, _record: object) -> None:
    """A COMMIT's answer is a receipt: it must mean that the rows survive the server's crash."""
    connection.autocommit = True
    if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
        connection.execute("SET synchronous_commit = on")
    # A table that someone has locked is waited for between loads, not in one: the thread has other streams too.
    if connection.execute("SHOW lock_timeout").fetchone() == ("0",):
        connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
    connection.autocommit = False


def _literal(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{quoted}'"


# Every load of a stream reads the same.
@lru_cache(maxsize=512)
def _columns_of(rows: tuple[tuple[Any, ...], ...]) -> tuple[Column, ...]:
    return tuple(_column(*row) for row in rows)


def _column(
    name: str,
    oid: int,
    modifier: int,
    declared: str,
    not_null: bool,
    default: bool,
    has_triggers: bool,
    generated: bool,
    relation: str,
    has_rules: bool,
) -> Column:
    if relation in _NOT_TABLES and not (relation == "v" and has_triggers):
        raise FatalError(f"it is {_NOT_TABLES[relation]}")
    if has_rules and relation != "v":
        raise FatalError("it has a rule ON INSERT, which COPY goes past: make it a trigger, or choose another table")
    kind, arrow = _TYPES.get(oid, (Kind.OTHER, pa.string()))
    return Column(
        name,
        kind,
        arrow,
        declared,
        # A trigger may fill in what is missing: then only the server can tell.
        required=not_null and not has_triggers,
        optional=not not_null or default or has_triggers or generated,
        max_chars=modifier - _MODIFIER_BYTES if oid in _LIMITED and modifier > _MODIFIER_BYTES else None,
        generated=generated,
    )
