"""The Storage Write API: each row once whatever is cut off, killed, finalized or forgotten."""

from __future__ import annotations

import signal
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from api2db.errors import ConfigError, FatalError, RetryableError
from api2db.schema import JSON_METADATA
from api2db.stream import Stream2Bigquery
from tests.bigquery import PROJECT, Emulator
from tests.project_kit import TIMEOUT_S, Project, eventually
from tests.sinks.bigquery_kit import Table
from tests.storage_front import APPEND, CREATE, FINALIZE, Cut


def fresh(bigquery: Emulator, folder: Path, **options: Any) -> Table:
    return Table(bigquery, folder, load_every=None, fresh=True, storage_endpoint=bigquery.storage.url, **options)


def ids(table: Table) -> list[int]:
    return [number for (number,) in table.rows("id")]


def test_rows_are_written_as_they_come_and_never_by_a_job(bigquery: Emulator, tmp_path: Path) -> None:
    table = fresh(bigquery, tmp_path)
    for number in range(3):
        table.load({"id": [number]}, {"id": [number + 10]})
    assert ids(table) == [0, 1, 2, 10, 11, 12]
    assert bigquery.front.loads[table.name] == 0
    assert (bigquery.storage.seen[APPEND], bigquery.storage.seen[CREATE]) == (3, 1)
    assert table.left() == []


def test_frozen_rows_that_are_lost_are_in_once(bigquery: Emulator, tmp_path: Path) -> None:
    table = fresh(bigquery, tmp_path)
    table.load({"id": [0]})
    for number, passes in enumerate((False, True), 1):
        one = table.shard({"id": [number]})
        bigquery.storage.cut(APPEND, Cut(passes=passes))
        with pytest.raises(RetryableError):
            table.load(one)
        (rows,) = table.staging.glob("*.rows")
        rows.unlink()
        table.restart()
        if not passes:
            with pytest.raises(RetryableError, match=r"is missing: nothing of it is in"):
                table.load(one)
        assert [receipt.rows for receipt in table.load(one)] == [1]
    assert ids(table) == [0, 1, 2]
    assert table.left() == []


def test_every_type_arrives_as_by_a_job(bigquery: Emulator, tmp_path: Path) -> None:
    doc = pa.field("doc", pa.string(), metadata=JSON_METADATA)
    fields: list[Any] = [("id", pa.int64()), ("f", pa.float64()), ("b", pa.bool_()), ("s", pa.string())]
    fields += [
        ("d", pa.date32()),
        ("t", pa.time64("us")),
        ("at", pa.timestamp("us")),
        ("in", pa.timestamp("us", "UTC")),
    ]
    fields += [("n", pa.decimal128(20, 4)), ("big", pa.decimal128(38, 20)), ("raw", pa.binary()), doc]
    at = datetime(2026, 1, 2, 3, 4, 5, 678901)
    full = [1, 1.5, True, "é", date(2026, 1, 2), time(3, 4, 5, 6), at, at.replace(tzinfo=UTC)]
    full += [Decimal("12.3456"), Decimal("1.00000000000000000001"), b"\0\xff", '{"a": [1, null]}']
    schema = pa.schema(fields)
    rows = [dict(zip(schema.names, full, strict=True)), {"id": 2}]
    table, job = fresh(bigquery, tmp_path / "a"), Table(bigquery, tmp_path / "b")
    for each in (table, job):
        each.load(pa.Table.from_pylist(rows, schema=schema))
    assert table.types() == job.types()
    assert table.rows() == job.rows()
    assert table.rows("JSON_VALUE(doc, '$.a[0]')")[0] == ("1",)


@pytest.mark.parametrize("passes", [False, True], ids=["before it is done", "after it is done"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "and restarted"])
def test_an_append_that_is_cut_off_is_in_once(
    bigquery: Emulator, tmp_path: Path, passes: bool, restarted: bool
) -> None:
    table = fresh(bigquery, tmp_path)
    table.load({"id": [1]})
    two, three = table.shard({"id": [2, 3]}), table.shard({"id": [4]})
    bigquery.storage.cut(APPEND, Cut(passes=passes))
    with pytest.raises(RetryableError, match="cut by the test"):
        table.load(two)
    if restarted:
        table.restart()
    # More came meanwhile: what was under way is brought to its end as it was.
    receipts = table.load(two, three)
    assert [(one.rows, one.duplicate) for one in receipts] == [(2, True), (1, False)]
    assert ids(table) == [1, 2, 3, 4]
    assert table.left() == []


