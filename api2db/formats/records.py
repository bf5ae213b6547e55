"""Frames as JSON: a list of records. Numbers, truth values, texts and nested values are JSON's own; times are text.

Infinities are the strings "Infinity" and "-Infinity", as in protobuf's JSON mapping
(https://protobuf.dev/programming-guides/json/); NaN is null. Read as well: what ``DataFrame.to_json()`` writes.
"""

from __future__ import annotations

import io
import math
from typing import Any, Final

import msgspec
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_object_dtype, pandas_dtype

from api2db.errors import StoreError
from api2db.form.column import plain_array
from api2db.form.jsontext import json_bytes
from api2db.form.tally import Tally
from api2db.formats import times
from api2db.formats.dtypes import Dtypes, cast
from api2db.formats.objects import clean_categories, in_parts, log_changes, values_of

_INFINITE: Final = {"Infinity": math.inf, "-Infinity": -math.inf}
_NULLABLE: Final[dict[pa.DataType, Any]] = {
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
}


def encode(df: pd.DataFrame) -> bytes:
    names = list(df.columns)
    if not names:
        return b"[]\n"
    encode_record = msgspec.json.Encoder().encode
    out, between = io.BytesIO(), b"["
    for part in in_parts(df):
        columns = [_values(part[name]) for name in names]
        records = (encode_record(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))
        out.write(between + b",\n".join(records))
        between = b",\n"
    out.write(b"]\n" if len(df) else b"[]\n")
    return out.getvalue()


def _values(series: pd.Series[Any]) -> list[Any]:
    """What JSON takes for each value."""
    series = clean_categories(series)
    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = [*_values(pd.Series(series.cat.categories)), None]
        return [values[code] for code in series.cat.codes]
    if times.is_time(dtype):
        return times.texts(series)
    if is_object_dtype(dtype):
        tally = Tally()
        documents = [None if value is None else _raw(value, tally) for value in values_of(series)]
        log_changes(series.name, tally)
        return documents
    if dtype.kind == "f":
        return [_number(value) for value in values_of(series)]
    if dtype.kind in "iub":
        return [None if missing else value for value, missing in zip(series.tolist(), series.isna(), strict=True)]
    return [None if missing else str(value) for value, missing in zip(series, series.isna(), strict=True)]


def _raw(value: object, tally: Tally) -> object:
    if isinstance(value, float) and math.isinf(value):
        return _number(value)
    return msgspec.Raw(json_bytes(value, tally))


def _number(value: float | None) -> object:
    if value is None or math.isfinite(value):
        return value if value is None else float(value)
    return "Infinity" if value > 0 else "-Infinity"


def decode(data: bytes, dtypes: Dtypes | None) -> pd.DataFrame:
    dtypes = dtypes or {}
    found = msgspec.json.decode(data)
    columns = _columns(found)
    if isinstance(found, list) and not found:
        # A frame without rows has lost its names, unless somebody knows them.
        columns = {name: [] for name in dtypes}
    rows = len(next(iter(columns.values()), []))
    series = {name: _column(name, values, dtypes.get(name)) for name, values in columns.items()}
    return pd.DataFrame(series, index=pd.RangeIndex(rows))


def _columns(found: object) -> dict[str, list[Any]]:
    if isinstance(found, list) and all(isinstance(record, dict) for record in found):
        names = dict.fromkeys(name for record in found for name in record)
        return {name: [record.get(name) for record in found] for name in names}
    if isinstance(found, dict) and all(isinstance(column, dict) for column in found.values()):
        rows = dict.fromkeys(row for column in found.values() for row in column)
        return {name: [column.get(row) for row in rows] for name, column in found.items()}
    raise StoreError("not a readable json file: neither a list of records nor columns of a frame")


def _column(name: str, values: list[Any], dtype: object) -> pd.Series[Any]:
    if dtype is not None and is_object_dtype(pandas_dtype(dtype)):
        return pd.Series(values, dtype=object)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {float, str} and all(type(value) is not str or value in _INFINITE for value in values):
        values = [_INFINITE[value] if isinstance(value, str) else value for value in values]
    array = plain_array(values)
    if array is None or array.type == pa.null():
        series: pd.Series[Any] = pd.Series(values, dtype=object)
    else:
        stamps = times.found(array) if dtype is None and array.type == pa.string() else None
        series = array.to_pandas(types_mapper=_NULLABLE.get) if stamps is None else stamps
    return series if dtype is None else cast(series.rename(name), dtype)
