"""PostgreSQL gets the same values whichever way they are written, and exactly those that were given."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, make_url

from api2db.schema import JSON_METADATA, Field, Kind, canonical, fields_of
from api2db.sinks import pg_binary, pg_csv
from api2db.sinks.conform import Conformed, Slot, conform
from api2db.sinks.dialect import cursor
from api2db.sinks.postgresql import PostgreSQL
from api2db.sinks.sql import SqlSink
from tests.contract.places import PostgresPlace, batch, load
from tests.servers import Postgres

UTC = dt.UTC
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["", "\\.", "\n\\.\n", '"', '""', "\\N", "NULL", ",", "\r\n", "\\x41", "'"]
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
DATETIMES = st.datetimes()
TYPES: list[tuple[pa.DataType, str, st.SearchStrategy[Any]]] = [
    (pa.bool_(), "boolean", st.booleans()),
    (pa.int64(), "bigint", st.integers(-(2**63), 2**63 - 1)),
    (pa.int16(), "smallint", st.integers(-(2**15), 2**15 - 1)),
    (pa.int64(), "integer", st.integers(-(2**31), 2**31 - 1)),
    (pa.uint32(), "bigint", st.integers(0, 2**32 - 1)),
    (pa.float64(), "double precision", st.floats()),
    (pa.float32(), "real", st.floats(width=32)),
    (pa.string(), "text", TEXT),
    (pa.string(), "varchar(30)", TEXT),
    (pa.binary(), "bytea", st.binary(max_size=20)),
    (pa.date32(), "date", st.dates()),
    (pa.time64("us"), "time", st.times()),
    (pa.timestamp("us"), "timestamp", DATETIMES),
    (pa.timestamp("us", "UTC"), "timestamptz", DATETIMES.map(lambda value: value.replace(tzinfo=UTC))),
    (pa.duration("us"), "interval", st.timedeltas(dt.timedelta(days=-99_999_999), dt.timedelta(days=99_999_999))),
]


@pytest.fixture(scope="module")
def connection(postgres_server: Postgres) -> Iterator[Connection]:
    postgres_server.start()
    engine = PostgreSQL().engine(make_url(postgres_server.url()), 1)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def write(
    connection: Connection, encode: Any, form: str, chunks: list[pa.RecordBatch], slots: list[Slot], table: str
) -> list[tuple[Any, ...]]:
    """Copy the chunks into a new temporary table by one encoder; the rows as the server gives them back."""
    columns = ", ".join(f"c{index} {slot.declared}" for index, slot in enumerate(slots))
    with cursor(connection) as run:
        run.execute(f"CREATE TEMP TABLE {table} ({columns})".encode())
        with run.copy(f"COPY {table} FROM STDIN (FORMAT {form})".encode()) as copy:
            if form == "BINARY":
                copy.write(pg_binary.HEADER)
            for chunk in chunks:
                copy.write(encode(chunk, slots))
            if form == "BINARY":
                copy.write(pg_binary.TRAILER)
        casts = ", ".join(f"c{index}::text" for index in range(len(slots)))
        rows: list[tuple[Any, ...]] = run.execute(f"SELECT {casts} FROM {table}".encode()).fetchall()
        return rows


def slots_of(connection: Connection, declared: list[str], fields: tuple[Field, ...]) -> list[Slot]:
    """Slots as the catalog of a real table gives them."""
    with cursor(connection) as run:
        columns = ", ".join(f"c{index} {name}" for index, name in enumerate(declared))
        run.execute(f"CREATE TEMP TABLE shape ({columns})".encode())
    columns_found = PostgreSQL().columns(connection, "shape")
    assert columns_found is not None
    return [PostgreSQL().slot(column, field) for column, field in zip(columns_found, fields, strict=True)]


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, list[str]]:
    """A table of any of the types, with NULLs, cut out of a larger one; and the types of its columns."""
    chosen = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    rows, cut = draw(st.integers(0, 8)), draw(st.integers(0, 3))
    arrays = []
    for arrow, _, values in chosen:
        cells = draw(st.lists(values | st.none(), min_size=rows + cut, max_size=rows + cut))
        arrays.append(pa.array(cells, arrow))
    names = [f"c{index}" for index in range(len(chosen))]
    return pa.table(arrays, names=names).slice(cut), [declared for _, declared, _ in chosen]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_binary_and_csv_store_the_same(connection: Connection, drawn: tuple[pa.Table, list[str]]) -> None:
    table, declared = drawn
    fields = fields_of(canonical(table).schema)
    with connection.begin() as transaction:
        slots = slots_of(connection, declared, fields)
        conformed = [
            conform(column.combine_chunks(), field, slot)
            for column, field, slot in zip(canonical(table).columns, fields, slots, strict=True)
        ]
        assert all(one.refused is None for one in conformed)
        chunk = pa.RecordBatch.from_arrays([one.values for one in conformed], names=table.column_names)
        binary = write(connection, pg_binary.encode, "BINARY", [chunk], slots, "by_binary")
        text = write(connection, pg_csv.encode, "CSV", [chunk], slots, "by_csv")
        transaction.rollback()
    assert len(binary) == table.num_rows
    assert binary == text


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.integers(1, 3))
def test_values_come_back_as_they_went_in(
    connection: Connection, drawn: tuple[pa.Table, list[str]], chunk_rows: int
) -> None:
    table, declared = drawn
    fields = fields_of(canonical(table).schema)
    with connection.begin() as transaction:
        slots = slots_of(connection, declared, fields)
        arrays = [
            conform(column.combine_chunks(), field, slot).values
            for column, field, slot in zip(canonical(table).columns, fields, slots, strict=True)
        ]
        whole = pa.RecordBatch.from_arrays(arrays, names=table.column_names)
        chunks = [whole.slice(at, chunk_rows) for at in range(0, whole.num_rows, chunk_rows)]
        write(connection, pg_binary.encode, "BINARY", chunks, slots, "t")
        with cursor(connection) as run:
            rows = run.execute(b"SELECT * FROM t", binary=True).fetchall()
        transaction.rollback()
    expected = [tuple(row.values()) for row in table.to_pylist()]
    assert [tuple(map(comparable, row)) for row in rows] == [tuple(map(comparable, row)) for row in expected]


def comparable(value: Any) -> Any:
    """NaN equals itself here, and 0.0 isn't -0.0."""
    return repr(value) if isinstance(value, float) else value


