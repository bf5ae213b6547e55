"""Batches in HeavyDB: each once, in one import, whatever happens to its answer. Against a peer, not HeavyDB itself."""

from __future__ import annotations

import datetime as dt
import decimal
import socket
import threading
import warnings
from dataclasses import replace

import pyarrow as pa
import pytest

from api2db.batch import Batch, new_batch_id
from api2db.errors import FatalError, RetryableError
from api2db.schema import JSON_METADATA
from api2db.secret import Secret
from api2db.sinks.base import Ledgered, Recountable, Renewable, Traceable
from api2db.sinks.omnisci import sink as sink_module
from api2db.sinks.omnisci import wire as wire_module
from api2db.sinks.omnisci.names import bare, columns_of, table_of
from tests.omnisci.kit import READER, Peer

TABLE = "rain_stream"


class Kept(list):
    """A quarantine: (batch id, rows, reasons)."""

    def __call__(self, batch, rows, reasons):
        self.append((batch.batch_id, rows.to_pylist(), list(reasons)))


def batch(**columns) -> Batch:
    arrays = {
        name: value if isinstance(value, (pa.Array, pa.ChunkedArray)) else pa.array(value)
        for name, value in columns.items()
    }
    return Batch(pa.table(arrays), new_batch_id(), 1)


def ids(peer) -> list[int]:
    return sorted(row[0] for row in peer.query(f"SELECT id_t FROM {TABLE}"))


def test_a_table_is_created_with_the_documented_names_and_rows_are_appended(peer):
    sink = peer.sink()
    sink.connect()
    assert [r.rows for r in sink.load([batch(id=[1, 2], name=["a", "b"])], Kept())] == [2]
    assert [r.rows for r in sink.load([batch(id=[3], mag=[0.5]), batch(id=[4], name=["d"])], Kept())] == [1, 1]
    sink.close()
    assert peer.types(TABLE) == {
        "id_t": "BIGINT",
        "name_t": "TEXT ENCODING DICT(32)",
        "api2db_batch": "TEXT ENCODING DICT(32)",
        "mag_t": "DOUBLE",
    }
    rows = peer.query(f"SELECT id_t, name_t, mag_t FROM {TABLE} ORDER BY id_t")
    assert rows == [(1, "a", None), (2, "b", None), (3, None, 0.5), (4, "d", None)]


def test_integers_and_fractions_in_one_load_make_a_column_for_both(peer):
    sink = peer.sink()
    sink.connect()
    kept = Kept()
    sink.load([batch(id=[1], mag=[2]), batch(id=[2], mag=[0.5])], kept)
    sink.close()
    assert peer.query(f"SELECT id_t, mag_t FROM {TABLE} ORDER BY id_t") == [(1, 2.0), (2, 0.5)]


def test_a_batch_is_loaded_once_and_the_table_says_which_it_has(peer):
    sink, first, second = peer.sink(), batch(id=[1, 2]), batch(id=[3])
    sink.load([first], Kept())
    receipts = sink.load([first, second, second], Kept())
    assert [(r.rows, r.duplicate) for r in receipts] == [(2, True), (1, False), (1, True)]
    assert ids(peer) == [1, 2, 3]
    assert isinstance(sink, Ledgered)
    assert isinstance(sink, Traceable)
    assert isinstance(sink, Recountable)
    assert isinstance(sink, Renewable)
    assert sink.loaded([first.batch_id, "0" * 32]) == {first.batch_id: 2}
    assert list(sink.receipts()) == sorted([(first.batch_id, 2), (second.batch_id, 1)])
    assert list(sink.recounted()) == list(sink.receipts())
    assert sink.counted_since() == 0
    assert sink.lacks({1: first.batch_id, 2: "0" * 32}) == {2}
    assert sink.horizon() == 0
    sink.close()


def test_asking_makes_nothing(peer):
    assert list(peer.sink().receipts()) == []
    assert peer.sink().loaded([new_batch_id()]) == {}
    assert not peer.has(TABLE)


