"""What a place has lost comes back from the log: each batch once, in order, with a daemon and without."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import sys
from contextlib import closing

import pyarrow.parquet as pq
import pytest

from tests import warm
from tests.log_kit import Bench, accept, rows, shards_in
from tests.project_kit import REPOSITORY, eventually

PLAIN = """
    from api2db import collector

    @collector(every=3600, to=[{to}]{more})
    def numbers():
        return []
"""


@pytest.fixture
def make(tmp_path):
    made = []

    def make(to="'database'", more="", toml=""):
        made.append(Bench(tmp_path, numbers=PLAIN.format(to=to, more=more), toml=toml))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def backup_and_restore(bench, *later, file="database.sqlite"):
    """A backup is made now, the later batches arrive, and the backup is put in the database's place."""
    shutil.copy(bench.store / file, bench.folder / "backup")
    bench.collect("numbers", *later)
    for suffix in ("-wal", "-shm"):
        (bench.store / f"{file}{suffix}").unlink(missing_ok=True)
    shutil.copy(bench.folder / "backup", bench.store / file)


IDS = "SELECT id FROM numbers ORDER BY id"
OPEN = "SELECT count(*) FROM deliveries WHERE outcome = 'waiting'"
SUMS = "SELECT sum(rows), sum(quarantined) FROM deliveries"


def test_a_database_restored_from_a_backup_is_whole_after_one_command(make):
    bench = make()
    bench.collect("numbers", rows(1, 2), rows(3))
    backup_and_restore(bench, rows(4), rows(5, 6))
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    would = bench.command("replay", "numbers", "--dry-run")
    assert would["numbers/sql.sqlite"] == {"batches": 2, "rows": 3, "merged_again": 0}
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    bench.command("replay", "numbers")
    assert bench.sqlite(IDS) == [(n,) for n in range(1, 7)]
    assert bench.command("replay", "numbers")["numbers/sql.sqlite"]["batches"] == 0
    assert bench.journal(SUMS) == [(6, 0)]
    assert bench.journal("SELECT batches, rows FROM streams") == [(4, 6)]
    assert bench.waiting() == []


def test_only_what_was_accepted_in_a_span_is_replayed_or_one_batch(make):
    bench = make()
    bench.collect("numbers", rows(1))
    backup_and_restore(bench, rows(2), rows(3), rows(4))
    ids = [one for (one,) in bench.journal("SELECT batch_id FROM batches ORDER BY created_ns")]
    bench.command("replay", "numbers/sql.sqlite", "--batch", ids[2])
    assert bench.sqlite(IDS) == [(1,), (3,)]
    bench.command("replay", "numbers", "--until", "1h")
    bench.command("replay", "numbers", "--since", "2200-01-01")
    assert bench.sqlite(IDS) == [(1,), (3,)]
    bench.command("replay", "numbers", "--since", "1h")
    assert bench.sqlite(IDS) == [(n,) for n in range(1, 5)]


def test_a_merge_in_which_the_later_batch_wins_still_does_after_a_replay(make):
    bench = make(more=", key='id'")
    bench.collect("numbers", rows(1, 2, value=1))
    backup_and_restore(bench, rows(1, value=2), rows(2, value=2))
    bench.collect("numbers", rows(1, value=3))  # after the backup was restored, before the replay
    said = bench.command("replay", "numbers")
    assert said["numbers/sql.sqlite"] == {"batches": 2, "rows": 2, "merged_again": 1}
    assert bench.sqlite("SELECT id, value FROM numbers ORDER BY id") == [(1, 3), (2, 2)]


def test_a_merge_by_version_needs_no_batch_twice(make):
    bench = make(more=", key='id', version='value'")
    bench.collect("numbers", rows(1, 2, value=1))
    backup_and_restore(bench, rows(1, value=2), rows(2, value=2))
    bench.collect("numbers", rows(1, value=3))
    assert bench.command("replay", "numbers")["numbers/sql.sqlite"] == {"batches": 2, "rows": 2, "merged_again": 0}
    assert bench.sqlite("SELECT id, value FROM numbers ORDER BY id") == [(1, 3), (2, 2)]


