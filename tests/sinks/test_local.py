"""Files: published whole, once, whatever the moment of a crash."""

from __future__ import annotations

import datetime
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.batch import Batch, new_batch_id
from api2db.errors import FatalError, RetryableError
from api2db.sinks.local import LocalSink, _without_duplicates


def refuse(*_):
    raise AssertionError("a file takes every row")


@pytest.fixture
def staging(tmp_path):
    path = tmp_path / "STORE" / "queue" / "c" / "local.parquet"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def sink(tmp_path, staging):
    return LocalSink(
        stream="c/local.parquet",
        directory=tmp_path / "out",
        staging=staging,
        parked=staging.parents[2] / "upload_failed" / "c" / "local.parquet",
    )


def batch(created_ns, *values):
    return Batch(pa.table({"n": pa.array(values, pa.int64())}), new_batch_id(), created_ns)


def published(sink):
    return {int(path.stem): pq.read_table(path).column("n").to_pylist() for path in sink.directory.iterdir()}


def test_a_batch_is_a_file_named_by_its_time_once_its_shard_is_gone(sink):
    sink.connect()
    one = batch(1, 5, 6)
    (receipt,) = sink.load([one], refuse)
    assert receipt.rows == 2
    assert published(sink) == {}
    sink.publish([one])
    assert published(sink) == {1: [5, 6]}


def test_a_file_prepared_but_not_published_is_published_at_the_next_start_if_its_shard_is_gone(sink, staging):
    sink.connect()
    (staging / "2.parquet").write_bytes(b"the shard")
    sink.load([batch(1, 1), batch(2, 2)], refuse)
    again = LocalSink(
        stream="c/local.parquet",
        directory=sink.directory,
        staging=staging,
        parked=staging.parents[2] / "upload_failed" / "c" / "local.parquet",
    )
    again.connect()
    # The second one's shard is still there: it will be written again, and published once.
    assert published(sink) == {1: [1]}
    again.load([batch(2, 2)], refuse)
    again.publish([batch(2)])
    assert published(sink) == {1: [1], 2: [2]}


def test_a_file_prepared_from_a_parked_shard_is_not_published_before_it(tmp_path, sink, staging):
    parked = tmp_path / "STORE" / "upload_failed" / "c" / "local.parquet"
    parked.mkdir(parents=True)
    (parked / "1.parquet").write_bytes(b"the shard")
    sink.connect()
    sink.load([batch(1, 1)], refuse)
    again = LocalSink(
        stream="c/local.parquet",
        directory=sink.directory,
        staging=staging,
        parked=staging.parents[2] / "upload_failed" / "c" / "local.parquet",
    )
    again.connect()
    assert published(sink) == {}


def test_a_file_taken_away_by_its_reader_is_not_published_again(sink, staging):
    sink.connect()
    one = batch(1, 1)
    sink.load([one], refuse)
    sink.publish([one])
    (sink.directory / "1.parquet").unlink()
    LocalSink(
        stream="c/local.parquet",
        directory=sink.directory,
        staging=staging,
        parked=staging.parents[2] / "upload_failed" / "c" / "local.parquet",
    ).connect()
    assert published(sink) == {}


def test_duplicates_inside_a_batch_are_dropped_and_the_first_is_kept(sink, tmp_path, staging):
    table = pa.table({"k": [1, 1, 2], "v": ["a", "b", "c"]})
    by_key = LocalSink(
        stream="s",
        directory=tmp_path / "k",
        staging=staging,
        parked=staging.parents[2] / "upload_failed" / "c" / "local.parquet",
        drop_duplicate_keys=["k"],
    )
    by_key.connect()
    one = Batch(table, new_batch_id(), 1)
    (receipt,) = by_key.load([one], refuse)
    by_key.publish([one])
    assert receipt.rows == 2
    assert pq.read_table(tmp_path / "k" / "1.parquet").to_pylist() == [{"k": 1, "v": "a"}, {"k": 2, "v": "c"}]


VALUES = st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "", "ä"]))


@given(
    st.lists(st.tuples(st.integers(0, 2) | st.none(), st.sampled_from(["a", "b", None]), st.booleans()), max_size=20)
)
def test_duplicates_are_those_of_pandas(rows):
    frame = pd.DataFrame(rows, columns=["i", "s", "b"]).astype({"i": "Int64", "s": "string", "b": "boolean"})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for keys in (None, ["i"], ["s", "b"]):
        expected = frame.drop_duplicates(subset=keys)
        assert _without_duplicates(table, keys).num_rows == len(expected)
        assert _without_duplicates(table, keys).column("i").to_pylist() == [
            None if value is pd.NA else value for value in expected["i"]
        ]


def test_every_type_can_be_compared_for_duplicates():
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    row = {"a": 1.5, "b": b"x", "c": at, "d": at.date(), "e": None, "f": "x", "g": True}
    table = pa.Table.from_pylist([row, row, row | {"b": b"y"}])
    assert _without_duplicates(table, None).num_rows == 2


def test_a_folder_that_can_not_be_written_stops_the_stream_and_says_what_to_do(tmp_path, staging):
    (tmp_path / "file").write_text("")
    sink = LocalSink(
        stream="c/local.parquet",
        directory=tmp_path / "file" / "sub",
        staging=staging,
        parked=staging.parents[2] / "upload_failed" / "c" / "local.parquet",
    )
    with pytest.raises(FatalError, match="check the folder"):
        sink.connect()


def test_a_full_disk_is_repeated_later_and_leaves_nothing_half_written(sink, staging, monkeypatch):
    sink.connect()

    def full(fd, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(RetryableError, match="No space left"):
            sink.load([batch(1, 1)], refuse)
    assert list(staging.iterdir()) == []


def test_another_file_system_gets_a_copy(sink, monkeypatch):
    real = os.rename

    def across(source, target):
        if str(source).endswith(".ready"):
            raise OSError(18, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "rename", across)
    sink.connect()
    one = batch(1, 9)
    sink.load([one], refuse)
    sink.publish([one])
    assert published(sink) == {1: [9]}