@pytest.mark.parametrize("fault", ["refuse", "full", "drop_before", "drop_after", "kill_before", "kill_after"])
def test_an_import_that_fails_or_whose_answer_is_lost_is_repeated_and_its_rows_are_in_once(peer, fault):
    sink, batches = peer.sink(), [batch(id=[1, 2, 3, 4]), batch(id=[5], name=["e"])]
    sink.load([batch(id=[0])], Kept())
    peer.fault(fault)
    with pytest.raises(RetryableError, match=r"^stream rain/omnisci: table rain_stream: "):
        sink.load(batches, Kept())
    if fault.startswith("kill"):
        peer.died()
        with pytest.raises(RetryableError, match="can't be reached"):
            sink.load(batches, Kept())
        peer.start()
    receipts = sink.load(batches, Kept())
    assert [receipt.rows for receipt in receipts] == [4, 1]
    assert {receipt.duplicate for receipt in receipts} == {fault in ("drop_after", "kill_after")}
    assert ids(peer) == [0, 1, 2, 3, 4, 5]
    sink.close()


def test_a_batch_and_a_load_larger_than_what_a_server_takes_at_once_go_in(peer):
    sink, kept = peer.sink(), Kept()
    text = pa.repeat("x" * 32_000, 700)
    large = batch(id=list(range(700)), text=text)
    small = [batch(id=[700 + n], text=["y"]) for n in range(2)]
    assert [r.rows for r in sink.load([small[0], large, small[1]], kept)] == [1, 700, 1]
    assert [r.duplicate for r in sink.load([large, *small], kept)] == [True, True, True]
    many = [batch(id=list(range(n, n + 70)), text=text[:70]) for n in range(702, 1332, 70)]
    assert {r.rows for r in sink.load(many, kept)} == {70}
    assert ids(peer) == list(range(1332))
    assert dict(sink.receipts())[large.batch_id] == 700
    sink.close()


@pytest.mark.parametrize("fault", ["full:2", "drop_before:2", "drop_after:3", "kill_after:2"])
def test_a_batch_that_was_cut_off_between_its_imports_is_in_once(peer, monkeypatch, fault):
    monkeypatch.setattr(sink_module, "IMPORT_BYTES", 200)
    sink, kept, large = peer.sink(), Kept(), batch(id=list(range(40)))
    sink.load([batch(id=[100])], kept)
    peer.fault(fault)
    with pytest.raises(RetryableError):
        sink.load([large], kept)
    if fault.startswith("kill"):
        peer.died()
        peer.start()
    assert 1 < len(ids(peer)) < 41  # some of it is in, and isn't taken for all
    asked = peer.sink()
    assert asked.loaded([large.batch_id]) == {}
    assert large.batch_id not in dict(asked.receipts())
    assert asked.lacks({1: large.batch_id}) == {1}
    # With the next load it may be small enough: what was begun is deleted all the same.
    if fault == "full:2":
        monkeypatch.setattr(sink_module, "IMPORT_BYTES", 10_000)
    for is_in in (False, True):
        (receipt,) = sink.load([large], kept)
        assert (receipt.rows, receipt.duplicate) == (40, is_in)
    assert ids(peer) == [*range(40), 100]
    assert sink.loaded([large.batch_id]) == {large.batch_id: 40}
    # Deleted by somebody, it is loaded anew as if it never was.
    peer.query_and_commit(f"DELETE FROM {TABLE} WHERE api2db_batch = ?", (large.batch_id,))
    monkeypatch.setattr(sink_module, "IMPORT_BYTES", 200)
    peer.fault("refuse:3")
    with pytest.raises(RetryableError):
        sink.load([large], kept)
    assert sink.loaded([large.batch_id]) == {}
    assert sink.load([large], kept)[0].rows == 40
    assert ids(peer) == [*range(40), 100]
    sink.close()


