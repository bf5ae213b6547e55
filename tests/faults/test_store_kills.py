"""Stores that are killed, or whose disk is full, wherever they are: each file is loaded once, and then it goes."""

from __future__ import annotations

import signal

import pandas as pd
import pyarrow.parquet as pq
import pytest

from api2db.composing.rows import BATCH_ROWS
from tests.store_kit import ids_in, names_in, rows_in, run_elsewhere, write_file, write_files

COUNT = 12
MOVED = {"move_shards_path": "done", "move_composed_path": "composed"}
POINTS = (
    "composing.frozen", "spool.written", "spool.renamed", "spool.fanned_out", "journal.accepted", "composing.planned",
    "sink.ledger", "sink.committed", "journal.delivered", "spool.settled", "spool.acked",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    write_files(tmp_path / "in", COUNT, rows=5)
    return tmp_path


def check_moved(folder) -> None:
    names = [f"{number}.parquet" for number in range(COUNT)]
    assert ids_in(folder) == list(range(5 * COUNT))
    assert names_in(folder / "in") == []
    assert names_in(folder / "done") == sorted(names)
    assert names_in(folder / "composed") == [f"0_{COUNT - 1}.parquet"]
    assert pq.read_table(folder / "composed" / f"0_{COUNT - 1}.parquet")["id"].to_pylist() == list(range(5 * COUNT))
    assert names_in(folder / "STORE" / "state" / "stores") == ["weather.json"], "the manifest is done with"


@pytest.mark.parametrize("point", POINTS)
def test_a_store_killed_at_any_point_loads_each_file_once_and_then_moves_it(folder, point):
    status = run_elsewhere(folder, MOVED, f"{point}:1")
    assert status == -signal.SIGKILL, f"{point} was not reached"
    assert run_elsewhere(folder, MOVED) == 0
    check_moved(folder)


@pytest.mark.parametrize("point", ["composing.frozen", "spool.renamed", "spool.fanned_out"])
def test_a_store_that_replaces_killed_at_any_point_leaves_the_whole_of_its_files(folder, point):
    replace = {"if_exists": "replace"}
    assert run_elsewhere(folder, replace) == 0
    write_files(folder / "in", 4, rows=5, first=COUNT)
    # The second pass of a point of the spool is the end of the replacement.
    passes = 2 if point.startswith("spool") else 1
    assert run_elsewhere(folder, replace, f"{point}:{passes}") == -signal.SIGKILL
    assert run_elsewhere(folder, replace) == 0
    assert ids_in(folder) == list(range(5 * COUNT, 5 * (COUNT + 4)))
    assert names_in(folder / "in") == []


def test_killed_while_it_deletes_its_files_the_next_run_deletes_the_others(folder):
    assert run_elsewhere(folder, {}, "composing.removed:3") == -signal.SIGKILL
    assert len(names_in(folder / "in")) == COUNT - 3
    assert run_elsewhere(folder, {}) == 0
    assert ids_in(folder) == list(range(5 * COUNT))
    assert names_in(folder / "in") == []


@pytest.mark.parametrize("point", ["spool.renamed:1", "spool.renamed:2", "composing.planned:1"])
def test_killed_amidst_a_large_file_the_next_run_goes_on_with_its_next_row(tmp_path, point):
    write_file(tmp_path / "in" / "1.parquet", pd.DataFrame({"id": range(2 * BATCH_ROWS + 7)}))
    assert run_elsewhere(tmp_path, MOVED, point) == -signal.SIGKILL
    assert run_elsewhere(tmp_path, MOVED) == 0
    assert rows_in(tmp_path, "SELECT count(*), count(DISTINCT id) FROM weather") == [(2 * BATCH_ROWS + 7,) * 2]
    assert names_in(tmp_path / "done") == ["1.parquet"]


@pytest.mark.parametrize("first", range(1, 40, 6))
def test_a_full_disk_leaves_the_files_and_the_next_run_loads_each_once(folder, first):
    run_elsewhere(folder, MOVED, disk=f"ENOSPC@{first}:@{folder}")
    loaded = rows_in(folder, "SELECT count(*), count(DISTINCT id) FROM weather")
    assert not loaded or loaded[0][0] == loaded[0][1]
    assert run_elsewhere(folder, MOVED) == 0
    check_moved(folder)
