"""Audit, retention, the log, replays and purges together: what one of them does, the others know."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import sys
from contextlib import closing

import pyarrow.parquet as pq
import pytest

from api2db.errors import ConfigError
from api2db.layout import Layout
from api2db.runtime.retention import Retention
from api2db.runtime.status import read_status
from tests import warm
from tests.log_kit import Bench, rows, shards_in
from tests.project_kit import REPOSITORY

PLAIN = """
    from api2db import collector

    @collector(every=3600, to=[{to}])
    def numbers():
        return []
"""
TOML = """
[places.copy]
dialect = "sqlite"
db_name = "STORE/copy.sqlite"
[places.warehouse]
type = "local"
path = "warehouse"
"""
IDS = "SELECT id FROM numbers ORDER BY id"
SQL = "sql.sqlite"


@pytest.fixture
def make(tmp_path):
    made = []

    def make(to="'database'"):
        made.append(Bench(tmp_path, numbers=PLAIN.format(to=to), toml=TOML))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def audited(bench, stream=SQL, status=0):
    """What the audit says of a stream: the sums that aren't 0, and its kinds of findings."""
    answer = bench.command("audit", status=status)
    (collector,) = answer["collectors"]
    (one,) = [each for each in collector["streams"] if each["stream"] == stream]
    words = ("accepted", "loaded", "waiting", "parked", "quarantined", "replayed", "superseded", "purged", "difference")
    return {word: one[word] for word in words if one[word]} | {
        "findings": [finding["kind"] for finding in one["findings"]]
    }


def sums(**words):
    return {**words, "findings": []}


def sum_up(bench, *, keep_log=False):
    """As an hour of the daemon long after, when the log's shards are past their time."""
    if not keep_log:
        shutil.rmtree(bench.store / "log")
    with bench.open("numbers") as (part, kept):
        Retention(kept.spool.layout, kept.journal, 1e-9).run(part.deliveries)


def refuse(bench, refused="value < 100"):
    bench.store.mkdir(exist_ok=True)
    with closing(sqlite3.connect(bench.store / "database.sqlite")) as db, db:
        db.execute(f"CREATE TABLE numbers (id INTEGER, value INTEGER CHECK ({refused}), collected_at TEXT)")


def mended(bench):
    with closing(sqlite3.connect(bench.store / "database.sqlite")) as db, db:
        db.execute("ALTER TABLE numbers RENAME TO old")
        db.execute("CREATE TABLE numbers (id INTEGER, value INTEGER, collected_at TEXT)")
        db.execute("INSERT INTO numbers SELECT * FROM old")
        db.execute("DROP TABLE old")


def killed_at(bench, point, *words):
    done = warm.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "-C", str(bench.folder), *words],
        env={"PYTHONPATH": str(REPOSITORY), "API2DB_FAILPOINT": point, "PATH": "/usr/bin"},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_the_log_can_still_deliver_is_never_forgotten(make):
    bench = make()
    bench.collect("numbers", rows(1, 2), rows(3))
    sum_up(bench, keep_log=True)
    assert bench.journal("SELECT count(*) FROM deliveries") == [(2,)]
    sum_up(bench)
    assert bench.journal("SELECT count(*) FROM deliveries") == [(0,)]
    assert audited(bench) == sums(accepted=3, loaded=3)


def test_a_collector_keeps_nothing_longer_than_it_is_remembered(make):
    bench = make()
    bench.write("numbers", PLAIN.replace("every=3600,", "every=3600, keep='91d',").format(to="'database'"))
    with pytest.raises(ConfigError, match="longer than history"), bench.open("numbers"):
        pass
    bench.write("numbers", PLAIN.format(to="'database'"))


def test_a_copy_of_store_that_is_older_than_the_ledgers_memory_brings_nothing_back(make):
    bench = make()
    bench.collect("numbers", rows(1, 2), rows(3))
    for name in ("log", "journal.sqlite"):
        source = bench.store / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, bench.folder / name)
    sum_up(bench)
    for path in bench.store.glob("journal.sqlite*"):
        path.unlink()
    shutil.copy(bench.folder / "journal.sqlite", bench.store / "journal.sqlite")
    shutil.copytree(bench.folder / "log", bench.store / "log")
    answer = bench.command("replay", "numbers")
    assert answer[f"numbers/{SQL}"]["batches"] == 0
    assert "2 kept batches are older than what its ledger remembers" in "\n".join(answer["lines"])
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    assert audited(bench) == sums(accepted=3, loaded=3)


