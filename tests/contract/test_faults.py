"""Lost answers, killed processes, servers that go away, people who may not: each batch still once, or a clear error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from api2db.batch import Receipt
from api2db.chaos.proxy import Proxy
from api2db.errors import FatalError, RetryableError
from api2db.sinks.sql import SqlSink
from tests import warm
from tests.contract.conftest import MakeSink
from tests.contract.places import DuckDBPlace, Place, PostgresPlace, Quarantine, SQLitePlace, batch, every_place, load
from tests.servers import Postgres

TIMEOUT_S = 60.0

# Loads batch "00…0<n>" for each number given, rows 0 to 99 of it, with the options in the second argument.
CHILD = """
import json, sys
import pyarrow as pa
from sqlalchemy import make_url
from api2db.batch import Batch
from api2db.errors import RetryableError
from api2db.sinks.sql import SqlSink
from tests.contract import plain

url, options, numbers = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
sink = SqlSink(url=make_url(url), **options)
for n in map(int, numbers):
    rows = {"id": list(range(100)), "v": [n] * 100, "by": [n] * 100}
    batch = Batch(pa.table(rows), f"{n:032x}", n + 1)
    for _ in range(20):
        try:
            print(sink.load([batch], None)[0].duplicate)
            break
        except RetryableError:
            pass
