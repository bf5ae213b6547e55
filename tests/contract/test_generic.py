"""Any database of SQLAlchemy's: SQLite, PostgreSQL and MariaDB loaded in the way that knows none of them."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import URL

from api2db.batch import Receipt
from api2db.chaos.proxy import Fate, Fault, Proxy
from api2db.errors import FatalError, RetryableError
from api2db.sinks.generic import Generic
from api2db.sinks.sql import SqlSink
from tests.contract.places import Place, Quarantine, batch, load

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}
pytestmark = pytest.mark.parametrize("place", ["sqlite", "postgresql", "mariadb"], indirect=True)


def sink(place: Place, **options: Any) -> SqlSink:
    url: URL = place.url.set(drivername=DRIVERS[place.name])
    if place.name == "mariadb":
        url = url.update_query_dict({"charset": "utf8mb4", "sql_mode": "ANSI_QUOTES,STRICT_ALL_TABLES"})
    options = {"stream": "s/sql", "url": url, "table": "t", "dialect": Generic(url), **options}
    return SqlSink(**options)


def test_rows_are_appended_once_with_columns_that_come_later(place: Place) -> None:
    one, into = batch({"id": [1, 2], "odd 'name": ["a", None]}), sink(place)
    assert into.load([one], Quarantine()) == [Receipt(one.batch_id, 2)]
    into.close()
    again = sink(place)
    assert again.load([one, batch({"id": [3], "later": [0.5]})], Quarantine())[0] == Receipt(
        one.batch_id, 2, duplicate=True
    )
    assert place.query("SELECT id, later FROM t ORDER BY id") == [(1, None), (2, None), (3, 0.5)]
    assert dict(again.receipts())[one.batch_id] == 2
    again.close()


def test_a_merge_keeps_the_newest_version_of_each_key(place: Place) -> None:
    into = sink(place, key=("id", "part"), version="v")
    load(into, batch({"id": [1, 1, 2], "part": ["a", "a", "b"], "v": [2, 1, None], "x": ["new", "old", "none"]}))
    load(into, batch({"id": [1, 2, 3], "part": ["a", "b", "c"], "v": [1, 0, 7], "x": ["older", "some", "third"]}))
    assert place.query("SELECT id, v, x FROM t ORDER BY id") == [(1, 2, "new"), (2, 0, "some"), (3, 7, "third")]
    into.close()


def test_which_keys_are_one_the_database_says_and_the_newest_version_stays(place: Place) -> None:
    collation = {"sqlite": "COLLATE NOCASE", "mariadb": "", "postgresql": 'COLLATE "ci"'}[place.name]
    if place.name == "postgresql":
        place.query("CREATE COLLATION ci (provider=icu, locale='und-u-ks-level2', deterministic=false)")
    place.query(f"CREATE TABLE t (k varchar(20) {collation} PRIMARY KEY, v integer, x varchar(20))")
    into = sink(place, key="k", version="v")
    kept = load(into, batch({"k": ["a", "b", "A", "a"], "v": [1, 1, 3, 2], "x": ["first", "b", "newest", "older"]}))
    kept.kept |= load(into, batch({"k": ["B", "c", "A"], "v": [2, 1, 2], "x": ["b again", "c", "older"]})).kept
    kept.kept |= load(into, batch({"k": ["C", "d", "D"], "v": [1, None, None], "x": ["as new", "d", "later"]})).kept
    assert kept.reasons == []
    rows = place.query("SELECT lower(k), v, x FROM t ORDER BY 1")
    assert rows == [("a", 3, "newest"), ("b", 2, "b again"), ("c", 1, "as new"), ("d", None, "later")]
    into.close()


def test_without_versions_the_later_row_of_what_the_database_takes_for_one_key_stays(place: Place) -> None:
    if place.name != "mariadb":
        pytest.skip("its default collation sees no case and no spaces at the end")
    into = sink(place, key="k")
    load(into, batch({"k": ["a", "A", "a ", "z"], "x": [1, 2, 3, 0]}))
    load(into, batch({"k": ["z", "Z", "z", "b"], "x": [5, 6, 7, 1]}))
    assert place.query("SELECT trim(lower(k)), x FROM t ORDER BY 1") == [("a", 3), ("b", 1), ("z", 7)]
    into.close()


def test_bytes_that_no_key_takes_stop_the_stream_and_it_is_said_what_to_do(place: Place) -> None:
    rows = {"k": [b"\x00", b"\xff"], "x": [1, 2]}
    into = sink(place, key="k")
    if place.name == "mariadb":
        with pytest.raises(FatalError, match=r'key column "k": bytes of any length .* make text of them in the form'):
            into.load([batch(rows)], Quarantine())
        place.query("CREATE TABLE t (k varbinary(20) PRIMARY KEY, x integer)")
    load(into, batch(rows))
    load(into, batch({"k": [b"\x00", b"\x01"], "x": [3, 4]}))
    assert place.query("SELECT x FROM t ORDER BY k") == [(3,), (4,), (2,)]
    into.close()


def test_a_replacement_takes_the_place_of_all_rows_or_of_none(place: Place) -> None:
    into = sink(place, if_exists="replace")
    load(into, batch({"id": [1, 2], "n": [1, 1]}))
    load(into, batch({"id": [3], "n": [5]}))
    assert place.query("SELECT id, n FROM t") == [(3, 5)]
    kept = load(into, batch({"id": ["not a number"], "n": [6]}))
    assert len(kept.reasons) == 1
    assert place.query("SELECT id, n FROM t") == [(3, 5)]
    into.close()


def test_rows_that_the_database_refuses_go_to_quarantine_and_the_others_are_in(place: Place) -> None:
    place.query("CREATE TABLE t (id integer PRIMARY KEY, n integer UNIQUE)")
    into = sink(place)
    kept = load(into, batch({"id": list(range(40)), "n": [0 if n in (7, 30) else n for n in range(40)]}))
    assert [row["id"] for row in kept.rows] == [7, 30]
    assert place.query("SELECT count(*), sum(id) FROM t") == [(38, sum(range(40)) - 37)]
    assert place.query("SELECT count(*) FROM _api2db_ledger") == [(1,)]
    into.close()


def test_unsigned_numbers_go_into_a_boolean_column_where_they_are_0_or_1_and_else_to_quarantine(place: Place) -> None:
    into = sink(place)
    load(into, batch({"id": [0], "flag": [True]}))
    unsigned = pa.array([0, 1, 2**63 + 1, None], pa.uint64())
    kept = load(into, batch({"id": pa.array([1, 2, 3, 4]), "flag": unsigned}))
    assert [row["id"] for row in kept.rows] == [3]
    assert place.query("SELECT count(*), count(flag) FROM t") == [(4, 3)]
    into.close()


def test_a_row_refused_by_an_error_that_may_be_the_databases_goes_to_quarantine_at_the_second_try(place: Place) -> None:
    if place.name != "mariadb":
        pytest.skip("its driver tells")
    place.query("CREATE TABLE t (id integer, CHECK (id <> 7))")  # an OperationalError to its driver
    into, one = sink(place), batch({"id": list(range(20))})
    with pytest.raises(RetryableError, match="CONSTRAINT"):
        into.load([one], Quarantine())
    kept = Quarantine()
    assert into.load([one], kept) == [Receipt(one.batch_id, 19, quarantined=1)]
    assert [row["id"] for row in kept.rows] == [7]
    # Nothing else shows that the database is well: it is tried more often.
    alone, tries = batch({"id": [7]}), 0
    while not kept.kept.get(alone.batch_id):
        tries += 1
        with contextlib.suppress(RetryableError):
            assert into.load([alone], kept) == [Receipt(alone.batch_id, 0, quarantined=1)]
    assert tries == 6
    into.close()


def test_if_exists_fail_spares_a_table_that_was_there(place: Place) -> None:
    place.query("CREATE TABLE theirs (id integer)")
    into = sink(place, table="theirs", if_exists="fail")
    with pytest.raises(FatalError, match="was there before"):
        load(into, batch({"id": [1]}))
    own = sink(place, table="own", if_exists="fail", stream="own/sql")
    load(own, batch({"id": [1]}))
    load(own, batch({"id": [2]}))
    assert place.query("SELECT count(*) FROM own") == [(2,)]
    into.close()
    own.close()


def test_every_kind_of_value_arrives(place: Place) -> None:
    day, instant = dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 3, 4, 5, 6, dt.UTC)
    values = {
        "id": [1], "flag": [True], "whole": [2**62], "big": pa.array([2**64 - 1], pa.uint64()), "float": [0.1],
        "exact": pa.array([Decimal("1.10")], pa.decimal128(20, 2)), "text": ["it's \\ 100% \n :x"], "bytes": [b"\x00a"],
        "day": [day], "at": [dt.time(3, 4, 5, 6)], "naive": [instant.replace(tzinfo=None)], "zoned": [instant],
        "nested": [[{"a": None}]], "took": [dt.timedelta(microseconds=5)], "none": pa.nulls(1),
    }  # fmt: skip
    into = sink(place)
    assert not load(into, batch(pa.table(values))).kept
    ((flag, whole, big, exact, text, raw, nested, took),) = place.query(
        'SELECT flag, whole, big, exact, "text", bytes, nested, took FROM t'
    )
    assert (bool(flag), whole, float(big), Decimal(str(exact)), text) == (
        True,
        2**62,
        2.0**64,
        Decimal("1.1"),
        values["text"][0],
    )
    assert (bytes(raw), nested, took) == (b"\x00a", '[{"a":null}]', 5)
    if place.name != "sqlite":
        ((found_day, naive, zoned),) = place.query("SELECT day, naive, zoned FROM t")
        assert (found_day, naive) == (day, instant.replace(tzinfo=None))
        assert zoned.replace(tzinfo=dt.UTC) == instant
    into.close()


def test_a_batch_that_two_load_at_once_is_in_once(place: Place) -> None:
    sinks = [sink(place) for _ in range(2)]
    load(sinks[0], batch({"id": [0]}))
    same, start, answers = [batch({"id": [n]}) for n in range(1, 6)], threading.Barrier(2), []

    def feed(into: SqlSink) -> None:
        start.wait(30)
        for one in same:
            for _ in range(200):
                try:
                    answers.append(into.load([one], Quarantine())[0].duplicate)
                    break
                except RetryableError:
                    continue

    threads = [threading.Thread(target=feed, args=(each,)) for each in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [False] * 5 + [True] * 5
    assert place.query("SELECT id FROM t ORDER BY id") == [(n,) for n in range(6)]
    for each in sinks:
        each.close()


COMMIT = {"postgresql": b"COMMIT\0", "mariadb": b"\x03COMMIT"}
PLAIN = {"postgresql": {"sslmode": "disable"}, "mariadb": {}}
MOMENTS = [
    (Fate.RESET, b"amidst the rows"),
    (Fate.RESET, b"_api2db_ledger"),
    (Fate.RESET, b"COMMIT"),
    (Fate.ANSWER_LOST, b"COMMIT"),
]


def test_a_server_that_is_lost_at_any_moment_costs_a_repeat_and_no_row(place: Place) -> None:
    if place.name == "sqlite":
        pytest.skip("it has no server")
    with Proxy(place.url.host or "", place.url.port or 0, b"unused") as proxy:
        url = place.url.set(drivername=DRIVERS[place.name], port=proxy.port).update_query_dict(PLAIN[place.name])
        if place.name == "mariadb":
            url = url.update_query_dict({"charset": "utf8mb4", "sql_mode": "ANSI_QUOTES,STRICT_ALL_TABLES"})
        into = sink(place, url=url)
        load(into, batch({"id": [0], "x": ["first"]}))
        for number, (fate, needle) in enumerate(MOMENTS, 1):
            one = batch({"id": [number] * 3, "x": ["before", "amidst the rows", "behind"]})
            proxy.arm(fate, COMMIT[place.name] if needle == b"COMMIT" else needle)
            with pytest.raises(RetryableError, match="stream s/sql: table t"):
                load(into, one)
            assert proxy.cut.is_set()
            again = into.load([one], Quarantine())
            assert again == [Receipt(one.batch_id, 3, duplicate=fate is Fate.ANSWER_LOST)], (fate, needle)
        proxy.fail(Fault.REFUSE)
        one = batch({"id": [9] * 3})
        for _ in range(2):
            with pytest.raises(RetryableError, match="stream s/sql: table t"):
                load(into, one)
        proxy.heal()
        load(into, one)
        into.close()
    assert place.query("SELECT id, count(*) FROM t GROUP BY id ORDER BY id") == [
        (0, 1),
        *((n, 3) for n in (1, 2, 3, 4, 9)),
    ]


def test_a_wrong_password_or_database_is_repeated_and_the_password_not_in_the_message(place: Place) -> None:
    if place.name == "sqlite":
        pytest.skip("it has no password")
    for wrong in ({"password": "not-the-one"}, {"database": "no_such_db"}):
        into = sink(place, url=place.url.set(drivername=DRIVERS[place.name], **wrong))
        with pytest.raises(RetryableError, match="stream s/sql: table t") as refused:
            into.connect()
        assert "not-the-one" not in str(refused.value)
        assert str(place.url.password) not in str(refused.value)
        into.close()
