"""What every SQL sink promises about a load: each batch once, whole, or not at all."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from api2db.batch import Receipt
from api2db.errors import ConfigError, FatalError, RetryableError, StoreError
from api2db.sinks.engines import Engines
from api2db.sinks.sql import SqlSink
from tests.contract.conftest import MakeSink
from tests.contract.places import Place, Quarantine, batch, every_place, load

HOSTILE = [
    "",
    " ",
    "NULL",
    "null",
    "\\N",
    "\\.",
    "a\n\\.\nb",
    "'; DROP TABLE x; --",
    "quote \" and ' and `",
    "comma, semicolon; tab\t",
    "line\nfeed\r\nreturn\r",
    "back\\slash\\",
    "%s %(name)s :name ? {x}",
    "emoji 🌍 and ünïcödé and 日本語",
    "\u2028\u202e\ufeff",
    "x" * 100_000,
]


@every_place
def test_a_table_is_created_and_rows_appended(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="readings")
    first, second = batch({"id": [1, 2], "name": ["a", None]}), batch({"id": [3], "name": ["c"]})
    assert sink.load([first], Quarantine()) == [Receipt(first.batch_id, 2)]
    assert sink.load([second], Quarantine()) == [Receipt(second.batch_id, 1)]
    assert place.query("SELECT id, name FROM readings ORDER BY id") == [(1, "a"), (2, None), (3, "c")]


@every_place
def test_a_batch_is_loaded_once(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    one, two = batch({"id": [1]}), batch({"id": [2]})
    load(sink, one)
    assert sink.load([two, one, two], Quarantine()) == [
        Receipt(two.batch_id, 1),
        Receipt(one.batch_id, 1, duplicate=True),
        Receipt(two.batch_id, 1, duplicate=True),
    ]
    assert sink.load([one, two], Quarantine()) == [
        Receipt(one.batch_id, 1, duplicate=True),
        Receipt(two.batch_id, 1, duplicate=True),
    ]
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@every_place
def test_streams_have_ledgers_of_their_own(place: Place, make_sink: MakeSink) -> None:
    one = batch({"id": [1]})
    load(make_sink(table="t", stream="a/sql"), one)
    other = make_sink(table="t", stream="b/sql")
    assert other.load([one], Quarantine()) == [Receipt(one.batch_id, 1)]
    assert place.query("SELECT count(*) FROM t") == [(2,)]
    assert other.loaded([one.batch_id, "0" * 32]) == {one.batch_id: 1}
    assert other.count() == 1


def test_no_batches_are_no_work(make_sink: MakeSink) -> None:
    assert make_sink().load([], Quarantine()) == []


@every_place
def test_a_batch_without_rows_is_entered_and_makes_the_table(place: Place, make_sink: MakeSink) -> None:
    empty = batch(pa.table({"id": pa.array([], pa.int64())}))
    assert make_sink(table="t").load([empty], Quarantine()) == [Receipt(empty.batch_id, 0)]
    assert place.query("SELECT * FROM t") == []
    assert place.query('SELECT "rows" FROM _api2db_ledger') == [(0,)]


@every_place
def test_a_column_that_appears_later_is_added(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    load(sink, batch({"id": [1]}))
    load(sink, batch({"id": [2], "temp": [1.5]}), batch({"name": ["x"], "id": [3]}))
    load(sink, batch({"temp": [2.5]}))
    query = "SELECT id, temp, name FROM t ORDER BY coalesce(id, 9)"
    assert place.query(query) == [(1, None, None), (2, 1.5, None), (3, None, "x"), (None, 2.5, None)]


def test_a_column_that_was_only_null_waits_for_its_type(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    load(sink, batch({"id": [1], "later": pa.nulls(1)}))
    load(sink, batch({"id": [2], "later": [2.5]}))
    load(sink, batch({"id": [3], "later": pa.nulls(1)}))
    assert place.query("SELECT id, later FROM t ORDER BY id") == [(1, None), (2, 2.5), (3, None)]


def test_rows_of_nothing_but_null_are_kept_in_quarantine_not_lost(make_sink: MakeSink) -> None:
    sink, nothing = make_sink(), batch({"a": pa.nulls(2)})
    quarantine = Quarantine()
    assert sink.load([nothing], quarantine) == [Receipt(nothing.batch_id, 0, quarantined=2)]
    assert quarantine.reasons[0] == (
        "there is no table yet and no type to create it with: every column has only been NULL; "
        "say the types in the form, or replay the row once the table is there"
    )


@every_place
def test_null_and_hostile_text_arrive_as_they_are(place: Place, make_sink: MakeSink) -> None:
    values = [*HOSTILE, None]
    load(make_sink(table="t"), batch({"id": range(len(values)), "text": values, "again": values}))
    rows = place.query("SELECT text, again FROM t ORDER BY id")
    assert rows == [(value, value) for value in values]


@pytest.mark.parametrize("name", ["select", 'a"b', "with space", "%s%%", "🌍", "a:b", "x" * 100, "Ä", "--", ";"])
def test_any_name_is_a_table_and_a_column(place: Place, make_sink: MakeSink, name: str) -> None:
    for key in ((), (name,)):
        sink = make_sink(table=f"{name}{len(key)}", key=key, stream=f"s{len(key)}/sql")
        load(sink, batch({name: [1], f"{name}2": ["x"]}))
        load(sink, batch({name: [2], f"{name}2": ["y"], f"{name}3": [None]}))
        quoted = sink.target.rpartition("/")[2].replace('"', '""')
        assert [tuple(row) for row in place.query(f'SELECT * FROM "{quoted}"')] == [(1, "x"), (2, "y")]


@every_place
def test_names_that_differ_only_in_case_keep_their_own_columns(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    for _ in range(2):
        load(sink, batch({"temp": [1], "Temp": [2], "TEMP": [3]}))
    assert [tuple(sorted(row)) for row in place.query("SELECT * FROM t")] == [(1, 2, 3)] * 2


def test_one_bad_row_among_ten_thousand_is_found_by_column_check(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    load(sink, batch({"id": [0], "temp": [0.5]}))
    rows = pa.table({"id": range(10_000), "temp": pa.array([2**53 + 1 if i == 4711 else i for i in range(10_000)])})
    quarantine = load(sink, batch(rows))
    assert [row["id"] for row in quarantine.rows] == [4711]
    assert 'column "temp"' in quarantine.reasons[0]
    assert "9007199254740993" in quarantine.reasons[0]
    assert place.query("SELECT count(*), sum(id) FROM t") == [(10_000, 49_995_000 - 4711)]


@every_place
def test_one_row_the_database_refuses_among_ten_thousand_is_found(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer, name text, CHECK (id <> 4711))")
    bad = batch({"id": range(10_000), "name": ["x"] * 10_000})
    quarantine = Quarantine()
    assert make_sink(table="t").load([bad], quarantine) == [Receipt(bad.batch_id, 9_999, quarantined=1)]
    assert [row["id"] for row in quarantine.rows] == [4711]
    assert place.query("SELECT count(*), sum(id) FROM t") == [(9_999, 49_995_000 - 4711)]
    assert place.query('SELECT "rows" FROM _api2db_ledger') == [(9_999,)]


@every_place
def test_of_several_batches_only_the_bad_rows_stay_behind(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer UNIQUE, name text NOT NULL, CHECK (id < 100))")
    batches = [
        batch({"id": [1, 2], "name": ["a", "b"]}),
        batch({"id": [3, 100], "name": [None, "d"]}),
        batch({"id": [1, 4], "name": ["again", "e"]}),
        batch({"id": [5], "name": ["f"], "extra": [1]}),
    ]
    quarantine = Quarantine()
    receipts = make_sink(table="t").load(batches, quarantine)
    assert [(receipt.rows, receipt.quarantined) for receipt in receipts] == [(2, 0), (0, 2), (1, 1), (1, 0)]
    assert [row["id"] for row in quarantine.rows] == [3, 100, 1]
    assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,), (4,), (5,)]


@every_place
def test_a_duplicate_is_answered_as_the_first_time(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer CHECK (id < 5))")
    sink, bad = make_sink(table="t"), batch({"id": range(7)})
    first = sink.load([bad], Quarantine())
    assert first == [Receipt(bad.batch_id, 5, quarantined=2)]
    assert sink.load([bad], Quarantine()) == [Receipt(bad.batch_id, 5, quarantined=2, duplicate=True)]


@every_place
def test_every_row_may_be_bad(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer CHECK (id < 0))")
    bad = batch({"id": range(20)})
    assert make_sink(table="t").load([bad], Quarantine()) == [Receipt(bad.batch_id, 0, quarantined=20)]
    assert place.query("SELECT count(*) FROM t") == [(0,)]


@every_place
def test_nothing_is_loaded_when_quarantine_fails(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer CHECK (id < 5))")

    def full() -> None:
        raise StoreError("no space")

    sink, bad = make_sink(table="t"), batch({"id": range(6)})
    with pytest.raises(StoreError, match="no space"):
        sink.load([bad], Quarantine(on_call=full))
    assert place.query("SELECT count(*) FROM t") == [(0,)]
    assert place.query("SELECT count(*) FROM _api2db_ledger") == [(0,)]
    assert sink.load([bad], Quarantine())[0].rows == 5


@every_place
def test_a_required_column_the_rows_lack_sends_them_to_quarantine(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer NOT NULL, name text NOT NULL, n integer NOT NULL DEFAULT 7)")
    sink = make_sink(table="t")
    quarantine = load(sink, batch({"id": [1]}))
    assert [reason.lower() for reason in quarantine.reasons] == [
        f'column "name" ({"varchar" if place.name == "duckdb" else "text"}) must have a value and the rows have none'
    ]
    load(sink, batch({"id": [2], "name": ["x"]}))
    assert place.query("SELECT * FROM t") == [(2, "x", 7)]


@every_place
def test_a_table_altered_by_someone_else_is_read_anew(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    load(sink, batch({"id": [1], "name": ["a"]}))
    place.query("ALTER TABLE t ADD COLUMN extra integer")
    load(sink, batch({"id": [2], "name": ["b"], "extra": [5]}))
    place.query("DROP TABLE t")
    again = batch({"id": [3], "name": ["c"]})
    if place.name != "duckdb":  # whose catalog is read at each load
        with pytest.raises(RetryableError):
            load(sink, again)
    load(sink, again)
    assert place.query("SELECT id, name FROM t") == [(3, "c")]


@every_place
def test_if_exists_fail_spares_a_table_that_was_there(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE theirs (id integer)")
    with pytest.raises(FatalError, match="was there before"):
        load(make_sink(table="theirs", if_exists="fail"), batch({"id": [1]}))
    assert place.query("SELECT count(*) FROM theirs") == [(0,)]


@every_place
def test_if_exists_fail_accepts_the_table_it_made_itself(place: Place, make_sink: MakeSink) -> None:
    load(make_sink(table="ours", if_exists="fail"), batch({"id": [1]}))
    load(make_sink(table="ours", if_exists="fail"), batch({"id": [2]}))
    assert place.query("SELECT count(*) FROM ours") == [(2,)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"if_exists": "replicate"}, '"append", "replace", "fail"'),
        ({"version": "updated"}, "key"),
        ({"chunk_size": -1}, "chunk_size"),
        ({"table": "_api2db_ledger"}, "ledger"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(make_sink: MakeSink, options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_sink(**options)


def test_a_target_names_the_place_without_credentials(place: Place, make_sink: MakeSink) -> None:
    target = make_sink(table="readings").target
    assert target.startswith(f"{place.name}://")
    assert target.endswith("/readings")
    assert not place.url.password or str(place.url.password) not in target
    assert "@" not in target


def test_a_merge_is_ordered_and_an_append_is_not(make_sink: MakeSink) -> None:
    assert not make_sink().ordered
    assert make_sink(key=("id",)).ordered


def test_small_chunks_load_the_same_rows(place: Place, make_sink: MakeSink) -> None:
    load(make_sink(table="t", chunk_size=7), batch({"id": range(100)}), batch({"id": range(100, 120)}))
    assert place.query("SELECT count(*), sum(id) FROM t") == [(120, 7140)]


def test_sinks_share_connections_and_can_be_used_after_close(place: Place) -> None:
    engines = Engines()
    sinks = [SqlSink(stream=f"s{n}/sql", url=place.url, table="t", engines=engines) for n in range(5)]
    for sink in sinks:
        sink.connect()
        load(sink, batch({"id": [1]}))
        sink.close()
        load(sink, batch({"id": [2]}))
    if place.name != "duckdb":  # whose file is let go of after each load
        assert engines.get(place.url, sinks[0]._dialect).pool.checkedin() == 1  # type: ignore[attr-defined]
    assert place.query("SELECT count(*) FROM t") == [(10,)]
    engines.close()


def test_an_integer_column_widens_when_a_fraction_comes_and_every_value_stays(
    place: Place, make_sink: MakeSink
) -> None:
    sink = make_sink(table="t")
    load(sink, batch({"a": [21, None, 2**53], "b": [1, 2, 3]}))
    load(sink, batch({"a": [21.5], "b": [4]}))
    load(sink, batch({"a": [3], "b": [5]}))
    expected = [(21, 1), (None, 2), (2**53, 3), (21.5, 4), (3, 5)]
    assert place.query("SELECT a, b FROM t ORDER BY b") == expected


@pytest.mark.parametrize("before", [[], [{"b": [0]}], [{"b": [0], "a": pa.array([None], pa.int64())}]])
def test_integers_and_fractions_in_one_load_make_a_column_for_both(
    place: Place, make_sink: MakeSink, before: list[dict[str, Any]]
) -> None:
    sink = make_sink(table="t", key="b")
    for rows in before:
        load(sink, batch(rows))
    kept = load(
        sink, batch({"a": [21, 2**53], "b": [1, 2]}), batch({"a": [21.5], "b": [3]}), batch({"a": [3], "b": [4]})
    )
    assert not kept.kept
    assert place.query("SELECT a, b FROM t WHERE b > 0 ORDER BY b") == [(21, 1), (2**53, 2), (21.5, 3), (3, 4)]


def test_a_fraction_that_comes_with_integers_too_large_for_it_stays_out_as_it_would_later(
    place: Place, make_sink: MakeSink
) -> None:
    kept = load(make_sink(table="t"), batch({"a": [2**53 + 1]}), batch({"a": [0.5, 2.0]}))
    assert kept.rows == [{"a": 0.5}]
    assert place.query("SELECT a FROM t ORDER BY a") == [(2,), (2**53 + 1,)]


def test_a_column_stays_integer_where_widening_would_change_a_value(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t")
    load(sink, batch({"a": [2**53 + 1]}))
    kept = load(sink, batch({"a": [0.5, 2.0]}))
    assert kept.rows == [{"a": 0.5}]
    assert place.query("SELECT a FROM t ORDER BY a") == [(2,), (2**53 + 1,)]


def test_a_key_is_never_widened(place: Place, make_sink: MakeSink) -> None:
    sink = make_sink(table="t", key="a")
    load(sink, batch({"a": [1], "b": [1]}))
    kept = load(sink, batch({"a": [1.5], "b": [2]}))
    assert kept.rows == [{"a": 1.5, "b": 2}]
    assert place.query("SELECT a, b FROM t") == [(1, 1)]
