"""What people do to a dataset in BigQuery while a stream loads into it, and a STORE that is full just then."""

from __future__ import annotations

from pathlib import Path

import pytest

from api2db.batch import Batch
from api2db.errors import FatalError, RetryableError
from tests.bigquery import Emulator
from tests.google_front import UNAVAILABLE
from tests.sinks.bigquery_kit import Table


def test_a_dataset_that_someone_drops_is_made_anew_though_a_job_was_under_way(
    bigquery: Emulator, tmp_path: Path
) -> None:
    table = Table(bigquery, tmp_path)
    before = table.shard({"id": [1]})
    table.load(before)
    one = table.shard({"id": [2]})
    bigquery.front.fail(UNAVAILABLE, lambda seen: seen.is_load)
    with pytest.raises(RetryableError):
        table.load(one)
    bigquery.query(f"DROP SCHEMA {table.did} CASCADE")
    with pytest.raises(RetryableError, match="notFound"):
        table.load(one)
    table.sink.connect()
    receipts = table.load(before, one)
    # The ledger is in STORE: what was delivered once isn't again, whatever became of it.
    assert [(receipt.rows, receipt.duplicate) for receipt in receipts] == [(1, True), (1, False)]
    assert table.rows("id") == [(2,)]
    assert table.left() == []


def test_columns_that_someone_drops_or_changes_in_bigquery_take_what_fits_them(
    bigquery: Emulator, tmp_path: Path
) -> None:
    table = Table(bigquery, tmp_path)
    table.load({"id": [1], "name": ["a"], "v": [0.5]})
    one = table.shard({"id": [2, 3], "name": ["b", "c"], "v": [22.0, 3.25]})
    bigquery.front.fail(UNAVAILABLE, lambda seen: seen.is_load)
    with pytest.raises(RetryableError):
        table.load(one)  # frozen for the table as it was
    bigquery.query(f"CREATE OR REPLACE TABLE {table.name} AS SELECT id, 1 AS v FROM {table.name}")
    bigquery.front.strict = True
    assert delivered(table, one) == (1, 1)
    assert table.rows("id", "name", "v") == [(1, None, 1), (2, "b", 22)]
    assert [row["v"] for row in table.quarantine.rows] == [3.25]
    assert "3.25" in table.quarantine.reasons[0]
    bigquery.query(f"ALTER TABLE {table.name} RENAME TO kept")
    assert delivered(table, table.shard({"id": [4]})) == (1, 0)
    assert table.rows("id") == [(4,)]
    assert bigquery.query(f"SELECT count(*) FROM {table.did}.kept") == [(2,)]


def delivered(table: Table, one: Batch) -> tuple[int, int]:
    """As delivery does: a load that is to be repeated is."""
    for _ in range(3):
        try:
            (receipt,) = table.load(one)
            return receipt.rows, receipt.quarantined
        except RetryableError:
            continue
    raise AssertionError("three loads in a row were refused")


def test_a_store_that_is_full_at_the_manifest_costs_a_repeat_and_no_row(bigquery: Emulator, small_disk: Path) -> None:
    table = Table(bigquery, small_disk)
    table.load({"id": [0]})
    ballast, refused = small_disk / "ballast", []
    for free_pages in range(4):
        one = table.shard({"id": [free_pages + 1]})
        fill(small_disk, ballast, free_pages)
        try:
            table.load(one)
        except RetryableError as error:
            refused.append(str(error))
        ballast.unlink()
        (receipt,) = table.load(one)
        assert (receipt.rows, receipt.quarantined) == (1, 0)
    assert all("No space left on device" in said for said in refused[:2])
    assert len(refused) > 1
    assert table.rows("id") == [(number,) for number in range(5)]
    assert bigquery.front.loads[table.name] == 5
    assert table.left() == []


def fill(folder: Path, ballast: Path, free_pages: int) -> None:
    with ballast.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 4096)
        file.truncate(file.tell() - 4096 * free_pages)


def test_a_dataset_in_another_location_stops_the_stream_and_says_so(bigquery: Emulator, tmp_path: Path) -> None:
    table = Table(bigquery, tmp_path)
    table.load({"id": [1]})
    one = table.shard({"id": [2]})
    with pytest.raises(FatalError, match='the dataset is in US: set location="US"'):
        table.restart(location="EU").connect()
    table.restart(location="US")
    table.load(one)
    assert table.rows("id") == [(1,), (2,)]
