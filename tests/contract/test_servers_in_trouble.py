"""Databases that only read, are full, locked or have no connection left: said in words, repeated, and in once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from api2db.batch import Batch, Receipt
from api2db.errors import RetryableError
from api2db.sinks.sql import SqlSink
from tests.contract.conftest import MakeSink, new_place
from tests.contract.places import (
    DuckDBPlace,
    MariaDBPlace,
    Place,
    PostgresPlace,
    Quarantine,
    SQLitePlace,
    batch,
    every_place,
    load,
)
from tests.project_kit import eventually
from tests.server_process import account

TIMEOUTS = {
    "postgresql": {"options": "-clock_timeout=50"},
    "mariadb": {"lock_timeout": "1"},
    "sqlite": {"timeout": "0"},
    "duckdb": {"timeout": "0"},
    "generic": {"timeout": "0"},
}


def impatient(place: Place) -> URL:
    """The place's URL, with short waits for what others have locked."""
    given = dict(TIMEOUTS[place.name])
    if place.name == "postgresql":
        given["options"] = f"{place.url.query['options']} {given['options']}"
    return place.url.update_query_dict(given)


@contextmanager
def opened_by_another_process(place: DuckDBPlace) -> Iterator[int]:
    """Its process id."""
    code = "import sys, duckdb; held = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(place.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        yield other.pid


@every_place
def test_a_table_that_someone_has_locked_is_tried_again_and_gets_each_row_once(place: Place) -> None:
    sink = SqlSink(stream="s", url=impatient(place), table="t")
    load(sink, batch({"id": [1]}))
    one = batch({"id": [2, 3]})
    if isinstance(place, SQLitePlace):
        with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(RetryableError, match=r"another program holds the file|database is locked"):
                load(sink, one)
    elif isinstance(place, DuckDBPlace):
        with opened_by_another_process(place) as pid:
            holder = rf"table t: process {pid} \(.*\) holds the file: .*another program has the file open"
            with pytest.raises(RetryableError, match=holder):
                load(sink, one)
    elif isinstance(place, PostgresPlace):
        with place.connect() as other:
            other.execute("LOCK TABLE t")
            with pytest.raises(RetryableError, match="another transaction holds the table"):
                load(sink, one)
    else:
        assert isinstance(place, MariaDBPlace)
        with closing(place.connect()) as other, other.cursor() as cursor:
            cursor.execute("LOCK TABLES t WRITE")
            with pytest.raises(RetryableError, match="Lock wait timeout"):
                load(sink, one)
    assert sink.load([one], Quarantine()) == [Receipt(one.batch_id, 2)]
    sink.close()
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
def test_a_server_that_only_reads_for_a_while_is_tried_again(place: Place) -> None:
    name, url = place.url.database, place.url
    if isinstance(place, PostgresPlace):
        role = f"reads_{place.query('SELECT current_schema()')[0][0]}"
        schema = place.query("SELECT current_schema()")[0][0]
        place.query(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA {schema} TO {role}")
        lock, unlock = (f"ALTER ROLE {role} SET default_transaction_read_only = {to}" for to in ("on", "off"))
    else:
        role = f"reads_{name}"
        place.query(f"CREATE USER {role} IDENTIFIED BY 'x'")
        place.query(f'GRANT ALL ON "{name}".* TO {role}')
        lock, unlock = (f"SET GLOBAL read_only = {to}" for to in (1, 0))
    sink = SqlSink(stream="s", url=url.set(username=role, password="x"), table="t")
    load(sink, batch({"id": [1]}))
    sink.close()
    one = batch({"id": [2]})
    place.query(lock)
    try:
        with pytest.raises(RetryableError, match="the server only reads at the moment"):
            load(sink, one)
    finally:
        place.query(unlock)
    assert sink.load([one], Quarantine()) == [Receipt(one.batch_id, 1)]
    sink.close()
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    if isinstance(place, PostgresPlace):
        place.query(f"DROP OWNED BY {role}; DROP ROLE {role}")
    else:
        place.query(f"DROP USER {role}")


@pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
def test_no_connection_left_is_tried_again_and_says_what_to_raise(place: Place) -> None:
    one, name = batch({"id": [1]}), place.url.database
    if isinstance(place, PostgresPlace):
        schema = place.query("SELECT current_schema()")[0][0]
        role = f"few_{schema}"
        place.query(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1; GRANT ALL ON SCHEMA {schema} TO {role}")
    else:
        role = f"few_{name}"
        place.query(f"CREATE USER {role} IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1")
        place.query(f'GRANT ALL ON "{name}".* TO {role}')
    theirs = type(place)(place.url.set(username=role, password="x"))  # type: ignore[call-arg]
    assert isinstance(theirs, PostgresPlace | MariaDBPlace)
    sink = SqlSink(stream="s", url=theirs.url, table="t")
    with closing(theirs.connect()), pytest.raises(RetryableError, match="max_connections"):
        load(sink, one)
    eventually(lambda: is_loaded(sink, one))  # the server counts a connection for a moment after it was closed
    sink.close()
    assert place.query("SELECT id FROM t") == [(1,)]
    place.query(f"DROP OWNED BY {role}; DROP ROLE {role}" if place.name == "postgresql" else f"DROP USER {role}")


def is_loaded(sink: SqlSink, one: Batch) -> bool:
    try:
        return bool(sink.load([one], Quarantine()))
    except RetryableError:
        return False


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb", "generic", "postgresql", "mariadb"])
def test_a_database_without_space_is_tried_again_and_gets_each_row_once_when_there_is_some(
    request: pytest.FixtureRequest, small_disk: Path, dialect: str
) -> None:
    place = new_place(request, dialect, small_disk)
    columns = "(id bigint, x longtext)" if dialect == "mariadb" else "(id bigint, x text)"
    if dialect == "postgresql":
        space = f"small_{os.getpid()}"
        owner = account("postgres")
        data = small_disk / "data"
        data.mkdir()
        if owner is not None:
            os.chown(data, owner.pw_uid, owner.pw_gid)
        place.query(f"CREATE TABLESPACE {space} LOCATION '{data}'")
        place.query(f"CREATE TABLE t {columns} TABLESPACE {space}")
    elif dialect == "mariadb":
        place.query(f"CREATE TABLE t {columns} ENGINE=InnoDB DATA DIRECTORY='{small_disk}'")
    sink = SqlSink(stream="s", url=place.url, table="t")
    load(sink, batch({"id": [0], "x": ["first"]}))
    ballast = small_disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], check=False, capture_output=True)
    one = batch({"id": range(1, 501), "x": [os.urandom(600).hex() for _ in range(500)]})
    with pytest.raises(RetryableError, match=r"free (some )?disk space|database or disk is full"):
        load(sink, one)
    ballast.unlink()
    assert sink.load([one], Quarantine()) == [Receipt(one.batch_id, 500)]
    sink.close()
    assert place.query("SELECT count(*), count(DISTINCT id) FROM t") == [(501, 501)]
    if dialect in ("postgresql", "mariadb"):
        place.query("DROP TABLE t")
    if dialect == "postgresql":
        place.query(f"DROP TABLESPACE {space}")


