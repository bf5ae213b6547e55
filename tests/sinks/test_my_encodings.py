"""MariaDB gets the same values by LOAD DATA and by INSERT, and exactly those that were given."""

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

from api2db.schema import JSON_METADATA, Field, canonical, fields_of
from api2db.sinks import my_rows
from api2db.sinks.conform import Slot, conform
from api2db.sinks.my_load import fill
from api2db.sinks.mysql import MySQL, _session
from api2db.sinks.sql import SqlSink
from tests.contract.places import MariaDBPlace, batch, load
from tests.mariadb import MariaDB

UTC = dt.UTC
HOSTILE = [
    "",
    "\\.",
    "\n\\.\n",
    '"',
    '""',
    '",',
    '","',
    '"\n',
    "\\N",
    "NULL",
    ",",
    "\r\n",
    "\\",
    "\\'",
    "'",
    "''",
    "\0",
]
HOSTILE += [
    '"NULL"',
    "\x1a",
    "%s",
    "a ",
    " a",
    "\t",
    "🌍",
    "),(",
    "1",
    "-- ",
    "/*",
    ";",
    "\ufeff",
    "\ufffe",
    "x" * 9_000,
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(HOSTILE)
SHORT = TEXT.filter(lambda text: len(text) <= 30)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
# Arrow type, column, values, and what the driver answers for one.
TYPES: list[tuple[pa.DataType, str, st.SearchStrategy[Any], Any]] = [
    (pa.bool_(), "tinyint(1)", st.booleans(), int),
    (pa.bool_(), "bit(1)", st.booleans(), lambda value: bytes([value])),
    (pa.int64(), "bigint", st.integers(-(2**63), 2**63 - 1), None),
    (pa.int64(), "tinyint", st.integers(-(2**7), 2**7 - 1), None),
    (pa.int64(), "mediumint unsigned", st.integers(0, 2**24 - 1), None),
    (pa.uint64(), "bigint unsigned", st.integers(0, 2**64 - 1), None),
    (pa.int64(), "bit(63)", st.integers(0, 2**63 - 1), lambda value: value.to_bytes(8)),
    (pa.float64(), "double", FINITE, None),
    (pa.float32(), "double", st.floats(width=32, allow_nan=False, allow_infinity=False), None),
    (pa.decimal128(38, 9), "decimal(65,30)", st.decimals(-(10**28), 10**28, places=9), None),
    (pa.string(), "longtext", TEXT, None),
    (pa.string(), "varchar(30)", SHORT, None),
    (pa.binary(), "longblob", st.binary(max_size=20), None),
    (pa.date32(), "date", st.dates(), None),
    (
        pa.time64("us"),
        "time(6)",
        st.times(),
        lambda value: dt.datetime.combine(dt.date.min, value) - dt.datetime.min,
    ),
    (pa.timestamp("us"), "datetime(6)", st.datetimes(), None),
    (
        pa.timestamp("us", "UTC"),
        "datetime(6)",
        st.datetimes().map(lambda value: value.replace(tzinfo=UTC)),
        lambda value: value.replace(tzinfo=None),
    ),
    (
        pa.timestamp("us", "UTC"),
        "timestamp(6)",
        st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2037, 12, 31)).map(lambda value: value.replace(tzinfo=UTC)),
        lambda value: value.replace(tzinfo=None),
    ),
    (
        pa.duration("us"),
        "bigint",
        st.timedeltas(dt.timedelta(days=-99_999_999), dt.timedelta(days=99_999_999)),
        lambda value: value // dt.timedelta(microseconds=1),
    ),
]
WAYS = ("load data", "insert")


@pytest.fixture(scope="module")
def connection(mariadb_server: MariaDB) -> Iterator[Connection]:
    mariadb_server.start()
    database = mariadb_server.create_database()
    engine = MySQL().engine(make_url(mariadb_server.url(database)), 1)
    with engine.connect() as connection:
        yield connection
    engine.dispose()
    mariadb_server.drop_database(database)


def make(connection: Connection, declared: list[str], table: str = "t") -> None:
    columns = ", ".join(f"c{index} {name} NULL" for index, name in enumerate(declared))
    options = MySQL().table_options(connection)
    _session(connection).run(f"CREATE OR REPLACE TABLE {table} ({columns}){options}".encode())