def test_a_place_filled_by_a_replay_that_was_killed_counts_each_row_once(make):
    bench = make("'warehouse'")
    bench.collect("numbers", rows(1, 2), rows(3))
    killed_at(bench, "replay.linked:2", "replay", "numbers", "--to", "copy")
    bench.write("numbers", PLAIN.format(to="'warehouse', 'copy'"))
    bench.collect("numbers", rows(4))
    assert bench.sqlite(IDS, "copy.sqlite") == [(1,), (2,), (3,), (4,)]
    assert audited(bench) == audited(bench, "local.parquet") == sums(accepted=4, loaded=4)
    bench.command("replay")
    assert bench.sqlite(IDS, "copy.sqlite") == [(1,), (2,), (3,), (4,)]


def test_without_its_journal_a_store_is_not_called_whole(make):
    bench = make("'database', 'warehouse'")
    bench.collect("numbers", rows(1, 2), deliver=False)
    for path in bench.store.glob("journal.sqlite*"):
        path.unlink()
    answer = str(bench.command("audit", status=2))
    assert "there is no journal" in answer


def test_a_journal_begun_anew_calls_nothing_lost_that_was_delivered_and_taken_away(make):
    bench = make("'database', 'warehouse'")
    bench.collect("numbers", rows(1, 2), deliver=False)
    with bench.open("numbers") as (part, _):
        for delivery in part.streams("local.parquet"):
            delivery.step()
    for path in [*(bench.folder / "warehouse").rglob("*.parquet"), *bench.store.glob("journal.sqlite*")]:
        path.unlink()
    bench.collect("numbers")  # a start
    assert audited(bench, status=2) == sums(accepted=2, loaded=2)
    assert audited(bench, "local.parquet", status=2) == sums()


def test_a_journal_begun_anew_hides_nothing_that_a_restored_database_lacks(make):
    bench = make()
    refuse(bench)
    bench.collect("numbers", rows(1, 2))
    backup = sqlite3.connect(bench.folder / "backup.sqlite")
    with closing(sqlite3.connect(bench.store / "database.sqlite")) as db:
        db.backup(backup)
    bench.collect("numbers", rows(3), rows(4, 5) + rows(6, value=100))
    before = audited(bench)
    (bench.store / "journal.sqlite").write_bytes(b"no journal" * 100)
    bench.collect("numbers")  # a start
    assert audited(bench, status=2) == before == sums(accepted=6, loaded=5, quarantined=1)

    for path in bench.store.glob("journal.sqlite*"):
        path.unlink()
    with closing(backup), closing(sqlite3.connect(bench.store / "database.sqlite")) as db:
        backup.backup(db)
    bench.collect("numbers")
    assert audited(bench, status=1)["findings"] == ["lost", "lost"]
    bench.command("replay", "numbers")
    assert bench.sqlite(IDS) == [(number,) for number in range(1, 6)]
    assert audited(bench, status=2) == before
    answer = bench.command("audit", status=2)
    assert answer["holds"] is None
    assert "the journal was begun anew at" in answer["notes"][0]

    with closing(sqlite3.connect(bench.store / "journal.sqlite")) as db, db:
        db.execute("UPDATE daemon SET value = value - 91 * 86400 * 1000000000 WHERE key = 'begun_anew_ns'")
    assert bench.command("audit")["holds"]  # older than the history: nothing of then is compared anyway


def test_what_a_power_cut_took_from_the_journal_is_written_again_at_the_next_start(make):
    bench = make()
    bench.collect("numbers", rows(1), rows(2, 3))
    with closing(sqlite3.connect(bench.store / "journal.sqlite")) as db, db:
        db.execute("DELETE FROM batches WHERE rows = 2")
        db.execute("DELETE FROM deliveries WHERE rows = 2")
    assert audited(bench) == sums(accepted=1, loaded=1)
    bench.collect("numbers")
    assert audited(bench) == sums(accepted=3, loaded=3)


def lose(bench):
    """The shards that wait for the database go while nothing runs; the last of them, to be put back."""
    for path in shards_in(bench.store / "queue/numbers/sql.sqlite"):
        there = path, path.read_bytes()
        path.unlink()
        (bench.store / "queue/numbers/accepted" / path.name).unlink()  # as settled
    return there


