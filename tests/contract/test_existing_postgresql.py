"""Tables that users already have in PostgreSQL: types, constraints, relations that aren't tables, permissions."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any

import pyarrow as pa
import pytest

from api2db.schema import JSON_METADATA
from api2db.sinks.sql import SqlSink
from tests.contract.conftest import MakeSink
from tests.contract.places import PostgresPlace, batch, load, refusal

pytestmark = pytest.mark.parametrize("place", ["postgresql"], indirect=True)

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 600_000)


def as_json(*documents: str | None) -> pa.Table:
    """A table of one column ``x`` of JSON."""
    schema = pa.schema([pa.field("x", pa.string(), metadata=JSON_METADATA)])
    return pa.Table.from_arrays([pa.array(documents, pa.string())], schema=schema)


# What is made before, the column's type, what arrives, what is stored, reasons.
COLUMNS: list[tuple[str, str, Any, list[Any], list[str]]] = [
    ("", "smallint", pa.array([1, 40000]), [1], ["(smallint) cannot take integer (40000): it doesn't fit 16 bits"]),
    (
        "",
        "numeric(10,2)",
        pa.array([1.239, 1e9]),
        [Decimal("1.24")],
        ["(numeric(10,2)) cannot take float (1000000000): "],
    ),
    ("", "numeric(4,1)", pa.array([math.inf, 1]), [Decimal(1)], ["(numeric(4,1)) cannot take float (inf): "]),
    (
        "",
        "varchar(3)",
        pa.array(["abc", "abcd"]),
        ["abc"],
        ['cannot take text ("abcd"): it is longer than 3 characters'],
    ),
    ("", "char(3)", pa.array(["ab"]), ["ab "], []),
    (
        "CREATE TYPE mood AS ENUM ('ok')",
        "mood",
        pa.array(["ok", "x"]),
        ["ok"],
        ['"x" (mood) cannot take text ("x"): inv'],
    ),
    ("CREATE DOMAIN pos AS int CHECK (VALUE > 0)", "pos", pa.array([1, -1]), [1], ["(pos) cannot take integer (-1): "]),
    (
        "",
        "uuid",
        pa.array([str(uuid.UUID(int=1)), "z"]),
        [uuid.UUID(int=1)],
        ['(uuid) cannot take text ("z"): invalid'],
    ),
    ("", "inet", pa.array(["1.2.3.4", "z"]), [IPv4Address("1.2.3.4")], ['(inet) cannot take text ("z"): invalid']),
    (
        "",
        "integer[]",
        as_json("[1,null]", '["x"]', "[]"),
        [[1, None], []],
        ['(integer[]) cannot take JSON (["x"]): inv'],
    ),
    ("", "integer[]", as_json('{"a":1}', "null"), [], ["it isn't a list", "it isn't a list"]),
    ("", "text[]", as_json('["a,\\"b\\\\", "NULL", "", "{}"]', None), [['a,"b\\', "NULL", "", "{}"], None], []),
    ("", "double precision[]", as_json("[[1, 2.5], [3, 4]]"), [[[1.0, 2.5], [3.0, 4.0]]], []),
    ("", "numeric[]", as_json("[12345678901234567890.10]"), [[Decimal("12345678901234567890.10")]], []),
    ("", "jsonb[]", as_json('[{"a": "b\\\\"}, "c"]'), None, ["jsonb[]"]),
    ("", "jsonb", as_json('{"a":1}'), [{"a": 1}], []),
    ("", "json", pa.array(["a"]), ["a"], []),
    ("", "timestamp(0)", pa.array([MOMENT]), [dt.datetime(2026, 1, 2, 3, 4, 6)], []),
    ("", "timestamptz", pa.array([MOMENT]), [MOMENT.replace(tzinfo=dt.UTC)], []),
    (
        "",
        "timestamptz",
        pa.array(["2026-01-01"]),
        [],
        ["it isn't a timestamp; in a shape the kind :iso makes one of text"],
    ),
    ("", "date", pa.array(["2026-01-01"]), [], ["it isn't a date; in a shape the kind :date makes one of text"]),
    ("", "time with time zone", pa.array([dt.time(1)]), [dt.time(1, tzinfo=dt.UTC)], []),
    ("", "bytea", pa.array(["a"]), [], ['(bytea) cannot take text ("a"): it isn\'t bytes']),
    ("", "bit(2)", pa.array(["11", "1"]), ["11"], ['(bit(2)) cannot take text ("1"): ']),
    ("", "int4range", pa.array(["[1,3)"]), None, []),
]


@pytest.mark.parametrize(
    ("before", "kind", "values", "stored", "reasons"),
    COLUMNS,
    ids=[f"{at} {case[1]}" for at, case in enumerate(COLUMNS)],
)
@pytest.mark.parametrize("key", [(), ("n",)], ids=["append", "merge"])
def test_a_column_of_any_type_takes_what_fits_and_says_why_not(
    place: PostgresPlace,
    make_sink: MakeSink,
    before: str,
    kind: str,
    values: Any,
    stored: list[Any] | None,
    reasons: list[str],
    key: tuple[str, ...],
) -> None:
    if before:
        place.query(before)
    place.query(f"CREATE TABLE t (n integer PRIMARY KEY, x {kind})")
    rows = values if isinstance(values, pa.Table) else pa.table({"x": values})
    kept = load(
        make_sink(table="t", key=key), batch(rows.append_column("n", pa.array(range(rows.num_rows), pa.int32())))
    )
    assert len(kept.reasons) == len(reasons)
    for reason, expected in zip(kept.reasons, reasons, strict=True):
        assert reason.startswith('column "x" (')
        assert expected in reason
    if stored is not None:
        assert [x for (x,) in place.query("SELECT x FROM t ORDER BY n")] == stored


def test_rows_go_into_their_partitions_and_those_without_one_are_kept(
    place: PostgresPlace, make_sink: MakeSink
) -> None:
    place.query("CREATE TABLE t (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)")
    place.query("CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    for options in ({}, {"key": "id", "stream": "merge/sql"}):
        kept = load(make_sink(table="t", **options), batch({"id": [1 + len(options), 11], "x": [1, 2]}))
        assert kept.reasons == ['no partition of relation "t" found for row (23514)']
    assert place.query("SELECT id FROM low ORDER BY id") == [(1,), (3,)]


@pytest.mark.parametrize("when", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["at once", "at commit"])
def test_a_row_whose_parent_is_missing_is_kept(place: PostgresPlace, make_sink: MakeSink, when: str) -> None:
    place.query("CREATE TABLE parent (id int PRIMARY KEY)")
    place.query("INSERT INTO parent VALUES (1)")
    place.query(f"CREATE TABLE t (x int REFERENCES parent {when})")
    kept = load(make_sink(table="t"), batch({"x": [1, 2]}))
    assert [("foreign key constraint" in reason) for reason in kept.reasons] == [True]
    assert place.query("SELECT x FROM t") == [(1,)]


def test_a_row_that_an_exclusion_constraint_refuses_is_kept(place: PostgresPlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (x int4range, EXCLUDE USING gist (x WITH &&))")
    kept = load(make_sink(table="t"), batch({"x": ["[1,3)", "[2,5)"]}))
    assert ["t_x_excl" in reason for reason in kept.reasons] == [True]


TRIGGER = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {} RETURN NEW; END$$"


def test_triggers_fill_what_is_missing_and_refuse_single_rows(place: PostgresPlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (x int, y int NOT NULL)")
    place.query(TRIGGER.format("IF NEW.x = 2 THEN RAISE 'no twos'; END IF; NEW.y = 9;"))
    place.query("CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()")
    assert load(make_sink(table="t"), batch({"x": [1, 2]})).reasons == ["no twos (P0001)"]
    assert place.query("SELECT * FROM t") == [(1, 9)]


def test_a_view_with_a_trigger_of_its_own_takes_rows(place: PostgresPlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE behind (id int)")
    place.query("CREATE VIEW t AS SELECT id + 0 AS id FROM behind")
    place.query(TRIGGER.format("INSERT INTO behind VALUES (NEW.id);"))
    place.query("CREATE TRIGGER f INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()")
    load(make_sink(table="t"), batch({"id": [1]}))
    assert place.query("SELECT id FROM behind") == [(1,)]
    told = refusal(make_sink(table="t"), {"id": [1], "new": [2]})
    assert 'column "new" can\'t be added' in told


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            "CREATE VIEW t AS SELECT id FROM behind",
            "it is a view: load into the table behind it, or give it an INSTEAD",
        ),
        (
            "CREATE MATERIALIZED VIEW t AS SELECT id FROM behind",
            "it is a materialized view: load into the table behind",
        ),
        ("CREATE SEQUENCE t", "it is a sequence: choose another name"),
        ("CREATE INDEX t ON behind (id)", "it is an index: choose another name"),
        ("CREATE TYPE t AS (id int)", "it is a type: choose another name"),
        (
            "CREATE FOREIGN DATA WRAPPER w{n}; CREATE SERVER s{n} FOREIGN DATA WRAPPER w{n};"
            " CREATE FOREIGN TABLE t (id int) SERVER s{n}",
            "it is a foreign table, which commits by itself: load where its rows are kept",
        ),
        (
            "CREATE TABLE t (id int); CREATE RULE r AS ON INSERT TO t DO INSTEAD INSERT INTO behind VALUES (NEW.id)",
            "it has a rule ON INSERT, which COPY goes past: make it a trigger",
        ),
    ],
    ids=["view", "materialized view", "sequence", "index", "type", "foreign table", "rule"],
)
@pytest.mark.parametrize("key", [(), ("id",)], ids=["append", "merge"])
def test_what_is_no_table_is_refused_with_what_to_do(
    place: PostgresPlace, make_sink: MakeSink, make: str, says: str, key: tuple[str, ...]
) -> None:
    place.query("CREATE TABLE behind (id int)")
    number = place.query("SELECT current_schema()")[0][0]
    place.query(make.format(n=number))
    assert says in refusal(make_sink(table="t", key=key), {"id": [1]})
    assert place.query("SELECT count(*) FROM behind") == [(0,)]


def test_rules_on_other_commands_are_no_matter(place: PostgresPlace, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE t (id int)")
    place.query("CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING")
    load(make_sink(table="t"), batch({"id": [1]}))
    assert place.query("SELECT id FROM t") == [(1,)]


@pytest.mark.parametrize("when", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["at once", "at commit"])
def test_replacing_rows_that_others_refer_to_says_so_and_keeps_them(
    place: PostgresPlace, make_sink: MakeSink, when: str
) -> None:
    place.query("CREATE TABLE t (id int PRIMARY KEY)")
    place.query("INSERT INTO t VALUES (1)")
    place.query(f"CREATE TABLE child (x int REFERENCES t {when})")
    place.query("INSERT INTO child VALUES (1)")
    told = refusal(make_sink(table="t", if_exists="replace"), {"id": [2]})
    assert "the old rows can't be deleted" in told
    assert "child_x_fkey" in told
    assert place.query("SELECT id FROM t") == [(1,)]
    if when:
        load(make_sink(table="t", if_exists="replace"), batch({"id": [1, 2]}))
        assert place.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


def test_a_name_with_a_schema_in_it_is_refused_with_the_way_to_that_schema(
    place: PostgresPlace, make_sink: MakeSink
) -> None:
    schema = place.query("SELECT current_schema()")[0][0]
    place.query("CREATE TABLE t (id int)")
    told = refusal(make_sink(table=f"{schema}.t"), {"id": [1]})
    assert f'name the table "t" and put options=-csearch_path%3D{schema} into the URL' in told
    load(make_sink(table="no_schema.t"), batch({"id": [1]}))
    assert place.query('SELECT id FROM "no_schema.t"') == [(1,)]


class Visitor:
    """A user with no more than it is granted, the ledger apart."""

    def __init__(self, place: PostgresPlace, make_sink: MakeSink) -> None:
        make_sink(table="t").connect()
        schema = place.query("SELECT current_schema()")[0][0]
        self.place, self.make_sink, self.role = place, make_sink, f"v_{schema}_{place.url.database}"
        place.query(f"CREATE ROLE {self.role} LOGIN PASSWORD 'x'")
        place.query(f"GRANT USAGE ON SCHEMA {schema} TO {self.role}")
        self.grant("SELECT, INSERT, UPDATE ON _api2db_ledger")

    def grant(self, what: str) -> None:
        self.place.query(f"GRANT {what} TO {self.role}")

    def sink(self, **options: Any) -> SqlSink:
        return self.make_sink(table="t", url=self.place.url.set(username=self.role, password="x"), **options)


@pytest.fixture
def visitor(place: PostgresPlace, make_sink: MakeSink) -> Iterator[Visitor]:
    visitor = Visitor(place, make_sink)
    yield visitor
    place.query(f"DROP OWNED BY {visitor.role}")
    place.query(f"DROP ROLE {visitor.role}")


def test_insert_is_all_that_an_append_needs_even_where_a_fraction_comes(place: PostgresPlace, visitor: Visitor) -> None:
    place.query("CREATE TABLE t (x bigint)")
    visitor.grant("INSERT ON t")
    assert load(visitor.sink(), batch({"x": [1.0, 0.5]})).rows == [{"x": 0.5}]
    assert place.query("SELECT x FROM t") == [(1,)]


def test_permission_for_single_columns_is_not_enough_and_that_is_said(place: PostgresPlace, visitor: Visitor) -> None:
    place.query("CREATE TABLE t (x int, y int)")
    visitor.grant("INSERT (x) ON t")
    assert "grant the permission to this user (INSERT on all of a table" in refusal(visitor.sink(), {"x": [1]})


def test_a_column_only_the_owner_can_add_is_named_with_the_statement(place: PostgresPlace, visitor: Visitor) -> None:
    place.query("CREATE TABLE t (x int)")
    visitor.grant("INSERT ON t")
    told = refusal(visitor.sink(), {"x": [1], "new": ["a"]})
    assert 'column "new" can\'t be added' in told
    statement = told.partition("run: ")[2]
    place.query(statement)
    load(visitor.sink(), batch({"x": [1], "new": ["a"]}))
    assert place.query("SELECT x, new FROM t") == [(1, "a")]


def test_row_security_stops_an_append_with_advice_and_keeps_single_rows_of_a_merge(
    place: PostgresPlace, visitor: Visitor
) -> None:
    place.query("CREATE TABLE t (x int PRIMARY KEY)")
    place.query("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    place.query("CREATE POLICY small ON t FOR ALL USING (true) WITH CHECK (x < 5)")
    visitor.grant("SELECT, INSERT, UPDATE ON t")
    assert "row security stops COPY: let this user bypass it (BYPASSRLS)" in refusal(visitor.sink(), {"x": [1]})
    kept = load(visitor.sink(key="x", stream="merge/sql"), batch({"x": [1, 7]}))
    assert kept.reasons == ['new row violates row-level security policy for table "t" (42501)']
    assert place.query("SELECT x FROM t") == [(1,)]
