"""What SQLAlchemy makes of our tables for databases whose servers aren't run here."""

from __future__ import annotations

import pyarrow as pa
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


def test_names_and_new_columns_are_written_as_each_database_writes_them() -> None:
    in_oracle, in_mssql = (Generic(make_url(url)) for url in URLS.values())
    assert (in_oracle.quote('a"b'), in_mssql.quote("a]b")) == ('"a""b"', "[a]]b]")
    assert (in_oracle.adds, in_mssql.adds) == ("ADD", "ADD")
    assert in_mssql.names.legal("x" * 200) != "x" * 200