@pytest.mark.parametrize("of", ["one that runs", "one that was taken out of its collector"])
def test_a_batch_whose_shard_went_while_nothing_ran_is_told_and_can_be_given_up(make, caplog, of):
    bench = make()
    bench.collect("numbers", rows(1))
    bench.collect("numbers", rows(2, 3), deliver=False)
    lose(bench)
    bench.collect("numbers", rows(4))
    assert "shards removed by someone, their rows not loaded stream=numbers/sql.sqlite" in caplog.text
    assert any("1 batches are lost" in line for line in read_status(Layout(bench.store)).troubles)
    if of != "one that runs":
        bench.write("numbers", PLAIN.format(to="'warehouse'"))
    assert audited(bench, status=1)["findings"] == ["lost"]
    words = ("shards", "purge", "numbers/sql.sqlite", "--lost")
    assert (
        "1 batches that are nowhere, 2 rows would be given up" in bench.command(*words, typed="n\n", status=1)["text"]
    )
    assert bench.command(*words, "--yes")["rows"] == 2
    assert audited(bench) == sums(accepted=4, loaded=2, purged=2)
    assert not any("lost" in line for line in read_status(Layout(bench.store)).troubles)
    bench.write("numbers", PLAIN.format(to="'database'"))
    sum_up(bench)
    assert bench.journal("SELECT count(*) FROM deliveries WHERE stream = 'sql.sqlite'") == [(0,)]
    assert audited(bench) == sums(accepted=4, loaded=2, purged=2)


@pytest.mark.parametrize("how", ["put back", "replayed"])
def test_a_batch_whose_shard_went_is_delivered_once_it_is_put_back_or_replayed(make, how):
    bench = make()
    bench.collect("numbers", rows(1, 2), deliver=False)
    path, shard = lose(bench)
    bench.collect("numbers")
    assert audited(bench, status=1)["findings"] == ["lost"]
    if how == "put back":
        path.write_bytes(shard)
        bench.collect("numbers")
    else:
        bench.command("replay", "numbers")
    assert bench.sqlite(IDS) == [(1,), (2,)]
    assert audited(bench) == sums(accepted=2, loaded=2)
    assert bench.command("shards", "purge", "numbers", "--lost", "--yes")["rows"] == 0
    assert "the journal knows no 'number'" in bench.command("shards", "purge", "number", "--lost", status=1)["text"]


def points_at(bench, file):
    toml = bench.folder / "api2db.toml"
    toml.write_text(toml.read_text().replace("STORE/copy.sqlite", file).replace("STORE/other.sqlite", file))


def test_a_place_that_is_pointed_at_another_database_leaves_what_went_to_the_old_one_there(make):
    bench = make("'copy'")
    bench.collect("numbers", rows(1, 2), rows(3))
    points_at(bench, "STORE/other.sqlite")
    (stream,) = bench.command("audit", status=2)["collectors"][0]["streams"]
    assert (stream["findings"], "copy.sqlite" in stream["unreached"]) == ([], True)

    bench.collect("numbers", rows(4))
    assert audited(bench) == sums(accepted=4, loaded=4)
    (stream,) = bench.command("audit", "--deep")["collectors"][0]["streams"]
    assert any("2 batches, 3 rows went to" in note and "copy.sqlite" in note for note in stream["notes"])
    points_at(bench, "STORE/copy.sqlite")  # and back again
    bench.collect("numbers", rows(5))
    assert audited(bench) == sums(accepted=5, loaded=5)
    bench.command("replay", "numbers")
    assert bench.sqlite(IDS, "copy.sqlite") == [(1,), (2,), (3,), (4,), (5,)]
    (stream,) = bench.command("audit")["collectors"][0]["streams"]
    assert (stream["loaded"], stream["notes"]) == (5, [])

    points_at(bench, "STORE/third.sqlite")
    bench.collect("numbers", rows(6))
    sum_up(bench)
    assert audited(bench) == sums(accepted=6, loaded=6)
    assert bench.journal("SELECT count(*) FROM deliveries") == [(0,)]


def test_a_database_that_moved_with_its_ledger_is_compared_as_ever(make):
    bench = make("'copy'")
    bench.collect("numbers", rows(1, 2), rows(3))
    shutil.copy(bench.store / "copy.sqlite", bench.store / "other.sqlite")
    points_at(bench, "STORE/other.sqlite")
    assert audited(bench) == sums(accepted=3, loaded=3)
    bench.collect("numbers", rows(4))
    assert audited(bench) == sums(accepted=4, loaded=4)
    bench.command("replay", "numbers")
    assert bench.sqlite(IDS, "other.sqlite") == [(1,), (2,), (3,), (4,)]
    with closing(sqlite3.connect(bench.store / "other.sqlite")) as db, db:
        db.execute("DELETE FROM _api2db_ledger WHERE rows = 2")
    assert audited(bench, status=1)["findings"] == ["not_in_place"]


