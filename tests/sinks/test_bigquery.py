"""Load jobs into BigQuery's emulator, by Google's own client, through whatever goes wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from api2db.errors import FatalError, RetryableError
from api2db.schema import JSON_METADATA
from api2db.sinks.bigquery import BigQuerySink
from api2db.sinks.bigquery.access import Access
from api2db.sinks.bigquery.goal import parse_goal
from tests import warm
from tests.bigquery import PROJECT, Emulator
from tests.google_front import ANSWER_LOST, DROPPED, FORBIDDEN, RATE_LIMITED, TOO_MANY, UNAVAILABLE, Seen, Trouble
from tests.project_kit import REPOSITORY, TIMEOUT_S, Project, eventually
from tests.runtime.test_delivery import Bench
from tests.sinks.bigquery_kit import Table


@pytest.fixture
def table(bigquery: Emulator, tmp_path: Path) -> Table:
    return Table(bigquery, tmp_path)


def load_job(seen: Seen) -> bool:
    return seen.is_load


def test_batches_of_one_load_are_one_job_and_dataset_and_table_are_made(table: Table) -> None:
    receipts = table.load({"id": [1, 2], "x": ["a", None]}, {"id": [3], "y": [1.5]})
    assert [(receipt.rows, receipt.quarantined, receipt.duplicate) for receipt in receipts] == [
        (2, 0, False),
        (1, 0, False),
    ]
    assert table.rows("id", "x", "y") == [(1, "a", None), (2, None, None), (3, None, 1.5)]
    assert table.emulator.front.loads[table.name] == 1
    assert table.left() == []


def test_integers_and_fractions_in_one_load_make_a_column_for_both(table: Table) -> None:
    receipts = table.load({"id": [1], "x": [21]}, {"id": [2], "x": [21.5]}, {"id": [3], "x": [3]})
    assert [(receipt.rows, receipt.quarantined) for receipt in receipts] == [(1, 0)] * 3
    assert table.rows("id", "x") == [(1, 21.0), (2, 21.5), (3, 3.0)]


def test_whatever_becomes_of_the_request_its_rows_are_in_once(table: Table) -> None:
    table.load({"id": [0]})
    for number, trouble in enumerate((UNAVAILABLE, RATE_LIMITED, TOO_MANY, DROPPED, ANSWER_LOST), 1):
        table.emulator.front.fail(trouble, load_job)
        one = table.shard({"id": [10 * number]})
        with pytest.raises(RetryableError):
            table.load(one)
        # Put together in another way: what is frozen is brought to its end first.
        table.restart()
        (again, new) = table.load(one, table.shard({"id": [10 * number + 1]}))
        assert (again.rows, again.duplicate, new.duplicate) == (1, True, False)
    assert table.rows("id") == [(0,), *((10 * n + more,) for n in range(1, 6) for more in (0, 1))]
    assert table.left() == []


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("options", [{}, {"key": "id"}, {"if_exists": "replace"}], ids=["append", "merge", "replace"])
def test_frozen_rows_that_are_lost_are_put_together_anew_of_their_shards(
    bigquery: Emulator, tmp_path: Path, options: dict[str, Any]
) -> None:
    table = Table(bigquery, tmp_path, **options)
    for number, (break_it, trouble) in enumerate([(empty, UNAVAILABLE), (Path.unlink, ANSWER_LOST)], 1):
        one = table.shard({"id": [number]})
        bigquery.front.fail(trouble, load_job)
        with pytest.raises(RetryableError):
            table.load(one)
        (rows,) = table.staging.glob("*.rows")
        break_it(rows)
        table.restart()
        if trouble is UNAVAILABLE:  # Google has never heard of it
            with pytest.raises(RetryableError, match=r"\.rows is damaged .* its shards are put together anew"):
                table.load(one)
            assert table.left() == []
        assert [receipt.rows for receipt in table.load(one)] == [1]
    assert table.rows("id") == ([(2,)] if "if_exists" in options else [(1,), (2,)])
    assert table.left() == []


def test_frozen_rows_that_are_lost_when_some_are_in_are_left_to_a_person(table: Table) -> None:
    table.restart(chunk_size=2)
    one = table.shard({"id": [1, 2, 3, 4]})
    table.emulator.front.fail(UNAVAILABLE, lambda seen: seen.is_load and table.emulator.front.loads[table.name] == 1)
    with pytest.raises(RetryableError):
        table.load(one)
    (rows,) = table.staging.glob("*.rows")
    rows.unlink()
    table.restart(chunk_size=2)
    with pytest.raises(FatalError, match=rf"\.rows is missing, and 2 of its 4 rows are in: .*{one.batch_id}.* remove "):
        table.load(one)
    table.emulator.query(f"DELETE FROM {table.name} WHERE id IN (1, 2)")
    (manifest,) = table.staging.glob("*.job")
    manifest.unlink()
    table.restart()
    table.load(one)
    assert table.rows("id") == [(1,), (2,), (3,), (4,)]


def test_an_answer_about_a_job_that_is_lost_is_asked_for_again(table: Table) -> None:
    table.load({"id": [1]})
    one = table.shard({"id": [2]})
    table.emulator.front.fail(Trouble(503, "backendError", passes=True), load_job)
    table.emulator.front.fail(UNAVAILABLE, lambda seen: seen.method == "GET" and "/jobs/" in seen.path)
    with pytest.raises(RetryableError):
        table.load(one)
    with pytest.raises(RetryableError):
        table.load(one)
    table.load(one)
    assert table.rows("id") == [(1,), (2,)]
    assert table.emulator.front.loads[table.name] == 2


def test_a_token_that_expires_is_renewed_and_a_deleted_key_stops_the_stream_until_it_is_good_again(
    table: Table,
) -> None:
    table.load({"id": [1]})
    table.emulator.front.expire_tokens()
    table.load({"id": [2]})
    table.emulator.front.refuse_tokens()
    with pytest.raises(FatalError, match="doesn't accept the credentials") as refused:
        table.load({"id": [3]})
    assert "BEGIN" not in str(refused.value)
    table.emulator.front.refuse_tokens(False)
    table.load({"id": [4]})
    table.emulator.front.fail(FORBIDDEN, load_job)
    with pytest.raises(FatalError, match="BigQuery Data Editor"):
        table.load({"id": [5]})
    Path(table.emulator.keys).rename(table.folder / "away")
    try:
        with pytest.raises(FatalError, match="is not there"):
            table.restart().connect()
    finally:
        (table.folder / "away").rename(table.emulator.keys)
    table.sink.connect()
    assert table.rows("id") == [(1,), (2,), (4,), (5,)]


def test_rows_that_only_bigquery_refuses_are_found_by_halves_though_the_search_is_cut_off(table: Table) -> None:
    table.load({"id": [0], "x": ["a"], "y": [1]})
    table.emulator.front.poison = b"poison"
    first = table.shard({"id": [1, 2, 3, 4], "x": ["b", "c", "d", "poison"], "y": [1, None, 2, 3]})
    second = table.shard({"id": [5, 6], "x": ["poison", "e"], "y": ["bad", "4"]})
    starts = [seen for seen in table.emulator.front.seen if seen.is_load]
    table.emulator.front.fail(
        UNAVAILABLE, lambda seen: seen.is_load and len(table.emulator.front.seen) > len(starts) + 4
    )
    with pytest.raises(RetryableError):
        table.load(first, second)
    table.restart()
    table.sink.connect()
    receipts = table.load(first, second)
    assert [(receipt.rows, receipt.quarantined) for receipt in receipts] == [(3, 1), (0, 2)]
    assert table.rows("id") == [(0,), (1,), (2,), (3,)]
    assert sorted(row["id"] for row in table.quarantine.rows) == [4, 5, 6]
    assert "there is poison in it" in table.quarantine.kept[first.batch_id][1][0]
    assert 'column "y" (INTEGER) cannot take text ("bad")' in table.quarantine.kept[second.batch_id][1][0]
    assert table.left() == []


def test_a_replacement_takes_the_place_of_all_rows_but_never_of_good_ones_by_bad(
    bigquery: Emulator, tmp_path: Path
) -> None:
    table = Table(bigquery, tmp_path, if_exists="replace")
    table.load({"id": [1, 2], "x": ["a", "b"]})
    table.load({"id": [3], "y": [1.5]}, {"id": [4], "y": [2.5]})
    assert table.rows("id", "x", "y") == [(3, None, 1.5), (4, None, 2.5)]
    bigquery.front.poison = b"poison"
    table.load({"id": [5, 6, 7], "x": ["c", "poison", "d"]})
    assert table.rows("id", "x") == [(5, "c"), (7, "d")]
    (receipt,) = table.load({"id": [8], "x": ["poison"]})
    assert (receipt.rows, receipt.quarantined) == (0, 1)
    assert table.rows("id") == [(5,), (7,)]
    assert bigquery.query(f"SELECT count(*) FROM {table.did}.INFORMATION_SCHEMA.TABLES") == [(1,)]


def test_a_merge_keeps_the_newest_version_of_each_key_whatever_is_lost_on_the_way(
    bigquery: Emulator, tmp_path: Path
) -> None:
    table = Table(bigquery, tmp_path, key="id", version="v")
    table.load({"id": [1, 1, 2], "v": [1, 2, 1], "x": ["old", "new", "a"], "z": ["kept", "kept", "kept"]})
    one = table.shard({"id": [1, 2, 3], "v": [1, 1, None], "x": ["older", "tie", "c"]})
    bigquery.front.fail(ANSWER_LOST, lambda seen: seen.is_query and "MERGE" in str(seen.job))
    bigquery.front.fail(UNAVAILABLE, lambda seen: seen.method == "GET" and "_last_" in seen.path)
    for _ in range(2):
        try:
            table.load(one)
        except RetryableError:
            table.restart()
    (receipt,) = table.load(one)
    assert receipt.duplicate
    assert table.rows("id", "v", "x", "z") == [(1, 2, "new", "kept"), (2, 1, "tie", "kept"), (3, None, "c", None)]
    table.load({"id": [4, None], "v": [1, 1]}, {"v": [5]}, {"id": [3], "x": ["without a version"]})
    assert table.rows("id", "x")[2:] == [(3, "without a version"), (4, None)]
    assert len(table.quarantine.reasons) == 2
    assert bigquery.query(f"SELECT count(*) FROM {table.did}.INFORMATION_SCHEMA.TABLES") == [(1,)]


def test_a_table_that_is_dropped_while_its_rows_are_staged_is_made_anew(bigquery: Emulator, tmp_path: Path) -> None:
    table = Table(bigquery, tmp_path, key="id")
    one = table.shard({"id": [1]})
    bigquery.front.fail(UNAVAILABLE, lambda seen: seen.is_query and "MERGE" in str(seen.job))
    with pytest.raises(RetryableError):
        table.load(one)
    bigquery.query(f"DROP TABLE {table.name}")
    with pytest.raises(RetryableError, match="notFound"):
        table.load(one)
    (receipt,) = table.load(one)
    assert (receipt.rows, receipt.duplicate) == (1, False)
    assert table.rows("id") == [(1,)]
    assert bigquery.query(f"SELECT count(*) FROM {table.did}.INFORMATION_SCHEMA.TABLES") == [(1,)]


def test_if_exists_fail_spares_a_table_that_was_there(bigquery: Emulator, tmp_path: Path) -> None:
    own = Table(bigquery, tmp_path / "own", if_exists="fail")
    own.load({"id": [1]})
    own.restart()
    own.load({"id": [2]})
    other = Table(bigquery, tmp_path / "other", if_exists="fail", did=own.did, batch_column="_batch")
    for _ in range(2):
        with pytest.raises(FatalError, match='if_exists="fail"'):
            other.load({"id": [3]})
    with pytest.raises(FatalError, match='set location="US"'):
        other.restart(location="EU").connect()
    assert own.rows("id") == [(1,), (2,)]


def test_a_table_that_was_there_keeps_its_columns_and_takes_what_fits_them(bigquery: Emulator, tmp_path: Path) -> None:
    table = Table(bigquery, tmp_path, if_exists="append")
    table.sink.connect()
    bigquery.query(
        f"CREATE TABLE {table.name} (id INT64 NOT NULL, amount NUMERIC(5, 2), code STRING(3), at TIMESTAMP, doc JSON)"
    )
    good = {"id": 1, "amount": Decimal("123.45"), "code": "abc", "doc": '{"big": 12345678901234567890, "a": [1]}'}
    bad = [
        {"id": None},
        {"id": 2, "amount": Decimal("1234.5")},
        {"id": 3, "amount": Decimal("0.125")},
        {"id": 4, "code": "abcd"},
    ]
    rows = [{**dict.fromkeys(good), **row} for row in (good, *bad, {"id": 5, "doc": "{"})]
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("amount", pa.decimal128(10, 3)),
            ("code", pa.string()),
            pa.field("doc", pa.string(), metadata=JSON_METADATA),
        ]
    )
    (receipt,) = table.load(pa.Table.from_pylist(rows, schema=schema))
    assert (receipt.rows, receipt.quarantined) == (1, 5)
    assert table.rows("id", "amount", "code") == [(1, Decimal("123.45"), "abc")]
    assert bigquery.query(f"SELECT JSON_VALUE(doc, '$.a[0]') FROM {table.name}") == [("1",)]
    assert [reason.partition(" cannot take")[0] for reason in table.quarantine.reasons] == [
        'column "id" (INTEGER)',
        'column "amount" (NUMERIC)',
        'column "amount" (NUMERIC)',
        'column "code" (STRING(3))',
        'column "doc" (JSON)',
    ]
    bigquery.query(f"ALTER TABLE {table.name} DROP COLUMN code")
    table.load({"id": [6], "code": ["new"], "new field!": [True]})
    assert table.rows("code")[-1:] == [("new",)]
    assert [name for name in table.types() if name.startswith("new_field_")]
    bigquery.query(f"DROP TABLE {table.name}")
    table.load({"id": [7]})
    assert table.rows("id") == [(7,)]


def test_a_table_that_is_made_is_partitioned_and_clustered_as_asked_and_stays_so(
    bigquery: Emulator, tmp_path: Path
) -> None:
    table = Table(bigquery, tmp_path, if_exists="replace", partition_by="at", partition_type="MONTH", cluster_by=["id"])
    at = datetime(2026, 1, 31, tzinfo=UTC)
    table.load({"id": [1], "at": [at]})
    table.load({"id": [2], "at": [at]})
    made = table.sink._tables.get()
    assert made is not None
    assert (made.time_partitioning.type_, made.time_partitioning.field) == ("MONTH", "at")
    assert made.clustering_fields == ["id"]
    assert table.rows("id", "at") == [(2, at)]


def test_a_large_batch_is_cut_into_jobs_of_chunk_size_rows(bigquery: Emulator, tmp_path: Path) -> None:
    table = Table(bigquery, tmp_path, chunk_size=40)
    table.load({"id": list(range(100))})
    assert bigquery.front.loads[table.name] == 3
    assert table.rows("COUNT(*)", "MAX(id)", by="1") == [(100, 99)]


def test_four_minutes_of_polls_every_ten_seconds_are_four_jobs(bigquery: Emulator, tmp_path: Path) -> None:
    did, now = bigquery.dataset(), [1000.0]
    goal = parse_goal("test", pid=PROJECT, did=did, tid="t", load_every="1m")
    access = Access(bigquery.keys, PROJECT, "US", bigquery.url)
    folders = {name: tmp_path / name for name in ("staging", "parked", "state")}
    options: dict[str, Any] = {"stream": "c/memory", "goal": goal, "access": access, **folders}
    bench = Bench(tmp_path / "store", BigQuerySink(**options, clock=lambda: now[0]))
    bench.delivery.clock = lambda: now[0]
    for number in range(24):
        bench.accept(number)
        while bench.delivery.due_in_s() == 0.0:
            bench.delivery.step()
        now[0] += 10.0
    assert 3 <= bigquery.front.loads[f"{did}.t"] <= 5
    now[0] += 60.0
    bench.delivery.step()
    bench.close()
    assert bigquery.query(f"SELECT COUNT(*) FROM {did}.t") == [(24,)]
    # Started again and again, a daemon keeps to it too.
    assert 30.0 < BigQuerySink(**options).wait_s() <= 60.0


def test_the_daemon_loads_what_is_collected_once_though_it_is_killed(bigquery: Emulator, tmp_path: Path) -> None:
    did = bigquery.dataset()
    source = f"""
    from api2db import Cursor, collector
    from api2db.stream import Stream2Bigquery

    TARGET = Stream2Bigquery("numbers", {str(bigquery.keys)!r}, {PROJECT!r}, {did!r}, "t", load_every=0,
                             batch_column="_batch", api_endpoint={bigquery.url!r})

    @collector(every="100ms", to=[TARGET])
    def numbers(since=Cursor("n", start=0)):
        if int(since) < 40:
            yield [{{"n": n}} for n in range(int(since) + 1, int(since) + 11)]
    """
    project = Project(tmp_path, numbers=source)
    try:
        for point in ("bigquery.frozen:1", "bigquery.submitted:1", "bigquery.entered:1"):
            assert project.start(env={"API2DB_FAILPOINT": point}).wait(TIMEOUT_S) == -signal.SIGKILL
        process = project.start()
        eventually(lambda: len(_numbers(bigquery, did)) >= 40 and not project.waiting(), what=project.console)
        assert project.stop(process) == 0
        assert _numbers(bigquery, did) == list(range(1, 41))
        # The ledger has them all; that one was deleted since only the table itself can say.
        bigquery.query(f"DELETE FROM {did}.t WHERE n = 7")
        code, told = audit(project.folder)
        (stream,) = told["collectors"][0]["streams"]
        assert (code, stream["loaded"], stream["checked"]) == (1, 40, "ledger"), told
        assert [finding["kind"] for finding in stream["findings"]] == ["table_differs"], told
    finally:
        project.close()


def _numbers(bigquery: Emulator, did: str) -> list[int]:
    return [number for (number,) in bigquery.query(f"SELECT n FROM {did}.t ORDER BY n")]


def audit(folder: Path) -> tuple[int, dict[str, Any]]:
    """Exit status and answer of ``api2db audit --deep --json``."""
    done = warm.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "audit", "--deep", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
