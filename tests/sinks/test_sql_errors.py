"""Every documented error of the drivers: whether it is repeated, whether a person must act, or a row is bad."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import ssl
import sys
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from api2db.errors import BadDataError, ConfigError, FatalError, RetryableError, SinkError
from api2db.sinks.mysql import MySQL
from api2db.sinks.postgresql import PostgreSQL
from api2db.sinks.sql import SqlSink
from api2db.sinks.sqlite import SQLite
from tests.contract.places import MariaDBPlace, PostgresPlace, batch, load
from tests.mariadb import MariaDB
from tests.servers import Postgres

CLASSES: dict[type[SinkError], str] = {
    RetryableError: """08000 08003 08006 08001 08004 08007 08P01 40000 40001 40002 40003 40P01 53000 53100 53200 53300
        53400 55P03 55006 57000 57014 57P01 57P02 57P03 57P04 57P05 58000 58030 25006 25P02 25P03 42P01 42P07 42701
        42703 XX000 XX001 72000 F0000 99999""",
    FatalError: """28000 28P01 3D000 3F000 42501 42P10 42601 42804 42809 42883 42846 428C9 42P16 0A000 54011 54001""",
    BadDataError: """22000 22001 22003 22007 22008 22021 22023 22P02 22P03 22P04 22P05 23000 23502 23503 23505 23514
        23P01 44000 54000 21000 P0001""",
}


@pytest.mark.parametrize(
    ("code", "expected"), [(code, kind) for kind, codes in CLASSES.items() for code in codes.split()]
)
def test_every_class_of_sqlstate_has_a_meaning(code: str, expected: type[SinkError]) -> None:
    error = _state_error(code)
    wrapped = DBAPIError("INSERT …", {"row": "secret"}, error)
    for one in (error, wrapped):
        cause = PostgreSQL().cause(one)
        assert cause.error is expected
        assert code in cause.text
        assert "secret" not in cause.text
        assert expected is not FatalError or cause.advice
    assert PostgreSQL().cause(error).lost == (code[:2] == "08" or code in ("57P01", "57P02", "57P03", "57P05"))


def _state_error(code: str) -> psycopg.Error:
    with contextlib.suppress(KeyError):
        return psycopg.errors.lookup(code)("it went wrong")
    error = psycopg.DatabaseError("it went wrong")
    error.sqlstate = code
    return error


@pytest.mark.parametrize("kind", [psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ConnectionTimeout])
def test_a_connection_that_breaks_is_lost_and_retried(kind: type[psycopg.Error]) -> None:
    cause = PostgreSQL().cause(kind("server closed the connection unexpectedly"))
    assert cause.error is RetryableError
    assert cause.lost


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FATAL:  password authentication failed for user "x"', FatalError),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "x", database "y", no encryption', FatalError),
        ("fe_sendauth: no password supplied", FatalError),
        ('FATAL:  role "x" does not exist', FatalError),
        ('FATAL:  role "x" is not permitted to log in', FatalError),
        ('FATAL:  Peer authentication failed for user "x"', FatalError),
        ('FATAL:  permission denied for database "y"', FatalError),
        ('FATAL:  database "y" does not exist', FatalError),
        ("FATAL:  sorry, too many clients already", RetryableError),
        ("FATAL:  the database system is starting up", RetryableError),
        ("Connection refused", RetryableError),
        ("timeout expired", RetryableError),
    ],
)
def test_a_login_that_fails_is_read_from_its_text(text: str, expected: type[SinkError]) -> None:
    message = f'connection failed: connection to server at "::1", port 5432 failed: {text}'
    assert PostgreSQL().cause(psycopg.OperationalError(message)).error is expected


def test_a_quoted_value_is_cut_and_a_long_message_too() -> None:
    cause = PostgreSQL().cause(psycopg.errors.InvalidTextRepresentation(f'invalid uuid: "{"s" * 99}" ' + "x" * 999))
    assert '"' + "s" * 40 + '…"' in cause.text
    assert len(cause.text) < 420


SQLITE: dict[type[SinkError], str] = {
    RetryableError: "BUSY BUSY_SNAPSHOT LOCKED FULL IOERR IOERR_WRITE IOERR_FSYNC NOMEM INTERRUPT CANTOPEN SCHEMA",
    FatalError: "READONLY READONLY_DBMOVED NOTADB CORRUPT PERM AUTH",
    BadDataError: "CONSTRAINT CONSTRAINT_UNIQUE CONSTRAINT_NOTNULL CONSTRAINT_CHECK MISMATCH TOOBIG RANGE",
}


@pytest.mark.parametrize(
    ("name", "expected"), [(name, kind) for kind, names in SQLITE.items() for name in names.split()]
)
def test_every_result_code_of_sqlite_has_a_meaning(name: str, expected: type[SinkError]) -> None:
    error = sqlite3.OperationalError("it went wrong")
    error.sqlite_errorname = f"SQLITE_{name}"
    error.sqlite_errorcode = getattr(sqlite3, error.sqlite_errorname)
    for one in (error, DBAPIError("INSERT …", {"row": "secret"}, error)):
        cause = SQLite().cause(one)
        assert cause.error is expected
        assert name in cause.text
        assert "secret" not in cause.text


MYSQL: dict[type[SinkError], str] = {
    RetryableError: """1020 1021 1030 1037 1038 1040 1041 1047 1050 1053 1054 1060 1114 1146 1152 1158 1159 1160 1161
        1184 1203 1205 1213 1226 1290 1317 1412 1615 1792 1836 1927 1969 2002 2006 2013 2014 2055 3024 3572 4031
        9999""",
    FatalError: """1044 1045 1046 1049 1064 1071 1115 1117 1118 1129 1130 1142 1143 1166 1170 1194 1195 1227 1235 1251
        1286 1288 1347 1471 1665 1698 1820 1862 1906 1932 2005 2026 2054 2058 2068 3118 3159 3750 4151""",
    BadDataError: """1048 1062 1153 1169 1216 1261 1264 1265 1292 1300 1364 1366 1367 1406 1411 1416 1441 1451 1452 1526
        1586 1644 1690 1748 3140 3819 4025""",
}


@pytest.mark.parametrize(
    ("number", "expected"), [(int(one), kind) for kind, numbers in MYSQL.items() for one in numbers.split()]
)
def test_every_number_of_mysql_has_a_meaning(number: int, expected: type[SinkError]) -> None:
    error = pymysql.OperationalError(number, "it went wrong")
    for one in (error, DBAPIError("INSERT …", {"row": "secret"}, error)):
        cause = MySQL().cause(one)
        assert cause.error is expected
        assert str(number) in cause.text
        assert "secret" not in cause.text
        assert expected is not FatalError or cause.advice
    assert MySQL().cause(error).lost == (number in (1053, 2002, 2006, 2013, 2055))


@pytest.mark.parametrize(
    ("state", "expected"),
    [("22001", BadDataError), ("45001", BadDataError), ("28000", FatalError), ("42000", FatalError)],
)
def test_a_number_nobody_knows_is_read_from_its_sqlstate(state: str, expected: type[SinkError]) -> None:
    assert MySQL().cause(pymysql.OperationalError(9999, "new", sqlstate=state)).error is expected


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (ConnectionRefusedError(111, "Connection refused"), RetryableError),
        (TimeoutError("timed out"), RetryableError),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), RetryableError),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), FatalError),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), FatalError),
    ],
)
def test_a_server_that_is_not_reached_is_told_from_one_that_is_not_there(
    original: OSError, expected: type[SinkError]
) -> None:
    error = pymysql.OperationalError(2003, f"Can't connect to MySQL server on 'h' ({original})")
    error.original_exception = original
    assert MySQL().cause(error).error is expected


def test_a_connection_closed_before_is_lost() -> None:
    cause = MySQL().cause(pymysql.InterfaceError(0, ""))
    assert (cause.error, cause.lost) == (RetryableError, True)


def test_a_quoted_value_of_mysql_is_cut() -> None:
    cause = MySQL().cause(pymysql.IntegrityError(1062, f"Duplicate entry '{'s' * 99}' for key 'PRIMARY'"))
    assert cause.text == f"Duplicate entry '{'s' * 40}…' for key 'PRIMARY' (1062)"


@pytest.mark.parametrize(
    ("dialect", "driver"), [("postgresql", "psycopg"), ("mysql", "pymysql"), ("mariadb", "pymysql")]
)
def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch, dialect: str, driver: str) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    sink = SqlSink(stream="s", url=make_url(f"{dialect}://localhost/x"), table="t")
    extra = "postgresql" if dialect == "postgresql" else "mysql"
    with pytest.raises(FatalError, match=rf'pip install "api2db-daemon\[{extra}\]"'):
        sink.connect()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("dbase://localhost/x", '"mysql", "postgresql", "sqlite"'),
        ("duckdb://", "memory"),
        ("duckdb:///x.duckdb?threads=1", "takes timeout, not threads"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
    ],
)
def test_a_url_that_cannot_work_stops_the_stream_and_says_why(url: str, says: str) -> None:
    with pytest.raises((ConfigError, FatalError), match=says):
        SqlSink(stream="s", url=make_url(url), table="t").connect()


def test_a_locked_file_is_retryable_and_not_waited_for_forever(tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path}/x.db?timeout=0.05")
    sink = SqlSink(stream="s", url=url, table="t")
    load(sink, batch({"id": [1]}))
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RetryableError, match="BUSY"):
            load(sink, batch({"id": [2]}))
    load(sink, batch({"id": [3]}))
    sink.close()


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20) | st.sampled_from(
    [
        "p@ss:w/o?r#d",
        "%",
        "%41",
        "%%s",
        "'",
        '"',
        "\\",
        "a b",
        "@:/",
        "postgresql://",
        "пароль",
        "密碼",
        "{}",
        "$HOME",
        "+",
    ]
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=PASSWORDS)
def test_any_password_survives_the_url(postgres: Postgres, password: str) -> None:
    place = PostgresPlace.new_schema(postgres.url())
    role = place.query("SELECT current_schema()")[0][0]
    quoted = password.replace("\\", "\\\\").replace("'", "''")
    place.query(f"CREATE ROLE {role} LOGIN PASSWORD E'{quoted}'")
    place.query(f"GRANT ALL ON SCHEMA {role} TO {role}")
    url = place.url.set(username=role, password=password)
    # As it comes from a settings file: text, parsed back.
    sink = SqlSink(stream="s", url=make_url(url.render_as_string(hide_password=False)), table="t")
    sink.connect()
    load(sink, batch({"id": [1]}))
    assert role not in sink.target
    sink.close()
    place.query(f"DROP OWNED BY {role}")
    place.query(f"DROP SCHEMA {role}")
    place.query(f"DROP ROLE {role}")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=PASSWORDS)
def test_any_password_survives_the_url_to_mariadb(mariadb: MariaDB, mariadb_database: str, password: str) -> None:
    place = MariaDBPlace(make_url(mariadb.url(mariadb_database)))
    quoted = password.replace("\\", "\\\\").replace("'", "''")
    place.query(f"CREATE OR REPLACE USER someone IDENTIFIED BY '{quoted}'")
    place.query(f"GRANT ALL ON {mariadb_database}.* TO someone")
    url = place.url.set(username="someone", password=password)
    sink = SqlSink(stream="s", url=make_url(url.render_as_string(hide_password=False)), table="t")
    sink.connect()
    load(sink, batch({"id": [1]}))
    assert "someone" not in sink.target
    sink.close()
    place.query("DROP USER someone")


def test_a_value_of_a_row_is_never_in_an_error(postgres: Postgres) -> None:
    place = PostgresPlace.new_schema(postgres.url())
    place.query("CREATE TABLE t (id integer PRIMARY KEY, secret text, CHECK (id < 5) NOT VALID)")
    sink = SqlSink(stream="s", url=place.url, table="t")
    rows: dict[str, Any] = {"id": [1, 1, 7], "secret": ["hidden"] * 3}
    reasons = load(sink, batch(rows)).reasons
    sink.close()
    assert len(reasons) == 2
    assert not any("hidden" in reason for reason in reasons)
