"""if_exists="replace": what one poll brings takes the place of all rows, and readers see the old ones until then."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from api2db.batch import Batch, Receipt
from api2db.errors import RetryableError
from tests.contract.conftest import MakeSink
from tests.contract.places import Place, Quarantine, batch, every_place, load


@pytest.fixture
def sink(make_sink: MakeSink) -> Any:
    return make_sink(table="t", if_exists="replace")


def ids(place: Place) -> list[int]:
    return [row for (row,) in place.query("SELECT id FROM t ORDER BY id")]


@every_place
def test_a_replacement_takes_the_place_of_all_rows(place: Place, sink: Any) -> None:
    load(sink, batch({"id": [1, 2, 3]}))
    load(sink, batch({"id": [4]}))
    assert ids(place) == [4]


@every_place
def test_the_batches_of_one_load_are_one_replacement(place: Place, sink: Any) -> None:
    load(sink, batch({"id": [1]}))
    load(sink, batch({"id": [2, 3]}), batch({"id": [4], "name": ["more"]}), batch({"id": [5]}))
    assert ids(place) == [2, 3, 4, 5]


@every_place
def test_a_replacement_that_comes_again_changes_nothing(place: Place, sink: Any) -> None:
    one, two = batch({"id": [1]}), batch({"id": [2]})
    load(sink, one)
    load(sink, two)
    assert sink.load([one], Quarantine()) == [Receipt(one.batch_id, 1, duplicate=True)]
    assert ids(place) == [2]


@every_place
def test_rows_that_were_there_before_the_stream_are_replaced_and_its_columns_kept(place: Place, sink: Any) -> None:
    place.query("CREATE TABLE t (id integer, note varchar(10))")
    place.query("INSERT INTO t VALUES (1, 'old')")
    load(sink, batch({"id": [2], "mag": [1.5]}))
    assert place.query("SELECT id, note, mag FROM t") == [(2, None, 1.5)]


@every_place
def test_new_rows_that_do_not_fit_are_kept_apart_and_the_rest_replaces(place: Place, sink: Any) -> None:
    place.query("CREATE TABLE t (id integer NOT NULL CHECK (id < 10))")
    load(sink, batch({"id": [1]}))
    quarantine = load(sink, batch({"id": [2, 30, None, 4]}))
    assert sorted(row["id"] or 0 for row in quarantine.rows) == [0, 30]
    assert ids(place) == [2, 4]


@every_place
def test_old_rows_stay_where_not_one_new_row_can_be_loaded(place: Place, sink: Any) -> None:
    place.query("CREATE TABLE t (id integer NOT NULL)")
    load(sink, batch({"id": [1]}))
    bad = batch({"id": pa.nulls(2, pa.int64())})
    assert len(load(sink, bad).rows) == 2
    assert ids(place) == [1]
    assert sink.load([bad], Quarantine()) == [Receipt(bad.batch_id, 0, 2, duplicate=True)]


def test_with_a_key_the_newest_version_within_the_replacement_is_kept(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", if_exists="replace", key="id", version="at_s")
    load(sink, batch({"id": [1, 9], "at_s": [9, 9]}))
    load(sink, batch({"id": [1, 2], "at_s": [5, 1]}), batch({"id": [1, 2], "at_s": [4, 2]}))
    assert place.query("SELECT id, at_s FROM t ORDER BY id") == [(1, 5), (2, 2)]


@every_place
def test_an_error_leaves_the_old_rows(place: Place, sink: Any) -> None:
    class FullDisk(Quarantine):
        def __call__(
            self, batch: Batch, rows: pa.Table, reasons: Sequence[str], at: Sequence[int] | None = None
        ) -> None:
            raise RetryableError("no space left")

    place.query("CREATE TABLE t (id integer NOT NULL)")
    load(sink, batch({"id": [1]}))
    with pytest.raises(RetryableError, match="no space left"):
        sink.load([batch({"id": pa.array([2, None])})], FullDisk())
    assert ids(place) == [1]


@every_place
def test_readers_never_see_an_empty_or_half_table(place: Place, sink: Any) -> None:
    rows = 5_000
    load(sink, batch({"id": list(range(rows)), "n": [0] * rows}))
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(place.query("SELECT count(*), count(DISTINCT n) FROM t")[0])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 15):
            load(sink, batch({"id": list(range(rows)), "n": [number] * rows}))
    finally:
        done.set()
        reader.join()
    assert set(seen) == {(rows, 1)}
    assert place.query("SELECT min(n), max(n) FROM t") == [(14, 14)]


def test_two_replacements_at_once_leave_one_of_them(place: Place, make_sink: MakeSink) -> None:
    sinks = [make_sink(table="t", if_exists="replace", stream=f"s{number}/sql") for number in range(2)]
    rows = 2_000
    load(sinks[0], batch({"id": list(range(rows)), "n": [-1] * rows}))
    failures: list[Exception] = []

    def replace(sink: Any, number: int) -> None:
        try:
            for turn in range(12):
                load(sink, batch({"id": list(range(rows)), "n": [10 * turn + number] * rows}))
        except Exception as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=replace, args=(sink, number)) for number, sink in enumerate(sinks)]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(place.query("SELECT count(*), count(DISTINCT n) FROM t")[0])
    for thread in threads:
        thread.join()
    if place.name == "duckdb":  # the daemon gives a file one thread: the second one is told to come again
        assert all("Conflict" in str(each) for each in failures)
    else:
        assert failures == []
    assert seen | {place.query("SELECT count(*), count(DISTINCT n) FROM t")[0]} == {(rows, 1)}