REPLACED = """
    from api2db import collector
    from api2db.stream import Stream2Sql

    @collector(every=3600, to=[Stream2Sql("numbers", db_name="STORE/database.sqlite", dialect="sqlite",
                                          if_exists="replace")])
    def numbers():
        return []
"""


def test_of_replacements_only_the_newest_comes_back(tmp_path):
    bench = Bench(tmp_path, numbers=REPLACED)
    bench.collect("numbers", rows(1))
    bench.collect("numbers", rows(2), rows(3))  # the first of them is superseded
    assert bench.sqlite(IDS) == [(3,)]
    assert bench.command("replay", "numbers")["numbers/sql.sqlite"]["batches"] == 0
    backup_and_restore(bench, rows(4), rows(5, 6))
    assert bench.sqlite(IDS) == [(3,)]
    bench.command("replay", "numbers")
    assert bench.sqlite(IDS) == [(5,), (6,)]


def test_of_files_only_those_that_are_gone_are_published_again(make):
    bench = make(to="'files'")
    bench.collect("numbers", rows(1), rows(2), rows(3))
    first, second, third = sorted((bench.store / "numbers" / "parquet").iterdir())
    before = first.stat().st_mtime_ns
    second.unlink()
    assert bench.command("replay", "numbers")["numbers/local.parquet"]["batches"] == 1
    assert sorted(bench.files("numbers", "id")) == [1, 2, 3]
    assert first.stat().st_mtime_ns == before
    assert second.exists()
    assert third.exists()


def test_a_second_database_is_filled_and_doubles_nothing_when_it_is_added_later(make):
    bench = make(toml='[places.copy]\ndialect = "sqlite"\ndb_name = "STORE/copy.sqlite"\n')
    bench.collect("numbers", rows(1, 2), rows(3))
    said = bench.command("replay", "numbers", "--to", "copy")["lines"]
    assert "run the same command again" in said[-1]
    assert bench.sqlite(IDS, "copy.sqlite") == [(1,), (2,), (3,)]
    bench.command("replay", "numbers", "--to", "copy")
    bench.write("numbers", PLAIN.format(to="'database', 'copy'", more=""))
    bench.collect("numbers", rows(4))
    bench.command("replay", "numbers")
    assert bench.sqlite(IDS, "copy.sqlite") == bench.sqlite(IDS) == [(n,) for n in range(1, 5)]


def test_a_running_daemon_does_it_itself(make):
    bench = make(toml='[places.copy]\ndialect = "sqlite"\ndb_name = "STORE/copy.sqlite"\n')
    bench.collect("numbers", rows(1), rows(2), rows(3))
    process = bench.start()
    bench.ready(process)
    with closing(sqlite3.connect(bench.store / "database.sqlite", timeout=30)) as db, db:
        for table, column in (("numbers", "id"), ("_api2db_ledger", "rows")):
            db.execute(f"DELETE FROM {table} WHERE {column} >= 0")
    bench.command("replay", "numbers")
    bench.command("replay", "numbers", "--to", "copy")
    expected = [(1,), (2,), (3,)]
    eventually(lambda: bench.sqlite(IDS) == expected and bench.sqlite(IDS, "copy.sqlite") == expected)
    assert "no stream 'sql.sqlit'" in bench.command("replay", "numbers/sql.sqlit", status=1)["text"]
    assert list((bench.store / "requests").iterdir()) == []
    assert bench.stop(process) == 0
    assert bench.sqlite(IDS) == expected


def test_killed_in_the_midst_of_a_replay_the_next_one_completes_it_in_order(make):
    bench = make(more=", key='id'")
    bench.collect("numbers", rows(1, value=1))
    backup_and_restore(bench, rows(1, value=2), rows(1, value=3), rows(1, 2, value=4))
    command = "from api2db.cli.main import main; main()"
    for passes in (1, 2):
        done = warm.run(
            [sys.executable, "-c", command, "-C", str(bench.folder), "replay", "numbers"],
            env={"PYTHONPATH": str(REPOSITORY), "API2DB_FAILPOINT": f"replay.linked:{passes}", "PATH": "/usr/bin"},
        )
        assert done.returncode == -signal.SIGKILL
        bench.collect("numbers")  # a start delivers what waits
        assert bench.sqlite("SELECT id, value FROM numbers ORDER BY id") == [(1, 4), (2, 4)]
    bench.command("replay", "numbers")
    assert bench.command("replay", "numbers")["numbers/sql.sqlite"]["batches"] == 0
    assert bench.sqlite("SELECT id, value FROM numbers ORDER BY id") == [(1, 4), (2, 4)]
    assert bench.journal(OPEN) == [(0,)]