def slots_of(connection: Connection, declared: list[str], fields: tuple[Field, ...]) -> list[Slot]:
    """Slots as the catalog of a real table gives them; the table is there afterwards, and empty."""
    make(connection, declared)
    found = MySQL().columns(connection, "t")
    assert found is not None
    return [MySQL().slot(column, field) for column, field in zip(found, fields, strict=True)]


def write(connection: Connection, way: str, chunks: list[pa.RecordBatch], slots: list[Slot]) -> list[tuple[Any, ...]]:
    """The chunks into the table by one way; the rows as the server gives them back."""
    session = _session(connection)
    session.server.local_infile = way == "load data"
    session.run(b"DELETE FROM t")
    fill(session, "t", slots, iter(chunks), lambda: None)
    return list(session.run(b"SELECT * FROM t").rows)


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, list[str], list[Any]]:
    """A table of any of the types, with NULLs, cut out of a larger one; its columns' types; what the driver answers."""
    chosen = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    rows, cut = draw(st.integers(1, 8)), draw(st.integers(0, 3))
    arrays = []
    for arrow, _, values, _ in chosen:
        cells = draw(st.lists(values | st.none(), min_size=rows + cut, max_size=rows + cut))
        arrays.append(pa.array(cells, arrow))
    names = [f"c{index}" for index in range(len(chosen))]
    table = pa.table(arrays, names=names).slice(cut)
    return table, [declared for _, declared, _, _ in chosen], [answer for _, _, _, answer in chosen]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tables(), st.integers(1, 8))
def test_both_ways_store_what_was_given(
    connection: Connection, drawn: tuple[pa.Table, list[str], list[Any]], chunk_rows: int
) -> None:
    table, declared, answers = drawn
    fields = fields_of(canonical(table).schema)
    slots = slots_of(connection, declared, fields)
    arrays = []
    for column, field, slot in zip(canonical(table).columns, fields, slots, strict=True):
        conformed = conform(column.combine_chunks(), field, slot)
        assert conformed.refused is None
        arrays.append(conformed.values)
    whole = pa.RecordBatch.from_arrays(arrays, names=table.column_names)
    chunks = [whole.slice(at, chunk_rows) for at in range(0, whole.num_rows, chunk_rows)]
    loaded, inserted = (write(connection, way, chunks, slots) for way in WAYS)
    expected = [
        tuple(
            value if value is None or answer is None else answer(value)
            for value, answer in zip(row.values(), answers, strict=True)
        )
        for row in table.to_pylist()
    ]
    assert [tuple(map(comparable, row)) for row in loaded] == [tuple(map(comparable, row)) for row in expected]
    assert [tuple(map(comparable, row)) for row in inserted] == [tuple(map(comparable, row)) for row in expected]


def comparable(value: Any) -> Any:
    """Every digit of a float; MariaDB keeps no sign of a zero."""
    return repr(value + 0.0) if isinstance(value, float) else value


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(JSONS.map(lambda value: json.dumps(value, ensure_ascii=False)) | st.none(), max_size=6))
def test_json_both_ways(connection: Connection, values: list[str | None]) -> None:
    schema = pa.schema([pa.field("c0", pa.string(), metadata=JSON_METADATA)])
    slots = slots_of(connection, ["json"], fields_of(schema))
    assert slots[0].declared == "json"
    chunk = pa.RecordBatch.from_arrays([pa.array(values, pa.string())], names=["c0"])
    for way in WAYS:
        assert write(connection, way, [chunk], slots) == [(value,) for value in values]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT | st.none(), TEXT), min_size=1, max_size=20), max_bytes=st.integers(1, 200))
def test_statements_stay_within_what_the_server_takes(rows: list[tuple[str | None, str]], max_bytes: int) -> None:
    slots = [Slot(name, TEXT_KIND, pa.string(), "longtext") for name in "ab"]
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    chunk = pa.RecordBatch.from_arrays(columns, names=["a", "b"])
    parts = list(my_rows.tuples(chunk, slots, max_bytes))
    assert sum(count for _, count in parts) == len(rows)
    assert all(len(part) <= max_bytes or count == 1 for part, count in parts)
    whole = b",".join(bytes(part) for part, _ in parts).decode()
    ((everything, _),) = my_rows.tuples(chunk, slots, 2**30)
    assert whole == bytes(everything).decode()


