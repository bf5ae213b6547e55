"""The report: equal only when every version served is stored once, and every event in its latest."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api2db.demo.replay import Served
from api2db.demo.report import Key, Report, report

T = 1_517_364_000_123
VERSIONS = (("a", T), ("b", T + 1), ("a", T + 2))
LATEST = (("b", T + 1), ("a", T + 2))


@pytest.fixture(params=["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f+00:00"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> _Store:
    return _Store(tmp_path, request.param)


class _Store:
    def __init__(self, folder: Path, time_format: str) -> None:
        self.database = folder / "database.sqlite"
        self.files = folder / "earthquakes" / "parquet"
        self.base = folder
        self._time_format = time_format

    def keep(self, versions: Sequence[Key], rows: Sequence[Key]) -> None:
        self.files.mkdir(parents=True)
        for number, (event_id, updated_ms) in enumerate(versions):
            table = pa.table(
                {
                    "id": [event_id],
                    "updated": pa.array([updated_ms * 1000], pa.timestamp("us", "UTC")),
                    "mag": [1.0],
                }
            )
            pq.write_table(table, self.files / f"{number}.parquet")
        (self.files / "half.tmp").write_bytes(b"not a file of ours")
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("CREATE TABLE earthquakes (mag REAL, id TEXT, updated TEXT)")
            connection.executemany(
                "INSERT INTO earthquakes VALUES (1, ?, ?)",
                [(event_id, self._text(at)) for event_id, at in rows],
            )

    def _text(self, at_ms: int) -> str:
        whole, milliseconds = divmod(at_ms, 1000)
        moment = datetime.fromtimestamp(whole, UTC).replace(microsecond=milliseconds * 1000)
        return moment.strftime(self._time_format)

    def report(self, taken: Sequence[Key], offered: Sequence[Key] = (), waiting_batches: int = 0) -> Report:
        return report(
            Served(frozenset(taken), frozenset(offered)),
            database=self.database,
            table="earthquakes",
            files=self.files,
            waiting_batches=waiting_batches,
            base=self.base,
        )


def test_all_stored_is_said_in_one_line(folder: _Store) -> None:
    folder.keep(VERSIONS, LATEST)
    result = folder.report(VERSIONS)
    assert result.equal
    assert result.text == (
        "3 versions served = 3 versions stored in earthquakes/parquet; "
        "2 events served = 2 rows in database.sqlite, each in its latest version."
    )


def test_the_last_answer_counts_when_it_was_stored_and_not_when_a_kill_cut_it_off(folder: _Store) -> None:
    folder.keep(VERSIONS, LATEST)
    result = folder.report(VERSIONS[:2], offered=[VERSIONS[2], ("c", T)])
    assert result.equal
    assert result.versions_served == 3
    assert result.cut_off == 1
    assert "1 other version is only in answers that were never accepted" in result.text


@pytest.mark.parametrize(
    ("versions", "rows", "field", "words"),
    [
        (VERSIONS[:2], LATEST, "versions_missing", "1 version is MISSING from earthquakes/parquet."),
        ((*VERSIONS, VERSIONS[0]), LATEST, "versions_twice", "1 version is there more than once"),
        ((*VERSIONS, ("x", T)), LATEST, "versions_unknown", "1 version is in earthquakes/parquet that this"),
        (VERSIONS, LATEST[:1], "events_missing", "1 event is MISSING from database.sqlite."),
        (VERSIONS, VERSIONS[:2], "events_outdated", "1 event is NOT in the latest version"),
        (VERSIONS, (*LATEST, VERSIONS[0]), "events_twice", "1 event is there more than once"),
        (VERSIONS, (*LATEST, ("x", T)), "events_unknown", "1 event is in database.sqlite that this demo"),
    ],
)
def test_each_way_to_be_wrong_is_named(
    folder: _Store, versions: Sequence[Key], rows: Sequence[Key], field: str, words: str
) -> None:
    folder.keep(versions, rows)
    result = folder.report(VERSIONS)
    assert not result.equal
    assert getattr(result, field) == 1
    assert words in result.text


def test_what_is_waiting_is_not_called_missing(folder: _Store) -> None:
    folder.keep(VERSIONS[:1], VERSIONS[:1])
    result = folder.report(VERSIONS, waiting_batches=2)
    assert not result.equal
    assert "MISSING" not in result.text
    assert "2 versions are still on the way to earthquakes/parquet." in result.text
    assert "1 event is still on the way to database.sqlite." in result.text
    assert "1 event is not yet in the latest version" in result.text


def test_looking_leaves_nothing_behind(folder: _Store) -> None:
    folder.keep(VERSIONS, LATEST)
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    before = sorted(folder.base.rglob("*"))
    assert folder.report(VERSIONS).equal
    assert sorted(folder.base.rglob("*")) == before


def test_nothing_stored_yet_is_a_report_too(folder: _Store) -> None:
    assert folder.report(()).equal
    result = folder.report(VERSIONS)
    assert (result.versions_missing, result.events_missing) == (3, 2)
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.execute("CREATE TABLE other (x)")
    assert folder.report(VERSIONS).events_missing == 2
