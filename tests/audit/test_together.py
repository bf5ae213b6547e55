"""Audit, retention, the log, replays and purges together: what one of them does, the others know."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pyarrow.parquet as pq
import pytest

from api2db.errors import ConfigError
from api2db.runtime.retention import Retention
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
    (collector,) = bench.command("audit", status=status)["collectors"]
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
    done = subprocess.run(
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
    answer = bench.command("audit", status=2)["text"]
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
    assert audited(bench) == sums(accepted=2, loaded=2)
    assert audited(bench, "local.parquet") == sums()


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