def test_what_a_replay_to_a_place_left_waiting_is_delivered_by_the_same_command_once(make):
    bench = make(toml='[places.copy]\ntype = "local"\npath = "copy"\n')
    bench.collect("numbers", rows(1), rows(2), rows(3))
    command = "from api2db.cli.main import main; main()"
    done = warm.run(
        [sys.executable, "-c", command, "-C", str(bench.folder), "replay", "numbers", "--to", "copy"],
        env={"PYTHONPATH": str(REPOSITORY), "API2DB_FAILPOINT": "replay.linked:3", "PATH": "/usr/bin"},
    )
    assert done.returncode == -signal.SIGKILL
    bench.collect("numbers")  # a start: this place isn't its collector's
    assert len(bench.waiting()) == 3
    said = bench.command("replay", "numbers", "--to", "copy")["lines"]
    assert "3 shards waited since an earlier time" in "".join(said)
    assert bench.waiting() == []
    published = sorted((bench.folder / "copy").iterdir())
    assert len(published) == 3
    for path in published:
        path.unlink()  # taken away by its reader
    bench.command("replay", "numbers", "--to", "copy", "--dry-run")
    assert bench.journal("SELECT stream, count(*) FROM deliveries WHERE outcome = 'loaded' GROUP BY stream") == [
        ("local.parquet", 3),
        ("sql.sqlite", 3),
    ]


def test_each_collectors_counts_are_told_of_two_with_streams_of_one_name(make):
    bench = make()
    bench.write("others", PLAIN.format(to="'database'", more="").replace("numbers", "others"))
    bench.collect("numbers", rows(1))
    bench.collect("others", rows(1, 2))
    (bench.store / "database.sqlite").unlink()
    said = bench.command("replay")
    assert [said[f"{name}/sql.sqlite"]["rows"] for name in ("numbers", "others")] == [1, 2]


def test_a_collector_that_does_not_run_is_named(make):
    bench = make()
    bench.collect("numbers", rows(1))
    assert "there is no collector 'numbrs' that runs" in bench.command("replay", "numbrs", status=1)["text"]


def test_what_waits_is_not_replayed_beside(make):
    bench = make()
    bench.collect("numbers", rows(1), deliver=False)
    assert bench.command("replay", "numbers")["numbers/sql.sqlite"]["batches"] == 0
    with bench.open("numbers") as (part, kept):
        assert part.deliveries[0].backlog == (1, 0)
        accept(
            part,
            kept,
            part.shards.queue("sql.sqlite").read(part.shards.queue("sql.sqlite").waiting()[0], parked=False).table,
        )


@pytest.mark.parametrize("key", ["", ", key='id'"])
def test_what_a_server_lost_comes_back_to_it(make, request, key):
    place, name = request.getfixturevalue("postgres"), request.getfixturevalue("database")
    bench = make(to="'warehouse'", more=key, toml=f'[places.warehouse]\nurl = "{place.url(name)}"\n')
    bench.collect("numbers", rows(1), rows(1, 2, value=2), rows(2, value=3))
    ids = [one for (one,) in bench.journal("SELECT batch_id FROM batches ORDER BY created_ns")]
    with place.connect(name) as db:
        before = db.execute("SELECT id, value FROM numbers ORDER BY id, value").fetchall()
        db.execute("DELETE FROM numbers WHERE value = 2")
        db.execute("DELETE FROM _api2db_ledger WHERE batch_id = %s", [ids[1]])
    said = bench.command("replay", "numbers")["numbers/sql.postgresql"]
    assert said == {"batches": 1, "rows": 2, "merged_again": int(bool(key))}
    with place.connect(name) as db:
        assert db.execute("SELECT id, value FROM numbers ORDER BY id, value").fetchall() == before


