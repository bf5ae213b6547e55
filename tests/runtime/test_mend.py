"""What is in quarantine is tried again: each row once, whatever is killed; what fails again stays, with its reason."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api2db.layout import Layout
from api2db.quarantine import keep_payload, keep_rows
from tests import warm
from tests.log_kit import Bench, rows, shards_in
from tests.project_kit import REPOSITORY

PLAIN = """
    from api2db import collector

    @collector(every=3600{more})
    def numbers():
        return []
"""
IDS = "SELECT id FROM numbers ORDER BY id"
OUTCOMES = "SELECT outcome, rows, quarantined FROM deliveries ORDER BY created_ns"
STRICT = "CREATE TABLE numbers (id INTEGER, value INTEGER CHECK (value < 100), collected_at TEXT)"
LOOSE = "CREATE TABLE numbers (id INTEGER, value INTEGER, collected_at TEXT)"


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path, numbers=PLAIN.format(more=""))
    yield bench
    bench.close()


def refused(bench):
    """One batch of three rows, of which the table takes one."""
    make_table(bench, STRICT)
    bench.collect("numbers", rows(1) + rows(2, 3, value=100))
    assert bench.sqlite(IDS) == [(1,)]
    assert bench.journal(OUTCOMES) == [("loaded", 1, 2)]
    (path,) = shards_in(bench.store / "quarantine" / "numbers" / "sql.sqlite")
    return path


def make_table(bench, ddl):
    bench.store.mkdir(exist_ok=True)
    with closing(sqlite3.connect(bench.store / "database.sqlite")) as db, db:
        if bench.sqlite(IDS):
            db.execute("ALTER TABLE numbers RENAME TO old")
        db.execute(ddl)
        if ddl == LOOSE:
            db.execute("INSERT INTO numbers SELECT * FROM old")
            db.execute("DROP TABLE old")


def test_refused_rows_go_to_the_place_again_once_the_table_takes_them(bench):
    path = refused(bench)
    make_table(bench, LOOSE)
    told = bench.command("replay", "numbers", "--from", "quarantine", "--dry-run")["lines"]
    assert told == ["would replay numbers/sql.sqlite: 2 rows of 1 file"]
    assert path.exists()
    assert bench.command("replay", "numbers", "--from", "quarantine")["rows"] == 2
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    assert not path.exists()
    # Each row counts once: 1 of the first batch, its other 2 in the second.
    assert bench.journal(OUTCOMES) == [("loaded", 1, 0), ("loaded", 2, 0)]
    assert bench.journal("SELECT origin_batch, rows FROM replays") == [(path.stem, 2)]
    assert bench.journal("SELECT rows, quarantined FROM streams") == [(3, 0)]


def test_however_many_files_are_tried_again_a_stream_has_one_line(bench):
    refused(bench)
    bench.collect("numbers", rows(4, value=200), rows(5, 6, value=300))
    assert bench.command("replay", "--from", "quarantine", "--dry-run")["lines"] == [
        "would replay numbers/sql.sqlite: 5 rows of 3 files"
    ]
    make_table(bench, LOOSE)
    told = bench.command("replay", "--from", "quarantine")
    assert (told["lines"], told["rows"]) == (["replays numbers/sql.sqlite: 5 rows of 3 files"], 5)
    assert bench.sqlite(IDS) == [(number,) for number in range(1, 7)]


def test_rows_refused_again_are_in_quarantine_again_and_count_once(bench):
    path = refused(bench)
    bench.command("replay", "numbers", "--from", "quarantine")
    (again,) = shards_in(path.parent)
    assert again.name != path.name
    assert pq.read_table(again).column("id").to_pylist() == [2, 3]
    assert bench.journal(OUTCOMES) == [("loaded", 1, 0), ("quarantined", 0, 2)]
    assert bench.journal("SELECT quarantined FROM streams") == [(2,)]


def test_a_file_whose_rows_were_replayed_once_is_not_loaded_again(bench):
    path = refused(bench)
    kept = path.read_bytes()
    make_table(bench, LOOSE)
    bench.command("replay", "numbers", "--from", "quarantine")
    path.write_bytes(kept)  # as a database restored from a backup refuses them again
    bench.command("replay", "numbers", "--from", "quarantine")
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    assert not path.exists()


def killed_at(bench, point, *words):
    words = words or ("replay", "numbers", "--from", "quarantine")
    done = warm.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(bench.folder), *words],
        env={"PYTHONPATH": str(REPOSITORY), "API2DB_FAILPOINT": point, "PATH": "/usr/bin"},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", ["spool.renamed", "spool.origin"])
def test_killed_in_the_midst_of_a_replay_every_refused_row_is_in_once(bench, point):
    path = refused(bench)
    make_table(bench, LOOSE)
    killed_at(bench, point)
    bench.collect("numbers")
    bench.command("replay", "numbers", "--from", "quarantine")
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    assert not path.exists()
    assert bench.journal(OUTCOMES) == [("loaded", 1, 0), ("loaded", 2, 0)]


def test_rows_refused_by_a_load_that_has_not_committed_are_not_replayed_beside_it(bench):
    make_table(bench, STRICT)
    bench.collect("numbers", rows(1) + rows(2, 3, value=100), deliver=False)
    killed_at(bench, "quarantine.written", "shards", "retry", "numbers")
    said = bench.command("replay", "numbers", "--from", "quarantine", status=1)
    assert "isn't delivered yet" in said["lines"][0]
    bench.collect("numbers")
    assert bench.journal(OUTCOMES) == [("loaded", 1, 2)]


def hold(bench, *held):
    """Rows that were held; the form that makes rows of them, text cut off, is written by the test."""
    with bench.open("numbers") as (_, kept):
        return keep_rows(Layout(bench.store), "numbers", [(row, "odd") for row in held], usage=kept.spool.usage)


SHAPED = """
    from api2db import collector

    @collector(every=3600, shape={"id": "id", "value": "value"})
    def numbers():
        return []
