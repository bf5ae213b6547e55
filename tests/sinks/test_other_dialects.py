"""What SQLAlchemy makes of our tables for databases whose servers aren't run here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, cast

import psycopg
import pyarrow as pa
import pymysql
import pytest
import sqlalchemy as sa
import sqlglot
from sqlalchemy import make_url
from sqlalchemy.dialects import mssql, oracle
from sqlalchemy.engine.interfaces import Compiled

from api2db import ledger
from api2db.batch import Batch, new_batch_id
from api2db.schema import Field, Kind
from api2db.sinks import generic_types
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import MergeRule
from api2db.sinks.generic import Generic
from api2db.sinks.generic_merge import merge

URLS = {"oracle": "oracle+oracledb://u:p@h/x", "mssql": "mssql+pymssql://u:p@h/x"}
FIELDS = {
    Kind.BOOL: (pa.bool_(), "NUMBER(1)", "BIT"),
    Kind.INTEGER: (pa.int64(), "NUMBER(19)", "BIGINT"),
    Kind.FLOAT: (pa.float64(), "BINARY_DOUBLE", "DOUBLE PRECISION"),
    Kind.DECIMAL: (pa.decimal128(20, 4), "NUMERIC(38, 4)", "NUMERIC(38, 4)"),
    Kind.TEXT: (pa.string(), "CLOB", "NVARCHAR(max)"),
    Kind.BINARY: (pa.binary(), "BLOB", "VARBINARY(max)"),
    Kind.DATE: (pa.date32(), "DATE", "DATE"),
    Kind.TIME: (pa.time64("us"), "VARCHAR2(15 CHAR)", "TIME(6)"),
    Kind.TIMESTAMP: (pa.timestamp("us"), "TIMESTAMP", "DATETIME2(6)"),
    Kind.INSTANT: (pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE", "DATETIMEOFFSET(6)"),
    Kind.DURATION: (pa.duration("us"), "NUMBER(19)", "BIGINT"),
}


@pytest.mark.parametrize("name", URLS)
def test_each_kind_of_column_has_a_type_that_holds_it(name: str) -> None:
    dialect = Generic(make_url(URLS[name]))
    found = {kind: dialect.declare(Field("x", kind, arrow)) for kind, (arrow, *_) in FIELDS.items()}
    assert found == {kind: types[name == "mssql"] for kind, (_, *types) in FIELDS.items()}


def test_the_ledger_has_a_key_and_a_time_with_zone() -> None:
    in_oracle = ledger.ddl(oracle.dialect())
    assert '"_api2db_ledger"' in in_oracle
    assert "loaded_at TIMESTAMP WITH TIME ZONE" in in_oracle
    in_mssql = ledger.ddl(mssql.dialect())
    assert "stream NVARCHAR(255) COLLATE Latin1_General_100_BIN2 NOT NULL" in in_mssql
    assert "loaded_at DATETIMEOFFSET" in in_mssql
    for statement in (in_oracle, in_mssql):
        assert "PRIMARY KEY (stream, batch_id)" in statement
        assert "IF NOT EXISTS" not in statement


@pytest.mark.parametrize(
    ("error", "is_doubtful"),
    [
        (pymysql.OperationalError(4025, "CONSTRAINT `full_disk` failed for `d`.`t`"), True),
        (pymysql.OperationalError(3819, "Check constraint 't_chk_1' is violated."), True),
        (pymysql.OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction"), False),
        (pymysql.OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction"), False),
        (pymysql.OperationalError(1290, "The server is running with the --read-only option"), False),
        (pymysql.OperationalError(1114, "The table 't' is full"), False),
        (pymysql.OperationalError(2013, "Lost connection to MySQL server during query"), False),
        (pymysql.OperationalError(1317, "Query execution was interrupted"), False),
        (pymysql.InternalError(1, "[HYT00] a timeout"), False),
        (psycopg.DatabaseError("ORA-02290: check constraint (U.C) violated"), True),
        (psycopg.DatabaseError("ORA-00060: deadlock"), False),
        (psycopg.DatabaseError("ORA-01653: unable to extend table U.T by 8 in tablespace USERS"), False),
        (psycopg.DatabaseError("ORA-08177: kann Zugriff nicht serialisieren"), False),
        (psycopg.InterfaceError("cursor already closed"), False),
        (psycopg.IntegrityError("a duplicate"), False),
    ],
)
def test_only_an_error_that_nothing_explains_may_be_a_rows(error: Exception, is_doubtful: bool) -> None:
    assert Generic(make_url("sqlite://")).cause(error).doubtful == is_doubtful


class Said:
    """A connection that writes down what it would run, as SQLAlchemy writes it for a database, and finds one key."""

    def __init__(self, name: str) -> None:
        self.dialect = Generic(make_url(URLS[name]))._dialect
        self.statements: list[Compiled] = []

    def execute(self, statement: Any, rows: Any = None) -> list[tuple[Any, ...]]:
        one = rows[0] if isinstance(rows, list) else rows
        told = {"column_keys": list(one)} if one else {}
        self.statements.append(statement.compile(dialect=self.dialect, **told))
        return [(1,)] if isinstance(statement, sa.Select) and not rows else []

    def begin_nested(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @property
    def parsed(self) -> list[sqlglot.Expression]:
        """The statements as another program reads that database's SQL."""
        reads = {"oracle": "oracle", "mssql": "tsql"}[self.dialect.name]
        plain = [re.sub(r"%\((\w+)\)s|__\[POSTCOMPILE_\w+\]", "@p", str(each)) for each in self.statements]
        return [sqlglot.parse_one(each.replace("(@p)", "(1)"), read=reads) for each in plain]


