"""What each type becomes: kept exactly, converted by the documented rule, or its row in quarantine."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from api2db.schema import JSON_METADATA
from tests.contract.conftest import MakeSink
from tests.contract.places import Place, batch, load

UTC = dt.UTC
MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 6)

# Arrow type, values, and by database what it holds or its driver answers where that isn't the values themselves.
CASES: list[tuple[pa.DataType, list[Any], dict[str, list[Any]]]] = [
    (pa.bool_(), [True, False], {"sqlite": [1, 0], "mariadb": [1, 0]}),
    (pa.int8(), [-128, 127], {}),
    (pa.int64(), [-(2**63), 2**63 - 1], {}),
    (pa.uint32(), [0, 2**32 - 1], {}),
    (
        pa.uint64(),
        [0, 2**64 - 1],
        {"sqlite": ["0", str(2**64 - 1)], "postgresql": [Decimal(0), Decimal(2**64 - 1)]},
    ),
    (pa.float32(), [0.5, -2.0], {}),
    (pa.float64(), [0.1, 1e308, 5e-324, -1.7976931348623157e308], {}),
    (
        pa.decimal128(38, 10),
        [Decimal("1.1000000000"), Decimal("-0.0000000001")],
        {"sqlite": ["1.1000000000", "-0.0000000001"]},
    ),
    (pa.string(), ["", "ünï 🌍"], {}),
    (pa.binary(), [b"", b"\x00\xff\\x"], {}),
    (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)], {"sqlite": ["0001-01-01", "9999-12-31"]}),
    (
        pa.time64("us"),
        [dt.time(0), dt.time(23, 59, 59, 999_999)],
        {
            "sqlite": ["00:00:00.000000", "23:59:59.999999"],
            "mariadb": [dt.timedelta(0), dt.timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999)],
        },
    ),
    (
        pa.timestamp("us"),
        [MOMENT, dt.datetime(1, 1, 1)],
        {"sqlite": ["2026-01-02 03:04:05.000006", "0001-01-01 00:00:00.000000"]},
    ),
    (
        pa.timestamp("us", "UTC"),
        [MOMENT.replace(tzinfo=UTC)],
        {"sqlite": ["2026-01-02 03:04:05.000006+00:00"], "mariadb": [MOMENT]},
    ),
    (
        pa.duration("us"),
        [dt.timedelta(days=-1), dt.timedelta(microseconds=1)],
        {"sqlite": [-86_400_000_000, 1], "mariadb": [-86_400_000_000, 1]},
    ),
]


@pytest.mark.parametrize(("arrow", "values", "held"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_type_of_our_own_table_keeps_its_values(
    place: Place, make_sink: MakeSink, arrow: pa.DataType, values: list[Any], held: dict[str, list[Any]]
) -> None:
    expected = held.get(place.name, values)
    table = pa.table({"n": range(len(values) + 1), "x": pa.array([*values, None], arrow)})
    for name, key in (("appended", ()), ("merged", ("n",))):
        assert not load(make_sink(table=name, key=key, stream=f"{name}/sql"), batch(table)).kept
        assert [x for (x,) in place.query(f"SELECT x FROM {name} ORDER BY n")] == [*expected, None]


def test_json_is_json(place: Place, make_sink: MakeSink) -> None:
    values = ['{"a": [1, null, "\\u00e9"]}', "[]", None]
    field = pa.field("x", pa.string(), metadata=JSON_METADATA)
    load(make_sink(table="t"), batch(pa.Table.from_arrays([pa.array(values)], schema=pa.schema([field]))))
    expected: list[Any] = [{"a": [1, None, "é"]}, [], None] if place.name == "postgresql" else values
    assert [x for (x,) in place.query("SELECT x FROM t")] == expected


def test_nan(place: Place, make_sink: MakeSink) -> None:
    load(make_sink(table="t"), batch({"x": [math.nan, 1.0]}))
    (first,), second = place.query("SELECT x FROM t")
    assert second == (1.0,)
    assert math.isnan(first) if place.name in ("postgresql", "duckdb") else first is None


def test_infinities(place: Place, make_sink: MakeSink) -> None:
    quarantine = load(make_sink(table="t"), batch({"n": [1, 2, 3], "x": [math.inf, -math.inf, 1.0]}))
    stored = [x for (x,) in place.query("SELECT x FROM t ORDER BY n")]
    if place.name == "mariadb":
        assert ["no such number" in reason for reason in quarantine.reasons] == [True, True]
        assert stored == [1.0]
    else:
        assert not quarantine.kept
        assert stored == [math.inf, -math.inf, 1.0]


def test_nul_in_text(place: Place, make_sink: MakeSink) -> None:
    quarantine = load(make_sink(table="t"), batch({"id": [1, 2], "x": ["a\0b", "c"]}))
    if place.name == "postgresql":
        assert "NUL" in quarantine.reasons[0]
        assert place.query("SELECT x FROM t") == [("c",)]
    else:
        assert not quarantine.kept
        assert place.query("SELECT x FROM t") == [("a\0b",), ("c",)]


@pytest.mark.parametrize(
    "arrow", [pa.timestamp("s"), pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("us"), pa.date32()]
)
def test_years_nobody_can_read_go_to_quarantine(place: Place, make_sink: MakeSink, arrow: pa.DataType) -> None:
    numbers = pa.int32() if arrow == pa.date32() else pa.int64()
    limit = 2**31 - 1 if arrow == pa.date32() else 2**63 - 1
    values = pa.array([0, limit, -limit], numbers).cast(arrow)
    quarantine = load(make_sink(table="t"), batch({"id": [1, 2, 3], "x": values}))
    assert ["year" in reason for reason in quarantine.reasons] == [True, True]
    assert place.query("SELECT id FROM t") == [(1,)]


@pytest.mark.parametrize("declared", ["time", "text"])
def test_times_of_day_that_are_none_go_to_quarantine(place: Place, make_sink: MakeSink, declared: str) -> None:
    place.query(f"CREATE TABLE t (id integer, x {declared})")
    values = pa.array([0, 86_400_000_000, -1, 2**63 - 1]).view(pa.time64("us"))
    quarantine = load(make_sink(table="t"), batch({"id": [1, 2, 3, 4], "x": values}))
    assert ["time of day" in reason for reason in quarantine.reasons] == [True] * 3
    assert place.query("SELECT id FROM t") == [(1,)]


def test_other_arrow_types_are_brought_to_ours(place: Place, make_sink: MakeSink) -> None:
    table = pa.table(
        {
            "large": pa.array(["a"], pa.large_string()),
            "category": pa.array(["b"]).dictionary_encode(),
            "ns": pa.array([1_001], pa.timestamp("ns")),
            "zone": pa.array([0], pa.timestamp("ms", "Europe/Berlin")),
            "days": pa.array([0], pa.date64()),
            "half": pa.array([0.5], pa.float16()),
            "list": pa.array([[1, 2]]),
        }
    )
    load(make_sink(table="t"), batch(table))
    load(make_sink(table="t"), batch(table.slice(0, 0)))
    (row,) = place.query("SELECT large, category, ns, zone, days, half, list FROM t")
    if place.name == "sqlite":
        stamps = "1970-01-01 00:00:00.000001", "1970-01-01 00:00:00.000000+00:00", "1970-01-01"
        assert row == ("a", "b", *stamps, 0.5, "[1,2]")
    else:
        epoch = dt.datetime(1970, 1, 1)
        zone = epoch if place.name == "mariadb" else epoch.replace(tzinfo=UTC)
        listed = [1, 2] if place.name == "postgresql" else "[1,2]"
        assert row == ("a", "b", epoch.replace(microsecond=1), zone, epoch.date(), 0.5, listed)


# Declared type of someone's column, what arrives, what is stored of it, how many rows go to quarantine.
FOREIGN: list[tuple[str, pa.Array, list[Any], int]] = [
    ("int", pa.array([1.0, 1.5, math.nan, 2.0**70]), [1], 3),
    ("integer", pa.array(["1", "x", ""]), [], 3),
    ("integer", pa.array([True, False]), [1, 0], 0),
    ("bigint", pa.array([Decimal("5.00"), Decimal("5.50")]), [5], 1),
    ("bigint", pa.array([2**64 - 1, 7], pa.uint64()), [7], 1),
    ("real", pa.array([2**60 + 1, 5]), [5.0], 1),
    ("double precision", pa.array([2**53, 2**53 + 1, -(2**53)]), [2.0**53, -(2.0**53)], 1),
    ("double precision", pa.array(["1.5"]), [], 1),
    ("double precision", pa.array([Decimal("0.10"), Decimal("0.12345678901234567890")]), [0.1], 1),
    ("boolean", pa.array([0, 1, 2]), [False, True], 1),
    ("boolean", pa.array(["true"]), [], 1),
    ("boolean", pa.array([1.0]), [], 1),
    ("text", pa.array([1, -5]), ["1", "-5"], 0),
    ("text", pa.array([True, False]), ["true", "false"], 0),
    ("text", pa.array([0.1, 1e20, math.nan]), ["0.1", "1e+20", "nan"], 0),
    ("text", pa.array([b"x"]), [], 1),
    ("timestamp", pa.array(["2026-01-01"]), [], 1),
    ("date", pa.array([1]), [], 1),
]


@pytest.mark.parametrize(
    ("declared", "values", "stored", "refused"), FOREIGN, ids=[f"{case[0]}-{case[1].type}" for case in FOREIGN]
)
def test_values_in_someone_elses_column(
    place: Place, make_sink: MakeSink, declared: str, values: pa.Array, stored: list[Any], refused: int
) -> None:
    place.query(f"CREATE TABLE t (n integer, x {declared})")
    quarantine = load(make_sink(table="t"), batch({"n": range(len(values)), "x": values}))
    assert [x for (x,) in place.query("SELECT x FROM t ORDER BY n")] == stored
    assert len(quarantine.reasons) == refused
    assert all('column "x"' in reason for reason in quarantine.reasons)


def test_a_value_in_a_reason_is_cut(make_sink: MakeSink) -> None:
    sink = make_sink()
    load(sink, batch({"x": [1]}))
    (reason,) = load(sink, batch({"x": ["secret" * 100]})).reasons
    assert len(reason) < 120
    assert reason.endswith("…\"): it isn't a number")
