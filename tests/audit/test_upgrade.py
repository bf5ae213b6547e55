"""A STORE that the version before has written, as a kill left it: every row is in once, and the audit says so.

``store_of_layout_1.tar.gz`` was written by that version itself, with streams into ``numbers.db`` and into files:

    rows 1, 2, 300   in the database, which refuses 300; in a file
    row  3           the same, nothing refused
    rows 4, 5        parked for the database; in a file
    row  6           waiting for the database; in a file
    rows 7, 8        in the database and its ledger, no receipt in the journal, the shard still there; waiting for files
    row  9           accepted, not fanned out, no line in the journal
"""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from api2db.errors import StoreError
from api2db.runtime.status import read_status
from tests.audit.kit import NAME, SQL, Store
from tests.runtime.test_retention import sum_up

OLD = Path(__file__).parent / "store_of_layout_1.tar.gz"
LOCAL = "local.parquet"


@pytest.fixture
def folder(tmp_path):
    # Python before 3.11.4 knows no filters; 3.12 and later warn where none is chosen.
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path, **safely)
    state = tmp_path / "STORE" / "state" / f"{NAME}.json"
    state.write_text(state.read_text().replace("@FOLDER@", str(tmp_path)))
    return tmp_path


def in_database(folder):
    with closing(sqlite3.connect(folder / "numbers.db")) as db:
        return sorted(n for (n,) in db.execute("SELECT n FROM numbers"))


def in_files(store):
    paths = store.layout.shards(NAME, "parquet").glob("*.parquet")
    return sorted(n for path in paths for n in pq.read_table(path).column("n").to_pylist())


def test_every_row_of_an_older_store_is_in_once_and_the_audit_says_so(folder):
    store = Store(folder)
    assert (store.layout.root / "format").read_text() == "2\n"
    assert len(store.layout.id) == 32
    assert store.shards.cursor == '"9"'
    store.deliver()
    assert in_database(folder) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert in_files(store) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 300]
    database, files = store.stream(SQL), store.stream(LOCAL)
    assert (database.accepted, database.loaded, database.quarantined, database.holds) == (10, 9, 1, True)
    assert (files.accepted, files.loaded, files.holds) == (10, 10, True)
    sum_up(store)
    assert (store.stream().folded, store.stream().loaded, store.audit().holds) == (6, 9, True)
    store.close()


def test_an_older_store_can_be_audited_before_it_is_taken_over_and_nothing_changes(folder):
    store = Store(folder, opened=False)
    before = {path: path.stat().st_mtime_ns for path in store.layout.root.rglob("*") if path.is_file()}
    database, files = store.stream(SQL), store.stream(LOCAL)
    assert (database.accepted, database.loaded, database.quarantined) == (10, 5, 1)
    assert (database.parked, database.waiting, database.holds) == (2, 2, True)
    assert (files.loaded, files.waiting, files.holds) == (7, 3, True)
    assert [collector.collector for collector in read_status(store.layout).collectors] == [NAME]
    assert {path: path.stat().st_mtime_ns for path in store.layout.root.rglob("*") if path.is_file()} == before


def test_killed_while_it_is_taken_over_it_is_taken_over_again(folder):
    store = Store(folder)
    store.close()
    (store.layout.root / "format").write_text("1\n")
    name = store.layout.id
    store.open()
    assert ((store.layout.root / "format").read_text(), store.layout.id) == ("2\n", name)
    store.close()


def test_a_copy_of_store_without_its_hidden_files_keeps_its_name_and_one_without_any_name_is_refused(folder):
    store = Store(folder)
    name = store.layout.id
    store.close()
    (store.layout.root / ".id").unlink()
    assert store.layout.id == name
    store.open()
    store.close()
    assert (store.layout.root / ".id").read_text().strip() == name
    (store.layout.root / ".id").unlink()
    (store.layout.root / "state" / "store.id").unlink()
    with pytest.raises(StoreError, match=r"copy \.id, or state/store\.id"):
        store.open()


def test_a_store_of_a_newer_version_is_refused_by_everyone_and_left_alone(folder):
    (folder / "STORE" / "format").write_text("3\n")
    with pytest.raises(StoreError, match="newer api2db"):
        Store(folder)
    store = Store(folder, opened=False)
    with pytest.raises(StoreError, match="newer api2db"):
        store.audit()
    with pytest.raises(StoreError, match="newer api2db"):
        read_status(store.layout)
    assert not (folder / "STORE" / ".id").exists()