@pytest.mark.parametrize("name", URLS)
def test_a_merge_is_an_update_and_an_insert_whose_values_have_the_columns_types(name: str) -> None:
    said = Said(name)
    fields = [Field("id", Kind.INTEGER, pa.int64())]
    fields += [Field(f"x{kind.name}", kind, arrow) for kind, (arrow, *_) in FIELDS.items()]
    types = [generic_types.declared(field, False) for field in fields]
    columns = [sa.Column(each.name, types[n], key=f"c{n}") for n, each in enumerate(fields)]
    into = sa.Table("t", sa.MetaData(), *columns)
    slots = [Slot(field.name, field.kind, field.arrow, "") for field in fields]
    rows = [dict.fromkeys((f"c{n}" for n in range(len(fields))), None) | {"c0": number} for number in (1, 2)]
    rule = MergeRule(("id",), "xINSTANT")
    merge(cast(sa.Connection, said), into, slots, rows, rule)
    assert [each.key for each in said.parsed] == ["select", "update", "insert"]
    for compiled, prefix in zip(said.statements[1:], ("_c", "c"), strict=True):
        declared = {key: bind.type.compile(dialect=said.dialect) for key, bind in compiled.binds.items()}
        for number, type_ in enumerate(types):
            assert declared[f"{prefix}{number}"] == type_.compile(dialect=said.dialect)
    assert "<=" in str(said.statements[1])
    assert "IS NULL" in str(said.statements[1])


@pytest.mark.parametrize("name", URLS)
def test_the_ledger_is_asked_and_written_in_each_databases_sql(name: str) -> None:
    said = Said(name)
    connection = cast(sa.Connection, said)
    batches = [Batch(pa.table({"id": [n]}), new_batch_id(), n) for n in (1, 2)]
    said.execute = _none_found(said.execute)  # type: ignore[method-assign]
    assert ledger.claim(connection, "s/sql", batches) == {each.batch_id for each in batches}
    ledger.set_rows(connection, "s/sql", batches[0].batch_id, 0)
    ledger.release(connection, "s/sql", [batches[0].batch_id])
    assert [each.key for each in said.parsed] == ["select", "insert", "update", "delete"]
    ledger.create(connection)
    (*_, created) = said.parsed
    assert created.key == "create"


@pytest.mark.parametrize("name", URLS)
def test_a_table_is_made_and_altered_in_each_databases_sql(name: str) -> None:
    dialect = Generic(make_url(URLS[name]))
    reads = {"oracle": "oracle", "mssql": "tsql"}[name]
    for kind, (arrow, *_) in FIELDS.items():
        column = dialect.define(cast(sa.Connection, None), "t", "odd name", Field("odd name", kind, arrow))
        made = sqlglot.parse_one(f"CREATE TABLE {dialect.quote('t')} ({column})", read=reads)
        altered = sqlglot.parse_one(f"ALTER TABLE {dialect.quote('t')} {dialect.adds} {column}", read=reads)
        assert (made.key, altered.key) == ("create", "alter")
        assert next(made.find_all(sqlglot.exp.ColumnDef)).name == "odd name"


def _none_found(execute: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def run(statement: Any, rows: Any = None) -> list[Any]:
        execute(statement, rows)
        return []

    return run


def test_names_and_new_columns_are_written_as_each_database_writes_them() -> None:
    in_oracle, in_mssql = (Generic(make_url(url)) for url in URLS.values())
    assert (in_oracle.quote('a"b'), in_mssql.quote("a]b")) == ('"a""b"', "[a]]b]")
    assert (in_oracle.adds, in_mssql.adds) == ("ADD", "ADD")
    assert in_mssql.names.legal("x" * 200) != "x" * 200