"""


def test_held_rows_go_through_the_form_as_it_is_now(bench):
    bench.collect("numbers", rows(1))
    path = hold(bench, {"id": 2, "value": 5}, {"id": 3, "value": 6})
    bench.write("numbers", SHAPED)
    bench.command("replay", "numbers/held", "--from", "quarantine")
    assert bench.sqlite("SELECT id, value FROM numbers ORDER BY id") == [(1, 0), (2, 5), (3, 6)]
    assert not path.exists()


@pytest.mark.parametrize("point", [None, "spool.origin"])
def test_of_held_rows_those_that_still_do_not_fit_stay_with_their_reason(bench, point):
    with bench.open("numbers") as (part, _):
        part.shards.accept(pa.table({"id": [1], "value": [0]}), None, types={"id": "int", "value": "int"})
    path = hold(bench, {"id": 2, "value": 5}, {"id": 3, "value": "x"})
    if point is not None:
        killed_at(bench, point)
        bench.collect("numbers")
    bench.command("replay", "numbers", "--from", "quarantine", status=1)
    (left,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert left["row"] == {"id": 3, "value": "x"}
    assert 'column "value"' in left["reason"]
    assert bench.sqlite(IDS) == [(1,), (2,)]


def test_a_payload_is_shaped_by_the_mended_form_and_one_that_still_fails_stays(bench):
    bench.collect("numbers", rows(1))
    layout = Layout(bench.store)
    good = keep_payload(layout, "numbers", 1, [{"id": 2, "value": 1}], "no such column")
    bad = keep_payload(layout, "numbers", 2, "rubbish", "not data")
    said = bench.command("replay", "numbers/source", "--from", "quarantine", status=1)
    assert "stays: the source returned str" in "\n".join(said["lines"])
    assert bench.sqlite(IDS) == [(1,), (2,)]
    assert not good.exists()
    assert "the source returned str" in json.loads(bad.read_text())["reason"]


def test_refused_rows_of_a_replacement_are_not_made_the_whole_table(tmp_path):
    more = """, to=[Stream2Sql("numbers", db_name="STORE/database.sqlite", dialect="sqlite", if_exists="replace")]"""
    bench = Bench(tmp_path)
    bench.write("numbers", "    from api2db.stream import Stream2Sql\n" + PLAIN.format(more=more))
    path = refused(bench)
    said = bench.command("replay", "numbers", "--from", "quarantine", status=1)
    assert "poll again instead" in "\n".join(said["lines"])
    assert path.exists()
    assert bench.sqlite(IDS) == [(1,)]


def test_damaged_shards_stay(bench):
    bench.collect("numbers", rows(1), deliver=False)
    (shard,) = shards_in(bench.store / "queue" / "numbers" / "sql.sqlite")
    shard.write_bytes(shard.read_bytes()[:-20])
    bench.collect("numbers")
    said = bench.command("replay", "numbers", "--from", "quarantine")
    assert "1 damaged or held shards stay" in said["lines"][0]
    assert len(shards_in(bench.store / "quarantine" / "numbers" / "sql.sqlite")) == 1
