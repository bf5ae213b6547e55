"""``accepted = loaded + waiting + parked + quarantined + superseded``, batch by batch, and what is told when not."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api2db.errors import ConfigError
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql
from tests.audit.kit import NAME, SQL, Store
from tests.spool_kit import rows

LOCAL = "local.parquet"


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def kinds(stream):
    return [(finding.kind, finding.batch_id) for finding in stream.findings]


def test_before_anything_was_accepted_nothing_is_missing(store):
    assert store.audit().holds


def test_rows_loaded_and_rows_that_wait_are_all_accounted_for(store):
    store.accept(1, 2, 3)
    store.deliver()
    store.accept(4, 5)
    store.deliver(LOCAL)
    database, files = store.stream(SQL), store.stream(LOCAL)
    assert (database.accepted, database.loaded, database.waiting, database.batches) == (5, 3, 2, 2)
    assert (files.accepted, files.loaded, files.waiting) == (5, 5, 0)
    assert (database.checked, files.checked, store.audit().holds) == ("ledger", "files", True)


def test_a_parked_shard_is_counted_where_it_is(store):
    store.accept(1, 2)
    assert store.streams[SQL].park_oldest()
    stream = store.stream()
    assert (stream.parked, stream.waiting, stream.holds) == (2, 0, True)


def test_a_batch_that_a_restored_database_lacks_is_named_with_what_to_do(store):
    store.accept(1)
    lost = store.accept(2, 3)
    store.deliver()
    store.database(f"DELETE FROM _api2db_ledger WHERE batch_id = '{lost}'")
    stream = store.stream()
    assert kinds(stream) == [("not_in_place", lost)]
    assert (stream.holds, stream.difference) == (False, 2)
    assert "api2db replay" in str(stream.findings[0].as_dict()["advice"])
    assert store.stream(LOCAL).holds


def test_a_database_that_is_gone_has_nothing_and_is_not_made_by_asking(store):
    store.accept(1)
    store.deliver()
    store.kept.engines.close()
    for file in store.folder.glob("numbers.db*"):
        file.unlink()
    assert kinds(store.stream())[0][0] == "not_in_place"
    assert not (store.folder / "numbers.db").exists()


def test_a_ledger_that_counts_other_rows_is_named(store):
    batch = store.accept(1, 2, 3)
    store.deliver()
    store.database("UPDATE _api2db_ledger SET rows = 2")
    stream = store.stream()
    assert kinds(stream) == [("rows_differ", batch)]
    assert stream.findings[0].found == 2


def test_rows_that_no_receipt_accounts_for_are_named(store):
    batch = store.accept(1, 2, 3)
    store.deliver()
    store.database("UPDATE _api2db_ledger SET rows = 2")
    store.journal(f"UPDATE deliveries SET rows = 2 WHERE stream = '{SQL}'")
    stream = store.stream()
    assert kinds(stream) == [("rows_missing", batch)]
    assert stream.difference == 1


def test_a_shard_that_somebody_removed_is_lost_and_named(store):
    batch = store.accept(1, 2)
    store.shards.settle()
    for shard in store.layout.queue(NAME, SQL).glob("*.parquet"):
        shard.unlink()
    stream = store.stream()
    assert kinds(stream) == [("lost", batch)]
    assert store.stream(LOCAL).holds


def test_a_batch_whose_receipt_was_lost_in_a_kill_counts_as_loaded(store):
    store.accept(1, 2)
    store.deliver()
    store.journal("UPDATE deliveries SET outcome = 'waiting', rows = NULL, quarantined = NULL")
    stream = store.stream()
    assert (stream.loaded, stream.holds) == (2, True)
    assert any("as after a kill" in note for note in stream.notes)
    assert store.stream(LOCAL).loaded == 2


def test_a_shard_the_journal_has_no_line_of_counts_as_waiting_also_before_its_fan_out(store):
    store.accept(1, 2, tell=False)
    assert (store.stream().waiting, store.stream().accepted, store.stream().holds) == (2, 2, True)
    for name in (SQL, LOCAL):
        for shard in store.layout.queue(NAME, name).glob("*.parquet"):
            shard.unlink()
    assert (store.stream().waiting, store.stream().accepted, store.stream().holds) == (2, 2, True)


def test_a_batch_loaded_that_the_journal_never_heard_of_counts_as_loaded_while_its_shard_is_there(store):
    batch = store.shards.accept(rows(1, 2), None)
    store.streams[SQL].sink.load([batch], store.streams[SQL].quarantine)
    stream = store.stream()
    assert (stream.loaded, stream.waiting, stream.holds) == (2, 0, True)
    assert not any("another daemon's" in note for note in stream.notes)


def test_ids_of_another_daemon_in_the_ledger_are_a_note(store):
    store.accept(1)
    store.deliver()
    store.database(f"INSERT INTO _api2db_ledger (stream, batch_id, rows) VALUES ('{NAME}/{SQL}', '{'f' * 32}', 7)")
    stream = store.stream()
    assert (stream.holds, stream.accepted) == (True, 1)
    assert any("1 batch in the ledger that the journal doesn't know" in note for note in stream.notes)


def test_refused_rows_are_in_quarantine_or_are_missed(store):
    store.database(f"CREATE TABLE {NAME} (n INTEGER CHECK (n < 10))")
    batch = store.accept(1, 2, 30)
    nothing = store.accept(40, 50)
    store.deliver(SQL)
    stream = store.stream()
    assert (stream.loaded, stream.quarantined, stream.holds) == (2, 3, True)
    for file in store.layout.quarantine(NAME, SQL).iterdir():
        file.unlink()
    stream = store.stream()
    assert kinds(stream) == [("quarantine_missing", batch), ("quarantine_missing", nothing)]
    assert (stream.holds, stream.difference) == (False, 0)


def test_rows_taken_out_of_a_file_in_quarantine_or_put_into_it_are_named(store):
    store.database(f"CREATE TABLE {NAME} (n INTEGER CHECK (n < 10))")
    batch = store.accept(1, 20, 30, 40)
    store.deliver(SQL)
    (file,) = store.layout.quarantine(NAME, SQL).iterdir()
    there = pq.read_table(file)
    for rows_now, found in ((there.slice(0, 1), 1), (pa.concat_tables([there, there]), 6), (None, None)):
        if rows_now is None:
            file.write_bytes(b"")
        else:
            pq.write_table(rows_now, file)
        stream = store.stream()
        assert kinds(stream) == [("quarantine_differs", batch)]
        assert (stream.holds, stream.findings[0].found) == (False, found)


def test_a_damaged_shard_set_aside_is_in_quarantine(store):
    store.accept(1, 2)
    store.shards.settle()
    (shard,) = store.layout.queue(NAME, SQL).glob("*.parquet")
    store.kept.spool.recent.drop(int(shard.stem))
    shard.write_bytes(shard.read_bytes()[:-9])
    store.deliver(SQL)
    assert (store.stream().quarantined, store.stream().holds) == (2, True)


def test_rows_a_person_took_away_by_command_are_purged_not_missing(store):
    store.accept(1, 2)
    store.kept.journal.outcome(NAME, SQL, store.shards.queue(SQL).waiting()[0], "purged")
    stream = store.stream()
    assert (stream.purged, stream.holds) == (2, True)


def test_files_that_were_taken_away_are_a_note_and_duplicates_are_counted(store):
    store.accept(1, 1, 2)
    store.deliver()
    files = store.stream(LOCAL)
    assert (files.loaded, files.changed, files.holds) == (2, 1, True)
    for file in store.layout.shards(NAME, "parquet").iterdir():
        file.unlink()
    files = store.stream(LOCAL)
    assert files.holds
    assert "1 files were taken away since they were published" in files.notes


def test_a_place_that_cannot_be_reached_is_said_and_the_rest_is_audited(tmp_path):
    away = Stream2Sql(NAME, url="postgresql+psycopg://u:secret@127.0.0.1:1/db")
    store = Store(tmp_path, [away, Stream2Sql(NAME, "numbers.db", "sqlite")])
    store.accept(1, 2)
    store.deliver(SQL)
    answer = store.audit()
    assert answer.holds is None
    far, near = answer.streams
    assert (far.holds, far.waiting, near.holds, near.loaded) == (None, 2, True, 2)
    assert "127.0.0.1" in str(far.unreached)
    assert not far.notes
    assert "secret" not in str(answer.as_dict())
    store.database("DELETE FROM _api2db_ledger")
    assert store.audit().holds is False
    store.close()


def test_a_stream_no_collector_has_now_is_the_journals_word(store):
    store.accept(1, 2)
    store.deliver()
    store.targets = store.targets[:1]
    files = store.stream(LOCAL)
    assert (files.target, files.checked, files.loaded, files.holds) == (None, "journal", 2, True)
    assert "no collector has this stream now" in files.notes[0]


def test_one_collector_can_be_asked_for_and_an_unknown_one_is_named(store):
    store.accept(1)
    assert [one.collector for one in store.audit(NAME).collectors] == [NAME]
    with pytest.raises(ConfigError, match=r"numbres.*numbers"):
        store.audit("numbres")


def test_what_each_step_dropped_is_summed_over_all_runs(store):
    step = {"step": "DropNa(n)", "rows_in": 10, "rows_out": 7, "nulled": 1, "replaced": 0, "by_column": []}
    for started_ns in (1, 2):
        store.kept.journal.run(
            NAME, started_ns=started_ns, duration_s=0.1, outcome="ok", batches=1, rows=7, cause=None, steps=[step],
            next_run_ns=None,
        )  # fmt: skip
    (collector,) = store.audit().collectors
    assert collector.steps == [
        {"step": "DropNa(n)", "rows_in": 20, "rows_out": 14, "dropped": 6, "nulled": 2, "replaced": 0}
    ]


def test_deep_rows_that_somebody_changed_in_table_or_file_are_named(tmp_path):
    old, new = Stream2Sql(NAME, "numbers.db", "sqlite"), Stream2Sql(NAME, "numbers.db", "sqlite", batch_column="_of")
    store = Store(tmp_path, [old, Stream2Local(NAME)])
    store.accept(0)
    store.deliver()
    store.close()
    store.targets[0] = new
    store.open()
    first, second = store.accept(1, 2), store.accept(3, 4, 5)
    store.deliver()
    assert store.audit(deep=True).holds
    store.database(f"DELETE FROM {NAME} WHERE n = 4")
    file = max(store.layout.shards(NAME, "parquet").iterdir())
    pq.write_table(rows(3), file)
    assert store.audit().holds
    answer = store.audit(deep=True)
    assert answer.holds is False
    assert [(f.kind, f.batch_id, f.found) for stream in answer.streams for f in stream.findings] == [
        ("file_differs", second, 1),
        ("table_differs", second, 2),
    ]
    assert first != second
    store.close()


@pytest.mark.parametrize(
    "done", ["DELETE FROM numbers WHERE _of IN (:first, :second)", "DELETE FROM numbers", "DROP TABLE numbers"]
)
def test_deep_a_table_that_lost_its_oldest_batches_or_all_of_them_breaks_it(tmp_path, done):
    old, new = Stream2Sql(NAME, "numbers.db", "sqlite"), Stream2Sql(NAME, "numbers.db", "sqlite", batch_column="_of")
    store = Store(tmp_path, [old])
    store.accept(0)
    store.deliver()
    store.close()
    store.targets[0] = new
    store.open()
    batches = [store.accept(1, 2), store.accept(3, 4), store.accept(5)]
    store.deliver()
    assert store.audit(deep=True).holds
    store.database(done.replace(":first", f"'{batches[0]}'").replace(":second", f"'{batches[1]}'"))
    answer = store.audit(deep=True)
    assert answer.holds is False
    found = [(f.kind, f.batch_id, f.found) for stream in answer.streams for f in stream.findings]
    assert found == [("table_differs", batch, 0) for batch in (batches[:2] if ":first" in done else batches)]
    assert store.audit().holds
    store.close()


def test_a_refused_row_is_kept_without_the_batch_column(tmp_path):
    store = Store(tmp_path, [Stream2Sql(NAME, "numbers.db", "sqlite", batch_column="_of")])
    store.database(f"CREATE TABLE {NAME} (n INTEGER CHECK (n < 10))")
    batch = store.accept(1, 30)
    store.deliver()
    kept = pq.read_table(store.layout.quarantine(NAME, SQL) / f"{batch}.parquet")
    assert kept.column_names == ["n", "_quarantine_reason", "_quarantine_row"]
    assert store.audit(deep=True).holds
    store.close()
