"""Tables that users already have: what fits is loaded, what doesn't is kept with a reason, the table stays as it is."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.contract.conftest import MakeSink
from tests.contract.places import Place, Quarantine, batch, load, refusal


def types_of(place: Place) -> set[str]:
    """The declared types of the columns of table ``t``."""
    if place.name == "sqlite":
        return {kind.lower() for (kind,) in place.query("SELECT type FROM pragma_table_info('t')")}
    schema = "DATABASE()" if place.name == "mariadb" else "current_schema()"
    columns = f"FROM information_schema.columns WHERE table_name = 't' AND table_schema = {schema}"
    return {kind.lower() for (kind,) in place.query(f"SELECT data_type {columns}")}


def kept_as(place: Place) -> str:
    return "VIRTUAL" if place.name == "duckdb" else "STORED"


def test_defaults_fill_what_a_batch_lacks_and_null_stays_null(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer, state text DEFAULT 'new', made text NOT NULL DEFAULT CURRENT_TIMESTAMP)")
    assert not load(make_sink(table="t"), batch({"id": [1]})).kept
    assert place.query("SELECT id, state, made IS NOT NULL FROM t") == [(1, "new", True)]
    load(make_sink(table="t"), batch({"id": [2], "state": pa.array([None], pa.string())}))
    assert place.query("SELECT state FROM t WHERE id = 2") == [(None,)]
    kept = load(make_sink(table="t"), batch({"id": [3], "made": pa.array([None], pa.string())}))
    text = "varchar" if place.name == "duckdb" else "text"
    assert [reason.lower() for reason in kept.reasons] == [
        f'column "made" ({text}) cannot take null: it must have a value'
    ]


@pytest.mark.parametrize(
    ("rule", "says"),
    [("CHECK (x < 5)", "check"), ("UNIQUE", "unique"), ("PRIMARY KEY", "unique"), ("NOT NULL CHECK (x <> 7)", "check")],
)
def test_a_row_that_a_constraint_refuses_is_kept_and_the_constraint_named(
    place: Place, make_sink: MakeSink, rule: str, says: str
) -> None:
    place.query(f"CREATE TABLE t (x integer {rule})")
    kept = load(make_sink(table="t"), batch({"x": [1, 7, 7 if says == "check" else 1]}))
    words = ("check", "constraint") if says == "check" else ("unique", "duplicate")
    assert all(any(word in reason.lower() for word in words) for reason in kept.reasons)
    assert place.query("SELECT x FROM t") == ([(1,)] if says == "check" else [(1,), (7,)])


def test_a_column_that_someone_else_made_is_never_widened(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (a BIGINT, b INTEGER, c integer)")
    kept = load(make_sink(table="t"), batch({"a": [0.5, 2.0, 3.0], "b": [1.0, 0.5, 3.0], "c": [1.0, 1.0, 1.0]}))
    assert len(kept.reasons) == 2
    assert all("cannot take float (0.5): it isn't a whole number" in reason for reason in kept.reasons)
    assert place.query("SELECT a, b, c FROM t") == [(3, 3, 1)]
    assert types_of(place) <= {"bigint", "integer", "int"}


def test_our_own_column_in_someone_elses_table_widens_and_theirs_in_ours_does_not(
    place: Place, make_sink: MakeSink
) -> None:
    whole = "INTEGER" if place.name == "sqlite" else "bigint"
    place.query("CREATE TABLE t (id integer)")
    sink = make_sink(table="t")
    load(sink, batch({"id": [1], "ours": [1]}))
    place.query(f"ALTER TABLE t ADD COLUMN theirs {whole}")
    kept = load(make_sink(table="t"), batch({"id": [2, 3], "ours": [0.5, 1.5], "theirs": [1.0, 0.5]}))
    assert [row["theirs"] for row in kept.rows] == [0.5]
    assert place.query("SELECT id, ours, theirs FROM t ORDER BY id") == [(1, 1.0, None), (2, 0.5, 1)]


def test_a_table_dropped_and_made_anew_by_someone_else_is_theirs(place: Place, make_sink: MakeSink) -> None:
    load(make_sink(table="t"), batch({"a": [1]}))
    place.query("DROP TABLE t")
    place.query(f"CREATE TABLE t (a {'INTEGER' if place.name == 'sqlite' else 'bigint'})")
    assert load(make_sink(table="t"), batch({"a": [0.5]})).rows == [{"a": 0.5}]


def test_an_identity_or_rowid_key_numbers_rows_by_itself_and_takes_numbers(place: Place, make_sink: MakeSink) -> None:
    numbers = {
        "sqlite": "INTEGER",
        "postgresql": "integer GENERATED ALWAYS AS IDENTITY",
        "duckdb": "integer DEFAULT nextval('numbers')",
    }
    number = numbers.get(place.name, "integer AUTO_INCREMENT")
    if place.name == "duckdb":
        place.query("CREATE SEQUENCE numbers")
    place.query(f"CREATE TABLE t (id {number} PRIMARY KEY, x integer)")
    load(make_sink(table="t"), batch({"x": [10, 20]}))
    load(make_sink(table="t"), batch({"id": [7], "x": [30]}))
    load(make_sink(table="t", key="id", stream="merge/sql"), batch({"id": [7, 9], "x": [31, 40]}))
    assert place.query("SELECT id, x FROM t ORDER BY id") == [(1, 10), (2, 20), (7, 31), (9, 40)]


@pytest.mark.parametrize("key", [(), ("id",)], ids=["append", "merge"])
def test_a_generated_column_is_computed_and_a_value_for_it_is_refused_with_what_to_do(
    place: Place, make_sink: MakeSink, key: tuple[str, ...]
) -> None:
    place.query(f"CREATE TABLE t (id integer PRIMARY KEY, twice integer GENERATED ALWAYS AS (id * 2) {kept_as(place)})")
    sink = make_sink(table="t", key=key)
    load(sink, batch({"id": [4]}))
    load(sink, batch({"id": [5], "twice": pa.nulls(1)}))
    assert place.query("SELECT id, twice FROM t ORDER BY id") == [(4, 8), (5, 10)]
    told = refusal(sink, {"id": [6], "twice": [12]})
    assert 'column "twice" is computed by the database and takes no value: leave it out of the form' in told


def test_names_in_capitals_with_blanks_and_reserved_words_are_met_as_they_are(
    place: Place, make_sink: MakeSink
) -> None:
    place.query('CREATE TABLE "Order" ("User Id" integer, "select" integer, "group" text)')
    assert not load(make_sink(table="Order"), batch({"User Id": [1], "select": [2], "group": ["a"]})).kept
    assert place.query('SELECT * FROM "Order"') == [(1, 2, "a")]


def test_columns_the_batches_lack_stay_as_they_are(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id integer PRIMARY KEY, note text, x integer)")
    place.query("INSERT INTO t VALUES (1, 'mine', 0)")
    load(make_sink(table="t", key="id"), batch({"id": [1, 2], "x": [10, 20]}))
    assert place.query("SELECT id, note, x FROM t ORDER BY id") == [(1, "mine", 10), (2, None, 20)]


def test_rows_whose_columns_the_table_computes_or_lacks_are_kept(place: Place, make_sink: MakeSink) -> None:
    place.query(f"CREATE TABLE t (id integer, twice integer GENERATED ALWAYS AS (id * 2) {kept_as(place)})")
    kept = load(make_sink(table="t"), batch({"twice": pa.nulls(2), "other": pa.nulls(2)}))
    assert kept.reasons == ["every value is NULL and the table has none of these columns, or computes them itself"] * 2


def test_a_row_that_was_only_null_before_there_was_a_table_is_told_how_to_go_on(make_sink: MakeSink) -> None:
    quarantine = Quarantine()
    sink = make_sink(key="id")
    sink.load([batch({"id": pa.nulls(1), "x": [1]})], quarantine)
    assert quarantine.reasons[0].startswith('there is no table yet and no type to create it with: the key column "id"')
