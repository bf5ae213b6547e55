"""What is older than the history is summed up: the ledgers and the journal stay small, the promises stay."""

from __future__ import annotations

import sys
import time

import pyarrow.parquet as pq
import pytest

from api2db.runtime import retention
from api2db.runtime.retention import Retention
from tests import warm
from tests.audit.kit import NAME, SQL, Store
from tests.project_kit import REPOSITORY

LOCAL = "local.parquet"
ALL = 1e-9


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def sum_up(store, history_s=ALL):
    Retention(store.layout, store.kept.journal, history_s).run(list(store.streams.values()))


def lines(store):
    return store.kept.journal._file.connection.execute(
        "SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM batches)"
    ).fetchone()


def in_ledger(store):
    return len(list(store.streams[SQL].sink.receipts()))


def test_old_lines_and_ledger_entries_become_sums_and_every_row_stays_accounted_for(store, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    store.database(f"CREATE TABLE {NAME} (n INTEGER CHECK (n < 10))")
    for number in range(5):
        store.accept(number, number, 10 + number)
    store.deliver()
    before = store.stream(SQL), store.stream(LOCAL)
    sum_up(store)
    assert (in_ledger(store), lines(store)) == (0, (0, 0))
    for old, new in zip(before, (store.stream(SQL), store.stream(LOCAL)), strict=True):
        assert (new.accepted, new.loaded, new.quarantined, new.changed) == (
            old.accepted, old.loaded, old.quarantined, old.changed,
        )  # fmt: skip
        assert (new.batches, new.folded, new.holds) == (5, 5, True)
    store.accept(1)
    store.deliver()
    assert (store.stream().loaded, store.stream().batches, store.audit().holds) == (11, 6, True)


def test_a_receipt_the_journal_missed_is_written_down_and_holds_up_nothing(store):
    store.database(f"CREATE TABLE {NAME} (n INTEGER CHECK (n < 10))")
    store.accept(1, 2, 30)
    store.accept(4)
    store.deliver()
    before = store.stream()
    # As a power cut leaves it: the newest lines are gone, the rows are in.
    store.journal("UPDATE deliveries SET outcome = 'waiting', rows = NULL, quarantined = NULL, at_ns = NULL")
    for _ in range(2):
        sum_up(store)
    after = store.stream()
    assert (after.loaded, after.quarantined, after.folded) == (before.loaded, before.quarantined, 2) == (3, 1, 2)
    assert (after.holds, after.notes) == (True, [])


def test_nothing_younger_than_the_history_is_touched(store):
    store.accept(1)
    store.deliver()
    sum_up(store, 3600.0)
    assert (in_ledger(store), lines(store)) == (1, (2, 1))


def test_nothing_younger_than_the_oldest_shard_that_waits_is_touched(store):
    store.accept(1)
    store.deliver()
    store.accept(2)
    store.deliver(LOCAL)
    store.accept(3)
    sum_up(store)
    waiting = [delivery.oldest() for delivery in store.streams.values()]
    assert all(waiting)
    assert store.stream().folded == 1
    assert lines(store)[0] == 2 + 1  # of the database the second and third, of the files the third
    store.deliver()
    assert store.audit().holds


def test_a_batch_that_ledger_and_journal_disagree_about_is_never_summed_up(store):
    store.accept(1)
    lost = store.accept(2)
    store.accept(3)
    store.deliver()
    store.database(f"DELETE FROM _api2db_ledger WHERE batch_id = '{lost}'")
    sum_up(store)
    stream = store.stream()
    assert [finding.batch_id for finding in stream.findings] == [lost]
    assert (stream.folded, in_ledger(store)) == (1, 1)


@pytest.mark.parametrize("how", ["a file of refused rows is gone", "a whole shard set aside is gone", "removed"])
def test_a_batch_that_is_nowhere_is_never_summed_up_until_a_person_gives_it_up(store, how):
    store.database(f"CREATE TABLE {NAME} (n INTEGER CHECK (n < 10))")
    store.accept(1)
    store.deliver()
    batch = store.accept(2, 30)
    store.shards.settle()
    queued = store.streams[SQL].queue.path(store.shards.queue(SQL).waiting()[0], parked=False)
    if "refused" not in how:
        store.kept.spool.recent.drop(int(queued.stem))
        queued.unlink() if how == "removed" else queued.write_bytes(b"torn")
    store.deliver()
    store.accept(3)
    store.deliver()
    for file in store.layout.quarantine(NAME, SQL).glob("*.parquet"):
        file.unlink()
    for _ in range(2):
        sum_up(store)
        stream = store.stream()
        assert [finding.batch_id for finding in stream.findings] == [batch]
        assert (stream.folded, stream.accepted, in_ledger(store)) == (1, 4, 2 if "refused" in how else 1)
    assert store.stream(LOCAL).folded == 3
    given_up = store.kept.journal.shard_given_up if how == "removed" else store.kept.journal.given_up
    assert given_up(NAME, SQL, *([int(queued.stem)] if how == "removed" else [batch, 1 if "refused" in how else 2]))
    sum_up(store)
    stream = store.stream()
    assert (stream.folded, stream.accepted, stream.purged) == (3, 4, 1 if "refused" in how else 2)
    assert store.audit().holds


def test_a_batch_whose_file_in_quarantine_holds_other_rows_than_were_refused_is_never_summed_up(store):
    store.database(f"CREATE TABLE {NAME} (n INTEGER CHECK (n < 10))")
    batch = store.accept(2, 30, 40)
    store.deliver()
    (file,) = store.layout.quarantine(NAME, SQL).glob("*.parquet")
    kept = file.read_bytes()
    pq.write_table(pq.read_table(file).slice(0, 1), file)
    sum_up(store)
    stream = store.stream()
    assert [(finding.kind, finding.batch_id) for finding in stream.findings] == [("quarantine_differs", batch)]
    assert stream.folded == 0
    file.write_bytes(kept)
    sum_up(store)
    stream = store.stream()
    assert (stream.folded, stream.quarantined, stream.holds) == (1, 2, True)


def test_killed_between_the_ledger_and_the_sums_the_next_pass_goes_on(store):
    for number in range(3):
        store.accept(number)
    store.deliver()
    store.close()
    script = (
        "import sys; from pathlib import Path; from tests.audit.kit import Store;"
        "from tests.runtime.test_retention import sum_up; sum_up(Store(Path(sys.argv[1])))"
    )
    done = warm.run(
        [sys.executable, "-c", script, str(store.folder)],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "API2DB_FAILPOINT": "retention.forgot:1"},
        timeout=60,
    )
    assert done.returncode == -9
    store.open()
    assert (in_ledger(store), lines(store)) == (0, (6, 3))
    assert (store.stream().loaded, store.audit().holds) == (3, True)
    sum_up(store)
    assert lines(store) == (0, 0)
    assert (store.stream().loaded, store.audit().holds) == (3, True)