TEXT_KIND = fields_of(pa.schema([("a", pa.string())]))[0].kind


@pytest.mark.parametrize("way", WAYS)
def test_what_only_the_server_can_tell_is_refused_by_both_ways(
    mariadb: MariaDB, mariadb_database: str, way: str
) -> None:
    place = MariaDBPlace(make_url(mariadb.url(mariadb_database)))
    place.query(
        "CREATE TABLE t (n bigint, e enum('sad', 'ok'), u uuid, y tinytext, l varchar(9) CHARACTER SET latin1,"
        " p decimal(6,2), d timestamp NULL, i int unsigned, m mediumint, b varbinary(2), c char(3))"
    )
    rows: dict[str, Any] = {
        "n": list(range(11)),
        "e": ["ok", None, "angry", *["sad"] * 8],
        "u": ["0f3c704a-3af1-48b4-83af-2ce6ce9d0cda", None, None, "no uuid", *[None] * 7],
        "y": ["y" * 255, None, None, None, "y" * 256, *[None] * 6],
        "l": ["é", None, None, None, None, "日", *[None] * 5],
        "p": [1.005, None, None, None, None, None, 12345.0, *[None] * 4],
        "d": pa.array([-86_400 if row == 7 else 86_400 for row in range(11)], pa.timestamp("s", "UTC")),
        "i": [2**32 - 1, *[None] * 7, 2**31, None, None],
        "m": [2**23 - 1, *[None] * 7, 2**23, None, None],
        "b": [b"\0\xff", *[None] * 8, b"xyz", None],
        "c": ["abc", *[None] * 9, "abcd"],
    }
    sink = SqlSink(stream="s", url=place.url, table="t")
    sink.connect()
    if way == "insert":
        place.query("SET GLOBAL local_infile = 0")
        sink.close()
    try:
        quarantine = load(sink, batch(rows))
    finally:
        place.query("SET GLOBAL local_infile = 1")
    sink.close()
    assert [row["n"] for row in quarantine.rows] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert place.query("SELECT * FROM t") == [
        (
            0,
            "ok",
            "0f3c704a-3af1-48b4-83af-2ce6ce9d0cda",
            "y" * 255,
            "é",
            Decimal("1.01"),
            dt.datetime(1970, 1, 2),
            2**32 - 1,
            2**23 - 1,
            b"\0\xff",
            "abc",
        ),
        (1, *[None] * 5, dt.datetime(1970, 1, 2), *[None] * 4),
    ]


@pytest.mark.parametrize("way", WAYS)
def test_nan_becomes_null_and_what_is_beyond_a_column_is_refused(
    mariadb: MariaDB, mariadb_database: str, way: str
) -> None:
    place = MariaDBPlace(make_url(mariadb.url(mariadb_database)))
    place.query("CREATE TABLE t (n bigint, d decimal(10,3), f float, r double NOT NULL, w decimal(65,30))")
    sink = SqlSink(stream="s", url=place.url, table="t")
    nan, inf = math.nan, math.inf
    rows = {
        "n": [1, 2, 3, 4, 5],
        "d": [nan, inf, 0.5, 1.0, 1.0],
        "f": [nan, 1.0, 1e300, -inf, 1.0],
        "r": [1.0, 1.0, 1.0, 1.0, nan],
    }
    if way == "insert":
        place.query("SET GLOBAL local_infile = 0")
    try:
        quarantine = load(sink, batch(rows))
        tiny = batch({"n": [6, 7], "r": [0.5] * 2, "w": [Decimal("1e-31"), Decimal("0.5")]})
        also = load(sink, tiny)
    finally:
        place.query("SET GLOBAL local_infile = 1")
    sink.close()
    assert [row["n"] for row in quarantine.rows] == [2, 3, 4, 5]
    assert [row["n"] for row in also.rows] == [6]
    assert "30 decimal places" in also.reasons[0]
    assert place.query("SELECT n, d, f, r, w FROM t ORDER BY n") == [
        (1, None, None, 1.0, None),
        (7, None, None, 0.5, Decimal("0.5")),
    ]