def test_rows_given_up_in_quarantine_count_as_purged(make):
    bench = make()
    refuse(bench)
    bench.collect("numbers", rows(1) + rows(2, 3, value=100), rows(4, value=100))
    assert audited(bench) == sums(accepted=4, loaded=1, quarantined=3)
    words = ("shards", "purge", "numbers", "--in", "quarantine")
    asked = bench.command(*words, typed="n\n", status=1)["text"]
    assert "2 files, 3 rows would be given up" in asked
    assert bench.command(*words, "--yes")["rows"] == 3
    assert shards_in(bench.store / "quarantine/numbers/sql.sqlite") == []
    assert audited(bench) == sums(accepted=4, loaded=1, purged=3)
    assert bench.journal("SELECT quarantined FROM streams") == [(0,)]
    assert bench.command(*words, "--yes")["rows"] == 0
    sum_up(bench)
    assert audited(bench) == sums(accepted=4, loaded=1, purged=3)


def test_a_file_of_refused_rows_that_somebody_took_away_can_be_given_up_too(make):
    bench = make()
    refuse(bench)
    bench.collect("numbers", rows(1) + rows(2, 3, value=100))
    (path,) = shards_in(bench.store / "quarantine/numbers/sql.sqlite")
    kept = path.read_bytes()
    path.unlink()
    assert audited(bench, status=1)["findings"] == ["quarantine_missing"]
    bench.command("shards", "purge", "numbers", "--in", "quarantine", "--yes")
    assert audited(bench) == sums(accepted=3, loaded=1, purged=2)
    # It turns up again, and its rows with it.
    path.write_bytes(kept)
    mended(bench)
    bench.command("replay", "numbers", "--from", "quarantine")
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    assert audited(bench) == sums(accepted=5, loaded=3, replayed=2)


def test_a_damaged_shard_in_quarantine_can_be_given_up(make):
    bench = make()
    bench.collect("numbers", rows(1, 2), deliver=False)
    for path in shards_in(bench.store / "queue/numbers/sql.sqlite"):
        path.write_bytes(path.read_bytes()[:-9])
    bench.command("shards", "retry", "numbers")
    bench.collect("numbers", rows(3))
    assert audited(bench) == sums(accepted=3, loaded=1, quarantined=2)
    bench.command("shards", "purge", "numbers/sql.sqlite", "--in", "quarantine", "--yes")
    assert audited(bench) == sums(accepted=3, loaded=1, purged=2)


def test_rows_refused_long_ago_are_replayed_or_given_up_in_the_sums(make):
    bench = make()
    refuse(bench)
    bench.collect("numbers", rows(1) + rows(2, 3, value=100), rows(4, value=100))
    sum_up(bench)
    assert audited(bench) == sums(accepted=4, loaded=1, quarantined=3)
    single = next(path for path in shards_in(bench.store / "quarantine/numbers/sql.sqlite")
                  if pq.read_metadata(path).num_rows == 1)  # fmt: skip
    kept = single.read_bytes()
    single.unlink()
    mended(bench)
    bench.command("replay", "numbers", "--from", "quarantine")
    assert audited(bench) == sums(accepted=6, loaded=3, quarantined=1, replayed=2)
    single.write_bytes(kept)
    for _ in range(2):
        bench.command("shards", "purge", "numbers", "--in", "quarantine", "--yes")
        assert audited(bench) == sums(accepted=6, loaded=3, purged=1, replayed=2)


def test_a_shard_given_up_that_is_in_its_place_already_counts_as_loaded(make):
    bench = make()
    bench.collect("numbers", rows(1, 2))
    # Killed after COMMIT, and given up while the place was away.
    with closing(sqlite3.connect(bench.store / "journal.sqlite")) as db, db:
        db.execute("UPDATE deliveries SET outcome = 'purged', rows = NULL, quarantined = NULL")
    assert audited(bench) == sums(accepted=2, loaded=2)


def test_rows_replayed_before_their_receipt_was_written_down_count_once(make):
    bench = make()
    refuse(bench)
    bench.collect("numbers", rows(1) + rows(2, 3, value=100), deliver=False)
    killed_at(bench, "sink.committed", "shards", "retry", "numbers")
    assert audited(bench) == sums(accepted=3, loaded=1, quarantined=2)
    mended(bench)
    bench.command("replay", "numbers", "--from", "quarantine")
    bench.collect("numbers")
    assert bench.sqlite(IDS) == [(1,), (2,), (3,)]
    assert audited(bench) == sums(accepted=5, loaded=3, replayed=2)