def test_a_stream_that_somebody_finalized_is_replaced_and_what_was_in_doubt_is_told_by_its_end(
    bigquery: Emulator, tmp_path: Path
) -> None:
    table = fresh(bigquery, tmp_path)
    table.load({"id": [1]})
    _finalize(table)
    with pytest.raises(RetryableError):
        table.load({"id": [2]})
    table.load({"id": [2]})
    lost = table.shard({"id": [3, 4]})
    bigquery.storage.cut(APPEND, Cut(passes=True))
    with pytest.raises(RetryableError):
        table.load(lost)
    _finalize(table)
    table.restart().connect()
    table.load(lost)
    assert ids(table) == [1, 2, 3, 4]
    assert bigquery.storage.seen[FINALIZE] == 2 + 2


def test_a_stream_that_is_made_unheard_of_does_no_harm(bigquery: Emulator, tmp_path: Path) -> None:
    table = fresh(bigquery, tmp_path)
    one = table.shard({"id": [1]})
    bigquery.storage.cut(CREATE, Cut(passes=True))
    with pytest.raises(RetryableError, match="cut by the test"):
        table.load(one)
    table.restart()
    table.load(one)
    assert ids(table) == [1]


def test_a_stream_whose_end_is_elsewhere_is_left_and_nothing_is_taken_for_written(
    bigquery: Emulator, tmp_path: Path
) -> None:
    for number, wrong in enumerate((5, -1)):
        table = fresh(bigquery, tmp_path / str(number))
        table.load({"id": [1, 2]})
        table.sink._appends._end += wrong
        with pytest.raises(RetryableError):
            table.load({"id": [3]})
        table.load({"id": [3]})
        assert ids(table) == [1, 2, 3]


def test_rows_of_which_google_has_forgotten_the_stream_are_left_to_a_person_if_they_may_be_in(
    bigquery: Emulator, tmp_path: Path
) -> None:
    table = fresh(bigquery, tmp_path)
    table.load({"id": [1]})
    bigquery.storage.forget(_stream_of(table))
    with pytest.raises(RetryableError):
        table.load({"id": [2]})
    table.load({"id": [2]})
    one = table.shard({"id": [3]})
    bigquery.storage.cut(APPEND, Cut())
    with pytest.raises(RetryableError):
        table.load(one)
    bigquery.storage.forget(_stream_of(table))
    with pytest.raises(
        FatalError, match=r"\.job: Google has forgotten the stream .* look there, then remove that file"
    ):
        table.load(one)
    assert ids(table) == [1, 2]


def test_rows_larger_than_a_request_are_kept_and_the_others_are_in(bigquery: Emulator, tmp_path: Path) -> None:
    table = fresh(bigquery, tmp_path)
    (receipt,) = table.load({"id": [1, 2, 3], "text": ["a", "b" * 10_000_000, "c"]})
    assert (receipt.rows, receipt.quarantined) == (2, 1)
    assert ids(table) == [1, 3]
    assert "10 MB" in table.quarantine.reasons[0]


@pytest.mark.parametrize("options", [{"key": "id"}, {"if_exists": "replace"}, {"load_every": "1m"}])
def test_what_cant_be_written_that_way_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="fresh=True"):
        Stream2Bigquery("weather", None, PROJECT, "d", fresh=True, **options)


def test_a_daemon_killed_around_its_appends_has_each_row_in_once(bigquery: Emulator, tmp_path: Path) -> None:
    did = bigquery.dataset()
    toml = f"""
    [places.google]
    type = "bigquery"
    auth_path = "{bigquery.keys}"
    did = "{did}"
    fresh = true
    api_endpoint = "{bigquery.url}"
    storage_endpoint = "{bigquery.storage.url}"
    """
    source = """
    from api2db import Cursor, collector

    @collector(every="50ms", to=["google"])
    def numbers(since=Cursor("n", start=0)):
        if int(since) < 200:
            yield [{"n": n} for n in range(int(since) + 1, int(since) + 11)]
    """
    project = Project(tmp_path, toml=toml, numbers=source)
    try:
        for passes in (True, False):
            process = project.start()
            bigquery.storage.cut(APPEND, Cut(passes, lambda process=process: process.send_signal(signal.SIGKILL)))
            assert process.wait(TIMEOUT_S) == -signal.SIGKILL, project.console
        process = project.start()
        numbers = f"SELECT n FROM {did}.numbers ORDER BY n"
        eventually(lambda: len(bigquery.query(numbers)) >= 200 and not project.waiting(), what=project.console)
        assert project.stop(process) == 0
        assert bigquery.query(numbers) == [(n,) for n in range(1, 201)]
    finally:
        project.close()


def _stream_of(table: Table) -> str:
    name: str = table.sink._appends._stream or table.sink._manifest.write_stream
    return name


def _finalize(table: Table) -> None:
    table.sink._access.writer.finalize_write_stream(name=_stream_of(table))
