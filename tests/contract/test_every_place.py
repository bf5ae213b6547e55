"""What holds for every place, database or file: rows arrive, whole and once, whatever they are and however many."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api2db.errors import FatalError, RetryableError, SinkError
from tests.contract.doors import MODES, DatabaseDoor, Door, FileDoor, OmnisciDoor, table
from tests.contract.places import DuckDBPlace, PlainPlace, SQLitePlace
from tests.contract.test_load import HOSTILE

ROOT = Path(__file__).parents[2]
NOBODY = 65534
TIMEOUT_S = 100.0
# An update's memory is that of its file: see docs/sinks/local.md.
LIMITS_MIB = {"sqlite": 64, "duckdb": 160, "postgresql": 64, "mariadb": 64, "shard": 160, "replace": 160, "update": 400}


def test_rows_of_several_batches_and_loads_arrive(any_door: Door) -> None:
    receipts = any_door.load(table({"id": [1, 2], "x": ["a", "b"]}), table({"id": [3], "x": ["c"]}))
    assert sum(receipt.rows for receipt in receipts) == 3
    assert any_door.rows("id", "x") == [(1, "a"), (2, "b"), (3, "c")]
    any_door.load(table({"id": [4], "x": ["d"]}))
    before = [] if any_door.replaces else [(1, "a"), (2, "b"), (3, "c")]
    assert any_door.rows("id", "x") == [*before, (4, "d")]


def test_a_place_that_was_closed_is_opened_again(any_door: Door) -> None:
    any_door.load(table({"id": [1]}))
    any_door.reopen()
    any_door.load(table({"id": [2]}))
    assert any_door.rows("id") == ([(2,)] if any_door.replaces else [(1,), (2,)])


def test_a_batch_without_rows_is_taken_and_shows_its_columns(any_door: Door) -> None:
    (receipt,) = any_door.load(table({"id": pa.array([], pa.int64()), "x": pa.array([], pa.string())}))
    assert (receipt.rows, receipt.quarantined) == (0, 0)
    assert any_door.rows("id", "x") == []
    any_door.load(table({"id": [1], "x": ["a"]}))
    assert any_door.rows("id", "x") == [(1, "a")]


def test_null_and_hostile_text_arrive_everywhere_as_they_are(any_door: Door) -> None:
    values = [value for value in [*HOSTILE, None] if not isinstance(any_door, OmnisciDoor) or fits_omnisci(value)]
    any_door.load(table({"id": range(len(values)), "x": values, "again": values}))
    assert any_door.rows("x", "again") == [(value, value) for value in values]


def fits_omnisci(value: str | None) -> bool:
    """An empty text is NULL there, and a long one goes to quarantine."""
    return value is None or 0 < len(value) < 32_768


def test_a_column_that_comes_later_is_null_in_the_rows_before(any_door: Door) -> None:
    any_door.load(table({"id": [1]}), table({"id": [2], "new": ["x"]}))
    assert any_door.rows("id", "new") == [(1, None), (2, "x")]
    any_door.load(table({"id": [3], "newer": [1.5]}))
    before = [] if any_door.replaces else [(1, None), (2, None)]
    assert any_door.rows("id", "newer") == [*before, (3, 1.5)]


# Loads a million rows of four columns and prints how many MiB its memory grew while it did.
CHILD = """
import json, re, sys
from pathlib import Path
import pyarrow as pa
from sqlalchemy import make_url
from tests.contract.doors import DatabaseDoor, FileDoor
from tests.contract.places import DuckDBPlace, MariaDBPlace, PostgresPlace, SQLitePlace

kind, where = sys.argv[1:]
if kind in ("sqlite", "duckdb"):
    door = DatabaseDoor({"sqlite": SQLitePlace, "duckdb": DuckDBPlace}[kind](Path(where)))
elif kind in ("postgresql", "mariadb"):
    door = DatabaseDoor({"postgresql": PostgresPlace, "mariadb": MariaDBPlace}[kind](make_url(where)))
