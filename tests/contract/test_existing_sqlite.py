"""Tables that users already have in SQLite: STRICT, WITHOUT ROWID, unknown types, views, rules."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.contract.conftest import MakeSink
from tests.contract.places import SQLitePlace, batch, load, refusal

pytestmark = pytest.mark.parametrize("place", ["sqlite"], indirect=True)

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 600_000)


def test_a_strict_table_takes_its_types_and_gets_columns_it_can_have(place: SQLitePlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (i INT, t TEXT, r REAL, b BLOB, a ANY) STRICT")
    rows = {"i": [1, 2], "t": ["a", "b"], "r": [1, 2], "b": [b"x", b"y"], "a": ["q", "r"]}
    new = {"at": [MOMENT] * 2, "day": [MOMENT.date()] * 2, "ok": [True, False], "n": [1, 2]}
    assert not load(make_sink(table="t"), batch({**rows, **new})).kept
    assert place.query("SELECT * FROM t WHERE i = 1") == [
        (1, "a", 1.0, b"x", "q", "2026-01-02 03:04:05.600000", "2026-01-02", 1, 1)
    ]
    kept = load(make_sink(table="t"), batch({"i": ["1"]}))
    assert kept.reasons == ['column "i" (INT) cannot take text ("1"): it isn\'t a number']
    load(make_sink(table="t"), batch({"n": [0.5]}))
    assert place.query("SELECT n FROM t ORDER BY n") == [(0.5,), (1.0,), (2.0,)]


@pytest.mark.parametrize("key", [(), ("k",)], ids=["append", "merge"])
def test_a_table_without_rowid_takes_rows_that_have_its_key(
    place: SQLitePlace, make_sink: MakeSink, key: tuple[str, ...]
) -> None:
    place.query("CREATE TABLE t (k TEXT PRIMARY KEY, x INTEGER) WITHOUT ROWID")
    kept = load(make_sink(table="t", key=key), batch({"k": ["a", None], "x": [1, 2]}))
    assert kept.reasons == ['column "k" (TEXT) cannot take NULL: it must have a value']
    assert place.query("SELECT * FROM t") == [("a", 1)]


@pytest.mark.parametrize("kind", ["UUID", "STRING", "INET", "JSONB"])
def test_text_in_a_column_of_an_unknown_type_is_kept_as_text_or_refused_never_a_number(
    place: SQLitePlace, make_sink: MakeSink, kind: str
) -> None:
    place.query(f"CREATE TABLE t (x {kind})")
    values = ["0000-ab", "1.2.3.4", "", "0012", " 1e5 ", ".5", "-7.", "0x1F", "1e", None]
    kept = load(make_sink(table="t"), batch({"x": values}))
    assert place.query("SELECT x, typeof(x) FROM t") == [
        *((value, "text") for value in ["0000-ab", "1.2.3.4", "", "0x1F", "1e"]),
        (None, "null"),
    ]
    assert [row["x"] for row in kept.rows] == ["0012", " 1e5 ", ".5", "-7."]
    assert kept.reasons[0] == (
        f'column "x" ({kind}) cannot take text ("0012"): in a column of this type it would become a number;'
        " declare it TEXT"
    )


def test_text_in_a_column_of_numbers_is_refused(place: SQLitePlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (x DECIMAL(10,2))")
    assert load(make_sink(table="t"), batch({"x": ["a"]})).reasons == [
        'column "x" (DECIMAL(10,2)) cannot take text ("a"): it isn\'t a number'
    ]


def test_a_view_takes_rows_by_its_trigger_and_is_refused_without(place: SQLitePlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE behind (id INTEGER)")
    place.query("CREATE VIEW t AS SELECT id FROM behind")
    told = refusal(make_sink(table="t"), {"id": [1]})
    assert "load into the table behind it, or give it an INSTEAD OF INSERT trigger" in told
    place.query("CREATE TRIGGER f INSTEAD OF INSERT ON t BEGIN INSERT INTO behind VALUES (NEW.id); END")
    load(make_sink(table="t"), batch({"id": [1]}))
    assert place.query("SELECT id FROM behind") == [(1,)]
    assert 'column "new" can\'t be added' in refusal(make_sink(table="t"), {"id": [1], "new": [1]})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        ("CREATE INDEX t ON behind (id)", "the table can't be created: there is already an index named t"),
        ("CREATE VIRTUAL TABLE t USING fts5(body)", 'column "id" can\'t be added'),
        ("CREATE TABLE t (id INTEGER UNIQUE ON CONFLICT ROLLBACK)", "ON CONFLICT ABORT, not ROLLBACK"),
    ],
    ids=["index", "virtual table", "rollback"],
)
def test_what_can_not_work_stops_the_stream_and_says_why(
    place: SQLitePlace, make_sink: MakeSink, make: str, says: str
) -> None:
    place.query("CREATE TABLE behind (id INTEGER)")
    place.query(make)
    assert says in refusal(make_sink(table="t"), {"id": [1, 1]})


def test_a_trigger_refuses_single_rows(place: SQLitePlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (x INTEGER)")
    place.query("CREATE TRIGGER f BEFORE INSERT ON t WHEN NEW.x = 2 BEGIN SELECT RAISE(ABORT, 'no twos'); END")
    assert load(make_sink(table="t"), batch({"x": [1, 2]})).reasons == ["no twos (SQLITE_CONSTRAINT_TRIGGER)"]
    assert place.query("SELECT x FROM t") == [(1,)]


def test_a_table_of_another_case_is_the_same_table(place: SQLitePlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE Weather (ID INTEGER)")
    load(make_sink(table="weather"), batch({"id": [1]}))
    assert place.query("SELECT ID FROM Weather") == [(1,)]