sink.close()
"""


def child(place: Place, options: str, *numbers: int, failpoint: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "API2DB_FAILPOINT": failpoint}
    url = place.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", CHILD, url, options, *map(str, numbers)]
    return warm.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


APPEND = '{"stream": "s", "table": "t"}'
MERGE = '{"stream": "s", "table": "t", "key": ["id", "v"]}'


@every_place
@pytest.mark.parametrize("options", [APPEND, MERGE], ids=["append", "merge"])
def test_a_process_killed_during_a_load_has_loaded_all_or_nothing(place: Place, options: str) -> None:
    """Each takes up what the one before it left, and is killed at its second batch."""
    kills = {"sink.ledger": 1, "sink.loaded": 2, "sink.committed": 4} if options == APPEND else {"sink.loaded": 1}
    there = 0
    for point, expected in kills.items():
        killed = child(place, options, there + 1, there + 2, failpoint=f"{point}:2")
        killed.communicate(timeout=TIMEOUT_S)
        assert killed.returncode == -signal.SIGKILL
        there = expected
        assert place.query("SELECT count(*), max(v) FROM t") == [(100 * there, there)], point
    last = child(place, options, *range(1, there + 2))
    answer, _ = last.communicate(timeout=TIMEOUT_S)
    assert answer.split() == ["True"] * there + ["False"]
    assert place.query("SELECT count(*), count(DISTINCT v) FROM t") == [(100 * (there + 1), there + 1)]


def test_processes_feed_one_table_that_none_has_made(place: Place) -> None:
    options = '{"stream": "s%d", "table": "t"}'
    children = [child(place, options % n, n, n + 10, n + 20) for n in range(3)]
    for one in children:
        one.communicate(timeout=TIMEOUT_S)
        assert one.returncode == 0
    assert place.query("SELECT count(*), sum(id) FROM t") == [(900, 9 * 4950)]
    assert place.query('SELECT count(*), sum("rows") FROM _api2db_ledger') == [(9, 900)]


def test_processes_that_merge_the_same_keys_leave_the_newest(place: Place) -> None:
    options = '{"stream": "s%d", "table": "t", "key": ["id"], "version": "v"}'
    batches = 12 if place.name == "duckdb" else 30  # one after the other there, by the lock on its file
    children = [child(place, options % n, *range(n, batches, 3)) for n in range(3)]
    for one in children:
        one.communicate(timeout=TIMEOUT_S)
        assert one.returncode == 0
    assert place.query('SELECT count(*), min(v), max(v), min("by") FROM t') == [
        (100, batches - 1, batches - 1, batches - 1)
    ]


@every_place
def test_the_same_batch_by_two_processes_is_loaded_once(place: Place) -> None:
    children = [child(place, '{"stream": "s", "table": "t"}', *range(5)) for _ in range(3)]
    answers = "".join(one.communicate(timeout=TIMEOUT_S)[0] for one in children).split()
    assert sorted(answers) == ["False"] * 5 + ["True"] * 10
    assert place.query("SELECT count(*) FROM t") == [(500,)]


def test_threads_add_different_columns_to_one_table_at_once(place: Place, make_sink: MakeSink) -> None:
    sinks = [make_sink(table="t", stream=f"s{n}/sql") for n in range(4)]
    start = threading.Barrier(len(sinks))
    failures: list[BaseException] = []

    def feed(number: int) -> None:
        start.wait(TIMEOUT_S)
        for turn in range(5):
            one = batch({"id": [number], f"c{number}_{turn}": [turn], f"shared_{turn}": [1.5]})
            for _ in range(20):
                try:
                    load(sinks[number], one)
                    break
                except RetryableError:
                    continue
                except BaseException as error:
                    failures.append(error)
                    raise

    threads = [threading.Thread(target=feed, args=(n,)) for n in range(len(sinks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert not failures
    assert place.query("SELECT count(*), sum(c0_4), count(shared_0), count(c3_1) FROM t") == [(20, 4, 4, 1)]


def test_an_answer_of_commit_that_is_lost_does_not_load_twice(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    with Proxy(postgres.host, postgres.port, b"COMMIT\0") as proxy:
        sink = SqlSink(stream="s", url=place.url.set(host="127.0.0.1", port=proxy.port), table="t")
        load(sink, batch({"id": [1]}))
        lost = batch({"id": [2, 3]})
        proxy.arm()
        with pytest.raises(RetryableError):
            load(sink, lost)
        assert proxy.cut.is_set()
        assert sink.load([lost], Quarantine()) == [Receipt(lost.batch_id, 2, duplicate=True)]
        sink.close()
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("away", ["stop", "kill"])
def test_a_server_that_was_away_is_used_again(postgres: Postgres, contract_database: str, away: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    sink = SqlSink(stream="s", url=place.url, table="t")
    load(sink, batch({"id": [1]}))
    getattr(postgres, away)()
    with pytest.raises(RetryableError, match=r"stream s: table t: .*refused"):
        load(sink, batch({"id": [2]}))
    with pytest.raises(RetryableError):
        sink.connect()
    postgres.start()
    sink.connect()
    load(sink, batch({"id": [3]}))
    sink.close()
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (3,)]


def test_a_restart_between_loads_goes_unnoticed(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    sink = SqlSink(stream="s", url=place.url, table="t")
    load(sink, batch({"id": [1]}))
    postgres.stop()
    postgres.start()
    load(sink, batch({"id": [2]}))
    sink.close()
    assert place.query("SELECT count(*) FROM t") == [(2,)]


def test_a_backend_that_is_terminated_is_retryable(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    sink = SqlSink(stream="s", url=place.url, table="t")
    place.query("CREATE TABLE t (id integer, CONSTRAINT ends CHECK (pg_terminate_backend(pg_backend_pid())))")
    one = batch({"id": [1]})
    with pytest.raises(RetryableError, match=r"stream s: table t: .*connection"):
        load(sink, one)
    place.query("ALTER TABLE t DROP CONSTRAINT ends")
    load(sink, one)
    sink.close()
    assert place.query("SELECT id FROM t") == [(1,)]


def test_a_wrong_password_is_fatal_and_not_repeated_in_the_message(postgres: Postgres) -> None:
    url = PostgresPlace.new_schema(postgres.url()).url.set(password="not-the-one")
    sink = SqlSink(stream="s", url=url, table="t")
    with pytest.raises(FatalError, match=r"stream s: table t: .*password") as refused:
        sink.connect()
    assert "not-the-one" not in str(refused.value)
    assert "correct user and password" in str(refused.value)
    sink.close()


def test_missing_permissions_are_fatal_and_say_what_to_run(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    schema = place.query("SELECT current_schema()")[0][0]
    role = f"r_{schema}_{contract_database}"
    place.query(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    sink = SqlSink(stream="s", url=place.url.set(username=role, password="x"), table="t")
    with pytest.raises(FatalError, match="create the schema"):
        load(sink, batch({"id": [1]}))
    place.query(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    with pytest.raises(FatalError, match="CREATE TABLE IF NOT EXISTS _api2db_ledger") as refused:
        load(sink, batch({"id": [1]}))
    place.query(str(refused.value).partition("run: ")[2])
    with pytest.raises(FatalError, match="grant the permission"):
        load(sink, batch({"id": [1]}))
    place.query(f"GRANT SELECT, INSERT, UPDATE ON _api2db_ledger TO {role}")
    with pytest.raises(FatalError, match="permission denied for schema"):
        load(sink, batch({"id": [1]}))
    place.query("CREATE TABLE t (id bigint)")
    with pytest.raises(FatalError, match=r"permission denied for table t.*grant the permission"):
        load(sink, batch({"id": [1]}))
    place.query(f"GRANT INSERT ON t TO {role}")
    load(sink, batch({"id": [1]}))
    sink.close()
    replacing = SqlSink(stream="r", url=place.url.set(username=role, password="x"), table="t", if_exists="replace")
    with pytest.raises(FatalError, match=r"permission denied for table t.*grant the permission"):
        load(replacing, batch({"id": [2]}))
    place.query(f"GRANT DELETE ON t TO {role}")
    load(replacing, batch({"id": [2]}))
    replacing.close()
    assert place.query("SELECT id FROM t") == [(2,)]
    elsewhere = SqlSink(stream="s", url=place.url.set(username=role, password="x", database="no_such_db"), table="t")
    with pytest.raises(FatalError, match='run: CREATE DATABASE "no_such_db"'):
        elsewhere.connect()
    elsewhere.close()
    place.query(f"DROP OWNED BY {role}")
    place.query(f"DROP ROLE {role}")


def test_a_missing_database_is_created_by_whoever_comes_first(postgres: Postgres, contract_database: str) -> None:
    url = PostgresPlace.new_schema(postgres.url(contract_database)).url
    url = url.set(database=f'{contract_database} "new" %41', query={})
    sinks = [SqlSink(stream=f"s{n}", url=url, table="t") for n in range(4)]
    start = threading.Barrier(len(sinks))
    failures: list[BaseException] = []

    def connect(sink: SqlSink) -> None:
        start.wait(TIMEOUT_S)
        try:
            sink.connect()
            load(sink, batch({"id": [1]}))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=connect, args=(sink,)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    for sink in sinks:
        sink.close()
    assert not failures
    assert PostgresPlace(url).query("SELECT count(*) FROM t") == [(4,)]
    postgres.drop_database(url.database.replace('"', '""') if url.database else "")


def test_a_durable_commit_is_asked_for_where_the_server_does_not(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    url = place.url.update_query_dict({"options": f"{place.url.query['options']} -csynchronous_commit=off"})
    place.query("CREATE TABLE t (id integer, setting text DEFAULT current_setting('synchronous_commit'))")
    sink = SqlSink(stream="s", url=url, table="t")
    load(sink, batch({"id": [1]}))
    sink.close()
    assert place.query("SELECT setting FROM t") == [("on",)]


def test_a_constraint_that_waits_for_commit_still_finds_its_row(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    place.query("CREATE TABLE t (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    sink, bad = SqlSink(stream="s", url=place.url, table="t"), batch({"id": [1, 2, 1, 3]})
    quarantine = Quarantine()
    assert sink.load([bad], quarantine) == [Receipt(bad.batch_id, 3, quarantined=1)]
    sink.close()
    assert quarantine.rows == [{"id": 1}]
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)]


def test_a_view_is_no_place_and_says_so(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    place.query("CREATE VIEW t AS SELECT 1 AS id")
    sink = SqlSink(stream="s", url=place.url, table="t")
    with pytest.raises(FatalError, match="it is a view: load into the table behind it"):
        load(sink, batch({"id": [1]}))
    sink.close()


def test_a_lock_that_is_not_given_is_retryable(postgres: Postgres, contract_database: str) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    url = place.url.update_query_dict({"options": f"{place.url.query['options']} -clock_timeout=50"})
    place.query("CREATE TABLE t (id integer)")
    sink = SqlSink(stream="s", url=url, table="t")
    with PostgresPlace(place.url).connect() as other:
        other.execute("LOCK TABLE t")
        with pytest.raises(RetryableError, match="55P03"):
            load(sink, batch({"id": [1]}))
        other.rollback()
    load(sink, batch({"id": [1]}))
    sink.close()


@pytest.mark.parametrize("kind", [SQLitePlace, DuckDBPlace], ids=["sqlite", "duckdb"])
def test_folders_of_a_database_file_are_made(tmp_path: Path, kind: type[SQLitePlace | DuckDBPlace]) -> None:
    place = kind(tmp_path / "a" / "b" / "c.db")
    sink = SqlSink(stream="s", url=place.url, table="t")
    load(sink, batch({"id": [1]}))
    if isinstance(place, SQLitePlace):
        assert place.query("PRAGMA journal_mode") == [("wal",)]
    sink.close()
    assert place.query("SELECT id FROM t") == [(1,)]


def test_sqlite_where_it_cannot_be_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database, though long enough to look like one " * 100)
    for path, says in ((tmp_path / "file", "NOTADB"), (tmp_path / "file" / "x.db", "folder")):
        sink = SqlSink(stream="s", url=SQLitePlace(path).url, table="t")
        with pytest.raises(FatalError, match=says):
            load(sink, batch({"id": [1]}))
        sink.close()


def test_sqlite_that_only_reads_is_fatal(tmp_path: Path) -> None:
    place = SQLitePlace(tmp_path / "x.db")
    load(first := SqlSink(stream="s", url=place.url, table="t"), batch({"id": [1]}))
    first.close()
    url = place.url.set(database=f"file:{place.path}").update_query_dict({"mode": "ro", "uri": "true"})
    sink = SqlSink(stream="s", url=url, table="t")
    with pytest.raises(FatalError, match="READONLY"):
        load(sink, batch({"id": [1]}))
    sink.close()
