"""What SQLAlchemy makes of our tables for databases whose servers aren't run here."""

from __future__ import annotations

import psycopg
import pyarrow as pa
import pymysql
import pytest
from sqlalchemy import make_url
from sqlalchemy.dialects import mssql, oracle

from api2db import ledger
from api2db.schema import Field, Kind
from api2db.sinks.generic import Generic

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


def test_names_and_new_columns_are_written_as_each_database_writes_them() -> None:
    in_oracle, in_mssql = (Generic(make_url(url)) for url in URLS.values())
    assert (in_oracle.quote('a"b'), in_mssql.quote("a]b")) == ('"a""b"', "[a]]b]")
    assert (in_oracle.adds, in_mssql.adds) == ("ADD", "ADD")
    assert in_mssql.names.legal("x" * 200) != "x" * 200
