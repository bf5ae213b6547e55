"""A database is restored after refused rows were mended and replayed: each row is in it once, as it was mended."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import sys
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import warm
from tests.log_kit import Bench, rows, shards_in
from tests.project_kit import REPOSITORY

NUMBERS = """
    from api2db import collector

    @collector(every=3600{more})
    def numbers():
        return []
"""
ALL = "SELECT id, value FROM numbers ORDER BY id, value"
OUTCOMES = "SELECT outcome, rows, quarantined FROM deliveries ORDER BY created_ns"


@pytest.fixture
def bench(tmp_path):
    """One batch is in; the table takes no value of 100 and more; a backup of then is made, without that rule."""
    bench = Bench(tmp_path, numbers=NUMBERS.format(more=""))
    bench.collect("numbers", rows(1))
    shutil.copy(bench.store / "database.sqlite", tmp_path / "backup")
    table(bench, "CHECK (value < 100)")
    yield bench
    bench.close()


def table(bench, rule):
    """The same rows in a table with another rule for ``value``."""
    with closing(sqlite3.connect(bench.store / "database.sqlite")) as db, db:
        db.execute("ALTER TABLE numbers RENAME TO old")
        db.execute(f"CREATE TABLE numbers (id INTEGER, value INTEGER {rule}, collected_at TEXT)")
        db.execute("INSERT INTO numbers (id, value) SELECT id, value FROM old")
        db.execute("DROP TABLE old")


def restore(bench, rule=""):
    for suffix in ("-wal", "-shm"):
        (bench.store / f"database.sqlite{suffix}").unlink(missing_ok=True)
    shutil.copy(bench.folder / "backup", bench.store / "database.sqlite")
    table(bench, rule)


def refused(bench):
    """The file of refused rows; there is one."""
    (path,) = shards_in(bench.store / "quarantine" / "numbers" / "sql.sqlite")
    return path


def mend(bench, value=None):
    """The table takes what it refused, or the file's rows get another value; they are replayed."""
    if value is None:
        table(bench, "")
    else:
        path = refused(bench)
        there = pq.read_table(path)
        at = there.column_names.index("value")
        pq.write_table(there.set_column(at, "value", pa.array([value] * there.num_rows, pa.int64())), path)
    bench.command("replay", "--from", "quarantine")


def agreed(bench):
    return bench.command("audit")["holds"] is True


def findings(bench):
    ((one,),) = [collector["streams"] for collector in bench.command("audit", status=1)["collectors"]]
    return one["findings"]


@pytest.mark.parametrize("value", [None, 7])
def test_rows_mended_and_replayed_come_back_to_a_restored_database_once_as_they_were_mended(bench, value):
    bench.collect("numbers", rows(2) + rows(3, value=500) + rows(4))
    mend(bench, value)
    before = bench.sqlite(ALL)
    assert before == [(1, 0), (2, 0), (3, value or 500), (4, 0)]
    for _ in range(2):  # whatever it refused then, and takes now
        restore(bench)
        said = bench.command("replay")["lines"]
        assert "delivers 2 batches, 3 rows" in said[0]
        assert bench.sqlite(ALL) == before
        assert agreed(bench)
    assert "delivers 0 batches" in bench.command("replay")["lines"][0]
    assert bench.journal("SELECT sum(rows), sum(batches) FROM streams") == [(4, 3)]


def test_rows_in_quarantine_stay_there_when_their_batch_comes_again_and_others_join_them(bench):
    bench.collect("numbers", rows(2) + rows(3, value=500) + rows(4, value=50))
    restore(bench, "CHECK (value <> 50)")
    bench.command("replay")
    assert bench.sqlite(ALL) == [(1, 0), (2, 0)]
    kept = pq.read_table(refused(bench)).to_pydict()
    assert (kept["id"], kept["_quarantine_row"]) == ([3, 4], [1, 2])
    assert bench.journal(OUTCOMES) == [("loaded", 1, 0), ("loaded", 1, 2)]
    assert agreed(bench)
    mend(bench)
    assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 500), (4, 50)]
    restore(bench)
    bench.command("replay")
    assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 500), (4, 50)]
    assert agreed(bench)


def test_rows_refused_after_others_of_their_batch_were_mended_are_one_more_batch(bench):
    bench.collect("numbers", rows(2) + rows(3, value=500) + rows(4, value=50))
    mend(bench, value=7)
    restore(bench, "CHECK (value <> 50)")
    bench.command("replay")
    assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 7)]
    mend(bench)
    for _ in range(2):
        assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 7), (4, 50)]
        assert agreed(bench)
        restore(bench)
        bench.command("replay")