@every_place
def test_a_table_dropped_behind_our_back_is_made_anew_and_old_batches_do_not_come_back(
    place: Place, make_sink: MakeSink
) -> None:
    sink = make_sink(table="t")
    first = batch({"id": [1], "v": [1]})
    load(sink, first)
    place.query("DROP TABLE t")
    second = batch({"id": [2], "v": [2]})
    eventually(lambda: is_loaded(sink, second))  # what the connection has seen of the table is forgotten by and by
    # The ledger outlives the table: what was delivered once isn't again, whatever became of it.
    assert sink.load([first], Quarantine()) == [Receipt(first.batch_id, 1, duplicate=True)]
    assert place.query("SELECT id FROM t") == [(2,)]


@pytest.mark.parametrize("place", ["sqlite", "duckdb", "generic"], indirect=True)
def test_a_database_file_set_back_or_deleted_while_it_is_used_gets_what_comes_and_what_it_lacks(
    place: Place, make_sink: MakeSink
) -> None:
    assert isinstance(place, SQLitePlace | DuckDBPlace)
    sink, older = make_sink(table="t"), place.path.with_name("older")
    first, second, third = (batch({"id": [number]}) for number in (1, 2, 3))
    load(sink, first)
    if isinstance(place, DuckDBPlace):
        shutil.copy(place.path, older)
    else:
        place.query(f"VACUUM INTO '{older}'")
    load(sink, second)
    older.replace(place.path)
    for path in place.path.parent.glob(f"{place.path.name}-*"):
        path.unlink()  # the newer file's: who restores a database takes them away
    eventually(lambda: is_loaded(sink, third))
    assert [each.duplicate for each in sink.load([first, second], Quarantine())] == [True, False]
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)]
    for path in place.path.parent.glob(f"{place.path.name}*"):
        path.unlink()
    fourth = batch({"id": [4]})
    eventually(lambda: is_loaded(sink, fourth))
    assert sink.load([first], Quarantine()) == [Receipt(first.batch_id, 1)]
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (4,)]


@pytest.mark.parametrize("place", ["sqlite", "duckdb"], indirect=True)
def test_a_database_file_deleted_amidst_a_load_gets_its_rows_by_the_next(place: Place, make_sink: MakeSink) -> None:
    assert isinstance(place, SQLitePlace | DuckDBPlace)
    sink, one = make_sink(table="t"), batch({"id": [1, 2], "v": [1, 2**53 + 1]})
    load(sink, batch({"id": [0], "v": [0.5]}))
    with pytest.raises(RetryableError, match="was deleted or replaced"):
        sink.load([one], Quarantine(on_call=place.path.unlink))
    assert sink.load([one], Quarantine()) == [Receipt(one.batch_id, 2)]
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
def test_a_database_set_back_or_dropped_on_its_server_gets_what_comes_and_what_it_lacks(
    place: Place, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres" if isinstance(place, PostgresPlace) else "mariadb")
    name = server.create_database()
    there = type(place)(make_url(server.url(name)))  # type: ignore[call-arg]
    sink = SqlSink(stream="s", url=there.url, table="t")
    first, second, third = (batch({"id": [number]}) for number in (1, 2, 3))
    load(sink, first, second)
    there.query("DELETE FROM t WHERE id = 2")
    there.query(f"DELETE FROM _api2db_ledger WHERE batch_id = '{second.batch_id}'")
    assert [each.duplicate for each in sink.load([first, second], Quarantine())] == [True, False]
    assert there.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    server.drop_database(name)
    eventually(lambda: is_loaded(sink, third))
    assert sink.load([first], Quarantine()) == [Receipt(first.batch_id, 1)]
    sink.close()
    assert there.query("SELECT id FROM t ORDER BY id") == [(1,), (3,)]
    server.drop_database(name)
