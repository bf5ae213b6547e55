"""Shards in files: published whole, once, whatever the moment of a crash."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.errors import FatalError, RetryableError
from api2db.formats import FORMATS
from api2db.sinks.local import Duplicates
from tests.sinks.local_kit import Queue, numbers, refuse

ALL = tuple(FORMATS)


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path, path="out")


def published(queue):
    return {
        int(path.stem): queue.read(path)["n"].tolist()
        for path in queue.target.iterdir()
        if not path.name.startswith(".")
    }


@pytest.mark.parametrize("fmt", ALL)
def test_a_batch_is_a_file_named_by_its_time_once_its_shard_is_gone(tmp_path, fmt):
    queue = Queue(tmp_path, fmt=fmt)
    assert queue.target == tmp_path / "STORE" / "c" / fmt
    queue.sink.connect()
    batch = queue.accept(numbers(5, 6))
    (receipt,) = queue.sink.load([batch], refuse)
    assert receipt.rows == 2
    assert published(queue) == {}
    queue.drop(batch)
    queue.sink.publish([batch])
    assert published(queue) == {batch.created_ns: [5, 6]}
    assert [path.name for path in queue.target.iterdir()] == [f"{batch.created_ns}.{fmt}"]


@pytest.mark.parametrize("fmt", ALL)
def test_a_file_prepared_but_not_published_is_published_at_the_next_start_if_its_shard_is_gone(tmp_path, fmt):
    queue = Queue(tmp_path, fmt=fmt)
    queue.sink.connect()
    one, two = queue.accept(numbers(1)), queue.accept(numbers(2))
    queue.sink.load([one, two], refuse)
    queue.drop(one)
    queue.restart().connect()
    # The second one's shard is still there: it is written again, and published once.
    assert published(queue) == {one.created_ns: [1]}
    queue.sink.load([two], refuse)
    queue.drop(two)
    queue.sink.publish([two])
    assert published(queue) == {one.created_ns: [1], two.created_ns: [2]}
    assert queue.leftovers() == []


def test_a_file_prepared_from_a_parked_shard_is_not_published_before_it(queue):
    batch = queue.accept(numbers(1))
    os.rename(queue.shard(batch), queue.parked / queue.shard(batch).name)
    queue.sink.connect()
    queue.sink.load([batch], refuse)
    queue.restart().connect()
    assert published(queue) == {}


def test_a_file_taken_away_by_its_reader_is_not_published_again(queue):
    queue.deliver(numbers(1))
    (path,) = queue.target.iterdir()
    path.unlink()
    queue.restart().connect()
    assert published(queue) == {}


def test_a_file_whose_shard_went_before_delivery_heard_of_it_is_not_published_again(queue):
    queue.sink.connect()
    batches = [queue.accept(numbers(number)) for number in (1, 2, 3)]
    queue.sink.load(batches, refuse)
    queue.drop(*batches[:2])  # and then the disk fails: publish is never called, delivery begins again
    queue.sink.connect()
    first, second = batches[:2]
    assert published(queue) == {first.created_ns: [1], second.created_ns: [2]}
    for path in queue.target.iterdir():
        path.unlink()  # taken away by its reader
    for batch, duplicate in zip(batches, (True, True, False), strict=True):
        (receipt,) = queue.sink.load([batch], refuse)
        assert (receipt.rows, receipt.duplicate) == (1, duplicate)
        queue.drop(batch)
        queue.sink.publish([batch])
    assert published(queue) == {batches[2].created_ns: [3]}
    assert queue.leftovers() == []


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize(("keep", "kept"), [("first", ["a", "c"]), ("last", ["b", "c"])])
def test_of_duplicates_inside_a_batch_one_is_kept(tmp_path, fmt, keep, kept):
    queue = Queue(tmp_path, fmt=fmt, drop_duplicate_keys=["k"], keep=keep)
    (receipt,) = queue.deliver(pa.table({"k": [1, 1, 2], "v": ["a", "b", "c"]}))
    assert receipt.rows == 2
    (path,) = queue.target.iterdir()
    assert queue.read(path)["v"].tolist() == kept


@given(
    st.lists(st.tuples(st.integers(0, 2) | st.none(), st.sampled_from(["a", "b", None]), st.booleans()), max_size=20),
    st.sampled_from(["first", "last"]),
)
def test_duplicates_are_those_of_pandas(rows, keep):
    frame = pd.DataFrame(rows, columns=["i", "s", "b"]).astype({"i": "Int64", "s": "string", "b": "boolean"})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for keys in (None, ["i"], ["s", "b"]):
        expected = frame.drop_duplicates(subset=keys, keep=keep)
        found = Duplicates(keys, keep).drop(table)
        assert found.column("i").to_pylist() == [None if value is pd.NA else value for value in expected["i"]]
        assert frame[Duplicates(keys, keep).kept(frame)].equals(expected)


def test_every_type_can_be_compared_for_duplicates():
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    row = {"a": 1.5, "b": b"x", "c": at, "d": at.date(), "e": None, "f": "x", "g": True}
    table = pa.Table.from_pylist([row, row, row | {"b": b"y"}])
    assert Duplicates(None).drop(table).num_rows == 2


def test_without_keys_no_row_is_a_duplicate():
    assert Duplicates([]).drop(numbers(1, 1)).num_rows == 2


def test_data_that_lacks_a_key_loses_only_rows_that_are_equal_in_every_column(caplog):
    table = pa.table({"station": [1, 1, 1], "t": [20, 21, 21]})
    duplicates = Duplicates(["station", "at"], where="weather/local.csv")
    assert duplicates.drop(table).num_rows == duplicates.drop(table).num_rows == 2
    (record,) = caplog.records
    assert "'at'" in record.getMessage()
    assert "weather/local.csv" in record.getMessage()


def test_a_folder_that_can_not_be_written_stops_the_stream_and_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    queue = Queue(tmp_path, path="file/sub")
    with pytest.raises(FatalError, match=r"c/local.parquet.*check the folder"):
        queue.sink.connect()


@pytest.mark.parametrize("fmt", ALL)
def test_a_full_disk_is_repeated_later_and_leaves_nothing_half_written(tmp_path, fmt, monkeypatch):
    queue = Queue(tmp_path, fmt=fmt)
    queue.deliver(numbers(0))  # so that the dtypes are known: it is the shard's disk that is full
    batch = queue.accept(numbers(1))

    def full(fd, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(RetryableError, match="No space left"):
            queue.sink.load([batch], refuse)
    assert queue.leftovers() == []


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    assert folder.stat().st_dev != tmp_path.stat().st_dev
    yield folder
    shutil.rmtree(folder)


def test_another_file_system_gets_the_file_whole_and_nothing_is_left_of_its_way(tmp_path, elsewhere):
    queue = Queue(tmp_path, path=str(elsewhere))
    queue.deliver(numbers(9))
    assert list(published(queue).values()) == [[9]]
    assert queue.leftovers() == []


def test_a_file_on_its_way_from_another_file_system_is_published_at_the_next_start(tmp_path, elsewhere):
    queue = Queue(tmp_path, path=str(elsewhere))
    queue.sink.connect()
    batch = queue.accept(numbers(9))
    queue.sink.load([batch], refuse)
    queue.drop(batch)
    move_beside(queue, batch)
    assert published(queue) == {}
    # Somebody else's, with files in the same folder, has nothing to do with it.
    other = Queue(tmp_path / "other", path=str(elsewhere))
    other.sink.connect()
    assert published(queue) == {}
    queue.restart().connect()
    assert published(queue) == {batch.created_ns: [9]}
    assert queue.leftovers() == []


def move_beside(queue, batch):
    """What publishing does before it is killed."""
    publisher, ready = queue.sink._publisher, queue.staging / f"{batch.created_ns}.ready"
    publisher._move(ready, publisher._beside(ready, queue.target / f"{batch.created_ns}.parquet"))


def test_shards_are_plain_parquet_for_other_programs(queue):
    queue.deliver([{"n": 1, "tags": ["a"], "at": "x"}])
    (path,) = queue.target.iterdir()
    assert pq.read_table(path).to_pylist() == [{"n": 1, "tags": '["a"]', "at": "x"}]