def test_rows_taken_out_of_the_file_before_it_is_replayed_are_missed_until_they_are_given_up(bench):
    bench.collect("numbers", rows(2) + rows(3, 4, 5, value=500))
    path = refused(bench)
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    assert [one["kind"] for one in findings(bench)] == ["quarantine_differs"]
    mend(bench, value=7)
    assert [one["kind"] for one in findings(bench)] == ["quarantine_missing"]
    assert bench.journal(OUTCOMES) == [("loaded", 1, 0), ("loaded", 1, 2), ("loaded", 1, 0)]
    assert bench.command("shards", "purge", "numbers", "--in", "quarantine", "--yes")["rows"] == 2
    assert bench.journal("SELECT batch_id = '', rows FROM replays ORDER BY 1") == [(0, 1), (1, 2)]
    assert agreed(bench)


def test_killed_while_they_are_lent_every_row_is_in_once(bench):
    bench.collect("numbers", rows(2) + rows(3, value=500) + rows(4))
    mend(bench)
    restore(bench)
    for passes in (1, 2):
        done = warm.run(
            [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(bench.folder), "replay"],
            env={"PYTHONPATH": str(REPOSITORY), "API2DB_FAILPOINT": f"replay.linked:{passes}", "PATH": "/usr/bin"},
            capture_output=True,
        )
        if passes == 1:
            assert done.returncode == -signal.SIGKILL, done.stderr
        bench.collect("numbers")  # a start delivers what waits
    bench.command("replay")
    assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 500), (4, 0)]
    assert agreed(bench)


def test_where_the_mended_batch_is_kept_no_longer_the_one_they_came_with_brings_them(bench):
    bench.collect("numbers", rows(2) + rows(3, value=500) + rows(4))
    mend(bench, value=7)
    shards_in(bench.store / "log" / "numbers")[-1].unlink()
    restore(bench)
    assert "delivers 1 batches, 3 rows" in bench.command("replay")["lines"][0]
    assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 500), (4, 0)]
    assert bench.journal(OUTCOMES) == [("loaded", 1, 0), ("loaded", 3, 0), ("superseded", None, None)]
    assert agreed(bench)


def test_with_a_journal_begun_anew_they_come_back_once_too(bench):
    bench.collect("numbers", rows(2) + rows(3, value=500) + rows(4))
    mend(bench, value=7)
    for path in bench.store.glob("journal.sqlite*"):
        path.unlink()
    restore(bench)
    bench.command("replay")
    assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 7), (4, 0)]
    # What the log doesn't have the new journal can't know, and says so.
    audited = bench.command("audit", status=2)
    assert audited["holds"] is None
    assert [stream["holds"] for stream in audited["collectors"][0]["streams"]] == [True]


def test_a_merge_in_which_the_later_batch_wins_keeps_what_was_mended(tmp_path):
    bench = Bench(tmp_path, numbers=NUMBERS.format(more=", key='id'"))
    bench.collect("numbers", rows(1))
    with closing(sqlite3.connect(bench.store / "database.sqlite")) as db, db:
        db.execute("DROP TABLE numbers")
        db.execute(
            "CREATE TABLE numbers (id INTEGER PRIMARY KEY, value INTEGER CHECK (value < 100), collected_at TEXT)"
        )
        shutil.copy(bench.store / "database.sqlite", tmp_path / "backup")
    bench.collect("numbers", rows(1, value=1), rows(1, value=500) + rows(2))
    mend(bench, value=7)
    assert bench.sqlite(ALL) == [(1, 7), (2, 0)]
    ((oldest,),) = bench.journal("SELECT batch_id FROM deliveries ORDER BY created_ns LIMIT 1 OFFSET 1")
    with closing(sqlite3.connect(bench.store / "database.sqlite")) as db, db:
        db.execute("DELETE FROM _api2db_ledger WHERE batch_id = ?", (oldest,))
    assert bench.command("replay")["numbers/sql.sqlite"] == {"batches": 1, "rows": 1, "merged_again": 2}
    assert bench.sqlite(ALL) == [(1, 7), (2, 0)]
    assert agreed(bench)
    bench.close()


def test_where_nobody_can_tell_which_rows_were_refused_none_is_loaded_twice(bench):
    bench.collect("numbers", rows(2) + rows(3, value=500) + rows(4))
    path = refused(bench)
    pq.write_table(pq.read_table(path).drop_columns(["_quarantine_row"]), path)  # as of a stream(data) of one's own
    restore(bench)
    said = bench.command("replay")["lines"]
    assert f"batch {path.stem} is left out" in said[0]
    assert "delivers 0 batches" in said[1]
    bench.command("replay", "--from", "quarantine")
    assert bench.sqlite(ALL) == [(1, 0), (3, 500)]
    said = bench.command("replay")["lines"]
    assert f"batch {path.stem} is left out: refused rows of it were replayed as batch" in said[0]
    restore(bench)
    assert "delivers 1 batches, 3 rows" in bench.command("replay")["lines"][0]
    assert bench.sqlite(ALL) == [(1, 0), (2, 0), (3, 500), (4, 0)]
    assert "delivers 0 batches" in bench.command("replay")["lines"][0]
    assert agreed(bench)