def test_a_server_that_does_not_answer_is_given_up_in_time(peer, monkeypatch):
    sink = peer.sink()
    monkeypatch.setattr(wire_module, "READ_TIMEOUT_S", 0.2)
    sink.connect()
    peer.fault("hang")
    with pytest.raises(RetryableError, match="didn't answer in time"):
        sink.load([batch(id=[1])], Kept())
    (peer.folder / "go").touch()
    sink.close()
    monkeypatch.setattr(wire_module, "LOGIN_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(RetryableError, match="didn't answer in time"):
            peer.sink(port=silent.getsockname()[1]).connect()
        with pytest.raises(RetryableError, match="can't be reached"):
            peer.sink(port=silent.getsockname()[1], protocol="http").connect()


def test_a_session_that_the_server_has_ended_is_renewed(peer):
    sink = peer.sink()
    sink.load([batch(id=[1])], Kept())
    peer.kill()
    peer.start()
    with pytest.raises(RetryableError):
        sink.load([batch(id=[2])], Kept())
    sink.load([batch(id=[2])], Kept())
    assert ids(peer) == [1, 2]
    sink.close()


def test_a_lost_session_is_ended_before_its_batch_is_looked_for(peer):
    sink = peer.sink()
    sink.connect()
    lost = sink._wire
    peer.fault("drop_before")
    with pytest.raises(RetryableError):
        sink.load([batch(id=[1])], Kept())
    sink.connect()
    lost._transport.open()
    with pytest.raises(RetryableError, match="ended the session"):
        lost.tables()
    lost.drop()
    sink.close()


def test_a_wrong_password_is_fatal_and_not_repeated_in_the_message(peer):
    with pytest.raises(FatalError, match="Invalid credentials") as caught:
        peer.sink(password=Secret("not the password")).connect()
    assert "not the password" not in str(caught.value)
    mended = peer.sink(password=Secret("not the password"))
    assert mended.go_in_as(peer.sink())
    mended.connect()
    mended.close()


def test_a_database_that_heavydb_has_not_is_looked_for_again(peer):
    with pytest.raises(RetryableError, match="does not exist"):
        peer.sink(database="nowhere").connect()


def test_missing_permissions_are_fatal_and_say_what_to_run(peer):
    sink = peer.sink(username=READER)
    with pytest.raises(
        FatalError, match=r"or as someone who may, run: CREATE TABLE IF NOT EXISTS rain_stream \(id_t BIGINT"
    ):
        sink.load([batch(id=[1])], Kept())
    owner = peer.sink()
    owner.load([batch(id=[1])], Kept())
    owner.close()
    with pytest.raises(FatalError, match="privileges"):
        sink.load([batch(id=[2])], Kept())
    sink.close()


def test_one_bad_row_does_not_stop_a_table(peer):
    rows = batch(id=[1, -(2**63), 3, 4], note=["x", "y", "é" * 20_000, "z"], size=[1.5, 2.5, 3.5, float("inf")])
    sink, kept = peer.sink(), Kept()
    (receipt,) = sink.load([rows], kept)
    assert (receipt.rows, receipt.quarantined) == (1, 3)
    ((batch_id, refused, reasons),) = kept
    assert batch_id == rows.batch_id
    assert [row["id"] for row in refused] == [-(2**63), 3, 4]
    assert "that number is NULL there" in reasons[0]
    assert "it is longer than 32767 bytes" in reasons[1]
    assert "the database has no such number" in reasons[2]
    assert sink.load([rows], kept)[0] == replace(receipt, duplicate=True)
    assert ids(peer) == [1]
    sink.close()


NUMBERS = {
    "floats": [1.0, -(2.0**53), 2.5, -(2.0**63), None],
    "single floats": pa.array([1.0, -(2.0**24), 2.5, -(2.0**63), None], pa.float32()),
    "decimals": [decimal.Decimal(number) for number in ("1.0", "-2.0", "2.5", f"-{2**63}")] + [None],
    "small decimals": pa.array([decimal.Decimal(n) for n in ("1", "-2", "2.5", "0.1")] + [None], pa.decimal128(38, 30)),
}


@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=NUMBERS)
def test_whole_numbers_go_into_an_integer_column_whatever_they_come_as_and_others_to_quarantine(peer, numbers):
    sink, kept = peer.sink(), Kept()
    sink.load([batch(id=[0], n=[7])], kept)
    (receipt,) = sink.load([batch(id=[1, 2, 3, 4, 5], n=numbers)], kept)
    assert (receipt.rows, receipt.quarantined) == (3, 2)
    ((_, refused, reasons),) = kept
    assert [row["id"] for row in refused] == [3, 4]
    assert "doesn't fit" in reasons[0] or "isn't a whole number" in reasons[0]
    assert "that number is NULL there" in reasons[1] or refused[1]["n"] == decimal.Decimal("0.1")
    whole = [None if n is None else int(n) for n in pa.array(numbers).take([0, 1, 4]).to_pylist()]
    assert [row[0] for row in peer.query(f"SELECT n_t FROM {TABLE} ORDER BY id_t")] == [7, *whole]
    sink.close()