@pytest.mark.parametrize("declared", ["json", "jsonb"])
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(JSONS.map(lambda value: json.dumps(value, ensure_ascii=False)) | st.none(), max_size=6))
def test_json_both_ways(connection: Connection, declared: str, values: list[str | None]) -> None:
    schema = pa.schema([pa.field("c0", pa.string(), metadata=JSON_METADATA)])
    table = pa.Table.from_arrays([pa.array(values, pa.string())], schema=schema)
    with connection.begin() as transaction:
        slots = slots_of(connection, [declared], fields_of(schema))
        conformed = conform(table.column(0).combine_chunks(), fields_of(schema)[0], slots[0])
        chunk = pa.RecordBatch.from_arrays([conformed.values], names=["c0"])
        if conformed.refused is not None:
            chunk = chunk.filter(pa.array(~conformed.refused))
        binary = write(connection, pg_binary.encode, "BINARY", [chunk], slots, "by_binary")
        text = write(connection, pg_csv.encode, "CSV", [chunk], slots, "by_csv")
        transaction.rollback()
    assert binary == text
    assert [None if v is None else json.loads(v) for (v,) in binary] == [
        None if v is None else json.loads(v) for v in chunk.column(0).to_pylist()
    ]


def test_what_lies_under_a_null_is_not_sent(connection: Connection) -> None:
    validity = pa.py_buffer(b"\x05")
    text = pa.StringArray.from_buffers(
        3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\x03\0\0\0\4\0\0\0"), pa.py_buffer(b"axxb"), validity
    )
    numbers = pa.Array.from_buffers(pa.int64(), 3, [validity, pa.py_buffer(bytes(range(24)))])
    slots = [
        Slot("a", Kind.TEXT, pa.string(), "text"),
        Slot("b", Kind.INTEGER, pa.int64(), "bigint"),
        Slot("c", Kind.JSON, pa.string(), "jsonb"),
        Slot("d", Kind.INTEGER, pa.int64(), "bigint"),
    ]
    jsons = pa.array(["1", None, "[]"])
    chunk = pa.RecordBatch.from_arrays([text, numbers, jsons, pa.array([7, 8, 9])], names=list("abcd"))
    with connection.begin() as transaction:
        rows = write(connection, pg_binary.encode, "BINARY", [chunk, chunk.slice(1, 1), chunk.slice(0, 0)], slots, "t")
        transaction.rollback()
    null = (None, None, None, "8")
    assert [row[0] for row in rows] == ["a", None, "b", None]
    assert rows[1] == rows[3] == null


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ('"\\u0000"', False),
        ('"\\\\u0000"', True),
        ('"\\\\\\u0000"', False),
        ('{"a\\u0000": 1}', False),
        ('"u0000"', True),
    ],
)
def test_nul_in_json_is_told_from_an_escaped_backslash(text: str, taken: bool) -> None:
    slot = Slot("x", Kind.JSON, pa.string(), "jsonb", nul_free=True)
    answer: Conformed = conform(pa.array(["1", text]), Field("x", Kind.JSON, pa.string()), slot)
    assert (answer.refused is None) == taken