else:
    door = FileDoor(Path(where), kind)
ids = pa.array(range(1, 1_000_001))
names = pa.array(["name"] * 1_000_000)
rows = pa.table({"id": ids, "x": ids.cast(pa.float64()), "name": names, "again": names})
del ids, names

def peak_mib():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

before = peak_mib()
(receipt,) = door.load(rows)
print(json.dumps([receipt.rows, peak_mib() - before]))
"""


def _count(door: Door) -> int:
    """Without reading all rows where that can be done."""
    if isinstance(door, FileDoor):
        target = door.queue.target
        files = list(target.glob("*.parquet")) if target.is_dir() else [target]
        return sum(pq.read_metadata(path).num_rows for path in files)
    assert isinstance(door, DatabaseDoor)
    ((count,),) = door.place.query("SELECT count(*) FROM t")
    return int(count)


def test_a_million_rows_are_one_transaction_in_little_memory(door: Door, request: pytest.FixtureRequest) -> None:
    door.load(table({"id": [0], "x": [0.0], "name": [""], "again": [""]}))
    kind = request.node.callspec.params["door"]
    if isinstance(door, FileDoor):
        where = str(door.queue.folder)
    else:
        assert isinstance(door, DatabaseDoor)
        where = door.place.url.render_as_string(hide_password=False)
        where = str(door.place.path) if isinstance(door.place, (SQLitePlace, DuckDBPlace)) else where
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, kind, where],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    seen: set[int] = set()
    while child.poll() is None:
        seen.add(_count(door))
    answer, _ = child.communicate(timeout=TIMEOUT_S)
    rows, grown_mib = json.loads(answer)
    assert rows == 1_000_000
    total = 1_000_000 if door.replaces else 1_000_001
    assert _count(door) == total
    assert seen <= {1, total}
    if isinstance(door, DatabaseDoor):
        added = 500_000 * 1_000_001
        assert door.place.query("SELECT sum(id), sum(x), count(name) FROM t") == [(added, added, total)]
    assert grown_mib < LIMITS_MIB[kind]


@contextmanager
def as_nobody() -> Iterator[None]:
    """As somebody who may not write what isn't theirs; who isn't root is that already."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter, which pytest's own isn't."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "generic"])
def test_a_database_file_that_may_not_be_written_stops_the_stream_and_says_so(open_folder: Path, kind: str) -> None:
    path = open_folder / "db"
    door = DatabaseDoor({"sqlite": SQLitePlace, "duckdb": DuckDBPlace, "generic": PlainPlace}[kind](path))
    # Of a database it doesn't know the generic loader can't tell that this takes a person.
    error: type[SinkError] = FatalError
    says = "make the file and its folder writable"
    if kind == "generic":
        error, says = RetryableError, "readonly database"
    door.load(table({"id": [1]}))
    door.reopen()
    path.chmod(0o444)
    with as_nobody(), pytest.raises(error, match=says):
        door.load(table({"id": [2]}))
    door.reopen()
    path.chmod(0o644)
    door.load(table({"id": [2]}))
    assert door.rows("id") == [(1,), (2,)]
    door.reopen()


@pytest.mark.parametrize("mode", MODES)
def test_a_folder_that_may_not_be_written_stops_the_stream_and_its_rows_wait(open_folder: Path, mode: str) -> None:
    door = FileDoor(open_folder, mode)
    door.load(table({"id": [1]}))
    target, staging = door.queue.target, door.queue.staging
    folder = target if mode == "shard" else target.parent
    staging.chmod(0o777)
    folder.chmod(0o555)
    with as_nobody(), pytest.raises(FatalError, match=r"can't write.*Permission denied"):
        door.load(table({"id": [2]}))
    folder.chmod(0o755)
    assert door.rows("id") == [(1,)]
    # In shard mode the finished file waits; in the others its shard does.
    assert len([*staging.glob("*.parquet"), *staging.glob("*.ready")]) == 1
