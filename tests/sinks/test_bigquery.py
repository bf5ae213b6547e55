"""Load jobs into BigQuery's emulator, by Google's own client, through whatever goes wrong on the way."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from api2db.errors import RetryableError
from tests.bigquery import PROJECT, Emulator
from tests.google_front import ANSWER_LOST, DROPPED, RATE_LIMITED, TOO_MANY, UNAVAILABLE, Seen, Trouble
from tests.project_kit import TIMEOUT_S, Project, eventually
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


@pytest.mark.parametrize("trouble", [UNAVAILABLE, RATE_LIMITED, TOO_MANY, DROPPED, ANSWER_LOST])
def test_whatever_becomes_of_the_request_its_rows_are_in_once(table: Table, trouble: Trouble) -> None:
    table.load({"id": [1]})
    table.emulator.front.fail(trouble, load_job)
    one = table.shard({"id": [2]})
    try:
        table.load(one)
    except RetryableError:
        assert len(table.left()) == 2
        table.restart()
        table.load(one, table.shard({"id": [3]}))
    else:
        assert trouble is ANSWER_LOST
        table.load(table.shard({"id": [3]}))
    assert table.rows("id") == [(1,), (2,), (3,)]
    assert table.left() == []


def test_the_daemon_loads_what_is_collected_once_though_it_is_killed(bigquery: Emulator, tmp_path: Path) -> None:
    did = bigquery.dataset()
    source = f"""
    from api2db import Cursor, collector
    from api2db.stream import Stream2Bigquery

    TARGET = Stream2Bigquery("numbers", {str(bigquery.keys)!r}, {PROJECT!r}, {did!r}, "t", load_every=0,
                             api_endpoint={bigquery.url!r})

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
    finally:
        project.close()


def _numbers(bigquery: Emulator, did: str) -> list[int]:
    return [number for (number,) in bigquery.query(f"SELECT n FROM {did}.t ORDER BY n")]
