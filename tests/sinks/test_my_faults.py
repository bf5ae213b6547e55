"""MariaDB: lost answers, servers that go away, lie or only read, people who may not, tables that can't be trusted."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pyarrow as pa
import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import URL, make_url

from api2db.batch import Receipt
from api2db.chaos.proxy import Proxy
from api2db.errors import FatalError, RetryableError, SinkError
from api2db.sinks.my_session import Sessions
from api2db.sinks.sql import SqlSink
from api2db.sinks.transaction import TableWork
from api2db.stream import Stream2Sql
from tests.contract.places import MariaDBPlace, Quarantine, batch, load
from tests.mariadb import MariaDB, OwnMariaDB
from tests.server_process import shared_folder

TIMEOUT_S = 60.0


@pytest.fixture
def place(mariadb: MariaDB, mariadb_database: str) -> MariaDBPlace:
    return MariaDBPlace(make_url(mariadb.url(mariadb_database)))


@pytest.fixture
def sink(place: MariaDBPlace) -> Iterator[SqlSink]:
    sink = SqlSink(stream="s", url=place.url, table="t")
    yield sink
    sink.close()


def test_an_answer_of_commit_that_is_lost_does_not_load_twice(mariadb: MariaDB, place: MariaDBPlace) -> None:
    with Proxy(mariadb.host, mariadb.port, b"\x03COMMIT") as proxy:
        url = place.url.set(host="127.0.0.1", port=proxy.port).update_query_dict({"ssl_mode": "disabled"})
        sink = SqlSink(stream="s", url=url, table="t")
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
def test_a_server_that_was_away_is_used_again(mariadb: MariaDB, place: MariaDBPlace, sink: SqlSink, away: str) -> None:
    load(sink, batch({"id": [1]}))
    getattr(mariadb, away)()
    with pytest.raises(RetryableError, match=r"stream s: table t: .*refused"):
        load(sink, batch({"id": [2]}))
    with pytest.raises(RetryableError):
        sink.connect()
    mariadb.start()
    sink.connect()
    load(sink, batch({"id": [3]}))
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (3,)]


def test_a_restart_between_loads_goes_unnoticed(mariadb: MariaDB, place: MariaDBPlace, sink: SqlSink) -> None:
    load(sink, batch({"id": [1]}))
    mariadb.stop()
    mariadb.start()
    load(sink, batch({"id": [2]}))
    assert place.query("SELECT count(*) FROM t") == [(2,)]


def test_a_connection_that_is_killed_during_a_load_is_retryable(place: MariaDBPlace, sink: SqlSink) -> None:
    place.query("CREATE TABLE t (id integer)")
    with contextlib.closing(place.connect(autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('held', 10)")
        place.query("CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW SET NEW.id = NEW.id + GET_LOCK('held', 30)")
        one = batch({"id": [1]})
        caught: list[BaseException] = []

        def run() -> None:
            try:
                load(sink, one)
            except RetryableError as error:
                caught.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        victim: list[Any] = []
        while not victim:
            victim = place.query(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE = 'User lock' AND INFO LIKE 'LOAD%'"
            )
            assert thread.is_alive()
        place.query(f"KILL {victim[0][0]}")
        thread.join(TIMEOUT_S)
    assert len(caught) == 1
    place.query("DROP TRIGGER slow")
    load(sink, one)
    assert place.query("SELECT id FROM t") == [(1,)]


def test_a_deadlock_rolls_the_whole_load_back_and_is_retryable(place: MariaDBPlace) -> None:
    sink = SqlSink(stream="s", url=place.url, table="t", key="id")
    load(sink, batch({"id": [1, 2], "v": [0, 0]}))
    with contextlib.closing(place.connect(autocommit=False)) as other, other.cursor() as cursor:
        # Heavier than the load, so that it isn't the one that is chosen to give way.
        cursor.execute("INSERT INTO t (id, v) SELECT seq, 0 FROM seq_1000_to_3000")
        cursor.execute("UPDATE t SET v = 5 WHERE id = 2")
        failed: list[BaseException] = []
        one = batch({"id": [1, 2], "v": [7, 7]})

        def run() -> None:
            try:
                load(sink, one)
            except RetryableError as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while not place.query("SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'"):
            assert thread.is_alive()
        cursor.execute("UPDATE t SET v = 5 WHERE id = 1")
        other.commit()
        thread.join(TIMEOUT_S)
    assert "1213" in str(failed[0])
    assert place.query("SELECT id, v FROM t WHERE id < 3 ORDER BY id") == [(1, 5), (2, 5)]
    assert sink.load([one], Quarantine()) == [Receipt(one.batch_id, 2)]
    assert place.query("SELECT id, v FROM t WHERE id < 3 ORDER BY id") == [(1, 7), (2, 7)]
    sink.close()


def test_a_table_can_not_be_altered_under_a_load(place: MariaDBPlace, sink: SqlSink) -> None:
    load(sink, batch({"id": [1]}))
    tried: list[str] = []

    def alter() -> None:
        try:
            place.query("SET STATEMENT lock_wait_timeout = 0 FOR ALTER TABLE t MODIFY id varchar(9)")
        except pymysql.OperationalError as error:
            tried.append(str(error))

    # Called in the midst of the load, which has a row to refuse.
    assert sink.load([batch({"id": ["x"]})], Quarantine(on_call=alter))[0].quarantined == 1
    assert "1205" in tried[0]


def test_a_batch_the_ledger_can_not_take_is_not_taken_for_loaded(place: MariaDBPlace, sink: SqlSink) -> None:
    load(sink, batch({"id": [1]}))
    place.query("CREATE TABLE allowed (n bigint PRIMARY KEY)")
    place.query("INSERT INTO allowed VALUES (1)")
    place.query('ALTER TABLE _api2db_ledger ADD FOREIGN KEY ("rows") REFERENCES allowed (n)')
    with pytest.raises(RetryableError, match="didn't take"):
        load(sink, batch({"id": [1, 2, 3]}))
    assert place.query("SELECT count(*) FROM t") == [(1,)]


def test_a_wrong_password_is_fatal_and_not_repeated_in_the_message(place: MariaDBPlace) -> None:
    sink = SqlSink(stream="s", url=place.url.set(password="not-the-one"), table="t")
    with pytest.raises(FatalError, match=r"stream s: table t: .*password") as refused:
        sink.connect()
    assert "not-the-one" not in str(refused.value)
    assert "correct user and password" in str(refused.value)
    sink.close()


def test_a_host_that_does_not_exist_is_fatal_and_one_that_refuses_is_not(place: MariaDBPlace) -> None:
    for host, port, kind in (("no-such-host.invalid", 3306, FatalError), ("127.0.0.1", 1, RetryableError)):
        sink = SqlSink(stream="s", url=place.url.set(host=host, port=port), table="t")
        with pytest.raises(kind):
            sink.connect()
        sink.close()


def test_missing_permissions_are_fatal_and_say_what_to_run(place: MariaDBPlace) -> None:
    database = place.url.database
    role = f"r_{database}"
    place.query(f"CREATE USER {role} IDENTIFIED BY 'x'")
    sink = SqlSink(stream="s", url=place.url.set(username=role, password="x"), table="t")
    one = batch({"id": [1]})
    with pytest.raises(FatalError, match="grant the permission"):
        load(sink, one)
    place.query(f"GRANT SELECT ON {database}.* TO {role}")
    with pytest.raises(FatalError, match="CREATE TABLE IF NOT EXISTS _api2db_ledger") as refused:
        load(sink, one)
    place.query(str(refused.value).partition("run: ")[2])
    with pytest.raises(FatalError, match="grant the permission"):
        load(sink, one)
    place.query("CREATE TABLE t (id bigint)")
    place.query(f"GRANT INSERT, UPDATE ON {database}._api2db_ledger TO {role}")
    with pytest.raises(FatalError, match="INSERT command denied"):
        load(sink, one)
    place.query(f"GRANT INSERT ON {database}.t TO {role}")
    load(sink, one)
    sink.close()
    replacing = SqlSink(stream="r", url=place.url.set(username=role, password="x"), table="t", if_exists="replace")
    two = batch({"id": [2]})
    with pytest.raises(FatalError, match="DELETE command denied"):
        load(replacing, two)
    place.query(f"GRANT DELETE ON {database}.t TO {role}")
    load(replacing, two)
    replacing.close()
    assert place.query("SELECT id FROM t") == [(2,)]
    place.query(f"DROP USER {role}")


def test_a_missing_database_is_created_by_whoever_comes_first(mariadb: MariaDB, place: MariaDBPlace) -> None:
    url = place.url.set(database=f"{place.url.database} `new` %41")
    sinks = [SqlSink(stream=f"s{n}", url=url, table="t") for n in range(4)]
    start = threading.Barrier(len(sinks))
    failures: list[BaseException] = []

    def connect(sink: SqlSink) -> None:
        start.wait(TIMEOUT_S)
        one = batch({"id": [1]})
        try:
            sink.connect()
            load(sink, one)
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
    assert MariaDBPlace(url).query("SELECT count(*) FROM t") == [(4,)]
    mariadb.drop_database(str(url.database))


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_a_table_without_transactions_is_refused_and_says_what_to_run(
    place: MariaDBPlace, sink: SqlSink, engine: str
) -> None:
    place.query(f"CREATE TABLE t (id integer) ENGINE={engine}")
    one = batch({"id": [1]})
    with pytest.raises(FatalError, match="no transactions") as refused:
        load(sink, one)
    assert place.query("SELECT count(*) FROM t") == [(0,)]
    place.query(str(refused.value).partition("run: ")[2].replace("`", '"'))
    load(sink, one)
    place.query("ALTER TABLE _api2db_ledger ENGINE=Aria")
    fresh = SqlSink(stream="s", url=place.url, table="t")
    with pytest.raises(FatalError, match="the ledger is of engine"):
        load(fresh, batch({"id": [2]}))
    fresh.close()
    assert place.query("SELECT count(*) FROM t") == [(1,)]


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
def test_a_stream_of_either_name_connects_and_says_which_it_is(
    mariadb: MariaDB, place: MariaDBPlace, dialect: str
) -> None:
    url = place.url.set(drivername=dialect).update_query_dict({"ssl_mode": "preferred"})
    parts = {"username": mariadb.user, "password": mariadb.password, "host": mariadb.host, "port": mariadb.port}
    for stream in (
        Stream2Sql("weather", url=url.render_as_string(hide_password=False)),
        Stream2Sql("weather", db_name=place.url.database, dialect=dialect, **parts),
    ):
        assert (stream.stream_type, stream.driver) == (f"sql.{dialect}", f"{dialect}+pymysql")
        assert mariadb.password not in stream.log_str
        assert stream.connect()
        assert stream.con is not None
        with stream.con.connect() as connection:
            assert connection.exec_driver_sql("SELECT DATABASE()").scalar() == place.url.database
        stream.con.dispose()


def test_a_view_is_no_place_and_says_so(place: MariaDBPlace, sink: SqlSink) -> None:
    place.query("CREATE VIEW t AS SELECT 1 AS id")
    with pytest.raises(FatalError, match="plain table"):
        load(sink, batch({"id": [1]}))


def test_a_lock_that_is_not_given_is_retryable(place: MariaDBPlace) -> None:
    short = SqlSink(stream="s", url=place.url.update_query_dict({"lock_timeout": "1"}), table="t")
    load(short, batch({"id": [1]}))
    with contextlib.closing(place.connect()) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES t WRITE")
        with pytest.raises(RetryableError, match="1205"):
            load(short, batch({"id": [2]}))
    load(short, batch({"id": [3]}))
    short.close()
    assert place.query("SELECT count(*) FROM t") == [(2,)]


def test_a_server_that_does_not_flush_and_one_that_forbids_local_files_are_named_once(
    place: MariaDBPlace, caplog: pytest.LogCaptureFixture
) -> None:
    place.query("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    place.query("SET GLOBAL local_infile = 0")
    sink = SqlSink(stream="s", url=place.url, table="t")
    try:
        with caplog.at_level(logging.WARNING):
            load(sink, batch({"id": range(10_000)}))
            # A new connection, as after an error.
            sink._connections._own_engines.get(place.url, sink._dialect).dispose()
            load(sink, batch({"id": [1]}))
    finally:
        place.query("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
        place.query("SET GLOBAL local_infile = 1")
    sink.close()
    assert ["innodb_flush_log_at_trx_commit=2" in message for message in caplog.messages].count(True) == 1
    assert ["LOAD DATA LOCAL" in message for message in caplog.messages].count(True) == 1
    assert place.query("SELECT count(*) FROM t") == [(10_001,)]


def test_local_files_forbidden_while_connected_go_unnoticed(place: MariaDBPlace, sink: SqlSink) -> None:
    load(sink, batch({"id": [1]}))
    place.query("SET GLOBAL local_infile = 0")
    try:
        load(sink, batch({"id": [2, 3]}))
    finally:
        place.query("SET GLOBAL local_infile = 1")
    assert place.query("SELECT count(*) FROM t") == [(3,)]


def test_a_row_larger_than_the_server_takes_goes_to_quarantine(place: MariaDBPlace) -> None:
    place.query("SET GLOBAL max_allowed_packet = 1048576")
    place.query("SET GLOBAL local_infile = 0")
    sink = SqlSink(stream="s", url=place.url, table="t")
    try:
        quarantine = load(sink, batch({"id": [1, 2, 3], "x": ["a" * 600_000, "b" * 2_000_000, "c" * 600_000]}))
    finally:
        place.query("SET GLOBAL max_allowed_packet = 16777216")
        place.query("SET GLOBAL local_infile = 1")
    sink.close()
    assert [row["id"] for row in quarantine.rows] == [2]
    assert "max_allowed_packet" in quarantine.reasons[0]
    assert place.query("SELECT id, length(x) FROM t ORDER BY id") == [(1, 600_000), (3, 600_000)]


def test_another_unique_index_never_updates_a_wrong_row(place: MariaDBPlace) -> None:
    place.query("CREATE TABLE t (name varchar(20) UNIQUE, id integer PRIMARY KEY, v integer)")
    sink = SqlSink(stream="s", url=place.url, table="t", key="id", version="v")
    load(sink, batch({"id": [1, 2], "name": ["a", "b"], "v": [1, 1]}))
    quarantine = load(sink, batch({"id": [3, 4, 2], "name": ["a", "d", "b2"], "v": [2, 2, 2]}))
    assert [row["id"] for row in quarantine.rows] == [3]
    assert "Duplicate entry 'a'" in quarantine.reasons[0]
    assert place.query("SELECT id, name, v FROM t ORDER BY id") == [(1, "a", 1), (2, "b2", 2), (4, "d", 2)]
    sink.close()


def test_keys_that_differ_in_case_or_trailing_blanks_are_rows_of_their_own(place: MariaDBPlace) -> None:
    sink = SqlSink(stream="s", url=place.url, table="t", key=("k", "l"), version="v")
    keys = ["a", "A", "a ", "á", "ａ", "a\0", ""]
    for version in (1, 2):
        rows = {"k": keys, "l": [b"x", b"X", b"x ", b"", b"\0", b"x", b"x"], "v": [version] * len(keys)}
        assert not load(sink, batch(rows)).kept
    assert place.query("SELECT count(*), min(v) FROM t") == [(len(keys), 2)]
    kept = load(sink, batch({"k": ["k" * 385], "l": [b"x"], "v": [1]}))
    assert "longer than 384 characters" in kept.reasons[0]
    sink.close()


def test_a_key_of_every_type_finds_its_row(place: MariaDBPlace) -> None:
    keys: list[list[Any]] = [
        [dt.date(1, 1, 1), dt.date(2026, 1, 1)],
        [dt.datetime(2026, 1, 1, 0, 0, 0, 1), dt.datetime(2026, 1, 1)],
        [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)],
        [dt.time(0), dt.time(1)],
        [Decimal("1.10"), Decimal("1.11")],
        [0.1, 0.2],
        [True, False],
        ["x" * 768, "y"],
        [b"x" * 3072, b"y"],
    ]
    for number, values in enumerate(keys):
        sink = SqlSink(stream=f"s{number}", url=place.url, table=f"t{number}", key="k")
        for turn in (1, 2):
            assert not load(sink, batch({"k": values, "turn": [turn, turn]})).kept
        assert place.query(f"SELECT count(*), min(turn) FROM t{number}") == [(2, 2)]
        sink.close()


def test_a_table_of_someone_else_with_all_sorts_of_columns_is_loaded(place: MariaDBPlace) -> None:
    place.query(
        "CREATE TABLE t (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, n int NOT NULL DEFAULT 7, twice int AS (n * 2),"
        " b bit(3), g bigint NOT NULL, s set('a','b'), w bigint COMMENT 'kept', y year, raw binary(2))"
    )
    sink = SqlSink(stream="s", url=place.url, table="t")
    quarantine = load(
        sink, batch({"g": [1, None], "b": [5, 1], "s": ["a,b", "a"], "w": [1, 1], "y": [2026, 1], "raw": [b"ab", b"c"]})
    )
    assert "must have a value" in quarantine.reasons[0]
    kept = load(sink, batch({"g": [2.0, 0.5], "w": [1.0, 0.5]}))
    assert len(kept.rows) == 1
    with pytest.raises(FatalError, match="is computed by the database"):
        load(sink, batch({"g": [2], "twice": [1]}))
    assert place.query("SELECT id, n, twice, b, g, s, w, y, raw FROM t") == [
        (1, 7, 14, b"\x05", 1, "a,b", 1, 2026, b"ab"),
        (2, 7, 14, None, 2, None, 1, None, None),
    ]
    sink.close()


def test_a_trigger_may_fill_in_and_may_refuse(place: MariaDBPlace, sink: SqlSink) -> None:
    place.query("CREATE TABLE t (id integer, x integer NOT NULL)")
    place.query(
        "CREATE TRIGGER fills BEFORE INSERT ON t FOR EACH ROW IF NEW.id = 13 THEN"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not thirteen'; ELSE SET NEW.x = NEW.id * 2; END IF"
    )
    quarantine = load(sink, batch({"id": [1, 13, 2], "x": pa.nulls(3, pa.int64())}))
    assert quarantine.reasons == ["not thirteen (1644)"]
    assert place.query("SELECT id, x FROM t") == [(1, 2), (2, 4)]


def test_if_exists_fail_survives_a_death_between_table_and_load(place: MariaDBPlace) -> None:
    one = batch({"id": [1]})
    dying = SqlSink(stream="s", url=place.url, table="t", if_exists="fail")
    with dying._connections.to_load() as connection:
        dying._fit_first(connection, TableWork(connection, dying._dialect, dying._goal), [one])
    dying.close()
    assert place.query("SELECT count(*) FROM t") == [(0,)]
    other = SqlSink(stream="other", url=place.url, table="t", if_exists="fail")
    with pytest.raises(FatalError, match="was there before"):
        load(other, batch({"id": [2]}))
    other.close()
    again = SqlSink(stream="s", url=place.url, table="t", if_exists="fail")
    load(again, one)
    assert again.count() == 1
    again.close()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"sslmode": "require"}, "ssl_mode"),
        ({"ssl_mode": "maybe"}, "none of disabled"),
        ({"ssl_ca": "/no/such/file.pem"}, "can't be read"),
        ({"connect_timeout": "soon"}, "number of seconds"),
    ],
)
def test_a_parameter_that_cannot_be_stops_the_stream_and_says_why(query: dict[str, str], says: str) -> None:
    url = URL.create("mysql+pymysql", "u", "p", "127.0.0.1", 1, "d", query=query)
    sink = SqlSink(stream="s", url=url, table="t")
    with pytest.raises(FatalError, match=says):
        sink.connect()
    sink.close()


def test_encryption_that_is_required_is_not_done_without(place: MariaDBPlace) -> None:
    url = place.url.update_query_dict({"ssl_mode": "verify_identity"})
    sink = SqlSink(stream="s", url=url, table="t")
    with pytest.raises(FatalError, match=r"TLS|SSL"):
        sink.connect()
    sink.close()


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    """The folder of a certificate for 127.0.0.1, signed by itself, and its key; any user may enter it."""
    folder = shared_folder("api2db-tls-")
    folder.chmod(0o755)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1))
        .not_valid_after(dt.datetime(2100, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tls_server(certificate: Path, mariadb_server: MariaDB) -> Iterator[MariaDB]:
    server = OwnMariaDB(f"--ssl-cert={certificate / 'cert.pem'}", f"--ssl-key={certificate / 'key.pem'}")
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("query", "encrypted"),
    [
        ({}, True),
        ({"ssl_mode": "disabled"}, False),
        ({"ssl_mode": "required"}, True),
        ({"ssl_ca": "cert.pem"}, True),
        ({"ssl_ca": "cert.pem", "ssl_mode": "verify_ca"}, True),
    ],
)
def test_a_connection_is_encrypted_as_the_url_says(
    tls_server: MariaDB, certificate: Path, query: dict[str, str], encrypted: bool
) -> None:
    query = {name: str(certificate / value) if name == "ssl_ca" else value for name, value in query.items()}
    database = tls_server.create_database()
    sink = SqlSink(stream="s", url=make_url(tls_server.url(database)).update_query_dict(query), table="t")
    tls_server.query("CREATE TABLE t (id bigint, cipher text)", database)
    tls_server.query(
        "CREATE TRIGGER tells BEFORE INSERT ON t FOR EACH ROW SET NEW.cipher = (SELECT VARIABLE_VALUE"
        " FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'SSL_CIPHER')",
        database,
    )
    load(sink, batch({"id": [1]}))
    sink.close()
    ((cipher,),) = tls_server.query("SELECT cipher FROM t", database)
    assert bool(cipher) == encrypted


@pytest.mark.parametrize(
    ("host", "query"),
    [("127.0.0.1", {"ssl_mode": "verify_identity"}), ("127.0.0.1", {"ssl_mode": "verify_ca"}), ("localhost", {})],
    ids=["unknown", "unknown-ca", "other-host"],
)
def test_a_certificate_that_is_not_trusted_or_not_of_this_host_is_fatal(
    tls_server: MariaDB, certificate: Path, host: str, query: dict[str, str]
) -> None:
    query = query or {"ssl_ca": str(certificate / "cert.pem")}
    url = make_url(tls_server.url()).set(host=host).update_query_dict(query)
    sink = SqlSink(stream="s", url=url, table="t")
    with pytest.raises(FatalError, match="certificate"):
        sink.connect()
    sink.close()


class HostileServer:
    """Speaks just enough of the protocol to log anyone in and answer a while, and then asks for a file of theirs."""

    def __init__(self, name: bytes, answers: int) -> None:
        self._name = name
        self._answers = answers
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(TIMEOUT_S)

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, contextlib.suppress(OSError):
            client.settimeout(10)
            hello = b"\x0a8.0.36\0" + struct.pack("<I", 1) + b"saltsalt\0" + struct.pack("<H", 0xF7FF & ~0x0800)
            hello += b"\x2d" + struct.pack("<HH", 2, 0x000F | 0x0008) + b"\x15" + b"\0" * 10
            hello += b"saltsaltsalt\0" + b"mysql_native_password\0"
            self._send(client, 0, hello)
            client.recv(65536)
            self._send(client, 2, b"\0\0\0\2\0\0\0")
            for _ in range(self._answers):
                client.recv(65536)
                self._send(client, 1, b"\0\0\0\2\0\0\0")
            client.recv(65536)
            # The answer to whatever was asked: LOCAL INFILE.
            self._send(client, 1, b"\xfb" + self._name)
            client.settimeout(1)  # a client that would send it does so at once
            while data := client.recv(65536):
                self.received += data

    def _send(self, client: socket.socket, number: int, payload: bytes) -> None:
        client.sendall(struct.pack("<I", len(payload))[:3] + bytes([number]) + payload)


@pytest.mark.parametrize(
    ("answers", "kind", "says"),
    [(0, SinkError, None), (1, SinkError, None), (2, FatalError, "asked for the file"), (3, FatalError, "the file")],
)
def test_a_hostile_server_gets_no_file_of_this_machine(
    tmp_path: Any, answers: int, kind: type[SinkError], says: str | None
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the crown jewels")
    server = HostileServer(str(secret).encode(), answers)
    sink = SqlSink(stream="s", url=URL.create("mysql+pymysql", "u", "p", "127.0.0.1", server.port, "d"), table="t")
    with pytest.raises(kind, match=says):
        sink.connect()
    sink.close()
    server.close()
    assert b"jewels" not in server.received


def test_a_server_that_asks_for_another_file_gets_the_rows_and_nothing_else(place: MariaDBPlace, tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the crown jewels")
    place.query("CREATE TABLE t (x text)")
    url = place.url
    options = {"host": url.host, "port": url.port, "user": url.username, "password": str(url.password)}
    session = Sessions("here", "_api2db_ledger").open({**options, "database": url.database})
    session.load(f"LOAD DATA LOCAL INFILE '{secret}' INTO TABLE t", iter([memoryview(b"ours\n")]))
    session.run(b"COMMIT")
    with pytest.raises(Exception, match="asked for the file"):
        session.run(f"LOAD DATA LOCAL INFILE '{secret}' INTO TABLE t".encode())
    session.close()
    assert place.query("SELECT x FROM t") == [("ours",)]