def test_a_batch_whose_rows_are_all_refused_and_one_without_rows_are_known_too(peer):
    sink, kept = peer.sink(), Kept()
    sink.load([batch(id=[1])], kept)
    bad, empty, untyped = batch(id=["text"]), batch(id=pa.array([], pa.int64())), batch(other=pa.nulls(2))
    assert [(r.rows, r.quarantined) for r in sink.load([bad, empty, untyped], kept)] == [(0, 1), (0, 0), (0, 2)]
    assert [r.duplicate for r in sink.load([bad, empty, untyped], kept)] == [True, True, True]
    assert sorted(rows for _, rows in sink.receipts()) == [0, 0, 0, 1]
    assert len(kept) == 2
    sink.close()


def test_nothing_is_loaded_when_quarantine_fails(peer):
    def fails(batch, rows, reasons):
        raise RetryableError("no space")

    sink = peer.sink()
    with pytest.raises(RetryableError, match="no space"):
        sink.load([batch(id=[1, -(2**63)])], fails)
    assert ids(peer) == []
    sink.close()


AT = dt.datetime(2026, 2, 3, 4, 5, 6, 789012)
TYPES = {
    "boolean": (pa.array([True, None]), "BOOLEAN", 1),
    "integer": (pa.array([2**63 - 1, None]), "BIGINT", 2**63 - 1),
    "small": (pa.array([-128, None], pa.int8()), "BIGINT", -128),
    "unsigned": (pa.array([2**64 - 1, None], pa.uint64()), "TEXT ENCODING DICT(32)", "18446744073709551615"),
    "float": (pa.array([0.1, None]), "DOUBLE", 0.1),
    "nan": (pa.array([float("nan"), None]), "DOUBLE", None),
    "decimal": (pa.array([decimal.Decimal("1.10"), None]), "TEXT ENCODING DICT(32)", "1.10"),
    "text": (pa.array(["tab\t'quote'\n✓", None]), "TEXT ENCODING DICT(32)", "tab\t'quote'\n✓"),
    "empty text": (pa.array(["", None]), "TEXT ENCODING DICT(32)", None),
    "bytes": (pa.array([b"\x00\xff", None]), "TEXT ENCODING DICT(32)", "\\x00ff"),
    "date": (pa.array([dt.date(1, 1, 1), None]), "DATE", "0001-01-01"),
    "time": (pa.array([dt.time(1, 2, 3, 4), None]), "TEXT ENCODING DICT(32)", "01:02:03.000004"),
    "timestamp": (pa.array([AT, None]), "TIMESTAMP(6)", str(AT)),
    "instant": (pa.array([AT, None], pa.timestamp("us", "UTC")), "TIMESTAMP(6)", str(AT)),
    "duration": (pa.array([dt.timedelta(seconds=1.5), None]), "BIGINT", 1_500_000),
    "list": (pa.array([[1, 2], None]), "TEXT ENCODING DICT(32)", "[1,2]"),
}


def test_each_type_becomes_what_its_page_says(peer):
    sink = peer.sink()
    one = batch(**{name.replace(" ", "_"): values for name, (values, _, _) in TYPES.items()})
    assert sink.load([one], Kept())[0].rows == 2
    types = peer.types(TABLE)
    for name, (_, declared, stored) in TYPES.items():
        column = f"{name.replace(' ', '_')}_t"
        assert types[column] == declared, name
        assert peer.query(f"SELECT {column} FROM {TABLE}") == [(stored,), (None,)], name
    sink.close()


