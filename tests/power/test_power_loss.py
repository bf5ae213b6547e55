"""The power of the disk is cut: what the source was told is safe is in every place, once."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing

import pytest

from tests import warm
from tests.contract.places import DuckDBPlace
from tests.power.daemon import Powered
from tests.power.machine import Machine, why_not
from tests.project_kit import REPOSITORY

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"can't mount a file system here: {why_not()}")

COMMITS = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL").close()
db.execute("PRAGMA synchronous = FULL").close()
db.execute("CREATE TABLE IF NOT EXISTS numbers (n)")
while True:
    db.execute("INSERT INTO numbers SELECT coalesce(max(n), 0) + 1 FROM numbers")
    print(db.execute("SELECT max(n) FROM numbers").fetchone()[0], flush=True)
"""

# One row a batch, each a load of our sink, which opens the file and closes it.
LOADS = """
import sys
import pyarrow as pa
from sqlalchemy import URL
from api2db.batch import Batch
from api2db.sinks.sql import SqlSink

sink = SqlSink(stream="s", url=URL.create("duckdb", database=sys.argv[1]), table="numbers", key=sys.argv[2:])
n = sink.count() or 0
while True:
    n += 1
    sink.load([Batch(pa.table({"n": [n]}), f"{n:032x}", n)], None)
    print(n, flush=True)
"""


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path / "disk", 1)
    yield machine
    machine.close()


@pytest.fixture
def powered(tmp_path, postgres, database):
    made = []

    def make(**options):
        made.append(Powered(tmp_path, postgres, database, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_file_system_keeps_what_is_flushed_and_forgets_the_rest(machine):
    for name in ("flushed", "forgotten"):
        folder = machine.mount / name
        folder.mkdir()
        (folder / "x").write_bytes(b"x" * 10_000)
        os.link(folder / "x", folder / "y")
        assert (folder / "y").stat().st_nlink == 2
    for path in (machine.mount / "flushed" / "x", machine.mount / "flushed", machine.mount):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    cut = machine.cut()
    assert (machine.mount / "flushed" / "y").read_bytes() == b"x" * 10_000
    assert cut.changes_lost > 0
    assert not (machine.mount / "forgotten" / "x").exists() or not (machine.mount / "forgotten" / "y").exists()


def test_what_sqlite_has_committed_outlives_a_cut_at_any_of_its_flushes(machine):
    path, committed = machine.mount / "x.sqlite", 0
    for flush in (3, 9, 14):
        machine.cut_at(flush)
        done = warm.run([sys.executable, "-c", COMMITS, str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == -9, done.stderr
        committed = max(committed, *map(int, done.stdout.split() or ["0"]))
        machine.cut()
    with closing(sqlite3.connect(path)) as db:
        numbers = [n for (n,) in db.execute("SELECT n FROM numbers ORDER BY n")]
    assert committed >= 10
    assert numbers in (list(range(1, committed + 1)), list(range(1, committed + 2)))


def test_what_our_sink_has_loaded_into_duckdb_outlives_a_cut_at_any_of_its_flushes(machine):
    path, loaded = machine.mount / "x.duckdb", 0
    for flush in (8, 13):
        machine.cut_at(flush)
        done = warm.run(
            [sys.executable, "-c", LOADS, str(path)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == -9, done.stderr
        loaded = max(loaded, *map(int, done.stdout.split() or ["0"]))
        machine.cut()
    place = DuckDBPlace(path)
    numbers = [n for (n,) in place.query("SELECT n FROM numbers ORDER BY n")]
    assert loaded >= 2
    assert numbers in (list(range(1, loaded + 1)), list(range(1, loaded + 2)))
    assert place.query("SELECT count(*) FROM _api2db_ledger") == [(len(numbers),)]


def test_after_power_cuts_every_accepted_row_is_in_every_place_once(powered):
    machine = powered(seed=20260101)
    for how in ({"at_flush": 23}, {"at_flush": 90}, {"point": "local.published:4"}):
        machine.cut(**how)
        assert machine.half_boards() == []
    machine.deliver()
    assert machine.check() == []
    assert sum(cut.changes_lost + cut.files_changed for cut in machine.machine.cuts) > 0


@pytest.mark.parametrize(
    ("durability", "forgets"),
    [("process", ""), ("fsync", "queue/[a-z]+/accepted$")],
    ids=["durability=process", "the flush of accepted/ left out"],
)
def test_without_its_flushes_a_daemon_forgets_what_it_told_the_source(powered, durability, forgets):
    machine = powered(seed=4, durability=durability)  # the first cut keeps no name that wasn't flushed
    machine.machine.forget(forgets)
    for _ in range(8):
        machine.cut(point="journal.delivered:5")
        if machine.source.went_back:
            break
    assert machine.source.went_back
