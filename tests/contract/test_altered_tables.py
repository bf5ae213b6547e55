"""A table that someone alters while a stream loads into it: rows keep coming, and what no longer fits is kept aside."""

from __future__ import annotations

import pytest

from api2db.batch import Batch, Receipt
from api2db.errors import RetryableError
from api2db.sinks.sql import SqlSink
from tests.contract.conftest import MakeSink
from tests.contract.places import Place, Quarantine, batch, every_place


def deliver(sink: SqlSink, one: Batch, quarantine: Quarantine) -> Receipt:
    """As delivery does: a load that is to be repeated is."""
    for _ in range(3):
        try:
            return sink.load([one], quarantine)[0]
        except RetryableError:
            continue
    raise AssertionError("three loads in a row were refused")


@every_place
def test_a_column_that_someone_drops_is_made_anew_and_null_in_the_rows_before(
    place: Place, make_sink: MakeSink
) -> None:
    sink, quarantine = make_sink(table="t"), Quarantine()
    deliver(sink, batch({"id": [1], "name": ["a"], "v": [1]}), quarantine)
    place.query("ALTER TABLE t DROP COLUMN name")
    deliver(sink, batch({"id": [2], "name": ["b"], "v": [2]}), quarantine)
    deliver(sink, batch({"id": [3], "name": ["c"], "v": [3]}), quarantine)
    assert place.query("SELECT id, name, v FROM t ORDER BY id") == [(1, None, 1), (2, "b", 2), (3, "c", 3)]
    assert quarantine.rows == []


@every_place
def test_of_a_column_whose_type_someone_changes_rows_that_fit_go_on_and_others_are_kept_aside(
    place: Place, make_sink: MakeSink
) -> None:
    sink, quarantine = make_sink(table="t"), Quarantine()
    deliver(sink, batch({"id": [1], "v": [0.5]}), quarantine)
    for statement in CHANGE[place.name]:
        place.query(statement)
    one = batch({"id": [2, 3, 4], "v": [22.0, 3.25, None]})
    assert deliver(sink, one, quarantine) == Receipt(one.batch_id, 2, quarantined=1)
    assert place.query("SELECT id, v FROM t ORDER BY id") == [(1, 1), (2, 22), (4, None)]
    assert [row["v"] for row in quarantine.rows] == [3.25]
    assert "3.25" in quarantine.reasons[0]


CHANGE = {
    "duckdb": ["UPDATE t SET v = 1", "ALTER TABLE t ALTER COLUMN v TYPE bigint"],
    "postgresql": ["UPDATE t SET v = 1", "ALTER TABLE t ALTER COLUMN v TYPE bigint"],
    "mariadb": ["UPDATE t SET v = 1", "ALTER TABLE t MODIFY v bigint"],
    # SQLite changes no types: the table is put in the place of the old one, as its manual says.
    "sqlite": [
        "CREATE TABLE fresh (id INTEGER, v INTEGER) STRICT",
        "INSERT INTO fresh SELECT id, 1 FROM t",
        "DROP TABLE t",
        "ALTER TABLE fresh RENAME TO t",
    ],
}
CHANGE["generic"] = CHANGE["sqlite"]


@every_place
def test_where_someone_forbids_null_rows_with_a_value_go_on_and_others_are_kept_aside(
    place: Place, make_sink: MakeSink
) -> None:
    sink, quarantine = make_sink(table="t"), Quarantine()
    deliver(sink, batch({"id": [1], "v": [1]}), quarantine)
    for statement in REQUIRE[place.name]:
        place.query(statement)
    one = batch({"id": [2, 3], "v": [2, None]})
    assert deliver(sink, one, quarantine) == Receipt(one.batch_id, 1, quarantined=1)
    assert place.query("SELECT id, v FROM t ORDER BY id") == [(1, 1), (2, 2)]
    assert [row["id"] for row in quarantine.rows] == [3]
    assert '"v"' in quarantine.reasons[0]


REQUIRE = {
    "duckdb": ["ALTER TABLE t ALTER COLUMN v SET NOT NULL"],
    "postgresql": ["ALTER TABLE t ALTER COLUMN v SET NOT NULL"],
    "mariadb": ["ALTER TABLE t MODIFY v bigint NOT NULL"],
    "sqlite": [
        "CREATE TABLE fresh (id INTEGER, v INTEGER NOT NULL)",
        "INSERT INTO fresh SELECT * FROM t",
        "DROP TABLE t",
        "ALTER TABLE fresh RENAME TO t",
    ],
}
REQUIRE["generic"] = REQUIRE["sqlite"]


@pytest.mark.parametrize("key", [(), ("id",)], ids=["append", "merge"])
@every_place
def test_a_table_that_someone_renames_is_made_anew_and_the_renamed_one_left_alone(
    place: Place, make_sink: MakeSink, key: tuple[str, ...]
) -> None:
    sink, quarantine = make_sink(table="t", key=key), Quarantine()
    first = batch({"id": [1], "v": [1]})
    deliver(sink, first, quarantine)
    place.query("ALTER TABLE t RENAME TO kept")
    deliver(sink, batch({"id": [2], "v": [2]}), quarantine)
    assert deliver(sink, first, quarantine) == Receipt(first.batch_id, 1, duplicate=True)
    assert place.query("SELECT id FROM t") == [(2,)]
    assert place.query("SELECT id FROM kept") == [(1,)]
    assert quarantine.rows == []


@every_place
def test_a_column_that_someone_renames_keeps_its_values_and_a_new_one_takes_those_that_come(
    place: Place, make_sink: MakeSink
) -> None:
    sink, quarantine = make_sink(table="t", key="id"), Quarantine()
    deliver(sink, batch({"id": [1], "name": ["a"]}), quarantine)
    place.query("ALTER TABLE t RENAME COLUMN name TO label")
    deliver(sink, batch({"id": [1, 2], "name": ["b", "c"]}), quarantine)
    assert place.query("SELECT id, label, name FROM t ORDER BY id") == [(1, "a", "b"), (2, None, "c")]
    assert quarantine.rows == []