def test_json_is_text(peer):
    field = pa.field("doc", pa.string(), metadata=JSON_METADATA)
    one = Batch(pa.table([pa.array(['{"a": 1}'])], schema=pa.schema([field])), new_batch_id(), 1)
    sink = peer.sink()
    sink.load([one], Kept())
    assert peer.query(f"SELECT doc_t FROM {TABLE}") == [('{"a": 1}',)]
    sink.close()


def test_a_table_of_1_0_1_gets_the_column_it_lacks_and_its_types_are_kept_to(peer):
    sql = "CREATE TABLE rain_stream (id_t INTEGER NOT NULL, at_t TIMESTAMP(0), name_t TEXT ENCODING DICT(32))"
    session = wire_module.Wire(peer.login())
    session.query(sql)
    session.close()
    sink, kept = peer.sink(), Kept()
    (receipt,) = sink.load([batch(id=[1, None, 2**31, -(2**31)], name=["a", "b", "c", "d"])], kept)
    assert (receipt.rows, receipt.quarantined) == (1, 3)
    ((_, _, reasons),) = kept
    assert "it must have a value" in reasons[0]
    assert "it doesn't fit 32 bits" in reasons[1]
    assert "that number is NULL there" in reasons[2]
    assert sink.load([batch(name=["x"])], kept)[0].quarantined == 1
    assert kept[-1][2] == ["column id_t must have a value and the rows have none"]
    assert "api2db_batch" in peer.types(TABLE)
    session = wire_module.Wire(peer.login())
    session.query("ALTER TABLE rain_stream ADD COLUMN noon_t TIME")
    session.close()
    with pytest.raises(FatalError, match=r"column noon_t is of a type that isn't loaded here \(TIME\)"):
        sink.load([batch(id=[1], noon=["12:00"])], kept)
    sink.close()


def test_names_that_differ_stay_apart_and_need_no_quotes():
    placed = columns_of(["id", "ID", "a b", "a-b", "1st", "", "order", "x" * 300], ())
    assert placed["id"] == "id_t"
    assert placed["order"] == "order_t"
    assert len({name.lower() for name in placed.values()}) == 8
    for name in placed.values():
        assert name.endswith("_t") or name.startswith("ID_t_")
        assert name.isascii()
        assert name.isidentifier()
        assert len(name) < 128
    assert columns_of(["ID", "id"], placed.values()) == {"ID": placed["ID"], "id": "id_t"}
    assert (table_of("rain"), bare("2026.rain")) == ("rain_stream", "c_2026_rain_" + bare("2026.rain")[-4:])


def test_over_http_it_is_the_same(tmp_path):
    http = Peer(tmp_path / "http", "http")
    try:
        sink, one = http.sink(), batch(id=[1, 2], name=["a", None])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert sink.load([one], Kept())[0].rows == 2
        assert sink.load([one], Kept())[0].duplicate
        http.fault("drop_after")
        later = batch(id=[3])
        with pytest.raises(RetryableError):
            sink.load([later], Kept())
        assert sink.load([later], Kept())[0].duplicate
        assert ids(http) == [1, 2, 3]
        sink.close()
    finally:
        http.kill()


def test_two_sinks_make_one_table_at_the_same_time(peer):
    errors: list[Exception] = []

    def feed(number):
        sink = peer.sink()
        try:
            for key in range(5):
                sink.load([batch(id=[10 * number + key], **{f"own_{number}": [1.5]})], Kept())
        except Exception as error:  # noqa: BLE001 - told to the test
            errors.append(error)
        finally:
            sink.close()

    threads = [threading.Thread(target=feed, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [error for error in errors if not isinstance(error, RetryableError)]
    assert set(ids(peer)) <= {*range(10, 15), *range(20, 25)}
    assert len(ids(peer)) == len(set(ids(peer)))
