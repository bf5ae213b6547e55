"""The rows of docs/types.md: for each label a column of that Arrow type, and values of the row's domain."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from api2db.schema import JSON_METADATA

UTC = dt.UTC
EPOCH = dt.datetime(1970, 1, 1)
_MIN_US, _END_US = -62_135_596_800_000_000, 253_402_300_800_000_000
_DAY_US = 86_400_000_000
_MIN_DAY, _END_DAY = _MIN_US // _DAY_US, _END_US // _DAY_US

Build = Callable[[Sequence[Any], pa.DataType], pa.Array]


def _plain(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind)


def _counts(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Of whole numbers: days, microseconds …, whatever the type counts."""
    narrow = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array(values, narrow).view(kind)


def _run_ends(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    ends = pa.array(range(1, len(values) + 1), kind.run_end_type)
    return pa.RunEndEncodedArray.from_arrays(ends, pa.array(values, kind.value_type))


def _unchecked(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Text of any bytes."""
    return pa.array(values, pa.binary()).view(kind)


def _stored(values: Sequence[Any], kind: Any) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))


@dataclass(frozen=True)
class Case:
    """One row of the table.

    arrow    what arrives
    values   what its cells speak of, as ``build`` takes it
    form     what the form makes of a value, in Python's words; without it the value itself
    build    values, None for null, as an array of ``arrow``
    json     the field is marked as JSON
    """

    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    form: Callable[[Any], Any] | None = None
    build: Build = _plain
    json: bool = False

    @property
    def metadata(self) -> dict[bytes, bytes] | None:
        return JSON_METADATA if self.json else None


def _ints(bits: int, signed: bool = True) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
TEXT |= st.sampled_from(["\\.", '"', "\\N", "NULL", ",", "\r\n", "'", " a ", "nan", "007", "true", "1e5", "2026-01-31"])
FINITE = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0 or math.copysign(1, x) > 0)
FINITE32 = st.floats(width=32, allow_nan=False, allow_infinity=False).filter(
    lambda x: x != 0 or math.copysign(1, x) > 0
)
HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False).filter(lambda x: x != 0 or math.copysign(1, x) > 0)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
).filter(lambda value: isinstance(value, (list, dict)))


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _instant(us: int) -> dt.datetime:
    return (EPOCH + dt.timedelta(microseconds=us)).replace(tzinfo=UTC)


def _moment(us: int) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=us)


def _exact(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    """Decimals with exactly so many places and at most so many digits."""
    top = 10**digits - 1
    return st.integers(-top, top).map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -places)))


MODERN = st.datetimes(dt.datetime(1000, 1, 1))
STRUCT = pa.struct([("a", pa.int64()), ("b", pa.string())])
NEAR = st.integers(-(10**9), 10**9)

CASES: dict[str, Case] = {
    "`null`": Case(pa.null(), st.none()),
    "`bool`": Case(pa.bool_(), st.booleans()),
    **{f"`int{bits}`": Case(getattr(pa, f"int{bits}")(), _ints(bits)) for bits in (8, 16, 32)},
    "`int64`": Case(pa.int64(), st.integers(-(2**53), 2**53)),
    "`int64` beyond 2^53": Case(pa.int64(), st.integers(2**53 + 1, 2**63 - 1) | st.integers(-(2**63), -(2**53) - 1)),
    **{f"`uint{bits}`": Case(getattr(pa, f"uint{bits}")(), _ints(bits, False)) for bits in (8, 16, 32)},
    "`uint64`": Case(pa.uint64(), st.integers(0, 2**63 - 1)),
    "`uint64` beyond `int64`": Case(pa.uint64(), st.integers(2**63, 2**64 - 1)),
    "`float32`": Case(pa.float32(), FINITE32),
    "`float64`": Case(pa.float64(), FINITE),
    "`float64` NaN": Case(pa.float64(), st.just(math.nan)),
    "`float64` ±infinity": Case(pa.float64(), st.sampled_from([math.inf, -math.inf])),
    "`float64` −0.0": Case(pa.float64(), st.just(-0.0)),
    "`decimal128(38, 10)`": Case(pa.decimal128(38, 10), _exact(38, 10)),
    "`decimal128(38, 0)`, 35 digits": Case(pa.decimal128(38, 0), _exact(35, 0)),
    "`decimal128(38, 0)`, 38 digits": Case(
        pa.decimal128(38, 0),
        st.integers(10**37, 10**38 - 1).map(Decimal) | st.integers(-(10**38) + 1, -(10**37)).map(Decimal),
    ),
    "`decimal128(38, 31)`": Case(pa.decimal128(38, 31), _exact(38, 31).filter(lambda d: d.as_tuple().digits[-1] != 0)),
    "`string`": Case(pa.string(), TEXT),
    "`string` empty": Case(pa.string(), st.just("")),
    "`string` with NUL": Case(pa.string(), TEXT.map(lambda text: text[:2] + "\0" + text[2:])),
    "`string` that isn't UTF-8 (lone surrogates)": Case(
        pa.string(),
        st.sampled_from([b"\xed\xa0\x80", b"a\xff"]),
        lambda given: given.decode(errors="replace"),
        _unchecked,
    ),
    "`string` of 100,000 characters": Case(pa.string(), st.sampled_from("aé🌍").map(lambda char: char * 100_000)),
    "JSON": Case(pa.string(), JSONS.map(compact), json=True),
    "JSON with `\\u0000`": Case(pa.string(), st.just('{"a":"\\u0000"}'), json=True),
    "`binary`": Case(pa.binary(), st.binary(min_size=1, max_size=20)),
    "`binary` empty": Case(pa.binary(), st.just(b"")),
    "`date32`": Case(pa.date32(), st.dates(dt.date(1000, 1, 1))),
    "`date32` before 1000": Case(pa.date32(), st.dates(dt.date(1, 1, 1), dt.date(999, 12, 31))),
    "`date32` outside 1 to 9999": Case(
        pa.date32(), st.integers(-(2**31), _MIN_DAY - 1) | st.integers(_END_DAY, 2**31 - 1), lambda _: None, _counts
    ),
    "`time64[us]`": Case(pa.time64("us"), st.times()),
    "`time64[us]` from 24:00 on, or negative": Case(
        pa.time64("us"), st.integers(_DAY_US, 2 * _DAY_US) | st.integers(-_DAY_US, -1), lambda _: None, _counts
    ),
    "`timestamp[us]`": Case(pa.timestamp("us"), MODERN),
    "`timestamp[us]` before 1000": Case(pa.timestamp("us"), st.datetimes(max_value=dt.datetime(999, 12, 31))),
    "`timestamp[us]` outside 1 to 9999": Case(
        pa.timestamp("us"),
        st.integers(-(2**63) + 1, _MIN_US - 1) | st.integers(_END_US, 2**63 - 1),
        lambda _: None,
        _counts,
    ),
    "`timestamp[us, UTC]`": Case(pa.timestamp("us", "UTC"), MODERN.map(lambda value: value.replace(tzinfo=UTC))),
    "`timestamp[us, UTC]` outside 1 to 9999": Case(
        pa.timestamp("us", "UTC"),
        st.integers(-(2**63) + 1, _MIN_US - 1) | st.integers(_END_US, 2**63 - 1),
        lambda _: None,
        _counts,
    ),
    "`duration[us]`": Case(pa.duration("us"), st.timedeltas(dt.timedelta(0), dt.timedelta(days=36_500))),
    "`duration[us]` negative": Case(
        pa.duration("us"), st.timedeltas(dt.timedelta(days=-36_500), dt.timedelta(microseconds=-1))
    ),
    "`duration[us]` of 292,000 years": Case(
        pa.duration("us"), st.sampled_from([2**63 - 1, -(2**63) + 1]), lambda us: dt.timedelta(microseconds=us), _counts
    ),
}

OTHER: dict[str, Case] = {
    "`dictionary`": Case(pa.dictionary(pa.int32(), pa.string()), TEXT),
    "`large_string`": Case(pa.large_string(), TEXT),
    "`string_view`": Case(pa.string_view(), TEXT),
    "`large_binary`": Case(pa.large_binary(), st.binary(max_size=9)),
    "`binary_view`": Case(pa.binary_view(), st.binary(max_size=9)),
    "`fixed_size_binary`": Case(pa.binary(4), st.binary(min_size=4, max_size=4)),
    "`run_end_encoded`": Case(pa.run_end_encoded(pa.int32(), pa.string()), TEXT, None, _run_ends),
    "`float16`": Case(pa.float16(), HALVES.map(np.float16), float),
    "`decimal32`": Case(pa.decimal32(9, 2), _exact(9, 2)),
    "`decimal256` up to 38 digits": Case(pa.decimal256(50, 5), _exact(38, 5)),
    "`decimal256` beyond": Case(pa.decimal256(76, 0), st.integers(10**38, 10**76 - 1).map(Decimal), str),
    "`date64`": Case(pa.date64(), st.dates(dt.date(1000, 1, 1))),
    "`time32`": Case(pa.time32("s"), st.times().map(lambda v: v.replace(microsecond=0))),
    "`time64[ns]`": Case(
        pa.time64("ns"), st.integers(0, _DAY_US * 1000 - 1), lambda ns: _moment(ns // 1000).time(), _counts
    ),
    "`timestamp[s]`": Case(pa.timestamp("s"), NEAR, lambda s: _moment(s * 10**6), _counts),
    "`timestamp[ns]`": Case(pa.timestamp("ns"), _ints(63), lambda ns: _moment(ns // 1000), _counts),
    "`timestamp[ms, zone]`": Case(pa.timestamp("ms", "Europe/Berlin"), NEAR, lambda ms: _instant(ms * 1000), _counts),
    "`duration[s]`": Case(pa.duration("s"), NEAR, lambda s: dt.timedelta(seconds=s), _counts),
    "`duration[ns]`": Case(pa.duration("ns"), _ints(63), lambda ns: dt.timedelta(microseconds=ns // 1000), _counts),
    "`month_day_nano_interval`": Case(
        pa.month_day_nano_interval(),
        st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda p: (*p, 10**9)),
        lambda p: f"P{p[0]}M{p[1]}DT1S",
    ),
    "`list`": Case(pa.list_(pa.int64()), st.lists(st.integers(-9, 9) | st.none(), max_size=3), compact),
    "`large_list`": Case(pa.large_list(pa.int64()), st.lists(st.integers(-9, 9) | st.none(), max_size=3), compact),
    "`list_view`": Case(pa.list_view(pa.int64()), st.lists(st.integers(-9, 9) | st.none(), max_size=3), compact),
    "`fixed_size_list`": Case(
        pa.list_(pa.int64(), 2), st.lists(st.integers(-9, 9) | st.none(), min_size=2, max_size=2), compact
    ),
    "`struct`": Case(
        STRUCT,
        st.fixed_dictionaries({"a": st.none() | st.integers(-9, 9), "b": st.none() | TEXT}),
        lambda value: compact({"a": value["a"], "b": value["b"]}),
    ),
    "`map`": Case(
        pa.map_(pa.string(), pa.int64()),
        st.dictionaries(TEXT, st.none() | st.integers(-9, 9), max_size=3).map(lambda d: list(d.items())),
        lambda pairs: compact(dict(pairs)),
    ),
    "`map` with a key twice": Case(
        pa.map_(pa.string(), pa.int64()), st.just([("k", 1), ("k", None)]), lambda pairs: compact(pairs)
    ),
    "`arrow.json`": Case(pa.json_(), JSONS.map(compact), None, _stored),
    "`arrow.uuid`": Case(pa.uuid(), st.uuids().map(lambda u: u.bytes), lambda b: str(uuid.UUID(bytes=b)), _stored),
    "`arrow.bool8`": Case(pa.bool8(), st.sampled_from([0, 1]), bool, _stored),
    "other extension types": Case(pa.opaque(pa.int64(), "t", "v"), st.integers(-9, 9), None, _stored),
}

LONG = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).bytes(1400).hex())
KEYS: dict[str, Case] = {
    "`string` in a key, up to 768 characters": Case(pa.string(), TEXT),
    "`string` in a key, 769 to 2,692 bytes": Case(pa.string(), LONG.map(lambda text: text[:2692])),
    "`string` in a key, more": Case(pa.string(), LONG),
    "`binary` in a key, more than 3,072 bytes": Case(
        pa.binary(), st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).bytes(3073))
    ),
    "`float64` NaN in a key": Case(pa.float64(), st.just(math.nan)),
}
