"""The journal is set aside only where it is damaged; what merely can't be opened now is written later."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from api2db.errors import StoreError
from api2db.journal.journal import Journal
from api2db.shard import Header


def batch(number):
    return Header(f"{number:032x}", "c", number, 1, None, ("sql",))


def lines(path):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT created_ns FROM batches ORDER BY created_ns").fetchall()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.sqlite"
    with closing(Journal(path)) as journal:
        journal.accepted(batch(1))
    return path


def test_a_journal_that_is_locked_when_it_is_opened_is_not_set_aside_and_gets_its_lines_later(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("INSERT INTO daemon VALUES ('whose', 'someone else')")
        journal = Journal(path)
        journal.accepted(batch(2))
        assert journal.waiting("c", "sql") == set()
        with pytest.raises(StoreError, match="locked"):
            journal.with_outcome("c", "sql", "purged")
    with closing(journal):
        journal.accepted(batch(3))
        assert journal.waiting("c", "sql") == {1, 2, 3}
    assert lines(path) == [(1,), (2,), (3,)]
    assert not list(path.parent.glob("*.broken-*"))


def test_a_journal_whose_file_can_not_be_opened_gets_its_lines_once_it_can(path):
    kept = path.rename(path.with_name("kept"))
    path.mkdir()
    with closing(Journal(path)) as journal:
        journal.accepted(batch(2))
        path.rmdir()
        kept.rename(path)
        journal.accepted(batch(3))
    assert lines(path) == [(1,), (2,), (3,)]
    assert not list(path.parent.glob("*.broken-*"))


def test_a_journal_that_has_one_line_for_all_rows_that_left_a_quarantine_is_taken_over(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP TABLE replays; CREATE TABLE replays (collector TEXT NOT NULL, stream TEXT NOT NULL,"
            " origin_batch TEXT NOT NULL, batch_id TEXT NOT NULL, rows INTEGER NOT NULL, at_ns INTEGER NOT NULL,"
            " PRIMARY KEY (collector, stream, origin_batch)) WITHOUT ROWID;"
            "INSERT INTO replays VALUES ('c', 'sql', 'first', 'second', 3, 1);"
            "INSERT INTO deliveries (collector, stream, created_ns, batch_id, outcome, quarantined)"
            " VALUES ('c', 'sql', 5, 'first', 'loaded', 2);"
        )
    for _ in range(2):
        with closing(Journal(path)) as journal:
            assert journal.given_up("c", "sql", "first", 2)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT batch_id, rows FROM replays").fetchall() == [("", 2), ("second", 3)]


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_journal_that_is_none_is_kept_aside_and_begun_anew(path, damage):
    path.write_bytes(damage)
    with closing(Journal(path)) as journal:
        journal.accepted(batch(2))
    assert lines(path) == [(2,)]
    (aside,) = path.parent.glob("*.broken-*")
    assert aside.read_bytes() == damage
