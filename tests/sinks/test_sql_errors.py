"""Every documented error of the drivers: whether it is repeated, whether a person must act, or a row is bad."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from api2db.errors import BadDataError, ConfigError, FatalError, RetryableError, SinkError
from api2db.sinks.postgresql import PostgreSQL
from api2db.sinks.sql import SqlSink
from api2db.sinks.sqlite import SQLite
from tests.contract.places import PostgresPlace, batch, load
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


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    sink = SqlSink(stream="s", url=make_url("postgresql://localhost/x"), table="t")
    with pytest.raises(ConfigError, match=r'pip install "api2db-daemon\[postgresql\]"'):
        sink.connect()


@pytest.mark.parametrize(
    ("url", "says"),
    [("mysql://localhost/x", '"postgresql" and "sqlite"'), ("sqlite://", "memory"), ("sqlite:///:memory:", "memory")],
)
def test_a_url_that_cannot_work_is_a_config_error(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
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


def test_a_value_of_a_row_is_never_in_an_error(postgres: Postgres) -> None:
    place = PostgresPlace.new_schema(postgres.url())
    place.query("CREATE TABLE t (id integer PRIMARY KEY, secret text, CHECK (id < 5) NOT VALID)")
    sink = SqlSink(stream="s", url=place.url, table="t")
    rows: dict[str, Any] = {"id": [1, 1, 7], "secret": ["hidden"] * 3}
    reasons = load(sink, batch(rows)).reasons
    sink.close()
    assert len(reasons) == 2
    assert not any("hidden" in reason for reason in reasons)