def test_a_shard_of_before_the_ledgers_memory_is_held_for_a_person_and_not_loaded_again(store):
    store.accept(1, 2)
    store.shards.settle()
    (shard,) = store.layout.queue(NAME, SQL).glob("*.parquet")
    copy = shard.read_bytes()
    store.deliver()
    sum_up(store)
    store.close()
    shard.write_bytes(copy)  # of a backup of STORE
    store.open()
    store.deliver()
    stream = store.stream()
    assert (stream.loaded, stream.quarantined, stream.holds) == (2, 2, True)
    assert not shard.exists()
    assert (store.layout.quarantine(NAME, SQL) / shard.name).read_bytes() == copy
    assert store.streams[SQL].backlog == (0, 0)
    store.accept(3)
    store.deliver()
    assert store.stream().loaded == 3


def test_a_database_that_is_away_keeps_its_history_and_holds_up_no_other(tmp_path):
    from api2db.stream.stream2sql import Stream2Sql

    away = Stream2Sql(NAME, url="postgresql+psycopg://u:p@127.0.0.1:1/db")
    store = Store(tmp_path, [away, Stream2Sql(NAME, "numbers.db", "sqlite")])
    store.accept(1)
    store.deliver(SQL)
    sum_up(store)
    assert store.stream(SQL).folded == 1
    assert store.stream("sql.postgresql").waiting == 1
    store.close()


def test_a_history_is_older_than_what_was_just_delivered(store):
    store.accept(1)
    store.deliver()
    store.journal(f"UPDATE deliveries SET at_ns = {time.time_ns() + 10**12}")
    sum_up(store)
    assert lines(store) == (2, 1)
