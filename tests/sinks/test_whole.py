"""One file that batches update or replace: each batch in it once, whatever is killed, whoever else changes it."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import shutil
import tempfile
import threading
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from api2db.errors import FatalError, RetryableError
from api2db.formats import FORMATS, frame_of
from api2db.sinks.local.publish import locked
from tests.sinks.local_kit import Queue, numbers, refuse

ALL = tuple(FORMATS)
MODES = ("update", "replace")


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    assert folder.stat().st_dev != tmp_path.stat().st_dev
    yield folder
    shutil.rmtree(folder)


def update(folder, **options):
    return Queue(folder, **{"mode": "update", "path": "out/file", **options})


# What the modes do.


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize("mode", MODES)
def test_the_file_is_where_it_is_documented_to_be(tmp_path, mode, fmt):
    queue = Queue(tmp_path, mode=mode, fmt=fmt)
    queue.deliver(numbers(1))
    assert queue.target == tmp_path / "CACHE" / f"c_static.{fmt}"
    assert queue.column() == [1]
    assert queue.leftovers() == []


@pytest.mark.parametrize("fmt", ALL)
def test_an_update_adds_the_rows_that_are_new(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    assert [receipt.rows for receipt in queue.deliver(numbers(1, 2, 2), numbers(2, 3))] == [2, 1]
    assert queue.column() == [1, 2, 3]
    assert [receipt.rows for receipt in queue.deliver(numbers(3, 4))] == [1]
    assert queue.column() == [1, 2, 3, 4]
    assert queue.leftovers() == []


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize(("keep", "kept"), [("first", {1: "a", 2: "b", 3: "e"}), ("last", {1: "a", 2: "d", 3: "e"})])
def test_of_rows_with_one_key_the_first_is_kept_or_the_last(tmp_path, fmt, keep, kept):
    queue = update(tmp_path, fmt=fmt, drop_duplicate_keys=["k"], keep=keep)
    queue.deliver(pa.table({"k": [1, 2], "v": ["a", "b"]}))
    queue.deliver(pa.table({"k": [2], "v": ["c"]}), pa.table({"k": [2, 3], "v": ["d", "e"]}))
    found = queue.read()
    assert dict(zip(found["k"], found["v"], strict=True)) == kept
    assert len(found) == 3


@pytest.mark.parametrize("fmt", ALL)
def test_the_batches_of_one_poll_are_one_replacement(tmp_path, fmt):
    queue = Queue(tmp_path, mode="replace", fmt=fmt, path="out/file")
    assert queue.sink.replaces
    queue.deliver(numbers(1))
    receipts = queue.deliver(numbers(2), numbers(3, 3), numbers(4, 3, 5))
    assert [receipt.rows for receipt in receipts] == [1, 1, 2]
    assert queue.column() == [2, 3, 4, 5]
    assert queue.leftovers() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_younger_batch_never_overtakes_an_older_one(tmp_path, mode):
    assert Queue(tmp_path, mode=mode).sink.ordered


@pytest.mark.parametrize("fmt", ALL)
def test_an_update_without_news_leaves_the_file_alone(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    queue.deliver(numbers(1, 2))
    before = queue.target.stat()
    assert [receipt.rows for receipt in queue.deliver(numbers(2))] == [0]
    assert (queue.target.stat().st_ino, queue.target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


NESTED = [
    {"n": 1, "tags": ["a", {"b": None}], "geo": {"lat": 1.5, "lon": 2}, "mixed": 1},
    {"n": 2, "tags": None, "geo": None, "mixed": "x"},
    {"n": 3, "tags": [], "geo": {}, "mixed": None},
]
LOOKALIKES = {"f": [math.inf], "g": [-math.inf], "t": ["2026-01-31T12:00:00.000000"], "n": ["007"], "j": ["[1]"]}
HOSTILE = {'a"b': [1, None], "a,b": ["", None], "a\nb": ['"', "x\r\ny"], "": [True, None], "ä\0": ["007", "null"]}


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize(
    "rows",
    [NESTED, pa.table(HOSTILE), pa.table(LOOKALIKES), pa.table({"n": [1, 2], "never": pa.nulls(2)})],
    ids=["nested", "hostile", "lookalikes", "null"],
)
def test_what_is_in_the_file_already_is_recognised_whatever_it_is(tmp_path, fmt, rows):
    queue = update(tmp_path, fmt=fmt)
    (first,) = queue.deliver(rows)
    before = queue.read()
    (again,) = queue.deliver(rows)
    assert (first.rows, again.rows) == (len(before), 0)
    assert_frame_equal(queue.read(), before)
    queue.deliver(numbers(99))
    assert len(queue.read()) == len(before) + 1


@pytest.mark.parametrize("fmt", ["parquet", "feather", "json", "pickle"])
def test_nested_values_stay_what_they_are(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    queue.deliver(NESTED)
    assert queue.column("tags") == [["a", {"b": None}], None, []]
    assert queue.column("geo") == [{"lat": 1.5, "lon": 2}, None, {}]


@pytest.mark.parametrize("fmt", ALL)
def test_columns_that_come_later_are_null_in_what_was_there(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    queue.deliver(numbers(1))
    queue.deliver(pa.table({"n": [2], "t": ["x"]}))
    assert [None if value is pd.NA else value for value in queue.column("t")] == [None, "x"]
    assert queue.read().dtypes.astype(str).to_dict() == {"n": "Int64", "t": "string"}


# The dtypes.

TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["007", "", "NaN", "null", "1"])
COLUMNS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): TEXTS,
    pa.timestamp("us"): TIMES,
    pa.timestamp("us", "UTC"): TIMES.map(lambda time: time.replace(tzinfo=dt.UTC)),
    pa.duration("us"): st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000)),
}


@st.composite
def tables(draw):
    types = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=4))
    rows = draw(st.integers(1, 4))
    values = [draw(st.lists(st.none() | COLUMNS[kind], min_size=rows, max_size=rows)) for kind in types]
    names = draw(st.lists(TEXTS.filter(bool), min_size=len(types), max_size=len(types), unique=True))
    return pa.table([pa.array(column, kind) for column, kind in zip(values, types, strict=True)], names=names)


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize("mode", ["shard", *MODES])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_rows_and_dtypes_come_back_as_they_were(tmp_path_factory, mode, fmt, table):
    queue = Queue(tmp_path_factory.mktemp("q"), mode=mode, fmt=fmt, drop_duplicate_keys=[])
    queue.deliver(table)
    path = next(queue.target.iterdir()) if mode == "shard" else queue.target
    assert_frame_equal(queue.read(path), frame_of(table), check_column_type=False)
    if mode == "update":
        queue.deliver(table)
        twice = pd.concat([frame_of(table)] * 2, ignore_index=True)
        assert_frame_equal(queue.read(path), twice, check_column_type=False)


@pytest.mark.parametrize("fmt", ["json", "csv", "orc"])
def test_a_column_that_is_null_for_a_while_keeps_its_dtype(tmp_path, fmt):
    queue = Queue(tmp_path, mode="replace", fmt=fmt)
    queue.deliver(pa.table({"at": pa.array([dt.datetime(2026, 1, 1)], pa.timestamp("us"))}))
    queue.deliver(pa.table({"at": pa.nulls(1)}))
    assert str(queue.read()["at"].dtype) == "datetime64[us]"


@pytest.mark.parametrize("fmt", ["json", "csv", "orc"])
def test_dtypes_are_written_when_they_change_and_only_then(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    kept = tmp_path / "CACHE" / "c_dtypes.json"
    queue.deliver(numbers(1))
    assert json.loads(kept.read_bytes()) == {"n": "Int64"}
    before = kept.stat().st_ino
    queue.deliver(numbers(2))
    assert kept.stat().st_ino == before
    queue.deliver(pa.table({"n": [0.5], "t": ["x"]}))
    assert json.loads(kept.read_bytes()) == {"n": "Float64", "t": "string"}
    assert queue.column() == [1.0, 2.0, 0.5]
    kept.unlink()
    queue.deliver(numbers(3))
    assert json.loads(kept.read_bytes()) == {"n": "Float64", "t": "string"}


@pytest.mark.parametrize("fmt", ALL)
def test_large_whole_numbers_stay_what_they_are_beside_fractions(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    queue.deliver(pa.table({"n": [0.5]}))
    queue.deliver(numbers(2**53 + 1))
    found = FORMATS[fmt].decode(queue.target.read_bytes())["n"].tolist()
    assert [str(value) for value in found] == ["0.5", "9007199254740993"]


@pytest.mark.parametrize("fmt", ["parquet", "feather", "pickle"])
def test_a_format_that_says_its_dtypes_needs_no_file_of_them(tmp_path, fmt):
    update(tmp_path, fmt=fmt).deliver(numbers(1))
    assert not (tmp_path / "CACHE").exists()


@pytest.mark.parametrize("fmt", ALL)
def test_values_frames_know_only_as_objects_are_recognised_too(tmp_path, fmt):
    table = pa.table(
        {
            "d": [dt.date(2026, 1, 31)],
            "t": [dt.time(12, 30)],
            "b": [b"\0x"],
            "m": pa.array([Decimal("1.10")], pa.decimal128(10, 2)),
        }
    )
    queue = update(tmp_path, fmt=fmt)
    assert [receipt.rows for receipt in queue.deliver(table)] == [1]
    assert [receipt.rows for receipt in queue.deliver(table)] == [0]
    if fmt in ("parquet", "feather", "pickle"):
        assert queue.read().iloc[0].tolist() == [dt.date(2026, 1, 31), dt.time(12, 30), b"\0x", Decimal("1.10")]


# Once, whatever is killed: what a new process finds is what is on disk.


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize("mode", MODES)
def test_a_group_whose_shards_are_all_there_is_made_again(tmp_path, mode, fmt):
    queue = update(tmp_path, mode=mode, fmt=fmt, drop_duplicate_keys=[])
    queue.deliver(numbers(0))
    one, two = queue.accept(numbers(1)), queue.accept(numbers(2))
    queue.sink.load([one, two], refuse)
    queue.restart().connect()
    assert queue.column() == [0]
    assert queue.leftovers() == []
    # Now the first alone, as after a failure.
    queue.sink.load([one], refuse)
    queue.drop(one)
    queue.sink.publish([one])
    assert queue.column() == {"update": [0, 1], "replace": [1]}[mode]


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize("mode", MODES)
def test_a_group_whose_shards_are_gone_is_published_once(tmp_path, mode, fmt):
    queue = update(tmp_path, mode=mode, fmt=fmt, drop_duplicate_keys=[])
    queue.deliver(numbers(0))
    one = queue.accept(numbers(1))
    queue.sink.load([one], refuse)
    queue.drop(one)
    queue.restart().connect()
    expected = {"update": [0, 1], "replace": [1]}[mode]
    assert queue.column() == expected
    queue.restart().connect()
    assert queue.column() == expected
    assert queue.leftovers() == []


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize("mode", MODES)
def test_killed_while_shards_are_dropped_none_of_them_is_in_twice(tmp_path, mode, fmt):
    queue = update(tmp_path, mode=mode, fmt=fmt, drop_duplicate_keys=[])
    batches = [queue.accept(numbers(number)) for number in (1, 2, 3)]
    queue.sink.connect()
    queue.sink.load(batches, refuse)
    queue.drop(batches[0])
    for _ in range(2):
        queue.restart().connect()
        assert queue.column() == [1, 2, 3]
    # Delivery finds the others, beside a new one, and is told that they are in.
    batches.append(queue.accept(numbers(4)))
    receipts = queue.sink.load(batches[1:], refuse)
    assert [receipt.duplicate for receipt in receipts] == [True, True, False]
    assert [receipt.rows for receipt in receipts] == [1, 1, 1]
    queue.drop(*batches)
    queue.sink.publish(batches[1:])
    assert queue.column() == {"update": [1, 2, 3, 4], "replace": [4]}[mode]
    assert queue.leftovers() == []


@pytest.mark.parametrize("mode", MODES)
def test_batches_whose_shards_went_before_delivery_heard_of_it_are_in_once(tmp_path, mode):
    queue = update(tmp_path, mode=mode, drop_duplicate_keys=[])
    batches = [queue.accept(numbers(number)) for number in (1, 2, 3)]
    queue.sink.connect()
    queue.sink.load(batches, refuse)
    queue.drop(*batches)  # and then the disk fails: publish is never called, delivery begins again
    queue.sink.connect()
    for batch in batches:
        (receipt,) = queue.sink.load([batch], refuse)
        assert receipt.duplicate
        queue.sink.publish([batch])
    assert queue.column() == [1, 2, 3]
    assert queue.leftovers() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_published_group_is_over_even_if_its_shards_come_back(tmp_path, mode):
    queue = update(tmp_path, mode=mode, drop_duplicate_keys=[])
    queue.deliver(numbers(1))
    two = queue.accept(numbers(2))
    queue.sink.load([two], refuse)
    kept = queue.shard(two).with_suffix(".group").read_bytes()
    queue.drop(two)
    queue.sink.publish([two])
    # Killed before the group was removed, and the shard is there again.
    queue.shard(two).write_bytes(b"the shard")
    queue.shard(two).with_suffix(".group").write_bytes(kept)
    queue.restart().connect()
    (receipt,) = queue.sink.load([two], refuse)
    assert receipt.duplicate
    queue.drop(two)
    queue.sink.publish([two])
    assert queue.column() == {"update": [1, 2], "replace": [2]}[mode]
    assert queue.leftovers() == []


@pytest.mark.parametrize("mode", MODES)
def test_killed_twice_while_shards_are_dropped_none_of_them_is_in_twice(tmp_path, mode):
    queue = update(tmp_path, mode=mode, drop_duplicate_keys=[])
    batches = [queue.accept(numbers(number)) for number in (1, 2, 3)]
    queue.sink.connect()
    queue.sink.load(batches, refuse)
    queue.drop(batches[0])
    queue.restart().connect()
    batches.append(queue.accept(numbers(4)))
    queue.sink.load(batches[1:], refuse)
    queue.drop(batches[1])
    queue.restart().connect()  # the second group's shard is there: made again; the first one's third is in
    receipts = queue.sink.load(batches[2:], refuse)
    assert [receipt.duplicate for receipt in receipts] == [True, False]
    queue.drop(*batches)
    queue.restart().connect()
    assert queue.column() == {"update": [1, 2, 3, 4], "replace": [4]}[mode]
    assert queue.leftovers() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_group_of_a_parked_shard_is_made_again_too(tmp_path, mode):
    queue = update(tmp_path, mode=mode, drop_duplicate_keys=[])
    one = queue.accept(numbers(1))
    os.rename(queue.shard(one), queue.parked / queue.shard(one).name)
    queue.sink.connect()
    queue.sink.load([one], refuse)
    queue.restart().connect()
    assert not queue.target.exists()


@pytest.mark.parametrize("fmt", ALL)
def test_what_a_person_changed_before_the_file_was_published_is_kept(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    queue.deliver(numbers(1, 2))
    one = queue.accept(numbers(3))
    queue.sink.load([one], refuse)
    queue.drop(one)
    queue.target.write_bytes(FORMATS[fmt].encode(queue.read().iloc[1:]))
    queue.restart().connect()
    assert queue.column() == [2, 3]
    assert queue.leftovers() == []


@pytest.mark.parametrize("fmt", ALL)
def test_a_file_that_was_deleted_meanwhile_begins_anew_with_the_new_rows(tmp_path, fmt):
    queue = update(tmp_path, fmt=fmt)
    queue.deliver(numbers(1, 2))
    one = queue.accept(numbers(3))
    queue.sink.load([one], refuse)
    queue.drop(one)
    queue.target.unlink()
    queue.sink.publish([one])
    assert queue.column() == [3]


def test_a_file_that_got_the_new_rows_from_elsewhere_gets_them_once(tmp_path):
    queue = update(tmp_path)
    one = queue.accept(numbers(3))
    queue.sink.connect()
    queue.sink.load([one], refuse)
    queue.drop(one)
    shutil.copy(queue.staging / f"{one.created_ns}.ready", queue.target)
    queue.restart().connect()
    assert queue.column() == [3]
    assert queue.leftovers() == []


def test_a_published_file_that_was_taken_away_does_not_come_back(tmp_path):
    queue = update(tmp_path, drop_duplicate_keys=[])
    queue.deliver(numbers(1))
    queue.target.unlink()
    queue.restart().connect()
    assert not queue.target.exists()
    queue.deliver(numbers(2))
    assert queue.column() == [2]


def test_two_streams_that_update_one_file_lose_none_of_each_others_rows(tmp_path):
    one = update(tmp_path / "one", path=str(tmp_path / "both.parquet"))
    other = update(tmp_path / "other", path=str(tmp_path / "both.parquet"))
    first, second = one.accept(numbers(1)), other.accept(numbers(2))
    for queue, batch in ((one, first), (other, second)):
        queue.sink.connect()
        queue.sink.load([batch], refuse)
        queue.drop(batch)
    one.sink.publish([first])
    other.sink.publish([second])
    assert one.column() == [1, 2]


def test_readers_always_find_a_whole_file(tmp_path):
    queue = Queue(tmp_path, mode="replace")
    queue.deliver(numbers(*range(1000)))
    seen, ended = [], threading.Event()

    def read():
        while not ended.is_set():
            seen.append(len(queue.read()))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        queue.deliver(numbers(*range(1000)))
    ended.set()
    reader.join()
    assert set(seen) == {1000}


# Another file system.


@pytest.mark.parametrize("mode", MODES)
def test_another_file_system_gets_the_file_whole_and_nothing_is_left_of_its_way(tmp_path, elsewhere, mode):
    queue = update(tmp_path, mode=mode, path=str(elsewhere / "file"))
    queue.deliver(numbers(1))
    queue.deliver(numbers(2))
    assert queue.column() == {"update": [1, 2], "replace": [2]}[mode]
    assert queue.leftovers() == []


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_on_its_way_from_another_file_system_is_published_once(tmp_path, elsewhere, edited):
    queue = update(tmp_path, path=str(elsewhere / "file"), drop_duplicate_keys=[])
    queue.deliver(numbers(0))
    one = queue.accept(numbers(1))
    queue.sink.load([one], refuse)
    queue.drop(one)
    publisher, ready = queue.sink._publisher, queue.staging / f"{one.created_ns}.ready"
    publisher._move(ready, publisher._beside(ready, queue.target))  # what publishing does before it is killed
    if edited:
        queue.target.write_bytes(FORMATS["parquet"].encode(frame_of(numbers(7))))
    for _ in range(2):
        queue.restart().connect()
        assert queue.column() == ([7, 1] if edited else [0, 1])
    assert queue.leftovers() == []


# What goes wrong.


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize("garbage", [b"", b"\xff\x00 no file of ours", b'"a","a"\n1,2\n'])
def test_a_file_that_can_not_be_read_is_never_overwritten_and_the_shards_wait(tmp_path, fmt, garbage):
    queue = update(tmp_path, fmt=fmt)
    if fmt == "csv" and garbage.startswith(b"\xff"):
        garbage = b'"a\n'
    queue.target.parent.mkdir()
    queue.target.write_bytes(garbage)
    batch = queue.accept(numbers(1))
    queue.sink.connect()
    with pytest.raises(FatalError, match=r"c/local\.\w+: .*out/file is left as it is.*move it away"):
        queue.sink.load([batch], refuse)
    assert queue.target.read_bytes() == garbage
    assert queue.shard(batch).exists()
    queue.target.unlink()
    queue.sink.connect()
    queue.sink.load([batch], refuse)
    queue.drop(batch)
    queue.sink.publish([batch])
    assert queue.column() == [1]


def test_a_file_spoilt_after_its_shards_went_is_left_and_gets_the_rows_once_it_is_mended(tmp_path):
    queue = update(tmp_path)
    queue.deliver(numbers(1))
    batch = queue.accept(numbers(2))
    queue.sink.load([batch], refuse)
    queue.drop(batch)
    good = queue.target.read_bytes()
    queue.target.write_bytes(b"spoilt")
    with pytest.raises(FatalError, match="left as it is"):
        queue.sink.publish([batch])
    with pytest.raises(FatalError, match="left as it is"):
        queue.restart().connect()
    assert queue.target.read_bytes() == b"spoilt"
    queue.target.write_bytes(good)
    queue.sink.connect()
    assert queue.column() == [1, 2]


def test_values_somebody_wrote_into_a_text_file_are_kept(tmp_path):
    queue = update(tmp_path, fmt="csv")
    queue.deliver(numbers(1))
    queue.target.write_text('"n"\n"one"\n')
    queue.deliver(numbers(2))
    assert FORMATS["csv"].decode(queue.target.read_bytes())["n"].tolist() == ["one", "2"]


@pytest.mark.parametrize("mode", MODES)
def test_a_folder_in_the_files_place_stops_the_stream(tmp_path, mode):
    queue = update(tmp_path, mode=mode)
    queue.target.mkdir(parents=True)
    with pytest.raises(FatalError, match=r"out/file is a folder.*give path a file's name"):
        queue.sink.connect()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root may")
def test_a_folder_or_file_of_somebody_else_stops_the_stream_before_a_shard_is_dropped():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        queue = update(folder, path=str(folder / "theirs" / "file"))
        queue.deliver(numbers(1))
        queue.staging.chmod(0o777)
        os.seteuid(65534)
        try:
            with pytest.raises(FatalError, match=r"can't write to .*theirs"):
                queue.restart().connect()
            os.seteuid(0)
            queue.target.parent.chmod(0o777)
            queue.target.chmod(0o600)
            os.seteuid(65534)
            with pytest.raises(FatalError, match=r"can't read .*theirs/file"):
                queue.restart().connect()
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("place", ["one file system", "another file system"])
def test_the_files_permissions_stay_what_they_are(tmp_path, elsewhere, place):
    queue = update(tmp_path, fmt="pickle", path=str((tmp_path if place.startswith("one") else elsewhere) / "file"))
    queue.deliver(numbers(1))
    queue.target.chmod(0o600)
    queue.deliver(numbers(2))
    assert queue.target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize(
    ("mode", "passes"), [("update", 1), ("update", 2), ("update", 3), ("replace", 1), ("replace", 2)]
)
def test_a_full_disk_is_repeated_later_and_nothing_half_written_counts(tmp_path, mode, fmt, passes, monkeypatch):
    queue = update(tmp_path, mode=mode, fmt=fmt, drop_duplicate_keys=[])
    queue.deliver(numbers(0))
    batch = queue.accept(numbers(1))
    real, left = os.write, iter(range(passes - 1))

    def full(fd, data):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        return real(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(RetryableError, match="No space left"):
            queue.sink.load([batch], refuse)
    assert queue.column() == [0]
    queue.sink.connect()
    assert queue.leftovers() == []
    queue.sink.load([batch], refuse)
    queue.drop(batch)
    queue.sink.publish([batch])
    assert queue.column() == {"update": [0, 1], "replace": [1]}[mode]


def test_a_full_target_keeps_the_group_until_there_is_room(tmp_path, elsewhere, monkeypatch):
    queue = update(tmp_path, path=str(elsewhere / "file"))
    batch = queue.accept(numbers(1))
    queue.sink.connect()
    queue.sink.load([batch], refuse)
    queue.drop(batch)

    def full(fd, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(RetryableError, match="No space left"):
            queue.sink.publish([batch])
    assert not queue.target.exists()
    queue.restart().connect()
    assert queue.column() == [1]


def test_a_damaged_group_is_left_for_a_person(tmp_path):
    queue = update(tmp_path)
    (queue.staging / "1.group").write_text("{")
    (queue.staging / "1.ready").write_text("rows")
    with pytest.raises(FatalError, match=r"1\.group can't be read"):
        queue.sink.connect()
    assert (queue.staging / "1.ready").exists()


def test_a_folder_locked_by_another_program_is_waited_for(tmp_path, monkeypatch):
    queue = update(tmp_path)
    batch = queue.accept(numbers(1))
    queue.sink.connect()
    queue.sink.load([batch], refuse)
    queue.drop(batch)
    with monkeypatch.context() as patch:
        patch.setattr("api2db.sinks.local.publish.LOCK_WAIT_S", 0.05)
        with locked(queue.target.parent), pytest.raises(RetryableError, match="is locked"):
            queue.sink.publish([batch])
    queue.sink.connect()
    assert queue.column() == [1]
