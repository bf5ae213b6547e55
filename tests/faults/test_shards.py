"""What happens to shards behind the daemon's back: the ones that were touched are told of, the others are delivered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api2db.shard import decode_header
from tests.runtime.test_delivery import STREAM, Bench


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_foreign(path: Path) -> None:
    pq.write_table(pa.table({"n": [3]}), path)


@pytest.fixture
def bench(tmp_path: Path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def outcomes(bench: Bench) -> list[str]:
    found = bench.journal._file.connection.execute("SELECT outcome FROM deliveries ORDER BY created_ns")
    return [outcome for (outcome,) in found]


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("damage", [cut, flip, empty, replace_by_foreign])
def test_a_damaged_shard_is_kept_as_it_was_found_and_the_others_are_delivered(
    bench: Bench, damage: Callable[[Path], None], running: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bench.accept(1, 2, 3, 4, 5)
    bench.shards.settle()
    third = bench.shards.queue(STREAM).path(bench.shards.queue(STREAM).waiting()[2], parked=False)
    if running:
        bench.restart()  # what is in memory is loaded from there, whatever the file has become
    damage(third)
    found = third.read_bytes()
    if not running:
        bench.restart()
    bench.run()
    assert bench.sink.numbers == [1, 2, 4, 5]
    assert (bench.root / "quarantine" / "c" / STREAM / third.name).read_bytes() == found
    assert "shard damaged, not loaded" in caplog.text
    assert bench.shards.queue(STREAM).waiting() == []


def test_a_deleted_shard_is_said_to_be_gone_and_counts_as_removed_not_as_kept(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.accept(1, 2, 3)
    bench.shards.settle()
    bench.restart()
    paths = [bench.shards.queue(STREAM).path(shard, parked=False) for shard in bench.shards.queue(STREAM).waiting()]
    for path in paths:
        bench.journal.accepted(decode_header(path.read_bytes()))
    second = paths[1]
    second.unlink()
    with caplog.at_level(logging.ERROR):
        bench.run()
    assert bench.sink.numbers == [1, 3]
    assert f"cause={second} is gone: someone removed it" in caplog.text
    assert "damaged" not in caplog.text
    assert "kept" not in caplog.text
    assert outcomes(bench) == ["loaded", "removed", "loaded"]


def test_what_is_not_ours_in_the_folders_of_shards_is_left_alone_and_stops_nothing(bench: Bench) -> None:
    bench.accept(1)
    bench.shards.settle()
    folder = bench.root / "queue" / "c" / STREAM
    accepted = bench.root / "queue" / "c" / "accepted"
    theirs = [folder / "1700000000000000001.parquet", folder / "deep.tmp", accepted / "theirs.tmp"]
    for path in theirs:
        path.mkdir()
    note = folder / "read me.txt"
    note.write_text("a note")
    link = folder / "1700000000000000002.parquet"
    link.symlink_to("nowhere")
    bench.restart()
    bench.accept(2)
    bench.run()
    assert bench.sink.numbers == [1, 2]
    assert all(path.is_dir() for path in theirs)
    assert note.read_text() == "a note"
    assert link.is_symlink()