def test_types_only_the_server_reads_go_through_csv(postgres: Postgres, database: str) -> None:
    place = PostgresPlace(make_url(postgres.url(database)))
    place.query("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    place.query("CREATE DOMAIN small AS integer CHECK (VALUE < 10)")
    place.query("CREATE TABLE t (n bigint, u uuid, m mood, i inet, a integer[], d small, p numeric(6, 2), c char(3))")
    sink = SqlSink(stream="s", url=place.url, table="t")
    rows = {
        "n": [1, 2, 3, 4, 5],
        "u": ["0f3c704a-3af1-48b4-83af-2ce6ce9d0cda", None, "no uuid", None, None],
        "m": ["ok", None, "sad", "angry", "sad"],
        "i": ["::1", None, "10.0.0.0/8", "::1", "::1"],
        "a": ["{1,2}", None, None, "{}", "{}"],
        "d": [5, None, 1, 2, 10],
        "p": [1.5, None, 1.0, 1.0, 1.0],
        "c": ["abc", "d", "e", "f", "g"],
    }
    quarantine = load(sink, batch(rows))
    sink.close()
    assert [row["n"] for row in quarantine.rows] == [3, 4, 5]
    told = 'column "u" (uuid) cannot take text ("no uuid"): invalid input syntax for type uuid: "no uuid" (22P02)'
    assert told in quarantine.reasons
    assert place.query("SELECT n, u::text, m::text, i::text, a, d, p, c FROM t ORDER BY n") == [
        (1, "0f3c704a-3af1-48b4-83af-2ce6ce9d0cda", "ok", "::1/128", [1, 2], 5, Decimal("1.50"), "abc"),
        (2, None, None, None, None, None, None, "d  "),
    ]


def test_a_float_that_is_no_number_is_stored_as_such(postgres: Postgres, database: str) -> None:
    place = PostgresPlace(make_url(postgres.url(database)))
    place.query("CREATE TABLE t (x numeric, f real)")
    sink = SqlSink(stream="s", url=place.url, table="t")
    quarantine = load(sink, batch({"x": [math.nan, 1e-300, math.inf, 0.1], "f": [1e300, 0.0, math.inf, 0.1]}))
    sink.close()
    assert len(quarantine.reasons) == 1
    assert place.query("SELECT x::text, f::text FROM t") == [
        (format(Decimal("1e-300"), "f"), "0"),
        ("Infinity", "Infinity"),
        ("0.1", "0.1"),
    ]


def test_the_encoder_is_given_exact_types_only() -> None:
    slot = Slot("x", Kind.INTEGER, pa.int32(), "integer")
    field = Field("x", Kind.INTEGER, pa.int64())
    assert conform(pa.array([1], pa.int64()), field, slot).values.type == pa.int32()