CHANGED = """
    from api2db import collector
    from api2db.stream import Stream2Local, Stream2Sql

    @collector(every=3600, to=[
        Stream2Sql("numbers", db_name="STORE/database.sqlite", dialect="sqlite"{more}),
        Stream2Local("numbers"),
    ])
    def numbers():
        return []
"""
LABELLED = ", batch_column='_batch_id'"


def sqlite(bench, *statements):
    with closing(sqlite3.connect(bench.store / "database.sqlite", timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


def advised(bench):
    """The batches that the deep audit names, each loaded anew as it says."""
    audit = bench.command("audit", "--deep", status=1)
    found = [(one["kind"], one["found"], stream["stream"], one["batch_id"], one["advice"])
             for each in audit["collectors"] for stream in each["streams"] for one in stream["findings"]]  # fmt: skip
    for kind, _, stream, batch_id, advice in found:
        assert "api2db replay COLLECTOR/STREAM --batch ID --again" in advice, kind
        bench.command("replay", f"numbers/{stream}", "--batch", batch_id, "--again")
    assert bench.command("audit", "--deep")["holds"] is True
    return sorted((kind, rows or 0) for kind, rows, *_ in found)


def test_what_somebody_changed_in_a_table_or_a_file_is_loaded_anew_as_the_audit_says(tmp_path):
    bench = Bench(tmp_path, numbers=CHANGED.format(more=LABELLED))
    bench.collect("numbers", rows(1, 2, 3), rows(4, 5), rows(6))
    whole = [(number,) for number in range(1, 7)]
    sqlite(bench, "DELETE FROM numbers WHERE id IN (2, 3)", "INSERT INTO numbers SELECT * FROM numbers WHERE id = 4")
    first, second, _ = shards_in(bench.store / "numbers" / "parquet")
    pq.write_table(pq.read_table(first).slice(0, 1), first)
    second.write_bytes(b"")
    assert advised(bench) == [("file_differs", 0), ("file_differs", 1), ("table_differs", 1), ("table_differs", 3)]
    assert (bench.sqlite(IDS), sorted(bench.files("numbers", "id"))) == (whole, [*range(1, 7)])
    sqlite(bench, "UPDATE _api2db_ledger SET rows = 7 WHERE rows = 3")
    assert advised(bench) == [("rows_differ", 7)]
    sqlite(bench, "DELETE FROM numbers")
    bench.command("replay", "numbers/sql.sqlite", "--since", "1h", "--again")
    assert bench.sqlite(IDS) == whole
    assert bench.command("audit", "--deep")["holds"] is True


def test_a_batch_is_not_loaded_anew_where_nobody_can_tell_its_rows_from_others(tmp_path):
    bench = Bench(tmp_path, numbers=CHANGED.format(more=""))
    bench.collect("numbers", rows(1, 2))
    ((batch_id,),) = bench.journal("SELECT batch_id FROM batches")
    words = ("replay", "numbers/sql.sqlite", "--batch", batch_id, "--again")
    assert "don't say which batch" in bench.command(*words, status=1)["text"]
    bench.write("numbers", CHANGED.format(more=LABELLED))
    assert "no row says that it is of batch" in bench.command(*words, status=1)["text"]
    bench.collect("numbers", rows(3))
    assert "no row says that it is of batch" in bench.command(*words, status=1)["text"]
    assert "say COLLECTOR/STREAM" in bench.command("replay", "numbers", "--again", status=1)["text"]
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    assert bench.waiting() == []


def test_killed_while_a_batch_is_taken_out_it_is_in_once(tmp_path):
    bench = Bench(tmp_path, numbers=CHANGED.format(more=LABELLED))
    bench.collect("numbers", rows(1, 2))
    sqlite(bench, "DELETE FROM numbers WHERE id = 2")
    words = ["replay", "numbers/sql.sqlite", "--since", "1h", "--again"]
    done = warm.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(bench.folder), *words],
        env={"PYTHONPATH": str(REPOSITORY), "API2DB_FAILPOINT": "replay.linked", "PATH": "/usr/bin"},
    )
    assert done.returncode == -signal.SIGKILL
    bench.collect("numbers")
    assert bench.sqlite(IDS) == [(1,)]  # as it was
    bench.command(*words)
    assert bench.sqlite(IDS) == [(1,), (2,)]
    assert bench.command("audit", "--deep")["holds"] is True
