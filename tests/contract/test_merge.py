"""Merge: one row a key, the newest version, whatever the order, the batches and the number of daemons."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api2db.batch import Receipt
from api2db.errors import FatalError
from api2db.sinks.duck_connection import open_file
from tests.contract.conftest import MakeSink
from tests.contract.places import DuckDBPlace, Place, Quarantine, batch, every_place, load, table_name

NAN = float("nan")
UTC = dt.UTC


@pytest.fixture(autouse=True)
def _open_meanwhile(place: Place) -> Iterator[None]:
    """A load opens and closes DuckDB's file, most of its time, and that is tried elsewhere: here it stays open."""
    if not isinstance(place, DuckDBPlace):
        yield
        return
    with closing(open_file(place.path, read_only=False, timeout_s=60)):
        yield


def test_key_columns_become_the_primary_key(place: Place, make_sink: MakeSink) -> None:
    load(make_sink(table="t", key=("b", "a")), batch({"a": [1], "b": ["x"], "c": [2.0]}))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        place.query("INSERT INTO t (a, b) VALUES (1, 'x')")


@every_place
def test_newest_version_wins_ties_go_to_the_later_row(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", key=("id",), version="v")
    load(sink, batch({"id": [1, 1, 2, 3], "v": [5, 4, 1, 1], "x": ["new", "old", "a", "b"]}))
    load(sink, batch({"id": [1, 2], "v": [3, 1], "x": ["older", "tie"]}), batch({"id": [3], "v": [2], "x": ["c"]}))
    assert place.query("SELECT id, v, x FROM t ORDER BY id") == [(1, 5, "new"), (2, 1, "tie"), (3, 2, "c")]


@every_place
def test_without_version_the_later_row_wins(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", key="id")
    load(sink, batch({"id": [1, 2, 1], "x": ["a", "b", "c"]}))
    load(sink, batch({"id": [2], "x": ["d"]}))
    assert place.query("SELECT id, x FROM t ORDER BY id") == [(1, "c"), (2, "d")]


@every_place
def test_null_is_the_oldest_version(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", key="id", version="v")
    load(sink, batch({"id": [1, 2, 3], "v": [1.5, None, None], "x": ["a", "b", "c"]}))
    load(sink, batch({"id": [1, 2, 3], "v": [None, None, -9.0], "x": ["no", "tie", "newer"]}))
    assert place.query("SELECT id, v, x FROM t ORDER BY id") == [(1, 1.5, "a"), (2, None, "tie"), (3, -9.0, "newer")]


@every_place
def test_a_row_without_key_or_with_nan_goes_to_quarantine(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", key=("k", "l"), version="v")
    rows = {"k": [1.0, None, NAN, 2.0, 3.0], "l": ["a", "a", "a", None, "c"], "v": [1.0, 1.0, 1.0, 1.0, NAN]}
    quarantine = load(sink, batch(rows))
    assert len(quarantine.reasons) == 4
    assert place.query("SELECT k, l FROM t") == [(1.0, "a")]


@pytest.mark.parametrize("rows", [{"x": [1, 2]}, {"x": [1, 2], "id": pa.nulls(2)}])
def test_a_batch_without_the_key_column_goes_to_quarantine(place: Place, make_sink: MakeSink, rows: Any) -> None:
    sink, wrong = make_sink(table="t", key="id"), batch(rows)
    assert sink.load([wrong], Quarantine()) == [Receipt(wrong.batch_id, 0, quarantined=2)]
    load(sink, batch({"id": [1], "x": [5]}))
    wrong = batch(rows)
    assert sink.load([wrong], Quarantine()) == [Receipt(wrong.batch_id, 0, quarantined=2)]
    assert place.query("SELECT id, x FROM t") == [(1, 5)]


@every_place
def test_columns_a_batch_lacks_are_left_as_they_are(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", key="id")
    load(sink, batch({"id": [1, 2], "a": [1, 2], "b": ["x", "y"]}))
    load(sink, batch({"id": [1, 3], "b": ["z", "w"]}), batch({"id": [2], "c": [True]}), batch({"id": [2]}))
    rows = place.query("SELECT id, a, b, c FROM t ORDER BY id")
    assert rows == [(1, 1, "z", None), (2, 2, "y", True), (3, None, "w", None)]


@every_place
def test_a_batch_without_versions_never_replaces_a_version(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", key="id", version="v")
    load(sink, batch({"id": [1], "x": ["first"]}), batch({"id": [1], "v": pa.nulls(1), "x": ["second"]}))
    load(sink, batch({"id": [1], "v": [3], "x": ["third"]}))
    load(sink, batch({"id": [1, 2], "x": ["no", "new"]}))
    assert place.query("SELECT id, v, x FROM t ORDER BY id") == [(1, 3, "third"), (2, None, "new")]


@every_place
def test_an_existing_table_needs_a_unique_index_over_the_key(place: Place, make_sink: MakeSink) -> None:
    place.query('CREATE TABLE t (id integer, "k k" integer, x integer UNIQUE)')
    sink, one = make_sink(table="t", key=("k k", "id")), batch({"id": [1], "k k": [2], "x": [3]})
    with pytest.raises(FatalError, match="CREATE UNIQUE INDEX") as refused:
        load(sink, one)
    place.query(str(refused.value).partition("run: ")[2])
    load(sink, one)
    load(sink, batch({"id": [1], "k k": [2], "x": [4]}))
    assert place.query("SELECT * FROM t") == [(1, 2, 4)]


@every_place
def test_a_row_the_database_refuses_is_found_in_a_merge_too(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer PRIMARY KEY, v integer, CHECK (v <> 77))")
    sink = make_sink(table="t", key="id", version="v")
    load(sink, batch({"id": [5], "v": [76]}))
    bad = batch({"id": [*range(100), 5], "v": [*range(100), 77]})
    quarantine = Quarantine()
    assert sink.load([bad], quarantine) == [Receipt(bad.batch_id, 99, quarantined=2)]
    assert [row["id"] for row in quarantine.rows] == [77, 5]
    assert place.query("SELECT count(*), sum(v) FROM t") == [(99, 4950 - 77 - 5 + 76)]


VERSIONS: list[tuple[str, list[Any]]] = [
    ("integers", [-5, 9, 10, 2**63 - 1]),
    ("big", [0, 9, 10, 2**63 + 5, 2**64 - 1]),
    ("floats", [float("-inf"), -0.5, 9.0, 10.5, float("inf")]),
    ("decimals", [Decimal("-10.00"), Decimal("-9.50"), Decimal("9.00"), Decimal("10.10")]),
    ("text", ["", "10", "9", "Z", "a", "z", "é", "日", "🌍"]),
    ("dates", [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31)]),
    ("naive", [dt.datetime(1, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), dt.datetime(2026, 1, 1)]),
    ("aware", [dt.datetime(1969, 1, 1, tzinfo=UTC), dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]),
    ("times", [dt.time(0), dt.time(9, 59), dt.time(23, 59, 59, 999_999)]),
]


@pytest.mark.parametrize("versions", [values for _, values in VERSIONS], ids=[name for name, _ in VERSIONS])
def test_versions_of_every_type_are_ordered_rightly(place: Place, make_sink: MakeSink, versions: list[Any]) -> None:
    sink = make_sink(table="t", key="id", version="v")
    if place.name == "mariadb":
        versions = [version for version in versions if version not in (float("-inf"), float("inf"))]
    kind = pa.uint64() if versions[-1] == 2**64 - 1 else pa.array(versions).type

    def rows(order: list[Any]) -> pa.Table:
        return pa.table({"id": [1] * len(order), "v": pa.array(order, kind), "n": [versions.index(v) for v in order]})

    for order in (versions, versions[::-1], versions[1:] + versions[:1]):
        load(sink, batch(rows(order)))
        assert place.query("SELECT n FROM t") == [(len(versions) - 1,)]
    place.query("DELETE FROM t")
    for position, version in enumerate(versions):
        load(sink, batch(rows([version])))
        load(sink, batch(rows([versions[0]])))
        assert place.query("SELECT n FROM t") == [(position,)]


KEYS = st.integers(0, 5)
ROWS = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 4), st.integers()), max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(loads=st.lists(st.lists(ROWS, min_size=1, max_size=3), max_size=5), versioned=st.booleans())
def test_merge_equals_a_dict(place: Place, make_sink: MakeSink, loads: Any, versioned: bool) -> None:
    name = table_name()
    sink = make_sink(table=name, key="id", version="v" if versioned else None)
    expected: dict[int, tuple[int | None, int]] = {}
    number = 0
    for batches in loads:
        tables = []
        for rows in batches:
            serial = []
            for key, version, _ in rows:
                number += 1
                serial.append(number)
                stored = expected.get(key, (None, 0))[0]
                if not versioned or stored is None or (version is not None and version >= stored):
                    expected[key] = version, number
            columns = {"id": [r[0] for r in rows], "v": [r[1] for r in rows], "n": serial}
            tables.append(pa.table(columns, schema=pa.schema([(c, pa.int64()) for c in columns])))
        load(sink, *map(batch, tables))
    found = place.query(f"SELECT id, v, n FROM {name}") if loads else []
    assert {key: (version, serial) for key, version, serial in found} == expected
    sink.close()
